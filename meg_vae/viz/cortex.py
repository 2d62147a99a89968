"""A table of sources on the cortex: spheres, patches, arrows and the regions where they may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import marks
from .drawing import draw_page
from .layers import ESTIMATE, Categories, ColourScale, Key, Layer
from .look import Look, filled
from .paint import are_patches, patch_layers
from .scene import Scene, read_ground
from .style import FROM_ZERO, MEASURES, PAINT, REGION
from .surfaces import HEMIS, OWN_PLACE, check_places

if TYPE_CHECKING:
    from os import PathLike

    import mne
    import pandas as pd
    import pyvista
    from numpy.typing import ArrayLike

    from .flat import FlatPicture

PATCH = Key("estimate, a patch", "patch", PAINT)
REGION_KEY = Key("95 % region", "patch", REGION)
NAMES = ("method", "group_source")  # measures that are names, each with a colour of its own
COVARIANCE = ("cov_xx", "cov_xy", "cov_xz", "cov_yy", "cov_yz", "cov_zz")


def plot_cortex(
    sources: pd.DataFrame,
    *,
    subject: str,
    subjects_dir: str | PathLike,
    truth: pd.DataFrame | list[mne.Dipole] | None = None,
    trans: mne.Transform | None = None,
    orientations: ArrayLike | None = None,
    ellipsoids: pd.DataFrame | None = None,
    color_by: str = "peak_nAm",
    size_by: str | None = None,
    title: str | None = None,
    look: Look | None = None,
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
    title : str | None
        Title of the picture.
    look : Look | None
        How it looks: surface, views and all else.

    Returns
    -------
    plotter : pyvista.Plotter | FlatPicture
        It shows itself in a notebook. Its ``show()`` opens a window to turn the brains by hand;
        `save_picture` writes a PNG and `save_page` a page that turns the brain in a browser. The
        second kind is drawn by matplotlib, where there is no OpenGL.

    Raises
    ------
    ValueError
        If the sources or an option is not valid.
    TypeError
        If ``sources`` is not a table.
    FileNotFoundError
        If the subject lacks a surface or an annotation.

    Warns
    -----
    RuntimeWarning
        Once, if there is no OpenGL.
    """
    look = filled(look)
    for name, column in (("color_by", color_by), ("size_by", size_by)):
        check_measure(name, column, sources)
    directions = _directions(orientations, len(sources), look.surface)
    regions = _regions(ellipsoids, look.surface)
    ground = read_ground(look, subject=subject, subjects_dir=subjects_dir, truth=truth, trans=trans)
    if not (look.surface == "glass" and set(OWN_PLACE) <= set(sources)):
        check_places(sources, ground.cortex, "sources")
    scale, values = colour_scale(sources, color_by, look)
    radius = np.full(len(sources), look.source_size)
    if size_by is not None:
        radius = marks.areas_as(sources[size_by].to_numpy(float), look.source_size)
    points = marks.centres(sources, ground.cortex, ground.meshes, radius, look.surface)
    if color_by == "method":  # methods that agree are drawn side by side
        points = marks.fan_out(points, radius)
    large = are_patches(sources)
    layers = patch_layers(sources[large], values[large], scale, ground.meshes, **ground.head)
    for hemi, rows in marks.by_hemisphere(marks.sides(sources)).items():
        rows = rows[~large[rows]]
        if len(rows):
            mesh = _balls(points[rows], radius[rows], values[rows], directions[rows])
            layers[hemi].append(Layer(mesh, table=scale.table()))
    scene = Scene(
        ground=ground,
        scale=scale,
        scale_title=MEASURES[color_by],
        layers={hemi: layers[hemi] + regions[hemi] for hemi in HEMIS},
        legend=_keys(scale, sources, large) + [REGION_KEY] * any(regions.values()),
        empty=sources.empty,
        title=title,
    )
    return draw_page(scene)


