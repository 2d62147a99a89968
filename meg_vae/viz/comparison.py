"""Estimates of several methods side by side on the cortex."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .drawing import Stage
from .estimate import check_estimate, check_threshold, estimate_table, magnitudes, value_layers
from .ground import Extras, read_ground
from .layout import ALL_VIEWS, arrange, check_views, strip
from .scale import ColourScale
from .scene import ESTIMATE
from .style import SEQUENTIAL
from .surfaces import HEMIS

if TYPE_CHECKING:
    from os import PathLike

    import mne
    import pandas as pd
    import pyvista


def plot_comparison(
    estimates: dict[str, mne.SourceEstimate],
    *,
    subject: str,
    subjects_dir: str | PathLike,
    surface: str = "inflated",
    views: tuple[str, ...] | str = ALL_VIEWS,
    truth: pd.DataFrame | list[mne.Dipole] | None = None,
    trans: mne.Transform | None = None,
    threshold: float = 50.0,
    source_size: float = 7.0,
    title: str | None = None,
    background: str = "white",
    window_size: tuple[int, int] | None = None,
    off_screen: bool | None = None,
) -> pyvista.Plotter:
    """Draw the estimates of several methods, a row each, on one relative colour scale.

    Of each estimate the largest magnitude over time is shown, in percent of the method's largest,
    because units differ between methods (nAm, or dimensionless for dSPM and sLORETA). Up to 300
    active positions are drawn as spheres, whose area follows the magnitude; a denser estimate is
    painted on the surface.

    Parameters
    ----------
    estimates : dict of mne.SourceEstimate
        The estimate of each method, by the name to write beside it.
    subject : str
        Name of the subject's folder.
    subjects_dir : path-like
        The FreeSurfer folder that holds it.
    surface : "inflated" | "white" | "pial" | "glass"
        The surface to draw. On the two folded ones a source in a sulcus is drawn at its mouth.
    views : tuple of str or of (float, float)
        Any of "lateral", "medial", "dorsal", "ventral", "rostral", "caudal", or the azimuth and
        elevation of a camera (degrees), as MNE has them.
    truth : pandas.DataFrame | list of mne.Dipole | None
        True sources to mark: a table with ``hemi`` and ``vertno``, or dipoles in head coordinates.
    trans : mne.Transform | None
        The transform between head and MRI coordinates, which dipoles need.
    threshold : float
        Painted estimates are shown above this (percent of the method's largest).
    source_size : float
        Radius of the largest sphere (mm).
    title : str | None
        Title of the picture.
    background : color
        Colour behind the brains.
    window_size : tuple of int | None
        Width and height (pixels); ``None`` fits the views.
    off_screen : bool | None
        Whether to draw without a window, as for `pyvista.Plotter`.

    Returns
    -------
    plotter : pyvista.Plotter
        Call its ``show()`` to turn the brains by hand, or `save_picture` to write a PNG.

    Raises
    ------
    ValueError
        If an estimate or an option is not valid.
    TypeError
        If an estimate is not one on the cortex.
    FileNotFoundError
        If the subject lacks a surface.
    """
    panels = strip(check_views(views))
    check_threshold(threshold)
    tables = _relative_peaks(estimates, subject)
    ground = read_ground(
        Extras(truth=truth, trans=trans),
        subject=subject,
        subjects_dir=subjects_dir,
        surface=surface,
        source_size=source_size,
    )
    scale = ColourScale(SEQUENTIAL, np.linspace(0, 100, 5))
    size = {"threshold": threshold, "source_size": source_size}
    drawn = [value_layers(table, ground, scale, name, **size) for name, table in tables.items()]
    kinds = [kind for _, kind in drawn]
    names = [
        f"{name}\n(no source)" if kind == "nothing" else name
        for name, kind in zip(estimates, kinds, strict=True)
    ]
    page = arrange(
        [panels] * len(tables),
        ground.cortex,
        window_size=window_size,
        title=title is not None,
        margin_chars=max(len(line) for name in names for line in name.splitlines()) + 2,
        grid=True,
    )
    stage = Stage(page, background=background, off_screen=off_screen)
    for row, (layers, _) in enumerate(drawn):
        whole = {hemi: ground.layers[hemi] + layers[hemi] for hemi in HEMIS}
        for column, panel in enumerate(panels):
            stage.aim(row * len(panels) + column, panel, ground.cortex, caption=row == 0)
            stage.draw_panel(panel, whole, ground.diamonds, source_size)
    stage.draw_margins(
        title=title,
        scale=scale,
        scale_title="Peak magnitude (% of each method's largest"
        + (f"; maps shown above {threshold:g} %)" if "paint" in kinds else ")"),
        legend=[ESTIMATE] * ("spheres" in kinds) + ground.legend,
        empty=set(kinds) == {"nothing"},
    )
    stage.name_rows(names)
    return stage.plotter


def _relative_peaks(
    estimates: dict[str, mne.SourceEstimate], subject: str
) -> dict[str, pd.DataFrame]:
    """Return the peak at each position in percent of the method's largest, by name for errors."""
    if not estimates:
        raise ValueError("estimates is empty; it must hold an estimate per method.")
    tables = {}
    for method, stc in estimates.items():
        name = f"estimates[{method!r}]"
        check_estimate(stc, name, subject)
        peaks = magnitudes(stc, name).max(axis=1)
        largest = max(peaks.max(initial=0.0), np.finfo(float).tiny)
        tables[name] = estimate_table(stc, 100 * peaks / largest)
    return tables
