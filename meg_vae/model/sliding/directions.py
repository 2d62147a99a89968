"""How the columns of the decoder move with each parameter: places, priors, errors, and a motion."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from meg_vae.model.sliding.data import Data
from meg_vae.model.sliding.field import seen_part
from meg_vae.model.sliding.sources import Sources

TURNED = 1e-6  # of a prior's factor: moves of it that are smaller are none
VISIBLE = 0.1  # nats × 2 that an error of the field must be worth to be learnt


@dataclass(frozen=True)
class Directions:
    """How the columns of the decoder move with each parameter.

    ``pairs`` (m, o(o+1)/2, o, o) are the moves of the factors; ``free`` (m, p) says which of the
    p = q + pairs + e parameters of each source there are, ``n_own`` in all; behind them come the
    ``n_motion`` of the field. ``moves`` (d, Q) lists the moved columns, each of parameter
    ``parameter`` (Q,) and decoder column ``column`` (Q,).
    """

    pairs: Tensor
    free: Tensor
    n_motion: int
    moves: Tensor
    parameter: Tensor
    column: Tensor

    @property
    def n_own(self) -> int:
        """Parameters that belong to a source."""
        return int(self.free.sum())

    @property
    def n_moved(self) -> int:
        """Parameters that move the decoder."""
        return self.n_own + self.n_motion


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
            unit * torch.einsum("mdoq,moa->mqda", sources.ways, A),
            torch.einsum("mdo,mpoa->mpda", sources.fields, pairs),
            torch.einsum("medo,moa->meda", sources.error_patterns, A),
        ],
        1,
    )
    m, p = moves.shape[:2]
    q = sources.places.shape[1]
    errors = moves[:, q + real.shape[1] :].square().sum(3)  # (m, e, d)
    power = torch.stack([part.sum(2) for part in errors.split(data.sizes, 2)], 2)
    power = (power * data.within(sources.on)[:, None]).sum(2)
    reach = data.n / sources.noise * power
    free = torch.cat([sources.axes.any(1), real, reach > VISIBLE], 1)
    free &= live.any(1)[:, None]
    turns = torch.einsum("mgdo,moa->mgda", sources.turns, A)  # of the motion, of all sources alike
    number, n_motion = (free.flatten().cumsum(0) - 1).reshape(m, p), turns.shape[1]
    last = int(free.sum()) + torch.arange(n_motion)
    number = torch.cat([number, last.expand(m, -1)], 1)
    moving = torch.cat([free, live.any(1)[:, None].expand(-1, n_motion)], 1)
    used = moving[:, :, None] & live[:, None, :]
    number = number[:, :, None].expand_as(used)
    column = (live.flatten().cumsum(0) - 1).reshape(m, 1, -1).expand_as(used)
    columns = torch.cat([moves, turns], 1).movedim(2, 3)[used].T
    return Directions(pairs, free, n_motion, columns, number[used], column[used])
