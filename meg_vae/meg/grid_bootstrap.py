"""The bootstrap on the grid: samples fitted on the few positions that could hold a source."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
from joblib import Parallel, delayed
from mne.utils import logger, warn
from numpy.typing import NDArray

from meg_vae.meg.bootstrap import (
    Bootstrap,
    directions,
    fitted_samples,
    follow_sources,
    learnt_noises,
    tasks_of,
)
from meg_vae.meg.epochs_runs import EpochsRun
from meg_vae.meg.estimates import Positions, active_positions, source_estimate
from meg_vae.meg.fitted import FittedInverse
from meg_vae.model.exact.threads import few_threads
from meg_vae.model.spacing import typical_spacing

if TYPE_CHECKING:
    from torch import Tensor

    from meg_vae.model.bootstrap import Options, Replicate
    from meg_vae.model.exact.dictionary import Dictionary

PILOTS = 8  # samples fitted on all positions, to find the few where the others are fitted
CHECKED = 32  # samples held against all positions afterwards


def resample_grid(
    inverse: FittedInverse,
    run: EpochsRun,
    n_bootstrap: int,
    random_state: int | np.random.Generator | None,
    n_jobs: int | None,
) -> Bootstrap:
    """Draw averages of the epochs, find the few positions, fit, check, and sum up."""
    from meg_vae.model.bootstrap import resampling_weights

    rng = np.random.default_rng(random_state)
    weights = resampling_weights(len(run.whitened), n_bootstrap, rng)
    checked = rng.choice(n_bootstrap, min(CHECKED, n_bootstrap), replace=False)
    leadfield, filter_, n = run.leadfield, inverse.filter_, run.leadfield.n_positions
    places = active_positions(leadfield.forward, np.arange(n))
    sought = _rows_of(filter_.positions, places)
    axis, peaks = directions(filter_, run.own)
    few, found, missed = _on_the_few(inverse, run, weights, checked, sought, peaks, n_jobs)
    _warn_of_missed(missed, inverse.min_log_evidence)
    rr_mm, scale = 1e3 * places.rr_mri, leadfield.weights.reshape(n, -1, 1)
    replicates = [
        (rr_mm[rows], np.einsum("gak,gat->gkt", places.axes[rows], scale[rows] * U))
        for rows, U in found
    ]
    cell = np.tile(typical_spacing(rr_mm) ** 2 / 12 * np.eye(3), (len(sought), 1, 1))
    table, covariance = follow_sources(inverse.sources_, rr_mm[sought], axis, replicates, cell)
    chosen = np.bincount(np.concatenate([own for own, _ in found]), minlength=n)
    share = chosen[:, None, None] / n_bootstrap
    return Bootstrap(
        sources=table,
        covariance_mm2=covariance,
        selection_probability=source_estimate(places, share, 0.0, 1.0, None),
        n_bootstrap=n_bootstrap,
        n_positions=len(few),
        missed_log_evidence=missed,
    )


def _on_the_few(
    inverse: FittedInverse,
    run: EpochsRun,
    weights: NDArray[np.float64],
    checked: NDArray[np.int64],
    sought: NDArray[np.int64],
    peaks: NDArray[np.int64],
    n_jobs: int | None,
) -> tuple[NDArray[np.int64], list[Replicate], NDArray[np.float64]]:
    """Fit the samples where pilots, or the fit, have a source or nearly.

    Gives these positions, what each sample finds there, and what some ``checked`` ones could have
    elsewhere (nats).
    """
    import torch

    from meg_vae.model import bootstrap as model
    from meg_vae.model.exact.dictionary import Dictionary

    leadfield, n_samples = run.leadfield, len(weights)
    allowed, options = _options(inverse, leadfield.n_positions, *run.whitened.shape[::2])
    dictionary = Dictionary(leadfield.Phi, leadfield.n_orient)
    if len(allowed) < leadfield.n_positions:
        dictionary = dictionary.only(torch.as_tensor(allowed))
    _ = dictionary.leading, dictionary.single  # before threads share them

    def sample(which: slice | NDArray[np.int64]) -> torch.Tensor:
        return torch.as_tensor(np.tensordot(weights[which], run.whitened, 1))

    with Parallel(n_jobs=n_jobs, prefer="threads") as threads:
        pilots = sample(slice(0, PILOTS))
        near = threads(delayed(model.likely_positions)(dictionary, X, options) for X in pilots)
        likely = torch.stack(near).any(0)
        likely[np.searchsorted(allowed, sought)] = True
        few = likely.nonzero()[:, 0]
        logger.info(f"Fitting {n_samples} samples on {len(few)} of {len(likely)} positions")
        tasks, instants = tasks_of(n_samples), torch.as_tensor(peaks)
        restricted, own = dictionary.only(few), options.only(few)
        work = (delayed(_fit_task)(restricted, sample(one), instants, own) for one in tasks)
        found: list[Replicate] = fitted_samples(work, len(tasks), n_jobs)
        missed = threads(
            delayed(model.missed_evidence)(dictionary, few, X, options) for X in sample(checked)
        )
    positions = allowed[few.numpy()]
    return positions, [(positions[rows], U) for rows, U in found], np.array(missed)


def _options(
    inverse: FittedInverse, n_positions: int, n_epochs: int, n_samples: int
) -> tuple[NDArray[np.int64], Options]:
    """Positions that are not excluded, and how to fit the samples on them.

    They are fitted as the inverse was, to noise of nearly twice the variance.
    """
    import torch

    from meg_vae.model.bootstrap import Options
    from meg_vae.model.weights import counted

    noise = inverse.noise_variance
    weights, least = counted(inverse.position_weights_, inverse.min_log_evidence)
    allowed = np.flatnonzero(np.ones(n_positions) if weights is None else np.isfinite(weights))
    return allowed, Options(
        noise_variance=noise if isinstance(noise, str) else noise * (2 - 1 / n_epochs),
        orientation=inverse.orientation,
        min_log_evidence=least,
        tol=inverse.tol,
        max_iter=inverse.max_iter,
        n_effective=min(inverse.n_effective_, n_samples),
        noise=learnt_noises(inverse)[0],
        weights=None if weights is None else torch.as_tensor(weights[allowed]),
    )


def _rows_of(sources: Positions, places: Positions) -> NDArray[np.int64]:
    """Find the sources among all positions."""
    row = {key: k for k, key in enumerate(zip(places.space, places.vertno, strict=True))}
    keys = zip(sources.space, sources.vertno, strict=True)
    try:
        return np.array([row[key] for key in keys], dtype=np.int64)
    except KeyError:
        raise ValueError(
            "forward lacks a position of the fit's sources; give the forward of the fit."
        ) from None


def _fit_task(
    dictionary: Dictionary, X: Tensor, instants: Tensor, options: Options
) -> list[Replicate]:
    """Fit a few samples, in a process of its own or not."""
    from meg_vae.model.bootstrap import fit_replicates

    # many small problems: threads cost more than they bring
    with few_threads(batch=1), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "stopped at a certificate", RuntimeWarning)
        return fit_replicates(dictionary, X, instants, options)


def _warn_of_missed(missed: NDArray[np.float64], min_log_evidence: float) -> None:
    n_missed = int((missed >= max(min_log_evidence, 1.0)).sum())
    if n_missed:
        warn(
            f"in {n_missed} of {len(missed)} samples held against all positions, one that was left "
            f"out could hold a source (up to {missed.max():.0f} nats); its selection probability "
            "is too small."
        )
