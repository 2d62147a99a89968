"""The density of a disc of cortex over its vertices, and how it moves with centre and radius.

Distances from a centre are the mean of those from the vertices about it, with weights that change
smoothly with the centre, so that all else does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from meg_vae.meg.cortex import Cortex

BLEND = 2.0  # edges of the surface: how far the vertices are that a centre is the mean of
FAR = 5.0  # edges beyond the radius: what is farther has no part in a disc
SHORT = 0.8  # edges by which a radius is less than the distance to the nearest vertex, at most
LEAN = 0.5  # change of the density from centre to edge, standard deviation

Array = NDArray[np.float64]
Index = NDArray[np.int64]

# Quadratic forms xᵀQx whose random sums know no direction.
_I, _J = np.triu_indices(3)
FORMS = np.array(
    [
        (np.outer(a, b) + np.outer(b, a)) / 2
        for a, b in zip(np.eye(3)[_I], np.eye(3)[_J], strict=True)
    ]
)
FORMS[_I != _J] *= 2**0.5


@dataclass(frozen=True)
class Density:
    """The density of a disc over the vertices ``nodes`` (n,).

    ``even`` (5, n) holds the part of the disc's moment that each has, and its derivatives in centre
    and radius; ``uneven`` (9, 5, n) the moves by which a density leans and bends, one standard
    deviation each; ``normal`` (3,) is the mean normal, ``across`` (3,) that of the surface at the
    centre; ``area``, m².
    """

    nodes: Index
    even: Array
    uneven: Array
    normal: Array
    across: Array
    area: float

    @property
    def direction(self) -> Array:
        """The direction that stands for the disc, a unit vector (3,)."""
        return self.normal / np.linalg.norm(self.normal)


class Densities:
    """Densities of discs on a cortex.

    Parameters
    ----------
    cortex : Cortex
        The surfaces.
    """

    def __init__(self, cortex: Cortex) -> None:
        self.cortex = cortex
        self._edge = cortex.spacing

    def of(self, place: Array) -> Density:
        """Give the density of a disc.

        Parameters
        ----------
        place : ndarray, shape (4,)
            Centre in head coordinates and radius, m.

        Returns
        -------
        density : Density
            The density.
        """
        centre, radius = place[:3], place[3]
        some, share, slope = self._about(centre)
        distance = self.cortex.distances(some, radius + FAR * self._edge)
        near = np.flatnonzero(np.isfinite(distance).all(0))
        mean = share @ distance[:, near]
        radius = max(radius, self._least(mean))
        inside = mean < radius + self._edge
        near, mean = near[inside], mean[inside]
        distance = distance[:, near]
        kernel, bend = profile(mean, radius, self._edge)
        own = self.cortex.area[near]
        total = own @ kernel
        value = own * kernel / total
        grown = np.r_[-bend * (slope.T @ distance), bend[None]] * own  # the edge moves outwards
        change = (grown - value * grown.sum(1, keepdims=True)) / total
        even = np.r_[value[None], change]
        return Density(
            nodes=near,
            even=even,
            uneven=LEAN * _uneven((self.cortex.rr[near] - centre) / radius, even, radius),
            normal=value @ self.cortex.nn[near],
            across=share @ self.cortex.nn[some],
            area=float(total),
        )

    def of_many(self, places: Array) -> tuple[Index, Array, Array]:
        """Give the densities of many discs that share their centres, without derivatives.

        Parameters
        ----------
        places : ndarray, shape (m, 4)
            Centres in head coordinates and radii, m.

        Returns
        -------
        nodes : ndarray of int, shape (n,)
            Vertices of all of them.
        even, uneven : ndarray, shape (m, n) and (m, 9, n)
            As of a `Density`.
        """
        centres, number = np.unique(places[:, :3], axis=0, return_inverse=True)
        distance = self._distances(centres, places[:, 3].max())
        radius = np.maximum(places[:, 3:], self._least(distance)[number.ravel(), None])
        near = np.flatnonzero((distance < radius.max() + self._edge).any(0))
        distance = distance[number.ravel()][:, near]
        even = profile(distance, radius, self._edge)[0] * self.cortex.area[near]
        even /= even.sum(1, keepdims=True)
        F = _functions((self.cortex.rr[near] - places[:, None, :3]) / radius[:, None])
        mean = (even[:, None] * F).sum(2, keepdims=True)
        return near, even, LEAN * even[:, None] * (F - mean)

    def _least(self, distance: Array) -> Array:
        """Least radius of a disc that is so far from the vertices, (...) of (..., n).

        About a centre beside a fold, as the mean has it, all may be farther than a small disc goes.
        """
        least: Array = distance.min(-1) - SHORT * self._edge
        return least

    def _distances(self, centres: Array, radius: float) -> Array:
        """Distances from centres (k, 3) to all vertices, as those of a disc; infinite from afar."""
        about = [self._about(centre)[:2] for centre in centres]
        nodes = np.unique(np.concatenate([some for some, _ in about]))
        share = np.zeros((len(about), len(nodes)))
        for row, (some, own) in zip(share, about, strict=True):
            row[np.searchsorted(nodes, some)] = own
        own = self.cortex.distances(nodes, radius + FAR * self._edge)
        near = np.isfinite(own)
        distance = share @ np.where(near, own, 0.0)
        return np.where((share > 0).astype(float) @ ~near > 0, np.inf, distance)

    def _about(self, centre: Array) -> tuple[Index, Array, Array]:
        """Vertices about a centre, on its side of a fold, their weights and these' gradient."""
        nearest = int(self.cortex.tree.query(centre)[1])
        reach = BLEND * self._edge
        found = np.array(self.cortex.tree.query_ball_point(centre, reach), np.int64)
        side = self.cortex.distances(np.array([nearest]), 2 * reach)[0, found]
        some = np.union1d(found[np.isfinite(side)], nearest)
        away = centre - self.cortex.rr[some]
        left = (1 - np.square(away).sum(1) / reach**2).clip(1e-6)
        share = left**2 / np.square(left).sum()
        slope = -4 * left[:, None] * away / reach**2 / np.square(left).sum()
        return some, share, slope - share[:, None] * slope.sum(0)


