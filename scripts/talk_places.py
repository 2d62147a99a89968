"""Places that slide: where random starts end, for the sliding decoder's VAE and for its twin."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from talk_common import LOOKS, OUT, Jobs, Out, Quick, Seed, collect, run, write
from talk_places_data import make_line
from talk_places_fits import SPACING, on_grid, twin_from, vae_from

N_CHANNELS, N_SAMPLES = 40, 20
WIDTH, N_SOURCES = 0.05, 4  # of the kernel, relative to the line; what is held while one varies
WIDTHS = (0.01, 0.02, 0.035, 0.05, 0.08, 0.12)
NUMBERS = (1, 2, 4, 6, 8, 10)
EXTRA = 2  # places that a start has, relative to the sources
SAME = 1e-2  # energies closer than this are one minimum, nats × 2 per sample; or than a millionth

_VAE, _TWIN = (LOOKS[name]["color"] for name in ("VAE", "autoencoder, log"))
#: Look of each method; those of the first group have random starts.
STARTED: dict[str, dict[str, Any]] = {
    "VAE, free places": {"color": _VAE, "marker": "o", "linewidth": 2.4},
    "autoencoder, free places": {"color": _TWIN, "marker": "D", "linewidth": 1.6},
    "VAE, free places, λ held": {"color": _VAE, "marker": "o", "linestyle": "--", "mfc": "w"},
    "autoencoder, free places, λ held": {
        "color": _TWIN,
        "marker": "D",
        "linestyle": "--",
        "mfc": "w",
    },
}
GRIDDED: dict[str, dict[str, Any]] = {
    "VAE, from the grid's minimum, then free": {**LOOKS["VAE, gradient"], "linestyle": "-"},
    "VAE, on the grid": {"color": _VAE, "marker": "x", "linestyle": ":"},
    "autoencoder, on the grid": {"color": _TWIN, "marker": "+", "linestyle": ":"},
}

LINES = {**STARTED, **GRIDDED}
AXES = {"sources": "n_sources", "width": "width"}


def n_minima(energies: pd.Series) -> int:
    """Count the minima that energies tell apart.

    Parameters
    ----------
    energies : Series
        Energies that starts ended with.

    Returns
    -------
    n : int
        One more than the gaps between them.
    """
    ordered = np.sort(energies)
    return 1 + int((np.diff(ordered) > SAME + 1e-6 * np.abs(ordered[1:])).sum())


def try_problem(
    sweep: str, width: float, n_sources: int, seed: int, n_starts: int
) -> list[dict[str, Any]]:
    """Start both decoders with free places at random on one problem, and fit both on the grid.

    Parameters
    ----------
    sweep : str
        What varies: "sources" or "width".
    width : float
        Of the kernel.
    n_sources : int
        Sources of the problem.
    seed : int
        Of the problem; with the number of the start, of the start.
    n_starts : int
        Random starts of each decoder.

    Returns
    -------
    rows : list of dict
        A row per fit.
    """
    line = make_line(width, n_sources, N_CHANNELS, N_SAMPLES, seed=seed)
    what = {"sweep": sweep, "width": width, "n_sources": n_sources, "problem": seed}
    rows = []
    for start in range(n_starts):
        rng = np.random.default_rng([seed, start])
        places = rng.uniform(0, 1, EXTRA * n_sources)
        gamma = np.exp(rng.standard_normal(len(places)))
        for anneal, how in ((True, "free places"), (False, "free places, λ held")):
            for name, fit in (("VAE", vae_from), ("autoencoder", twin_from)):
                end = fit(line, places, gamma, anneal=anneal)
                rows.append({**what, "start": start, "method": f"{name}, {how}", **end._asdict()})
    ends = on_grid(line)
    return rows + [{**what, "start": 0, "method": name, **end._asdict()} for name, end in ends]


def experiment(
    numbers: tuple[int, ...],
    widths: tuple[float, ...],
    n_problems: int,
    n_starts: int,
    seed: int,
    jobs: int = 1,
) -> pd.DataFrame:
    """Vary the number of sources, and the width of the kernel.

    Parameters
    ----------
    numbers : tuple of int
        Numbers of sources.
    widths : tuple of float
        Widths of the kernel, relative to the line.
    n_problems, n_starts : int
        Problems per condition, and random starts per problem.
    seed : int
        First seed.
    jobs : int
        Processes.

    Returns
    -------
    table : DataFrame
        A row per fit.
    """
    cells = [("sources", WIDTH, number) for number in numbers]
    cells += [("width", width, N_SOURCES) for width in widths]
    work = [(*cell, seed + k, n_starts) for cell in cells for k in range(n_problems)]
    return collect(try_problem, work, desc="places", unit="problem", jobs=jobs)


def draw(table: pd.DataFrame) -> plt.Figure:
    """Draw how often all places are right, and in how many minima the starts end.

    Parameters
    ----------
    table : DataFrame
        Of `experiment`.

    Returns
    -------
    figure : Figure
        The figure.
    """
    figure, axes = plt.subplots(
        3, 2, figsize=(9, 8.6), sharex="col", sharey="row", layout="constrained"
    )
    for column, (sweep, x) in zip(axes.T, AXES.items(), strict=True):
        _draw_sweep(column, table[table["sweep"] == sweep], x)
    n_starts = table["start"].nunique()
    for ax in axes[1]:
        ax.axhline(n_starts, color="0.7", linewidth=1, zorder=0)
    axes[1, 0].set_title("grey: one for every start", loc="left", fontsize=8, color="0.4")
    axes[0, 0].set(ylabel="all places exact,\nnone beside (%)", ylim=(-4, 104))
    axes[0, 0].set_title(f"kernel {100 * WIDTH:g} % of the line wide", loc="left")
    axes[0, 1].set_title(f"{N_SOURCES} sources", loc="left")
    axes[1, 0].set(ylabel=f"minima that\n{n_starts} starts end in", ylim=(0, n_starts + 0.5))
    axes[2, 0].set(ylabel="sources reported\nfor each true one", xlabel="number of true sources")
    axes[2, 1].set(xlabel="width of the kernel (standard deviation, part of the line)")
    axes[2, 0].set_xticks(sorted(table.loc[table["sweep"] == "sources", "n_sources"].unique()))
    axes[1, 0].set_yticks(range(n_starts + 1))
    axes[2, 1].set_xscale("log")
    ticks = sorted(table.loc[table["sweep"] == "width", "width"].unique())
    axes[2, 1].set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes[2, 1].minorticks_off()
    figure.suptitle(
        f"{N_CHANNELS} channels, {N_SAMPLES} samples, no noise; starts with {EXTRA} random places "
        f"a source; grid of spacing {SPACING:g}; problems a point: {table['problem'].nunique()}",
        fontsize=10,
    )
    handles = [plt.Line2D([], [], label=name, **look) for name, look in LINES.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=9)
    return figure


def _draw_sweep(axes: np.ndarray, part: pd.DataFrame, x: str) -> None:
    """Draw success, minima and sources reported against what varies."""
    for name, look in LINES.items():
        own = part[part["method"] == name]
        if name not in GRIDDED or "free" in name:  # on the grid no place is exact
            share = 100 * own.groupby(x)["recovered"].mean()
            axes[0].plot(share.index, share, **look)
        if name in STARTED:
            count = own.groupby([x, "problem"])["energy"].agg(n_minima).groupby(x).mean()
            axes[1].plot(count.index, count, **look)
        reported = (own["n_found"] / own["n_sources"]).groupby(own[x]).mean()
        axes[2].plot(reported.index, reported, **look)


def main(quick: Quick = False, out: Out = OUT, seed: Seed = 0, jobs: Jobs = 1) -> None:
    """Count the minima of free places, and how often all of them are right."""
    if quick:
        table = experiment((2, 6), (0.01, 0.05), 1, 3, seed, jobs)
    else:
        table = experiment(NUMBERS, WIDTHS, 3, 6, seed, jobs)
    write("talk_places", table, draw, out)


if __name__ == "__main__":
    run(main)
