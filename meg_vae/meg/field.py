"""The lead field as a function of place: value and gradient anywhere near the source space.

From a forward model alone it is interpolated. With the BEM and the transform MNE computes it, and
nothing is interpolated.
"""

from __future__ import annotations

import mne
import numpy as np
from numpy.typing import NDArray

from meg_vae.meg.conductor import Conductor, bem_conductor
from meg_vae.meg.interpolation import Vertices, remembered
from meg_vae.meg.leadfield import LeadField
from meg_vae.meg.registration import Motion

FEWEST = 16  # positions that it needs
STEP = 1e-5  # m, of the differences that give the gradient
REACH = 1.5  # of the spacing of the positions: the wall is this far from the nearest one
AGREE = 0.02  # relative difference up to which bem and trans are taken to be those of the forward
PROBES = 24  # positions at which that is looked at

Array = NDArray[np.float64]


class ContinuousField:
    """The whitened lead field at places in head coordinates.

    Parameters
    ----------
    leadfield : LeadField
        The whitened lead field of free orientation.
    info : mne.Info
        Measurement info of the data.
    bem : path-like | mne.bem.ConductorModel | None
        BEM solution, or sphere model, of the forward model; then MNE computes the lead field.
    trans : path-like | mne.Transform | None
        Transform between head and MRI coordinates, needed with ``bem``.
    motion : Motion | None
        Where the sensors may be, if not where ``info`` says.

    Attributes
    ----------
    spacing : float
        Typical distance from a position to its nearest neighbour, m.
    reach : float
        Farthest that a place may be from the nearest position, m.
    motion : Motion | None
        As given.

    Raises
    ------
    ValueError
        If the forward model is of fixed orientation or has too few positions, or bem and trans do
        not give its lead field.
    """

    def __init__(
        self,
        leadfield: LeadField,
        info: mne.Info,
        bem: object = None,
        trans: object = None,
        motion: Motion | None = None,
    ) -> None:
        self.motion = motion
        self._whitener = leadfield.whitener
        self._samples = remembered(leadfield.forward, info, leadfield.ch_names)
        self._exact: Conductor | None = None
        self.spacing = self._samples.spacing
        self.reach = REACH * self.spacing
        if bem is not None or trans is not None:
            self._exact = bem_conductor(info, leadfield.ch_names, bem, trans)
            self._check_exact()
        elif len(self._samples.rr) < FEWEST:
            raise ValueError(
                f"forward has {len(self._samples.rr)} positions, and the lead field between them "
                f"can be interpolated from {FEWEST} on; give bem and trans, or use "
                "VAEInverse(positions='grid')."
            )

    def __call__(self, rr: Array, delta: Array | None = None) -> tuple[Array, ...]:
        """Whitened values and gradient at places.

        Parameters
        ----------
        rr : ndarray, shape (m, 3)
            Places in head coordinates, m.
        delta : ndarray, shape (n_motion,) | None
            Motion of the sensors, by standard deviations.

        Returns
        -------
        values : ndarray, shape (m, rank, 3)
            Field of a dipole along each axis of head coordinates, whitened, per A·m.
        gradient : ndarray, shape (m, rank, 3, 3)
            Its derivative along each axis, per A·m².
        turns : ndarray, shape (m, n_motion, rank, 3)
            Where ``delta`` is given, the derivatives in it.
        """
        beside = np.concatenate([rr, *(rr + step for step in STEP * np.eye(3)[:, None])])
        gain, m = self.gain(beside), len(rr)
        if delta is None:
            return self._to_first_order(gain, m)
        turns = self.whiten(self.turned(gain[:m], delta)[1])
        return (*self._to_first_order(self.carried(gain, delta), m), np.moveaxis(turns, 0, 1))

    def _to_first_order(self, gain: Array, m: int) -> tuple[Array, Array]:
        """Values and gradient, whitened, from the gain at m places and beside them."""
        values = self.whiten(gain).reshape(4, m, len(self._whitener), 3)
        return values[0], np.moveaxis((values[1:] - values[0]) / STEP, 0, -1)

    def gain(self, rr: Array) -> Array:
        """Unwhitened values at places.

        Parameters
        ----------
        rr : ndarray, shape (m, 3)
            Places in head coordinates, m.

        Returns
        -------
        gain : ndarray, shape (m, n_channels, 3)
            In the units of MNE per A·m.
        """
        return self._samples.interpolate(rr) if self._exact is None else self._exact(rr)

    def moved(self, rr: Array, delta: Array) -> tuple[Array, Array]:
        """Unwhitened values at places, of sensors that have moved.

        Parameters
        ----------
        rr : ndarray, shape (m, 3)
            Places in head coordinates, m.
        delta : ndarray, shape (n_motion,)
            Motion of the sensors, by standard deviations; of none it may have no entry.

        Returns
        -------
        gain : ndarray, shape (m, n_channels, 3)
            In the units of MNE per A·m.
        slopes : ndarray, shape (n_motion, m, n_channels, 3)
            Derivatives in the motion.
        """
        return self.turned(self.gain(rr), delta)

    def carried(self, gain: Array, delta: Array) -> Array:
        """Give fields as sensors see them that have moved, without derivatives.

        Parameters
        ----------
        gain : ndarray, shape (..., n_channels, k)
            Fields outside the head, unwhitened.
        delta : ndarray, shape (n_motion,)
            Motion of the sensors, by standard deviations; of none it may have no entry.

        Returns
        -------
        gain : ndarray, shape (..., n_channels, k)
            The fields there.
        """
        motion = self.motion
        if motion is None or not np.any(delta):
            return gain
        return times(self._samples.maps(motion.about).matrix(motion.twist(delta)), gain)

    def turned(self, gain: Array, delta: Array) -> tuple[Array, Array]:
        """Give fields as sensors see them that have moved.

        Parameters
        ----------
        gain : ndarray, shape (m, n_channels, k)
            Fields outside the head, unwhitened.
        delta : ndarray, shape (n_motion,)
            Motion of the sensors, by standard deviations; of none it may have no entry.

        Returns
        -------
        gain : ndarray, shape (m, n_channels, k)
            The fields there.
        slopes : ndarray, shape (n_motion, m, n_channels, k)
            Derivatives in the motion.
        """
        motion = self.motion
        if motion is None or not len(delta):
            return gain, np.zeros((0, *gain.shape))
        moved, slopes = self._samples.maps(motion.about)(gain, motion.twist(delta))
        return moved, motion.scale[motion.free, None, None, None] * slopes[motion.free]

    def errors(self, rr: Array) -> Array:
        """Patterns by which the values at places may be wrong.

        Parameters
        ----------
        rr : ndarray, shape (m, 3)
            Places in head coordinates, m.

        Returns
        -------
        patterns : ndarray, shape (m, n_patterns, rank, 3)
            What leaving out each of the nearest positions makes the interpolation miss there,
            scaled, strongest first: the value is taken for known up to their sum with weights
            N(0, 1).
        """
        patterns = self.whiten(self.missed(rr))
        return combined(patterns, strongest(patterns))

    def missed(self, rr: Array) -> Array:
        """Give what the interpolation misses at the nearest positions without each, unwhitened.

        Parameters
        ----------
        rr : ndarray, shape (m, 3)
            Places in head coordinates, m.

        Returns
        -------
        patterns : ndarray, shape (m, n_patterns, n_channels, 3)
            Scaled, in the order of the positions, nearest first.
        """
        return self._samples.errors(rr)

    def vertices(self, n: int) -> Vertices:
        """Give the memory of the lead field at the n vertices of the forward model's surfaces.

        Parameters
        ----------
        n : int
            Number of vertices.

        Returns
        -------
        vertices : Vertices
            That of earlier fits with the same forward model; where MNE computes it, an empty one.
        """
        return self._samples.vertices(n) if self._exact is None else Vertices(n, self.n_channels)

    @property
    def n_channels(self) -> int:
        """Channels of the sensors."""
        return self._whitener.shape[1]

    @property
    def is_exact(self) -> bool:
        """Whether MNE computes the lead field at every place."""
        return self._exact is not None

    def relative_error(self, rr: Array) -> Array:
        """Estimate how well the values at places are known.

        Parameters
        ----------
        rr : ndarray, shape (m, 3)
            Places in head coordinates, m.

        Returns
        -------
        error : ndarray, shape (m,)
            Root mean square of the error over that of the lead field, whitened; 0 where MNE
            computes it.
        """
        if self.is_exact or not len(rr):
            return np.zeros(len(rr))
        power = np.square(self.whiten(self.gain(rr))).sum((1, 2))
        return np.sqrt(np.square(self.errors(rr)).sum((1, 2, 3)) / power)

    def confine(self, rr: Array) -> Array:
        """Move places that are too far from the source space back to the wall.

        Parameters
        ----------
        rr : ndarray, shape (m, 3)
            Places in head coordinates, m.

        Returns
        -------
        rr : ndarray, shape (m, 3)
            At most ``reach`` from the nearest position.
        """
        distance, nearest = self._samples.tree.query(rr)
        centre = self._samples.rr[nearest]
        back = np.minimum(1.0, self.reach / np.maximum(distance, 1e-12))
        return centre + back[:, None] * (rr - centre)

    def nearest(self, rr: Array) -> NDArray[np.int64]:
        """Find the nearest positions of the source space.

        Parameters
        ----------
        rr : ndarray, shape (m, 3)
            Places in head coordinates, m.

        Returns
        -------
        index : ndarray of int, shape (m,)
            Their rows in ``forward["source_rr"]``.
        """
        return self._samples.tree.query(rr)[1].reshape(len(rr)).astype(np.int64)

    def whiten(self, gain: Array) -> Array:
        """Whiten lead fields.

        Parameters
        ----------
        gain : ndarray, shape (..., n_channels, 3)
            In the units of MNE per A·m.

        Returns
        -------
        values : ndarray, shape (..., rank, 3)
            Per A·m.
        """
        return times(self._whitener, gain)

    def _check_exact(self) -> None:
        """Refuse a bem and a trans that do not give the forward model's lead field."""
        rr, gain = self._samples.rr, self._samples.gain
        some = np.linspace(0, len(rr) - 1, min(PROBES, len(rr))).astype(int)
        given = self.whiten(gain[some])
        computed = self.whiten(self.gain(rr[some]))
        size = np.linalg.norm(given, axis=(1, 2))
        off = float(np.median(np.linalg.norm(computed - given, axis=(1, 2)) / size))
        if not off <= AGREE:
            raise ValueError(
                f"bem and trans do not give the lead field of forward (they differ by {off:.0%}); "
                "give those that it was computed with, or leave both out to interpolate it."
            )


def times(matrix: Array, gain: Array) -> Array:
    """Multiply lead fields (..., d, k) by a matrix (r, d), all of them in one product."""
    columns = np.moveaxis(gain, -2, 0)
    product = matrix @ columns.reshape(len(columns), np.prod(columns.shape[1:], dtype=int))
    return np.moveaxis(product.reshape(len(matrix), *columns.shape[1:]), 0, -2)


def strongest(patterns: Array) -> Array:
    """Orthonormal combinations of the patterns of each place, strongest first, (m, e, e)."""
    flat = patterns.reshape(*patterns.shape[:2], -1)
    axes: Array = np.linalg.eigh(flat @ flat.swapaxes(1, 2))[1][:, :, ::-1]
    # The sign of an eigenvector is arbitrary: its largest entry is made positive.
    top = np.take_along_axis(axes, np.abs(axes).argmax(1)[:, None], 1)
    return axes * np.where(top < 0, -1.0, 1.0)


def combined(patterns: Array, axes: Array) -> Array:
    """Combine the patterns of each place."""
    m, e = patterns.shape[:2]
    return (axes.swapaxes(1, 2) @ patterns.reshape(m, e, -1)).reshape(patterns.shape)
