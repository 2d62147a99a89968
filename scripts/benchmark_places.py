"""How well sources are found that lie off the grid: their number, places, and how sure these are.

Recordings of several heads hold sources between the positions of the forward model, with the full
forward model's field and noise of sensors and brain. Each is fitted on the grid and at free places,
which see the forward model alone. Writes a row per recording (places.csv), per head and condition
(places_summary.csv), coverage per head with its interval (places_coverage.csv), and a figure
(places.png). MEG_VAE_SAMPLE and MEG_VAE_HEADS name the folders of the real heads.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from functools import partial
from typing import Annotated

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import typer
from benchmark_places_heads import CONDITIONS, HEADS, missing
from benchmark_places_scores import coverage, numbers, row_of, summary
from benchmark_tables import resumed, write_scores
from talk_common import HERE, Out, Quick, run, write

from meg_vae.viz.style import PALETTE

OUT = HERE.parent / "data" / "benchmarks"
ALL_HEADS, ALL_CONDITIONS = ";".join(HEADS), ";".join(CONDITIONS)
QUICK = ("1 source, 5 dB", "3 sources, 10 dB", "noise alone")
KEY = ["head", "condition", "seed"]

Seeds = Annotated[int, typer.Option(help="Recordings of each head and condition.")]
Jobs = Annotated[int, typer.Option(help="Processes; -1 takes all processors.")]
Heads = Annotated[str, typer.Option(help="Heads, divided by semicolons; all that can be had.")]
Only = Annotated[str, typer.Option(help="Conditions, divided by semicolons; all of them.")]
Resume = Annotated[bool, typer.Option(help="Keep the recordings that the table has already.")]
Exact = Annotated[bool, typer.Option(help="Give bem and trans to the fit at free places.")]
Redraw = Annotated[bool, typer.Option(help="Summarize and draw an earlier run.")]


def one(name: str, condition: str, seed: int, exact: bool) -> list[dict]:
    """The row of one recording, in a process of one thread."""
    torch.set_num_threads(1)
    return [row_of(name, condition, seed, exact)]


def heads_at_hand(wanted: list[str]) -> list[str]:
    """Leave out heads whose folder is absent, and say so."""
    out = []
    for name in wanted:
        reason = missing(name)
        if reason:
            typer.echo(f"the {name} is left out: {reason}")
        else:
            out.append(name)
    return out


def in_order(table: pd.DataFrame) -> pd.DataFrame:
    """Sort a table by head and condition as the script names them."""
    order = {"head": list(HEADS), "condition": list(CONDITIONS)}
    key = {name: table[name].map(values.index) for name, values in order.items()}
    return table.assign(_h=key["head"], _c=key["condition"]).sort_values(
        ["_h", "_c", "seed"], kind="stable", ignore_index=True
    ).drop(columns=["_h", "_c"])  # fmt: skip


def draw(table: pd.DataFrame) -> plt.Figure:
    """Errors of grid and free places, their numbers, and coverage, each by condition."""
    conditions = [name for name in CONDITIONS if name in set(table["condition"])]
    figure, axes = plt.subplots(
        1, 3, figsize=(11, 0.42 * len(conditions) + 1.6), layout="constrained", sharey=True
    )
    by = dict(list(table.groupby("condition")))
    for y, name in enumerate(conditions):
        _draw_errors(axes[0], y, by[name])
        _draw_numbers(axes[1], y, by[name])
        _draw_coverage(axes[2], y, summary(by[name].assign(head="all")).iloc[0])
    axes[0].set(xscale="log", xlabel="error of a source (mm)")
    axes[0].set_yticks(range(len(conditions)), conditions)
    axes[0].invert_yaxis()
    axes[0].xaxis.set_major_formatter("{x:g}")
    axes[1].set(xlabel="sources found, less true ones", xscale="symlog")
    axes[1].axvline(0, color="black", linewidth=0.8)
    axes[1].xaxis.set_major_formatter("{x:g}")
    axes[2].axvline(95, color="black", linestyle=":", linewidth=1)
    axes[2].set(xlabel="truth held (%), of nominal 95 %", xlim=(-3, 103))
    for ax in axes:
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, 1.16), ncols=2, fontsize=8)
    return figure


def _draw_errors(ax: plt.Axes, y: int, part: pd.DataFrame) -> None:
    """Mean error, and the middle 80 % of the sources."""
    for shift, colour, marker, column, label in (
        (-0.15, PALETTE[1], "s", "grid_error_mm", "grid"),
        (0.15, PALETTE[0], "o", "free_error_mm", "free places"),
    ):
        values = numbers(part[column])
        if not len(values):
            continue
        low, high = np.quantile(values, [0.1, 0.9])
        ax.plot([low, high], [y + shift] * 2, color=colour, linewidth=1)
        ax.plot(values.mean(), y + shift, marker, color=colour, label="" if y else label)


def _draw_numbers(ax: plt.Axes, y: int, part: pd.DataFrame) -> None:
    """Mean surplus of sources, and the middle 80 % of the recordings."""
    for shift, colour, marker, column, label in (
        (-0.15, PALETTE[1], "s", "n_grid", "grid"),
        (0.15, PALETTE[0], "o", "n_free", "free places"),
    ):
        more = part[column] - part["n_true"]
        low, high = np.quantile(more, [0.1, 0.9])
        ax.plot([low, high], [y + shift] * 2, color=colour, linewidth=1)
        ax.plot(more.mean(), y + shift, marker, color=colour, label="" if y else label)


def _draw_coverage(ax: plt.Axes, y: int, row: pd.Series) -> None:
    """Coverage of place, amplitude and peak, and the null of another source's."""
    for colour, marker, column, label in (
        (PALETTE[0], "o", "place_coverage", "place"),
        (PALETTE[2], "^", "amplitude_coverage", "amplitude"),
        (PALETTE[3], "v", "peak_coverage", "at the peak"),
        ("#888888", "x", "place_coverage_null", "place, another's ellipsoid"),
    ):
        style = {"color": colour, "linestyle": "none", "markersize": 5}
        ax.plot(100 * row[column], y, marker, label="" if y else label, **style)


def main(
    seeds: Seeds = 20,
    jobs: Jobs = 1,
    heads: Heads = ALL_HEADS,
    only: Only = ALL_CONDITIONS,
    resume: Resume = False,
    exact: Exact = False,
    redraw: Redraw = False,
    quick: Quick = False,
    out: Out = OUT,
) -> None:
    """How well sources are found that lie off the grid."""
    path = out / "places.csv"
    done = pd.read_csv(path) if (resume or redraw) and path.exists() else pd.DataFrame(columns=KEY)
    if not redraw:
        names, conditions = heads.split(";"), only.split(";")
        if quick:
            names, conditions, seeds = names[:1], list(QUICK), 1
        had = set(done[KEY].itertuples(index=False, name=None))
        cells = [
            (name, condition, seed)
            for seed in range(seeds)
            for name in heads_at_hand(names)
            for condition in conditions
            if (name, condition, seed) not in had
        ]
        resumed(partial(one, exact=exact), cells, done, path, jobs=jobs)
    table = in_order(pd.read_csv(path))
    write("places", table, draw, out)
    for name, scores in (("summary", summary(table)), ("coverage", coverage(table))):
        write_scores(f"places_{name}", scores, out)


if __name__ == "__main__":
    run(main)
