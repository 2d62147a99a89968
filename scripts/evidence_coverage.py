"""How often the truth lies in the 95 % interval of a source's time course.

Recordings of the template head hold three sources at 0, 5 and 10 dB, at positions of the grid
that is inverted (ico4) or off it (oct6, inverted at ico4). For every true source with an estimate
within 10 mm, the true moment along the estimate's direction is compared with the estimate
± 1.96 posterior standard deviations, at every sample after time zero and at the peak.

The posterior is conditional on the prior variances, on the place and on the noise, so off the
grid it cannot but be overconfident.
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
from evidence_common import OUT, Jobs, matched, simulated, template
from joblib import Parallel, delayed
from talk_common import Out, Quick, Seed, run, write
from tqdm import tqdm

from meg_vae import VAEInverse
from meg_vae.meg.table import main_axis
from meg_vae.viz.style import PALETTE

GRIDS = {"on the grid": "ico4", "off the grid": "oct6"}
SOUGHT = "ico4"
LEVELS, N_SOURCES = (0.0, 5.0, 10.0), 3
REACH = 0.010  # m
INSIDE = 1.959964  # standard deviations of the 95 % interval

Recordings = Annotated[int, typer.Option(help="Recordings of each level, on and off the grid.")]


def one(grid: str, snr_db: float, seed: int) -> list[dict]:
    """Rows of one recording, one per true source that was found."""
    torch.set_num_threads(1)
    case = simulated(GRIDS[grid], N_SOURCES, snr_db, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        inverse = VAEInverse(positions="grid", verbose="error")
        inverse.fit(case.evoked, template(SOUGHT).forward, case.noise_cov)
    filter_ = inverse.filter_
    U = filter_.activity(case.evoked)
    course, axes, peak = main_axis(U)
    sd = filter_.spread(filter_.data(case.evoked), case.evoked.nave, axes)
    places = filter_.positions
    moments = np.einsum("gak,gat->gkt", places.axes, U)
    true = np.array([dipole.pos[0] for dipole in case.truth])
    after = case.evoked.times > 0
    rows = []
    for i, k, gap in matched(places.rr_head, true, REACH):
        dipole = case.truth[k]
        axis = moments[i, :, peak[i]] / np.linalg.norm(moments[i, :, peak[i]])
        truth = dipole.amplitude * (dipole.ori[0] @ axis)
        error = np.abs(course[i] - truth)
        inside = error <= INSIDE * sd[i]
        rows.append(
            {
                "grid": grid,
                "snr_db": snr_db,
                "seed": seed,
                "source": k,
                "distance_mm": 1e3 * gap,
                "coverage": inside[after].mean(),
                "covered_at_peak": bool(inside[peak[i]]),
                "coverage_of_zero": (np.abs(truth) <= INSIDE * sd[i])[after].mean(),
                "sd_nAm": 1e9 * sd[i],
                "peak_nAm": 1e9 * np.abs(truth).max(),
                "rms_error_over_sd": np.sqrt(np.mean(error[after] ** 2)) / sd[i],
            }
        )
    return rows


def draw(table: pd.DataFrame) -> plt.Figure:
    """Draw coverage against the level, with the spread over sources."""
    figure, ax = plt.subplots(figsize=(6.2, 3.8), layout="constrained")
    ax.axhline(95, color="black", linestyle=":", label="nominal 95 %")
    for shift, colour, marker, grid in zip((-0.25, 0.25), PALETTE, "os", GRIDS, strict=False):
        part = table[table["grid"] == grid].groupby("snr_db")["coverage"]
        mean, low, high = part.mean(), part.quantile(0.1), part.quantile(0.9)
        bars = 100 * np.array([(mean - low).clip(lower=0), (high - mean).clip(lower=0)])
        style = {"color": colour, "marker": marker, "capsize": 3, "label": grid}
        ax.errorbar(mean.index + shift, 100 * mean, bars, **style)
    null = table.groupby("snr_db")["coverage_of_zero"].mean()
    ax.plot(
        null.index, 100 * null, "x:", color="#666666", label="an estimate of zero, same interval"
    )
    ax.set(
        xlabel="SNR (dB)",
        ylabel="samples whose truth is in the interval (%)",
        ylim=(0, 103),
        xticks=LEVELS,
    )
    ax.legend(
        loc="center",
        bbox_to_anchor=(0.5, 0.47),
        title="mean; bars: 10th to 90th percentile of sources",
    )
    return figure


def main(
    recordings: Recordings = 10,
    quick: Quick = False,
    out: Out = OUT,
    seed: Seed = 0,
    n_jobs: Jobs = 2,
) -> None:
    """Measure the coverage of the posterior intervals."""
    recordings = 1 if quick else recordings
    work = [(g, v, seed + k) for k in range(recordings) for g in GRIDS for v in LEVELS]
    for spacing in set(GRIDS.values()):
        template(spacing)
    results = Parallel(n_jobs=n_jobs, return_as="generator")(delayed(one)(*item) for item in work)
    rows = [row for rows in tqdm(results, total=len(work), unit="fit") for row in rows]
    table = pd.DataFrame(rows)
    write("coverage", table, draw, out)
    by = table.groupby(["grid", "snr_db"])
    typer.echo(by[["coverage", "covered_at_peak", "rms_error_over_sd"]].mean().to_string())


if __name__ == "__main__":
    run(main)
