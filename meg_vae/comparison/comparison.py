"""compare: run several inverse methods on the same data and put what they find in one table."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import mne
import numpy as np
import pandas as pd
from mne.utils import logger, verbose
from tqdm.auto import tqdm

from meg_vae.comparison.agreement import agreement
from meg_vae.comparison.heldout import heldout_error, make_folds
from meg_vae.comparison.inputs import prepare, true_sources
from meg_vae.comparison.methods import METHODS, Method
from meg_vae.comparison.metrics import HIT_MM
from meg_vae.comparison.result import COLUMNS, Comparison
from meg_vae.comparison.running import describe, run_method, scored
from meg_vae.meg.arguments import as_covariance, as_forward
from meg_vae.meg.weights import Weights

DEFAULT = ("vae", "mxne", "irmxne", "gamma_map", "sloreta", "dspm")


@verbose
def compare(
    evoked: mne.Evoked,
    forward: mne.Forward,
    noise_cov: mne.Covariance,
    methods: Sequence[str | Method] = DEFAULT,
    *,
    truth: list[mne.Dipole] | None = None,
    truth_extents_mm: float | Sequence[float] = 0.0,
    epochs: mne.BaseEpochs | None = None,
    n_folds: int = 5,
    hit_radius: float = HIT_MM,
    loose: float | str = "auto",
    rank: Any = None,
    weights: Weights = None,
    verbose: bool | str | int | None = None,
) -> Comparison:
    """Run several inverse methods on the same data.

    Every method gets the same channels, projectors, rank, orientation constraint and noise
    covariance, and data that it cannot change for the next one.

    Parameters
    ----------
    evoked : mne.Evoked
        The data, cropped to the time of interest.
    forward : mne.Forward | path-like
        Forward model.
    noise_cov : mne.Covariance | path-like
        Noise covariance of single trials; it is divided by ``evoked.nave``.
    methods : sequence of str or meg_vae.comparison.Method
        Names in `meg_vae.comparison.METHODS`; a `Method` runs in the place of that of its name.
    truth : list of mne.Dipole | None
        The true sources in head coordinates, where they are known. They are for the scores, and
        their number for the few methods that say so in their ``oracle``. Of a dipole with several
        time points, the place at its largest amplitude counts.
    truth_extents_mm : float | sequence of float
        Radius of the true sources along the cortex, of all or of each; 0 is a point.
    epochs : mne.Epochs | None
        The epochs that ``evoked`` is the average of, for the held-out error; each method then runs
        ``n_folds`` times more.
    n_folds : int
        Number of folds of the epochs, the same for all methods.
    hit_radius : float
        Distance within which a true source counts as found, in mm.
    loose : float | "auto"
        Weight of the dipoles across the cortical normal, from 0 (fixed) to 1 (free); "auto" is 0.2
        for a surface source space and 1 otherwise, as in MNE. It is for methods whose sources lie
        on positions of the source space; sources between them have none.
    rank : None | "info" | "full" | dict | int
        As in `mne.compute_rank`.
    weights : array_like, shape (n_positions,) | list of array_like | SourceEstimate | None
        Prior weights of the positions in nats, as for `VAEInverse.fit`, for the methods whose
        ``weighted`` says that they take them: those of the VAE.
    verbose : bool | str | int | None
        Level of MNE's logging. The progress bar is shown at "info" and below; what methods log is
        not, and what they warn about is in the table.

    Returns
    -------
    comparison : Comparison
        A table with a row per method, and the estimates. A method that fails is a row with its
        error, one whose package is not installed a row with the reason, and the others go on.

    Raises
    ------
    ValueError
        If a method is not known, or the inputs do not fit together or are not finite.
    TypeError
        If ``evoked``, ``truth`` or ``epochs`` is of the wrong type.

    Examples
    --------
    >>> from meg_vae import compare, datasets
    >>> case = datasets.template_recording(n_sources=2, spacing="ico3", verbose="error")
    >>> methods = ["vae", "sloreta"]
    >>> result = compare(case.evoked, case.forward, case.noise_cov, methods, truth=case.truth)
    >>> list(result.table["method"])
    ['vae', 'sloreta']
    """
    names = check_methods(methods)
    chosen = METHODS | {one.name: one for one in methods if isinstance(one, Method)}
    forward, noise_cov = as_forward(forward), as_covariance(noise_cov)
    options = {"loose": loose, "rank": rank, "weights": weights}
    known = true_sources(truth, hit_radius, truth_extents_mm)
    inputs = prepare(evoked, forward, noise_cov, known, **options)
    folds = (
        []
        if epochs is None
        else make_folds(
            epochs, evoked, forward, noise_cov, n_folds=n_folds, **options | {"rank": inputs.rank}
        )
    )
    estimates, cases, rows = {}, {}, []
    with tqdm(names, desc="Comparing", disable=logger.level > logging.INFO) as bar:
        for name in bar:
            bar.set_postfix_str(chosen[name].title)
            run = run_method(chosen[name], inputs)
            row = describe(run, inputs)
            if run.estimate is not None:
                cases[name] = scored(run, inputs)
                is_vector = run.estimate.data.ndim == 3
                estimates[name] = run.estimate.magnitude() if is_vector else run.estimate
                if folds:
                    row["heldout_error"] = heldout_error(chosen[name], folds)
            rows.append(row)
    between = agreement(cases)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table["agreement_mm"] = [_median(between, name) for name in names]
    return Comparison(
        table=table.astype(COLUMNS),
        estimates=estimates,
        agreement=between,
        truth=None if truth is None else list(truth),
        trans=forward["mri_head_t"],
        subject=forward["src"]._subject,
    )


def check_methods(methods: Sequence[str | Method]) -> list[str]:
    """Check names of methods.

    Parameters
    ----------
    methods : sequence of str or Method
        Names, or methods.

    Returns
    -------
    names : list of str
        Their names.

    Raises
    ------
    ValueError
        If one is not known, or twice there, or there is none.
    """
    methods = [methods] if isinstance(methods, str) else methods
    names = [one.name if isinstance(one, Method) else one for one in methods]
    unknown = [name for name in names if name not in METHODS]
    if unknown or not names or len(set(names)) < len(names):
        raise ValueError(
            f"methods={names!r} must be different ones of {', '.join(METHODS)}, at least one."
        )
    return names


def _median(between: pd.DataFrame, name: str) -> float:
    """Median distance of one method to the others."""
    if name not in between:
        return np.nan
    others = between[name].drop(name).astype(float).dropna()
    return float(others.median()) if len(others) else np.nan
