"""Meshes to draw: a cortex in two greys, spheres for estimates, diamonds for true sources."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .style import INK, TRUTH

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    import pyvista

    from .surfaces import Hemisphere

REACH_MM = 25.0  # how far out the mouth of a sulcus is looked for
STAND_OFF = 0.35  # share of its radius by which a mark's centre stands off an inflated surface


def cortex_mesh(hemisphere: Hemisphere) -> pyvista.PolyData:
    """Return the surface with its curvature and its outward normals."""
    import pyvista as pv

    mesh = pv.PolyData.from_regular_faces(hemisphere.points, hemisphere.triangles)
    mesh["curvature"] = hemisphere.curvature
    mesh = mesh.compute_normals(cell_normals=False, split_vertices=False, consistent_normals=False)
    outward = np.sum(mesh["Normals"] * (mesh.points - mesh.points.mean(axis=0)))
    if outward < 0:  # triangles wound the other way round
        mesh["Normals"] *= -1
    return mesh


def places(
    mesh: pyvista.PolyData, vertno: np.ndarray, *, radius: np.ndarray, folded: bool
) -> np.ndarray:
    """Return where to draw marks so that the cortex does not swallow them.

    Parameters
    ----------
    mesh : pyvista.PolyData
        The surface, from `cortex_mesh`.
    vertno : ndarray of int, shape (n_marks,)
        Their vertices.
    radius : ndarray, shape (n_marks,)
        Their radii (mm).
    folded : bool
        Whether the surface has sulci; a mark is then carried out of its sulcus, to the mouth.

    Returns
    -------
    points : ndarray, shape (n_marks, 3)
        Centres of the marks (mm).
    """
    points = np.asarray(mesh.points, float)
    normals = np.asarray(mesh["Normals"], float)
    if not folded:
        return points[vertno] + STAND_OFF * radius[:, np.newaxis] * normals[vertno]
    return np.array([_mouth(points, normals, *mark) for mark in zip(vertno, radius, strict=True)])


def spheres(
    table: pd.DataFrame,
    values: np.ndarray,
    radius: np.ndarray,
    meshes: dict[str, pyvista.PolyData],
    *,
    folded: bool,
) -> dict[str, pyvista.PolyData]:
    """Return the spheres of each hemisphere that has sources, with their values."""
    found = {}
    for hemi, rows in _rows(table).items():
        vertno = table["vertno"].to_numpy(int)[rows]
        centres = places(meshes[hemi], vertno, radius=radius[rows], folded=folded)
        found[hemi] = ball_mesh(centres, radius[rows], values[rows])
    return found


def diamonds(
    table: pd.DataFrame, radius: float, meshes: dict[str, pyvista.PolyData], *, folded: bool
) -> dict[str, np.ndarray]:
    """Return the centres of the diamonds of each hemisphere that has true sources."""
    found = {}
    for hemi, rows in _rows(table).items():
        vertno = table["vertno"].to_numpy(int)[rows]
        size = np.full(len(rows), radius)
        found[hemi] = places(meshes[hemi], vertno, radius=size, folded=folded)
    return found


def ball_mesh(centres: np.ndarray, radius: np.ndarray, values: np.ndarray) -> pyvista.PolyData:
    """Return spheres with their value at every vertex."""
    import pyvista as pv

    points = pv.PolyData(centres)
    points["value"], points["radius"] = values, radius
    ball = pv.Sphere(radius=1.0, theta_resolution=32, phi_resolution=32)
    return points.glyph(scale="radius", orient=False, geom=ball)


def ellipsoid_mesh(ellipsoids: Sequence[tuple[np.ndarray, np.ndarray]]) -> pyvista.PolyData:
    """Return ellipsoids, each given by its centre and its semi-axes in the columns (mm)."""
    import pyvista as pv

    unit = pv.Sphere(radius=1.0, theta_resolution=32, phi_resolution=32)
    parts = []
    for centre, axes in ellipsoids:
        part = unit.copy()
        part.points = np.asarray(unit.points) @ np.asarray(axes, float).T + centre
        parts.append(part.compute_normals(cell_normals=False, auto_orient_normals=True))
    return pv.merge(parts)


def ellipsoids_by_hemi(
    ellipsoids: Sequence[tuple[np.ndarray, np.ndarray]], cortex: dict[str, Hemisphere]
) -> dict[str, pyvista.PolyData]:
    """Return the ellipsoids of each hemisphere that has any: the one whose cortex is nearest."""
    groups: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for centre, axes in ellipsoids:
        gap = {
            hemi: np.linalg.norm(part.white - centre, axis=1).min() for hemi, part in cortex.items()
        }
        groups.setdefault(min(gap, key=lambda hemi: gap[hemi]), []).append((centre, axes))
    return {hemi: ellipsoid_mesh(group) for hemi, group in groups.items()}


def diamond_mesh() -> pyvista.PolyData:
    """Return an open diamond around a unit sphere, in the plane that faces z.

    It floats two radii in front of its centre, so that no slope of the cortex cuts it.
    """
    import pyvista as pv

    rim = pv.Disc(center=(0, 0, 2.0), inner=1.45, outer=2.15, c_res=4)
    face = pv.Disc(center=(0, 0, 2.1), inner=1.55, outer=2.0, c_res=4)
    for part, colour in ((rim, INK), (face, TRUTH)):
        part.cell_data["rgb"] = np.tile(pv.Color(colour).int_rgb, (4, 1)).astype(np.uint8)
    return rim.append_polydata(face)


def areas_as(values: np.ndarray, largest: float) -> np.ndarray:
    """Return radii (mm) that make areas follow values, none too small to be seen."""
    share = np.abs(values) / max(np.abs(values).max(initial=0.0), np.finfo(float).tiny)
    return largest * np.sqrt(np.clip(share, 0.3, 1.0))


def _rows(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return the row numbers of each hemisphere that has any."""
    return {str(hemi): np.asarray(rows) for hemi, rows in table.groupby("hemi").indices.items()}


def _mouth(points: np.ndarray, normals: np.ndarray, vertex: int, radius: float) -> np.ndarray:
    """Return the outermost place above a vertex, as far out as a sulcus is deep."""
    near = np.linalg.norm(points - points[vertex], axis=1) < REACH_MM
    outward = normals[near].mean(axis=0)  # the two banks of a sulcus cancel
    outward /= np.linalg.norm(outward)
    offset = points[near] - points[vertex]
    height = offset @ outward
    aside = np.linalg.norm(offset - np.outer(height, outward), axis=1)
    return points[vertex] + outward * height[aside < radius].max()
