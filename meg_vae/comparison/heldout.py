"""Held-out error: what an estimate of some epochs predicts of the others; no truth is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mne
import numpy as np
from sklearn.model_selection import KFold

from meg_vae.comparison.inputs import Inputs, prepare
from meg_vae.comparison.methods.registry import AM, Method
from meg_vae.comparison.running import run_method
from meg_vae.meg.sensors import Sensors
from meg_vae.meg.weights import Weights

SEED = 0


@dataclass(frozen=True, eq=False)
class Fold:
    """One split of the epochs.

    Attributes
    ----------
    inputs : Inputs
        The average of some epochs, as every method is handed it.
    n_train : int
        How many epochs that is.
    test : mne.Evoked
        The average of the others.
    """

    inputs: Inputs
    n_train: int
    test: mne.Evoked


def make_folds(
    epochs: mne.BaseEpochs,
    evoked: mne.Evoked,
    forward: mne.Forward,
    noise_cov: mne.Covariance,
    *,
    n_folds: int,
    loose: float | str,
    rank: Any,
    weights: Weights = None,
) -> list[Fold]:
    """Split epochs into folds, the same for all methods.

    Parameters
    ----------
    epochs : mne.Epochs
        The epochs that ``evoked`` is the average of, prepared in the same way.
    evoked : mne.Evoked
        The average; its channels, bad channels, projectors and times are taken.
    forward : mne.Forward
        The forward model.
    noise_cov : mne.Covariance
        Noise covariance of single trials.
    n_folds : int
        Number of folds, from 2 to the number of epochs.
    loose : float | "auto"
        The orientation constraint.
    rank : None | "info" | "full" | dict
        As in `mne.compute_rank`.
    weights : array_like | list of array_like | SourceEstimate | None
        Prior weights of the positions.

    Returns
    -------
    folds : list of Fold
        The folds; the split is seeded.

    Raises
    ------
    TypeError
        If ``epochs`` are none.
    ValueError
        If they do not fit the average, or are fewer than the folds.
    """
    if not isinstance(epochs, mne.BaseEpochs):
        raise TypeError(f"epochs must be mne.Epochs, got {type(epochs).__name__}.")
    missing = [name for name in evoked.ch_names if name not in epochs.ch_names]
    if missing:
        raise ValueError(f"epochs lack channels of evoked ({', '.join(missing[:3])}, ...).")
    n_epochs = len(epochs.copy().drop_bad(verbose="error"))
    if not 2 <= n_folds <= n_epochs:
        raise ValueError(f"n_folds={n_folds} must be from 2 to the number of epochs, {n_epochs}.")
    data = _data(epochs, evoked)
    _check_alike(epochs, evoked, data, forward["sol"]["row_names"])
    split = KFold(n_folds, shuffle=True, random_state=SEED).split(data)
    folds = []
    for train, test in split:
        some, others = (_average(evoked, data[rows]) for rows in (train, test))
        options = {"loose": loose, "rank": rank, "weights": weights}
        inputs = prepare(some, forward, noise_cov, None, **options)
        folds.append(Fold(inputs, len(train), others))
    return folds


def _check_alike(
    epochs: mne.BaseEpochs, evoked: mne.Evoked, data: np.ndarray, known: Sequence[str]
) -> None:
    """Refuse epochs of another head position, or whose values cannot be used."""
    good = mne.pick_types(evoked.info, meg=True, eeg=True)
    picks = [k for k in good if evoked.ch_names[k] in known]
    sensors = Sensors.of(evoked.info, [evoked.ch_names[k] for k in picks])
    sensors.check_places(epochs.info, "epochs", "evoked")
    sensors.check_values(np.concatenate(data[:, picks], axis=1), "epochs")


def _data(epochs: mne.BaseEpochs, evoked: mne.Evoked) -> np.ndarray:
    """Take the epochs on the channels and at the times of their average."""
    half = 0.5 / evoked.info["sfreq"]
    inside = (epochs.times > evoked.times[0] - half) & (epochs.times < evoked.times[-1] + half)
    times = epochs.times[inside]
    if len(times) != len(evoked.times) or np.abs(times - evoked.times).max() > half:
        raise ValueError(
            f"epochs have {len(times)} samples from {evoked.times[0]:g} to {evoked.times[-1]:g} s, "
            f"evoked has {len(evoked.times)}; give the epochs that it is the average of."
        )
    picks = [epochs.ch_names.index(name) for name in evoked.ch_names]
    return epochs.get_data(picks=picks, verbose="error")[:, :, inside]


def _average(evoked: mne.Evoked, data: np.ndarray) -> mne.Evoked:
    average = evoked.copy()
    average.data, average.nave = data.mean(axis=0), len(data)
    active = [proj for proj in average.info["projs"] if proj["active"]]
    good = mne.pick_types(average.info, meg=True, eeg=True)
    good = good[np.isfinite(average.data[good]).all(1)]  # NaN would spread from what is not used
    project = mne.proj.make_projector(active, [average.ch_names[k] for k in good])[0]
    average.data[good] = project @ average.data[good]
    return average


def heldout_error(method: Method, folds: Sequence[Fold]) -> float:
    """Measure how far an estimate's field is from the average of epochs that it has not seen.

    ‖X_test − ΦU_train‖² / (d n) with X_test whitened by its own number of averages, d channels
    after whitening and n samples; the mean over folds.

    Parameters
    ----------
    method : Method
        The method.
    folds : sequence of Fold
        The folds.

    Returns
    -------
    error : float
        Dimensionless: 1 is the noise itself, and an empty estimate scores the power of the data;
        NaN if the method gives no field or fails.
    """
    if method.unit != AM:
        return np.nan
    errors = []
    for fold in folds:
        run = run_method(method, fold.inputs)
        if run.estimate is None:
            return np.nan
        X = fold.inputs.leadfield.whiten(fold.test) / np.sqrt(fold.n_train)
        scale = np.sqrt(fold.test.nave / fold.n_train)
        errors.append(np.square(X - scale * run.field).mean())
    return float(np.mean(errors))
