"""Curves of many runs: errors against what was varied, hits against false positives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .figures import open_axes
from .style import line

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

N_DRAWS = 2000  # of the bootstrap, for the interval of a mean
AXES = {
    "snr_db": "Signal-to-noise ratio (dB)",
    "n_sources": "Number of true sources",
    "localization_error_mm": "Localization error (mm)",
    "hit_rate": "Hit rate",
    "n_spurious": "Extra sources",
    "seconds": "Time (s)",
}


def plot_error_curves(
    table: pd.DataFrame,
    x: str = "snr_db",
    y: str = "localization_error_mm",
    *,
    by: str = "method",
    names: Mapping[str, str] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Plot a score of several methods against what was varied, the mean and how sure it is.

    Parameters
    ----------
    table : pandas.DataFrame
        A row per run, with the columns that ``x``, ``y`` and ``by`` name.
    x, y : str
        What was varied, and the score.
    by : str
        The column that tells the curves apart.
    names : mapping | None
        Name of a curve in the legend, by its value; ``None`` writes the value.
    ax : matplotlib.axes.Axes | None
        Where to plot; ``None`` opens a figure.

    Returns
    -------
    fig : matplotlib.figure.Figure
        The mean over runs, with its 95 % bootstrap interval as a bar where there is more than one.

    Raises
    ------
    ValueError
        If a column is missing, or no run has a score.
    """
    known = _check(table, (x, y, by)).dropna(subset=[x, y])
    if known.empty:
        raise ValueError(f"table has no run with both {x} and {y}.")
    ax = open_axes(ax, (1, 1), (6.5, 4.0))[0, 0]
    rng = np.random.default_rng(0)
    groups = list(known.groupby(by, sort=False))
    spread = np.ptp(known[x].to_numpy(float))
    for k, (name, runs) in enumerate(groups):
        places, means, below, above = [], [], [], []
        for place, some in runs.groupby(x):
            values = some[y].to_numpy(float)
            low, high = _interval(values, rng)
            places.append(float(place) + 0.012 * spread * (k - (len(groups) - 1) / 2))
            means.append(values.mean())
            below.append(values.mean() - low)
            above.append(high - values.mean())
        label = (names or {}).get(name, str(name))
        ax.errorbar(
            places, means, [below, above], label=label, marker="o", ms=4, capsize=2, **line(k)
        )
    ax.set(xlabel=AXES.get(x, x), ylabel=AXES.get(y, y))
    ax.set_xticks(sorted(known[x].unique()))
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), title="mean, 95 %", frameon=False)
    return ax.figure


def plot_hit_curves(
    table: pd.DataFrame,
    *,
    by: str = "method",
    names: Mapping[str, str] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Plot the share of true sources found against the number of false ones, as a threshold falls.

    Parameters
    ----------
    table : pandas.DataFrame
        A row per threshold, with ``hit_rate`` (share of the true sources), ``false_positives``
        (per recording) and the column that ``by`` names.
    by : str
        The column that tells the curves apart.
    names : mapping | None
        Name of a curve in the legend, by its value; ``None`` writes the value.
    ax : matplotlib.axes.Axes | None
        Where to plot; ``None`` opens a figure.

    Returns
    -------
    fig : matplotlib.figure.Figure
        A step for each threshold; up and to the left is better.

    Raises
    ------
    ValueError
        If a column is missing, or a rate is none.
    """
    known = _check(table, ("hit_rate", "false_positives", by))
    if not known["hit_rate"].between(0, 1).all() or (known["false_positives"] < 0).any():
        raise ValueError("hit_rate must be from 0 to 1, and false_positives not negative.")
    ax = open_axes(ax, (1, 1), (6.0, 4.0))[0, 0]
    for k, (name, rows) in enumerate(known.groupby(by, sort=False)):
        rows = rows.sort_values(["false_positives", "hit_rate"])
        ax.step(
            rows["false_positives"],
            100 * rows["hit_rate"],
            where="post",
            marker="o",
            ms=3,
            label=(names or {}).get(name, str(name)),
            **line(k),
        )
    ax.set(xlabel="False positives per recording", ylabel="True sources found (%)", ylim=(-3, 103))
    ax.set_xlim(left=0)
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False)
    return ax.figure


def _interval(values: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a mean."""
    draws = values[rng.integers(len(values), size=(N_DRAWS, len(values)))].mean(axis=1)
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


def _check(table: pd.DataFrame, columns: tuple[str, ...]) -> pd.DataFrame:
    missing = [name for name in columns if name not in table]
    if missing:
        raise ValueError(f"table lacks the column {' and '.join(missing)}.")
    return table
