"""What a fit leaves behind: a linear filter from sensors to sources, and the sources' patterns."""

from __future__ import annotations

from dataclasses import dataclass

import mne
import numpy as np
from mne.proj import make_projector
from numpy.typing import NDArray

from meg_vae.meg import estimates
from meg_vae.meg.estimates import Positions
from meg_vae.meg.leadfield import LeadField, evoked_data, whiten


@dataclass(frozen=True)
class SourceFilter:
    """A linear filter from the channels of a fit to its sources.

    Attributes
    ----------
    inverse_map : ndarray, shape (n_active * n_orient, n_channels)
        Sensor data to activity in A·m.
    gain : ndarray, shape (n_channels, n_active * n_orient)
        Activity in A·m to sensor data, before projectors.
    whitener : ndarray, shape (rank, n_channels)
        Sensor data to whitened data, for ``nave`` averages.
    covariance : ndarray, shape (n_active, n_orient, n_orient)
        Posterior covariance of the activity for ``nave`` averages, (A·m)².
    ch_names : list of str
        The channels.
    nave : float
        Number of averages that whitener and covariance assume.
    positions : Positions
        Where the sources are.
    """

    inverse_map: NDArray[np.float64]
    gain: NDArray[np.float64]
    whitener: NDArray[np.float64]
    covariance: NDArray[np.float64]
    ch_names: list[str]
    nave: float
    positions: Positions

    def whiten(self, evoked: mne.Evoked) -> NDArray[np.float64]:
        """Whiten an evoked response by its own number of averages.

        Parameters
        ----------
        evoked : mne.Evoked
            Data with the channels of the filter.

        Returns
        -------
        X : ndarray, shape (rank, n_times)
            Whitened data, dimensionless, of noise variance 1 if the noise covariance is right.
        """
        return whiten(evoked, self.whitener, self.ch_names, self.nave)

    def activity(self, evoked: mne.Evoked) -> NDArray[np.float64]:
        """Estimate the activity of the sources.

        Parameters
        ----------
        evoked : mne.Evoked
            Data with the channels of the filter.

        Returns
        -------
        U : ndarray, shape (n_active, n_orient, n_times)
            In A·m.
        """
        U = self.inverse_map @ evoked_data(evoked, self.ch_names)
        return U.reshape(*self.positions.axes.shape[:2], len(evoked.times))

    def patterns(self, evoked: mne.Evoked) -> NDArray[np.float64]:
        """Give what each source alone puts on the sensors, through the data's active projectors.

        Parameters
        ----------
        evoked : mne.Evoked
            Data with the channels of the filter.

        Returns
        -------
        patterns : ndarray, shape (n_active, n_channels, n_times)
            In the units of MNE.
        """
        active = [projector for projector in evoked.info["projs"] if projector["active"]]
        project = make_projector(active, self.ch_names)[0]
        U = self.activity(evoked)
        gain = (project @ self.gain).reshape(len(self.ch_names), *U.shape[:2])
        return np.einsum("dga,gat->gdt", gain, U)

    def predict(self, evoked: mne.Evoked) -> mne.Evoked:
        """Give the sensor data that the sources explain.

        Parameters
        ----------
        evoked : mne.Evoked
            Data with the channels of the filter.

        Returns
        -------
        fitted : mne.Evoked
            On the channels of the filter.
        """
        fitted = evoked.copy().pick(self.ch_names, verbose="error").reorder_channels(self.ch_names)
        fitted.data = self.patterns(evoked).sum(0)
        return fitted

    def residual(self, evoked: mne.Evoked) -> mne.Evoked:
        """Give the sensor data that the sources leave unexplained.

        Parameters
        ----------
        evoked : mne.Evoked
            Data with the channels of the filter.

        Returns
        -------
        residual : mne.Evoked
            Data minus prediction, on the channels of the filter.
        """
        residual = self.predict(evoked)
        residual.data = evoked_data(evoked, self.ch_names) - residual.data
        return residual

    def explained_variance(self, evoked: mne.Evoked) -> float:
        """Measure the part of the whitened power that the sources explain.

        Parameters
        ----------
        evoked : mne.Evoked
            Data with the channels of the filter.

        Returns
        -------
        explained : float
            1 − ‖X − ΦU‖² / ‖X‖² in %; 0 for data that are zero.
        """
        total = np.square(self.whiten(evoked)).sum()
        left = np.square(self.whiten(self.residual(evoked))).sum()
        return float(100 * (1 - left / total)) if total > 0 else 0.0

    def estimate(self, evoked: mne.Evoked, pick_ori: str | None) -> mne.SourceEstimate:
        """Give the activity as MNE's source estimate.

        Parameters
        ----------
        evoked : mne.Evoked
            Data with the channels of the filter.
        pick_ori : None | "vector"
            Amplitudes, signed for a fixed orientation, or vectors.

        Returns
        -------
        stc : SourceEstimate
            In A·m, of the class that matches the source space.
        """
        tstep = 1 / evoked.info["sfreq"]
        return estimates.source_estimate(
            self.positions, self.activity(evoked), evoked.times[0], tstep, pick_ori
        )

    def dipoles(self, evoked: mne.Evoked) -> list[mne.Dipole]:
        """Give each source as a dipole.

        Parameters
        ----------
        evoked : mne.Evoked
            Data with the channels of the filter.

        Returns
        -------
        dipoles : list of mne.Dipole
            In the order of the source space. The goodness of fit is the part of the whitened power
            that is lost when that source alone is taken out, in %.
        """
        X = self.whiten(evoked)
        scale = (evoked.nave / self.nave) ** 0.5
        seen = scale * np.einsum("rd,gdt->grt", self.whitener, self.patterns(evoked))
        residual = X - seen.sum(0)
        lost = np.square(residual + seen).sum(1) - np.square(residual).sum(0)
        power = np.square(X).sum(0)
        gof = 100 * lost / np.where(power > 0, power, np.inf)
        return estimates.dipoles(self.positions, self.activity(evoked), evoked.times, gof)


def source_filter(
    leadfield: LeadField,
    active_dipoles: NDArray[np.int64],
    whitened_map: NDArray[np.float64],
    covariance: NDArray[np.float64],
) -> SourceFilter:
    """Put a fit of whitened data in the units of the sensors and of the sources.

    Parameters
    ----------
    leadfield : LeadField
        The whitened lead field of the fit.
    active_dipoles : ndarray of int, shape (n_active * n_orient,)
        Columns of Φ that are active.
    whitened_map : ndarray, shape (n_active * n_orient, rank)
        Whitened data to the activity of these columns.
    covariance : ndarray, shape (n_active, n_orient, n_orient)
        Posterior covariance of that activity.

    Returns
    -------
    filter : SourceFilter
        The filter.
    """
    n_orient = leadfield.n_orient
    weights = leadfield.weights[active_dipoles]
    by_source = weights.reshape(-1, n_orient)
    return SourceFilter(
        inverse_map=weights[:, None] * (whitened_map @ leadfield.whitener),
        gain=leadfield.forward["sol"]["data"][:, active_dipoles],
        whitener=leadfield.whitener,
        covariance=covariance * by_source[:, :, None] * by_source[:, None, :],
        ch_names=leadfield.ch_names,
        nave=leadfield.nave,
        positions=estimates.active_positions(
            leadfield.forward, active_dipoles[::n_orient] // n_orient
        ),
    )
