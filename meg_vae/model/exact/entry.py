"""How candidates enter: each at its best size, and none that sees nearly what another does.

No accepted entry raises the energy.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from meg_vae.model.exact.model import Model
from meg_vae.model.exact.point import evaluate
from meg_vae.model.exact.pulls import Rows

MOST_ENTRIES = 32  # positions let in at once
COHERENT = (
    0.5  # of two positions that see each other more than this, only the steeper one is let in
)


def enter(model: Model, *, tol: float) -> tuple[Model, Tensor, Tensor]:
    """Let in candidates that want to grow from nothing, each at its best size.

    Parameters
    ----------
    model : Model
        A model that is stationary in its active positions.
    tol : float
        A position wants to grow where q_g / s_g − 1 is above this.

    Returns
    -------
    model : Model
        With the new positions.
    entered : Tensor of bool, shape (batch,)
        Items whose energy fell.
    change : Tensor, shape (batch,)
        By how much it changed.
    """
    whole, prior = model.whole, model.whole.prior
    change = torch.zeros_like(model.point.J)
    entered = torch.zeros_like(change, dtype=torch.bool)
    if whole.Phi.shape[1] == 0:
        return model, entered, change
    rows, R = model.rows(), model.R
    wish = (prior.pull_among(rows, whole.Phi) - 1).masked_fill(~prior.room(R), -1.0)
    if not (wish > tol).any():
        return model, entered, change
    chosen = _apart(rows, whole.Phi, wish, tol)
    keep = (chosen | R.flatten(2).any(2)).any(0).nonzero()[:, 0]
    model = Model.at(whole, keep, R[:, keep], model.noise)
    addition = prior.entries(*rows.blocks(whole.Phi[:, keep]), R[:, keep])
    addition = addition * chosen[:, keep, None, None]
    waiting, point = chosen.any(1), model.point
    result = point
    for shrink in (1.0, 0.25, 0.05, 0.01, 1e-3, 1e-4):
        if not waiting.any():
            break
        trial = evaluate(model.candidates, point.R + shrink * addition, point.noise)
        better = waiting & (trial.J < point.J)
        result = trial.where(better, result)
        entered |= better
        waiting &= ~better
    return replace(model, point=result), entered, result.J - point.J


def _apart(rows: Rows, Phi: Tensor, wish: Tensor, tol: float) -> Tensor:
    """Choose the steepest, leaving out those that see nearly the same as a steeper one."""
    most = min(MOST_ENTRIES, int((wish > tol).sum(1).max()))
    best, where = wish.topk(most, 1)
    o = Phi.shape[2]
    overlap = rows.overlap(Phi[:, where].movedim(1, 0).flatten(2)).abs()
    overlap = overlap.reshape(len(overlap), most, o, most, o).amax((2, 4)) > COHERENT
    chosen = best > tol
    for k in range(1, most):
        chosen[:, k] &= ~(overlap[:, k, :k] & chosen[:, :k]).any(1)
    return torch.zeros_like(wish, dtype=torch.bool).scatter(1, where, chosen)
