"""Hits against false positives, as a threshold falls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .figures import open_axes
from .style import line

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from matplotlib.axes import Axes


def plot_hit_curves(
    table: pd.DataFrame,
    *,
    by: str = "method",
    names: Mapping[str, str] | None = None,
    ax: Axes | None = None,
) -> Axes:
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
    ax : matplotlib.axes.Axes
        A step for each threshold; up and to the left is better.

    Raises
    ------
    ValueError
        If a column is missing, or a rate is none.
    """
    missing = [name for name in ("hit_rate", "false_positives", by) if name not in table]
    if missing:
        raise ValueError(f"table lacks the column {' and '.join(missing)}.")
    if not table["hit_rate"].between(0, 1).all() or (table["false_positives"] < 0).any():
        raise ValueError("hit_rate must be from 0 to 1, and false_positives not negative.")
    ax = open_axes(ax, (1, 1), (6.0, 4.0))[0, 0]
    for k, (name, rows) in enumerate(table.groupby(by, sort=False)):
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
    return ax
