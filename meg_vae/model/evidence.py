"""What speaks for each source, and how sure its time course is."""

from __future__ import annotations

from torch import Tensor

from meg_vae.model.encoders import OptimalEncoder
from meg_vae.model.exact.slopes import removal_change


def diagonal_blocks(matrix: Tensor, size: int) -> Tensor:
    """Take the diagonal blocks of a square matrix.

    Parameters
    ----------
    matrix : Tensor, shape (m * size, m * size)
        The matrix.
    size : int
        Size of a block.

    Returns
    -------
    blocks : Tensor, shape (m, size, size)
        Its diagonal blocks.
    """
    m = len(matrix) // size
    return matrix.reshape(m, size, m, size).diagonal(dim1=0, dim2=2).movedim(2, 0)


def source_log_evidence(
    encoder: OptimalEncoder, F: Tensor, n_orient: int, n_effective: float
) -> Tensor:
    r"""Log evidence lost by taking out each source alone.

    ΔE_g = (n/2) [log|I − γ_g K_gg| + γ_g tr((I − γ_g K_gg)⁻¹ M_gg)], from the diagonal blocks
    alone.

    Parameters
    ----------
    encoder : OptimalEncoder
        The posterior over the active dipoles.
    F : Tensor, shape (n_channels, k)
        Factor of the data covariance, C = F Fᵀ.
    n_orient : int
        Dipoles per position.
    n_effective : float
        Number of independent samples; fewer than time points where the data are filtered.

    Returns
    -------
    evidence : Tensor, shape (n_active,)
        In nats; positive where the data need the source.
    """
    seen = encoder.W_z @ F
    K = -encoder.covariance
    K.diagonal().add_(1.0)
    change = removal_change(diagonal_blocks(K, n_orient), diagonal_blocks(seen @ seen.T, n_orient))
    return n_effective / 2 * change


def source_covariance(encoder: OptimalEncoder, factor: Tensor) -> Tensor:
    """Posterior covariance of the dipoles of each source, R_g (S Sᵀ)_gg R_gᵀ.

    It is conditional on the prior variances, so it is overconfident: it knows nothing of where else
    the source might be.

    Parameters
    ----------
    encoder : OptimalEncoder
        The posterior over the active dipoles.
    factor : Tensor, shape (n_active, n_orient, n_orient)
        Prior factors R_g.

    Returns
    -------
    covariance : Tensor, shape (n_active, n_orient, n_orient)
        In the square of the unit of U; the same at every sample.
    """
    return factor @ diagonal_blocks(encoder.covariance, factor.shape[-1]) @ factor.mT
