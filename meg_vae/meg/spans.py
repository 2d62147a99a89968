r"""When each source is active: from its onset to its offset, and how sure that is.

The virtual channel of a source holds y(t) = u(t) + noise of a known variance v, with nothing of the
other sources; its samples are made independent as those of the fit. Where the source is active they
are N(0, v μ), μ > 1, and elsewhere N(0, v). Of the n samples of a span the best μ is their mean
power over v, with the log likelihood n/2 (μ − 1 − log μ) nats above that of noise. The span that
has most is the source's. All spans being as likely before the data, onset and offset have their
posterior distributions, of which the middle 95 % are the intervals.
"""

from __future__ import annotations

from dataclasses import dataclass

import mne
import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, eigh, solve_triangular, toeplitz
from scipy.special import logsumexp, softmax

from meg_vae.meg.filter import SourceFilter
from meg_vae.meg.unmixing import unmixing

Array = NDArray[np.float64]
Index = NDArray[np.int64]

TAIL = 0.025  # of a posterior distribution, on either side of its interval
EMPTY = 1e-3  # of the largest variance in time: what a filter may leave of noise
LONGEST = 4096  # samples: longer responses are looked at in blocks


@dataclass(frozen=True)
class Spans:
    """When sources are active.

    Attributes
    ----------
    onset, offset : ndarray, shape (n_active,)
        First and last time, s; NaN where there is no time.
    onset_interval, offset_interval : ndarray, shape (n_active, 2)
        Their 95 % intervals, s.
    log_evidence : ndarray, shape (n_active,)
        Of the activity in between against noise alone, nats.
    """

    onset: Array
    offset: Array
    onset_interval: Array
    offset_interval: Array
    log_evidence: Array

    @classmethod
    def unknown(cls, n: int) -> Spans:
        """Describe sources of data without time."""
        none, both = np.full(n, np.nan), np.full((n, 2), np.nan)
        return cls(none, none, both, both, none)


def relative_power(
    filter_: SourceFilter, evoked: mne.Evoked, noise_variance: float, autocorrelation: Array
) -> Array:
    """Relate the power of sources in a response, sample by sample, to that of their noise.

    Parameters
    ----------
    filter_ : SourceFilter
        The filter of a fit.
    evoked : mne.Evoked
        The response.
    noise_variance : float
        λ, the mean over channels where they have their own.
    autocorrelation : ndarray, shape (n_lags,)
        Of the noise, as it was learnt: from 1 at lag 0.

    Returns
    -------
    power : ndarray, shape (n_active, n_times)
        y² / v, dimensionless: 1 on average where there is noise alone.

    Raises
    ------
    ValueError
        If there is no source, or two of them look the same to the sensors.
    """
    W = unmixing(filter_)
    variance = np.square(W @ np.linalg.pinv(filter_.whitener)).sum(1)
    variance = noise_variance * variance * filter_.nave / evoked.nave
    y = _independent(W @ filter_.data(evoked), autocorrelation)
    return np.square(y) / variance[:, None]


def active_spans(power: Array, times: Array) -> Spans:
    """Find when sources are active in a response.

    Parameters
    ----------
    power : ndarray, shape (n_active, n_times)
        As `relative_power` gives it.
    times : ndarray, shape (n_times,)
        Of the response, s.

    Returns
    -------
    spans : Spans
        Of each source.
    """
    found, last = [_span(one) for one in power], len(times) - 1
    ends = np.array([one[0] for one in found]).clip(max=last)  # (m, 2)
    bounds = np.array([one[1] for one in found]).clip(max=last)  # (m, 2, 2)
    return Spans(
        onset=times[ends[:, 0]],
        offset=times[ends[:, 1]],
        onset_interval=times[bounds[:, 0]],
        offset_interval=times[bounds[:, 1]],
        log_evidence=np.array([one[2] for one in found]),
    )


def running_evidence(power: Array) -> Array:
    """Add up the log evidence of each source over the time in which it is active.

    Parameters
    ----------
    power : ndarray, shape (n_active, n_times)
        As `relative_power` gives it.

    Returns
    -------
    evidence : ndarray, shape (n_active, n_times)
        Nats so far, 0 before the onset.
    """
    out = np.zeros_like(power)
    for row, own in zip(out, power, strict=True):
        (first, last), _, _ = _span(own)
        inside = slice(first, last + 1)
        mu = max(own[inside].mean(), 1.0)
        row[inside] = (own[inside] * (1 - 1 / mu) - np.log(mu)) / 2
    return out.cumsum(1)


def clearest(spans: list[Spans]) -> Spans:
    """Take each source in the response that speaks most for it.

    Parameters
    ----------
    spans : list of Spans
        Of each response.

    Returns
    -------
    spans : Spans
        Of each source one.
    """
    evidence = np.nan_to_num([one.log_evidence for one in spans], nan=-np.inf)
    rows = evidence.argmax(0), np.arange(evidence.shape[1])
    parts = {name: np.array([getattr(one, name) for one in spans])[rows] for name in vars(spans[0])}
    return Spans(**parts)


def _independent(y: Array, r: Array) -> Array:
    """Turn consecutive samples (m, n) of noise with an autocorrelation into independent ones.

    Each from those before it, so that nothing is active earlier than it was. Where a filter has
    left next to nothing of the noise a little is added, as if it were white.
    """
    if not r[1:].any():
        return y
    parts = []
    for part in np.split(y, np.arange(len(r), y.shape[1], len(r)), axis=1):
        n = part.shape[1]
        T = toeplitz(r[:n])
        T += EMPTY * eigh(T, eigvals_only=True, subset_by_index=[n - 1, n - 1]) * np.eye(n)
        parts.append(solve_triangular(cholesky(T, lower=True), part.T, lower=True).T)
    return np.concatenate(parts, axis=1)


def _span(power: Array) -> tuple[Index, Index, float]:
    """Find the span (first, last), intervals of both (2, 2), and its evidence, from power / v."""
    step = -(-len(power) // LONGEST)
    ends = np.arange(0, len(power) + step, step).clip(max=len(power))
    total = np.r_[0.0, power.cumsum()][ends]
    n = (ends - ends[:, None]).astype(float)  # of spans from row to column
    with np.errstate(divide="ignore", invalid="ignore"):
        mu = (total - total[:, None]) / n
        gain = np.where((n > 0) & (mu > 1), n / 2 * (mu - 1 - np.log(mu)), 0.0)
    first, after = np.unravel_index(gain.argmax(), gain.shape)
    best = gain[first, after]
    if best <= 0:  # no time at all
        every = np.array([0, len(power) - 1])
        return every, np.array([every, every]), 0.0
    spans = np.where(n > 0, gain, -np.inf)
    starts = _middle(logsumexp(spans[:-1], axis=1))
    stops = _middle(logsumexp(spans[:, 1:], axis=0)) + 1
    bounds = np.array([ends[starts], ends[stops] - 1])
    return np.array([ends[first], ends[after] - 1]), bounds, float(best)


def _middle(log_posterior: Array) -> Index:
    """Give the ends (2,) of the middle 95 % of a distribution over indices."""
    below = softmax(log_posterior).cumsum()
    last = len(below) - 1
    return np.minimum(np.searchsorted(below, [TAIL, 1 - TAIL]), last)
