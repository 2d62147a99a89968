"""Figures of a benchmark: error against noise, hits against false alarms, time against accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .figures import open_axes, show_figure
from .style import INK, PALETTE, line

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = "osD^vPX<>*"
OTHERS, NAMES = "#C8C8C8", "#767676"
NULL = "Null"  # the family of the methods that know nothing
STRAIGHT = 5.0  # mm: up to here the scale of errors is linear


def plot_error_against_snr(
    table: pd.DataFrame,
    *,
    value: str = "Localization error (mm)",
    columns: int = 3,
    show: bool | None = None,
) -> Figure:
    """Draw a score against the signal-to-noise ratio, a panel per family of methods.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``title, family, snr_db, mean, low, high``: a row per method and ratio.
    value : str
        Name of the score, with its unit.
    columns : int
        Panels in a row.
    show : bool | None
        Whether to show the figure; ``None`` does so for a new one, where no notebook does.

    Returns
    -------
    fig : matplotlib.figure.Figure
        The panels, none for the null methods; all other methods are grey in the background of
        each, and bars are 95 % bootstrap confidence intervals of the mean. The scale is linear up
        to 5 and logarithmic above.

    Raises
    ------
    ValueError
        If no method but the null ones is there at two ratios or more.
    """
    from matplotlib.ticker import NullLocator

    many = table.groupby("title")["snr_db"].transform("nunique") > 1
    table = table[many].sort_values("snr_db", kind="stable")  # a point is no curve
    families = _families(table)
    if not families:
        raise ValueError("table needs a method, not a null one, at two values of snr_db or more.")
    axes = _panels(len(families), columns, height=2.9)
    for ax, family in zip(axes, families, strict=True):
        for _, rows in table.groupby("title", sort=False):
            if rows["family"].iloc[0] != family:
                ax.plot(rows["snr_db"], rows["mean"], color=OTHERS, lw=0.8, zorder=1)
        own = table[table["family"] == family]
        for k, (title, rows) in enumerate(own.groupby("title", sort=False)):
            spread = [rows["mean"] - rows["low"], rows["high"] - rows["mean"]]
            look = {"color": PALETTE[k % len(PALETTE)], "marker": MARKERS[k % len(MARKERS)]}
            look |= {"ms": 4.5, "lw": 1.6, "capsize": 2, "label": title, "zorder": 3}
            ax.errorbar(rows["snr_db"], rows["mean"], spread, **look)
        for title, rows in table[table["family"] == NULL].groupby("title", sort=False):
            end = (rows["snr_db"].max(), rows["mean"].iloc[-1])
            ax.annotate(title, end, ha="right", va="top", fontsize=7, color=NAMES)
        ax.set_title(family, fontsize=10, loc="left")
        ax.set_yscale("symlog", linthresh=STRAIGHT, linscale=0.8)
        ax.set_ylim(0, None)
        ax.set_yticks([0, 2, 5, 10, 20, 50, 100], minor=False)
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_locator(NullLocator())
        ax.legend(fontsize=7.5, frameon=False, loc="lower center", ncols=2)
    axes[0].figure.supxlabel("Signal-to-noise ratio (dB)", fontsize=10)
    axes[0].figure.supylabel(value, fontsize=10)
    return show_figure(axes, show)


def plot_hits_against_false_positives(
    table: pd.DataFrame, *, columns: int = 3, show: bool | None = None
) -> Figure:
    """Draw hits against false positives, a panel per condition.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``condition, title, family``, and ``hit_rate`` and ``false_positives`` each with
        ``_low`` and ``_high``: a row per condition and method.
    columns : int
        Panels in a row.
    show : bool | None
        Whether to show the figure; ``None`` does so for a new one, where no notebook does.

    Returns
    -------
    fig : matplotlib.figure.Figure
        The panels; the upper left corner is best, bars are 95 % confidence intervals.
    """
    conditions = list(dict.fromkeys(table["condition"]))
    looks = _looks(table)
    axes = _panels(len(conditions), columns, height=2.9)
    for ax, condition in zip(axes, conditions, strict=True):
        for row in table[table["condition"] == condition].to_dict("records"):
            _point(ax, row, "false_positives", "hit_rate", looks[row["title"]])
        ax.set_xscale("symlog", linthresh=1.0)
        ax.set_xlim(-0.15, None)
        ax.set_ylim(-0.05, 1.05)
        ax.xaxis.set_major_formatter("{x:g}")
        ax.set_title(condition, fontsize=10, loc="left")
    axes[0].figure.supxlabel("False positives (peaks)", fontsize=10)
    axes[0].figure.supylabel("Hit rate", fontsize=10)
    dot = {"ms": 6, "ls": "none", "mec": INK, "mew": 0.6}
    handles = [ax.plot([], [], label=title, **dot, **look)[0] for title, look in looks.items()]
    legend = {"loc": "outside right upper", "fontsize": 8, "frameon": False}
    axes[0].figure.legend(handles=handles, **legend)
    return show_figure(axes, show)


def plot_time_against_accuracy(
    table: pd.DataFrame,
    *,
    score: str = "f1",
    value: str = "F1 of sources",
    title: str | None = None,
    show: bool | None = None,
) -> Figure:
    """Draw a score against the processor time that a method takes.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``title, family``, and ``cpu_seconds`` and the score each with ``_low`` and
        ``_high``: a row per method.
    score : str
        Column of the score.
    value : str
        Name of the score, with its unit.
    title : str | None
        Title of the figure.
    show : bool | None
        Whether to show the figure; ``None`` does so for a new one, where no notebook does.

    Returns
    -------
    fig : matplotlib.figure.Figure
        The axes; the upper left corner is best, bars are 95 % confidence intervals.
    """
    looks = _looks(table)
    ax = open_axes(None, (1, 1), (8.2, 4.6))[0, 0]
    for row in table.to_dict("records"):
        _point(ax, row, "cpu_seconds", score, looks[row["title"]])
    ax.set_xscale("log")
    for axis_formatter in (ax.xaxis.set_major_formatter, ax.xaxis.set_minor_formatter):
        axis_formatter(lambda x, _: f"{x:g}" if f"{x:.0e}"[0] in "125" else "")
    ax.set_xlabel("Processor time per recording (s)")
    ax.set_ylabel(value)
    if title is not None:
        ax.set_title(title, fontsize=10, loc="left")
    ax.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return show_figure(ax, show)


def plot_ranking(
    table: pd.DataFrame, *, value: str = "F1 of sources", show: bool | None = None
) -> Figure:
    """Draw one score of all methods in all conditions, the best method on top.

    Parameters
    ----------
    table : pandas.DataFrame
        Means: a row per method, by title, and a column per condition.
    value : str
        Name of the score, with its unit.
    show : bool | None
        Whether to show the figure; ``None`` does so for a new one, where no notebook does.

    Returns
    -------
    fig : matplotlib.figure.Figure
        The axes; the best of each condition is bold, and what did not run is blank.
    """
    numbers = table.to_numpy(float)
    size = (2.6 + 0.62 * table.shape[1], 1.9 + 0.3 * table.shape[0])
    ax = open_axes(None, (1, 1), size)[0, 0]
    ax.grid(visible=False)
    image = ax.imshow(numbers, cmap="viridis", vmin=0, vmax=1, aspect="auto")
    best = np.nanmax(numbers, axis=0)
    for (i, j), number in np.ndenumerate(numbers):
        if np.isfinite(number):
            look = {"color": "white" if number < 0.6 else INK, "ha": "center", "va": "center"}
            weight = "bold" if number == best[j] else "normal"
            ax.text(j, i, f"{number:.2f}", fontsize=8, fontweight=weight, **look)
    ax.set_xticks(range(table.shape[1]), table.columns, rotation=40, ha="right", fontsize=9)
    ax.set_yticks(range(table.shape[0]), table.index, fontsize=9)
    ax.figure.colorbar(image, ax=ax, label=value, fraction=0.03, pad=0.02)
    return show_figure(ax, show)


def plot_hit_curves(
    table: pd.DataFrame,
    *,
    by: str = "method",
    names: Mapping[str, str] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
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
    show : bool | None
        Whether to show the figure; ``None`` does so for a new one, where no notebook does.

    Returns
    -------
    fig : matplotlib.figure.Figure
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
        curve = {"where": "post", "marker": "o", "ms": 3} | line(k)
        label = (names or {}).get(name, str(name))
        ax.step(rows["false_positives"], 100 * rows["hit_rate"], label=label, **curve)
    ax.set(xlabel="False positives per recording", ylabel="True sources found (%)", ylim=(-3, 103))
    ax.set_xlim(left=0)
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False)
    return show_figure(ax, show)


def _panels(count: int, columns: int, height: float) -> np.ndarray:
    """Make panels that share their axes, and take away those that are left over."""
    rows = -(-count // columns)
    size = (3.1 * columns + 0.6, height * rows)
    axes = open_axes(None, (rows, columns), size, sharex=True, sharey=True)
    for ax in axes.ravel()[count:]:
        ax.remove()
    for ax in axes.ravel()[max(count - columns, 0) : count]:
        ax.tick_params(labelbottom=True)
    return axes.ravel()[:count]


def _families(table: pd.DataFrame) -> list[str]:
    """Families in the order of the table, without the null methods."""
    return [name for name in dict.fromkeys(table["family"]) if name != NULL]


def _looks(table: pd.DataFrame) -> dict[str, dict[str, object]]:
    """Give every method a colour and a marker of its own: a colour per family."""
    families = _families(table)
    looks: dict[str, dict[str, object]] = {}
    for family, rows in table.groupby("family", sort=False):
        colour = OTHERS if family == NULL else PALETTE[families.index(family) % len(PALETTE)]
        for k, title in enumerate(dict.fromkeys(rows["title"])):
            looks[str(title)] = {"color": colour, "marker": MARKERS[k % len(MARKERS)]}
    return looks


def _point(ax: Axes, row: dict[str, float], x: str, y: str, look: dict[str, object]) -> None:
    """Draw a mean with its intervals."""
    spread = [[[row[k] - row[f"{k}_low"]], [row[f"{k}_high"] - row[k]]] for k in (x, y)]
    xerr, yerr = np.maximum(spread, 0)
    dot = {"ms": 6, "lw": 0.9, "mec": INK, "mew": 0.6, "ls": "none"}
    ax.errorbar(row[x], row[y], yerr, xerr, label=row["title"], **dot, **look)
