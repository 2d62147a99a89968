"""The bootstrap at free places: in each sample the sources of the fit find their places anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mne
import numpy as np
from joblib import Parallel, delayed
from mne.utils import ProgressBar
from numpy.typing import NDArray

from meg_vae.meg.bootstrap import Bootstrap, directions, follow_sources, learnt_noise
from meg_vae.meg.estimates import active_positions, source_estimate
from meg_vae.meg.field import ContinuousField
from meg_vae.meg.leadfield import LeadField

if TYPE_CHECKING:
    from meg_vae.meg.inverse import VAEInverse

CHUNK = 10  # samples in one task of a process


def resample_places(
    inverse: VAEInverse,
    leadfield: LeadField,
    field: ContinuousField,
    whitened: NDArray[np.float64],
    own: NDArray[np.float64],
    n_bootstrap: int,
    random_state: int | np.random.Generator | None,
    n_jobs: int | None,
) -> Bootstrap:
    """Draw averages of whitened epochs (n_epochs, rank, n_times), fit each, and sum up.

    ``own`` is the activity of the fit's sources in the average, (n_sources, 3, n_times).
    """
    from meg_vae.model.bootstrap import resampling_weights

    weights = resampling_weights(len(whitened), n_bootstrap, np.random.default_rng(random_state))
    axis, peaks = directions(inverse.filter_, own)
    start = _start(inverse, leadfield, field.spacing, whitened)
    averages = np.tensordot(weights, whitened, 1)
    tasks = [slice(k, k + CHUNK) for k in range(0, n_bootstrap, CHUNK)]
    work = (delayed(_fit_task)(field, leadfield, averages[one], start, peaks) for one in tasks)
    found: list[_Sample] = []
    bar = ProgressBar(len(tasks), mesg="Bootstrap")
    for part in Parallel(n_jobs=n_jobs, return_as="generator", mmap_mode="c")(work):
        found += part
        bar.update_with_increment_value(1)
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
    inverse: VAEInverse, leadfield: LeadField, spacing: float, whitened: NDArray[np.float64]
) -> dict[str, Any]:
    """Where the samples start: the sources of the fit, in noise of nearly twice the variance."""
    from meg_vae.model.sliding.prior import place_prior

    rr, given_weights = leadfield.forward["source_rr"], inverse.position_weights_
    prior, least = place_prior(rr, given_weights, spacing, inverse.min_log_evidence)
    given, twice = inverse.noise_variance, 2 - 1 / len(whitened)
    filter_ = inverse.filter_
    size, axes = np.linalg.eigh(filter_.prior)
    return {
        "places": filter_.positions.rr_head,
        "factors": axes * np.sqrt(size.clip(0))[:, None, :],
        "variance": float(np.mean(inverse.noise_variance_)) * twice,
        "learn": isinstance(given, str),
        "least": least,
        "n_effective": inverse.n_effective_,
        "noise": learnt_noise(inverse),
        "stretches": [whitened.shape[2]],
        "prior": prior,
    }


def _fit_task(
    field: ContinuousField,
    leadfield: LeadField,
    averages: NDArray[np.float64],
    start: dict[str, Any],
    instants: NDArray[np.int64],
) -> list[_Sample]:
    """Fit a few samples, in a process of its own or not."""
    import torch

    from meg_vae.model.bootstrap import restrict
    from meg_vae.model.exact.dictionary import Dictionary
    from meg_vae.model.sliding.field import Field
    from meg_vae.model.sliding.fit import refit_places

    dictionary = Dictionary(np.array(leadfield.Phi), leadfield.n_orient)
    errors = None if field.is_exact else field.errors
    prior, confine = start["prior"], field.confine
    grid = torch.as_tensor(np.array(leadfield.forward["source_rr"]))
    if prior is not None:
        allowed = torch.as_tensor(prior.allowed)
        if len(allowed) < len(grid):
            grid, dictionary = grid[allowed], restrict(dictionary, allowed)
        confine = prior.within(confine)
    columns = Field(field, field.spacing, errors, confine)
    out = []
    for X in averages:
        fit = refit_places(columns, grid, dictionary, torch.as_tensor(np.array(X)), **start)
        U = fit.inverse_map.numpy() @ X[:, instants]
        out.append((fit.places.numpy(), U, fit.offer))
    return out
