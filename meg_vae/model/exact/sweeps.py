"""A dense start: fixed-point sweeps over all positions at once, on the strongest directions of Φ.

γ_g ← γ_g q_g / s_g (MacKay 1992) from a prior that is equal everywhere. Where a sweep would raise
the energy, the step γ_g ← γ_g √(q_g / s_g), which never does (Wipf & Nagarajan 2009), is taken
instead. The noise variance obeys the same rule.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from meg_vae.model.exact.dictionary import PART, Dictionary
from meg_vae.model.exact.pulls import group_pulls, pulling_rows
from meg_vae.model.noise_variance import NoiseVariance

SWEEPS = 12  # over all positions, before the descent
LEVEL_SWEEPS = 5  # at each of the falling noise variances of an annealed start
HIDDEN = 0.03  # directions whose prior variance is below this part of the noise are left out
SINGLE_SNR = 1e5  # signal over noise up to which float32 keeps two digits of Σ⁻¹
FEWER = 0.7  # of the positions looked at: so few that are alive are worth a copy of their columns
PRUNE = 1e-3  # positions below this part of the largest are let go


def dense_start(
    dictionary: Dictionary,
    F: Tensor,
    scale: Tensor,
    variance: NoiseVariance,
    spare: float,
) -> tuple[Tensor, Tensor]:
    """Run the sweeps from an equal prior, at one noise variance or at falling ones.

    Parameters
    ----------
    dictionary : Dictionary
        All positions.
    F : Tensor, shape (batch, n_channels, k)
        Factor of the data covariance, C = F Fᵀ.
    scale : Tensor, shape (batch,)
        By what the data were divided.
    variance : NoiseVariance
        What of the noise variance is learnt.
    spare : float
        Channels that the noise variance does not count.

    Returns
    -------
    gamma : Tensor, shape (batch, n_groups)
        Prior variances, float64.
    noise : Tensor, shape (batch,)
        Noise variance.
    """
    gamma = (~dictionary.silent).to(F).repeat(len(F), 1) * dictionary.n_channels
    gamma = gamma / dictionary.n_groups
    noise = variance.start(scale)
    if not variance.levels:
        many: dict[str, Any] = {"n_sweeps": SWEEPS, "learn": variance.learnt, "spare": spare}
        return sweep(dictionary, F, gamma, noise, **many)
    for level in variance.levels:
        noise = torch.full_like(scale, level)
        few: dict[str, Any] = {"n_sweeps": LEVEL_SWEEPS, "learn": False, "prune": 0.0}
        gamma, noise = sweep(dictionary, F, gamma, noise, **few)
    return gamma, noise


def starting_rank(dictionary: Dictionary, gamma: float, noise: float) -> int:
    """How many directions of Φ stand out of the noise under the starting prior.

    Parameters
    ----------
    dictionary : Dictionary
        The dictionary.
    gamma : float
        Prior variance of every position.
    noise : float
        Noise variance.

    Returns
    -------
    rank : int
        At least 1.
    """
    return max(1, int((dictionary.leading[0] * gamma > HIDDEN * noise).sum()))


def sweep(
    dictionary: Dictionary,
    F: Tensor,
    gamma: Tensor,
    noise: Tensor,
    *,
    n_sweeps: int,
    learn: bool,
    prune: float = PRUNE,
    spare: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Run sweeps from a given prior.

    Parameters
    ----------
    dictionary : Dictionary
        All positions.
    F : Tensor, shape (batch, n_channels, k)
        Factor of the data covariance, C = F Fᵀ.
    gamma : Tensor, shape (batch, n_groups)
        Prior variances to start from.
    noise : Tensor, shape (batch,)
        Noise variance to start from.
    n_sweeps : int
        How many.
    learn : bool
        Whether the noise variance moves too.
    prune : float
        Positions below this part of the largest γ are let go.
    spare : float
        Channels that the noise variance does not count.

    Returns
    -------
    gamma : Tensor, shape (batch, n_groups)
        Prior variances, float64.
    noise : Tensor, shape (batch,)
        Noise variance.
    """
    Phi, data, rest = _strongest_directions(dictionary, F, gamma, noise)
    rank, dtype = Phi.shape[0], Phi.dtype
    n_rest = dictionary.n_channels - rank - spare
    kept = torch.arange(dictionary.n_groups, device=Phi.device)
    small = gamma.to(dtype)
    best = torch.full_like(noise, torch.inf)
    before = (small, noise, torch.ones_like(small), torch.ones_like(noise))
    for _ in range(n_sweeps + 1):  # the last only looks at what the one before it did
        L, B, failed = _whiten(Phi, data, small, noise.to(dtype), dictionary.n_orient)
        J = 2 * L.diagonal(dim1=1, dim2=2).log().sum(1) + B.square().sum((1, 2))
        J = J.double() + n_rest * noise.log() + rest / noise
        rose = failed | (J > best)
        if rose.any():  # go back, and take the smaller step from there
            old, old_noise, ratio, noise_ratio = before
            small = torch.where(rose[:, None], old * ratio.sqrt(), small)
            noise = torch.where(rose, old_noise * noise_ratio.sqrt(), noise)
            best = torch.where(rose, torch.inf, best)
            continue
        best = J
        T, weights = pulling_rows(L, B)
        s, q = group_pulls(T, weights, Phi, dictionary.n_orient)
        if not len(kept):
            break
        ratio = q / s.clamp_min(torch.finfo(dtype).tiny)
        noise_ratio = torch.ones_like(noise)
        if learn:
            noise_ratio = _noise_ratio(T, weights, noise, rest, n_rest)
        before = (small, noise, ratio, noise_ratio)
        small = small * ratio
        noise = noise * noise_ratio
        alive = (small > prune * small.amax(1, keepdim=True)) & (small > 0)
        small = small * alive
        keep = alive.any(0)
        if keep.sum() < FEWER * len(keep):
            kept, small = kept[keep], small[:, keep]
            before = (before[0][:, keep], before[1], before[2][:, keep], before[3])
            Phi = Phi.reshape(rank, len(keep), -1)[:, keep].flatten(1)
    out = torch.zeros(len(gamma), dictionary.n_groups, dtype=torch.float64, device=Phi.device)
    out[:, kept] = before[0].double()
    return out, before[1]


