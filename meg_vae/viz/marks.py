"""Meshes to draw: a cortex in two greys, spheres for estimates, diamonds for true sources."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .style import INK, TRUTH
from .surfaces import HEMIS, OWN_PLACE

if TYPE_CHECKING:
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
    """Return where to draw marks (mm) so that the cortex does not swallow them.

    On a folded surface a mark is carried out of its sulcus, to the mouth.
    """
    points = np.asarray(mesh.points, float)
    normals = np.asarray(mesh["Normals"], float)
    if not folded:
        return points[vertno] + STAND_OFF * radius[:, np.newaxis] * normals[vertno]
    return np.array([_mouth(points, normals, *mark) for mark in zip(vertno, radius, strict=True)])


def centres(
    table: pd.DataFrame,
    cortex: dict[str, Hemisphere],
    meshes: dict[str, pyvista.PolyData],
    radius: np.ndarray,
    surface: str,
) -> np.ndarray:
    """Return where to draw the mark of each row of a table (mm), given its radius.

    In a glass brain a mark is at its own place; on a surface where the vertex of the white surface
    is that is nearest to it.
    """
    if surface == "glass" and set(OWN_PLACE) <= set(table):
        return table[list(OWN_PLACE)].to_numpy(float).reshape(-1, 3)
    points = np.empty((len(table), 3))
    for hemi, rows in _rows(table).items():
        vertno = _vertices(table.iloc[rows], cortex[hemi])
        if surface == "glass":
            points[rows] = cortex[hemi].white[vertno]
        else:
            folded = surface != "inflated"
            points[rows] = places(meshes[hemi], vertno, radius=radius[rows], folded=folded)
    return points


def spheres(
    table: pd.DataFrame,
    largest: float,
    cortex: dict[str, Hemisphere],
    meshes: dict[str, pyvista.PolyData],
    surface: str,
) -> dict[str, pyvista.PolyData]:
    """Return spheres of each hemisphere, with areas after the column ``value``."""
    values = table["value"].to_numpy(float)
    radius = areas_as(values, largest)
    points = centres(table, cortex, meshes, radius, surface)
    found = by_hemisphere(sides(table))
    return {k: ball_mesh(points[rows], radius[rows], values[rows]) for k, rows in found.items()}


def true_centres(
    table: pd.DataFrame,
    radius: float,
    cortex: dict[str, Hemisphere],
    meshes: dict[str, pyvista.PolyData],
    surface: str,
) -> dict[str, np.ndarray]:
    """Return where to draw the true sources of each hemisphere that has any (mm)."""
    points = centres(table, cortex, meshes, np.full(len(table), radius), surface)
    return {hemi: points[rows] for hemi, rows in by_hemisphere(sides(table)).items()}


def sides(table: pd.DataFrame) -> np.ndarray:
    """Return the hemisphere with which each row is drawn: its own, or that on its side."""
    named = table["hemi"].astype(object) if "hemi" in table else [None] * len(table)
    named = np.array(named, dtype=object)
    if set(OWN_PLACE) <= set(table):
        by_side = np.where(table["x_mm"].to_numpy(float) < 0, *HEMIS)
        return np.where(np.isin(named, HEMIS), named, by_side)
    return named


def fan_out(points: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Return marks moved aside where several share a place, on a ring that faces outwards."""
    apart = points.copy()
    for place in np.unique(np.round(points, 3), axis=0):
        same = np.flatnonzero(np.abs(points - place).max(axis=1) < 1e-3)
        if len(same) < 2:
            continue
        outward = place / max(np.linalg.norm(place), 1e-9)
        aside = np.linalg.svd(outward[np.newaxis])[2][1:]  # two directions across it
        angle = 2 * np.pi * np.arange(len(same)) / len(same)
        ring = radius[same].max() / np.sin(np.pi / len(same)) * 0.95
        apart[same] += ring * np.column_stack([np.cos(angle), np.sin(angle)]) @ aside
    return apart


def by_hemisphere(hemis: np.ndarray) -> dict[str, np.ndarray]:
    """Return the row numbers of each hemisphere that has any."""
    return {hemi: rows for hemi in HEMIS if len(rows := np.flatnonzero(hemis == hemi))}


def ball_mesh(
    centres: np.ndarray, radius: np.ndarray, values: np.ndarray | None = None
) -> pyvista.PolyData:
    """Return spheres with their value at every vertex."""
    import pyvista as pv

    points = pv.PolyData(np.asarray(centres, float))
    points["value"] = np.zeros(len(centres)) if values is None else values
    points["radius"] = radius
    ball = pv.Sphere(radius=1.0, theta_resolution=32, phi_resolution=32)
    return points.glyph(scale="radius", orient=False, geom=ball)


def arrow_mesh(
    centres: np.ndarray, directions: np.ndarray, radius: np.ndarray, values: np.ndarray
) -> pyvista.PolyData:
    """Return arrows that come out of spheres, with their value at every vertex."""
    import pyvista as pv

    points = pv.PolyData(np.asarray(centres, float))
    points["value"], points["radius"], points["direction"] = values, radius, directions
    arrow = pv.Arrow(
        start=(0.0, 0, 0), scale=4.0, shaft_radius=0.07, tip_radius=0.17, tip_length=0.35
    )
    return points.glyph(scale="radius", orient="direction", geom=arrow)


def ellipsoid_mesh(
    centres: np.ndarray, covariances: np.ndarray, share: float = 0.95
) -> pyvista.PolyData:
    """Return the ellipsoids that hold a share of normal distributions (mm, mm²), as one mesh.

    (x − m)ᵀ C⁻¹ (x − m) is at most that quantile of χ² with three degrees of freedom; an axis of
    less than half a millimetre is drawn that long, to be seen.
    """
    import pyvista as pv
    from scipy.stats import chi2

    mesh = pv.PolyData()
    ball = pv.Sphere(radius=1.0, theta_resolution=24, phi_resolution=24)
    for centre, covariance in zip(centres, covariances, strict=True):
        variances, axes = np.linalg.eigh(covariance)
        half = np.maximum(np.sqrt(chi2.ppf(share, 3) * np.maximum(variances, 0)), 0.5)
        one = ball.copy()
        one.points = centre + (np.asarray(ball.points) * half) @ axes.T
        mesh = mesh.append_polydata(one) if mesh.n_points else one
    return mesh.compute_normals(cell_normals=False, split_vertices=False, auto_orient_normals=True)


def true_mesh(centres: np.ndarray, radius: float) -> pyvista.PolyData:
    """Return the edges of octahedra around places, which can be seen from everywhere."""
    import pyvista as pv

    solid = pv.PlatonicSolid("octahedron", radius=2.1 * radius)
    cage = solid.extract_all_edges().tube(radius=0.13 * radius, n_sides=6)
    return pv.PolyData(np.asarray(centres, float)).glyph(scale=False, orient=False, geom=cage)


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


def _vertices(table: pd.DataFrame, hemisphere: Hemisphere) -> np.ndarray:
    """Return the vertices that stand for rows of a hemisphere: the nearest to their own places."""
    from scipy.spatial import cKDTree

    vertno = table["vertno"].to_numpy(int, copy=True)
    if not set(OWN_PLACE) <= set(table):
        return vertno
    own = table[list(OWN_PLACE)].to_numpy(float)
    known = np.isfinite(own).all(axis=1)
    vertno[known] = cKDTree(hemisphere.white).query(own[known])[1]
    return vertno


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
