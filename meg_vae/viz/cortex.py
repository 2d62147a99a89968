"""Sources on the cortex."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from . import marks
from .drawing import ESTIMATE, REGION, TRUE, Stage
from .layout import ALL_VIEWS, arrange, check_views, sheet
from .places import check_places, true_places
from .scale import ColourScale
from .style import FROM_ZERO, MEASURES
from .surfaces import load_cortex

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    import mne
    import pandas as pd
    import pyvista


def plot_cortex(
    sources: pd.DataFrame,
    *,
    subject: str,
    subjects_dir: str | PathLike,
    surface: str = "inflated",
    views: tuple[str, ...] | str = ALL_VIEWS,
    truth: pd.DataFrame | list[mne.Dipole] | None = None,
    trans: mne.Transform | None = None,
    ellipsoids: Sequence[tuple[np.ndarray, np.ndarray]] | None = None,
    color_by: str = "peak_nAm",
    size_by: str | None = None,
    source_size: float = 5.0,
    clim: tuple[float, float] | None = None,
    title: str | None = None,
    background: str = "white",
    window_size: tuple[int, int] | None = None,
    off_screen: bool | None = None,
) -> pyvista.Plotter:
    """Draw sources as spheres on both hemispheres, seen from several sides.

    Parameters
    ----------
    sources : pandas.DataFrame
        A row per source, with ``hemi`` ("lh" or "rh"), ``vertno`` and the columns that ``color_by``
        and ``size_by`` name, as `VAEInverse.sources_` has them.
    subject : str
        Name of the subject's folder.
    subjects_dir : path-like
        The FreeSurfer folder that holds it.
    surface : "inflated" | "white" | "pial"
        The surface to draw. On the two folded ones a source in a sulcus is drawn at its mouth.
    views : tuple of str
        Any of "lateral", "medial", "dorsal", "ventral", "rostral", "caudal". The first two show
        each hemisphere by itself.
    truth : pandas.DataFrame | list of mne.Dipole | None
        True sources to mark: a table with ``hemi`` and ``vertno``, or dipoles in head coordinates.
    trans : mne.Transform | None
        The transform between head and MRI coordinates, which dipoles need.
    ellipsoids : sequence of (ndarray, shape (3,), ndarray, shape (3, 3)) | None
        Confidence ellipsoids, each by its centre and its semi-axes in the columns, in mm of MRI
        surface RAS coordinates, as `Bootstrap.ellipsoids` gives them. They are drawn translucent
        in a see-through cortex, and sources in their sulci; not on the inflated surface, whose
        millimetres are not those of the head.
    color_by : "peak_nAm" | "sd_nAm" | "log_evidence" | "peak_s"
        The column that colours the spheres.
    size_by : str | None
        The column that the area of a sphere follows; ``None`` makes all alike.
    source_size : float
        Radius of the (largest) sphere (mm).
    clim : tuple of float | None
        Ends of the colour scale; ``None`` takes round numbers around the values.
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
        If the sources, an option or the scale is not valid.
    TypeError
        If ``sources`` is not a table.
    FileNotFoundError
        If the subject lacks a surface.
    """
    rows = sheet(check_views(views))
    for name, column in (("color_by", color_by), ("size_by", size_by)):
        _check_measure(name, column, sources)
    regions = _check_ellipsoids(ellipsoids, surface)
    cortex = load_cortex(subject, subjects_dir, surface)
    check_places(sources, cortex, "sources")
    true = true_places(truth, cortex, trans=trans, subject=subject, subjects_dir=subjects_dir)
    page = arrange(rows, cortex, window_size=window_size, title=title is not None)

    meshes = {hemi: marks.cortex_mesh(part) for hemi, part in cortex.items()}
    values = sources[color_by].to_numpy(float)
    if size_by is None:
        radius = np.full(len(sources), source_size)
    else:
        radius = marks.areas_as(sources[size_by].to_numpy(float), source_size)
    folded = surface != "inflated" and regions is None
    spheres = marks.spheres(sources, values, radius, meshes, folded=folded)
    diamonds = marks.diamonds(true, source_size, meshes, folded=folded)
    scale = ColourScale.around(values, from_zero=color_by in FROM_ZERO, clim=clim)

    drawn = None if regions is None else marks.ellipsoids_by_hemi(regions, cortex)

    stage = Stage(page, background=background, off_screen=off_screen)
    for index, panel in enumerate(panel for row in rows for panel in row):
        stage.aim(index, panel, cortex)
        stage.draw_panel(panel, meshes, spheres, scale, diamonds, source_size, drawn)
    stage.draw_margins(
        title=title,
        scale=scale,
        scale_title=MEASURES[color_by],
        legend=[ESTIMATE] * bool(spheres) + [TRUE] * bool(diamonds) + [REGION] * bool(drawn),
        empty=not spheres,
    )
    return stage.plotter


def picture(plotter: pyvista.Plotter) -> np.ndarray:
    """Render a plotter without a window, and close it.

    Parameters
    ----------
    plotter : pyvista.Plotter
        A plotter that has not been shown.

    Returns
    -------
    image : ndarray of uint8, shape (height, width, 3)
        The picture.
    """
    if plotter.render_window is None:
        raise RuntimeError("plotter is closed; draw the cortex again.")
    plotter.off_screen = True
    plotter.render_window.SetOffScreenRendering(True)
    try:
        return np.array(plotter.screenshot(return_img=True))
    finally:
        plotter.close()


def save_picture(plotter: pyvista.Plotter, path: str | PathLike) -> Path:
    """Render a plotter without a window, write the picture as a PNG, and close the plotter.

    Parameters
    ----------
    plotter : pyvista.Plotter
        A plotter that has not been shown.
    path : path-like
        The file to write, ending in ``.png``. It appears whole or not at all.

    Returns
    -------
    path : pathlib.Path
        The file.
    """
    from matplotlib.image import imsave

    path = Path(path)
    if path.suffix != ".png":
        raise ValueError(f"path must end in .png; got {str(path)!r}.")
    image = picture(plotter)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        imsave(part, image, format="png")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _check_ellipsoids(
    ellipsoids: Sequence[tuple[np.ndarray, np.ndarray]] | None, surface: str
) -> list[tuple[np.ndarray, np.ndarray]] | None:
    """Raise ValueError unless the ellipsoids can be drawn on the surface."""
    if ellipsoids is None:
        return None
    if surface == "inflated":
        raise ValueError(
            "ellipsoids are in mm of the head and cannot be drawn on surface='inflated'; "
            "use surface='white' or 'pial'."
        )
    pairs = [(np.asarray(centre, float), np.asarray(axes, float)) for centre, axes in ellipsoids]
    for centre, axes in pairs:
        if (
            centre.shape != (3,)
            or axes.shape != (3, 3)
            or not np.isfinite([*centre, *axes.flat]).all()
        ):
            raise ValueError(
                "ellipsoids must be pairs of a centre (3,) and semi-axes (3, 3), all finite; "
                f"got shapes {centre.shape} and {axes.shape}."
            )
    return pairs


def _check_measure(name: str, column: str | None, sources: pd.DataFrame) -> None:
    """Raise an error unless a column can colour or size the sources."""
    import pandas as pd

    if not isinstance(sources, pd.DataFrame):
        raise TypeError(f"sources must be a pandas.DataFrame; got {type(sources).__name__}.")
    if column is None and name == "size_by":
        return
    if column not in MEASURES:
        raise ValueError(f"{name} must be one of {', '.join(MEASURES)}; got {column!r}.")
    if column not in sources:
        raise ValueError(f"{name}={column!r}: sources has no such column.")
    if not np.isfinite(sources[column].to_numpy(float)).all():
        raise ValueError(f"{name}={column!r}: sources has values there that are not finite.")
