"""The exact minimiser of the linear VAE's energy, certified over all positions.

Sweeps over every position find a dense start; a second-order descent settles the strongest of them;
the certificate looks at all positions again, those that want to grow join the candidates, and so on
until none does.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from joblib import Parallel, delayed, effective_n_jobs
from torch import Tensor

from meg_vae.model.checks import check_positive, check_whole
from meg_vae.model.exact.batch import together, without_data
from meg_vae.model.exact.dictionary import Dictionary
from meg_vae.model.exact.point import compressed
from meg_vae.model.exact.restarts import lowered
from meg_vae.model.exact.rounds import minimise
from meg_vae.model.exact.sweeps import dense_start
from meg_vae.model.fit import Fit, join
from meg_vae.model.misfit import EXACT, Certainty
from meg_vae.model.noise_variance import FLOOR, NoiseVariance, noise_variance_of
from meg_vae.model.priors import Prior, prior_of

BLOCKS = 4  # of a batch for each process: one that meets hard items is not left alone at the end


def data_factor(X: Tensor) -> Tensor:
    """Reduce data to a factor of their covariance with at most as many columns as channels.

    Parameters
    ----------
    X : Tensor, shape (..., n_channels, n_samples)
        Data.

    Returns
    -------
    F : Tensor, shape (..., n_channels, min(n_channels, n_samples) or fewer)
        F Fᵀ = X Xᵀ / n_samples.
    """
    return compressed(X) / X.shape[-1] ** 0.5


def in_range(dictionary: Dictionary, F: Tensor) -> tuple[Dictionary, Tensor]:
    """Leave out directions that neither Φ nor the data reach.

    They would teach that there is no noise.

    Parameters
    ----------
    dictionary : Dictionary
        The dictionary.
    F : Tensor, shape (batch, n_channels, k)
        Factor of the data covariance.

    Returns
    -------
    dictionary : Dictionary
        The same, in the coordinates of the directions reached.
    F : Tensor, shape (batch, rank, k)
        The same, in those coordinates.
    """
    # With more columns no eigenvalue falls, and n_groups bounds them: a part may show that all do.
    bound = dictionary.n_groups**2 / dictionary.n_channels
    if dictionary.leading[0][-1] > 1e-12 * bound:
        return dictionary, F
    reached = dictionary.eigenvalues > 1e-12 * dictionary.eigenvalues[0]
    if reached.all():
        return dictionary, F
    unseen = dictionary.basis[:, ~reached].T @ F
    if float(unseen.square().sum()) > 1e-12 * float(F.square().sum()):
        return dictionary, F
    return dictionary.restricted(int(reached.sum())), dictionary.basis[:, reached].T @ F


def where_learnt(
    dictionary: Dictionary, F: Tensor, variance: NoiseVariance
) -> tuple[Dictionary, Tensor]:
    """Leave such directions out where one noise variance is learnt.

    Parameters
    ----------
    dictionary : Dictionary
        The dictionary.
    F : Tensor, shape (batch, n_channels, k)
        Factor of the data covariance.
    variance : NoiseVariance
        What of the noise variance is learnt.

    Returns
    -------
    dictionary : Dictionary
        As `in_range` gives it, or the same.
    F : Tensor, shape (batch, rank, k)
        As `in_range` gives it, or the same.
    """
    return in_range(dictionary, F) if variance.learnt and variance.uniform else (dictionary, F)


def solve(
    dictionary: Dictionary,
    X: Tensor,
    *,
    noise_variance: float | str | NoiseVariance = "learn",
    orientation: str | Prior = "shared",
    tol: float = 1e-3,
    max_iter: int = 2000,
    restarts: int = 0,
    n_jobs: int | None = None,
    certainty: Certainty = EXACT,
) -> Fit:
    """Find row-sparse activity that explains data, by minimising the profile J of the linear VAE.

    Parameters
    ----------
    dictionary : Dictionary
        Φ, prepared.
    X : Tensor, shape (n_channels, n_samples) or (batch, n_channels, n_samples)
        Whitened data, dimensionless; a leading dimension holds many right-hand sides.
    noise_variance : float | "learn" | "per_channel" | "anneal" | NoiseVariance
        λ: held at a number, learnt for all channels together or for each, or lowered step by step
        towards zero for data without noise; or another kind.
    orientation : "shared" | "full" | Prior
        One variance for the dipoles of a position, or a full covariance among them; or another
        prior.
    tol : float
        Target of the certificate.
    max_iter : int
        Most accepted steps of each descent.
    restarts : int
        Further starts in search of a lower minimum, at about the cost of the first fit each.
    n_jobs : int | None
        Processes that share a batch on the CPU, as in joblib; None is one.
    certainty : Certainty
        How far the covariance of the noise is known.

    Returns
    -------
    fit : Fit
        The minimum, in the units of X and Φ.

    Raises
    ------
    ValueError
        If the data do not fit or are not finite, or an option is not one of those above.

    Warns
    -----
    RuntimeWarning
        If ``max_iter`` ended the descent before the certificate reached ``tol``, if the data are
        zero, or if a learnt noise variance fell to its floor.
    """
    variance = noise_variance_of(noise_variance)
    prior = prior_of(orientation, dictionary.n_orient)
    X = _checked(X, dictionary, tol, max_iter, restarts)
    F = data_factor(X if X.ndim == 3 else X[None])
    whole, (dictionary, F) = dictionary, where_learnt(dictionary, F, variance)
    scale = (F.square().sum((1, 2)) / F.shape[1]).sqrt()
    silent = scale == 0
    if silent.any():
        _warn("the data are zero, so there is no source to find")
        white = torch.eye(*F.shape[1:], dtype=F.dtype, device=F.device)
        F, scale = torch.where(silent[:, None, None], white, F), scale.masked_fill(silent, 1.0)
    work = partial(
        _solve_block,
        dictionary,
        prior=prior,
        variance=variance,
        tol=tol,
        max_iter=max_iter,
        restarts=restarts,
        certainty=certainty,
    )
    fit = join(_shared(work, F / scale[:, None, None], scale, n_jobs))
    fit = without_data(fit, silent, variance.least(), dictionary.n_channels)
    columns = whole.as_given(fit.positions)
    fit = replace(fit, columns=columns)
    fit = fit if X.ndim == 3 else fit[0]
    if variance.learnt and not silent.any() and _collapsed(fit, X):
        _warn(
            "the learnt noise variance fell to its floor: the data are free of noise "
            "(noise_variance='anneal'), or Phi can explain their noise too (hold noise_variance)"
        )
    worst = float(fit.certificate.max())
    if worst > tol:
        _warn(
            f"stopped at a certificate of {worst:.2g}, above tol={tol:.2g}; "
            f"raise max_iter={max_iter}, or tol where rounding is the limit"
        )
    return fit


def _checked(X: Tensor, dictionary: Dictionary, tol: float, max_iter: int, restarts: int) -> Tensor:
    """Refuse what cannot be solved; the data on the device of the dictionary, in float64."""
    if X.ndim not in (2, 3) or 0 in X.shape or X.shape[-2] != dictionary.n_channels:
        raise ValueError(
            "X must have shape (n_channels, n_samples) or (batch, n_channels, n_samples) with "
            f"n_channels={dictionary.n_channels} as in Phi, got {tuple(X.shape)}."
        )
    if not torch.isfinite(X).all():
        raise ValueError("X has NaN or infinite entries; drop or interpolate them first.")
    check_positive("tol", tol)
    check_positive("max_iter", max_iter)
    check_whole("restarts", restarts, least=0)
    return X.to(dictionary.given)


def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=3)


def _shared(work: Callable[..., Fit], F: Tensor, scale: Tensor, n_jobs: int | None) -> list[Fit]:
    """Share a batch among processes, in blocks; an accelerator takes it whole."""
    n_processes = effective_n_jobs(n_jobs) if F.device.type == "cpu" else 1
    block = max(1, -(-len(F) // (BLOCKS * n_processes))) if n_processes > 1 else len(F)
    blocks = zip(F.split(block), scale.split(block), strict=True)
    return Parallel(n_processes)(delayed(work)(*items) for items in blocks)


def _solve_block(
    dictionary: Dictionary,
    F: Tensor,
    scale: Tensor,
    *,
    restarts: int,
    **options: Any,
) -> Fit:
    """Solve items of a batch, as many together as is fastest; each restarts by itself."""
    chunk = 1 if restarts else together(dictionary, F)
    items = zip(F.split(chunk), scale.split(chunk), strict=True)
    return join([_solve_chunk(dictionary, f, a, restarts=restarts, **options) for f, a in items])


def _solve_chunk(
    dictionary: Dictionary,
    F: Tensor,
    scale: Tensor,
    *,
    prior: Prior,
    variance: NoiseVariance,
    tol: float,
    max_iter: int,
    restarts: int,
    certainty: Certainty,
) -> Fit:
    """Solve items of a batch whose data have unit mean power, and go back to their units."""
    started = time.perf_counter()
    d = dictionary.n_channels
    gamma, noise = dense_start(dictionary, F, scale, variance, certainty.spare)
    seconds = time.perf_counter() - started
    noise = noise[:, None].expand(len(F), d).contiguous()

    def descend(gamma: Tensor, noise: Tensor, tol: float) -> Fit:
        return minimise(
            dictionary,
            F,
            gamma,
            noise,
            prior=prior,
            variance=variance,
            tol=tol,
            max_iter=max_iter,
            certainty=certainty,
        )

    found = lowered(descend(gamma, noise, tol), descend, restarts, tol)
    volume = 2 * (d - certainty.spare) * scale.log()  # of the change of units
    unit = scale[:, None] / dictionary.norms[found.positions]
    return replace(
        found,
        factor=found.factor * unit[..., None, None],
        noise_variance=variance.given(found.noise_variance * scale[:, None] ** 2),
        energy=found.energy + volume,
        history=found.history + volume,
        timings={"sweeps": seconds} | found.timings,
    )


def _collapsed(fit: Fit, X: Tensor) -> bool:
    """Whether a noise variance is nothing beside the power of the data."""
    return bool((fit.noise_variance.min() <= 10 * FLOOR * X.square().mean()).any())
