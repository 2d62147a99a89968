"""Further starts, and what is best of the minima that they end in.

Where neighbours see nearly the same, the energy has many local minima, which differ in groups of
positions. A start elsewhere ends in another of them; a descent from both together keeps of each
group what is lower, at the cost of a few steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from meg_vae.model.fit import Fit

LOOSE = 0.02  # certificate at which another minimum is good enough to be joined with the lowest

#: Minimise from prior variances (1, n_groups) and noise variances (1, d) to a certificate.
Descent = Callable[[Tensor, Tensor, float], Fit]


def lowered(found: Fit, descend: Descent, restarts: int, tol: float) -> Fit:
    """Look for a lower minimum from other starts.

    Parameters
    ----------
    found : Fit
        A minimum of one data set, as a batch of one.
    descend : callable
        Minimises from a start.
    restarts : int
        How many starts.
    tol : float
        Target of the certificate.

    Returns
    -------
    fit : Fit
        The lowest minimum; its history goes on with the energies of those that were lower.
    """
    for k in range(restarts):
        gamma, noise = found.gamma, found.noise_variance
        other = descend(torch.where(_kept(gamma, k), gamma, 0.0), noise, max(tol, LOOSE))
        both = descend((gamma + other.gamma) / 2, noise, tol)
        spent = [found.timings, other.timings, both.timings]
        lower = both if bool(both.energy < found.energy) else found
        found = replace(
            lower,
            history=torch.cat([found.history, lower.energy[None]]),
            timings={name: sum(one.get(name, 0.0) for one in spent) for name in both.timings},
        )
    return found


def _kept(gamma: Tensor, k: int) -> Tensor:
    """Which positions the start k begins with: none, then halves of those found.

    The halves are those whose rank has a certain binary digit: every other of them, every other
    pair, and so on, each with its opposite.
    """
    if k == 0:
        return torch.zeros_like(gamma, dtype=torch.bool)
    rank = gamma.argsort(1, descending=True).argsort(1)
    return (rank >> (k - 1) // 2) % 2 == (k - 1) % 2
