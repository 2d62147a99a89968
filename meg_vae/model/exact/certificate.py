"""How far a point is from stationary over all positions of the dictionary."""

from __future__ import annotations

from torch import Tensor

from meg_vae.model.exact.dictionary import Dictionary
from meg_vae.model.exact.point import Point
from meg_vae.model.priors import Prior


def growth(dictionary: Dictionary, point: Point, groups: Tensor, prior: Prior) -> Tensor:
    """How much every inactive position wants to grow from nothing, q_g / s_g − 1.

    Parameters
    ----------
    dictionary : Dictionary
        All positions.
    point : Point
        The model to judge.
    groups : Tensor of int, shape (m,)
        Which positions the point's candidates are.
    prior : Prior
        Judges each position by the best that it lets it begin with.

    Returns
    -------
    growth : Tensor, shape (batch, n_groups)
        Negative where a position is rightly at zero, −1 for silent and active ones; dimensionless.
    """
    out = dictionary.silent.repeat(len(point.J), 1)
    out[:, groups] = point.active
    return prior.pull(dictionary, point.rows, out) - 1
