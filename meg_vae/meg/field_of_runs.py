"""The lead field of several runs as one function of place: the channels of one above the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from meg_vae.meg.field import ContinuousField, combined, strongest

Array = NDArray[np.float64]


class FieldOfRuns:
    """The whitened lead fields of runs between which the sensors moved.

    Head and positions are the same in all of them, so that the wall is too, and an error of the
    interpolation has one weight in all runs.

    Parameters
    ----------
    fields : list of ContinuousField
        The lead field of each run, of the same positions.

    Attributes
    ----------
    fields : list of ContinuousField
        As given.
    spacing : float
        Typical distance from a position to its nearest neighbour, m.
    """

    def __init__(self, fields: Sequence[ContinuousField]) -> None:
        self.fields = list(fields)
        self.spacing = fields[0].spacing
        self.confine, self.nearest = fields[0].confine, fields[0].nearest

    def __call__(self, rr: Array, delta: Array | None = None) -> tuple[Array, ...]:
        """Whitened values and gradient at places.

        Parameters
        ----------
        rr : ndarray, shape (m, 3)
            Places in head coordinates, m.
        delta : ndarray, shape (n_motion,) | None
            Motion of the sensors of all runs, by standard deviations.

        Returns
        -------
        values, gradient : ndarray, shape (m, total_rank, 3) and (m, total_rank, 3, 3)
            As those of `ContinuousField`, one run after the other.
        turns : ndarray, shape (m, n_motion, total_rank, 3)
            Where ``delta`` is given, the derivatives in it.
        """
        parts = list(zip(*(field(rr, delta) for field in self.fields), strict=True))
        stacked = [np.concatenate(part, 1) for part in parts[:2]]
        return (*stacked, *(np.concatenate(part, 2) for part in parts[2:]))

    @property
    def is_exact(self) -> bool:
        """Whether MNE computes the lead field at every place."""
        return self.fields[0].is_exact

    def errors(self, rr: Array) -> Array:
        """Patterns by which the values at places may be wrong, in all runs together.

        Parameters
        ----------
        rr : ndarray, shape (m, 3)
            Places in head coordinates, m.

        Returns
        -------
        patterns : ndarray, shape (m, n_patterns, total_rank, 3)
            As those of `ContinuousField`, one run after the other.
        """
        patterns = self._missed(rr)
        return combined(patterns, strongest(patterns))

    def gains(self, rr: Array, shift: Array, delta: Array) -> list[Array]:
        """Unwhitened values of each run, with given weights of the errors.

        Parameters
        ----------
        rr : ndarray, shape (m, 3)
            Places in head coordinates, m.
        shift : ndarray, shape (m, n_patterns)
            The weights of the patterns of `errors`, then of what the motion does to each source.
        delta : ndarray, shape (n_motion,)
            Motion of the sensors, by standard deviations; of none it has no entry.

        Returns
        -------
        gains : list of ndarray, shape (m, n_channels, 3)
            In the units of MNE per A·m.
        """
        from meg_vae.model.sliding.field import MOVED

        gains, own = [], MOVED * shift[:, shift.shape[1] - len(delta) :]
        for field in self.fields:
            gain, slopes = field.moved(rr, delta)
            gains.append(gain + np.einsum("mg,gmdo->mdo", own, slopes))
        if self.is_exact or not len(rr):
            return gains
        shift = shift[:, : shift.shape[1] - len(delta)]
        return [
            gain + np.einsum("me,medo->mdo", shift, patterns)
            for gain, patterns in zip(gains, self.unsure(rr), strict=True)
        ]

    def unsure(self, rr: Array) -> list[Array]:
        """Give the patterns of `errors`, unwhitened, of each run.

        Parameters
        ----------
        rr : ndarray, shape (m, 3)
            Places in head coordinates, m.

        Returns
        -------
        patterns : list of ndarray, shape (m, n_patterns, n_channels, 3)
            In the units of MNE per A·m; none where MNE computes the lead field.
        """
        if self.is_exact or not len(rr):
            return [np.zeros((len(rr), 0, field.n_channels, 3)) for field in self.fields]
        axes = strongest(self._missed(rr))
        return [combined(field.missed(rr), axes) for field in self.fields]

    def relative_error(self, rr: Array) -> Array:
        """Estimate how well the values at places are known.

        Parameters
        ----------
        rr : ndarray, shape (m, 3)
            Places in head coordinates, m.

        Returns
        -------
        error : ndarray, shape (m,)
            Of the run in which they are known worst.
        """
        return np.max([field.relative_error(rr) for field in self.fields], axis=0)

    def _missed(self, rr: Array) -> Array:
        """Give what the interpolation misses, whitened, one run after the other."""
        return np.concatenate([field.whiten(field.missed(rr)) for field in self.fields], 2)
