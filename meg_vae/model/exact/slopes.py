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
from meg_vae.model.exact.small import eigh
from meg_vae.model.misfit import removal_change


def symmetric_basis(n_orient: int, like: Tensor) -> Tensor:
    """Orthonormal basis of the symmetric matrices.

    Parameters
    ----------
    n_orient : int
        Their size.
    like : Tensor
        Gives dtype and device.

    Returns
    -------
    basis : Tensor, shape (n_orient * (n_orient + 1) / 2, n_orient, n_orient)
        The basis.
    """
    rows, cols = torch.triu_indices(n_orient, n_orient)
    basis = torch.zeros(len(rows), n_orient, n_orient, dtype=like.dtype, device=like.device)
    k = torch.arange(len(rows))
    value = torch.where(rows == cols, 1.0, 0.5**0.5).to(like)
    basis[k, rows, cols] = value
    basis[k, cols, rows] = value
    return basis


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


def _diagonal_blocks(matrix: Tensor, n_orient: int) -> Tensor:
    batch, size, _ = matrix.shape
    m = size // n_orient
    i = torch.arange(m, device=matrix.device)
    blocks: Tensor = matrix.reshape(batch, m, n_orient, m, n_orient)[:, i, :, i, :].movedim(0, 1)
    return blocks


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
    o = candidates.Phi.shape[2]
    P = weighted_columns(candidates.Phi, frame(point.R)) if candidates.full else point.P
    A = torch.linalg.solve_triangular(point.L, P, upper=False)
    Q = A.mT @ point.B
    K, M = A.mT @ A, Q @ Q.mT
    K_blocks, M_blocks = _diagonal_blocks(K, o), _diagonal_blocks(M, o)
    G = K_blocks - M_blocks
    if candidates.full:
        basis = symmetric_basis(o, K)
        gradient = torch.einsum("zgab,kab->zgk", G, basis).flatten(1)
        self_term = _block_diagonal(_self_term(G, point.R, basis))
        removal = removal_change(
            K.diagonal(dim1=1, dim2=2)[..., None, None],
            M.diagonal(dim1=1, dim2=2)[..., None, None],
            candidates.share,
        )
    else:
        basis = None
        gradient = G.diagonal(dim1=2, dim2=3).sum(2)
        self_term = torch.diag_embed(gradient.clamp_min(0.0))
        removal = removal_change(K_blocks, M_blocks, candidates.share)
    average, fisher = _pairs(K, M, o, basis), _pairs(K, K, o, basis)
    if candidates.learn != "none":
        gradient, average, fisher, self_term = _with_noise(
            candidates, point, A, Q, basis, (gradient, average, fisher, self_term)
        )
    curvature = 2 * average - fisher + self_term
    if candidates.full:
        free = _free(point.R, symmetric_basis(o, K)).to(K)
        free = torch.cat([free, free.new_ones(len(free), gradient.shape[1] - free.shape[1])], 1)
        gradient = gradient * free
        average, curvature = (T * free[:, :, None] * free[:, None, :] for T in (average, curvature))
    return Slopes(gradient, average, curvature, removal)


def frame(R: Tensor) -> Tensor:
    """Complete each factor to a frame: its zero columns become as long as its longest.

    Parameters
    ----------
    R : Tensor, shape (batch, m, o, o)
        Factors with orthogonal columns, longest first.

    Returns
    -------
    frame : Tensor, shape (batch, m, o, o)
        The columns of R, then orthogonal ones in which the prior may turn; zero for an inactive
        position.
    """
    U, size, _ = torch.linalg.svd(R)
    return U * torch.where(size > 0, size, size[..., :1])[..., None, :]


def _free(R: Tensor, basis: Tensor) -> Tensor:
    """Which elements of the basis move the prior: not those between two of its zero columns."""
    zero = (~R.any(2)).to(R)
    return (torch.einsum("zga,kab,zgb->zgk", zero, basis.abs(), zero) == 0).flatten(1)


