"""The bootstrap at free places: in each sample the sources of the fit find their places anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mne
import numpy as np
from joblib import delayed
from numpy.typing import NDArray

from meg_vae.meg.bootstrap import (
    Bootstrap,
    directions,
    fitted_samples,
    follow_sources,
    learnt_noises,
    tasks_of,
)
from meg_vae.meg.discs import Discs
from meg_vae.meg.epochs_runs import EpochsRun
from meg_vae.meg.estimates import active_positions, source_estimate
from meg_vae.meg.extent import discs_of
from meg_vae.meg.field_of_runs import FieldOfRuns

if TYPE_CHECKING:
    from meg_vae.meg.fitted import FittedInverse
    from meg_vae.model.noise import Noise

SEARCHED = 2500  # positions at which each sample begins to look for a further source, at most


def resample_places(
    inverse: FittedInverse,
    runs: list[EpochsRun],
    n_bootstrap: int,
    random_state: int | np.random.Generator | None,
    n_jobs: int | None,
) -> Bootstrap:
    """Draw averages of the epochs of each run, fit them together, and sum up."""
    from meg_vae.model.bootstrap import resampling_weights

    rng = np.random.default_rng(random_state)
    weights = [resampling_weights(len(run.whitened), n_bootstrap, rng) for run in runs]
    own = np.concatenate([run.own for run in runs], axis=2)
    axis, peaks = directions(inverse.filter_, own)
    averages = [np.tensordot(w, run.whitened, 1) for w, run in zip(weights, runs, strict=True)]
    field, leadfield = FieldOfRuns([run.field for run in runs]), runs[0].leadfield
    known = [(inverse.n_effective_, noise) for noise in learnt_noises(inverse)]  # samples at most
    large = inverse.sources_["extent_mm"].any()
    discs = discs_of(inverse.extent, leadfield.forward, field) if large else None
    start = _start(inverse, runs, leadfield.forward["source_rr"], field.spacing, discs)
    rr, Phis = leadfield.forward["source_rr"], [run.leadfield.Phi for run in runs]
    model = field, discs, rr, Phis
    tasks = tasks_of(n_bootstrap)
    parts = ([own[some] for own in averages] for some in tasks)
    work = (delayed(_fit_task)(*model, part, known, start, peaks) for part in parts)
    found: list[_Sample] = fitted_samples(work, len(tasks), n_jobs)
    everywhere = active_positions(leadfield.forward, np.arange(leadfield.n_positions))
    to_mri = mne.transforms.invert_transform(leadfield.forward["mri_head_t"])
    replicates = [
        (1e3 * mne.transforms.apply_trans(to_mri, places), moments) for places, moments, _ in found
    ]
    near = [np.unique(field.nearest(places)) for places, *_ in found]
    probability = np.bincount(np.concatenate(near), minlength=leadfield.n_positions) / len(found)
    rr_mm = 1e3 * inverse.filter_.positions.rr_mri
    turn = to_mri["trans"][:3, :3]
    beside = 1e6 * turn @ inverse.field_covariance_ @ turn.T
    table, covariance = follow_sources(inverse.sources_, rr_mm, axis, replicates, beside)
    return Bootstrap(
        sources=table,
        covariance_mm2=covariance,
        selection_probability=source_estimate(everywhere, probability[:, None, None], 0, 1, None),
        n_bootstrap=n_bootstrap,
        n_positions=leadfield.n_positions,
        missed_log_evidence=np.array([offer for *_, offer in found]),
    )


#: Places (m, 3) and moments (m, 3, n_instants) of a sample's sources, and the evidence left over.
_Sample = tuple[NDArray[np.float64], NDArray[np.float64], float]


def _start(
    inverse: FittedInverse,
    runs: list[EpochsRun],
    rr: NDArray[np.float64],
    spacing: float,
    discs: Discs | None,
) -> dict[str, Any]:
    """Where the samples start: the sources of the fit, in noise of nearly twice the variance."""
    from meg_vae.model.sliding.prior import place_prior

    given, filter_ = inverse.noise_variance, inverse.filter_
    prior, least = place_prior(rr, inverse.position_weights_, spacing, inverse.min_log_evidence)
    twice = 2 - np.mean([1 / len(run.whitened) for run in runs])
    size, axes = np.linalg.eigh(filter_.prior)
    factors = axes * np.sqrt(size.clip(0))[:, None, :]
    extents = 1e-3 * inverse.sources_["extent_mm"].to_numpy() * (discs is not None)
    first = np.zeros((3, 3))
    first[0, 0] = 1.0  # a disc has one direction, the model's first
    size = np.sqrt(np.trace(filter_.prior, axis1=1, axis2=2))[:, None, None]
    places = filter_.positions.rr_head
    return {
        "places": places if discs is None else np.c_[places, extents],
        "factors": np.where(extents[:, None, None] > 0, size * first, factors),
        "variance": float(np.mean(inverse.noise_variance_) * twice),
        "learn": isinstance(given, str),
        "least": least,
        "prior": prior,
        "wrong": inverse.lead_field_error,
        "motion": _motion(inverse, runs),
        "spans": _in_samples(inverse.spans_, runs[0].times),
    }


def _in_samples(spans: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Spans in samples of the epochs, up to the one behind the last."""
    first, last = np.searchsorted(times, spans.T - np.array([[1e-6], [-1e-6]]))
    known = np.isfinite(spans)
    return np.where(known, np.c_[first, last], spans)


