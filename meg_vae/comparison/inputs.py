"""Inputs: what every method is handed, the same for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import mne
import numpy as np
from numpy.typing import NDArray

from meg_vae.comparison.metrics import HIT_MM, Truth
from meg_vae.comparison.metrics.pairing import dipole_places
from meg_vae.meg.arguments import kinds
from meg_vae.meg.inputs import fit_data
from meg_vae.meg.leadfield import LeadField, make_leadfield
from meg_vae.meg.weights import Weights, position_weights

UNTOLD = 5  # sources that a method is told where the truth is not known: MNE's default for MUSIC


@dataclass(frozen=True, eq=False)
class Inputs:
    """What every method is handed: the same for all.

    Attributes
    ----------
    evoked : mne.Evoked
        The data, as one average.
    forward : mne.Forward
        The forward model of the same channels.
    noise_cov : mne.Covariance
        The noise covariance of the average.
    loose : float | str
        The orientation constraint.
    rank : dict
        Rank of the data.
    leadfield : LeadField
        The whitened lead field, by which estimates are scored.
    nave : float
        The number of averages.
    truth : Truth | None
        The true sources, which no method sees.
    weights : ndarray, shape (n_positions,) | None
        Prior weights of the positions in nats, for the methods that take them.
    """

    evoked: mne.Evoked
    forward: mne.Forward
    noise_cov: mne.Covariance
    loose: float | str
    rank: dict[str, int]
    leadfield: LeadField
    nave: float
    truth: Truth | None
    weights: NDArray[np.float64] | None = None

    @property
    def n_sources(self) -> int:
        """Number of sources, for the methods that are told it."""
        return UNTOLD if self.truth is None else len(self.truth.places)


def true_sources(
    truth: list[mne.Dipole] | None,
    radius: float = HIT_MM,
    extents_mm: float | Sequence[float] = 0.0,
) -> Truth | None:
    """Check the true sources.

    Parameters
    ----------
    truth : list of mne.Dipole | None
        The true sources in head coordinates. Of a dipole with several time points, the place at its
        largest amplitude counts.
    radius : float
        Distance within which a source counts as found, in mm.
    extents_mm : float | sequence of float
        Radii along the cortex of all of them, or of each; 0 is a point.

    Returns
    -------
    truth : Truth | None
        Places in mm, time courses and radii.

    Raises
    ------
    TypeError
        If it is no list of dipoles.
    ValueError
        If the radius is not above 0, or the extents are not one number of each source.
    """
    if not radius > 0:
        raise ValueError(f"hit_radius={radius!r} must be a distance in mm above 0.")
    if truth is None:
        return None
    if isinstance(truth, mne.Dipole) or not all(isinstance(one, mne.Dipole) for one in truth):
        raise TypeError("truth must be a list with an mne.Dipole per true source, or None.")
    courses = [np.asarray(one.amplitude, float) for one in truth]
    extents = np.asarray(extents_mm)
    fits = extents.dtype.kind in "iuf" and extents.shape in ((), (len(truth),))
    if not (fits and (extents >= 0).all()):
        raise ValueError(
            f"truth_extents_mm={extents_mm!r} must be one radius in mm, or one for each of the "
            f"{len(truth)} sources of truth; 0 is a point."
        )
    each = np.full(len(truth), extents, dtype=float)
    return Truth(1e3 * dipole_places(truth), courses, radius, each)


def prepare(
    evoked: mne.Evoked,
    forward: mne.Forward,
    noise_cov: mne.Covariance,
    truth: Truth | None,
    *,
    loose: float | str,
    rank: Any,
    weights: Weights = None,
) -> Inputs:
    """Check the inputs, and make of them what every method is handed.

    Parameters
    ----------
    evoked : mne.Evoked
        The data.
    forward : mne.Forward
        The forward model.
    noise_cov : mne.Covariance
        Noise covariance of single trials.
    truth : Truth | None
        The true sources.
    loose : float | "auto"
        The orientation constraint.
    rank : None | "info" | "full" | dict
        As in `mne.compute_rank`.
    weights : array_like | list of array_like | SourceEstimate | None
        Prior weights of the positions, as for `meg_vae.VAEInverse.fit`.

    Returns
    -------
    inputs : Inputs
        Data and covariance of one average, on the same channels.

    Raises
    ------
    ValueError
        If they do not fit together or are not finite.
    TypeError
        If ``evoked`` is of the wrong type.

    Notes
    -----
    MNE's sparse solvers take the noise covariance as it is, whereas its minimum norms divide it by
    ``evoked.nave``. Left to themselves they would assume different noise in the same data. The
    covariance is therefore divided here, once, and every method is told of one average.
    """
    if not isinstance(evoked, mne.Evoked):
        raise TypeError(f"evoked must be an mne.Evoked, got {kinds(evoked)}.")
    own = position_weights(weights, forward)
    data = fit_data(evoked, None)
    leadfield = make_leadfield(
        forward,
        evoked.info,
        noise_cov,
        nave=evoked.nave,
        loose=loose,
        rank=rank,
        data=data,
    )
    ch_names = leadfield.ch_names
    average = evoked.copy().pick(ch_names, verbose="error")
    average_cov = leadfield.noise_cov.copy().pick_channels(ch_names, verbose="error")
    average_cov["data"] = average_cov["data"] / evoked.nave
    average.nave = 1
    if leadfield.n_orient == 1:
        loose = 0.0  # for MNE "auto" is loose even where the forward model is fixed
    elif leadfield.weights.min() == 1:
        loose = 1.0  # for MNE "auto" is loose in the cortical part of a mixed source space
    return Inputs(
        evoked=average,
        forward=mne.pick_channels_forward(forward, ch_names, ordered=True, verbose="error"),
        noise_cov=average_cov,
        loose=loose,
        rank=leadfield.rank,
        leadfield=replace(leadfield, nave=1),  # the same whitener, now of one average
        nave=evoked.nave,
        truth=truth,
        weights=own,
    )
