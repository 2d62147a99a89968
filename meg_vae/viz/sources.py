"""A table of sources as a scene: spheres, arrows, regions and borders on the cortex."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import marks
from .ground import Extras, read_ground
from .patches import are_patches, patch_layers
from .places import check_places
from .scale import Categories, ColourScale
from .scene import ESTIMATE, Key, Layer, Scene
from .style import FROM_ZERO, MEASURES, PAINT, REGION
from .surfaces import HEMIS

if TYPE_CHECKING:
    from os import PathLike

    import pandas as pd
    import pyvista
    from numpy.typing import ArrayLike

PATCH = Key("estimate, a patch", "patch", PAINT)
REGION_KEY = Key("95 % region", "patch", REGION)
NAMES = ("method", "group_source")  # measures that are names, each with a colour of its own
COVARIANCE = ("cov_xx", "cov_xy", "cov_xz", "cov_yy", "cov_yz", "cov_zz")


def source_scene(
    sources: pd.DataFrame,
    extras: Extras,
    *,
    subject: str,
    subjects_dir: str | PathLike,
    surface: str,
    color_by: str,
    size_by: str | None,
    source_size: float,
    clim: tuple[float, float] | None,
    title: str | None,
    background: str,
) -> Scene:
    """Make a scene of a table of sources; the parameters are those of `plot_cortex`.

    Parameters
    ----------
    sources : pandas.DataFrame
        The sources.
    extras : Extras
        What is drawn beside them.
    subject, subjects_dir, surface : str, path-like, str
        The cortex.
    color_by, size_by, source_size, clim : str, str | None, float, tuple of float | None
        How a source looks.
    title, background : str | None, str
        How the page looks.

    Returns
    -------
    scene : Scene
        The scene.
    """
    for name, column in (("color_by", color_by), ("size_by", size_by)):
        check_measure(name, column, sources)
    directions = _directions(extras.orientations, len(sources), surface)
    regions = _regions(extras.ellipsoids, surface)
    ground = read_ground(
        extras,
        subject=subject,
        subjects_dir=subjects_dir,
        surface=surface,
        source_size=source_size,
    )
    if not (surface == "glass" and set(marks.OWN_PLACE) <= set(sources)):
        check_places(sources, ground.cortex, "sources")
    scale, values = colour_scale(sources, color_by, clim)
    radius = np.full(len(sources), source_size)
    if size_by is not None:
        radius = marks.areas_as(sources[size_by].to_numpy(float), source_size)
    points = marks.centres(sources, ground.cortex, ground.meshes, radius, surface)
    if color_by == "method":  # methods that agree are drawn side by side
        points = marks.fan_out(points, radius)
    balls: dict[str, list[Layer]] = {hemi: [] for hemi in HEMIS}
    large = are_patches(sources)
    for hemi, rows in marks.by_hemisphere(marks.sides(sources)).items():
        rows = rows[~large[rows]]
        if len(rows):
            mesh = _balls(points[rows], radius[rows], values[rows], directions[rows])
            balls[hemi].append(Layer(mesh, table=scale.table()))
    patches = patch_layers(
        sources[large],
        values[large],
        scale,
        ground.meshes,
        subject=subject,
        subjects_dir=subjects_dir,
    )
    return Scene(
        cortex=ground.cortex,
        layers={
            hemi: ground.layers[hemi] + patches[hemi] + balls[hemi] + regions[hemi]
            for hemi in HEMIS
        },
        diamonds=ground.diamonds,
        source_size=source_size,
        scale=scale,
        scale_title=MEASURES[color_by],
        legend=[
            *_source_keys(scale, sources, large),
            *([REGION_KEY] if any(regions.values()) else []),
            *ground.legend,
        ],
        empty=sources.empty,
        title=title,
        background=background,
        around=ground.around,
    )


def _source_keys(
    scale: ColourScale | Categories, sources: pd.DataFrame, large: np.ndarray
) -> list[Key]:
    """Return the legend of the sources: points and patches, or a line for each name."""
    if sources.empty:
        return []
    if isinstance(scale, Categories):
        return [Key(name, "ball", scale.colour(k)) for k, name in enumerate(scale.names)]
    return [*([] if large.all() else [ESTIMATE]), *([PATCH] if large.any() else [])]


def colour_scale(
    sources: pd.DataFrame, color_by: str, clim: tuple[float, float] | None
) -> tuple[ColourScale | Categories, np.ndarray]:
    """Return the colours of the sources, and the value of each."""
    if color_by in NAMES:
        names = Categories.of(sources[color_by])
        return names, names.numbers(sources[color_by])
    values = sources[color_by].to_numpy(float)
    return ColourScale.around(values, from_zero=color_by in FROM_ZERO, clim=clim), values


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
    missing = [name for name in (*marks.OWN_PLACE, *COVARIANCE) if name not in ellipsoids]
    if missing:
        raise ValueError(f"ellipsoids lacks the column {', '.join(missing)}.")
    centres = ellipsoids[list(marks.OWN_PLACE)].to_numpy(float)
    xx, xy, xz, yy, yz, zz = ellipsoids[list(COVARIANCE)].to_numpy(float).T
    covariances = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]).transpose(2, 0, 1)
    if not (np.isfinite(centres).all() and np.isfinite(covariances).all()):
        raise ValueError("ellipsoids has values that are not finite.")
    for hemi, rows in marks.by_hemisphere(marks.sides(ellipsoids)).items():
        mesh = marks.ellipsoid_mesh(centres[rows], covariances[rows])
        layers[hemi].append(Layer(mesh, colour=REGION, opacity=0.45))
    return layers


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
