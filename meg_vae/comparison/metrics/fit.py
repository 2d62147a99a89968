"""Data and estimate: what it explains, what it leaves, what it would predict."""

from __future__ import annotations

from dataclasses import replace

import mne
import numpy as np
from numpy.typing import NDArray

from meg_vae.comparison.metrics.case import Scored
from meg_vae.comparison.metrics.pairing import dipole_moments, dipole_places, positions_of
from meg_vae.meg.field import ContinuousField
from meg_vae.meg.leadfield import LeadField


def whitened_field(
    estimate: mne.SourceEstimate, leadfield: LeadField, forward: mne.Forward
) -> NDArray[np.float64]:
    """Compute what an estimate puts on the whitened sensors.

    Parameters
    ----------
    estimate : SourceEstimate
        In A·m: vectors for a free orientation, signed amplitudes for a fixed one.
    leadfield : LeadField
        The lead field.
    forward : mne.Forward
        The forward model of the same channels that it was made of: where the lead field has one
        component a position and the estimate has three, its axes are those that count.

    Returns
    -------
    field : ndarray, shape (rank, n_times)
        ΦU, dimensionless.

    Raises
    ------
    ValueError
        If the estimate has amplitudes where vectors are needed.
    """
    is_vector = estimate.data.ndim == 3
    used = forward if is_vector and leadfield.n_orient == 1 else leadfield.forward
    index = positions_of(estimate, used)
    axes = used["source_nn"].reshape(len(used["source_rr"]), -1, 3)[index]
    n_orient = axes.shape[1] if len(index) else 3 if is_vector else 1
    if is_vector != (n_orient == 3):
        raise ValueError("estimate must hold vectors if the orientation is free, else amplitudes.")
    data = (
        estimate.data[:, None] if n_orient == 1 else np.einsum("gak,gkt->gat", axes, estimate.data)
    )
    columns = (index[:, None] * n_orient + np.arange(n_orient)).ravel()
    gain = used["sol"]["data"][:, columns]
    field: NDArray[np.float64] = leadfield.whitener @ (
        gain @ data.reshape(len(columns), data.shape[-1])
    )
    return field


def whitened_dipole_field(
    dipoles: list[mne.Dipole], leadfield: LeadField, forward: mne.Forward, evoked: mne.Evoked
) -> NDArray[np.float64]:
    """Compute what dipoles between the positions put on the whitened sensors.

    Parameters
    ----------
    dipoles : list of mne.Dipole
        The dipoles, each at one place.
    leadfield : LeadField
        The lead field.
    forward : mne.Forward
        The forward model of the same channels, of free orientation, between whose positions the
        lead field is interpolated.
    evoked : mne.Evoked
        The data.

    Returns
    -------
    field : ndarray, shape (rank, n_times)
        Dimensionless. Beyond the reach of the interpolation a dipole counts at its wall.

    Raises
    ------
    ValueError
        If the forward model is of fixed orientation or has too few positions.
    """
    between = ContinuousField(replace(leadfield, forward=forward), evoked.info)
    gain = between.gain(between.confine(dipole_places(dipoles)))
    moments = dipole_moments(dipoles, len(evoked.times))
    field: NDArray[np.float64] = leadfield.whitener @ np.einsum("ndk,nkt->dt", gain, moments)
    return field


def _data(scored: Scored) -> NDArray[np.float64]:
    return scored.leadfield.whiten(scored.evoked)


def explained_variance(scored: Scored) -> float:
    """Measure the part of the whitened power that an estimate explains.

    Parameters
    ----------
    scored : Scored
        The estimate and the data.

    Returns
    -------
    explained : float
        1 − ‖X − ΦU‖² / ‖X‖² in %; below 0 where the estimate is farther from the data than nothing
        is; 0 for data that are zero.
    """
    X = _data(scored)
    total = np.square(X).sum()
    left = np.square(X - scored.field).sum()
    return float(100 * (1 - left / total)) if total > 0 else 0.0


def residual_whiteness(scored: Scored) -> float:
    """Compare the largest eigenvalue of the residual's covariance with that of white noise.

    λ_max(RRᵀ/n) / (1 + √(d/n))², R = X − ΦU with d whitened channels and n samples: the edge of
    Marchenko and Pastur for noise of variance 1.

    Parameters
    ----------
    scored : Scored
        The estimate and the data.

    Returns
    -------
    ratio : float
        Dimensionless: about 1 for white noise, above it where structure is left, below it where
        noise is fitted.
    """
    residual = _data(scored) - scored.field
    d, n = residual.shape
    largest = np.square(np.linalg.norm(residual, 2)) / n
    return float(largest / (1 + np.sqrt(d / n)) ** 2)
