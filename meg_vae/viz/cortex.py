"""Sources on the cortex."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .drawing import Stage
from .ground import Extras
from .layout import ALL_VIEWS, arrange, check_views, sheet
from .sources import source_scene

if TYPE_CHECKING:
    from os import PathLike

    import mne
    import pandas as pd
    import pyvista
    from numpy.typing import ArrayLike

    from .flat import FlatPicture
    from .layout import View


def plot_cortex(
    sources: pd.DataFrame,
    *,
    subject: str,
    subjects_dir: str | PathLike,
    surface: str = "inflated",
    shell: str | None = None,
    views: tuple[View, ...] | View = ALL_VIEWS,
    labels: str | list[mne.Label] | None = None,
    truth: pd.DataFrame | list[mne.Dipole] | None = None,
    trans: mne.Transform | None = None,
    orientations: ArrayLike | None = None,
    ellipsoids: pd.DataFrame | None = None,
    color_by: str = "peak_nAm",
    size_by: str | None = None,
    source_size: float = 5.0,
    clim: tuple[float, float] | None = None,
    title: str | None = None,
    background: str = "white",
    window_size: tuple[int, int] | None = None,
    off_screen: bool | None = None,
) -> pyvista.Plotter | FlatPicture:
    """Draw sources as spheres on both hemispheres, seen from several sides.

    Parameters
    ----------
    sources : pandas.DataFrame
        A row per source, with ``hemi`` ("lh" or "rh"), ``vertno`` and the columns that ``color_by``
        and ``size_by`` name, as `VAEInverse.sources_` has them. For a glass brain ``x_mm``,
        ``y_mm`` and ``z_mm`` (MRI surface RAS) are enough.
    subject : str
        Name of the subject's folder.
    subjects_dir : path-like
        The FreeSurfer folder that holds it.
    surface : "inflated" | "white" | "pial" | "glass"
        The surface to draw. On the two folded ones a source in a sulcus is drawn at its mouth; in
        the glass brain every source is at its own place, in the depth too.
    shell : "inner_skull" | "head" | None
        What to draw around the brain, as glass.
    views : tuple of str or of (float, float)
        Any of "lateral", "medial", "dorsal", "ventral", "rostral", "caudal", or the azimuth and
        elevation of a camera (degrees), as MNE has them. The first two show each hemisphere by
        itself.
    labels : str | list of mne.Label | None
        Regions to outline: the name of an annotation, or labels. Up to four have colours.
    truth : pandas.DataFrame | list of mne.Dipole | None
        True sources to mark: a table with ``hemi`` and ``vertno``, or dipoles in head coordinates.
    trans : mne.Transform | None
        The transform between head and MRI coordinates, which dipoles need.
    orientations : array_like, shape (n_sources, 3) | None
        Directions of the sources in MRI coordinates, drawn as arrows; not on the inflated surface.
    ellipsoids : pandas.DataFrame | None
        Where sources may be, drawn as ellipsoids that hold 95 % of a normal distribution, in the
        glass brain: its mean ``x_mm``, ``y_mm``, ``z_mm`` and its covariance ``cov_xx``,
        ``cov_xy``, ``cov_xz``, ``cov_yy``, ``cov_yz``, ``cov_zz`` (mm²).
    color_by : "peak_nAm" | "sd_nAm" | "log_evidence" | "peak_s" | "method" | "group_source"
        The column that colours the spheres; a method, or a source of a group, has a colour of its
        own.
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
    plotter : pyvista.Plotter | FlatPicture
        It shows itself in a notebook. Its ``show()`` opens a window to turn the brains by hand;
        `save_picture` writes a PNG and `save_page` a page that turns the brain in a browser. The
        second kind is drawn by matplotlib, where there is no OpenGL.

    Raises
    ------
    ValueError
        If the sources, an option or the scale is not valid.
    TypeError
        If ``sources`` is not a table.
    FileNotFoundError
        If the subject lacks a surface or an annotation.

    Warns
    -----
    RuntimeWarning
        Once, if there is no OpenGL.
    """
    rows = sheet(check_views(views))
    scene = source_scene(
        sources,
        Extras(shell, labels, truth, trans, orientations, ellipsoids),
        subject=subject,
        subjects_dir=subjects_dir,
        surface=surface,
        color_by=color_by,
        size_by=size_by,
        source_size=source_size,
        clim=clim,
        title=title,
        background=background,
    )
    page = arrange(rows, scene.cortex, window_size=window_size, title=title is not None)
    stage = Stage(page, background=background, off_screen=off_screen)
    stage.draw_scene(scene, rows)
    stage.plotter.scene = scene
    return stage.plotter
