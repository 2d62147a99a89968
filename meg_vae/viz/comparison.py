"""Estimates of several methods side by side on the cortex."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import marks
from .drawing import ESTIMATE, TRUE, Stage
from .layout import ALL_VIEWS, arrange, check_views, strip
from .places import check_places, true_places
from .scale import ColourScale
from .spreading import spread
from .style import SEQUENTIAL
from .surfaces import HEMIS, load_cortex

if TYPE_CHECKING:
    from os import PathLike

    import mne
    import pandas as pd
    import pyvista

    from .surfaces import Hemisphere

FEW = 300  # as many active positions are drawn as spheres; more are painted on the surface
LIFT_MM = 0.4  # height of the paint above the surface


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
    surface : "inflated" | "white" | "pial"
        The surface to draw. On the two folded ones a source in a sulcus is drawn at its mouth.
    views : tuple of str
        Any of "lateral", "medial", "dorsal", "ventral", "rostral", "caudal".
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
    if not 0 <= threshold < 100:
        raise ValueError(f"threshold must be from 0 to below 100 percent; got {threshold!r}.")
    cortex = load_cortex(subject, subjects_dir, surface)
    tables = _relative_peaks(estimates, cortex)
    true = true_places(truth, cortex, trans=trans, subject=subject, subjects_dir=subjects_dir)
    names = [
        name if table["percent"].any() else f"{name}\n(no source)" for name, table in tables.items()
    ]
    page = arrange(
        [panels] * len(tables),
        cortex,
        window_size=window_size,
        title=title is not None,
        margin_chars=max(len(line) for name in names for line in name.splitlines()) + 2,
        grid=True,
    )

    folded = surface != "inflated"
    meshes = {hemi: marks.cortex_mesh(part) for hemi, part in cortex.items()}
    diamonds = marks.diamonds(true, source_size, meshes, folded=folded)
    scale = ColourScale(SEQUENTIAL, np.linspace(0, 100, 5))
    stage = Stage(page, background=background, off_screen=off_screen)
    kinds = set()
    for row, table in enumerate(tables.values()):
        active = table[table["percent"] > 0].reset_index(drop=True)
        if len(active) <= FEW:
            drawn = _spheres(active, meshes, source_size, folded=folded)
            kinds.add("spheres" if len(active) else "nothing")
        else:
            drawn = _paint(table, cortex, meshes, threshold)
            kinds.add("paint")
        for column, panel in enumerate(panels):
            stage.aim(row * len(panels) + column, panel, cortex, caption=row == 0)
            stage.draw_panel(panel, meshes, drawn, scale, diamonds, source_size)
    stage.draw_margins(
        title=title,
        scale=scale,
        scale_title="Peak magnitude (% of each method's largest"
        + (f"; maps shown above {threshold:g} %)" if "paint" in kinds else ")"),
        legend=[ESTIMATE] * ("spheres" in kinds) + [TRUE] * bool(diamonds),
        empty=kinds == {"nothing"},
    )
    stage.name_rows(names)
    return stage.plotter


def _spheres(
    active: pd.DataFrame, meshes: dict[str, pyvista.PolyData], largest: float, *, folded: bool
) -> dict[str, pyvista.PolyData]:
    """Return spheres at the active positions, their area after the magnitude."""
    percent = active["percent"].to_numpy(float)
    return marks.spheres(active, percent, marks.areas_as(percent, largest), meshes, folded=folded)


def _paint(
    table: pd.DataFrame,
    cortex: dict[str, Hemisphere],
    meshes: dict[str, pyvista.PolyData],
    threshold: float,
) -> dict[str, pyvista.PolyData]:
    """Return the parts of the surface where a dense estimate exceeds the threshold."""
    painted = {}
    for hemi, hemisphere in cortex.items():
        part = table[table["hemi"] == hemi]
        if part.empty:
            continue
        values = spread(hemisphere, part["vertno"].to_numpy(int), part["percent"].to_numpy(float))
        coat = meshes[hemi].copy()
        coat.points = coat.points + LIFT_MM * coat["Normals"]
        coat["value"] = np.nan_to_num(values, nan=-1.0)
        patch = coat.clip_scalar(scalars="value", value=threshold, invert=False)
        if patch.n_points:
            painted[hemi] = patch
    return painted


def _relative_peaks(
    estimates: dict[str, mne.SourceEstimate], cortex: dict[str, Hemisphere]
) -> dict[str, pd.DataFrame]:
    """Return active positions per method, with their peak in percent of the method's largest."""
    import mne
    import pandas as pd

    if not estimates:
        raise ValueError("estimates is empty; it must hold an estimate per method.")
    tables = {}
    for name, stc in estimates.items():
        if not isinstance(stc, (mne.SourceEstimate, mne.VectorSourceEstimate)):
            raise TypeError(
                f"estimates[{name!r}] must be an mne.SourceEstimate on the cortex; "
                f"got {type(stc).__name__}."
            )
        if isinstance(stc, mne.VectorSourceEstimate):
            stc = stc.magnitude()
        peak = np.abs(stc.data).max(axis=1)
        if not np.isfinite(peak).all():
            raise ValueError(f"estimates[{name!r}] has values that are not finite.")
        table = pd.DataFrame(
            {
                "hemi": np.repeat(HEMIS, [len(vertno) for vertno in stc.vertices]),
                "vertno": np.concatenate(stc.vertices),
                "percent": 100 * peak / peak.max(initial=np.finfo(float).tiny),
            }
        )
        check_places(table, cortex, f"estimates[{name!r}]")
        tables[name] = table
    return tables
