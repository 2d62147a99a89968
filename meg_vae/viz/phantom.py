"""Figure of a phantom: how far from each of its dipoles the sources are that were found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .figures import open_axes, show_figure
from .style import INK, PALETTE

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ERRORS = {  # column: axis title
    "position_error_mm": "Error of place (mm)",
    "orientation_error_deg": "Error of orientation (°)",
    "amplitude_error_nAm": "Error of amplitude (nAm)",
}
MARKERS = "os^D"
GREY = "#A0A0A0"
APART = 0.34  # between the methods of a dipole, by the distance of dipoles


def plot_phantom(
    table: pd.DataFrame, *, title: str | None = None, show: bool | None = None
) -> Figure:
    """Draw the errors at each dipole of a phantom, a panel for place, orientation and amplitude.

    Parameters
    ----------
    table : pandas.DataFrame
        As `meg_vae.comparison.score_phantom` gives it.
    title : str | None
        Title of the figure.
    show : bool | None
        Whether to show the figure; ``None`` does so for a new one, where no notebook does.

    Returns
    -------
    fig : matplotlib.figure.Figure
        A panel for each truth that is known; there is always that of places.
        Dashed lines are means. Grey dashes are the radii of the ellipsoids that hold the place with
        a probability of 95 %, markers without filling are dipoles that were named as several
        sources, and a cross on the axis is a dipole that was not found.
    """
    shown = [name for name in ERRORS if name == "position_error_mm" or table[name].notna().any()]
    numbers = sorted(table["dipole"].unique())
    size = (max(4.6, 2.4 + 0.2 * len(numbers)), 0.6 + 2.0 * len(shown))
    axes = open_axes(None, (len(shown), 1), size, sharex=True)[:, 0]
    methods = list(dict.fromkeys(table["title"]))
    for ax, name in zip(axes, shown, strict=True):
        for k, method in enumerate(methods):
            own = table[table["title"] == method]
            x = own["dipole"].to_numpy(float) + APART * (k - (len(methods) - 1) / 2)
            _points(ax, x, own, name, method, k)
        ax.set_ylabel(ERRORS[name].replace(" of ", "\nof "))
        ax.grid(visible=False, axis="x")
        if name == "amplitude_error_nAm":
            ax.axhline(0, color=INK, lw=0.6, zorder=1)
        else:
            ax.set_ylim(bottom=0)
    axes[-1].set_xlabel("Dipole of the phantom")
    axes[-1].set_xlim(min(numbers) - 0.7, max(numbers) + 0.7)
    axes[-1].xaxis.get_major_locator().set_params(integer=True)
    handles = dict(zip(*axes[0].get_legend_handles_labels()[::-1], strict=True))
    axes[0].figure.legend(
        handles.values(),
        handles.keys(),
        loc="outside upper right",
        ncols=len(handles),
        fontsize=8,
        frameon=False,
    )
    if title is not None:
        axes[0].set_title(title, fontsize=10, loc="left")
    return show_figure(axes, show)


def _points(ax: Axes, x: np.ndarray, own: pd.DataFrame, name: str, method: str, index: int) -> None:
    """Draw the errors of one method, and their mean."""
    errors, colour = own[name].to_numpy(float), PALETTE[index]
    named = own["n_sources"].to_numpy(float, na_value=np.nan)
    alone = named == 1
    look = {"marker": MARKERS[index], "ms": 4.5, "ls": "none", "color": colour, "zorder": 3}
    ax.plot(x[alone], errors[alone], label=method, **look)
    several = named > 1
    ax.plot(x[several], errors[several], **look | {"mfc": "white"})
    if name == "position_error_mm":
        radius = own["radius_mm"].to_numpy(float)
        if np.isfinite(radius).any():
            wide = {"lw": 1.4, "color": GREY, "zorder": 2}
            label = f"95 % radius of the {method}"
            ax.hlines(radius, x - 0.25, x + 0.25, label=label, **wide)
        lost = ~np.isfinite(errors)
        if lost.any():
            ax.plot(x[lost], np.zeros(lost.sum()), **look | {"marker": "x", "clip_on": False})
    if np.isfinite(errors).any() and name != "amplitude_error_nAm":
        ax.axhline(np.nanmean(errors), color=colour, lw=0.9, ls="--", zorder=1)
