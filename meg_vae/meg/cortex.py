"""The cortical surfaces of a forward model: distances along them, and places on them.

Surfaces are brought to about 3 mm, fine enough for discs of 4 mm and more. Distances are those
along the edges of the mesh, as in `mne.grow_labels`.
"""

from __future__ import annotations

from functools import cached_property

import mne
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree

from meg_vae.meg.memory import Memory

Array = NDArray[np.float64]
Index = NDArray[np.int64]

VERTICES = 10_000  # of a surface, about 3 mm apart on a hemisphere: finer ones are decimated
TOLERATED = 1.2  # times as many are left as they are
SIDE = 0.003  # m, that opposite normals count for: a vertex on the other side of a fold is far
KEPT = 2  # forward models whose surfaces are remembered


class Cortex:
    """Triangulated surfaces, all of their vertices one after the other.

    Parameters
    ----------
    surfaces : list of dict
        Surface source spaces with their triangulations, in head coordinates, m.

    Attributes
    ----------
    rr, nn : ndarray, shape (n_nodes, 3)
        Vertices (m) and their normals.
    area : ndarray, shape (n_nodes,)
        Area of each vertex, a third of its triangles', m².
    tris : ndarray of int, shape (n_triangles, 3)
        Triangles.
    """

    def __init__(self, surfaces: list[mne.SourceSpaces]) -> None:
        rr, nn, tris, first = [], [], [], 0
        for one in surfaces:
            own = _reduced(one)
            rr.append(own[0])
            nn.append(own[1])
            tris.append(own[2] + first)
            first += len(own[0])
        self.rr, self.nn, self.tris = np.concatenate(rr), np.concatenate(nn), np.concatenate(tris)
        self.area = vertex_areas(self.rr, self.tris)
        self.tree = cKDTree(self.rr)

    @cached_property
    def edges(self) -> csr_array:
        """Lengths of the edges, m, shape (n_nodes, n_nodes)."""
        return edge_lengths(self.rr, self.tris)

    @cached_property
    def spacing(self) -> float:
        """Typical length of an edge, m."""
        return float(np.median(self.edges.data))

    @cached_property
    def _around(self) -> list[Index]:
        """Triangles around each vertex."""
        order = np.argsort(self.tris.ravel(), kind="stable")
        ends = np.cumsum(np.bincount(self.tris.ravel(), minlength=len(self.rr)))
        return np.split(order // 3, ends[:-1])

    def distances(self, nodes: Index, limit: float) -> Array:
        """Distances along the surface from nodes to all, (m, n_nodes); infinite beyond a limit."""
        found: Array = dijkstra(self.edges, indices=nodes, limit=limit)
        return found

    def foot(self, rr: Array) -> Array:
        """Find the points of the surface nearest to places (m, 3), about their nearest vertex."""
        nearest = self.tree.query(rr)[1].reshape(len(rr))
        feet = [self._on_triangles(r, self._around[k]) for r, k in zip(rr, nearest, strict=True)]
        return np.reshape(feet, (-1, 3))

    def _on_triangles(self, r: Array, some: Index) -> Array:
        """Find the nearest point of some triangles to a place."""
        corners = self.rr[self.tris[some]]
        sides = np.moveaxis(corners[:, 1:] - corners[:, :1], 1, 2)  # (t, 3, 2)
        own = np.einsum("tij,tj->ti", np.linalg.pinv(sides), r - corners[:, 0])
        share = np.c_[1 - own.sum(1), own].clip(0)
        share /= share.sum(1, keepdims=True)
        feet = np.einsum("tk,tka->ta", share, corners)
        nearest: Array = feet[np.square(feet - r).sum(1).argmin()]
        return nearest


def vertex_areas(rr: Array, tris: Index) -> Array:
    """Give each vertex of a mesh a third of the areas of its triangles.

    Parameters
    ----------
    rr : ndarray, shape (n_nodes, 3)
        Vertices, m.
    tris : ndarray of int, shape (n_triangles, 3)
        Triangles.

    Returns
    -------
    area : ndarray, shape (n_nodes,)
        In m².
    """
    corners = rr[tris]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    size = np.linalg.norm(cross, axis=1) / 2
    area: Array = np.bincount(tris.ravel(), np.repeat(size / 3, 3), len(rr))
    return area


def edge_lengths(rr: Array, tris: Index) -> csr_array:
    """Measure the edges of a mesh.

    Parameters
    ----------
    rr : ndarray, shape (n_nodes, 3)
        Vertices, m.
    tris : ndarray of int, shape (n_triangles, 3)
        Triangles.

    Returns
    -------
    edges : csr_array, shape (n_nodes, n_nodes)
        Their lengths, m.
    """
    both = np.concatenate([tris[:, [k, (k + 1) % 3]] for k in range(3)])
    both = np.unique(np.sort(both, axis=1), axis=0)
    length = np.linalg.norm(rr[both[:, 0]] - rr[both[:, 1]], axis=1)
    rows, columns = both.T.astype(np.int32)  # scipy 1.14 finds no shortest paths with longer ones
    half = csr_array((length, (rows, columns)), shape=(len(rr),) * 2)
    return csr_array(half + half.T)


def _reduced(surface: mne.SourceSpaces) -> tuple[Array, Array, Index]:
    """Vertices, normals and triangles of a surface, of which there are not too many.

    Normals are the mean over what a vertex stands for, shorter than one where they disagree.
    """
    rr, nn, tris = surface["rr"], surface["nn"], surface["tris"]
    used = np.unique(tris)
    if len(used) > TOLERATED * VERTICES:
        coarse, tris = mne.decimate_surface(
            rr, tris, 2 * VERTICES, method="quadric", verbose="error"
        )
        whole = {"rr": coarse, "tris": tris, "np": len(coarse), "ntri": len(tris)}
        smooth = mne.surface.complete_surface_info(whole, verbose="error", do_neighbor_tri=False)
        rr, nn = coarse, _mean_normals(coarse, smooth["nn"], rr[used], nn[used])
        used = np.unique(tris)
    number = np.zeros(len(rr), np.int64)
    number[used] = np.arange(len(used))
    return np.asarray(rr)[used], np.asarray(nn)[used], number[tris]


def _mean_normals(rr: Array, nn: Array, fine: Array, normals: Array) -> Array:
    """Average the normals of the fine vertices that are nearest to each, on its side of a fold."""
    tree = cKDTree(np.c_[rr, SIDE * nn])
    own = tree.query(np.c_[fine, SIDE * normals])[1]
    count = np.bincount(own, minlength=len(rr))
    total = np.stack([np.bincount(own, x, len(rr)) for x in normals.T], 1)
    return np.where(count[:, None] > 0, total / np.maximum(count, 1)[:, None], nn)


_memory: Memory[Cortex] = Memory(KEPT)


def cortex_of(forward: mne.Forward) -> Cortex | None:
    """Give the surfaces of a forward model.

    Parameters
    ----------
    forward : mne.Forward
        The forward model.

    Returns
    -------
    cortex : Cortex | None
        None where there is no triangulated surface.
    """
    surfaces = [one for one in forward["src"] if one["type"] == "surf" and one["ntri"] > 0]
    if not surfaces:
        return None
    return _memory((one["rr"] for one in surfaces), lambda: Cortex(surfaces))
