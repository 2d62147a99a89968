"""Where the sensors are relative to the head: the prior of their motion, and what was found."""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import mne
import numpy as np
from mne.transforms import apply_trans
from mne.utils import warn
from numpy.typing import NDArray
from scipy.linalg import logm
from scipy.spatial.transform import Rotation

from meg_vae.meg.channel_maps import radius_about, rigid
from meg_vae.meg.conductor import ORIGIN

Array = NDArray[np.float64]

AUTO = 8.0  # nats that a motion must carry where it is not asked for
LEARN = (4.0, 3.0)  # mm and degrees: standard deviation of each shift and each turn


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
        return cls(scale, about, radius_about(rr, about))

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
        How sure that is, of shifts (m) and turns (radians) about the middle of the positions.
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
    word = isinstance(registration, str)
    named = registration is None or (word and registration in ("auto", "learn"))
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


def motion_prior(registration: Any, forward: mne.Forward) -> Motion | None:
    """Give the prior of the motion that an option asks for.

    Parameters
    ----------
    registration : str | tuple | None
        The option of `VAEInverse`.
    forward : mne.Forward
        The forward model.

    Returns
    -------
    motion : Motion | None
        None where the sensors are where they are said to be, as electrodes always are.
    """
    if registration is None or set(forward["info"].get_channel_types(unique=True)) <= {"eeg"}:
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


def motion_text(transform: mne.Transform) -> str:
    """Say how far the sensors lie from where they are said to be: the turn, and the middle's shift.

    Parameters
    ----------
    transform : mne.Transform
        Their motion, in head coordinates.

    Returns
    -------
    text : str
        Such as "2.9° and 3.7 mm".
    """
    degrees = np.degrees(Rotation.from_matrix(transform["trans"][:3, :3]).magnitude())
    gap = 1e3 * np.linalg.norm(apply_trans(transform, ORIGIN) - ORIGIN)
    return f"{degrees:.1f}° and {gap:.1f} mm"


def tell_of_motion(found: Registration, asked: Any) -> None:
    """Warn where the sensors were found elsewhere though nobody asked.

    Parameters
    ----------
    found : Registration
        What was found.
    asked : str | tuple | None
        The option of `VAEInverse`.

    Warns
    -----
    RuntimeWarning
        Once.
    """
    if asked == "auto" and found.covariance.any():
        warn(
            f"the data say that the sensors lie {motion_text(found.transform)} from where info and "
            f"trans put them ({found.log_evidence:.0f} nats), and the estimate allows for it. "
            "Check the coregistration; registration=None takes it as it is."
        )
