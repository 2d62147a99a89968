"""A dense start: fixed-point sweeps over all positions at once, on the strongest directions of Φ.

γ_g ← γ_g q_g / s_g (MacKay 1992) from a prior that is equal everywhere. Where a sweep would raise
the energy, the step γ_g ← γ_g √(q_g / s_g), which never does (Wipf & Nagarajan 2009), is taken
instead. The noise variance obeys the same rule.
"""

from __future__ import annotations

import torch
from torch import Tensor

from meg_vae.model.exact.dictionary import Dictionary
from meg_vae.model.exact.pulls import group_pulls, pulling_rows

HIDDEN = 0.03  # directions whose prior variance is below this part of the noise are left out
SINGLE_SNR = 1e5  # signal over noise up to which float32 keeps two digits of Σ⁻¹
PRUNE = 1e-3  # positions below this part of the largest are let go


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
        if not keep.all():
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
    scaled = Phi * gamma.repeat_interleave(n_orient, 1)[:, None, :]
    Sigma = scaled @ Phi.T + noise[:, None, None] * torch.eye(
        len(Phi), dtype=Phi.dtype, device=Phi.device
    )
    L, failed = torch.linalg.cholesky_ex(Sigma)
    return L, torch.linalg.solve_triangular(L, data, upper=False), failed > 0
