"""Many small symmetric matrices at once, and the factor of a step."""

from __future__ import annotations

import torch
from torch import Tensor

TOGETHER = 8192  # CUDA's batched solver fails above 65,535 and wants half a megabyte for each


def eigh(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Diagonalise symmetric matrices (..., o, o), in any number and on any device.

    Eigenvalues (..., o), smallest first, and the eigenvectors in the columns.
    """
    if not matrices.is_cuda:
        values, vectors = torch.linalg.eigh(matrices)
        return values, vectors
    shape = matrices.shape
    parts = matrices.reshape(-1, *shape[-2:]).split(TOGETHER)
    all_values, all_vectors = zip(*map(torch.linalg.eigh, parts), strict=True)
    return torch.cat(all_values).reshape(shape[:-1]), torch.cat(all_vectors).reshape(shape)


def positive_part(matrices: Tensor) -> Tensor:
    """Leave the negative eigenvalues out of symmetric matrices (..., o, o)."""
    values, vectors = eigh(matrices)
    return (vectors * values.clamp_min(0.0)[..., None, :]) @ vectors.mT


def block_diagonal(blocks: Tensor) -> Tensor:
    """Put blocks (batch, m, p, p) on the diagonal of matrices (batch, m p, m p)."""
    batch, m, p, _ = blocks.shape
    out = blocks.new_zeros(batch, m, p, m, p)
    i = torch.arange(m, device=blocks.device)
    out[:, i, :, i, :] = blocks.movedim(1, 0)
    return out.reshape(batch, m * p, m * p)


def step_factor(step: Tensor) -> Tensor:
    """Factor that a step puts on a variance: growing adds, shrinking never reaches zero."""
    return torch.where(step > 0, 1 + step, step.clamp_max(0.0).exp())
