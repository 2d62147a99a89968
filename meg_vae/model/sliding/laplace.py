r"""How sure places, amplitudes and orientations are: a Gaussian about the joint minimum (Laplace).

The covariance of all parameters θ together is (½ n ∂²J)⁻¹. Its block of a place says how well the
place is known when priors, noise, the field's errors and all other sources are free too. The
activity U = W(θ)x, W = A PᵀΣ⁻¹, moves with the parameters, so that its covariance at a sample x is
that of z at the given parameters and (∂W x) cov(θ) (∂W x)ᵀ.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from meg_vae.model.sliding.data import Data
from meg_vae.model.sliding.directions import Directions
from meg_vae.model.sliding.slopes import Slopes, slopes
from meg_vae.model.sliding.sources import Sources

MODES = 1e-3  # of the largest: modes of the activity's uncertainty below this are left out


@dataclass(frozen=True)
class Spread:
    """Uncertainty of m sources.

    ``places`` (m, q, q) covariance of each place, and ``field`` (m, q, q) the part of it that comes
    from the field's own error; ``activity`` (m, runs, o, o) covariance of U in each run at given
    parameters; ``modes`` (m, b, o, d): U moves by modes @ x times independent standard normals, in
    each run by the columns of its channels; ``motion`` (g, g) covariance of the field's motion.
    """

    places: Tensor
    field: Tensor
    activity: Tensor
    modes: Tensor
    motion: Tensor

    def ordered(self, order: Tensor) -> Spread:
        """Put the sources in another order, shape (m,)."""
        each = {name: value[order] for name, value in vars(self).items() if name != "motion"}
        return replace(self, **each)


def log_volume(data: Data, sources: Sources, unit: float) -> float:
    """Half the log determinant of the covariance of all that is N(0, 1) before the data.

    Of the field's errors and its motion, with places, priors and noise unknown too.
    """
    if not len(sources):
        return 0.0
    at, root = _all_unknown(data, sources, unit)
    free = at.directions.free
    errors = torch.zeros_like(free)
    errors[:, free.shape[1] - sources.shift.shape[1] :] = True
    own = torch.zeros_like(at.gradient, dtype=torch.bool)
    own[: at.directions.n_own] = errors[free]
    own[at.directions.n_own : at.directions.n_moved] = True
    return float(torch.linalg.svdvals(root[own]).log().sum())


def _all_unknown(data: Data, sources: Sources, unit: float) -> tuple[Slopes, Tensor]:
    """Slopes, and a factor of the covariance of all parameters."""
    at = _no_turn_beyond_all(slopes(data, sources, unit), sources, data.n)
    return at, _root_covariance(at, data.n, torch.ones_like(at.gradient, dtype=torch.bool))


def place_covariance(data: Data, sources: Sources, unit: float) -> Tensor:
    """Find how sure each place is, (m, q, q), with all else unknown too."""
    at, root = _all_unknown(data, sources, unit)
    every = torch.ones_like(at.gradient, dtype=torch.bool)
    return _place_covariance(sources, at.directions.free, root, every, unit)


def spread(data: Data, sources: Sources, unit: float, added: Tensor) -> Spread:
    """Find how sure the sources are; the field's error adds noise (m,) to that of each, over λ."""
    m, o = sources.live.shape
    if not m:
        q, sizes = sources.places.shape[1], data.sizes
        none = sources.values.new_zeros
        prior = torch.ones_like(sources.motion).diag()
        each = none(0, q, q), none(0, q, q), none(0, len(sizes), o, o), none(0, 0, o, sum(sizes))
        return Spread(*each, motion=prior)
    at, root = _all_unknown(data, sources, unit)
    places, sampled = _places_and_sampled(at, root, data.n, sources, unit, added)
    motion = root[at.directions.n_own : at.directions.n_moved]
    activity, moves = [], []
    columns = (x.split(data.sizes) for x in (sources.patterns, at.directions.moves))
    for P, moved in zip(*columns, strict=True):  # as if all were always active
        encoder, L = encode(P, sources.noise)
        rest = torch.eye(m * o, dtype=P.dtype) - encoder @ P
        blocks = rest.reshape(m, o, m, o).diagonal(dim1=0, dim2=2).movedim(2, 0)
        activity.append(sources.factors @ blocks @ sources.factors.mT)
        own = replace(at.directions, moves=moved)
        moves.append(_map_moves(data, sources, own, P, encoder, L))
    return Spread(
        places=places,
        field=places - sampled,
        activity=torch.stack(activity, 1),
        modes=_main_modes(torch.cat(moves, 3), root, o),
        motion=motion @ motion.mT,
    )


