"""Prior weights as a function of place: log prior odds in nats, and walls around what is excluded.

Between positions the weight is the mean of those nearby with weights (1 − d/R)² / d² (Franke &
Nielson 1980): that of a position at the position, smooth, and never beyond its neighbours'. It
enters the energy as −(2/n) w(r), so that a place is where evidence and weight together are largest.
A place whose nearest position is excluded is excluded too.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from meg_vae.model.weights import counted

Array = NDArray[np.float64]

NEAR = 2.0  # of the spacing: positions farther than this have no say at a place
STEP = 1e-3  # of the spacing, of the differences that give the derivatives
INSIDE = 1e-6  # part of the way to a position by which a place stays off the wall


class PlacePrior:
    """The weight of every place.

    Parameters
    ----------
    positions : ndarray, shape (n_positions, q)
        Positions.
    weights : ndarray, shape (n_positions,)
        Their weights in nats; −inf excludes.
    spacing : float
        Typical distance from a position to its nearest neighbour.
    """

    def __init__(self, positions: Array, weights: Array, spacing: float) -> None:
        self.allowed = np.flatnonzero(np.isfinite(weights))
        self.values = torch.as_tensor(weights[self.allowed])
        self._own, self._spacing = weights[self.allowed], spacing
        self._positions = positions
        self._tree = cKDTree(positions[self.allowed])
        self._everything = cKDTree(positions)

    def at(self, places: Tensor) -> Tensor:
        """Weights in nats at places (m, q)."""
        return torch.as_tensor(self._interpolate(places.numpy()[:, : self._positions.shape[1]]))

    def _interpolate(self, r: Array) -> Array:
        reach = NEAR * self._spacing
        near = self._tree.query_ball_point(r, reach)
        row = np.repeat(np.arange(len(r)), [len(one) for one in near])
        column = np.array([k for one in near for k in one], dtype=np.int64)
        squared = np.square(self._tree.data[column] - r[row]).sum(1)
        share = (1 - np.sqrt(squared) / reach).clip(0) ** 2 / (squared + (1e-6 * reach) ** 2)
        total = np.bincount(row, share, len(r))
        mean = np.bincount(row, share * self._own[column], len(r)) / np.where(total > 0, total, 1.0)
        alone = total == 0  # nothing is near: the nearest has the only say
        if alone.any():
            mean[alone] = self._own[self._tree.query(r[alone])[1]]
        return mean

    def derivatives(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient (m, q) and curvature (m, q, q) of the weight at places."""
        r = places.numpy()[:, : self._positions.shape[1]]
        m, q = r.shape
        h = STEP * self._spacing
        moves = np.array([*np.eye(q), *-np.eye(q)])
        double = (moves[:, None] + moves).reshape(-1, q)
        seen = self._interpolate((r + h * np.concatenate([moves, double])[:, None]).reshape(-1, q))
        first, second = np.split(seen.reshape(-1, m), [2 * q])
        sign = np.repeat([1.0, -1.0], q)
        gradient = np.stack([first[k] - first[q + k] for k in range(q)], 1) / (2 * h)
        mixed = (sign[:, None] * sign)[..., None] * second.reshape(2 * q, 2 * q, m)
        bend = mixed.reshape(2, q, 2, q, m).sum((0, 2)).transpose(2, 0, 1) / (4 * h**2)
        return torch.as_tensor(gradient), torch.as_tensor(bend)

    def derivatives_of_energy(
        self, places: Tensor, axes: Tensor, free: Tensor, unit: float, n: float
    ) -> tuple[Tensor, Tensor]:
        """Give what −(2/n) Σ w(r) adds to gradient and curvature of J, places first in ``free``."""
        gradient, curvature = self.derivatives(places)
        ways = axes[:, : gradient.shape[1]]
        gradient = (ways.mT @ gradient[..., None])[..., 0]
        curvature = ways.mT @ curvature @ ways
        q = places.shape[1]
        slope = gradient.new_zeros(free.shape)
        slope[:, :q] = -2 / n * unit * gradient
        bend = gradient.new_zeros(*free.shape, free.shape[1])
        bend[:, :q, :q] = -2 / n * unit**2 * curvature
        own = free.flatten()
        return slope[free], torch.block_diag(*bend)[own][:, own]

    def within(self, confine: Callable[[Array], Array]) -> Callable[[Array], Array]:
        """Keep places within a confine out of what is excluded too."""
        return lambda r: confine(self.inside(r))

    def inside(self, r: Array) -> Array:
        """Move places (m, q) out of what is excluded, towards the nearest position that is not."""
        if len(self.allowed) == len(self._positions) or not len(r):
            return r
        nearest = self._everything.query(r)[1]
        out = r.copy()
        for k in np.flatnonzero(~np.isin(nearest, self.allowed)):
            distance, index = self._tree.query(r[k])
            goal = self._tree.data[index]
            others = self._positions[self._everything.query_ball_point(r[k], distance)]
            # On the way s to the goal a place is nearer to it than to another from
            # |goal − r|² − |other − r|² = 2s (goal − other)·(goal − r) on.
            way = goal - r[k]
            ahead = distance**2 - np.square(others - r[k]).sum(1)
            along = 2 * (goal - others) @ way
            far = along > 0
            part = float(np.max(ahead[far] / along[far], initial=0.0))
            out[k] = r[k] + min(part + INSIDE, 1.0) * way
        return out


def place_prior(
    positions: Array, weights: Array | None, spacing: float, least: float
) -> tuple[PlacePrior | None, float]:
    """Give the weight of every place, None where all are the same, and the evidence asked for."""
    own, asked = counted(weights, least)
    return (None if own is None else PlacePrior(positions, own, spacing)), asked


def weights_at(places: Array, positions: Array, weights: Array | None, spacing: float) -> Array:
    """Give the weights in nats at places (m, q), uncapped; 0 where none are given."""
    if weights is None or not len(places):
        return np.zeros(len(places))
    own: Array = PlacePrior(positions, weights, spacing).at(torch.as_tensor(places)).numpy()
    return own