def colour_scale(
    sources: pd.DataFrame, color_by: str, look: Look
) -> tuple[ColourScale | Categories, np.ndarray]:
    """Return the colours of the sources, and the value of each."""
    if color_by in NAMES:
        names = Categories.of(sources[color_by])
        return names, names.numbers(sources[color_by])
    values = sources[color_by].to_numpy(float)
    return ColourScale.around(values, from_zero=color_by in FROM_ZERO, clim=look.clim), values


def check_measure(name: str, column: str | None, sources: pd.DataFrame) -> None:
    """Raise an error unless a column can colour or size the sources."""
    import pandas as pd

    if not isinstance(sources, pd.DataFrame):
        raise TypeError(f"sources must be a pandas.DataFrame; got {type(sources).__name__}.")
    if column is None and name == "size_by":
        return
    known = [key for key in MEASURES if key not in NAMES or name == "color_by"]
    if column not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}; got {column!r}.")
    if column not in sources:
        raise ValueError(f"{name}={column!r}: sources has no such column.")
    if column not in NAMES and not np.isfinite(sources[column].to_numpy(float)).all():
        raise ValueError(f"{name}={column!r}: sources has values there that are not finite.")


def _keys(scale: ColourScale | Categories, sources: pd.DataFrame, large: np.ndarray) -> list[Key]:
    """Return the legend of the sources: points and patches, or a line for each name."""
    if sources.empty:
        return []
    if isinstance(scale, Categories):
        return [Key(name, "ball", scale.colour(k)) for k, name in enumerate(scale.names)]
    return [*([] if large.all() else [ESTIMATE]), *([PATCH] if large.any() else [])]


def _balls(
    points: np.ndarray, radius: np.ndarray, values: np.ndarray, directions: np.ndarray
) -> pyvista.PolyData:
    """Return spheres, with an arrow out of each that has a direction."""
    mesh = marks.ball_mesh(points, radius, values)
    has = np.isfinite(directions).all(axis=1)
    if has.any():
        arrows = marks.arrow_mesh(points[has], directions[has], radius[has], values[has])
        mesh = mesh.append_polydata(arrows)
    return mesh


def _directions(orientations: ArrayLike | None, n_sources: int, surface: str) -> np.ndarray:
    """Return a unit vector per source, not a number where it has none."""
    if orientations is None:
        return np.full((n_sources, 3), np.nan)
    if surface == "inflated":
        raise ValueError(
            "orientations cannot be drawn on the inflated surface, which has other directions; "
            "use surface='white', 'pial' or 'glass'."
        )
    directions = np.asarray(orientations, float).reshape(-1, 3)
    length = np.linalg.norm(directions, axis=1, keepdims=True)
    if len(directions) != n_sources or not np.isfinite(length).all() or not length.all():
        raise ValueError(
            f"orientations must be {n_sources} directions, one per source, of which none is zero; "
            f"got shape {np.shape(orientations)}."
        )
    return directions / length


def _regions(ellipsoids: pd.DataFrame | None, surface: str) -> dict[str, list[Layer]]:
    """Return where sources may be, as transparent ellipsoids."""
    layers: dict[str, list[Layer]] = {hemi: [] for hemi in HEMIS}
    if ellipsoids is None:
        return layers
    if surface != "glass":
        raise ValueError("ellipsoids are places in the head; draw them with surface='glass'.")
    missing = [name for name in (*OWN_PLACE, *COVARIANCE) if name not in ellipsoids]
    if missing:
        raise ValueError(f"ellipsoids lacks the column {', '.join(missing)}.")
    centres = ellipsoids[list(OWN_PLACE)].to_numpy(float)
    xx, xy, xz, yy, yz, zz = ellipsoids[list(COVARIANCE)].to_numpy(float).T
    covariances = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]).transpose(2, 0, 1)
    if not (np.isfinite(centres).all() and np.isfinite(covariances).all()):
        raise ValueError("ellipsoids has values that are not finite.")
    for hemi, rows in marks.by_hemisphere(marks.sides(ellipsoids)).items():
        mesh = marks.ellipsoid_mesh(centres[rows], covariances[rows])
        layers[hemi].append(Layer(mesh, colour=REGION, opacity=0.45))
    return layers