def _strongest_directions(
    dictionary: Dictionary, F: Tensor, gamma: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Φ and the data where Φ stands out of the noise, and the power that is seen as noise alone."""
    rank = starting_rank(dictionary, float(gamma.max()), float(noise.min()))
    values, basis = dictionary.leading
    basis = basis[:, :rank]
    snr = float(values[0] * gamma.max() / noise.min())
    dtype = torch.float32 if snr < SINGLE_SNR else torch.float64
    data = basis.T @ F
    rest = (F.square().sum((1, 2)) - data.square().sum((1, 2))).clamp_min(0.0)
    return dictionary.projected(basis, dtype), data.to(dtype), rest


def _noise_ratio(T: Tensor, weights: Tensor, noise: Tensor, rest: Tensor, n_rest: float) -> Tensor:
    """Tr Σ⁻¹CΣ⁻¹ / tr Σ⁻¹, from the rows of T and the directions left out."""
    traces = (weights @ T.square().sum(2, keepdim=True)).double()[..., 0]
    return (traces[:, 1] + rest / noise**2) / (traces[:, 0] + n_rest / noise)


def _whiten(
    Phi: Tensor, data: Tensor, gamma: Tensor, noise: Tensor, n_orient: int
) -> tuple[Tensor, Tensor, Tensor]:
    Sigma = noise[:, None, None] * torch.eye(len(Phi), dtype=Phi.dtype, device=Phi.device)
    weights = gamma.repeat_interleave(n_orient, 1)[:, None]
    for part, own in zip(Phi.split(PART, 1), weights.split(PART, 2), strict=True):
        Sigma = torch.baddbmm(Sigma, part * own, part.T.expand(len(Sigma), -1, -1))
    L, failed = torch.linalg.cholesky_ex(Sigma)
    return L, torch.linalg.solve_triangular(L, data, upper=False), failed > 0
