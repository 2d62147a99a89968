r"""First and second derivatives of the energy in places, priors, field errors and noise.

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
from meg_vae.model.sliding.field import seen_part
from meg_vae.model.sliding.sources import Data, Run, Sources, Term, whiten

TURNED = 1e-6  # of a prior's factor: moves of it that are smaller are none
VISIBLE = 0.1  # nats × 2 that an error of the field must be worth to be learnt


@dataclass(frozen=True)
class Directions:
    """How the columns of the decoder move with each parameter.

    ``pairs`` (m, o(o+1)/2, o, o) are the moves of the factors; ``free`` (m, p) says which of the
    p = q + pairs + e parameters of each source there are; ``moves`` (d, Q) lists the moved columns,
    each of parameter ``parameter`` (Q,) and decoder column ``column`` (Q,).
    """

    pairs: Tensor
    free: Tensor
    moves: Tensor
    parameter: Tensor
    column: Tensor


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


def pair_index(o: int) -> tuple[Tensor, Tensor]:
    """Pairs i ≤ j of the columns of a factor."""
    i, j = torch.triu_indices(o, o)
    return i, j


def factor_moves(factors: Tensor) -> tuple[Tensor, Tensor]:
    """List the moves (m, pairs, o, o) of factors with orthogonal columns, and which are real.

    Between two live columns the pair stretches A symmetrically; between a live and a dead one it
    turns the live one towards the dead one's axis.
    """
    m, o, _ = factors.shape
    live, size = factors.any(1), torch.linalg.vector_norm(factors, dim=1)
    axes, R = torch.linalg.qr(factors)  # a dead column, always behind the live ones, gets an axis
    axes = axes * torch.where(R.diagonal(dim1=1, dim2=2) < 0, -1.0, 1.0)[:, None, :]
    i, j = pair_index(o)
    both = live[:, i] & live[:, j]
    own_i = torch.where(live[:, i], size[:, i], 0.0)  # lengths of the columns, 0 where dead
    own_j = torch.where(live[:, j], size[:, j], 0.0)
    half = torch.where(both, 0.5, 1.0)
    # A column moves along the other's axis: by the other's length if that lives, else by its own.
    along_j = half * torch.where(both, own_j, own_i)
    along_i = half * torch.where(both, own_i, own_j)
    moves = factors.new_zeros(m, len(i), o, o)
    k = torch.arange(len(i))
    moves[:, k, :, i] = (along_j[..., None] * axes[:, :, j].mT).movedim(0, 1)
    moves[:, k, :, j] = (along_i[..., None] * axes[:, :, i].mT).movedim(0, 1)
    return moves * live[:, None, None, :], live[:, i] | live[:, j]


def directions(data: Data, sources: Sources, unit: float) -> Directions:
    """List how every parameter moves the decoder; places count in ``unit``.

    An error of the field that would hardly be seen in the data stays as it is.
    """
    A, live = sources.factors, sources.live
    pairs, real = factor_moves(A)
    pairs = seen_part(sources.values)[:, None] @ pairs  # no turn towards what no sensor sees
    size = torch.linalg.matrix_norm(pairs)
    real = real & (size > TURNED * torch.linalg.matrix_norm(A)[:, None])
    moves = torch.cat(
        [
            unit * torch.einsum("mdoq,moa->mqda", sources.slope, A),
            torch.einsum("mdo,mpoa->mpda", sources.fields, pairs),
            torch.einsum("medo,moa->meda", sources.error_patterns, A),
        ],
        1,
    )
    m, p = moves.shape[:2]
    q = sources.places.shape[1]
    errors = moves[:, q + real.shape[1] :].square().sum(3)  # (m, e, d)
    power = data.over_runs(part.sum(0) for part in data.parts(errors.movedim(2, 0)))
    reach = data.n / sources.noise * power
    free = torch.cat([torch.ones(m, q, dtype=torch.bool), real, reach > VISIBLE], 1)
    free &= live.any(1)[:, None]
    used = free[:, :, None] & live[:, None, :]
    number = (free.flatten().cumsum(0) - 1).reshape(m, p, 1).expand_as(used)
    column = (live.flatten().cumsum(0) - 1).reshape(m, 1, -1).expand_as(used)
    return Directions(pairs, free, moves.movedim(2, 3)[used].T, number[used], column[used])


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
    layout = _Layout(P.shape[1], moving.parameter, moving.column, int(moving.free.sum()))
    columns = data.parts(torch.cat([P, moving.moves], 1))
    parts = [
        _part(run, term, Z, sources.noise, layout, data.learn)
        for run, term, Z in zip(data.runs, at.runs, columns, strict=True)
    ]
    gradient, curvature, average, removal = (
        data.over_runs(getattr(part, name) for part in parts)
        for name in ("gradient", "curvature", "average", "removal")
    )
    pull = torch.cat([w * part.pull for w, part in zip(data.weights, parts, strict=True)])
    prior = _error_prior(sources, moving, data.n)
    own = slice(layout.n)  # without log λ
    gradient[own] += prior * _values(sources, moving)
    curvature[own, own] += _bends(sources, moving, pull, unit) + prior.diag()
    average[own, own] += prior.diag()
    if data.prior is not None:
        lean = data.prior.derivatives_of_energy(sources.places, moving.free, unit, data.n)
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
    """Add what the product of two moves bends: any two of a place, an error and a factor."""
    m, o = sources.live.shape
    q, n_pairs = sources.places.shape[1], moving.pairs.shape[1]
    full = pull.new_zeros(len(pull), m * o)
    full[:, sources.live.flatten()] = pull
    full = full.unflatten(1, (m, o)).movedim(1, 0)  # (m, d, o)
    back = torch.einsum("mda,mpoa->mpdo", full, moving.pairs)
    p = moving.free.shape[1]
    blocks = pull.new_zeros(m, p, p)
    pairs = slice(q, q + n_pairs)
    blocks[:, :q, pairs] = unit * torch.einsum("mdoq,mpdo->mqp", sources.slope, back)
    blocks[:, q + n_pairs :, pairs] = torch.einsum("medo,mpdo->mep", sources.error_patterns, back)
    pulled = torch.einsum("mda,moa->mdo", full, sources.factors)
    blocks[:, :q, q + n_pairs :] = unit * torch.einsum("medoq,mdo->mqe", sources.drift, pulled)
    out = torch.block_diag(*(blocks + blocks.mT))
    free = moving.free.flatten()
    return out[free][:, free]


def _error_prior(sources: Sources, moving: Directions, n: float) -> Tensor:
    """Curvature of the prior of each parameter: 2/n for the field's errors, 0 for the others."""
    prior = torch.zeros_like(moving.free, dtype=sources.values.dtype)
    n_errors = sources.errors.shape[1]
    prior[:, prior.shape[1] - n_errors :] = 2 / n
    return prior[moving.free]


def _values(sources: Sources, moving: Directions) -> Tensor:
    """Values of the parameters that have a prior, 0 for the others."""
    values = torch.zeros_like(moving.free, dtype=sources.values.dtype)
    values[:, values.shape[1] - sources.shift.shape[1] :] = sources.shift
    return values[moving.free]


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
