"""Encoders z | x ~ N(W_z x, S Sᵀ): the optimal one in closed form, and a trained one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class OptimalEncoder:
    """The encoder that minimises the energy for a fixed linear decoder; it is the posterior.

    Attributes
    ----------
    W_z : Tensor, shape (n_dipoles, n_channels)
        Mean map, PᵀΣ⁻¹ with P the decoder matrix.
    S : Tensor, shape (n_dipoles, n_dipoles)
        Upper triangular factor of the covariance S Sᵀ = I − PᵀΣ⁻¹P.
    """

    W_z: Tensor
    S: Tensor

    @property
    def covariance(self) -> Tensor:
        """S Sᵀ, shape (n_dipoles, n_dipoles)."""
        return self.S @ self.S.T


def optimal_encoder(decoder: Tensor, noise_variance: Tensor) -> OptimalEncoder:
    """Find the best encoder for a linear decoder.

    Parameters
    ----------
    decoder : Tensor, shape (n_channels, n_dipoles)
        Decoder matrix P = Φ diag(w_x).
    noise_variance : Tensor, shape () or (n_channels,)
        Noise variance λ.

    Returns
    -------
    encoder : OptimalEncoder
        From S Sᵀ = (I + PᵀP/λ)⁻¹, which keeps its precision where λ is small.
    """
    scaled = decoder / noise_variance.expand(len(decoder))[:, None]
    eye = torch.eye(decoder.shape[1], dtype=decoder.dtype, device=decoder.device)
    L = torch.linalg.cholesky(eye + decoder.T @ scaled)
    S = torch.linalg.solve_triangular(L.T, eye, upper=True)
    return OptimalEncoder(W_z=S @ (S.T @ scaled.T), S=S)


class TrainedEncoder(nn.Module):
    """An encoder whose mean map and covariance factor are parameters.

    Parameters
    ----------
    n_dipoles : int
        Latent dimension.
    n_channels : int
        Data dimension.
    random_state : int
        Seed of the small random mean map it starts from; S starts at the identity.
    """

    def __init__(self, n_dipoles: int, n_channels: int, random_state: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(random_state)
        start = torch.randn(n_dipoles, n_channels, generator=generator, dtype=torch.float64)
        self.W_z = nn.Parameter(1e-2 * start / n_channels**0.5)
        self._lower = nn.Parameter(torch.zeros(n_dipoles, n_dipoles, dtype=torch.float64))

    @property
    def S(self) -> Tensor:
        """Lower triangular factor with a positive diagonal, shape (n_dipoles, n_dipoles)."""
        return torch.tril(self._lower, -1) + torch.diag(self._lower.diagonal().exp())
