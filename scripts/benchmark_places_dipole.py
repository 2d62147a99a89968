"""A single source beside a dipole fit: ``mne.fit_dipole`` on the same data and covariance.

``mne.fit_dipole`` fits one dipole to each sample by itself. It is given, with the forward model's
BEM and accurate coils, the sample of largest whitened power, as its users do, and then all samples,
of which the best explained one counts. The free places are given all samples together, once with
the forward model alone and once with the BEM too, and that one sample by itself. Of several sources
the one of most evidence counts. Writes ``places_dipole.csv`` (a row per recording) and
``places_dipole_summary.csv``.

    python scripts/benchmark_places_dipole.py --seeds 20
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import mne
import numpy as np
import pandas as pd
import torch
import typer
from benchmark_places import OUT, Heads, Jobs, Seeds, heads_at_hand
from benchmark_places_heads import HEADS, Condition, Recorded, head, recorded
from benchmark_places_scores import LOST, fitted
from joblib import Parallel, delayed
from talk_common import Out, Quick, run
from tqdm import tqdm

from meg_vae import VAEInverse
from meg_vae.files import whole_file

LEVELS = (-10.0, 0.0, 10.0)
ALL_HEADS = ";".join(HEADS[1:])  # the template's finer grid, and the real heads
COLUMNS = (
    "places_mm", "places_bem_mm", "places_peak_mm", "dipole_peak_mm", "dipole_best_mm",
)  # fmt: skip


def one(name: str, snr_db: float, seed: int) -> dict:
    """Errors of both in one recording, in a process of one thread."""
    torch.set_num_threads(1)
    case = recorded(name, Condition(1, snr_db), seed)
    whole = fitted(name, case.evoked)[0]
    power = np.square(whole.filter_.whiten(case.evoked)).sum(0)
    peak = case.evoked.times[power.argmax()]
    alone = case.evoked.copy().crop(peak, peak, verbose="error")
    dipoles = {"peak": dipole_fit(name, alone), "best": dipole_fit(name, case.evoked)}
    bem = fitted(name, case.evoked, exact=True)[0]
    # One sample tells nothing of its own noise: the covariance is trusted, as the dipole fit does.
    single = fitted(name, alone, noise_variance=1.0)[0]
    inverses = {"places_mm": whole, "places_bem_mm": bem, "places_peak_mm": single}
    return {
        "head": name,
        "snr_db": snr_db,
        "seed": seed,
        **{column: 1e3 * strongest_error(inverse, case) for column, inverse in inverses.items()},
        **{f"dipole_{key}_mm": 1e3 * off(rr, case) for key, rr in dipoles.items()},
        "n_sources": len(whole.sources_),
        "true_depth_mm": 1e3 * case.depth[0],
    }


def dipole_fit(name: str, evoked: mne.Evoked) -> np.ndarray:
    """Place of MNE's dipole in the sample that it explains best, head coordinates, m."""
    here = head(name)
    dipole = mne.fit_dipole(
        evoked, here.noise_cov, here.bem, here.trans, accuracy="accurate", verbose="error"
    )[0]
    return dipole.pos[dipole.gof.argmax()]


def strongest_error(inverse: VAEInverse, case: Recorded) -> float:
    """Distance of the source of most evidence from the truth, m."""
    found = inverse.filter_.positions.rr_head
    return off(found[0], case) if len(found) else LOST


def off(rr: np.ndarray, case: Recorded) -> float:
    """Distance from the truth, m, as far as it counts."""
    return float(min(np.linalg.norm(rr - case.rr[0]), LOST))


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Mean and median error of each by head and level, and how often the free places are nearer."""
    rows = []
    for (name, snr_db), part in table.groupby(["head", "snr_db"], sort=False):
        row = {"head": name, "snr_db": snr_db, "n": len(part)}
        for column in COLUMNS:
            row |= {
                f"mean_{column}": part[column].mean(),
                f"median_{column}": part[column].median(),
            }
        row["share_nearer"] = (part["places_mm"] < part["dipole_peak_mm"]).mean()
        rows.append(row)
    return pd.DataFrame(rows)


def main(
    seeds: Seeds = 20,
    jobs: Jobs = 1,
    heads: Heads = ALL_HEADS,
    quick: Quick = False,
    out: Out = OUT,
) -> None:
    """A single source beside MNE's dipole fit."""
    names, levels = heads.split(";"), LEVELS
    if quick:
        names, levels, seeds = names[:1], LEVELS[1:], 1
    cells = [(n, level, s) for n in heads_at_hand(names) for level in levels for s in range(seeds)]
    work = (delayed(one)(*cell) for cell in cells)
    done = Parallel(n_jobs=jobs, return_as="generator")(work)
    table = pd.DataFrame(list(tqdm(done, desc="recordings", total=len(cells))))
    scores = summary(table)
    for frame, file in ((table, "places_dipole.csv"), (scores, "places_dipole_summary.csv")):
        with whole_file(out / file) as part:
            frame.to_csv(part, index=False, float_format="%.5g")
    typer.echo(scores.to_string(index=False, float_format="%.3g"))


if __name__ == "__main__":
    run(main)
