r"""How a misfit counts where the covariance of the noise was estimated.

Data are whitened by a covariance estimated from ν independent samples of noise in d channels. It is
wrong where those samples happened to be, so that tr(CΣ⁻¹) takes its errors for sources. The
likelihood that allows for them is a matrix-t with L = ν − d + 1 degrees of freedom (Sellentin &
Heavens 2016; in radar, Kelly 1986): with G = FᵀΣ⁻¹F and the share c = n / (L + n) that the n
samples of the data have among all that tell of Σ, the energy per sample becomes

.. math:: J = \log|Σ| + \tfrac{1}{c} \log\left|I + \tfrac{c}{1 - c}\, G\right|,

which is log|Σ| + tr G where c = 0. The covariance itself is taken ν / L times larger, so that its
inverse is unbiased (Hartlap et al. 2007). The logarithm is concave: it lies below its tangent, the
Gaussian energy of the data F R with R Rᵀ = (I + c G / (1 − c))⁻¹ / (1 − c), to which derivatives
and the formulas for single sources go over.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from meg_vae.model.exact.small import eigh

MOST = 500  # steps to the noise variance of data without sources


@dataclass(frozen=True)
class Certainty:
    """How far the covariance of the noise is known; as given here, exactly.

    Attributes
    ----------
    share : float
        c, the share of the data among all samples that tell of it.
    spare : float
        Channels that λ does not count, since their samples went into the covariance.
    """

    share: float = 0.0
    spare: float = 0.0


EXACT = Certainty()


def degrees_of_freedom(n_noise: float, n_channels: int) -> float:
    """Degrees of freedom L = ν − d + 1 of a covariance from ν samples of d channels, at least 1."""
    return max(n_noise - n_channels + 1.0, 1.0)


def certainty(n: float, n_channels: int, n_noise: float) -> Certainty:
    """Tell how far a covariance from ν samples of d channels is known to n samples of data.

    λ counts d (L + n) / (ν + n) channels. Without sources it is then that of the matrix-t with ν
    degrees of freedom, the distribution of all channels together; a single direction has only L.
    """
    if math.isinf(n_noise):
        return EXACT
    dof = degrees_of_freedom(n_noise, n_channels)
    counted = n_channels * (dof + n) / (dof + n_channels - 1 + n)
    return Certainty(n / (dof + n), n_channels - counted)


def misfit(products: Tensor, share: float) -> Tensor:
    """Misfit of inner products G, (..., k, k): tr G, or log|I + cG/(1 − c)|/c."""
    if not share:
        return products.diagonal(dim1=-2, dim2=-1).sum(-1)
    return 2 / share * _root(products, share).diagonal(dim1=-2, dim2=-1).log().sum(-1)


def weights_root(products: Tensor, share: float) -> Tensor:
    """Factor R of the weights W = (I + cG/(1 − c))⁻¹/(1 − c) at inner products G, (..., k, k)."""
    eye = torch.eye(products.shape[-1], dtype=products.dtype, device=products.device)
    if not share:
        return eye.expand_as(products)
    L = _root(products, share)
    return torch.linalg.solve_triangular(L, eye, upper=False).mT / (1 - share) ** 0.5


def _root(products: Tensor, share: float) -> Tensor:
    eye = torch.eye(products.shape[-1], dtype=products.dtype, device=products.device)
    G = torch.where(torch.isfinite(products), products, 0.0)
    return torch.linalg.cholesky(eye + share / (1 - share) * (G + G.mT) / 2)


def noise_alone(
    products: Sequence[Tensor],
    n_channels: Sequence[float],
    shares: Sequence[float],
    weights: Sequence[float],
) -> Tensor:
    """Noise variance λ of data without sources, the same in all runs.

    Of each run: XᵀX / n (k, k), the channels counted, c, and its weight in J.
    """
    powers = [torch.linalg.eigvalsh(G).clamp_min(0.0) for G in products]
    size = sum(w * d for w, d in zip(weights, n_channels, strict=True))
    noise = (
        torch.stack([w * own.sum() for w, own in zip(weights, powers, strict=True)]).sum() / size
    )
    if any(shares) and noise > 0:
        for _ in range(MOST):  # the mean power of the weighted data, again and again
            before = noise
            seen = [
                w * (own / (1 - c + c * own / noise)).sum()
                for w, own, c in zip(weights, powers, shares, strict=True)
            ]
            noise = torch.stack(seen).sum() / size
            if (noise / before - 1).abs() < 1e-10:
                break
    return noise


def removal_change(K: Tensor, M: Tensor, share: float = 0.0) -> Tensor:
    """Change of J when one position alone is taken out.

    log|I − K| + log|I + c (I − K)⁻¹M| / c, whose second half is tr((I − K)⁻¹M) where c = 0.

    Parameters
    ----------
    K, M : Tensor, shape (..., o, o)
        Diagonal blocks of the position, weighted by its prior; M of the weighted data.
    share : float
        c.

    Returns
    -------
    change : Tensor, shape (...,)
        Positive where the position is needed; twice the evidence per sample that it carries, in
        nats.
    """
    values, vectors = eigh(K)
    left = 1 - values.clamp_max(1 - torch.finfo(K.dtype).eps)
    seen = vectors.mT @ M @ vectors
    change = left.log().sum(-1)
    if not share:
        return change + (seen.diagonal(dim1=-2, dim2=-1) / left).sum(-1)
    root = left.sqrt()
    held = share * seen / root[..., None, :] / root[..., :, None]
    return change + torch.log1p(eigh(held)[0].clamp_min(0.0)).sum(-1) / share


def growth(ratio: Tensor, share: float = 0.0) -> Tensor:
    """Fall of J by the best full prior of a place, from the eigenvalues μ of K⁻¹M, (..., o).

    Σ_{μ>1} log((1 − cμ) / (μ(1 − c))) − log((1 − cμ) / (1 − c)) / c, which is μ − 1 − log μ where
    c = 0. With weighted data no μ exceeds 1 / c.
    """
    above = _held(ratio, share)
    if not share:
        return (above - 1 - above.log()).sum(-1)
    left = torch.log1p(-share * above) - math.log1p(-share)
    return (left - above.log() - left / share).sum(-1)


def best_variance(ratio: Tensor, share: float = 0.0) -> Tensor:
    """Variance of that prior along each eigenvector, (μ − 1)/(1 − cμ) above 1, else 0."""
    above = _held(ratio, share)
    return (above - 1) / (1 - share * above)


def _held(ratio: Tensor, share: float) -> Tensor:
    """Eigenvalues from 1 to their bound 1/c, which rounding alone could pass."""
    above = ratio.clamp_min(1.0)
    return above.clamp_max((1 - 1e-9) / share) if share else above
