"""The magnetic field of dipoles in a sphere, at many places at once.

MNE computes the same, one place after the other; a fit asks for thousands of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Array = NDArray[np.float64]

MAGNETIC = 1e-7  # μ0 / 4π, T·m/A
AT_ONCE = 64  # places; what belongs to so many stays in a processor's cache


class SphereField:
    """Fields of dipoles in a sphere, on some coils (Sarvas, 1987, Phys. Med. Biol. 32, 11-22).

    Parameters
    ----------
    coils : tuple
        As MNE has the points over which it integrates: their places (n_points, 3) in m, the
        directions in which they measure (n_points, 3), their weights (n_points,), and the number
        of the coil that each belongs to (n_points,).
    centre : ndarray, shape (3,)
        Centre of the sphere, m.
    """

    def __init__(self, coils: tuple[Any, ...], centre: Array) -> None:
        places, self._directions, weights, numbers = coils
        self._centre, self._points = centre, places - centre
        self._distance = np.linalg.norm(self._points, axis=1)[:, None]
        self._outward = np.einsum("pi,pi->p", self._points, self._directions)[:, None]
        weights = MAGNETIC * weights[:, None]
        self._by_direction = _over_coils(weights * self._directions, numbers)
        self._by_point = _over_coils(weights * self._points, numbers)

    def __call__(self, rr: Array) -> Array:
        """Compute them at places.

        Parameters
        ----------
        rr : ndarray, shape (m, 3)
            Places, m.

        Returns
        -------
        field : ndarray, shape (3 * m, n_coils)
            Per A·m, of dipoles along the three axes of a place one after the other.
        """
        rr = rr - self._centre
        field = np.zeros((len(rr), 3, self._by_point.shape[0] // 3))
        for start in range(0, len(rr), AT_ONCE):
            some = slice(start, start + AT_ONCE)
            inverse, g = self._shares(rr[some])
            along = self._by_direction @ inverse + self._by_point @ g
            along = along.reshape(3, field.shape[2], -1).T.swapaxes(1, 2)
            field[some] = np.cross(rr[some, :, None], along, axis=1)
        return field.reshape(-1, field.shape[2])

    def _shares(self, rr: Array) -> tuple[Array, Array]:
        """Give 1 / F, and g, of each point and place from the centre, (n_points, m).

        With Sarvas's F, a dipole q at r gives (q × r)·(e / F + g p) at the point p along e.
        """
        far, beside = self._distance, _products(self._points, rr)
        a = np.sqrt(far**2 - 2 * beside + np.square(rr).sum(1))  # from the place to the point
        above = far**2 - beside
        F = a * (far * a + above)
        above /= a
        to_point = a**2 / far + above + 2 * (a + far)
        to_place = a + 2 * far + above
        across = _products(self._directions, rr)
        return 1 / F, (to_place * across - to_point * self._outward) / F**2


def _products(one: Array, other: Array) -> Array:
    """Inner products of vectors (n, 3) and (m, 3).

    A matrix product rounds by what else is asked; a fit is to be the same again to the last bit.
    """
    first, second, third = (one[:, k, None] * other[:, k] for k in range(3))
    return first + second + third


def _over_coils(parts: Array, numbers: NDArray[np.int64]) -> csr_array:
    """Sum what points share (n_points, 3) over their coils: a matrix (3 * n_coils, n_points)."""
    n = numbers[-1] + 1
    rows = numbers + n * np.arange(3)[:, None]
    columns = np.tile(np.arange(len(parts)), 3)
    return csr_array((parts.T.ravel(), (rows.ravel(), columns)), shape=(3 * n, len(parts)))