def _self_term(G: Tensor, R: Tensor, basis: Tensor) -> Tensor:
    """Differentiate the step twice: tr(G E²) where it scales, 2 tr(G Z Zᵀ) where it turns."""
    real = R.any(2).to(R)
    scaling = _positive_part(G * real[..., :, None] * real[..., None, :])
    turning = _positive_part(G * (1 - real)[..., :, None] * (1 - real)[..., None, :])
    within = basis * real[..., None, :, None] * real[..., None, None, :]
    across = basis * (1 - real)[..., None, :, None] * real[..., None, None, :]
    return torch.einsum("zgab,zgkbc,zglac->zgkl", scaling, within, within) + 2 * torch.einsum(
        "zgab,zgkbc,zglac->zgkl", turning, across, across
    )


def _positive_part(G: Tensor) -> Tensor:
    values, vectors = eigh(G)
    return (vectors * values.clamp_min(0.0)[..., None, :]) @ vectors.mT


def _block_diagonal(blocks: Tensor) -> Tensor:
    batch, m, p, _ = blocks.shape
    out = blocks.new_zeros(batch, m, p, m, p)
    i = torch.arange(m, device=blocks.device)
    out[:, i, :, i, :] = blocks.movedim(1, 0)
    return out.reshape(batch, m * p, m * p)


def _pairs(K: Tensor, M: Tensor, o: int, basis: Tensor | None) -> Tensor:
    """Tr(K_gh B_l M_hg B_k) for every pair of parameters (g, k), (h, l)."""
    batch, size, _ = K.shape
    m = size // o
    shape = (batch, m, o, m, o)
    if basis is None:
        return (K * M).reshape(shape).sum((2, 4))
    p = len(basis)
    KB = torch.einsum("zgahb,lbc->zgahlc", K.reshape(shape), basis)
    MB = torch.einsum("zhcgd,kda->zgahkc", M.reshape(shape), basis)
    KB, MB = (T.permute(0, 1, 3, 4, 2, 5).reshape(batch, m, m, p, o * o) for T in (KB, MB))
    pairs: Tensor = (MB @ KB.mT).permute(0, 1, 3, 2, 4).reshape(batch, m * p, m * p)
    return (pairs + pairs.mT) / 2


def _with_noise(
    candidates: Candidates,
    point: Point,
    A: Tensor,
    Q: Tensor,
    basis: Tensor | None,
    parts: tuple[Tensor, Tensor, Tensor, Tensor],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Border all with the noise variances, whose columns are those of the identity."""
    gradient, average, fisher, self_term = parts
    batch, d, size = point.P.shape
    o = candidates.Phi.shape[2]
    eye = torch.eye(d, dtype=A.dtype, device=A.device)
    Linv = torch.linalg.solve_triangular(point.L, eye.expand_as(point.L), upper=False)
    root = point.noise.sqrt()[:, :, None]
    Linv = Linv * root.mT  # scaled so that the derivative is in the logarithm of λ
    whitened = Linv.mT @ point.B
    K, M = Linv.mT @ Linv, whitened @ whitened.mT
    Y, Z = Linv.mT @ A, whitened @ Q.mT
    Y, Z = Y.reshape(batch, d, size // o, o), Z.reshape(batch, d, size // o, o)
    if basis is None:
        cross_average, cross_fisher = (Y * Z).sum(3), Y.square().sum(3)
    else:
        cross_average = torch.einsum("zdga,kab,zdgb->zdgk", Y, basis, Z).flatten(2)
        cross_fisher = torch.einsum("zdga,kab,zdgb->zdgk", Y, basis, Y).flatten(2)
    own = (K - M).diagonal(dim1=1, dim2=2)
    own_average, own_fisher = K * M, K * K
    if candidates.learn == "scalar":
        own = own.sum(1, keepdim=True)
        cross_average, cross_fisher = (
            T.sum(1, keepdim=True) for T in (cross_average, cross_fisher)
        )
        own_average, own_fisher = (T.sum((1, 2), keepdim=True) for T in (own_average, own_fisher))
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
