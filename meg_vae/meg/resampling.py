"""The bootstrap over epochs: averages of resampled epochs, fitted like the average of all."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import mne
import numpy as np
from joblib import Parallel, delayed
from mne.utils import ProgressBar, logger, use_log_level, warn
from numpy.typing import NDArray

from meg_vae.meg.bootstrap import Bootstrap, directions, follow_sources, learnt_noises
from meg_vae.meg.epochs_runs import EpochsRun, epochs_of_runs, prepare_epochs
from meg_vae.meg.estimates import Positions, active_positions, source_estimate
from meg_vae.meg.fitted import FittedInverse
from meg_vae.meg.place_bootstrap import resample_places
from meg_vae.meg.runs import naming_run
from meg_vae.model.exact.threads import few_threads
from meg_vae.model.spacing import typical_spacing

if TYPE_CHECKING:
    from torch import Tensor

    from meg_vae.model.bootstrap import Options, Replicate
    from meg_vae.model.exact.dictionary import Dictionary

PILOTS = 8  # samples fitted on all positions, to find the few where the others are fitted
CHECKED = 32  # samples held against all positions afterwards
CHUNK = 10  # samples in one task of a process


class SourceBootstrap(FittedInverse):
    """The bootstrap of a fitted inverse."""

    def bootstrap(
        self,
        epochs: mne.BaseEpochs | list[mne.BaseEpochs],
        forward: mne.Forward | list[mne.Forward],
        noise_cov: mne.Covariance | list[mne.Covariance],
        *,
        bem: str | Path | mne.bem.ConductorModel | None = None,
        trans: str | Path | mne.Transform | None = None,
        n_bootstrap: int = 1000,
        random_state: int | np.random.Generator | None = None,
        n_jobs: int | None = None,
        verbose: bool | str | int | None = None,
    ) -> Bootstrap:
        """Fit averages of resampled epochs, to see how sure the sources of this fit are.

        Parameters
        ----------
        epochs : mne.Epochs | list of mne.Epochs
            The epochs whose average was fitted, over the same times; those of each run where
            several were fitted.
        forward : mne.Forward | list of mne.Forward
            Forward model of the fit, or of each run.
        noise_cov : mne.Covariance | list of mne.Covariance
            Noise covariance of the fit, for all runs or for each.
        bem, trans : path-like | mne.bem.ConductorModel | mne.Transform | None
            Those of the fit, if it had any.
        n_bootstrap : int
            Number of samples.
        random_state : int | numpy.random.Generator | None
            Seed. The answer does not depend on ``n_jobs``.
        n_jobs : int | None
            Processes, as in joblib.
        verbose : bool | str | int | None
            Level of MNE's logging. The progress bar is shown at "info" and below.

        Returns
        -------
        bootstrap : Bootstrap
            Selection probability, position and amplitude with their spread.

        Raises
        ------
        ValueError
            If there are fewer than two epochs, their times are not those of the fit, there are
            other than one for each run, or ``n_bootstrap`` is below 2.
        RuntimeError
            If the inverse is not fitted.

        Warns
        -----
        RuntimeWarning
            If the fit averaged another number of epochs, or if the check finds a source missed.

        Notes
        -----
        An average of resampled epochs (Efron 1979) scatters about the average as this does about
        the truth, so its noise variance is twice as large; a learnt one follows, and one that is
        held at a number is multiplied by 2 − 1 / n_epochs. The samples therefore see less of a
        weak source than the fit, and its probability is on the safe side.

        Where places are free each sample starts from the sources of the fit, which find their
        places anew; those that then lack evidence go, and what grows anywhere enters. What the
        lead field's own error adds to the covariance of a position is that of the fit. Of several
        runs the epochs of each are resampled among themselves.

        On the grid the samples are fitted on the few positions where pilots, fitted on all, find a
        source or nearly; a random part of them is held against all positions at the end. A grid
        cell's own variance, spacing² / 12 in each direction, is added to the covariance of a
        position.

        The samples are judged with the weights of the fit.
        """
        self._fitted()
        if n_bootstrap != int(n_bootstrap) or n_bootstrap < 2:
            raise ValueError(f"n_bootstrap={n_bootstrap!r} must be a whole number of at least 2.")
        given = epochs_of_runs(self, epochs, forward, noise_cov)
        with use_log_level(verbose):
            runs = []
            for k, one in enumerate(given):
                with naming_run(k, len(given)):
                    runs.append(prepare_epochs(self, k, *one, bem, trans))
            if self.positions == "free":
                return resample_places(self, runs, n_bootstrap, random_state, n_jobs)
            return _run(self, runs[0], n_bootstrap, random_state, n_jobs)


def _run(
    inverse: FittedInverse,
    run: EpochsRun,
    n_bootstrap: int,
    random_state: int | np.random.Generator | None,
    n_jobs: int | None,
) -> Bootstrap:
    """Draw the samples, find the few positions, fit, check, and sum up."""
    import torch

    from meg_vae.model import bootstrap as model
    from meg_vae.model.exact.dictionary import Dictionary

    leadfield, whitened, own = run.leadfield, run.whitened, run.own
    rng = np.random.default_rng(random_state)
    weights = model.resampling_weights(len(whitened), n_bootstrap, rng)
    checked = rng.choice(n_bootstrap, min(CHECKED, n_bootstrap), replace=False)
    allowed, options = _options(inverse, leadfield.n_positions, *whitened.shape[::2])
    filter_, everywhere = inverse.filter_, np.arange(leadfield.n_positions)
    places = active_positions(leadfield.forward, everywhere)
    sought = _rows_of(filter_.positions, places)
    axis, peaks = directions(filter_, own)
    dictionary = Dictionary(leadfield.Phi, leadfield.n_orient)
    if len(allowed) < len(everywhere):
        dictionary = dictionary.only(torch.as_tensor(allowed))
    _ = dictionary.leading, dictionary.single  # before threads share them

    def sample(which: slice | NDArray[np.int64]) -> torch.Tensor:
        return torch.as_tensor(np.tensordot(weights[which], whitened, 1))

    with Parallel(n_jobs=n_jobs, prefer="threads") as threads:
        pilots = sample(slice(0, PILOTS))
        near = threads(delayed(model.likely_positions)(dictionary, X, options) for X in pilots)
        likely = torch.stack(near).any(0)
        likely[np.searchsorted(allowed, sought)] = True
        few = likely.nonzero()[:, 0]
        logger.info(f"Fitting {n_bootstrap} samples on {len(few)} of {len(likely)} positions")
        tasks = [slice(k, k + CHUNK) for k in range(0, n_bootstrap, CHUNK)]
        instants = torch.as_tensor(peaks)
        own_options = options.only(few)
        restricted = dictionary.only(few)
        found = _fit_all(restricted, tasks, sample, instants, own_options, n_jobs)
        missed = np.array(
            threads(
                delayed(model.missed_evidence)(dictionary, few, X, options) for X in sample(checked)
            )
        )
    _warn_of_missed(missed, options.min_log_evidence)
    kept = [allowed[few.numpy()[own]] for own, _ in found]
    probability = np.bincount(np.concatenate(kept), minlength=len(everywhere)) / len(found)
    rr_mm = 1e3 * places.rr_mri
    weights = leadfield.weights.reshape(len(rr_mm), -1, 1)
    replicates = [
        (rr_mm[rows], np.einsum("gak,gat->gkt", places.axes[rows], weights[rows] * U))
        for rows, (_, U) in zip(kept, found, strict=True)
    ]
    cell = np.tile(typical_spacing(rr_mm) ** 2 / 12 * np.eye(3), (len(sought), 1, 1))
    table, covariance = follow_sources(inverse.sources_, rr_mm[sought], axis, replicates, cell)
    return Bootstrap(
        sources=table,
        covariance_mm2=covariance,
        selection_probability=source_estimate(places, probability[:, None, None], 0.0, 1.0, None),
        n_bootstrap=n_bootstrap,
        n_positions=len(few),
        missed_log_evidence=missed,
    )


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


def _fit_all(
    dictionary: Dictionary,
    tasks: list[slice],
    sample: Callable[[slice], Tensor],
    instants: Tensor,
    options: Options,
    n_jobs: int | None,
) -> list[Replicate]:
    """Fit the samples, task by task, with a progress bar."""
    work = (delayed(_fit_task)(dictionary, sample(task), instants, options) for task in tasks)
    found: list[Replicate] = []
    bar = ProgressBar(len(tasks), mesg="Bootstrap")
    for part in Parallel(n_jobs=n_jobs, return_as="generator")(work):
        found += part
        bar.update_with_increment_value(1)
    return found


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
