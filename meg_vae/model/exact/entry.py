"""How candidates enter: each at its best size, and none that sees nearly what another does.

No accepted entry raises the energy.
"""

from __future__ import annotations

import torch
from torch import Tensor

from meg_vae.model.exact.point import Candidates, Point, evaluate

MOST_ENTRIES = 32  # positions let in at once
COHERENT = (
    0.5  # of two positions that see each other more than this, only the steeper one is let in
)


def enter(candidates: Candidates, point: Point, *, tol: float) -> tuple[Point, Tensor]:
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
    m = candidates.Phi.shape[1]
    entered = torch.zeros_like(point.J, dtype=torch.bool)
    if m == 0:
        return point, entered
    rows, prior = point.rows, candidates.prior
    wish = (prior.pull_among(rows, candidates.Phi) - 1).masked_fill(~prior.room(point.R), -1.0)
    if not (wish > tol).any():
        return point, entered
    chosen = _apart(candidates.Phi, point.L, wish, tol)
    waiting = chosen.any(1)
    keep = (chosen | point.active).any(0).nonzero()[:, 0]
    candidates, result = candidates.only(keep), point.only(keep)
    R = result.R
    addition = prior.entries(*rows.blocks(candidates.Phi), R) * chosen[:, keep, None, None]
    for shrink in (1.0, 0.25, 0.05, 0.01, 1e-3, 1e-4):
        if not waiting.any():
            break
        trial = evaluate(candidates, R + shrink * addition, point.noise)
        better = waiting & (trial.J < point.J)
        result = trial.where(better, result)
        entered |= better
        waiting &= ~better
    return result.among(keep, m), entered


def _apart(Phi: Tensor, L: Tensor, wish: Tensor, tol: float) -> Tensor:
    """Choose the steepest, leaving out those that see nearly the same as a steeper one."""
    most = min(MOST_ENTRIES, int((wish > tol).sum(1).max()))
    best, where = wish.topk(most, 1)
    o = Phi.shape[2]
    columns = Phi[:, where].movedim(1, 0).flatten(2)  # (batch, d, most * o)
    seen = torch.linalg.solve_triangular(L, columns, upper=False)
    seen = seen / torch.linalg.vector_norm(seen, dim=1, keepdim=True).clamp_min(1e-300)
    overlap = (seen.mT @ seen).abs().reshape(len(L), most, o, most, o).amax((2, 4)) > COHERENT
    chosen = best > tol
    for k in range(1, most):
        chosen[:, k] &= ~(overlap[:, k, :k] & chosen[:, :k]).any(1)
    return torch.zeros_like(wish, dtype=torch.bool).scatter(1, where, chosen)
