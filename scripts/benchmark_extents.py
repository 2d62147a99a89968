"""Points and patches of cortex in one recording: how many, where, how large, and how sure that is.

Three heads hold points and patches off the grid: discs along the edges of the full white surface,
of even density by area, all of their dipoles turned by 15° from the normals in a direction that is
drawn, with the full BEM's field at each vertex. They are fitted with extent="learn" and as points,
from the forward model alone. Writes a row per true source and fit (extents.csv), a summary
(extents_summary.csv) and a figure (extents.png). MEG_VAE_SAMPLE and MEG_VAE_HEADS name the folders
of the real heads.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
import warnings
from typing import Annotated

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import typer
from benchmark_extents_data import CONDITIONS, HEADS, recording
from benchmark_places_heads import head, missing
from benchmark_places_scores import INSIDE_PLACE
from joblib import Parallel, delayed
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from talk_common import HERE, Out, Quick, run, write
from tqdm import tqdm

from meg_vae import VAEInverse
from meg_vae.files import whole_file
from meg_vae.viz.style import PALETTE

OUT = HERE.parent / "data" / "benchmarks"
HIT = 10.0  # mm
FITS = ("learn", "point")

Seeds = Annotated[int, typer.Option(help="Recordings of each head and condition.")]
Jobs = Annotated[int, typer.Option(help="Processes; -1 takes all processors.")]
Redraw = Annotated[bool, typer.Option(help="Summarize and draw an earlier run.")]


def rows(name: str, condition: str, seed: int) -> list[dict]:
    """One recording, with each option, in a process of one thread."""
    torch.set_num_threads(1)
    evoked, centres, radii, peaks = recording(name, condition, seed)
    out = []
    for extent in FITS:
        since = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            inverse = VAEInverse(extent=extent, verbose="error")
            inverse.fit(evoked, head(name).forward, head(name).noise_cov)
        seconds = time.perf_counter() - since
        places, sources = inverse.filter_.positions.rr_head, inverse.sources_
        distance = 1e3 * cdist(centres, places)
        pairs = dict(zip(*linear_sum_assignment(distance), strict=True)) if len(places) else {}
        for k, radius in enumerate(radii):
            row = {
                "head": name,
                "condition": condition,
                "seed": seed,
                "extent": extent,
                "n_true": len(radii),
                "n_found": len(places),
                "true_mm": radius,
                "true_nAm": peaks[k],
                "seconds": seconds,
            }
            if k in pairs:
                own, gap = sources.iloc[pairs[k]], centres[k] - places[pairs[k]]
                sure = inverse.position_covariance_[pairs[k]]
                row |= {
                    "error_mm": distance[k, pairs[k]],
                    "squared_distance": gap @ np.linalg.solve(sure, gap),
                    **own[["extent_mm", "extent_low_mm", "extent_high_mm", "peak_nAm"]],
                }
            out.append(row)
    return out


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Summarize by head, condition, fit and true radius."""
    low, high, true = (table[key] for key in ("extent_low_mm", "extent_high_mm", "true_mm"))
    table = table.assign(
        hit=table["error_mm"] <= HIT,
        patch=table["extent_mm"] > 0,
        off=(table["extent_mm"] - true).abs(),
        held=((low <= true) & (true <= high)).where(low.notna()),
        zero=(low == 0).where(low.notna()),
        place=table["squared_distance"] <= INSIDE_PLACE,
        right=table["n_found"] == table["n_true"],
        amplitude=(table["peak_nAm"] / table["true_nAm"] - 1).abs(),
    )
    groups = table.groupby(["condition", "true_mm", "head", "extent"], sort=False)
    return groups.agg(
        sources=("hit", "size"),
        mean_error_mm=("error_mm", "mean"),
        hits=("hit", "mean"),
        right_number=("right", "mean"),
        patches=("patch", "mean"),
        median_extent_error_mm=("off", "median"),
        extent_coverage=("held", "mean"),
        interval_includes_0=("zero", "mean"),
        place_coverage=("place", "mean"),
        median_amplitude_error=("amplitude", "median"),
        median_seconds=("seconds", "median"),
    ).reset_index()


def figure(table: pd.DataFrame) -> plt.Figure:
    """Error of the centres by condition and fit, and extents with intervals against the truth."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    names = list(CONDITIONS)
    for k, extent in enumerate(FITS):
        own = table[table["extent"] == extent].groupby("condition")["error_mm"]
        mean, middle = own.mean().reindex(names), own.quantile([0.1, 0.9]).unstack().reindex(names)
        at = np.arange(len(names)) + 0.2 * (k - 0.5)
        left.errorbar(
            mean,
            at,
            xerr=np.c_[mean - middle[0.1], middle[0.9] - mean].clip(0).T,
            fmt="o",
            color=PALETTE[k],
            label={"learn": "points or patches", "point": "points alone"}[extent],
        )
    left.set(yticks=range(len(names)), yticklabels=names, xlim=(0, None))
    left.set_xlabel("Error of the place (mm): mean, middle 80 %")
    left.invert_yaxis()
    left.legend(frameon=False, fontsize=8)
    learnt = table[(table["extent"] == "learn") & table["extent_mm"].notna()]
    for k, name in enumerate(HEADS):
        own = learnt[learnt["head"] == name]
        shift = np.random.default_rng(0).uniform(-1, 1, len(own)) + 2.5 * (k - 1)
        below = own["extent_mm"] - own["extent_low_mm"]
        above = own["extent_high_mm"] - own["extent_mm"]
        right.errorbar(
            own["true_mm"] + shift,
            own["extent_mm"],
            yerr=np.c_[below, above].clip(0).T,
            fmt="o",
            ms=3,
            lw=0.7,
            alpha=0.7,
            color=PALETTE[k + 2],
            label=name,
        )
    right.plot([0, 25], [0, 25], color="0.5", lw=1)
    right.set(xlabel="True radius (mm), spread by head", ylabel="Radius found, 95 % interval (mm)")
    right.legend(frameon=False, fontsize=8)
    return fig


def main(
    seeds: Seeds = 8,
    jobs: Jobs = 1,
    out: Out = OUT,
    quick: Quick = False,
    redraw: Redraw = False,
) -> None:
    """Run, summarize and draw."""
    if redraw:
        table = pd.read_csv(out / "extents.csv")
    else:
        heads = [name for name in (HEADS[:1] if quick else HEADS) if not missing(name)]
        cells = [
            (name, condition, seed)
            for name in heads  # one after the other: a fit remembers what it needs of few
            for seed in range(1 if quick else seeds)
            for condition in (list(CONDITIONS)[:2] if quick else CONDITIONS)
        ]
        work = Parallel(n_jobs=jobs, return_as="generator")(delayed(rows)(*c) for c in cells)
        bar = tqdm(work, desc="recordings", total=len(cells))
        table = pd.DataFrame([row for part in bar for row in part])
    write("extents", table, figure, out)
    scores = summary(table)
    with whole_file(out / "extents_summary.csv") as part:
        scores.to_csv(part, index=False, float_format="%.4g")
    typer.echo(scores.round(3).to_string(index=False))


if __name__ == "__main__":
    run(main)
