"""What moving the sensors does to their channels: a linear map, for any sources in any head.

Outside the head the field of any source is harmonic, so that its values at sensors moved a little
follow from its values at the sensors as they are: to each rigid motion belongs a linear map of the
channels. Its generators are learnt on the fields of a sphere, which MNE computes for sensors
anywhere, and hold for any conductor. Electric channels sit on the head and stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count

import mne
import numpy as np
from mne.transforms import apply_trans
from numpy.typing import NDArray
from scipy.linalg import expm

from meg_vae.meg.conductor import sphere_conductor

Array = NDArray[np.float64]

FIELDS = 300  # positions whose fields in a sphere teach what a motion does
SMALL = 5e-4  # m that the sensors move for it
RIDGE = 1e-4  # of the mean power of the fields
KEPT = 4  # matrices of the last motions, each of a few hundred kB
TERMS = 1e-12  # relative size of the terms of the exponential series that are left out


def radius_about(rr: Array, about: Array) -> float:
    """How far positions (n, 3) are from a point, root mean square."""
    return float(np.sqrt(np.square(rr - about).sum(1).mean()))


def rigid(twist: Array, about: Array) -> Array:
    """Rigid motion (4, 4) of shifts and turns (6,), the turns about a point."""
    shift, turn = twist[:3], twist[3:]
    cross = np.cross(np.eye(3), turn)  # cross @ r is turn × r
    generator = np.zeros((4, 4))
    generator[:3, :3], generator[:3, 3] = cross, shift - cross @ about
    return np.asarray(expm(generator))


def moved_sensors(info: mne.Info, motion: Array) -> mne.Info:
    """Move the sensors of the device by a motion (4, 4) in head coordinates."""
    out = info.copy()
    before = np.eye(4) if info["dev_head_t"] is None else info["dev_head_t"]["trans"]
    out["dev_head_t"] = mne.Transform("meg", "head", motion @ before)
    return out


@dataclass(frozen=True)
class ChannelMaps:
    """The maps of the channels that belong to motions of the sensors.

    Attributes
    ----------
    G : ndarray, shape (6, n_channels, n_channels)
        Generators, per m of a shift and per radian of a turn, of channels divided by ``size``.
    size : ndarray, shape (n_channels,)
        Typical lead field of each channel.
    """

    G: Array
    size: Array
    _matrices: dict[bytes, Array] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def learnt(cls, info: mne.Info, names: list[str], rr: Array, about: Array) -> ChannelMaps:
        """Learn them on the fields of a sphere, for turns about a point.

        Parameters
        ----------
        info : mne.Info
            Where the sensors are.
        names : list of str
            The channels.
        rr : ndarray, shape (n_positions, 3)
            Positions of the source space, head coordinates, m.
        about : ndarray, shape (3,)
            The point that turns leave where it is.

        Returns
        -------
        maps : ChannelMaps
            Zero for electric channels.
        """
        some = rr[np.linspace(0, len(rr) - 1, min(FIELDS, len(rr))).astype(int)]
        sphere = sphere_conductor(info, names, rr)

        def fields(twist: Array) -> Array:
            # Sensors that move see what they would see if the head moved back.
            back = np.linalg.inv(rigid(twist, about))
            seen = sphere.moved(back)(apply_trans(back, some)) @ back[:3, :3]
            return np.moveaxis(seen, 1, 0).reshape(len(names), -1)

        still = fields(np.zeros(6))
        size = _typical(still, info, names)
        still = still / size[:, None]
        square = still @ still.T
        magnetic = max(np.count_nonzero(square.diagonal()), 1)
        square += RIDGE * np.trace(square) / magnetic * np.eye(len(square))
        steps = SMALL * np.repeat([1.0, 1 / radius_about(rr, about)], 3)
        changes = [
            (fields(step) - fields(-step)) / (2 * step.sum() * size[:, None])
            for step in np.diag(steps)
        ]
        return cls(np.array([np.linalg.solve(square, still @ d.T).T for d in changes]), size)

    def matrix(self, twist: Array) -> Array:
        """Give what carries fields to where the sensors are, without derivatives.

        Parameters
        ----------
        twist : ndarray, shape (6,)
            Shifts in m and turns in radians.

        Returns
        -------
        matrix : ndarray, shape (n_channels, n_channels)
            To the left of fields of the sensors as they are said to be.
        """
        key = np.asarray(twist, float).tobytes()
        matrix = self._matrices.get(key)
        if matrix is None:
            if len(self._matrices) >= KEPT:
                self._matrices.clear()
            matrix = self.size[:, None] * expm(np.tensordot(twist, self.G, 1)) / self.size
            self._matrices[key] = matrix
        return matrix

    def __call__(self, gain: Array, twist: Array) -> tuple[Array, Array]:
        """Carry lead fields (m, d, k) to where the sensors are, and differentiate.

        The series of the exponential of A = Σ_j twist_j G_j, with its derivatives in all twists.

        Parameters
        ----------
        gain : ndarray, shape (m, n_channels, k)
            Of the sensors as they are said to be.
        twist : ndarray, shape (6,)
            Shifts in m and turns in radians.

        Returns
        -------
        moved : ndarray, shape (m, n_channels, k)
            Of the sensors after the motion.
        slopes : ndarray, shape (6, m, n_channels, k)
            Derivatives, per m and per radian.
        """
        m, d, k = gain.shape
        term = np.moveaxis(gain, 1, 0).reshape(d, m * k) / self.size[:, None]
        A = np.tensordot(twist, self.G, 1)
        total, slope = term, np.zeros((6, *term.shape))
        slopes = slope
        for number in count(1):
            slope = (A @ slope + self.G @ term) / number
            term = A @ term / number
            total, slopes = total + term, slopes + slope
            if not np.abs(term).max(initial=0.0) > TERMS * np.abs(total).max(initial=0.0):
                break
        shape = (d, m, k)
        moved = (self.size[:, None] * total).reshape(shape).swapaxes(0, 1)
        return moved, (self.size[:, None] * slopes).reshape(6, *shape).swapaxes(1, 2)


def _typical(fields: Array, info: mne.Info, names: list[str]) -> Array:
    """Root mean square of the fields (d, n) over the channels of each kind; 1 where it is zero."""
    index = [info["ch_names"].index(name) for name in names]
    kinds = np.array(info.get_channel_types(index))
    power, size = np.square(fields).mean(1), np.ones(len(names))
    for kind in np.unique(kinds[power > 0]):
        own = (kinds == kind) & (power > 0)
        size[own] = np.sqrt(power[own].mean())
    return size
