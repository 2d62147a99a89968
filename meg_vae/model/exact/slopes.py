r"""First and second derivatives of the energy in the logarithm of the variances.

A step multiplies it, Γ_g ← R_g exp(E_g) R_gᵀ, so that it stays a covariance. With
K = RᵀΦᵀΣ⁻¹ΦR and M = RᵀΦᵀΣ⁻¹CΣ⁻¹ΦR the energy changes by

.. math::
    δJ = Σ_g \operatorname{tr}((K_{gg} - M_{gg}) E_g),\qquad
    δ^2J = Σ_{gh} \operatorname{tr}(K_{gh} E_h (2 M_{hg} - K_{hg}) E_g)
    + Σ_g \operatorname{tr}((K_{gg} - M_{gg}) E_g^2).

The noise is one more variance component, with the identity for its columns. K∘M without the second
half is the average information of restricted maximum likelihood (Gilmour, Thompson & Cullis 1995),
which is positive semidefinite where the Hessian is not. Where the covariance of the noise was
estimated, C is that of the weighted data, and the second derivative is that of the tangent, which
lies above the energy.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from meg_vae.model.exact.point import Candidates, Point, weighted_columns
from meg_vae.model.exact.pulls import diagonal_blocks


@dataclass(frozen=True)
class Slopes:
    """First and second derivatives at a point, in the logarithm of the variances.

    Attributes
    ----------
    gradient : Tensor, shape (batch, p)
        Of every parameter: the positions' first, then the noise's.
    average : Tensor, shape (batch, p, p)
        The average information: half the sum of the observed and the expected curvature, always
        positive semidefinite.
    curvature : Tensor, shape (batch, p, p)
        The Hessian itself.
    removal : Tensor, shape (batch, m * n_orient) or (batch, m)
        Change of J when that direction (full) or position (shared) alone is taken out.
    """

    gradient: Tensor
    average: Tensor
    curvature: Tensor
    removal: Tensor


def slopes(candidates: Candidates, point: Point) -> Slopes:
    """Differentiate the energy twice.

    Parameters
    ----------
    candidates : Candidates
        Data and columns.
    point : Point
        Where.

    Returns
    -------
    slopes : Slopes
        The derivatives.
    """
    prior, o = candidates.prior, candidates.Phi.shape[2]
    frame = prior.frame(point.R)
    P = point.P if frame is point.R else weighted_columns(candidates.Phi, frame)
    A = torch.linalg.solve_triangular(point.L, P, upper=False)
    Q = A.mT @ point.B
    K, M = A.mT @ A, Q @ Q.mT
    K_blocks, M_blocks = diagonal_blocks(K, o), diagonal_blocks(M, o)
    G = K_blocks - M_blocks
    gradient, self_term = prior.gradient(G), prior.self_term(G, point.R)
    average, fisher = prior.pairs(K, M, o), prior.pairs(K, K, o)
    if candidates.variance.learnt:
        parts = gradient, average, fisher, self_term
        gradient, average, fisher, self_term = _with_noise(candidates, point, A, Q, parts)
    curvature = 2 * average - fisher + self_term
    free = prior.free(point.R)
    if free is not None:
        free = free.to(K)
        free = torch.cat([free, free.new_ones(len(free), gradient.shape[1] - free.shape[1])], 1)
        gradient = gradient * free
        average, curvature = (T * free[:, :, None] * free[:, None, :] for T in (average, curvature))
    removal = prior.removal(K_blocks, M_blocks, candidates.share)
    return Slopes(gradient, average, curvature, removal)


def _with_noise(
    candidates: Candidates,
    point: Point,
    A: Tensor,
    Q: Tensor,
    parts: tuple[Tensor, Tensor, Tensor, Tensor],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Border all with the noise variances, whose columns are those of the identity."""
    gradient, average, fisher, self_term = parts
    batch, d, size = point.P.shape
    o, prior, together = candidates.Phi.shape[2], candidates.prior, candidates.variance.of_channels
    eye = torch.eye(d, dtype=A.dtype, device=A.device)
    Linv = torch.linalg.solve_triangular(point.L, eye.expand_as(point.L), upper=False)
    root = point.noise.sqrt()[:, :, None]
    Linv = Linv * root.mT  # scaled so that the derivative is in the logarithm of λ
    whitened = Linv.mT @ point.B
    K, M = Linv.mT @ Linv, whitened @ whitened.mT
    Y, Z = Linv.mT @ A, whitened @ Q.mT
    Y, Z = Y.reshape(batch, d, size // o, o), Z.reshape(batch, d, size // o, o)
    cross_average, cross_fisher = together(prior.cross(Y, Z)), together(prior.cross(Y, Y))
    own = together((K - M).diagonal(dim1=1, dim2=2))
    own_average, own_fisher = (together(together(T).mT).mT for T in (K * M, K * K))
    if candidates.variance.uniform:
        rest = (point.rest / point.noise[:, 0])[:, None]  # of directions that see noise alone
        own = own + candidates.n_rest - rest
        own_average, own_fisher = own_average + rest[..., None], own_fisher + candidates.n_rest
    return (
        torch.cat([gradient, own], 1),
        _border(average, cross_average, own_average),
        _border(fisher, cross_fisher, own_fisher),
        _border(self_term, torch.zeros_like(cross_fisher), torch.diag_embed(own.clamp_min(0.0))),
    )


def _border(matrix: Tensor, cross: Tensor, corner: Tensor) -> Tensor:
    return torch.cat([torch.cat([matrix, cross.mT], 2), torch.cat([cross, corner], 2)], 1)
