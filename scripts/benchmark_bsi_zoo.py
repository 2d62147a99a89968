"""Recovery and noise grids as BSI-Zoo describes them, in three heads.

1, 2, 3 or 5 positions of the lead field that is inverted (an inverse crime, as theirs) are active,
each component and sample drawn from N(0, 1). The noise covariance is Wishart with as many degrees
of freedom as channels, or its diagonal, and known to all methods; noise is scaled so that alpha =
signal / (signal + noise), in Frobenius norms before whitening. The magnetometers and positions 7 mm
apart stand for the lead fields that they made; an orientation is fixed (the cortical normal) or
free. Scores are theirs (MSE, EMD, F1 of the exact support, distance of as many strongest positions
as there are sources), but that true and found positions are paired so that the sum of the distances
is least, where theirs pairs them by their index and leaves out what was not found: here that counts
100 mm; and that a position with less than 1 % of the largest amplitude is not in the support, since
gamma-MAP stops before what shrinks is zero. Writes a row per recording and method (bsi_zoo.csv), a
row per setting and method (bsi_zoo_summary.csv), and a figure (bsi_zoo.png). Whole seeds come one
after the other, ten samples before one.

Of its list gamma-MAP is here, irMxNE for its reweighted norms (beside it the best of several alphas
by the truth, as it draws its curves), and sLORETA for eLORETA; the lowest of its noise levels,
alpha 0.01, is left out.

    python scripts/benchmark_bsi_zoo.py --seeds 1 --resume
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
import warnings
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Annotated

import matplotlib.pyplot as plt
import mne
import numpy as np
import ot
import pandas as pd
import typer
from benchmark_bsi_zoo_methods import METHODS, blocks
from benchmark_places import OUT, Resume, heads_at_hand
from benchmark_places_heads import HEADS as ALL_HEADS
from benchmark_places_heads import head
from benchmark_tables import resumed, write_scores
from scipy.spatial.distance import cdist
from scipy.stats import wishart
from talk_common import Out, Quick, run, write

from meg_vae.comparison.metrics import HIT_MM, MISSING_MM, match
from meg_vae.comparison.metrics.pairing import counts
from meg_vae.comparison.metrics.sources import pairs
from meg_vae.model.spacing import apart
from meg_vae.viz.style import PALETTE

HEADS = ("template, oct5", "sample head", "second head")
SPACING = 0.007  # m, between positions
N_TRUE = (1, 2, 3, 5)
ALPHAS = (0.99, 0.9, 0.7, 0.5, 0.3, 0.1)
COVARIANCES = ("diag", "full")
ORIENTATIONS = {"fixed": 1, "free": 3}
LEVELS = {10: ALPHAS, 1: (0.99, 0.9, 0.5)}  # alphas for each number of samples
KEY = ["head", "orientation", "cov", "n_times", "n_true", "alpha", "seed"]

Seeds = Annotated[int, typer.Option(help="Draws of each setting.")]
Redraw = Annotated[bool, typer.Option(help="Summarize and draw an earlier run.")]


@dataclass(frozen=True)
class Problem:
    """A problem of known answer: Φ and X are whitened, L and the noise are as recorded."""

    Phi: np.ndarray
    X: np.ndarray
    L: np.ndarray
    U: np.ndarray
    noise: np.ndarray
    rr: np.ndarray


@cache
def lead_field(name: str, n_orient: int) -> tuple[np.ndarray, np.ndarray]:
    """Give the lead field (n_channels, n_dipoles), columns of mean norm 1, and places in mm."""
    forward = mne.pick_types_forward(head(name).forward, meg="mag")
    if n_orient == 1:
        forward = mne.convert_forward_solution(
            forward, surf_ori=True, force_fixed=True, use_cps=True, verbose="error"
        )
    kept = np.sort(apart(forward["source_rr"], SPACING))
    L = blocks(forward["sol"]["data"].T, n_orient)[kept].reshape(len(kept) * n_orient, -1).T
    return L / np.linalg.norm(L, axis=0).mean(), 1e3 * forward["source_rr"][kept]


def problem(
    name: str, orientation: str, cov: str, n_times: int, n_true: int, alpha: float, seed: int
) -> Problem:
    """Draw sources and noise; alphas share both, so that only the level differs."""
    n_orient = ORIENTATIONS[orientation]
    L, rr = lead_field(name, n_orient)
    which = ALL_HEADS.index(name) if name in ALL_HEADS else len(ALL_HEADS)
    rng = np.random.default_rng([seed, which, n_orient, COVARIANCES.index(cov), n_times, n_true])
    U = np.zeros((len(rr), n_orient, n_times))
    U[rng.choice(len(rr), n_true, replace=False)] = rng.standard_normal((n_true, *U.shape[1:]))
    U = U.reshape(L.shape[1], n_times)
    d = len(L)
    C = wishart(d, np.eye(d)).rvs(random_state=rng)
    root = np.diag(np.sqrt(np.diag(C))) if cov == "diag" else np.linalg.cholesky(C)
    noise = root @ rng.standard_normal((d, n_times))
    scale = (1 - alpha) / alpha * np.linalg.norm(L @ U) / np.linalg.norm(noise)
    whitener = np.linalg.inv(scale * root)
    X = whitener @ (L @ U + scale * noise)
    return Problem(whitener @ L, X, L, U, scale * noise, rr)


def scores(case: Problem, U: np.ndarray) -> dict[str, float]:
    """Score an estimate (n_dipoles, n_times)."""
    n_orient = len(case.U) // len(case.rr)
    true = np.linalg.norm(blocks(case.U, n_orient), axis=(1, 2))
    size = np.linalg.norm(blocks(U, n_orient), axis=(1, 2))
    support, found = np.flatnonzero(true), np.flatnonzero(counts(size))
    strongest = found[np.argsort(-size[found], kind="stable")][: len(support)]
    hits = len(pairs(case.rr[support], case.rr[found], HIT_MM)[0])
    off = [np.linalg.norm(blocks(one, n_orient), axis=1) for one in (case.U, U)]
    total = len(support) + len(found)
    return {
        "n_found": len(found),
        "distance_mm": match(case.rr[support], case.rr[strongest]).mean(),
        "emd_mm": earth_movers(case.rr, true, size),
        "f1": 2 * len(np.intersect1d(support, found)) / total,
        "f1_10_mm": 2 * hits / total,
        "mse": np.square(off[0] - off[1]).mean(),
        "noise_error": np.linalg.norm(case.L @ (U - case.U)) / np.linalg.norm(case.noise),
    }


def earth_movers(rr: np.ndarray, true: np.ndarray, size: np.ndarray) -> float:
    """Carry the norms of the found onto those of the true, both of sum 1, in mm."""
    if not size.any():
        return MISSING_MM
    a, b = (np.flatnonzero(one) for one in (true, size))
    cost = np.minimum(cdist(rr[a], rr[b]), MISSING_MM)
    return float(ot.emd2(true[a] / true[a].sum(), size[b] / size[b].sum(), cost))


def rows_of(*cell: object) -> list[dict]:
    """Score all methods on one problem."""
    case, rows = problem(*cell), []
    n_orient, n_true = ORIENTATIONS[cell[1]], cell[4]
    for name, (_, method) in METHODS.items():
        rng = np.random.default_rng([cell[-1], n_true, len(case.rr)])
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = method(case.Phi, case.X, n_orient, n_true, rng)
        cost = {"seconds": time.perf_counter() - start}
        each = [scores(case, U) for U in (found if isinstance(found, list) else [found])]
        best = min(each, key=lambda one: (one["distance_mm"], -one["f1"]))
        rows.append(dict(zip(KEY, cell, strict=True)) | {"method": name} | best | cost)
    return rows


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """A row per setting and method: means over heads, numbers of sources and draws."""
    by = ["orientation", "cov", "n_times", "alpha", "method"]
    means = ["distance_mm", "emd_mm", "f1", "f1_10_mm", "mse", "noise_error", "seconds"]
    groups = table.assign(right=table["n_found"] == table["n_true"]).groupby(by, sort=False)
    out = groups[[*means[:-1], "right", "n_found", "seconds"]].mean()
    return (
        out.rename(columns={"right": "right_number"}).assign(problems=groups.size()).reset_index()
    )


def draw(table: pd.DataFrame) -> plt.Figure:
    """Distance and F1 against alpha, for each covariance and number of samples."""
    panels = [(cov, n) for n in LEVELS for cov in COVARIANCES]
    panels = [
        one for one in panels if ((table["cov"] == one[0]) & (table["n_times"] == one[1])).any()
    ]
    figure, axes = plt.subplots(
        2, len(panels), figsize=(2.7 * len(panels), 5), layout="constrained", sharex=True,
        sharey="row", squeeze=False,
    )  # fmt: skip
    alphas = sorted(table["alpha"].unique())
    for column, (cov, n_times) in zip(axes.T, panels, strict=True):
        own = table[(table["cov"] == cov) & (table["n_times"] == n_times)]
        for k, (name, (title, _)) in enumerate(METHODS.items()):
            grey = name in ("random", "zeros")
            style = {
                "color": "#888888" if grey else PALETTE[k],
                "linestyle": ":" if grey else "-",
                "marker": "" if grey else "osD^vP"[k],
                "markersize": 4,
                "linewidth": 2 if name == "vae" else 1.2,
                "label": title,
            }
            means = own[own["method"] == name].groupby("alpha")[["distance_mm", "f1_10_mm"]].mean()
            for ax, score in zip(column, means, strict=True):
                ax.plot([alphas.index(one) for one in means.index], means[score], **style)
        samples = "1 sample" if n_times == 1 else f"{n_times} samples"
        column[0].set_title(f"{'diagonal' if cov == 'diag' else 'full'} covariance, {samples}")
        column[1].set(xlabel="signal / (signal + noise)", xticks=range(len(alphas)))
        column[1].set_xticklabels([f"{one:g}" for one in alphas], rotation=60)
    axes[0, 0].set(ylabel="distance of a source (mm)", ylim=(0, None))
    axes[1, 0].set(ylabel="F1, a hit within 10 mm", ylim=(-0.03, 1.03))
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, fontsize=8)
    return figure


def main(
    seeds: Seeds = 1,
    resume: Resume = False,
    redraw: Redraw = False,
    quick: Quick = False,
    out: Out = OUT,
) -> None:
    """Recovery and noise grids as BSI-Zoo describes them, in three heads."""
    mne.set_log_level("error")
    path = out / "bsi_zoo.csv"
    done = pd.read_csv(path) if (resume or redraw) and path.exists() else pd.DataFrame(columns=KEY)
    if not redraw:
        heads = heads_at_hand([HEADS[0]] if quick else list(HEADS))
        levels, numbers = ({10: (0.9,)}, (1,)) if quick else (LEVELS, N_TRUE)
        had = set(done[KEY].itertuples(index=False, name=None))
        cells = [
            (name, orientation, cov, n_times, n_true, alpha, seed)
            for seed in range(seeds)
            for n_times, alphas in levels.items()
            for alpha, name, orientation, cov, n_true in product(
                alphas, heads, ORIENTATIONS, COVARIANCES, numbers
            )
        ]
        left = [cell for cell in cells if cell not in had]
        resumed(rows_of, left, done, path, every=10, desc="problems", float_format="%.4g")
    table = pd.read_csv(path)
    write("bsi_zoo", table, draw, out)
    write_scores("bsi_zoo_summary", summary(table), out)


if __name__ == "__main__":
    run(main)
