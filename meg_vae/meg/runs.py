"""The runs of a fit, each with its own head position, forward model and noise covariance."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import mne
import numpy as np

from meg_vae.meg.arguments import RUNS, as_covariance, as_forward, kinds
from meg_vae.meg.data import FitData
from meg_vae.meg.inputs import fit_data
from meg_vae.meg.spectral import is_spectral, spectral_data

SAME_MM = 0.1  # positions of forward models that are this near are the same


@dataclass(frozen=True)
class FitRun:
    """One run of a fit.

    Attributes
    ----------
    data : FitData
        Its data.
    forward : mne.Forward
        Forward model of its head position.
    noise_cov : mne.Covariance
        Noise covariance of single trials.
    """

    data: FitData
    forward: mne.Forward
    noise_cov: mne.Covariance


@contextmanager
def naming_run(number: int, n_runs: int) -> Iterator[None]:
    """Say of which run an error is, where there are several.

    Parameters
    ----------
    number, n_runs : int
        Number of the run, from 0, and how many there are.
    """
    try:
        yield
    except (TypeError, ValueError) as error:
        if n_runs == 1:
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"run {number + 1} of {n_runs}: {error}") from None


def fit_runs(
    evoked: Any, forward: Any, noise_cov: Any, info: Any, n_samples: float | None = None
) -> list[FitRun]:
    """Check what a fit is given, and sort it by runs.

    Parameters
    ----------
    evoked : Instance | list of Instance
        The data; where ``forward`` is a list, those of each run.
    forward : mne.Forward | path-like | list of these
        A list holds the forward model of each run.
    noise_cov : mne.Covariance | path-like | list of these
        A list holds the covariance of each run.
    info : mne.Info | list of mne.Info or None | None
        Measurement info of covariances and cross-spectral densities.
    n_samples : float | None
        Independent complex samples behind data by frequency.

    Returns
    -------
    runs : list of FitRun
        One run where ``forward`` is no list.

    Raises
    ------
    TypeError, ValueError
        If something is of another type, there are not as many forward models or covariances as
        runs, or the forward models have other positions.
    """
    if not isinstance(forward, (list, tuple)):
        return [_run(evoked, as_forward(forward), noise_cov, info, n_samples)]
    n = len(forward)
    _check_number(evoked, forward)
    covs, infos = of_each("noise_cov", noise_cov, n), of_each("info", info, n)
    runs, covariances = [], any(isinstance(one, mne.Covariance) for one in evoked)
    for k, (one, model, cov, own) in enumerate(zip(evoked, forward, covs, infos, strict=True)):
        with naming_run(k, n):
            shared = covariances and isinstance(info, mne.Info)
            own = None if shared and not isinstance(one, mne.Covariance) else own
            runs.append(_run(one, as_forward(model), cov, own, n_samples))
    for k, run in enumerate(runs[1:], 2):
        _check_positions(runs[0].forward, run.forward, k)
    return runs


def _run(
    data: Any, forward: mne.Forward, noise_cov: Any, info: Any, n_samples: float | None
) -> FitRun:
    """Check the data and the noise of one run."""
    if is_spectral(data):
        noise = noise_cov if is_spectral(noise_cov) else as_covariance(noise_cov)
        found, cov = spectral_data(data, noise, info, n_samples)
        return FitRun(found, forward, cov)
    if n_samples is not None:
        raise ValueError(
            f"n_samples={n_samples!r} goes with a csd or a TFR alone; other data are counted by "
            "their time points, and a covariance by its nfree."
        )
    cov = as_covariance(noise_cov)
    return FitRun(fit_data(data, info), forward, cov)


def _check_number(evoked: Any, forward: list[Any] | tuple[Any, ...]) -> None:
    """Refuse other than one run for each forward model."""
    if not isinstance(evoked, (list, tuple)):
        raise TypeError(
            f"forward must be one mne.Forward where the data are no list of runs, got "
            f"{kinds(forward)}; for runs of several head positions it is {RUNS}."
        )
    if len(evoked) != len(forward) or not forward:
        raise ValueError(
            f"evoked is a list of {len(evoked)} runs, and forward one of {len(forward)} forward "
            "models; give each run its own, and several responses of a run as a list of their own: "
            "fit([[left1, right1], [left2, right2]], [forward1, forward2], noise_cov)."
        )


def of_each(name: str, value: Any, n: int) -> list[Any]:
    """Give an argument that all runs share, or one of each, of each run.

    Parameters
    ----------
    name : str
        Name of the argument.
    value : object | list
        What was given.
    n : int
        Number of runs.

    Returns
    -------
    values : list
        One of each run.

    Raises
    ------
    ValueError
        If a list has another length.
    """
    if not isinstance(value, (list, tuple)):
        return [value] * n
    if len(value) != n:
        raise ValueError(
            f"{name} is a list of {len(value)}, and there are {n} runs; give one for all, or one "
            "for each."
        )
    return list(value)


def _check_positions(first: mne.Forward, other: mne.Forward, number: int) -> None:
    """Refuse a forward model whose positions are not those of the first, in the head."""
    numbers = [[space["vertno"] for space in one["src"]] for one in (first, other)]
    same = len(numbers[0]) == len(numbers[1]) and all(map(np.array_equal, *numbers))
    if not same or first["nsource"] != other["nsource"]:
        raise ValueError(
            f"forward models 1 and {number} have other source spaces ({first['nsource']} and "
            f"{other['nsource']} positions), and the runs of a fit share their sources; compute "
            "both from the same src."
        )
    gaps = 1e3 * np.linalg.norm(first["source_rr"] - other["source_rr"], axis=1)
    if gaps.max() > SAME_MM:
        raise ValueError(
            f"forward models 1 and {number} have their positions up to {gaps.max():.1f} mm apart "
            "in the head's coordinates, and the runs of a fit share their sources; compute both "
            "from the same src and trans (of one digitization), each with the info of its run."
        )
