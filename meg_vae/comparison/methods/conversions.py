"""Estimates of foreign shapes to what every method must return."""

from __future__ import annotations

import mne
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from meg_vae.comparison.metrics.pairing import dipole_moments, dipole_places
from meg_vae.meg.estimates import active_positions, source_estimate


def is_fixed(forward: mne.Forward, loose: float | str) -> bool:
    """Tell whether dipoles have one component.

    Parameters
    ----------
    forward : mne.Forward
        The forward model.
    loose : float | "auto"
        The orientation constraint.

    Returns
    -------
    fixed : bool
        Whether estimates are amplitudes, not vectors.
    """
    return loose == 0 or mne.forward.is_fixed_orient(forward)


def oriented(forward: mne.Forward, loose: float | str) -> mne.Forward:
    """Give a forward model with only the components that a constraint leaves.

    Parameters
    ----------
    forward : mne.Forward
        The forward model.
    loose : float | "auto"
        The orientation constraint.

    Returns
    -------
    forward : mne.Forward
        Of normals alone if the constraint is 0, else as it is.
    """
    if not is_fixed(forward, loose) or mne.forward.is_fixed_orient(forward):
        return forward
    return mne.convert_forward_solution(
        forward, surf_ori=True, force_fixed=True, use_cps=True, verbose="error"
    )


def from_moments(
    forward: mne.Forward, index: NDArray[np.int64], moments: NDArray[np.float64], evoked: mne.Evoked
) -> mne.SourceEstimate:
    """Make an estimate of the moments of some positions.

    Parameters
    ----------
    forward : mne.Forward
        The forward model.
    index : ndarray of int, shape (n_active,)
        Positions, each once, in any order.
    moments : ndarray, shape (n_active, n_orient, n_times)
        Activity along the axes of the forward model, or along the normals if ``n_orient`` is 1.
    evoked : mne.Evoked
        The data, for their times.

    Returns
    -------
    stc : SourceEstimate
        Vectors, or amplitudes if ``n_orient`` is 1.
    """
    order = np.argsort(index)
    positions = active_positions(forward, np.asarray(index, np.int64)[order])
    pick_ori = "vector" if moments.shape[1] == 3 else None
    return source_estimate(
        positions, moments[order], evoked.times[0], 1 / evoked.info["sfreq"], pick_ori
    )


def at_nearest_positions(
    dipoles: list[mne.Dipole], forward: mne.Forward, evoked: mne.Evoked
) -> mne.SourceEstimate:
    """Put dipoles at the positions nearest to them; where several have the same, they add up.

    Parameters
    ----------
    dipoles : list of mne.Dipole
        The dipoles, each at one place.
    forward : mne.Forward
        The forward model.
    evoked : mne.Evoked
        The data, for their times.

    Returns
    -------
    stc : SourceEstimate
        Vectors, or amplitudes along the normals of a fixed forward model.
    """
    nearest = cKDTree(forward["source_rr"]).query(dipole_places(dipoles))[1]
    axes = forward["source_nn"].reshape(forward["nsource"], -1, 3)[nearest]
    moments = axes @ dipole_moments(dipoles, len(evoked.times))
    index, which = np.unique(nearest, return_inverse=True)
    total = np.zeros((len(index), *moments.shape[1:]))
    np.add.at(total, which, moments)
    return from_moments(forward, index, total, evoked)


def nothing(forward: mne.Forward, loose: float | str, evoked: mne.Evoked) -> mne.SourceEstimate:
    """Make an empty estimate.

    Parameters
    ----------
    forward : mne.Forward
        The forward model.
    loose : float | "auto"
        The orientation constraint.
    evoked : mne.Evoked
        The data, for their times.

    Returns
    -------
    stc : SourceEstimate
        Of no position.
    """
    n_orient = 1 if is_fixed(forward, loose) else 3
    return from_moments(
        forward, np.zeros(0, np.int64), np.zeros((0, n_orient, len(evoked.times))), evoked
    )


def along_normals(
    stc: mne.SourceEstimate, forward: mne.Forward, index: NDArray[np.int64], evoked: mne.Evoked
) -> mne.SourceEstimate:
    """Turn signed amplitudes along the normals into vectors.

    Parameters
    ----------
    stc : SourceEstimate
        Amplitudes.
    forward : mne.Forward
        The forward model of free orientation.
    index : ndarray of int, shape (n_active,)
        The rows of the estimate in the forward model.
    evoked : mne.Evoked
        The data, for their times.

    Returns
    -------
    stc : SourceEstimate
        Vectors.
    """
    normals = oriented(forward, 0.0)["source_nn"][index]
    axes = forward["source_nn"].reshape(-1, 3, 3)[index]
    moments = np.einsum("gak,gk,gt->gat", axes, normals, stc.data)
    return from_moments(forward, index, moments, evoked)
