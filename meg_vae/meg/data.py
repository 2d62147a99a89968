"""The data of a fit: evoked responses, a recording or a covariance, each whitened to an X.

The model sees data only through their covariance C = X Xᵀ / n, so that of a long recording, or of
data known by their covariance alone, X is a factor of C with no more columns than channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import mne
import numpy as np
from numpy.typing import NDArray

from meg_vae.meg.channels import check_finite, square
from meg_vae.meg.filter import SourceFilter
from meg_vae.meg.leadfield import LeadField
from meg_vae.meg.recording import chunks
from meg_vae.meg.samples import band_limited_samples
from meg_vae.meg.sensors import Sensors
from meg_vae.meg.table import Strength, peak_strength, power_strength


@dataclass(frozen=True)
class EvokedData:
    """Evoked responses that share their sources.

    Attributes
    ----------
    responses : list of mne.Evoked
        The responses, of equal channels.
    """

    responses: list[mne.Evoked]

    @property
    def info(self) -> mne.Info:
        """Measurement info of the first."""
        return self.responses[0].info

    @property
    def nave(self) -> float:
        """Smallest number of averages."""
        return min(one.nave for one in self.responses)

    @property
    def n_samples(self) -> int:
        """Number of samples of all responses together."""
        return sum(len(one.times) for one in self.responses)

    @property
    def stretches(self) -> list[int] | None:
        """Length of each response: its time points follow each other."""
        return [len(one.times) for one in self.responses]

    @property
    def n_independent(self) -> float:
        """Samples that the low-pass filters leave: of each response at least one."""
        return sum(band_limited_samples(len(one.times), one.info) for one in self.responses)

    @property
    def moments(self) -> mne.Covariance:
        """Second moments of all responses together."""
        X = np.concatenate([one.data for one in self.responses], axis=1)
        info = self.info
        with np.errstate(invalid="ignore"):  # of channels that do not take part
            C = X @ X.T / X.shape[1]
        return mne.Covariance(C, info["ch_names"], [], info["projs"], nfree=int(self.n_independent))

    def whiten(self, leadfield: LeadField) -> NDArray[np.float64]:
        """Whiten each response by its own number of averages.

        Parameters
        ----------
        leadfield : LeadField
            The lead field.

        Returns
        -------
        X : ndarray, shape (rank, n_samples)
            Whitened data.
        """
        pairs = zip(self.check(leadfield.sensors), self.responses, strict=True)
        return np.concatenate([leadfield.whitened(data, one.nave) for data, one in pairs], axis=1)

    def check(self, sensors: Sensors) -> list[NDArray[np.float64]]:
        """Pick the channels of a fit, and refuse what was not recorded alike.

        Parameters
        ----------
        sensors : Sensors
            The channels of the fit.

        Returns
        -------
        data : list of ndarray, shape (n_channels, n_times)
            Of each response, in the units of MNE.
        """
        out = []
        for one in self.responses:
            name = "evoked" if len(self.responses) == 1 else f"evoked {one.comment!r}"
            out.append(sensors.check_values(one.data[sensors.pick(one.info, name)], name))
        return out

    def strength(self, filter_: SourceFilter) -> Strength:
        """Measure the sources at their peaks.

        Parameters
        ----------
        filter_ : SourceFilter
            The fitted filter.

        Returns
        -------
        strength : Strength
            How strong each is, and when.
        """
        data = [filter_.data(one) for one in self.responses]
        times = np.concatenate([one.times for one in self.responses])

        def spread(axis: NDArray[np.float64]) -> NDArray[np.float64]:
            both = zip(data, self.responses, strict=True)
            return np.concatenate([filter_.spread(x, one.nave, axis) for x, one in both], axis=1)

        return peak_strength(filter_.sources(np.concatenate(data, axis=1)), times, spread)


@dataclass(frozen=True)
class CovarianceData:
    """A covariance of single-trial data.

    Attributes
    ----------
    cov : mne.Covariance
        The covariance.
    info : mne.Info
        Measurement info of its channels.
    """

    cov: mne.Covariance
    info: mne.Info

    @property
    def responses(self) -> list[mne.Evoked]:
        """No response."""
        return []

    @property
    def nave(self) -> float:
        """One: noise as in single trials."""
        return 1.0

    @property
    def n_samples(self) -> int:
        """Degrees of freedom that the covariance was computed with."""
        return int(self.cov["nfree"])

    @property
    def n_independent(self) -> float:
        """Samples that the low-pass filter leaves."""
        return band_limited_samples(self.n_samples, self.info)

    @property
    def moments(self) -> mne.Covariance:
        """The covariance."""
        return self.cov

    @property
    def stretches(self) -> list[int] | None:
        """None: a covariance does not tell which samples follow each other."""
        return None

    def whiten(self, leadfield: LeadField) -> NDArray[np.float64]:
        """Factor the whitened covariance.

        Parameters
        ----------
        leadfield : LeadField
            The lead field.

        Returns
        -------
        X : ndarray, shape (rank, n_columns)
            X Xᵀ / n_columns is the covariance.
        """
        C = leadfield.whitener @ self.check(leadfield.sensors) @ leadfield.whitener.T
        power, axes = np.linalg.eigh(C)
        some = power > np.finfo(float).eps * len(C) * power[-1]
        if not some.any():  # data that are zero
            return np.zeros((len(C), 1))
        X: NDArray[np.float64] = axes[:, some] * np.sqrt(some.sum() * power[some])
        return X

    def check(self, sensors: Sensors) -> NDArray[np.float64]:
        """Pick the channels of a fit, and refuse what was not recorded alike.

        Parameters
        ----------
        sensors : Sensors
            The channels of the fit.

        Returns
        -------
        data : ndarray, shape (n_channels, n_channels)
            In the square of the units of MNE.
        """
        name = "data covariance" if type(self) is CovarianceData else "raw"
        return covariance_data(self.cov, sensors, name)

    def strength(self, filter_: SourceFilter) -> Strength:
        """Measure the sources by the standard deviation of their amplitudes.

        Parameters
        ----------
        filter_ : SourceFilter
            The fitted filter.

        Returns
        -------
        strength : Strength
            How strong each is; no time.
        """
        cov = covariance_data(self.cov, filter_.sensors)
        moved = np.einsum("gmad,de,gmbe->gab", filter_.modes, cov, filter_.modes, optimize=True)
        return power_strength(filter_.power(cov), filter_.covariance * filter_.nave + moved)


@dataclass(frozen=True)
class RawData(CovarianceData):
    """A continuous recording: fitted by its covariance, and known in time.

    Attributes
    ----------
    cov : mne.Covariance
        Its covariance.
    info : mne.Info
        Its measurement info.
    raw : mne.io.BaseRaw
        The recording.
    """

    raw: mne.io.BaseRaw

    def strength(self, filter_: SourceFilter) -> Strength:
        """Measure the sources at their peaks.

        Parameters
        ----------
        filter_ : SourceFilter
            The fitted filter.

        Returns
        -------
        strength : Strength
            How strong each is, beyond its mean over the recording, and when.
        """
        picks = filter_.sensors.pick(self.info, "raw")
        pieces = [
            (times, filter_.sources(data), data.sum(1)) for times, data in chunks(self.raw, picks)
        ]
        times, U = (np.concatenate([piece[k] for piece in pieces], axis=-1) for k in (0, 1))
        mean = np.sum([piece[2] for piece in pieces], axis=0)[:, None] / len(times)

        def spread(axis: NDArray[np.float64]) -> NDArray[np.float64]:
            good = (data - mean for _, data in chunks(self.raw, picks))
            return np.concatenate([filter_.spread(data, 1.0, axis) for data in good], axis=1)

        return peak_strength(U - U.mean(2, keepdims=True), times, spread)


FitData = EvokedData | CovarianceData


def covariance_data(
    cov: mne.Covariance, sensors: Sensors, name: str = "data covariance"
) -> NDArray[np.float64]:
    """Pick the channels of a fit from a data covariance, and check them.

    Parameters
    ----------
    cov : mne.Covariance
        The covariance of the data.
    sensors : Sensors
        The channels of the fit.
    name : str
        What to call the data in an error.

    Returns
    -------
    data : ndarray, shape (n_channels, n_channels)
        In the square of the units of MNE.
    """
    picks = sensors.pick_names(cov.ch_names, cov["bads"], "cov")
    sensors.check_projections(cov["projs"], "cov")
    data = square(cov)[np.ix_(picks, picks)]
    check_finite(np.diag(data), name, sensors.ch_names)
    check_finite(data, name, sensors.ch_names)
    sensors.check_values(np.sqrt(np.diag(data))[:, None], "cov")
    return data
