"""Many right-hand sides on one dictionary: how many to solve together, and those that are zero."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from meg_vae.model.exact.dictionary import Dictionary
from meg_vae.model.exact.rounds import CANDIDATES
from meg_vae.model.fit import Fit


def together(dictionary: Dictionary, F: Tensor) -> int:
    """How many items of a batch to solve together.

    A processor is fastest one by one: each item then keeps to its own few positions. An accelerator
    is fastest with as many as its memory holds, on the union of their positions.

    Parameters
    ----------
    dictionary : Dictionary
        All positions.
    F : Tensor, shape (batch, n_channels, k)
        Factors of the data covariances.

    Returns
    -------
    n_items : int
        At least 1.
    """
    if F.device.type != "cuda":
        return 1
    free = torch.cuda.mem_get_info(F.device)[0] // 4
    d, o = dictionary.n_channels, dictionary.n_orient

    def size(items: int) -> int:
        width = o * min(dictionary.n_groups, items * CANDIDATES)
        return 8 * items * (6 * (d + width) ** 2 + dictionary.n_groups * o)

    n_items = 1
    while n_items < len(F) and size(2 * n_items) < free:
        n_items *= 2
    return n_items


def without_data(fit: Fit, silent: Tensor, noise: float, n_channels: int) -> Fit:
    """Give items of a batch whose data are zero, ``silent`` (batch,), no source.

    Their λ is ``noise``, and J = n_channels log λ.
    """
    if not silent.any():
        return fit
    energy = n_channels * math.log(noise)  # log|λI|, and no data to explain

    def where_silent(value: float, other: Tensor, batch_axis: int = 0) -> Tensor:
        shape = [1] * other.ndim
        shape[batch_axis] = -1
        return torch.where(silent.reshape(shape), value, other)

    return replace(
        fit,
        factor=where_silent(0.0, fit.factor),
        noise_variance=where_silent(noise, fit.noise_variance),
        energy=where_silent(energy, fit.energy),
        history=where_silent(energy, fit.history, batch_axis=1),
        certificate=where_silent(0.0, fit.certificate),
    )
