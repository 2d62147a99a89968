r"""First and second derivatives of the energy in places, priors, field errors, motion and noise.

Every parameter θ_i moves some columns of the decoder along Ṗ_i. With Σ̇_i = Ṗ_i Pᵀ + P Ṗ_iᵀ,
K = Σ⁻¹ and M = Σ⁻¹CΣ⁻¹,

.. math::
    ∂_i J = \operatorname{tr}((K - M) Σ̇_i), \qquad
    ∂_{ij} J = 2\operatorname{tr}(M Σ̇_i K Σ̇_j) - \operatorname{tr}(K Σ̇_i K Σ̇_j)
    + \operatorname{tr}((K - M) Σ̈_{ij}).

tr(M Σ̇_i K Σ̇_j) alone is the average information of restricted maximum likelihood (Gilmour, Thompson
& Cullis 1995), positive semidefinite everywhere; tr(K Σ̇_i K Σ̇_j) is the expected (Fisher) one.
A prior moves as Γ ← A exp(E) Aᵀ among its columns and turns into directions that it has not. Of
several runs all these are sums over runs, each with its own Σ, C and rows of Ṗ. Where the
covariance of the noise was estimated, C is that of the weighted data, and the weights follow.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from meg_vae.model.misfit import removal_change
from meg_vae.model.sliding.data import Data, Run, Term
from meg_vae.model.sliding.directions import Directions, directions
from meg_vae.model.sliding.sources import Sources, whiten


@dataclass(frozen=True)
class Slopes:
    """Derivatives at a point: those of the sources' parameters first, then of log λ if learnt.

    ``removal`` holds, for each live column alone, the change of J when it is taken out.
    """

    energy: Tensor
    gradient: Tensor
    curvature: Tensor
    average: Tensor
    removal: Tensor
    directions: Directions


@dataclass(frozen=True)
class _Layout:
    """Which of the r live columns, then of the moved ones, belongs to which of n parameters."""

    r: int
    par: Tensor
    col: Tensor
    n: int


@dataclass(frozen=True)
class _Part:
    """What one run adds; ``pull`` (d, r) is 2(K − M)P, that is ∂J_r by the live columns."""

    gradient: Tensor
    curvature: Tensor
    average: Tensor
    removal: Tensor
    pull: Tensor


def slopes(data: Data, sources: Sources, unit: float) -> Slopes:
    """Differentiate the energy twice."""
    at = whiten(data, sources)
    moving = directions(data, sources, unit)
    P = sources.patterns[:, sources.live.flatten()]
    layout = _Layout(P.shape[1], moving.parameter, moving.column, moving.n_moved)
    on = sources.columns_on[sources.live.flatten()].expand(-1, data.n_pieces)
    columns = data.parts(torch.cat([P, moving.moves], 1), torch.cat([on, on[moving.column]]))
    parts = [
        _part(run, term, Z, sources.noise, layout, data.learn)
        for run, term, Z in zip(data.runs, at.runs, columns, strict=True)
    ]
    gradient, curvature, average, removal = (
        data.over_runs(getattr(part, name) for part in parts)
        for name in ("gradient", "curvature", "average", "removal")
    )
    pulls = [w * part.pull for w, part in zip(data.weights, parts, strict=True)]
    recordings = (pulls[k : k + data.n_pieces] for k in range(0, len(pulls), data.n_pieces))
    pull = torch.cat([(torch.stack(own, 2) * on).sum(2) for own in recordings])
    moved, own = slice(layout.n), slice(moving.n_own)  # without log λ, and without the motion
    prior, values = _prior(sources, moving, data.n)
    gradient[moved] += prior * values
    curvature[moved, moved] += _bends(sources, moving, pull, unit) + prior.diag()
    average[moved, moved] += prior.diag()
    if data.prior is not None:
        lean = data.prior.derivatives_of_energy(
            sources.places, sources.axes, moving.free, unit, data.n
        )
        gradient[own] += lean[0]
        curvature[own, own] += lean[1]
    return Slopes(at.energy, gradient, curvature, average, removal, moving)


def _part(run: Run, term: Term, Z: Tensor, noise: Tensor, layout: _Layout, learn: bool) -> _Part:
    """Differentiate the energy of one run along its live and moved columns Z (d, r + Q)."""
    r, par, col, n = layout.r, layout.par, layout.col, layout.n
    inverse, F = torch.cholesky_inverse(term.L), term.weighted(run.F)
    KZ = inverse @ Z
    FKZ = F.T @ KZ
    K, M = Z.T @ KZ, FKZ.T @ FKZ
    G = K - M
    gradient = _summed(2 * G[r:, :r].gather(1, col[:, None])[:, 0], par, n)
    fisher, average = _pairs(K, K, r, par, col, n), _pairs(K, M, r, par, col, n)
    average = (average + average.T) / 2
    bend = 2 * G[r:, r:] * (col[:, None] == col)
    curvature = 2 * average - fisher + _summed(_summed(bend, par, n).T, par, n)
    if run.share:  # the weights of the data follow the parameters
        curvature = curvature - run.share * _pairs(M, M, r, par, col, n)
    if learn:
        gradient, curvature, average = _with_noise(
            (run, term, noise), (inverse, F), (KZ, FKZ), layout, (gradient, curvature, average)
        )
    k, m = (x.diagonal()[:r, None, None] for x in (K, M))
    removal = removal_change(k, m, run.share)
    pull = 2 * (KZ - inverse @ (F @ FKZ))[:, :r]
    return _Part(gradient, curvature, average, removal, pull)


def _summed(values: Tensor, parameter: Tensor, n: int) -> Tensor:
    """Add up the moved columns of each parameter."""
    return values.new_zeros(n, *values.shape[1:]).index_add_(0, parameter, values)


def _pairs(V: Tensor, W: Tensor, r: int, par: Tensor, col: Tensor, n: int) -> Tensor:
    """Tr(V Σ̇_i W Σ̇_j) for all pairs of parameters, from the products between P and Ṗ."""
    v, w = V[r:, :r][:, col], W[r:, :r][:, col]  # of each move with the column of each other move
    total = v * w.T + V[r:, r:] * W[:r, :r][col][:, col]
    total = total + V[:r, :r][col][:, col] * W[r:, r:] + v.T * w
    return _summed(_summed(total, par, n).T, par, n)


def _bends(sources: Sources, moving: Directions, pull: Tensor, unit: float) -> Tensor:
    """Add what the product of two moves bends: any two of a place, an error, a motion and a factor.

    The field itself is linear in place and motion.
    """
    m, o = sources.live.shape
    q, n_pairs = sources.places.shape[1], moving.pairs.shape[1]
    full = pull.new_zeros(len(pull), m * o)
    full[:, sources.live.flatten()] = pull
    full = full.unflatten(1, (m, o)).movedim(1, 0)  # (m, d, o)
    back = torch.einsum("mda,mpoa->mpdo", full, moving.pairs)
    p = moving.free.shape[1]
    blocks = pull.new_zeros(m, p, p)
    pairs = slice(q, q + n_pairs)
    blocks[:, :q, pairs] = unit * torch.einsum("mdoq,mpdo->mqp", sources.ways, back)
    blocks[:, q + n_pairs :, pairs] = torch.einsum("medo,mpdo->mep", sources.error_patterns, back)
    pulled = torch.einsum("mda,moa->mdo", full, sources.factors)
    blocks[:, :q, q + n_pairs :] = unit * torch.einsum(
        "medoq,mqr,mdo->mre", sources.drift, sources.axes, pulled
    )
    free = moving.free.flatten()
    out = pull.new_zeros(moving.n_moved, moving.n_moved)
    own = slice(moving.n_own)
    out[own, own] = torch.block_diag(*(blocks + blocks.mT))[free][:, free]
    beside = pull.new_zeros(m, p, moving.n_motion)
    beside[:, pairs] = torch.einsum("mgdo,mpdo->mpg", sources.turns, back)
    out[own, moving.n_own :] = beside.flatten(0, 1)[free]
    out[moving.n_own :, own] = out[own, moving.n_own :].T
    return out


def _prior(sources: Sources, moving: Directions, n: float) -> tuple[Tensor, Tensor]:
    """Curvature of the prior of each parameter, 2/n where it has one, and the values of those."""
    n_errors = sources.shift.shape[1]
    prior, values = torch.zeros(2, *moving.free.shape, dtype=sources.values.dtype)
    prior[:, prior.shape[1] - n_errors :] = 2 / n
    values[:, values.shape[1] - n_errors :] = sources.shift
    motion = torch.full_like(sources.motion, 2 / n)
    return (
        torch.cat([prior[moving.free], motion]),
        torch.cat([values[moving.free], sources.motion]),
    )


def _with_noise(
    given: tuple[Run, Term, Tensor],
    whitening: tuple[Tensor, Tensor],
    pulled: tuple[Tensor, Tensor],
    layout: _Layout,
    parts: tuple[Tensor, Tensor, Tensor],
) -> tuple[Tensor, Tensor, Tensor]:
    """Border all of one run with log λ, which moves Σ by λI."""
    (run, term, lam), (inverse, F), (KZ, FKZ) = given, whitening, pulled
    r, par, col, n = layout.r, layout.par, layout.col, layout.n
    gradient, curvature, average = parts
    KF = inverse @ F
    MZ = KF @ FKZ
    rest = (run.rest / lam).expand_as(term.products)
    rest = term.weighted(term.weighted(rest).T)  # RᵀHR of a symmetric H
    moved = lam * KF.T @ KF + rest  # by how much the weighted products G fall
    fisher_c = 2 * lam * (KZ[:, :r][:, col] * KZ[:, r:]).sum(0)
    average_c = lam * (MZ[:, :r][:, col] * KZ[:, r:] + MZ[:, r:] * KZ[:, :r][:, col]).sum(0)
    follow_c = 2 * run.share * (FKZ[:, :r][:, col] * (moved @ FKZ[:, r:])).sum(0)
    fisher_c, average_c, follow_c = (_summed(x, par, n) for x in (fisher_c, average_c, follow_c))
    own = lam * inverse.diagonal().sum() + run.n_rest - moved.trace()
    own_fisher = lam**2 * inverse.square().sum() + run.n_rest
    own_average = lam**2 * (KF * (inverse @ KF)).sum() + rest.trace()
    follow = run.share * moved.square().sum()
    return (
        torch.cat([gradient, own[None]]),
        _bordered(
            curvature,
            2 * average_c - fisher_c - follow_c,
            2 * own_average - own_fisher + own - follow,
        ),
        _bordered(average, average_c, own_average),
    )


def _bordered(matrix: Tensor, edge: Tensor, corner: Tensor) -> Tensor:
    last = torch.cat([edge, corner[None]])
    return torch.cat([torch.cat([matrix, edge[:, None]], 1), last[None]])
