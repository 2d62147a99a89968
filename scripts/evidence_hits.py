"""What the threshold on the evidence costs and what it saves: true sources hit, false ones shown.

Recordings of the template head (306 channels, 101 samples, single-trial covariance known) hold 1,
3, 5 or 10 sources at 0, 5 and 10 dB. They lie at positions of the oct6 spacing and are sought at
those of ico4, so that hardly any lies on the grid (3 mm off in the median). A true source is hit
where an estimate, one to one, is within 10 mm; every other estimate is false, a second one of the
same source too.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import warnings
from typing import Annotated

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import typer
from evidence_common import OUT, Jobs, matched, prepared, simulated, template
from joblib import Parallel, delayed
from talk_common import Out, Quick, Seed, run, write
from tqdm import tqdm

from meg_vae.model.checks import MIN_LOG_EVIDENCE
from meg_vae.model.selection import select_sources
from meg_vae.model.solve import solve
from meg_vae.viz.style import PALETTE

TRUE, SOUGHT = "oct6", "ico4"
REACH = 0.010  # m
LEVELS, COUNTS = (0.0, 5.0, 10.0), (1, 3, 5, 10)
THRESHOLDS = {"every source of the optimum": 0.0, "threshold": MIN_LOG_EVIDENCE}
OPTIONS = {"noise_variance": "learn", "orientation": "shared"}  # the defaults of VAEInverse

Recordings = Annotated[int, typer.Option(help="Recordings of each count and level.")]


def one(n_sources: int, snr_db: float, seed: int) -> list[dict]:
    """Rows of one recording: with the threshold and without."""
    torch.set_num_threads(1)
    dictionary, leadfield = prepared(TRUE, SOUGHT)
    case = simulated(TRUE, n_sources, snr_db, seed)
    X = torch.as_tensor(leadfield.whiten(case.evoked))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        solution = solve(dictionary, X, **OPTIONS)
    n = X.shape[1]
    true = np.array([dipole.pos[0] for dipole in case.truth])
    rows = []
    for name, threshold in THRESHOLDS.items():
        more = {**OPTIONS, "n_effective": n, "tol": 1e-4}
        kept = select_sources(dictionary, solution, X, min_log_evidence=threshold, **more)
        found = template(SOUGHT).forward["source_rr"][kept.positions.numpy()]
        pairs = matched(found, true, REACH)
        row = {"snr_db": snr_db, "n_sources": n_sources, "seed": seed, "shown": name}
        row |= {"n_estimates": len(found), "hits": len(pairs), "false": len(found) - len(pairs)}
        rows.append(row | {"error_mm": 1e3 * np.mean([gap for *_, gap in pairs] or [np.nan])})
    null = {"shown": "no estimate", "n_estimates": 0, "hits": len(matched(found[:0], true, REACH))}
    return [*rows, {**row, **null, "false": 0, "error_mm": np.nan}]


def draw(table: pd.DataFrame) -> plt.Figure:
    """Draw hit rate and false sources against the number of true sources."""
    figure, axes = plt.subplots(2, len(LEVELS), figsize=(8.6, 5.0), sharex=True, sharey="row")
    for column, level in zip(axes.T, LEVELS, strict=True):
        part = table[table["snr_db"] == level]
        for colour, marker, name in zip(PALETTE, "so", THRESHOLDS, strict=False):
            mean = part[part["shown"] == name].groupby("n_sources")[["hits", "false"]].mean()
            style = {"color": colour, "marker": marker, "label": name}
            column[0].plot(mean.index, 100 * mean["hits"] / mean.index, **style)
            column[1].plot(mean.index, mean["false"], **style)
        column[0].set_title(f"{level:.0f} dB")
        column[1].set(xlabel="true sources", xticks=COUNTS)
    axes[0, 0].set(ylabel="true sources hit (%)", ylim=(0, 103))
    axes[1, 0].set(ylabel="false sources per recording", ylim=(0, None))
    names = [f"{n} ({MIN_LOG_EVIDENCE:g} nats)" if n == "threshold" else n for n in THRESHOLDS]
    figure.legend(axes[0, 0].get_lines(), names, loc="outside lower center", ncols=2)
    figure.set_layout_engine("constrained")
    return figure


def main(
    recordings: Recordings = 6,
    quick: Quick = False,
    out: Out = OUT,
    seed: Seed = 0,
    n_jobs: Jobs = 2,
) -> None:
    """Localize known sources with and without a threshold on their evidence."""
    recordings = 1 if quick else recordings
    work = [(n, v, seed + k) for k in range(recordings) for v in LEVELS for n in COUNTS]
    prepared(TRUE, SOUGHT)
    results = Parallel(n_jobs=n_jobs, return_as="generator")(delayed(one)(*item) for item in work)
    rows = [row for rows in tqdm(results, total=len(work), unit="fit") for row in rows]
    write("hits", pd.DataFrame(rows), draw, out)


if __name__ == "__main__":
    run(main)
