"""What a fit leaves behind: a linear filter from sensors to sources, and the sources' patterns."""

from __future__ import annotations

from dataclasses import dataclass, replace

import mne
import numpy as np
from numpy.typing import NDArray

from meg_vae.meg import estimates
from meg_vae.meg.estimates import Positions
from meg_vae.meg.leadfield import LeadField
from meg_vae.meg.sensors import Sensors, projected_fields


@dataclass(frozen=True)
class Cover:
    """Positions of a source space that stand for sources in an estimate.

    Attributes
    ----------
    source : ndarray of int, shape (n_covered,)
        The source that each stands for, by its row.
    share : ndarray, shape (n_covered, 3, 3)
        From the activity of that source to its part at the position, along the head's axes.
    positions : Positions
        The positions.
    """

    source: NDArray[np.int64]
    share: NDArray[np.float64]
    positions: Positions

    def ordered(self, order: NDArray[np.int64]) -> Cover:
        """Follow sources into another order, which may leave some out."""
        rows = [np.flatnonzero(self.source == k) for k in order]
        kept = np.concatenate([*rows, np.zeros(0, np.int64)]).astype(np.int64)
        source = np.repeat(np.arange(len(rows)), [len(one) for one in rows])
        return Cover(source, self.share[kept], self.positions.ordered(kept))


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
    prior : ndarray, shape (n_active, n_orient, n_orient)
        Prior covariance of the activity for ``nave`` averages, (A·m)².
    covariance : ndarray, shape (n_active, n_orient, n_orient)
        Posterior covariance of the activity for ``nave`` averages at the given places and priors,
        (A·m)².
    modes : ndarray, shape (n_active, n_modes, n_orient, n_channels)
        How the estimate moves with places, priors and noise as far as these are not known: each
        mode, applied to sensor data, is one standard deviation. None where places are given.
    sensors : Sensors
        The channels, and how they were recorded.
    nave : float
        Number of averages that whitener and covariances assume.
    positions : Positions
        Where the sources are.
    cover : Cover | None
        The positions of the source space that stand for them in an estimate; None where each has
        one, the nearest.
    """

    inverse_map: NDArray[np.float64]
    gain: NDArray[np.float64]
    whitener: NDArray[np.float64]
    prior: NDArray[np.float64]
    covariance: NDArray[np.float64]
    modes: NDArray[np.float64]
    sensors: Sensors
    nave: float
    positions: Positions
    cover: Cover | None = None

    @property
    def ch_names(self) -> list[str]:
        """Names of the channels."""
        return self.sensors.ch_names

    def ordered(self, order: NDArray[np.int64]) -> SourceFilter:
        """Put the sources in another order, shape (n_active,)."""
        n_orient = self.positions.axes.shape[1]
        rows = (np.asarray(order)[:, None] * n_orient + np.arange(n_orient)).ravel()
        return replace(
            self,
            inverse_map=self.inverse_map[rows],
            gain=self.gain[:, rows],
            prior=self.prior[order],
            covariance=self.covariance[order],
            modes=self.modes[order],
            positions=self.positions.ordered(order),
            cover=None if self.cover is None else self.cover.ordered(order),
        )

    def at_positions(self) -> SourceFilter:
        """Give each position, in ascending order as in MNE's estimates, a single source.

        Moments of sources between positions add up at the nearest one, those of a patch are shared
        among all that it covers.

        Returns
        -------
        filter : SourceFilter
            For `sources` and `power`: its gain, covariances and modes are those of one source of
            each position.
        """
        own = self.inverse_map.reshape(*self.positions.axes.shape[:2], len(self.ch_names))
        source, places = np.arange(len(own)), self.positions
        if self.cover is not None:
            source, places = self.cover.source, self.cover.positions
            own = self.cover.share @ own[source]
        where = np.stack([places.space, places.vertno], axis=1)
        first, which = np.unique(where, axis=0, return_index=True, return_inverse=True)[1:]
        maps = np.zeros((len(first), *own.shape[1:]))
        np.add.at(maps, which.ravel(), own)
        return replace(
            replace(self, cover=None).ordered(source[first]),
            inverse_map=maps.reshape(-1, len(self.ch_names)),
            positions=replace(places.ordered(first), axes=self.positions.axes[source[first]]),
        )

    def spread(
        self, data: NDArray[np.float64], nave: float, axis: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Give the standard deviation of the activity along an axis of each source.

        Parameters
        ----------
        data : ndarray, shape (n_channels, n_times)
            Data of the channels of the filter.
        nave : float
            Number of averages in them.
        axis : ndarray, shape (n_active, n_orient)
            Unit vectors among the axes of the sources.

        Returns
        -------
        sd : ndarray, shape (n_active, n_times)
            In A·m: what remains where places and priors are given, and what these add.
        """
        known = np.einsum("ga,gab,gb->g", axis, self.covariance, axis) * self.nave / nave
        along = np.einsum("ga,gbad->gbd", axis, self.modes)
        return np.sqrt(known[:, None] + np.square(along @ data).sum(1))

    def data(self, evoked: mne.Evoked) -> NDArray[np.float64]:
        """Pick the channels of an evoked response, and check that it was recorded alike.

        Parameters
        ----------
        evoked : mne.Evoked
            Data with the channels of the filter.

        Returns
        -------
        data : ndarray, shape (n_channels, n_times)
            In the units of MNE.
        """
        return self.sensors.check_values(
            evoked.data[self.sensors.pick(evoked.info, "evoked")], "evoked"
        )

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
        return (evoked.nave / self.nave) ** 0.5 * (self.whitener @ self.data(evoked))

    def sources(self, data: NDArray[np.float64]) -> NDArray[np.float64]:
        """Estimate the activity behind sensor data.

        Parameters
        ----------
        data : ndarray, shape (n_channels, n_times)
            Data of the channels of the filter.

        Returns
        -------
        U : ndarray, shape (n_active, n_orient, n_times)
            In A·m.
        """
        return (self.inverse_map @ data).reshape(*self.positions.axes.shape[:2], data.shape[1])

    def activity(self, evoked: mne.Evoked) -> NDArray[np.float64]:
        """Estimate the activity of the sources in an evoked response.

        Parameters
        ----------
        evoked : mne.Evoked
            Data with the channels of the filter.

        Returns
        -------
        U : ndarray, shape (n_active, n_orient, n_times)
            In A·m.
        """
        return self.sources(self.data(evoked))

    def power(self, covariance: NDArray[np.float64]) -> NDArray[np.float64]:
        """Estimate the power of the sources from a covariance of sensor data.

        Parameters
        ----------
        covariance : ndarray, shape (n_channels, n_channels)
            Of the channels of the filter, in the square of their units.

        Returns
        -------
        power : ndarray, shape (n_active, n_orient, n_orient)
            Covariance of the dipoles of each source, (A·m)².
        """
        K = self.inverse_map.reshape(*self.positions.axes.shape[:2], len(self.ch_names))
        return np.einsum("gad,de,gbe->gab", K, covariance, K, optimize=True)

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
        out = projected_fields(active, self.ch_names)
        U = self.activity(evoked)
        gain = self.gain - out @ (out.T @ self.gain)
        return np.einsum("dga,gat->gdt", gain.reshape(len(gain), *U.shape[:2]), U)

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
        residual.data = self.data(evoked) - residual.data
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

    def dipoles(self, evoked: mne.Evoked) -> list[mne.Dipole]:
        """Give each source as a dipole.

        Parameters
        ----------
        evoked : mne.Evoked
            Data with the channels of the filter.

        Returns
        -------
        dipoles : list of mne.Dipole
            In the order of the filter; of a patch its moments added as vectors. The goodness of fit
            is the part of the whitened power that is lost when that source alone is taken out, in
            %.
        """
        X = self.whiten(evoked)
        scale = (evoked.nave / self.nave) ** 0.5
        seen = scale * np.einsum("rd,gdt->grt", self.whitener, self.patterns(evoked))
        residual = X - seen.sum(0)
        lost = np.square(residual + seen).sum(1) - np.square(residual).sum(0)
        power = np.square(X).sum(0)
        gof = 100 * lost / np.where(power > 0, power, np.inf)
        moments = self.activity(evoked)
        if self.cover is not None:
            parts = self.cover.share @ moments[self.cover.source]
            moments = np.zeros_like(moments)
            np.add.at(moments, self.cover.source, parts)
        return estimates.dipoles(self.positions, moments, evoked.times, gof)


def source_filter(
    leadfield: LeadField,
    active_dipoles: NDArray[np.int64],
    whitened_map: NDArray[np.float64],
    prior: NDArray[np.float64],
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
    prior, covariance : ndarray, shape (n_active, n_orient, n_orient)
        Prior and posterior covariance of that activity.

    Returns
    -------
    filter : SourceFilter
        The filter.
    """
    n_orient = leadfield.n_orient
    weights = leadfield.weights[active_dipoles]
    by_source = weights.reshape(-1, n_orient)
    outer = by_source[:, :, None] * by_source[:, None, :]
    return SourceFilter(
        inverse_map=weights[:, None] * (whitened_map @ leadfield.whitener),
        gain=leadfield.forward["sol"]["data"][:, active_dipoles],
        whitener=leadfield.whitener,
        prior=prior * outer,
        covariance=covariance * outer,
        modes=np.zeros((len(by_source), 0, n_orient, leadfield.whitener.shape[1])),
        sensors=leadfield.sensors,
        nave=leadfield.nave,
        positions=estimates.active_positions(
            leadfield.forward, active_dipoles[::n_orient] // n_orient
        ),
    )
