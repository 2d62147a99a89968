"""Eigenvectors of many small symmetric matrices at once."""

from __future__ import annotations

import torch
from torch import Tensor

TOGETHER = 8192  # CUDA's batched solver fails above 65,535 and wants half a megabyte for each


def eigh(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Diagonalise symmetric matrices, as `torch.linalg.eigh`, in any number and on any device.

    Parameters
    ----------
    matrices : Tensor, shape (..., o, o)
        Symmetric matrices.

    Returns
    -------
    values : Tensor, shape (..., o)
        Eigenvalues, smallest first.
    vectors : Tensor, shape (..., o, o)
        Eigenvectors in the columns.
    """
    if not matrices.is_cuda:
        values, vectors = torch.linalg.eigh(matrices)
        return values, vectors
    shape = matrices.shape
    parts = matrices.reshape(-1, *shape[-2:]).split(TOGETHER)
    all_values, all_vectors = zip(*map(torch.linalg.eigh, parts), strict=True)
    return torch.cat(all_values).reshape(shape[:-1]), torch.cat(all_vectors).reshape(shape)
