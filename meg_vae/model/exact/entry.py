"""How candidates enter: each at its best size, and none that sees nearly what another does.

No accepted entry raises the energy.
"""

from __future__ import annotations

import torch
from torch import Tensor

from meg_vae.model.exact.certificate import steepest_direction
from meg_vae.model.exact.point import Candidates, Point, evaluate
from meg_vae.model.exact.small import eigh

MOST_ENTRIES = 32  # positions let in at once
COHERENT = (
    0.5  # of two positions that see each other more than this, only the steeper one is let in
)


def let_in(candidates: Candidates, point: Point, *, tol: float) -> tuple[Point, Tensor]:
    """Let in candidates that want to grow from nothing, each at its best size.

    Parameters
    ----------
    candidates : Candidates
        Data and columns.
    point : Point
        A point, stationary in its active positions.
    tol : float
        A position wants to grow where q_g / s_g − 1 is above this.

    Returns
    -------
    point : Point
        With the new positions.
    entered : Tensor of bool, shape (batch,)
        Items whose energy fell.
    """
    d, m, o = candidates.Phi.shape
    entered = torch.zeros_like(point.J, dtype=torch.bool)
    if m == 0:
        return point, entered
    A = torch.linalg.solve_triangular(point.L, candidates.Phi.reshape(d, m * o), upper=False)
    room = ~point.R.any(2).all(2) if candidates.full else ~point.active
    wish = (_ratio(A, point.B, m, candidates.full) - 1).masked_fill(~room, -1.0)
    if not (wish > tol).any():
        return point, entered
    chosen = _apart(A, wish, tol)
    waiting = chosen.any(1)
    keep = (chosen | point.active).any(0).nonzero()[:, 0]
    candidates, result = candidates.only(keep), point.only(keep)
    R = result.R
    blocks = _own_blocks(A.unflatten(2, (m, o))[:, :, keep].flatten(2), point.B, len(keep))
    addition = _entries(*blocks, R, candidates.full) * chosen[:, keep, None, None]
    for shrink in (1.0, 0.25, 0.05, 0.01, 1e-3, 1e-4):
        if not waiting.any():
            break
        trial = evaluate(candidates, R + shrink * addition, point.noise)
        better = waiting & (trial.J < point.J)
        result = trial.where(better, result)
        entered |= better
        waiting &= ~better
    return result.among(keep, m), entered


def _ratio(A: Tensor, B: Tensor, m: int, full: bool) -> Tensor:
    """Give q_g / s_g, or its largest value over the orientations."""
    if full:
        return steepest_direction(*_own_blocks(A, B, m))[0]
    s, q = (T.square().sum(1).reshape(len(A), m, -1).sum(2) for T in (A, B.mT @ A))
    return q / s.clamp_min(torch.finfo(s.dtype).tiny)


def _entries(K: Tensor, M: Tensor, R: Tensor, full: bool) -> Tensor:
    """Give what each position would best add to its factor."""
    if not full:
        eye = torch.eye(K.shape[-1], dtype=K.dtype, device=K.device)
        return best_variance(K, M).sqrt()[..., None, None] * eye
    ratio, direction = steepest_direction(K, M)
    size = (ratio - 1).clamp_min(0.0).sqrt()
    slot = (~R.any(2)).to(torch.int8).argmax(2)  # the first free column
    column = torch.nn.functional.one_hot(slot, K.shape[-1]).to(K)
    return (size[..., None] * direction)[..., None] * column[..., None, :]


def _own_blocks(A: Tensor, B: Tensor, m: int) -> tuple[Tensor, Tensor]:
    """Give the blocks K_gg and M_gg of m positions, from L⁻¹Φ and L⁻¹F."""
    batch, d, size = A.shape
    columns = A.reshape(batch, d, m, size // m).permute(0, 2, 3, 1)
    Q = (A.mT @ B).reshape(batch, m, size // m, -1)
    return columns @ columns.mT, Q @ Q.mT


def _apart(A: Tensor, wish: Tensor, tol: float) -> Tensor:
    """Choose the steepest, leaving out those that see nearly the same as a steeper one."""
    most = min(MOST_ENTRIES, int((wish > tol).sum(1).max()))
    best, where = wish.topk(most, 1)
    o = A.shape[2] // wish.shape[1]
    columns = (where[..., None] * o + torch.arange(o, device=A.device)).flatten(1)
    seen = A.gather(2, columns[:, None].expand(-1, A.shape[1], -1))
    seen = seen / torch.linalg.vector_norm(seen, dim=1, keepdim=True).clamp_min(1e-300)
    overlap = (seen.mT @ seen).abs().reshape(len(A), most, o, most, o).amax((2, 4)) > COHERENT
    chosen = best > tol
    for k in range(1, most):
        chosen[:, k] &= ~(overlap[:, k, :k] & chosen[:, :k]).any(1)
    return torch.zeros_like(wish, dtype=torch.bool).scatter(1, where, chosen)


def best_variance(K: Tensor, M: Tensor) -> Tensor:
    """Variance at which one position alone, entering from nothing, lowers the energy most.

    Minimises Σ_i log(1 + γk_i) − γm_i / (1 + γk_i) over γ, with k and m the blocks in the
    eigenvectors of K.

    Parameters
    ----------
    K, M : Tensor, shape (..., o, o)
        Blocks of the position.

    Returns
    -------
    gamma : Tensor, shape (...,)
        The variance; 0 where the position does not want to grow.
    """
    k, V = eigh(K)
    m = (V.mT @ M @ V).diagonal(dim1=-2, dim2=-1)
    total = k.sum(-1).clamp_min(torch.finfo(k.dtype).tiny)
    excess = m.sum(-1) / total - 1
    gamma = excess.clamp_min(0.0) * k.shape[-1] / total  # exact for one dipole
    for _ in range(20 if k.shape[-1] > 1 else 0):
        x = gamma[..., None] * k
        den = 1 + x
        slope = (x / den - gamma[..., None] * m / den**2).sum(-1)
        bend = (x / den**2 + gamma[..., None] * m * (x - 1) / den**3).sum(-1)
        step = torch.where(bend > 0, -slope / bend, -slope.sign())
        step = step.nan_to_num().clamp(-2, 2)
        gamma = gamma * step.exp()
        if float(step.abs().max()) < 1e-3:
            break
    return gamma
