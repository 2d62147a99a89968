"""What the parts of an inverse have in common: its options, what a fit leaves, and its filters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mne
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from meg_vae.meg.background import Background
from meg_vae.meg.filter import SourceFilter
from meg_vae.meg.orientation import Loose
from meg_vae.meg.own_filter import own_filter

Array = NDArray[np.float64]


class FittedInverse(BaseEstimator):
    """An inverse: options, what a fit leaves behind, and which filter belongs to data.

    `meg_vae.VAEInverse` says what each of them means. The parts of an inverse (what it says of
    data, draws, resamples, saves) are classes that add to this one, each in a file of its own.
    """

    positions: str
    loose: Loose
    rank: Any
    noise_variance: float | str
    noise_autocorrelation: str
    orientation: str
    extent: str | float
    registration: str | tuple[float, float] | None
    spans: str
    min_log_evidence: float
    tol: float
    max_iter: int
    subject: str | None
    subjects_dir: str | Path | None
    verbose: bool | str | int | None

    sources_: pd.DataFrame
    responses_: pd.DataFrame
    filters_: list[SourceFilter]
    noise_variance_: Any
    noise_samples_: Array
    noise_autocorrelation_: Array
    n_effective_: float
    energy_: float
    history_: Array
    certificate_: float
    growth_: float
    spans_: Array
    position_covariance_: Array
    field_covariance_: Array
    background_: list[Background]
    registration_: mne.Transform
    registration_covariance_: Array
    position_weights_: Array | None
    _responses: list[list[mne.Evoked]]  # of each run; empty where read from a file

    @property
    def filter_(self) -> SourceFilter:
        """The linear filter from sensors to sources; of several runs that of the first."""
        return self.filters_[0]

    def _fitted(self) -> SourceFilter:
        """Give the filter of the fit, of several runs that of the first."""
        if not hasattr(self, "filters_"):
            raise RuntimeError(
                "this VAEInverse is not fitted yet; call fit(evoked, forward, noise_cov) first."
            )
        return self.filter_

    def _data(self, evoked: mne.Evoked | None) -> mne.Evoked:
        """Give the data to put through the filter: those of the fit where none are given."""
        if evoked is not None:
            return evoked
        responses = [one for run in self._responses for one in run]
        if not responses:
            raise ValueError(
                "evoked is needed: this inverse holds none, since it was read from a file, or "
                "fitted to a recording or a covariance."
            )
        return responses[0]

    def _filter(self, info: mne.Info, name: str) -> SourceFilter:
        """Give the filter of the run that data belong to, by their head position."""
        self._fitted()
        return own_filter(self.filters_, info, name)

    def _suited(self, evoked: mne.Evoked | None) -> tuple[mne.Evoked, SourceFilter]:
        """Give the data, those of the fit where none are given, and the filter of their run."""
        self._fitted()
        evoked = self._data(evoked)
        return evoked, self._filter(evoked.info, "evoked")

    def _noise(self, filter_: SourceFilter) -> tuple[float, Array]:
        """Give λ, the mean over channels, and the noise's autocorrelation in a filter's run."""
        run = next(k for k, own in enumerate(self.filters_) if own is filter_)
        return float(np.mean(self.noise_variance_)), self.noise_autocorrelation_[run]
