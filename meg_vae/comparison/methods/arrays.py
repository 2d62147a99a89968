"""Methods of whitened arrays: the lead field Φ and the data X in, rows of U out."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import mne
import numpy as np
from numpy.typing import NDArray

from meg_vae.comparison.methods.conversions import along_normals, from_moments, is_fixed
from meg_vae.comparison.methods.registry import Run
from meg_vae.meg.leadfield import LeadField, make_leadfield

Array = NDArray[np.float64]
Solve = Callable[..., tuple[Array, NDArray[np.bool_]]]
ORIENTATIONS = ("asked", "free", "fixed")


def array_method(orientation: str = "asked") -> Callable[[Solve], Run]:
    """Make a method of a function of whitened arrays.

    A decorator. The function has the shape of a custom solver of MNE's sparse inverses:
    ``solve(Phi, X, n_orient)`` gives ``U, active``. It is also given what its `Method` says that it
    is told.

    Parameters
    ----------
    orientation : "asked" | "free" | "fixed"
        What the columns of Φ are: those of the constraint that is asked for, with loose dipoles
        weighted across the normal; three of a position with equal weight, or the normal alone where
        the constraint is 0; or the normal alone always.

    Returns
    -------
    wrap : callable
        Makes the method.

    Raises
    ------
    ValueError
        If there is no such orientation; when the method runs, if the shapes are not those below.

    Notes
    -----
    ``Phi`` (n_channels, n_dipoles), per A·m, has the ``n_orient`` dipoles of a position adjacent;
    ``X`` (n_channels, n_times) has noise of variance 1. ``active`` (n_dipoles,) is a mask, and
    ``U`` (n_active, n_times) the activity of these dipoles in A·m, in the order of the mask.
    """
    if orientation not in ORIENTATIONS:
        raise ValueError(f"orientation={orientation!r} must be one of {', '.join(ORIENTATIONS)}.")

    def wrap(solve: Solve) -> Run:
        @wraps(solve)
        def run(
            evoked: mne.Evoked,
            forward: mne.Forward,
            noise_cov: mne.Covariance,
            *,
            loose: float | str,
            rank: Any,
            **told: Any,
        ) -> mne.SourceEstimate:
            fixed = orientation == "fixed" or is_fixed(forward, loose)
            own = loose if orientation == "asked" else 0.0 if fixed else 1.0
            leadfield, X = whitened(evoked, forward, noise_cov, loose=own, rank=rank)
            index, moments = _moments(
                leadfield, X, *solve(leadfield.Phi, X, leadfield.n_orient, **told)
            )
            found = from_moments(leadfield.forward, index, moments, evoked)
            if leadfield.n_orient == 3 or is_fixed(forward, loose):
                return found
            return along_normals(found, forward, index, evoked)

        return run

    return wrap


def whitened(
    evoked: mne.Evoked,
    forward: mne.Forward,
    noise_cov: mne.Covariance,
    *,
    loose: float | str,
    rank: Any,
) -> tuple[LeadField, Array]:
    """Whiten what a method is handed.

    Parameters
    ----------
    evoked, forward, noise_cov : mne.Evoked, mne.Forward, mne.Covariance
        Data, forward model and noise covariance of one average.
    loose : float | "auto"
        The orientation constraint.
    rank : dict
        Rank of the data.

    Returns
    -------
    leadfield : LeadField
        Φ, and the way back.
    X : ndarray, shape (rank, n_times)
        Whitened data, dimensionless.
    """
    leadfield = make_leadfield(forward, evoked.info, noise_cov, loose=loose, rank=rank)
    return leadfield, leadfield.whiten(evoked)


def _moments(
    leadfield: LeadField, X: Array, U: Array, active: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], Array]:
    """Give the active positions and their moments, shape (n_active, n_orient, n_times), in A·m."""
    active, U = np.asarray(active), np.asarray(U, float)
    n_dipoles = leadfield.Phi.shape[1]
    if active.shape != (n_dipoles,) or active.dtype != bool:
        raise ValueError(f"active must be a mask of the {n_dipoles} dipoles")
    if U.shape != (active.sum(), X.shape[1]):
        raise ValueError(f"U must have shape {(int(active.sum()), X.shape[1])}, not {U.shape}")
    dense = np.zeros((n_dipoles, X.shape[1]))
    dense[active] = leadfield.weights[active, None] * U
    index = np.flatnonzero(active.reshape(leadfield.n_positions, -1).any(axis=1))
    return index, dense.reshape(leadfield.n_positions, leadfield.n_orient, -1)[index]
