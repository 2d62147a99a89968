"""Moving least squares of second degree: weights that interpolate between scattered positions.

The value at a place is that of the quadratic which fits best around it (Lancaster & Salkauskas
1981), by weights that fall with the distance to zero at a radius. Its radius follows the positions'
density by a smooth rule, and so is the interpolation smooth: with the distance to a position of a
certain rank, its slope would jump wherever two positions change ranks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

COUNT = 2.4  # Σ (1 - distance / radius)³ over the positions within it: about 40 of them
NEAREST = 80  # positions among which those are looked for

Array = NDArray[np.float64]


def weights(offsets: Array, distance: Array) -> Array:
    """Weights of the values at positions for the value at 0.

    Parameters
    ----------
    offsets : ndarray, shape (m, k, 3)
        Positions about each of m places, nearest first, m.
    distance : ndarray, shape (m, k)
        Their lengths, m.

    Returns
    -------
    weights : ndarray, shape (m, k)
        Their sum is 1; 0 beyond the radius.
    """
    x = offsets / radius(distance)[..., None]
    q = np.linalg.norm(x, axis=2)
    # Wendland's weight, and near a position one without bound
    w = np.clip(1 - q, 0, None) ** 4 * (4 * q + 1) / (q**2 + 1e-6)
    w /= w.sum(1, keepdims=True)
    i, j = np.triu_indices(3)
    basis = np.concatenate([np.ones_like(x[..., :1]), x, x[..., i] * x[..., j]], 2)
    normal = np.einsum("mk,mki,mkj->mij", w, basis, basis) + 1e-9 * np.eye(basis.shape[2])
    first = np.zeros((*normal.shape[:2], 1))
    first[:, 0] = 1.0
    return w * (basis @ np.linalg.solve(normal, first))[..., 0]


def radius(distance: Array) -> Array:
    """Radius at which the sum over what is nearer, Σ (1 - distance / radius)³, is `COUNT`.

    Parameters
    ----------
    distance : ndarray, shape (m, k)
        Distances of more than `COUNT` positions.

    Returns
    -------
    radius : ndarray, shape (m, 1)
        As smooth as the distances are.
    """
    found = distance[:, [distance.shape[1] // 2]]
    for _ in range(20):  # Newton's method for the logarithm
        left = np.clip(1 - distance / found, 0, None)
        lacking = COUNT - (left**3).sum(1, keepdims=True)
        slope = 3 * (left**2 * distance / found).sum(1, keepdims=True)
        found = found * np.exp(np.clip(lacking / np.maximum(slope, 1e-300), -0.5, 0.5))
    return found
