"""How far a point is from stationary over all positions of the dictionary."""

from __future__ import annotations

from torch import Tensor

from meg_vae.model.exact.dictionary import Dictionary
from meg_vae.model.exact.model import Model


def growth(dictionary: Dictionary, model: Model, groups: Tensor) -> Tensor:
    """How much every inactive position wants to grow from nothing, q_g / s_g − 1.

    The prior judges each position by the best that it lets it begin with.

    Parameters
    ----------
    dictionary : Dictionary
        All positions.
    model : Model
        The model to judge.
    groups : Tensor of int, shape (m,)
        Which positions its candidates are, all of them.

    Returns
    -------
    growth : Tensor, shape (batch, n_groups)
        Negative where a position is rightly at zero, −1 for silent and active ones; dimensionless.
    """
    out = dictionary.silent.repeat(len(model.point.J), 1)
    out[:, groups[model.index]] = model.point.active
    return model.whole.prior.pull(dictionary, model.rows(), out) - 1
