"""Discs of cortex all over a source space, each as a combination of its positions.

They are what a search among places and sizes begins with: coarser than `meg_vae.meg.discs`, but
all at once, and from the columns of the lead field that are there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array, hstack, vstack
from scipy.spatial import cKDTree

from meg_vae.meg.cortex import SIDE, Cortex
from meg_vae.meg.densities import profile
from meg_vae.meg.memory import Memory
from meg_vae.model.spacing import apart, typical_spacing

FINEST = 2.0  # smallest extents, or spacings of the positions: smaller discs look like points
RATIO = 1.4  # of the radii, about
APART = 0.5  # of its radius: how far centres of discs are from each other
CHUNK = 512  # centres at a time
KEPT = 2  # source spaces whose discs are remembered

Array = NDArray[np.float64]
Index = NDArray[np.int64]


@dataclass(frozen=True)
class GridDiscs:
    """Discs about positions of a source space.

    ``places`` (m, 4) are centres in head coordinates and radii, m. The rows of ``moments`` (m, 3
    n_positions) hold the moment, head coordinates, that each position has of a disc of 1 A·m.
    """

    places: Array
    moments: csr_array

    @classmethod
    def of(cls, rr: Array, cortex: Cortex, smallest: float, largest: float) -> GridDiscs:
        """Lay discs about positions (n, 3) of a cortex; others that are given have no part in them.

        Radii (m) go from twice the smallest, or twice the spacing of the positions, to the largest;
        the larger a disc, the farther are centres apart.
        """
        limits = np.array([smallest, largest])
        return _memory((rr, cortex.rr, limits), lambda: cls._laid(rr, cortex, smallest, largest))

    @classmethod
    def _laid(cls, rr: Array, cortex: Cortex, smallest: float, largest: float) -> GridDiscs:
        away, near = cortex.tree.query(rr)
        there = np.flatnonzero(away <= cortex.spacing)
        if not len(there):
            return cls(np.zeros((0, 4)), csr_array((0, 3 * len(rr))))
        near = near[there]
        owner = _owners(rr[there], there, len(rr), near, cortex)
        spacing = typical_spacing(rr)
        first = min(FINEST * max(smallest, spacing), largest)
        count = 1 + round(np.log(largest / first) / np.log(RATIO))
        places, moments = [], []
        for radius in np.geomspace(first, largest, count):
            chosen = apart(rr[there], APART * radius)
            places.append(np.c_[rr[there[chosen]], np.full(len(chosen), radius)])
            moments.append(_moments(cortex, owner, near[chosen], radius))
        return cls(np.concatenate(places), csr_array(vstack(moments)))


def _owners(rr: Array, there: Index, n: int, near: Index, cortex: Cortex) -> csr_array:
    """Assign the vertices to the positions nearest to them on their side of a fold, (n_nodes, n).

    ``rr`` are positions of the cortex, ``there`` their numbers, ``near`` their vertices.
    """
    tree = cKDTree(np.c_[rr, SIDE * cortex.nn[near]])
    own = there[tree.query(np.c_[cortex.rr, SIDE * cortex.nn])[1]]
    rows = np.arange(len(own))
    return csr_array((np.ones(len(own)), (rows, own)), shape=(len(own), n))


def _moments(cortex: Cortex, owner: csr_array, nodes: Index, radius: float) -> csr_array:
    """Moments of discs about vertices at the positions that own theirs, (m, 3 n_positions)."""
    rows, edge = [], cortex.spacing
    for some in np.array_split(nodes, -(-len(nodes) // CHUNK)):
        distance = cortex.distances(some, radius + edge)
        near = np.nonzero(distance < radius + edge)  # a few of all vertices
        inside = profile(distance[near], radius, edge)[0] * cortex.area[near[1]]
        density = csr_array((inside, near), shape=distance.shape)
        rows.append(diags_array(1 / density.sum(1)) @ density)
    even = csr_array(vstack(rows))
    parts = hstack([even @ diags_array(x) @ owner for x in cortex.nn.T])
    n = owner.shape[1]
    return csr_array(parts)[:, np.arange(3 * n).reshape(3, n).T.ravel()]


_memory: Memory[GridDiscs] = Memory(KEPT)
