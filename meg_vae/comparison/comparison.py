"""compare: run several inverse methods on the same data and put what they find in one table."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import mne
import numpy as np
import pandas as pd
from mne.utils import logger, verbose
from numpy.typing import NDArray
from tqdm.auto import tqdm

from meg_vae.comparison import metrics
from meg_vae.comparison.methods import AM, METHODS, Method
from meg_vae.comparison.result import COLUMNS, Comparison
from meg_vae.meg.estimates import active_positions
from meg_vae.meg.leadfield import LeadField, evoked_data, make_leadfield

DEFAULT = ("vae", "mxne", "irmxne", "gamma_map", "sloreta", "dspm")


@dataclass(frozen=True, eq=False)
class _Inputs:
    """What every method is handed: the same for all."""

    evoked: mne.Evoked
    forward: mne.Forward
    noise_cov: mne.Covariance
    loose: float | str
    rank: dict[str, int]
    leadfield: LeadField
    true: NDArray[np.float64] | None  # places in mm, head coordinates


@verbose
def compare(
    evoked: mne.Evoked,
    forward: mne.Forward,
    noise_cov: mne.Covariance,
    methods: Sequence[str] = DEFAULT,
    *,
    truth: list[mne.Dipole] | None = None,
    loose: float | str = "auto",
    rank: Any = None,
    verbose: bool | str | int | None = None,
) -> Comparison:
    """Run several inverse methods on the same data.

    Every method gets the same channels, projectors, rank, orientation constraint and noise
    covariance, and data that it cannot change for the next one.

    Parameters
    ----------
    evoked : mne.Evoked
        The data, cropped to the time of interest.
    forward : mne.Forward
        Forward model.
    noise_cov : mne.Covariance
        Noise covariance of single trials; it is divided by ``evoked.nave``.
    methods : sequence of str
        Names in `meg_vae.comparison.METHODS`.
    truth : list of mne.Dipole | None
        The true sources in head coordinates, where they are known. They are for the scores alone:
        no method is told anything of them, not even how many there are. Of a dipole with several
        time points, the place at its largest amplitude counts.
    loose : float | "auto"
        Weight of the dipoles across the cortical normal, from 0 (fixed) to 1 (free); "auto" is 0.2
        for a surface source space and 1 otherwise, as in MNE.
    rank : None | "info" | "full" | dict
        As in `mne.compute_rank`.
    verbose : bool | str | int | None
        Level of MNE's logging. The progress bar is shown at "info" and below; what methods log is
        not, and what they warn about is in the table.

    Returns
    -------
    comparison : Comparison
        A table with a row per method, and the estimates. A method that fails is a row with its
        error, and the others go on.

    Raises
    ------
    ValueError
        If a method is not known, or the inputs do not fit together or are not finite.
    TypeError
        If ``evoked`` or ``truth`` is of the wrong type.

    Notes
    -----
    MNE's sparse solvers take the noise covariance as it is, whereas its minimum norms divide it by
    ``evoked.nave``. Left to themselves they would assume different noise in the same data. The
    covariance is therefore divided here, once, and every method is told of one average.

    Examples
    --------
    >>> from meg_vae import compare, datasets
    >>> case = datasets.template_recording(n_sources=2, spacing="ico3", verbose="error")
    >>> methods = ["vae", "sloreta"]
    >>> result = compare(case.evoked, case.forward, case.noise_cov, methods, truth=case.truth)
    >>> list(result.table["method"])
    ['vae', 'sloreta']
    """
    names = _check_methods(methods)
    true = _places(truth)
    inputs = _prepare(evoked, forward, noise_cov, true, loose=loose, rank=rank)
    estimates, rows = {}, []
    with tqdm(names, desc="Comparing", disable=logger.level > logging.INFO) as bar:
        for name in bar:
            bar.set_postfix_str(METHODS[name].title)
            estimate, row = _run(METHODS[name], inputs)
            rows.append(row)
            if estimate is not None:
                estimates[name] = estimate
    return Comparison(
        table=pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS),
        estimates=estimates,
        truth=None if truth is None else list(truth),
        trans=forward["mri_head_t"],
        subject=forward["src"]._subject,
    )


def _check_methods(methods: Sequence[str]) -> list[str]:
    names = [methods] if isinstance(methods, str) else list(methods)
    unknown = [name for name in names if name not in METHODS]
    if unknown or not names or len(set(names)) < len(names):
        raise ValueError(
            f"methods={names!r} must be different ones of {', '.join(METHODS)}, at least one."
        )
    return names


def _places(truth: list[mne.Dipole] | None) -> NDArray[np.float64] | None:
    """Places of the true sources in mm."""
    if truth is None:
        return None
    if isinstance(truth, mne.Dipole) or not all(isinstance(one, mne.Dipole) for one in truth):
        raise TypeError("truth must be a list with an mne.Dipole per true source, or None.")
    places = [1e3 * one.pos[np.abs(one.amplitude).argmax()] for one in truth]
    return np.array(places, dtype=float).reshape(-1, 3)


def _prepare(
    evoked: mne.Evoked,
    forward: mne.Forward,
    noise_cov: mne.Covariance,
    true: NDArray[np.float64] | None,
    *,
    loose: float | str,
    rank: Any,
) -> _Inputs:
    """Check the inputs, and make of them what every method is handed."""
    if not isinstance(evoked, mne.Evoked):
        raise TypeError(f"evoked must be an mne.Evoked, got {type(evoked).__name__}.")
    leadfield = make_leadfield(
        forward, evoked.info, noise_cov, nave=evoked.nave, loose=loose, rank=rank
    )
    ch_names = leadfield.ch_names
    evoked_data(evoked, ch_names)  # raises where the data are not finite
    average = evoked.copy().pick(ch_names, verbose="error")
    average_cov = noise_cov.copy().pick_channels(ch_names, verbose="error")
    rank = mne.compute_rank(average_cov, rank, info=average.info, verbose="error")
    average_cov["data"] = average_cov["data"] / evoked.nave
    average.nave = 1
    if leadfield.n_orient == 1:
        loose = 0.0  # for MNE "auto" is loose even where the forward model is fixed
    elif leadfield.weights.min() == 1:
        loose = 1.0  # for MNE "auto" is loose in the cortical part of a mixed source space
    return _Inputs(
        evoked=average,
        forward=mne.pick_channels_forward(forward, ch_names, ordered=True, verbose="error"),
        noise_cov=average_cov,
        loose=loose,
        rank=rank,
        leadfield=replace(leadfield, nave=1),  # the same whitener, now of one average
        true=true,
    )


def _run(method: Method, inputs: _Inputs) -> tuple[mne.SourceEstimate | None, dict[str, Any]]:
    """Run a method: amplitudes, if it did not fail, and its row of the table."""
    row: dict[str, Any] = {"method": method.name, "title": method.title}
    estimate, error = None, ""
    evoked, noise_cov = inputs.evoked.copy(), inputs.noise_cov.copy()
    options = {"loose": inputs.loose, "rank": dict(inputs.rank)}
    with warnings.catch_warnings(record=True) as caught, mne.utils.use_log_level("warning"):
        warnings.simplefilter("always")
        start = time.perf_counter()
        try:
            estimate = method.run(evoked, inputs.forward, noise_cov, **options)
            if not np.isfinite(estimate.data).all():
                raise ValueError("the estimate has values that are not finite")
        except Exception as problem:  # whatever it is, the other methods go on
            estimate, error = None, f"{type(problem).__name__}: {problem}"
        row["seconds"] = time.perf_counter() - start
    row["note"] = _note(error, caught)
    if estimate is None:
        return None, row
    row |= _scores(method, estimate, inputs)
    is_vector = estimate.data.ndim == 3
    return (estimate.magnitude() if is_vector else estimate), row


def _note(error: str, caught: list[warnings.WarningMessage]) -> str:
    """Join an error and what was warned about, each thing once."""
    said = [error] + [
        str(one.message)
        for one in caught
        if not issubclass(one.category, (DeprecationWarning, FutureWarning))
    ]
    return "; ".join(dict.fromkeys(" ".join(text.split()) for text in said if text))


def _scores(method: Method, estimate: mne.SourceEstimate, inputs: _Inputs) -> dict[str, Any]:
    """Measure an estimate; what does not apply is left out."""
    scores: dict[str, Any] = {}
    if method.unit == AM:
        scores["explained_variance"] = metrics.explained_variance(
            estimate, inputs.evoked, inputs.leadfield
        )
    magnitude = metrics.peak_magnitude(estimate)
    if magnitude.any():
        strongest = metrics.positions_of(estimate, inputs.forward)[[magnitude.argmax()]]
        place = 1e3 * active_positions(inputs.forward, strongest).rr_mri[0]
        scores |= dict(zip(("x_mm", "y_mm", "z_mm"), place, strict=True))
    if method.sparse:
        scores["n_sources"] = metrics.active(estimate).sum()
    if inputs.true is None:
        return scores
    if method.sparse:
        scores["n_spurious"] = metrics.spurious(estimate, inputs.forward, inputs.true).sum()
    if len(inputs.true):
        error, hit_rate = metrics.localization(estimate, inputs.forward, inputs.true)
        scores |= {"localization_error_mm": error, "hit_rate": hit_rate}
    return scores
