"""What subjects of a study have in common: where, in whom, and how strong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm

from .cortex import plot_cortex
from .figures import open_axes, remark, show_figure
from .look import Look, filled
from .style import PALETTE, SEQUENTIAL
from .surfaces import OWN_PLACE

if TYPE_CHECKING:
    from os import PathLike

    import pyvista
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .flat import FlatPicture

GROUP = ("source", *OWN_PLACE, "spread_mm")
ALONE = "sources of one subject alone"
MOST = len(PALETTE) - 1  # group sources that have a colour of their own


def _check(name: str, table: pd.DataFrame, columns: tuple[str, ...]) -> None:
    """Refuse what is no table of a study."""
    if not isinstance(table, pd.DataFrame):
        raise TypeError(f"{name} must be a pandas.DataFrame; got {type(table).__name__}.")
    missing = [column for column in columns if column not in table]
    if missing and (len(table) or len(table.columns)):  # an empty study has empty tables
        raise ValueError(f"{name} has no column {missing[0]!r}; give Study.{name}.")


def group_names(group: pd.DataFrame) -> list[str]:
    """Name the sources of a group, as "1: left (-42, -22, 8) mm"."""
    return [
        f"{row.source + 1}: {'left' if row.x_mm < 0 else 'right'} "
        f"({row.x_mm:.0f}, {row.y_mm:.0f}, {row.z_mm:.0f}) mm"
        for row in group.itertuples()
    ]


def plot_group(
    sources: pd.DataFrame,
    group: pd.DataFrame,
    *,
    subject: str,
    subjects_dir: str | PathLike,
    title: str | None = None,
    look: Look | None = None,
) -> pyvista.Plotter | FlatPicture:
    """Draw the sources of all subjects in the glass brain of fsaverage.

    Parameters
    ----------
    sources : pandas.DataFrame
        As ``Study.sources``; each has the colour of its group source.
    group : pandas.DataFrame
        As ``Study.group``; an ellipsoid about each holds 95 % of what subjects are predicted to
        have.
    subject : str
        Name of fsaverage's folder.
    subjects_dir : path-like
        The FreeSurfer folder that holds it.
    title : str | None
        Title of the picture.
    look : Look | None
        How it looks, in the glass brain.

    Returns
    -------
    plotter : pyvista.Plotter | FlatPicture
        As `plot_cortex` returns it.
    """
    _check("sources", sources, ("fs_x_mm", "fs_y_mm", "fs_z_mm", "group_source"))
    _check("group", group, GROUP)
    names = group_names(group)[:MOST]
    columns = {f"fs_{axis}": axis for axis in OWN_PLACE}
    drawn = pd.DataFrame(columns=[*OWN_PLACE, "hemi", "group_source"])
    if len(sources):
        drawn = sources[list(columns)].rename(columns=columns)
        of = sources["group_source"].to_numpy(int)
        drawn["hemi"] = np.where(drawn["x_mm"] < 0, "lh", "rh")
        drawn["group_source"] = [names[k] if 0 <= k < len(names) else ALONE for k in of]
        order = drawn["group_source"].map({name: k for k, name in enumerate([*names, ALONE])})
        drawn = drawn.assign(order=order).sort_values("order", kind="stable").drop(columns="order")
    spheres = group[list(OWN_PLACE)].assign(
        **{f"cov_{pair}": 0.0 for pair in ("xy", "xz", "yz")},
        **{f"cov_{axis * 2}": group["spread_mm"] ** 2 for axis in "xyz"},
    )
    return plot_cortex(
        drawn,
        subject=subject,
        subjects_dir=subjects_dir,
        ellipsoids=spheres,
        color_by="group_source",
        title=title,
        look=filled(look, surface="glass", source_size=3.0),
    )


def plot_presence(
    presence: pd.DataFrame, group: pd.DataFrame, *, ax: Axes | None = None, show: bool | None = None
) -> Figure:
    """Plot which subjects have which source of the group, and how clearly.

    Parameters
    ----------
    presence, group : pandas.DataFrame
        As in ``Study``.
    ax : matplotlib.axes.Axes | None
        Where to plot; None opens a figure.
    show : bool | None
        Whether to show the figure; ``None`` does so for a new one, where no notebook does.

    Returns
    -------
    fig : matplotlib.figure.Figure
        A row for each group source and a column for each subject; empty where it has none.
    """
    _check("presence", presence, ("subject", "source", "log_odds"))
    _check("group", group, GROUP)
    subjects = list(dict.fromkeys(presence["subject"]))
    width = 3.4 + min(0.32 * max(len(subjects), 4), 9.0)
    ax = open_axes(ax, (1, 1), (width, 1.8 + 0.42 * max(len(group), 2)))[0, 0]
    ax.grid(visible=False)
    if not len(group):
        remark(ax, "no source that subjects have in common")
        return show_figure(ax, show)
    odds = presence.pivot(index="source", columns="subject", values="log_odds")[subjects]
    values = odds.to_numpy(float)
    top = float(np.nanmax(values, initial=10.0))
    image = ax.imshow(
        np.ma.masked_invalid(values).clip(1.0, None),
        cmap=SEQUENTIAL,
        norm=LogNorm(1.0, max(top, 10.0)),
        aspect="auto",
        interpolation="nearest",
    )
    ax.set(yticks=range(len(group)), yticklabels=group_names(group))
    step = max(1, len(subjects) // 30)
    ax.set_xticks(range(0, len(subjects), step), subjects[::step], rotation=90)
    ax.figure.colorbar(image, ax=ax, label="Log odds of presence (nats)")
    return show_figure(ax, show)


def plot_amplitudes(
    amplitudes: pd.DataFrame, group: pd.DataFrame, *, axes: Any = None, show: bool | None = None
) -> Figure:
    """Plot how strong each source of the group is, in each subject and condition.

    Parameters
    ----------
    amplitudes, group : pandas.DataFrame
        As in ``Study``.
    axes : array of Axes | None
        Where to plot, one for each group source; None opens a figure.
    show : bool | None
        Whether to show the figure; ``None`` does so for a new one, where no notebook does.

    Returns
    -------
    fig : matplotlib.figure.Figure
        A line joins the conditions in which a subject has the source; how many lack it is told.
    """
    _check("amplitudes", amplitudes, ("subject", "source", "condition", "peak_nAm", "active"))
    _check("group", group, GROUP)
    n = max(len(group), 1)
    columns = min(n, 4)
    shape = -(-n // columns), columns
    axes = open_axes(axes, shape, (2.6 * columns + 0.6, 2.7 * shape[0]))
    for ax in axes.flat[len(group) :]:
        ax.set_axis_off()
    if not len(group):
        remark(axes.flat[0], "no source that subjects have in common")
        return show_figure(axes, show)
    for k, (ax, name) in enumerate(zip(axes.flat, group_names(group), strict=False)):
        own = amplitudes[amplitudes["source"] == k]
        conditions = list(dict.fromkeys(own["condition"]))
        peaks = own.pivot(index="subject", columns="condition", values="peak_nAm")[conditions]
        active = own.pivot(index="subject", columns="condition", values="active")[conditions]
        shown = peaks.where(active.astype(bool))
        colour = PALETTE[k % len(PALETTE)]
        ax.plot(range(len(conditions)), shown.T.to_numpy(float), "-o", color=colour, alpha=0.45)
        ax.plot(range(len(conditions)), shown.median(), "_", color="0.1", markersize=18)
        lacking = shown.isna().sum()
        ticks = [
            f"{one}\n{lacking[one]} without" if lacking[one] else str(one) for one in conditions
        ]
        ax.set_xticks(range(len(conditions)), ticks)
        ax.set(title=name, xlim=(-0.5, len(conditions) - 0.5), ylim=(0, None))
        if k % columns == 0:
            ax.set_ylabel("Peak (nAm)")
    return show_figure(axes, show)