def _places_and_sampled(
    at: Slopes, root: Tensor, n: float, sources: Sources, unit: float, added: Tensor
) -> tuple[Tensor, Tensor]:
    """Covariance of the places, and what remains of it where the field is exact.

    The noise that the field's error adds is none of what was learnt: it counts for the parameters
    that the data tell, with the field's errors and its motion given.
    """
    free = at.directions.free
    every = torch.ones_like(at.gradient, dtype=torch.bool)
    errors = torch.zeros_like(free)
    errors[:, free.shape[1] - sources.errors.shape[1] :] = True
    exact = every.clone()
    exact[: at.directions.n_own] = ~errors[free]

    def among(which: Tensor) -> Tensor:
        """Covariance of the places where the other parameters are given."""
        return _place_covariance(sources, free, _root_covariance(at, n, which), which, unit)

    places, sampled = _place_covariance(sources, free, root, every, unit), among(exact)
    told = sampled
    if at.directions.n_motion:
        still = exact.clone()
        still[at.directions.n_own : at.directions.n_moved] = False
        told = among(still)
    return places + added[:, None, None] * told, sampled


def encode(P: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """PᵀΣ⁻¹ of the columns of a decoder, and the Cholesky factor of Σ."""
    L = torch.linalg.cholesky(P @ P.T + noise * torch.eye(len(P), dtype=P.dtype))
    return torch.cholesky_solve(P, L).T, L


def _no_turn_beyond_all(at: Slopes, sources: Sources, n: float) -> Slopes:
    """Count moves of the priors as N(0, 1) at most: a turn that no sensor sees ends at a radian."""
    moves = torch.zeros_like(at.directions.free)
    moves[:, sources.places.shape[1] : moves.shape[1] - sources.errors.shape[1]] = True
    own = torch.zeros_like(at.gradient)
    own[: at.directions.n_own] = 2 / n * moves[at.directions.free].to(own)
    return replace(at, curvature=at.curvature + own.diag(), average=at.average + own.diag())


def _place_covariance(
    sources: Sources, free: Tensor, root: Tensor, among: Tensor, unit: float
) -> Tensor:
    """Blocks of the places in the covariance of the parameters ``among`` all, (m, q, q)."""
    q = sources.places.shape[1]
    number = (among.cumsum(0) - 1)[: int(free.sum())]
    full = torch.zeros(free.shape, dtype=torch.long)
    full[free] = number
    own = unit * root[full[:, :q]] * free[:, :q, None]
    own = sources.axes @ own
    return own @ own.mT


def _root_covariance(at: Slopes, n: float, among: Tensor) -> Tensor:
    """Factor the covariance of the parameters ``among`` all, the others given."""
    average, curvature = (x[among][:, among] for x in (at.average, at.curvature))
    size = average.diagonal().clamp_min(1e-300).sqrt()
    for matrix in (curvature, average):
        L, failed = torch.linalg.cholesky_ex(matrix / size / size[:, None])
        if not failed:
            break
    else:
        eye = torch.eye(len(size), dtype=size.dtype)
        L = torch.linalg.cholesky_ex(average / size / size[:, None] + 1e-9 * eye)[0]
    inverse = torch.linalg.solve_triangular(L, torch.eye(len(L), dtype=L.dtype), upper=False)
    return (2 / n) ** 0.5 * inverse.mT / size[:, None]


def _map_moves(
    data: Data, sources: Sources, moving: Directions, P: Tensor, encoder: Tensor, L: Tensor
) -> Tensor:
    """Differentiate W = A PᵀΣ⁻¹ of one run in every parameter, giving (p, m, o, d)."""
    m, o = sources.live.shape
    d = len(L)
    p = moving.n_moved + data.learn
    columns = sources.live.flatten().nonzero()[:, 0][moving.column]
    dP = encoder.new_zeros(p, m * o, d)
    dP[moving.parameter, columns] = moving.moves.T
    precision = torch.cholesky_inverse(L)
    # d(PᵀΣ⁻¹) = (dPᵀ − PᵀΣ⁻¹(dP Pᵀ + P dPᵀ))Σ⁻¹
    inner = dP - (encoder @ dP.mT) @ P.T - (encoder @ P) @ dP
    if data.learn:
        inner[-1] = -sources.noise * encoder
    moved = (inner @ precision).unflatten(1, (m, o))
    W = sources.factors @ moved
    n_pairs, q = moving.pairs.shape[1], sources.places.shape[1]
    number = moving.free.flatten().cumsum(0).reshape(moving.free.shape) - 1
    own = encoder.unflatten(0, (m, o))
    for k, pair in moving.free[:, q : q + n_pairs].nonzero().tolist():
        W[number[k, q + pair], k] += moving.pairs[k, pair] @ own[k]
    return W


def _main_modes(moves: Tensor, root: Tensor, o: int) -> Tensor:
    """Combine the moves of all parameters into a few independent ones for each source."""
    d = moves.shape[3]
    flat = torch.einsum("pb,pmx->mbx", root, moves.flatten(2))
    values, vectors = torch.linalg.eigh(flat @ flat.mT)
    top = values.flip(1)
    n_modes = int((top > MODES**2 * top[:, :1]).sum(1).max())
    return (vectors.flip(2)[:, :, :n_modes].mT @ flat).unflatten(2, (o, d))
