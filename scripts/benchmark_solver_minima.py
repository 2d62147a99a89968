"""How often the solver ends in the lowest minimum that anything finds, on the sample's recordings.

The four averages of MNE's sample subject in thirteen windows, with fixed and with free orientation,
noise variance held at 1: 104 problems. Against the solver, alone and with restarts, stand its
rivals: the same from random priors, and from a thousand sweeps. Small problems, of eight positions
each, are also solved by exhaustion: a descent on every subset of the positions. Writes
``solver_minima.csv`` (a row per problem, resumed where it stopped) and
``solver_minima_summary.csv``.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import torch
from evidence_common import CONDITIONS
from talk_common import Out, Quick, Seed, run
from tqdm import tqdm

from meg_vae import datasets
from meg_vae.files import whole_file
from meg_vae.meg.leadfield import make_leadfield
from meg_vae.model.exact import sweeps
from meg_vae.model.exact.descent import Trace, descend
from meg_vae.model.exact.dictionary import Dictionary
from meg_vae.model.exact.point import Candidates, evaluate
from meg_vae.model.exact.rounds import minimise
from meg_vae.model.misfit import EXACT
from meg_vae.model.noise_variance import FLOOR, Held
from meg_vae.model.priors import ISOTROPIC
from meg_vae.model.solve import data_factor, solve

OUT = Path("data/benchmarks")
SHORT = [(round(0.05 * k, 2), round(0.05 * k + 0.05, 2)) for k in range(9)]  # s
WINDOWS = [*SHORT, (0.08, 0.15), (0.1, 0.2), (0.2, 0.4), (-0.19, 0.49)]
ORIENTATIONS = {"fixed": 0.0, "free": 1.0}  # name: loose
RESTARTS = (0, 1, 4)
NAME = ["kind", "condition", "orientation", "tmin", "tmax"]
RANDOM = 2  # rivals from random priors
SPREAD = 0.5  # standard deviation of their log γ
SWEEPS = 1000
SMALL = 8  # positions of a problem that exhaustion solves
SIZES = (0.1, 1.0, 10.0)  # of their decoder scales at the start, relative to the data's
LOWER = 0.01  # J, in nats × 2 per sample: a rival that is lower by more has won


@dataclass(frozen=True)
class Case:
    """Whitened data and Φ of one problem, with its name."""

    name: dict[str, Any]
    dictionary: Dictionary
    X: torch.Tensor


def recorded(condition: str, orientation: str) -> tuple[Dictionary, Any, Any]:
    """Φ of a condition, the average, and its lead field."""
    given = datasets.sample(condition, tmin=-0.1995, tmax=0.4978, verbose="error")
    leadfield = make_leadfield(
        given.forward,
        given.evoked.info,
        given.noise_cov,
        nave=given.evoked.nave,
        loose=ORIENTATIONS[orientation],
    )
    return Dictionary(leadfield.Phi, leadfield.n_orient), given.evoked, leadfield


def from_prior(case: Case, gamma: torch.Tensor) -> float:
    """J where a descent from sweeps from these prior variances, (n_groups,), ends."""
    F = data_factor(case.X)[None]
    scale = (F.square().sum((1, 2)) / F.shape[1]).sqrt()
    noise, d = 1 / scale**2, case.dictionary.n_channels
    seen = sweeps.sweep(
        case.dictionary, F / scale, gamma[None], noise, n_sweeps=sweeps.SWEEPS, learn=False
    )
    found = minimise(
        case.dictionary,
        F / scale,
        seen[0],
        noise[:, None].repeat(1, d),
        prior=ISOTROPIC,
        variance=Held(float(noise)),
        tol=1e-3,
        max_iter=2000,
        certainty=EXACT,
    )
    return float(found.energy + 2 * d * scale.log())


def rivals(case: Case, seed: int) -> dict[str, float]:
    """J of everything that could be lower."""
    dictionary = case.dictionary
    flat = (~dictionary.silent).double() * dictionary.n_channels / dictionary.n_groups
    found = {}
    for k in range(RANDOM):
        log = SPREAD * np.random.default_rng([seed, k]).standard_normal(len(flat))
        found[f"random_{k}"] = from_prior(case, flat * torch.as_tensor(np.exp(log)))
    with mock.patch.object(sweeps, "SWEEPS", SWEEPS):
        found["sweeps"] = float(solve(dictionary, case.X, noise_variance=1.0).energy)
    return found


def judged(case: Case, seed: int) -> dict[str, Any]:
    """Solve one problem in all ways."""
    row = dict(case.name)
    for k in RESTARTS:
        since = time.process_time()
        found = solve(case.dictionary, case.X, noise_variance=1.0, restarts=k)
        row[f"seconds_{k}_restarts"] = time.process_time() - since
        row[f"J_{k}_restarts"] = float(found.energy)
        row[f"certificate_{k}_restarts"] = float(found.certificate)
    return row | {f"J_{name}": J for name, J in rivals(case, seed).items()}


def exhausted(case: Case) -> float:
    """Lowest J over descents on every subset of a few positions, from equal variances of sizes."""
    dictionary, F = case.dictionary, data_factor(case.X)[None]
    d, m = dictionary.n_channels, dictionary.n_groups
    whole = Candidates.of(dictionary.columns(torch.arange(m)), F, ISOTROPIC, Held(1.0), EXACT)
    _, whole = whole.in_span()
    noise = torch.ones(1, len(whole.Phi), dtype=torch.float64)
    eye, lowest = torch.eye(dictionary.n_orient, dtype=torch.float64), float("inf")
    power = float((F.square().sum() / d).sqrt())
    for chosen, size in product(product((0.0, 1.0), repeat=m), SIZES):
        R = size * power * torch.tensor(chosen, dtype=torch.float64)[None, :, None, None] * eye
        point = evaluate(whole, R, noise)
        trace = Trace([point.J], 500)
        point, _ = descend(whole, point, tol=1e-5, floor=FLOOR, trace=trace)
        lowest = min(lowest, float(point.J))
    return lowest


def small_case(case: Case, seed: int) -> Case:
    """The positions that see most nearly what one sees at which the fit has a strong source."""
    rng = np.random.default_rng(seed)
    found = solve(case.dictionary, case.X, noise_variance=1.0)
    strong = found.gamma.topk(5).indices
    own = case.dictionary.columns(strong[rng.integers(5)][None]).flatten(1)
    near = (own.T @ case.dictionary.Phi).square().sum(0)
    near = near.reshape(-1, case.dictionary.n_orient).sum(1)
    few = case.dictionary.only(near.topk(3 * SMALL).indices[rng.permutation(3 * SMALL)[:SMALL]])
    return Case(case.name, few, case.X)


def judged_small(case: Case, seed: int) -> dict[str, Any]:
    """Solve a small problem by the solver and by exhaustion."""
    case = small_case(case, seed)
    row = {**case.name, "positions": SMALL, "J_exhaustion": exhausted(case)}
    for k in RESTARTS[:2]:
        found = solve(case.dictionary, case.X, noise_variance=1.0, restarts=k)
        row[f"J_{k}_restarts"] = float(found.energy)
    return row


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """How often, and by how much at most, something else is lower."""
    rows = []
    for (kind, orientation), part in table.groupby(["kind", "orientation"]):
        lowest = part.filter(regex="^J_").min(axis=1)
        for k in RESTARTS:
            J = part[f"J_{k}_restarts"]
            if J.isna().all():
                continue
            above = J - lowest
            first = part["seconds_0_restarts"]
            rows.append(
                {
                    "kind": kind,
                    "orientation": orientation,
                    "restarts": k,
                    "problems": len(part),
                    "lowest": int((above <= LOWER).sum()),
                    "largest_above_lowest": above.max(),
                    "mean_above_lowest": above.mean(),
                    "times_first_fit": (part[f"seconds_{k}_restarts"] / first).median(),
                    "largest_certificate": part[f"certificate_{k}_restarts"].max(),
                }
            )
    return pd.DataFrame(rows)


def main(out: Out = OUT, quick: Quick = False, seed: Seed = 0) -> None:
    """Solve all problems and write the tables."""
    torch.set_num_threads(1)
    windows = WINDOWS[2:3] if quick else WINDOWS
    path = out / ("solver_minima_quick.csv" if quick else "solver_minima.csv")
    table = pd.read_csv(path) if path.exists() else pd.DataFrame()
    done = set() if table.empty else set(table[NAME].itertuples(index=False, name=None))
    bar = tqdm(total=2 * len(CONDITIONS) * len(ORIENTATIONS) * len(windows), desc="problems")
    for orientation, condition in product(ORIENTATIONS, CONDITIONS):
        dictionary, evoked, leadfield = recorded(condition, orientation)
        for tmin, tmax in windows:
            name = {"condition": condition, "orientation": orientation, "tmin": tmin, "tmax": tmax}
            X = torch.as_tensor(leadfield.whiten(evoked.copy().crop(tmin, tmax)))
            for kind, judge in (("recording", judged), ("small", judged_small)):
                bar.update()
                if (kind, *name.values()) in done:
                    continue
                row = judge(Case({"kind": kind} | name, dictionary, X), seed)
                table = pd.concat([table, pd.DataFrame([row])], ignore_index=True)
                with whole_file(path) as part:
                    table.to_csv(part, index=False, float_format="%.6f")
    bar.close()
    text = summary(table)
    with whole_file(out / path.name.replace("minima", "minima_summary")) as part:
        text.to_csv(part, index=False, float_format="%.4g")
    print(text.to_string(index=False))


if __name__ == "__main__":
    run(main)