def profile(distance: Array, radius: Array | float, edge: float) -> tuple[Array, Array]:
    """Give the density of a disc at distances from its centre, and its derivative in the radius.

    Parameters
    ----------
    distance : ndarray
        Along the surface, m.
    radius : ndarray | float
        Of the disc, m.
    edge : float
        Half the width of its smooth edge, m.

    Returns
    -------
    density : ndarray
        1 inside, dimensionless.
    derivative : ndarray
        Per m.
    """
    inside = ((radius - distance + edge) / (2 * edge)).clip(0.0, 1.0)
    return inside**2 * (3 - 2 * inside), 3 * inside * (1 - inside) / edge


def _functions(x: Array) -> Array:
    """Linear and quadratic functions F of places x (..., n, 3), (..., 9, n)."""
    squares = np.einsum("...na,fab,...nb->...fn", x, FORMS, x, optimize=True)
    return np.concatenate([x.swapaxes(-1, -2), squares], -2)


def _uneven(x: Array, both: Array, radius: float) -> Array:
    """Move the weights so that a density leans or bends, with the derivatives of that.

    From vertices x (n, 3) about the centre, by the radius, and the weights with their derivatives
    (5, n): F − F̄ times the weights, for the functions F of x, (9, 5, n).
    """
    F = _functions(x)
    change = np.zeros((9, 5, len(x)))  # of F: none by itself, then in centre and radius
    change[:3, 1:4] = -np.eye(3)[:, :, None] / radius
    change[3:, 1:4] = -2 * (FORMS @ x.T) / radius
    change[:, 4] = np.einsum("fan,na->fn", change[:, 1:4], x)
    mean = F @ both[0]
    drift = F @ both.T + change @ both[0]  # of the mean, (9, 5)
    moved = both * (F - mean[:, None])[:, None] + both[0] * change
    moved[:, 1:] -= both[0] * drift[:, 1:, None]
    return np.asarray(moved)
