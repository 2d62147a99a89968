"""Many right-hand sides on one dictionary: how many to solve together, and one solution of all."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from meg_vae.model.exact.dictionary import Dictionary
from meg_vae.model.exact.rounds import CANDIDATES, FLOOR, Solution


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


def join(parts: list[Solution]) -> Solution:
    """Put the chunks of a batch together; a history that ended early stays at its last energy.

    Parameters
    ----------
    parts : list of Solution
        Solutions with a leading batch dimension.

    Returns
    -------
    solution : Solution
        All of them.
    """
    longest = max(len(part.history) for part in parts)
    histories = [
        torch.cat([p.history, p.history[-1:].expand(longest - len(p.history), -1)]) for p in parts
    ]
    return Solution(
        factor=torch.cat([p.factor for p in parts]),
        noise_variance=torch.cat([p.noise_variance for p in parts]),
        energy=torch.cat([p.energy for p in parts]),
        history=torch.cat(histories, 1),
        certificate=torch.cat([p.certificate for p in parts]),
        timings={k: sum(p.timings[k] for p in parts) for k in parts[0].timings},
    )


def silence(
    solution: Solution, silent: Tensor, noise_variance: float | str, n_channels: int
) -> Solution:
    """Give items whose data are zero no source, and the noise held or the smallest there is.

    Parameters
    ----------
    solution : Solution
        Of a batch.
    silent : Tensor of bool, shape (batch,)
        Items whose data are zero.
    noise_variance : float | str
        λ where it is held, or how it is learnt.
    n_channels : int
        Channels that the energy counts.

    Returns
    -------
    solution : Solution
        The same for the other items; J = n_channels log λ for these.
    """
    if not silent.any():
        return solution
    noise = FLOOR if isinstance(noise_variance, str) else noise_variance
    energy = n_channels * math.log(noise)  # log|λI|, and no data to explain

    def where_silent(value: float, other: Tensor, batch_axis: int = 0) -> Tensor:
        shape = [1] * other.ndim
        shape[batch_axis] = -1
        return torch.where(silent.reshape(shape), value, other)

    return replace(
        solution,
        factor=where_silent(0.0, solution.factor),
        noise_variance=where_silent(noise, solution.noise_variance),
        energy=where_silent(energy, solution.energy),
        history=where_silent(energy, solution.history, batch_axis=1),
        certificate=where_silent(0.0, solution.certificate),
    )


def first(batch: Solution) -> Solution:
    """Take the only item of a batch of one.

    Parameters
    ----------
    batch : Solution
        With a leading batch dimension.

    Returns
    -------
    solution : Solution
        Without.
    """
    return Solution(
        batch.factor[0],
        batch.noise_variance[0],
        batch.energy[0],
        batch.history[:, 0],
        batch.certificate[0],
        batch.timings,
    )
