"""Runs whitened for a fit, in as many directions as their noise covariances are known for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from mne.utils import logger, warn

from meg_vae.meg.leadfield import LeadField, make_leadfield
from meg_vae.meg.runs import FitRun
from meg_vae.meg.samples import noise_samples

if TYPE_CHECKING:
    from meg_vae.model.noise import Noise

M = TypeVar("M")

FEWEST = 10  # directions that are looked at in any case
ROUNDS, NEARLY = 3, 0.8  # fits in ever fewer directions, until these are nearly as few as known


def whitened(run: FitRun, loose: Any, rank: Any) -> LeadField:
    """Whiten the lead field of a run for its data, and say what is fitted to what.

    Parameters
    ----------
    run : FitRun
        The run.
    loose, rank : object
        As for `VAEInverse`.

    Returns
    -------
    leadfield : LeadField
        In all directions of the data.
    """
    data = run.data
    leadfield = make_leadfield(
        run.forward, data.info, run.noise_cov, nave=data.nave, loose=loose, rank=rank, data=data
    )
    n, rank = data.n_samples, len(leadfield.Phi)
    logger.info(f"Fitting {leadfield.n_positions} positions to {n} samples of rank {rank}")
    return leadfield


def samples(run: FitRun, *, white: bool) -> dict[str, Any]:
    """Count the samples of the data of a run, and those behind its noise covariance.

    Parameters
    ----------
    run : FitRun
        The run.
    white : bool
        Whether its noise is taken for white, up to the low-pass.

    Returns
    -------
    samples : dict
        ``n_effective``, ``n_noise`` and ``stretches``, as `SparseVAE.fit` takes them.
    """
    data, n, n_noise = run.data, None, noise_samples(run.noise_cov)
    if data.stretches is None or white:  # nothing tells how the noise goes on, but the low-pass
        n = data.n_independent
        n_noise *= n / data.n_samples
    return {"n_effective": n, "n_noise": n_noise, "stretches": data.stretches}


def fit_in_known_directions(
    fit: Callable[[list[LeadField]], tuple[M, list[Noise]]],
    leadfields: list[LeadField],
    n_noise: Sequence[float],
) -> tuple[list[LeadField], M]:
    """Fit in as many directions of each run as its noise covariance is known for.

    It takes twice as many independent samples as directions to whiten with a loss of a half (Reed,
    Mallett & Brennan 1974); how many are independent, the first fit learns.

    Parameters
    ----------
    fit : callable
        Gives a model and the noise that it learnt of each run.
    leadfields : list of LeadField
        In all directions, of each run.
    n_noise : list of float
        Samples behind the covariance of each run.

    Returns
    -------
    leadfields : list of LeadField
        In the directions of the fit.
    model : object
        The fit.

    Warns
    -----
    RuntimeWarning
        If a covariance has too few samples for all directions.
    """
    whole = leadfields
    channels = [len(own.Phi) for own in whole]
    known = [min(n / 2, d) for n, d in zip(n_noise, channels, strict=True)]
    for _ in range(ROUNDS):
        ranks = [
            max(int(half), FEWEST) if half < d else d
            for half, d in zip(known, channels, strict=True)
        ]
        leadfields = [
            own.reduced(rank) if rank < d else own
            for own, rank, d in zip(whole, ranks, channels, strict=True)
        ]
        model, noises = fit(leadfields)
        known = [
            min(half, noise.n_independent / 2) for half, noise in zip(known, noises, strict=True)
        ]
        if all(
            half >= NEARLY * rank or rank <= FEWEST for half, rank in zip(known, ranks, strict=True)
        ):
            break
    for k, (rank, d) in enumerate(zip(ranks, channels, strict=True)):
        if rank < d:
            which = f"run {k + 1} of {len(ranks)}: " if len(ranks) > 1 else ""
            warn(
                f"{which}noise_cov was estimated from {n_noise[k]:.0f} samples, of which about "
                f"{noises[k].n_independent:.0f} are independent, for {d} channels: only the "
                f"{rank} directions that the lead field fills most are looked at. Estimate it from "
                f"{2 * d} independent samples or more."
            )
    return leadfields, model
