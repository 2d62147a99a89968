"""What it does to a lead field that the sensors are not quite where they were said to be.

Outside the head the field of any source is harmonic, so that its values at sensors moved a little
follow from its values at the sensors as they are: to each rigid motion belongs a linear map of the
channels. Its generators are learnt on the fields of a sphere, which MNE computes for sensors
anywhere, and hold for any conductor. Electric channels sit on the head and stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import mne
import numpy as np
from mne.transforms import apply_trans
from mne.utils import warn
from numpy.typing import NDArray
from scipy.linalg import expm, logm

from meg_vae.meg.conductor import sphere_conductor

Array = NDArray[np.float64]

AUTO = 8.0  # nats that a motion must carry where it is not asked for
LEARN = (4.0, 3.0)  # mm and degrees: standard deviation of each shift and each turn
FIELDS = 300  # positions whose fields in a sphere teach what a motion does
SMALL = 5e-4  # m that the sensors move for it
RIDGE = 1e-4  # of the mean power of the fields
TERMS = 1e-12  # relative size of the terms of the exponential series that are left out


@dataclass(frozen=True)
class Motion:
    """Where sensors may be, relative to the head: δ ~ N(0, I) of shifts and turns.

    Attributes
    ----------
    scale : ndarray, shape (6,)
        Standard deviations: of the shifts along the head's axes in m, of the turns about them in
        radians; 0 where one is known.
    about : ndarray, shape (3,)
        The point that the turns leave where it is, head coordinates, m.
    radius : float
        How far from it the positions are, root mean square, m.
    """

    scale: Array
    about: Array
    radius: float

    @classmethod
    def of(cls, rr: Array, mm: float, degrees: float) -> Motion:
        """Give the prior of a motion about the middle of the positions rr (n, 3), m."""
        about = rr.mean(0)
        scale = np.repeat([1e-3 * mm, np.radians(degrees)], 3)
        return cls(scale, about, _radius(rr, about))

    @property
    def free(self) -> NDArray[np.int64]:
        """Which of the six are not known."""
        return np.flatnonzero(self.scale)

    @property
    def swing(self) -> Array:
        """How far one standard deviation of each takes the sensors, m."""
        return (self.scale * np.repeat([1.0, self.radius], 3))[self.free]

    def delta(self, transform: mne.Transform) -> Array:
        """Give the parameters of a motion of the sensors."""
        generator = np.real(logm(transform["trans"]))
        turn = generator[[2, 0, 1], [1, 2, 0]]
        twist = np.r_[generator[:3, 3] + np.cross(turn, self.about), turn]
        return np.asarray(twist[self.free] / self.scale[self.free])

    def twist(self, delta: Array) -> Array:
        """Shifts in m and turns in radians, (6,), of parameters of those that are free."""
        out = np.zeros(6)
        out[self.free] = self.scale[self.free] * delta
        return out

    def transform(self, delta: Array) -> mne.Transform:
        """Give the motion of the sensors in head coordinates."""
        return mne.Transform("head", "head", rigid(self.twist(delta), self.about))

    def covariance(self, delta_covariance: Array) -> Array:
        """Covariance (6, 6) of shifts and turns, m and radians, from that of the parameters."""
        out = np.zeros((6, 6))
        out[np.ix_(self.free, self.free)] = delta_covariance
        return self.scale[:, None] * out * self.scale


@dataclass(frozen=True)
class Registration:
    """Where the sensors were found to be.

    Attributes
    ----------
    transform : mne.Transform
        From where they are said to be to where they are, in head coordinates.
    covariance : ndarray, shape (6, 6)
        How sure that is, of shifts (m) and turns (radians) about ``about``.
    log_evidence : float
        Log evidence in nats that they are elsewhere; where it was not asked for and is small, what
        it could be at most.
    """

    transform: mne.Transform
    covariance: Array
    log_evidence: float


AS_GIVEN = Registration(mne.Transform("head", "head", np.eye(4)), np.zeros((6, 6)), np.nan)


def check_registration(registration: Any, positions: str) -> None:
    """Refuse a registration that is none.

    Parameters
    ----------
    registration : str | tuple | None
        The option of `VAEInverse`.
    positions : str
        That where sources are; on the grid the sensors are where they are said to be.

    Raises
    ------
    ValueError
        If it cannot be used.
    """
    named = registration is None or registration in ("auto", "learn")
    if not named and not _widths(registration):
        raise ValueError(
            f"registration={registration!r} must be None, 'auto', 'learn' or standard deviations "
            "in mm and degrees, as (4, 3)."
        )
    if positions == "grid" and registration not in (None, "auto"):
        raise ValueError(
            f"registration={registration!r} moves the lead field, and positions='grid' holds it; "
            "use positions='free', or registration=None."
        )


def _widths(registration: Any) -> bool:
    """Whether it is two numbers, none negative and not both zero."""
    return (
        isinstance(registration, (tuple, list))
        and len(registration) == 2
        and all(isinstance(x, Real) and 0 <= float(x) < np.inf for x in registration)
        and any(registration)
    )


def motion_prior(registration: Any, forward: mne.Forward, averages: bool) -> Motion | None:
    """Give the prior of the motion that an option asks for.

    Parameters
    ----------
    registration : str | tuple | None
        The option of `VAEInverse`.
    forward : mne.Forward
        The forward model.
    averages : bool
        Whether the data are responses. In a recording or a covariance, correlated sources would
        look like a motion; there it must be asked for.

    Returns
    -------
    motion : Motion | None
        None where the sensors are where they are said to be, as electrodes always are.
    """
    if registration is None or (registration == "auto" and not averages):
        return None
    if set(forward["info"].get_channel_types(unique=True)) <= {"eeg"}:
        return None
    rr = forward["source_rr"]
    mm, degrees = LEARN if isinstance(registration, str) else registration
    return Motion.of(rr, float(mm), float(degrees))


def found_registration(motion: Motion | None, model: Any) -> Registration:
    """Put the motion that a model found in the units of the head.

    Parameters
    ----------
    motion : Motion | None
        Its prior.
    model : SlidingVAE
        The fit.

    Returns
    -------
    registration : Registration
        No motion where none was learnt.
    """
    if motion is None or not len(model.motion_):
        return replace(AS_GIVEN, log_evidence=model.motion_evidence_)
    transform, known = motion.transform(model.motion_), motion.covariance(model.motion_covariance_)
    return Registration(transform, known, model.motion_evidence_)


def tell_of_motion(found: Registration, rr: Array, asked: Any) -> None:
    """Warn where the sensors were found elsewhere though nobody asked.

    Parameters
    ----------
    found : Registration
        What was found.
    rr : ndarray, shape (n_positions, 3)
        Positions of the source space, head coordinates, m.
    asked : str | tuple | None
        The option of `VAEInverse`.

    Warns
    -----
    RuntimeWarning
        Once.
    """
    if asked == "auto" and found.covariance.any():
        gap = np.linalg.norm(apply_trans(found.transform, rr) - rr, axis=1)
        warn(
            f"the data say that the sensors lie {1e3 * gap.mean():.1f} mm from where info and trans"
            f" put them ({found.log_evidence:.0f} nats), and the estimate allows for it. Check the "
            "coregistration; registration=None takes it as it is."
        )


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

        def fields(twist: Array) -> Array:
            sphere = sphere_conductor(moved_sensors(info, rigid(twist, about)), names, rr)
            return np.moveaxis(sphere(some), 1, 0).reshape(len(names), -1)

        still = fields(np.zeros(6))
        size = _typical(still, info, names)
        still = still / size[:, None]
        square = still @ still.T
        magnetic = max(np.count_nonzero(square.diagonal()), 1)
        square += RIDGE * np.trace(square) / magnetic * np.eye(len(square))
        steps = SMALL * np.repeat([1.0, 1 / _radius(rr, about)], 3)
        changes = [
            (fields(step) - fields(-step)) / (2 * step.sum() * size[:, None])
            for step in np.diag(steps)
        ]
        return cls(np.array([np.linalg.solve(square, still @ d.T).T for d in changes]), size)

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
        slope = np.zeros((6, *term.shape))
        total, slopes, number = term.copy(), slope.copy(), 0
        while max(np.abs(term).max(initial=0.0), number < 2) > TERMS * np.abs(total).max(initial=0):
            number += 1
            slope = (A @ slope + self.G @ term) / number
            term = A @ term / number
            total, slopes = total + term, slopes + slope
        shape = (d, m, k)
        moved = (self.size[:, None] * total).reshape(shape).swapaxes(0, 1)
        return moved, (self.size[:, None] * slopes).reshape(6, *shape).swapaxes(1, 2)


def _radius(rr: Array, about: Array) -> float:
    return float(np.sqrt(np.square(rr - about).sum(1).mean()))


def _typical(fields: Array, info: mne.Info, names: list[str]) -> Array:
    """Root mean square of the fields (d, n) over the channels of each kind; 1 where it is zero."""
    index = [info["ch_names"].index(name) for name in names]
    kinds = np.array(info.get_channel_types(index))
    power, size = np.square(fields).mean(1), np.ones(len(names))
    for kind in np.unique(kinds[power > 0]):
        own = (kinds == kind) & (power > 0)
        size[own] = np.sqrt(power[own].mean())
    return size