def _motion(inverse: FittedInverse, runs: list[EpochsRun]) -> tuple[Any, Any]:
    """How far the field may move, and where it did in the fit; nothing where it did not."""
    field = runs[0].field
    if field is None or field.motion is None:
        return (), ()
    return field.motion.swing, field.motion.delta(inverse.registration_)


def _fit_task(
    field: FieldOfRuns,
    discs: Discs | None,
    rr: NDArray[np.float64],
    Phis: list[NDArray[np.float64]],
    averages: list[NDArray[np.float64]],
    known: list[tuple[float, Noise]],
    start: dict[str, Any],
    instants: NDArray[np.int64],
) -> list[_Sample]:
    """Fit a few samples, in a process of its own or not."""
    import torch

    from meg_vae.model.exact.dictionary import Dictionary
    from meg_vae.model.sliding.field import Field
    from meg_vae.model.sliding.fit import refit_places
    from meg_vae.model.sliding.recorded import Recorded

    dictionaries = [Dictionary(np.array(Phi), 3) for Phi in Phis]
    some = torch.arange(0, len(rr), -(-len(rr) // SEARCHED))
    prior, confine = start["prior"], field.confine
    moved, wrong = start["motion"], start["wrong"]
    start = {name: value for name, value in start.items() if name not in ("motion", "wrong")}
    if prior is not None:
        allowed = torch.as_tensor(prior.allowed)
        some = allowed[:: -(-len(allowed) // SEARCHED)]
        confine = prior.within(confine)
    grid, dictionaries = torch.as_tensor(rr[some]), [own.only(some) for own in dictionaries]
    errors = None if field.is_exact else field.errors
    swing, motion = (torch.as_tensor(np.array(x, dtype=np.float64)) for x in moved)
    columns = Field(field, field.spacing, errors, confine, swing=swing, motion=motion, wrong=wrong)
    columns = columns.with_extended(discs, grid[:1].numpy())
    if discs is not None:  # points to begin with
        grid = torch.nn.functional.pad(grid, (0, 1))
    ends = np.cumsum([len(Phi) for Phi in Phis])[:-1]
    out = []
    for sample in zip(*averages, strict=True):
        recorded = [
            Recorded(own, torch.as_tensor(np.array(X)), n, noise, [X.shape[1]])
            for own, X, (n, noise) in zip(dictionaries, sample, known, strict=True)
        ]
        fit = refit_places(columns, grid, recorded, **start)
        maps = np.split(fit.inverse_map.numpy(), ends, 2)
        U = np.concatenate([own @ X for own, X in zip(maps, sample, strict=True)], 2)
        if discs is not None:
            U = discs.turns(fit.places.numpy(), fit.extents.numpy()) @ U
        out.append((fit.places.numpy(), U[..., instants], fit.offer))
    return out
