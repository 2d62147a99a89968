"""Data by frequency: cross-spectral densities, and complex time-frequency decompositions.

A complex sample of a rhythm is x = Φu + noise with complex u and the real Φ, so that real and
imaginary parts are two real samples of the same model. It sees them through the real part of their
cross-spectral density alone: C = Re E[x xᴴ], of twice as many samples. The imaginary part tells of
lags between sources, of which the model takes all for as likely.

How many samples there were, MNE's objects do not say, nor how bins, tapers and times overlap. The
eigenvalues of the whitened C do: the variance of those of noise alone is d / n of their mean's
square, and (2c − c²) / (1 − c), c = d / n, where the noise was estimated from as many (Marchenko &
Pastur 1967; Wachter 1980).
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Any

import mne
import numpy as np
from mne.time_frequency import AverageTFR, CrossSpectralDensity, EpochsTFR
from mne.utils import logger
from numpy.typing import NDArray

from meg_vae.meg.channels import known_channels, square
from meg_vae.meg.data import CovarianceData

Array = NDArray[np.float64]
Spectral = CrossSpectralDensity | EpochsTFR | AverageTFR

FEWEST = 6.0  # real samples: from fewer nothing can be told apart from noise
RANK = 1e-7  # of the largest eigenvalue of scaled noise: what is smaller is none
NOTHING = 1e-9  # of the largest eigenvalue: what is smaller is zero
CERTAIN = 0.7  # part of the eigenvalues, the smallest, that are of noise


@dataclass(frozen=True)
class SpectralData(CovarianceData):
    """Data by frequency, as the covariance of their real and imaginary parts.

    Attributes
    ----------
    cov : mne.Covariance
        That covariance; its ``nfree`` counts independent real samples.
    info : mne.Info
        Measurement info of its channels.
    """

    @property
    def n_independent(self) -> float:
        """All of its samples are independent."""
        return float(self.cov["nfree"])


def is_spectral(data: Any) -> bool:
    """Tell whether data are by frequency.

    Parameters
    ----------
    data : object
        Anything.

    Returns
    -------
    spectral : bool
        Whether they are a cross-spectral density or a time-frequency decomposition.
    """
    return isinstance(data, (CrossSpectralDensity, EpochsTFR, AverageTFR))


def spectral_data(
    data: Spectral, noise: Any, info: mne.Info | None, n_samples: float | None
) -> tuple[SpectralData, mne.Covariance]:
    """Bring data by frequency, and the noise to go with them, into the shape of covariances.

    Parameters
    ----------
    data : CrossSpectralDensity | EpochsTFR | AverageTFR
        The data, of one frequency or several, which count together.
    noise : mne.Covariance | CrossSpectralDensity | EpochsTFR
        The noise: of the same frequencies, or a covariance, which tells its pattern; its level is
        then that of most directions of the data.
    info : mne.Info | None
        Measurement info, which a cross-spectral density needs.
    n_samples : float | None
        Independent complex samples behind the data, and behind the noise where it is by frequency;
        None counts them by the scatter of the eigenvalues.

    Returns
    -------
    data : SpectralData
        The data.
    noise_cov : mne.Covariance
        The noise.

    Raises
    ------
    ValueError
        If something is missing, real, of other frequencies, or of a single sample.
    """
    info = _info_of(data, info)
    cov, both = _covariance(data, "csd"), is_spectral(noise)
    noise_cov = _noise_covariance(noise, data) if both else noise.copy()
    info = known_channels(cov.ch_names, cov["bads"], info, "csd")
    values = _whitened_power(cov, noise_cov, info)
    if not (n_samples is None or isinstance(n_samples, Real)):
        raise ValueError(f"n_samples={n_samples!r} must be a number of samples, or None.")
    if n_samples is None:
        n = min(counted_samples(values, both), _most(data))
        logger.info(f"csd counts as {n / 2:.0f} independent complex samples, by its eigenvalues")
    else:
        n = 2 * float(n_samples)
    if not n >= FEWEST:
        raise ValueError(
            f"csd is of about {n / 2:.1f} independent samples, and a source cannot be told from "
            "noise in so few; average over more epochs, tapers or frequencies."
            + ("" if n_samples is None else f" (n_samples={n_samples!r})")
        )
    cov["nfree"] = int(n)
    if both:
        noise_cov["nfree"] = int(n)
    else:
        noise_cov["data"] = noise_cov["data"] * float(np.median(values))
    return SpectralData(cov, info), noise_cov


def counted_samples(values: Array, noise_too: bool) -> float:
    """Count the real samples behind a covariance by how its eigenvalues scatter.

    Parameters
    ----------
    values : ndarray, shape (d,)
        Eigenvalues of the whitened covariance: noise, and few of signals.
    noise_too : bool
        Whether it was whitened by an estimate from as many samples.

    Returns
    -------
    n : float
        Samples. Where the noise is of another pattern than the model's there seem to be fewer.
    """
    values = np.sort(values)
    rank = int((values > NOTHING * values[-1]).sum())
    if rank < len(values):  # fewer samples than directions
        return float(rank)
    d = max(int(CERTAIN * rank), 1)  # the largest may be of signals: taken in while they fit
    while d < rank and values[d] <= _law(values[:d], noise_too)[1]:
        d += 1
    return d / _law(values[:d], noise_too)[0]


def _law(values: Array, noise_too: bool) -> tuple[float, float]:
    """Give d / n, and the largest eigenvalue to be expected, from how eigenvalues scatter."""
    mean = float(values.mean())
    r = max(float(np.square(values).mean()) / mean**2 - 1, np.finfo(float).eps)
    if not noise_too:
        return r, mean * (1 + r**0.5) ** 2
    c = (2 + r - (4 + r**2) ** 0.5) / 2
    return c, mean * (1 + (2 * c - c**2) ** 0.5) ** 2 / (1 - c)


def real_part(csd: CrossSpectralDensity, k: int) -> Array:
    """Give the real part of a cross-spectral density.

    Parameters
    ----------
    csd : CrossSpectralDensity
        Of some frequencies.
    k : int
        Which of them.

    Returns
    -------
    C : ndarray, shape (n_channels, n_channels)
        Symmetric.
    """
    C: Array = np.real(csd.get_data(index=k))
    return (C + C.T) / 2


def check_complex(tfr: EpochsTFR | AverageTFR, name: str) -> None:
    """Refuse a decomposition of which the phase is lost.

    Parameters
    ----------
    tfr : EpochsTFR | AverageTFR
        The decomposition.
    name : str
        What to call it in an error.

    Raises
    ------
    ValueError
        If it is one of power, or empty.
    """
    if not np.iscomplexobj(tfr.data):
        raise ValueError(
            f"{name} holds power, and a source is seen by phase too; compute it with "
            "output='complex'."
        )
    if tfr.data.size == 0:
        raise ValueError(f"{name} is empty; give epochs, frequencies and times.")


def _info_of(data: Spectral, info: mne.Info | None) -> mne.Info:
    """Give the measurement info of data, which a cross-spectral density does not know itself."""
    if not isinstance(data, CrossSpectralDensity):
        if info is not None:
            raise ValueError("info goes with a csd or a covariance; a TFR has its own.")
        return data.info
    if info is None:
        raise ValueError(
            "info is needed with a csd, which does not know its sensors: give that of the "
            "recording, as fit(csd, forward, noise_csd, info=epochs.info)."
        )
    return info


def _covariance(data: Spectral, name: str, wanted: Array | None = None) -> mne.Covariance:
    """Average real parts over epochs, tapers, times and frequencies, some or all."""
    bins = _bins(data)
    rows = [k for k, own in enumerate(bins) if wanted is None or _near(own, wanted).any()]
    if isinstance(data, CrossSpectralDensity):
        C = np.mean([real_part(data, k) for k in rows], axis=0)
        bads, projs = [], list(data.projs or [])
    else:
        check_complex(data, name)
        axis = 1 if isinstance(data, EpochsTFR) else 0
        X = np.moveaxis(data.data[..., rows, :], axis, 0)
        X = X.reshape(len(X), -1)
        C = (X.real @ X.real.T + X.imag @ X.imag.T) / X.shape[1]
        bads, projs = list(data.info["bads"]), list(data.info["projs"])
    if not np.isfinite(C).all():
        raise ValueError(f"{name} has NaN or infinite values; recompute it from clean data.")
    return mne.Covariance(C, list(data.ch_names), bads, projs, nfree=1)


def _noise_covariance(noise: Spectral, data: Spectral) -> mne.Covariance:
    """Average the noise over the frequencies of the data, all of which it must have."""
    wanted, there = (np.concatenate(_bins(one)) for one in (data, noise))
    lost = wanted[~_near(wanted, there)]
    if len(lost):
        raise ValueError(
            f"noise_csd lacks the frequencies {_listed(lost)} Hz of csd, and has {_listed(there)}; "
            "compute both alike."
        )
    return _covariance(noise, "noise_csd", wanted)


def _bins(data: Spectral) -> list[Array]:
    """List the frequencies of each bin; one that is a mean over some has all of them."""
    every = data.frequencies if isinstance(data, CrossSpectralDensity) else data.freqs
    return [np.atleast_1d(np.asarray(one, dtype=float)) for one in every]


def _near(some: Array, others: Array) -> NDArray[np.bool_]:
    """Tell which frequencies are among others, to one percent."""
    gap = np.abs(some[:, None] - others).min(1)
    return np.asarray(gap <= 0.01 * np.maximum(some, 1.0))


def _listed(frequencies: Array) -> str:
    return ", ".join(f"{f:g}" for f in frequencies[:4]) + ", ..." * (len(frequencies) > 4)


def _most(data: Spectral) -> float:
    """Count the real samples that there are at most."""
    if isinstance(data, CrossSpectralDensity):
        return np.inf
    return 2.0 * data.data.size / len(data.ch_names)


def _whitened_power(cov: mne.Covariance, noise_cov: mne.Covariance, info: mne.Info) -> Array:
    """Eigenvalues of the covariance, whitened by the noise, in the channels that both have."""
    bads = {*info["bads"], *noise_cov["bads"]}
    names = [n for n in info["ch_names"] if n in noise_cov.ch_names and n not in bads]
    if not names:
        raise ValueError(
            "noise_cov and csd have no good channel in common; compute it from the same sensors."
        )
    C, N = (_of_channels(one, names) for one in (cov, noise_cov))
    scale = 1 / np.sqrt(np.diag(N).clip(np.finfo(float).tiny))
    power, axes = np.linalg.eigh(N * scale[:, None] * scale)
    seen = power > RANK * power[-1]
    W = axes[:, seen] / np.sqrt(power[seen])
    values: Array = np.linalg.eigvalsh(W.T @ (C * scale[:, None] * scale) @ W).clip(0.0)
    return values


def _of_channels(cov: mne.Covariance, names: list[str]) -> Array:
    picks = [cov.ch_names.index(name) for name in names]
    return square(cov)[np.ix_(picks, picks)]
