"""The pulls on the variances: s and q of each position, and the blocks K and M behind them.

With K = ΦᵀΣ⁻¹Φ and M = ΦᵀΣ⁻¹CΣ⁻¹Φ the energy changes by tr((K_gg − M_gg) δΓ_g): a position is
pulled down by s_g = tr K_gg, its volume, and up by q_g = tr M_gg, the data.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from meg_vae.model.encoders import OptimalEncoder
from meg_vae.model.exact.dictionary import Dictionary
from meg_vae.model.exact.small import eigh

CHUNK = 768  # columns at a time: stays in a processor's cache, and divides by 1, 2 and 3
WIDE = 12_288  # the same for the batch on an accelerator, where it bounds the memory
ROUNDING = 8.0  # single-precision products are taken to be off by up to this many units


@dataclass(frozen=True)
class Rows:
    """Rows T whose weighted squares, and a share of ΦᵀΦ itself, give K and M in one product TΦ.

    Attributes
    ----------
    T : Tensor, shape (batch, r, d)
        The rows.
    weights : Tensor, shape (batch, 2, r)
        Weights of their squares in K and in M.
    own : Tensor, shape (batch,)
        Weight of ΦᵀΦ in K.
    """

    T: Tensor
    weights: Tensor
    own: Tensor

    def pulls(self, Phi: Tensor) -> tuple[Tensor, Tensor]:
        """s_g and q_g of positions whose columns (d, m, o) have unit norm together."""
        s, q = group_pulls(self.T, self.weights, Phi.flatten(1), Phi.shape[2])
        return s + self.own[:, None], q

    def blocks(self, Phi: Tensor) -> tuple[Tensor, Tensor]:
        """K_gg and M_gg of positions with the columns Phi (d, m, o), each (batch, m, o, o)."""
        K, M = group_blocks(self.T, self.weights, Phi)
        columns = Phi.permute(1, 2, 0)
        return K + self.own[:, None, None, None] * (columns @ columns.mT), M

    def overlap(self, columns: Tensor) -> Tensor:
        """Cosines of the angles in which Σ⁻¹ sees columns (batch, d, n), shape (batch, n, n)."""
        A = self.T @ columns
        K = self.own[:, None, None] * (columns.mT @ columns)
        K = K + A.mT @ (self.weights[:, 0, :, None] * A)
        size = K.diagonal(dim1=1, dim2=2).clamp_min(torch.finfo(K.dtype).tiny).sqrt()
        return K / size[:, None] / size[..., None]


def pulling_rows(L: Tensor, B: Tensor) -> tuple[Tensor, Tensor]:
    """Find rows T whose weighted squares give K = ΦᵀΣ⁻¹Φ and M = ΦᵀΣ⁻¹CΣ⁻¹Φ in one product TΦ.

    A processor diagonalises Σ and C together, T Σ Tᵀ = I and T C Tᵀ = diag(c), so that the cost
    does not grow with the samples. An accelerator has products to spare, but decomposes the
    matrices of a batch one by one: it gets L⁻¹ and FᵀΣ⁻¹.

    Parameters
    ----------
    L : Tensor, shape (batch, d, d)
        Cholesky factor of Σ.
    B : Tensor, shape (batch, d, k)
        L⁻¹F, with C = F Fᵀ.

    Returns
    -------
    T : Tensor, shape (batch, r, d)
        The rows.
    weights : Tensor, shape (batch, 2, r)
        Weights of their squares in K and in M.
    """
    return (_jointly_diagonal if L.device.type == "cpu" else _by_two_products)(L, B)


def _jointly_diagonal(L: Tensor, B: Tensor) -> tuple[Tensor, Tensor]:
    """Rows T with T Σ Tᵀ = I and T C Tᵀ = diag(c), weighted by 1 and by c."""
    d, k = B.shape[-2:]
    if 2 * k > d:
        c, V = torch.linalg.eigh(B @ B.mT)
    else:  # the same from the span of few data, completed to a basis
        Q, R = torch.linalg.qr(B, mode="complete")
        c, V = torch.linalg.eigh(R[..., :k, :] @ R[..., :k, :].mT)
        c = torch.nn.functional.pad(c, (0, d - k))
        V = torch.cat([Q[..., :k] @ V, Q[..., k:]], -1)
    T = torch.linalg.solve_triangular(L.mT, V, upper=True).mT
    return T, torch.stack([torch.ones_like(c), c.clamp_min(0.0)], 1)


def _by_two_products(L: Tensor, B: Tensor) -> tuple[Tensor, Tensor]:
    """Rows L⁻¹, which give K, above the rows FᵀΣ⁻¹, which give M."""
    d, k = B.shape[-2:]
    eye = torch.eye(d, dtype=L.dtype, device=L.device).expand_as(L)
    inverse = torch.linalg.solve_triangular(L, eye, upper=False)
    volume = (torch.arange(d + k, device=L.device) < d).to(L)
    weights = torch.stack([volume, 1 - volume]).expand(len(L), -1, -1)
    return torch.cat([inverse, B.mT @ inverse], -2), weights


def group_pulls(T: Tensor, weights: Tensor, Phi: Tensor, n_orient: int) -> tuple[Tensor, Tensor]:
    """Give the two halves of the gradient of every position, s_g = tr K_gg and q_g = tr M_gg.

    Parameters
    ----------
    T : Tensor, shape (batch, r, d)
        Rows from `pulling_rows`.
    weights : Tensor, shape (batch, 2, r)
        Their weights.
    Phi : Tensor, shape (d, n_dipoles)
        Dictionary.
    n_orient : int
        Dipoles per position.

    Returns
    -------
    s, q : Tensor, shape (batch, n_groups)
        Pull of the volume and of the data.
    """
    chunk = CHUNK if Phi.device.type == "cpu" else max(CHUNK, WIDE // len(T) // 6 * 6)
    pulls = torch.cat([weights @ (T @ block).square_() for block in Phi.split(chunk, 1)], 2)
    s, q = pulls.reshape(*pulls.shape[:2], -1, n_orient).sum(3).unbind(1)
    return s, q


def group_blocks(T: Tensor, weights: Tensor, Phi: Tensor) -> tuple[Tensor, Tensor]:
    """Diagonal blocks K_gg and M_gg.

    Parameters
    ----------
    T : Tensor, shape (batch, r, d)
        Rows from `pulling_rows`.
    weights : Tensor, shape (batch, 2, r)
        Their weights.
    Phi : Tensor, shape (d, m, n_orient)
        Columns of the groups.

    Returns
    -------
    K, M : Tensor, shape (batch, m, n_orient, n_orient)
        The blocks.
    """
    d, m, o = Phi.shape
    A = (T @ Phi.reshape(d, m * o)).reshape(len(T), -1, m, o).permute(0, 2, 3, 1)
    K, M = ((A * w[:, None, None]) @ A.mT for w in weights.unbind(1))
    return K, M


def steepest_direction(K: Tensor, M: Tensor) -> tuple[Tensor, Tensor]:
    """Find the direction in which a position wants most to grow.

    It is the largest generalized eigenvector of (M, K).

    Parameters
    ----------
    K, M : Tensor, shape (..., o, o)
        Blocks of one position.

    Returns
    -------
    ratio : Tensor, shape (...,)
        Largest eigenvalue: stationary at zero prior where it is at most 1.
    direction : Tensor, shape (..., o)
        Its eigenvector v, with vᵀKv = 1.
    """
    small = 10 * torch.finfo(K.dtype).eps
    floor = small * K.diagonal(dim1=-2, dim2=-1).sum(-1) + torch.finfo(K.dtype).tiny
    eye = torch.eye(K.shape[-1], dtype=K.dtype, device=K.device)
    L = torch.linalg.cholesky(K + floor[..., None, None] * eye)
    half = torch.linalg.solve_triangular(L, M, upper=False)
    values, vectors = eigh(torch.linalg.solve_triangular(L, half.mT, upper=False))
    top = torch.linalg.solve_triangular(L.mT, vectors[..., -1:], upper=True)
    return values[..., -1], top[..., 0]


def mean_ratio(dictionary: Dictionary, rows: Rows, out: Tensor) -> Tensor:
    """Give q_g / s_g of every position, 0 where ``out``, shape (batch, n_groups).

    All are looked at in float32 first, and those that its rounding might hide the largest among in
    float64: the largest of the result is right to float64, the rest to the rounding of float32.
    """
    ratio, error = (x.masked_fill(out, 0.0) for x in _single_ratio(dictionary, rows))
    border = (ratio + error >= (ratio - error).amax(1, keepdim=True)).any(0).nonzero()[:, 0]
    s, q = rows.pulls(dictionary.columns(border))
    ratio[:, border] = (q / s).masked_fill(out[:, border], 0.0)
    return ratio


def _single_ratio(dictionary: Dictionary, rows: Rows) -> tuple[Tensor, Tensor]:
    """q_g / s_g by products in float32, and by how much rounding may have moved it."""
    single = torch.float32
    tiny = torch.finfo(single).tiny
    size = rows.T.square().sum(2).clamp_min(tiny)
    T, weights = rows.T / size[..., None].sqrt(), rows.weights * size[:, None]
    own = torch.stack([rows.own, torch.zeros_like(rows.own)], 1)[..., None]
    top = torch.maximum(weights.abs().amax(2, keepdim=True), own).clamp_min(tiny)
    weights, own = weights / top, own / top  # in the range of float32
    Phi, o = dictionary.single, dictionary.n_orient
    sums = torch.stack(group_pulls(T.to(single), weights.to(single), Phi, o), 1).double()
    pulls = (sums + own).clamp_min(tiny)
    # The columns of a position have unit norm together. Where squares are added, the sum of the
    # weights bounds them and thus the error; where they are taken from ΦᵀΦ, it is of that size.
    largest = (weights.abs().sum(2, keepdim=True) + own) / pulls
    error = torch.where(own > 0, largest, largest.sqrt()).sum(1)
    ratio = (top[:, 1] / top[:, 0]) * pulls[:, 1] / pulls[:, 0]
    return ratio, ratio * (2 * ROUNDING * torch.finfo(single).eps * error)


def oriented_ratio(dictionary: Dictionary, rows: Rows) -> Tensor:
    """Give the largest q / s over the orientations of every position, (batch, n_groups)."""
    parts = (part.unflatten(1, (-1, dictionary.n_orient)) for part in dictionary.parts(WIDE))
    return torch.cat([steepest_direction(*rows.blocks(part))[0] for part in parts], 1)


def diagonal_blocks(matrix: Tensor, size: int) -> Tensor:
    """Take the diagonal blocks (..., m, size, size) of matrices (..., m * size, m * size)."""
    m = matrix.shape[-1] // size
    blocks = matrix.reshape(*matrix.shape[:-2], m, size, m, size)
    return blocks.diagonal(dim1=-4, dim2=-2).movedim(-1, -3)


def active_pulls(encoder: OptimalEncoder, F: Tensor) -> tuple[Tensor, Tensor]:
    """K and M between all active dipoles, weighted by their prior, from the posterior."""
    seen = encoder.W_z @ F
    K = -encoder.covariance
    K.diagonal().add_(1.0)
    return K, seen @ seen.T
