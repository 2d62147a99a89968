"""From the source space to every vertex of the cortex."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    import pyvista

    from .surfaces import Hemisphere

LIFT_MM = 0.4  # height of the paint above the surface


def paint(
    table: pd.DataFrame,
    column: str,
    threshold: float,
    cortex: dict[str, Hemisphere],
    meshes: dict[str, pyvista.PolyData],
) -> dict[str, pyvista.PolyData]:
    """Return the parts of the surface where a dense estimate exceeds a threshold.

    Parameters
    ----------
    table : pandas.DataFrame
        A row per vertex of the estimate, with ``hemi``, ``vertno`` and the values.
    column : str
        The column of the values, which are not negative.
    threshold : float
        The least value to paint.
    cortex : dict of Hemisphere
        The hemispheres.
    meshes : dict of pyvista.PolyData
        Their meshes, with normals.

    Returns
    -------
    painted : dict of pyvista.PolyData
        What to draw on each hemisphere where anything exceeds the threshold.
    """
    painted = {}
    for hemi, hemisphere in cortex.items():
        part = table[table["hemi"] == hemi]
        if part.empty:
            continue
        values = spread(hemisphere, part["vertno"].to_numpy(int), part[column].to_numpy(float))
        coat = meshes[hemi].copy()
        coat.points = coat.points + LIFT_MM * coat["Normals"]
        coat["value"] = np.nan_to_num(values, nan=-1.0)
        patch = coat.clip_scalar(scalars="value", value=threshold, invert=False)
        if patch.n_points:
            painted[hemi] = patch
    return painted


def spread(hemisphere: Hemisphere, vertno: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Carry values at some vertices to those around them, along the surface.

    Parameters
    ----------
    hemisphere : Hemisphere
        The surface.
    vertno : ndarray of int, shape (n_used,)
        Vertices that have a value.
    values : ndarray, shape (n_used,)
        Their values.

    Returns
    -------
    everywhere : ndarray, shape (n_vertices,)
        At each vertex the mean of its neighbours' values, grown outwards ring by ring; NaN farther
        from the used vertices than twice their spacing (the medial wall, a label's surroundings).
    """
    import mne
    from scipy.spatial import cKDTree

    tree = cKDTree(hemisphere.white[vertno])
    gaps = np.asarray(tree.query(hemisphere.white[vertno], k=2)[0])[:, 1]
    spacing = np.median(gaps) if len(vertno) > 1 else 0.0
    near = np.asarray(tree.query(hemisphere.white)[0]) <= 2 * spacing
    neighbours = mne.spatial_tris_adjacency(hemisphere.triangles, verbose=False).tocsr()
    known = np.zeros(len(near))
    total = np.zeros(len(near))
    known[vertno], total[vertno] = 1.0, values
    while True:
        count = neighbours @ known  # each vertex neighbours itself
        total = np.divide(neighbours @ total, count, out=np.zeros_like(total), where=count > 0)
        grown = (count > 0) & near
        if not (grown & (known == 0)).any():
            break
        known, total = grown.astype(float), np.where(grown, total, 0.0)
    return np.where(grown, total, np.nan)
