r"""Ongoing activity that is not of the response: learnt from a baseline, part of the noise.

Whitened by the noise covariance, a baseline is x ~ N(0, σ²(I + B Bᵀ)) of a few patterns B
(probabilistic PCA, Tipping & Bishop 1999). They are the directions of largest power, as many as the
Bayesian information criterion chooses among independent samples, and are added to the covariance:
what goes on before the stimulus is then no source after it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import mne
import numpy as np
from mne.utils import logger
from numpy.typing import NDArray

from meg_vae.meg.arguments import kinds
from meg_vae.meg.channels import check_real, square
from meg_vae.meg.leadfield import LeadField, make_leadfield
from meg_vae.meg.runs import FitRun, naming_run, of_each
from meg_vae.meg.samples import noise_samples
from meg_vae.meg.spectral import SpectralData

FEWEST = 10  # samples of a baseline
MOST = 20  # patterns
ROUNDS = 4  # in which patterns and noise are learnt in turn


@dataclass(frozen=True)
class Background:
    """Patterns of ongoing activity on some channels.

    Attributes
    ----------
    ch_names : list of str
        The channels.
    patterns : ndarray, shape (n_channels, n_patterns)
        Fields of one standard deviation in single trials, in the units of MNE.
    """

    ch_names: list[str]
    patterns: NDArray[np.float64]

    def beside(self, noise_cov: mne.Covariance) -> mne.Covariance:
        """Add them to a noise covariance of single trials."""
        if not self.patterns.shape[1]:
            return noise_cov
        names = noise_cov.ch_names
        full = square(noise_cov).copy()
        picks = np.ix_(*2 * [[names.index(name) for name in self.ch_names]])
        full[picks] += self.patterns @ self.patterns.T
        parts = names, noise_cov["bads"], noise_cov["projs"], noise_cov["nfree"]
        return mne.Covariance(full, *parts, verbose="error")


def with_backgrounds(
    runs: list[FitRun], baseline: Any, rank: Any, *, white: bool = False
) -> tuple[list[FitRun], list[Background]]:
    """Learn the background of each run from its baseline, and count it as noise.

    Parameters
    ----------
    runs : list of FitRun
        The runs.
    baseline : Evoked | list of Evoked | None
        The baseline, or that of each run.
    rank : object
        As for `VAEInverse`.
    white : bool
        Whether the other noise is taken for white in time.

    Returns
    -------
    runs : list of FitRun
        With the background in their noise covariances.
    backgrounds : list of Background
        Of each run.

    Raises
    ------
    TypeError, ValueError
        If a baseline is no evoked response, is too short, overlaps the data or was recorded
        otherwise.
    """
    if baseline is None:
        nothing = Background([], np.zeros((0, 0)))
        return runs, [nothing] * len(runs)
    found, baselines = [], of_each("baseline", baseline, len(runs))
    for k, (run, one) in enumerate(zip(runs, baselines, strict=True)):
        with naming_run(k, len(runs)):
            _check(one, run)
            leadfield = make_leadfield(
                run.forward,
                run.data.info,
                run.noise_cov,
                nave=run.data.nave,
                rank=rank,
                data=run.data,
            )
            found.append(learnt(one, leadfield, white=white))
    return [
        replace(run, noise_cov=own.beside(run.noise_cov))
        for run, own in zip(runs, found, strict=True)
    ], found


def learnt(baseline: mne.Evoked, leadfield: LeadField, *, white: bool = False) -> Background:
    """Learn the patterns of a baseline beside the noise covariance of a lead field.

    Parameters
    ----------
    baseline : mne.Evoked
        The baseline.
    leadfield : LeadField
        With the whitener for ``leadfield.nave`` averages.
    white : bool
        Whether the other noise is taken for white in time.

    Returns
    -------
    background : Background
        On the channels of the lead field; of no pattern where there is nothing but noise.
    """
    import torch

    from meg_vae.model.exact.dictionary import Dictionary
    from meg_vae.model.noise import Noise

    values = leadfield.sensors.check_values(
        baseline.data[leadfield.sensors.pick(baseline.info, "baseline")], "baseline"
    )
    X = torch.as_tensor((baseline.nave / leadfield.nave) ** 0.5 * leadfield.whitener @ values)
    stretch = [X.shape[1]]
    noise = Noise(noise_samples(leadfield.noise_cov), held=white)
    dictionary = Dictionary(leadfield.Phi, leadfield.n_orient)
    for _ in range(ROUNDS):  # how the noise goes on, what the patterns leave tells: not a rhythm
        patterns = _patterns(noise.independent(X, stretch).numpy() / noise.inflation(len(X)) ** 0.5)
        axes = torch.as_tensor(np.linalg.qr(patterns)[0])
        noise = noise.learnt(X - axes @ (axes.T @ X), stretch, dictionary)
    logger.info(f"Background: {patterns.shape[1]} patterns in {X.shape[1]} samples of the baseline")
    back = leadfield.nave**0.5 * np.linalg.pinv(leadfield.whitener)
    return Background(leadfield.ch_names, back @ patterns)


def _patterns(X: NDArray[np.float64]) -> NDArray[np.float64]:
    """Patterns B (d, k) of independent samples (d, n), relative to the noise beside them.

    The k directions of largest power take k/n of the noise's own with them, which counts where
    there are fewer samples than channels: what is left is that of (1 − k/n) d directions.
    """
    d, n = X.shape
    axes, size, _ = np.linalg.svd(X / n**0.5, full_matrices=False)
    power = size**2
    left = power.sum() - np.append(0.0, power.cumsum())
    best, k, level = np.inf, 0, left[0] / d
    for count in range(min(MOST, n // 2, d - 1) + 1):
        noise = left[count] / (d * (1 - count / n))
        if not noise > 0 or (power[:count] <= noise).any():
            break
        fit = (
            np.log(power[:count]).sum() + count + (d - count) * np.log(noise) + left[count] / noise
        )
        free = count * d - count * (count - 1) / 2 + 1  # patterns up to rotation, and the noise
        score = n * fit + free * np.log(n)
        if score < best:
            best, k, level = score, count, noise
    return axes[:, :k] * np.sqrt(power[:k] / level - 1)


def _check(baseline: Any, run: FitRun) -> None:
    """Refuse what is no baseline of the data."""
    if isinstance(run.data, SpectralData):
        raise ValueError(
            "baseline holds time points, and the data are by frequency; give the csd or TFR of the "
            "baseline as noise_cov."
        )
    if not isinstance(baseline, mne.Evoked):
        raise TypeError(
            f"baseline must be an mne.Evoked, such as evoked.copy().crop(None, 0), got "
            f"{kinds(baseline)}."
        )
    check_real(baseline.data, "baseline")
    if len(baseline.times) < FEWEST:
        raise ValueError(
            f"baseline has {len(baseline.times)} samples, and how noise goes on is learnt from "
            f"{FEWEST} or more; give a longer one."
        )
    if baseline.info["sfreq"] != run.data.info["sfreq"]:
        raise ValueError(
            f"baseline is sampled at {baseline.info['sfreq']:g} Hz and the data at "
            f"{run.data.info['sfreq']:g} Hz; resample them alike."
        )
    for one in run.data.responses:
        both = max(one.times[0], baseline.times[0]), min(one.times[-1], baseline.times[-1])
        if one.comment == baseline.comment and both[0] < both[1]:
            raise ValueError(
                f"baseline and evoked {one.comment!r} overlap from {both[0]:g} to {both[1]:g} s, "
                "so that the response itself would count as background; crop them apart."
            )
