"""How far a point is from stationary over all positions of the dictionary."""

from __future__ import annotations

import torch
from torch import Tensor

from meg_vae.model.exact.dictionary import Dictionary
from meg_vae.model.exact.point import Point

CHUNK = 768  # columns at a time: stays in a processor's cache, and divides by 1, 2 and 3
WIDE = 12_288  # the same on an accelerator, where it bounds the memory
ROUNDING = 8.0  # single-precision products are taken to be off by up to this many units


def joint_diagonal(L: Tensor, B: Tensor) -> tuple[Tensor, Tensor]:
    """Diagonalise Σ and C together: T Σ Tᵀ = I and T C Tᵀ = diag(c).

    One product TΦ then gives both K = ΦᵀΣ⁻¹Φ and M = ΦᵀΣ⁻¹CΣ⁻¹Φ, at a cost that does not grow with
    the samples.

    Parameters
    ----------
    L : Tensor, shape (batch, d, d)
        Cholesky factor of Σ.
    B : Tensor, shape (batch, d, k)
        L⁻¹F, with C = F Fᵀ.

    Returns
    -------
    T : Tensor, shape (batch, d, d)
        The transform.
    c : Tensor, shape (batch, d)
        The data variance in each direction; 1 where the model explains it.
    """
    d, k = B.shape[-2:]
    if 2 * k > d:
        c, V = torch.linalg.eigh(B @ B.mT)
    else:  # the same from the span of few data, completed to a basis
        Q, R = torch.linalg.qr(B, mode="complete")
        c, V = torch.linalg.eigh(R[..., :k, :] @ R[..., :k, :].mT)
        c = torch.nn.functional.pad(c, (0, d - k))
        V = torch.cat([Q[..., :k] @ V, Q[..., k:]], -1)
    return torch.linalg.solve_triangular(L.mT, V, upper=True).mT, c.clamp_min(0.0)


def group_pulls(T: Tensor, c: Tensor, Phi: Tensor, n_orient: int) -> tuple[Tensor, Tensor]:
    """Give the two halves of the gradient of every position, s_g = tr K_gg and q_g = tr M_gg.

    Parameters
    ----------
    T : Tensor, shape (batch, d, d)
        Transform from `joint_diagonal`.
    c : Tensor, shape (batch, d)
        Data variances from `joint_diagonal`.
    Phi : Tensor, shape (d, n_dipoles)
        Dictionary.
    n_orient : int
        Dipoles per position.

    Returns
    -------
    s, q : Tensor, shape (batch, n_groups)
        Pull of the volume and of the data.
    """
    weights = torch.stack([torch.ones_like(c), c], 1)
    chunk = CHUNK if Phi.device.type == "cpu" else WIDE
    pulls = torch.cat([weights @ (T @ block).square_() for block in Phi.split(chunk, 1)], 2)
    s, q = pulls.reshape(*pulls.shape[:2], -1, n_orient).sum(3).unbind(1)
    return s, q


def group_blocks(T: Tensor, c: Tensor, Phi: Tensor) -> tuple[Tensor, Tensor]:
    """Diagonal blocks K_gg and M_gg.

    Parameters
    ----------
    T : Tensor, shape (batch, d, d)
        Transform from `joint_diagonal`.
    c : Tensor, shape (batch, d)
        Data variances from `joint_diagonal`.
    Phi : Tensor, shape (d, m, n_orient)
        Columns of the groups.

    Returns
    -------
    K, M : Tensor, shape (batch, m, n_orient, n_orient)
        The blocks.
    """
    d, m, o = Phi.shape
    A = (T @ Phi.reshape(d, m * o)).reshape(len(T), d, m, o).permute(0, 2, 3, 1)
    return A @ A.mT, (A * c[:, None, None]) @ A.mT


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
    values, vectors = torch.linalg.eigh(torch.linalg.solve_triangular(L, half.mT, upper=False))
    top = torch.linalg.solve_triangular(L.mT, vectors[..., -1:], upper=True)
    return values[..., -1], top[..., 0]


def growth(dictionary: Dictionary, point: Point, groups: Tensor, *, full: bool) -> Tensor:
    """How much every inactive position wants to grow from nothing, q_g / s_g − 1.

    With one variance per position all are looked at in float32 first, and those that its rounding
    might hide the largest among in float64: the largest of the result is right to float64, the rest
    to the rounding of float32.

    Parameters
    ----------
    dictionary : Dictionary
        All positions.
    point : Point
        The model to judge.
    groups : Tensor of int, shape (m,)
        Which positions the point's candidates are.
    full : bool
        Judge each position by its best orientation instead of by the mean over its dipoles.

    Returns
    -------
    growth : Tensor, shape (batch, n_groups)
        Negative where a position is rightly at zero, −1 for silent and active ones; dimensionless.
    """
    T, c = joint_diagonal(point.L, point.B)
    out = dictionary.silent.repeat(len(T), 1)
    out[:, groups] = point.active
    if full and dictionary.n_orient > 1:
        return _oriented_ratio(dictionary, T, c).masked_fill(out, 0.0) - 1
    ratio, error = (x.masked_fill(out, 0.0) for x in _single_ratio(dictionary, T, c))
    border = (ratio + error >= (ratio - error).amax(1, keepdim=True)).any(0).nonzero()[:, 0]
    s, q = group_pulls(T, c, dictionary.columns(border).flatten(1), dictionary.n_orient)
    ratio[:, border] = (q / s).masked_fill(out[:, border], 0.0)
    return ratio - 1


def _single_ratio(dictionary: Dictionary, T: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """q_g / s_g by products in float32, and by how much rounding may have moved it."""
    single, top = torch.float32, c.amax(1, keepdim=True).clamp_min(torch.finfo(c.dtype).tiny)
    T, c = T / T.abs().amax((1, 2), keepdim=True), c / top  # within the range of float32
    Phi = dictionary.as_type(single)
    s, q = (x.double() for x in group_pulls(T.to(single), c.to(single), Phi, dictionary.n_orient))
    s, q = (x.clamp_min(torch.finfo(single).tiny) for x in (s, q))
    rows = T.square().sum(2)  # the columns of a position have unit norm together
    unit = 2 * ROUNDING * torch.finfo(single).eps
    error = unit * sum(
        (w.sum(1, keepdim=True) / x).sqrt() for w, x in ((rows, s), (rows * c, q))
    )
    ratio = top * q / s
    return ratio, ratio * error


def _oriented_ratio(dictionary: Dictionary, T: Tensor, c: Tensor) -> Tensor:
    """Give the largest q/s over the orientations of every position."""
    columns = dictionary.Phi.reshape(dictionary.n_channels, -1, dictionary.n_orient)
    parts = columns.split(WIDE // dictionary.n_orient, 1)
    return torch.cat([steepest_direction(*group_blocks(T, c, part))[0] for part in parts], 1)
