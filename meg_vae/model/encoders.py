"""Encoders z | x: the optimal one in closed form, and those that are trained.

An encoder that is trained is a module whose ``posterior(X)`` tells the distribution of the latents:
their mean, what they cost beside the prior, what of them passes through a matrix, and draws.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

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


class Posterior(ABC):
    """A Gaussian of the latents of all samples, with its ``mean`` (n_latents, n_samples)."""

    mean: Tensor

    @abstractmethod
    def cost(self) -> Tensor:
        """Twice the divergence from the prior, plus the number of latents, of all samples."""

    @abstractmethod
    def spread_through(self, P: Tensor) -> Tensor:
        """Trace of the covariance of P z, of all samples, for a matrix P."""

    @abstractmethod
    def at(self, draw: Tensor) -> Tensor:
        """Turn a draw of N(0, I), shape (n_latents, n_samples), into latents."""


@dataclass(frozen=True)
class Joint(Posterior):
    """Latents with one covariance S Sᵀ, the same in every sample."""

    mean: Tensor
    S: Tensor

    def cost(self) -> Tensor:
        """Give n tr(S Sᵀ) − n log|S Sᵀ| + ‖mean‖²."""
        n = self.mean.shape[1]
        volume = 2 * torch.linalg.slogdet(self.S).logabsdet
        return n * (self.S.square().sum() - volume) + self.mean.square().sum()

    def spread_through(self, P: Tensor) -> Tensor:
        """Give n ‖P S‖²."""
        return self.mean.shape[1] * (P @ self.S).square().sum()

    def at(self, draw: Tensor) -> Tensor:
        """Mean + S draw."""
        return self.mean + self.S @ draw


@dataclass(frozen=True)
class Independent(Posterior):
    """Latents that are independent, each with a standard deviation in each sample."""

    mean: Tensor
    std: Tensor

    def cost(self) -> Tensor:
        """Sum of s² − 2 log s + mean²."""
        return self.std.square().sum() - 2 * self.std.log().sum() + self.mean.square().sum()

    def spread_through(self, P: Tensor) -> Tensor:
        """Sum of ‖P_k‖² s_k²."""
        return P.square().sum(0) @ self.std.square().sum(1)

    def at(self, draw: Tensor) -> Tensor:
        """Mean + s draw."""
        return self.mean + self.std * draw


@dataclass(frozen=True)
class Bent(Posterior):
    """Latents with a covariance D S Sᵀ D, S common to all samples and D diagonal in each."""

    mean: Tensor
    S: Tensor
    slope: Tensor

    def cost(self) -> Tensor:
        """Sum of the variances and squared means, less n log|S Sᵀ| + 2 log|D|."""
        power = self.slope.square().sum(1) @ self.S.square().sum(1) + self.mean.square().sum()
        volume = self.mean.shape[1] * torch.linalg.slogdet(self.S).logabsdet
        return power - 2 * (volume + self.slope.log().sum())

    def spread_through(self, P: Tensor) -> Tensor:
        """Sum of ‖P D S‖² over the samples."""
        return ((P.T @ P) * (self.S @ self.S.T) * (self.slope @ self.slope.T)).sum()

    def at(self, draw: Tensor) -> Tensor:
        """Mean + D S draw."""
        return self.mean + self.slope * (self.S @ draw)


class Encoder(nn.Module, ABC):
    """An encoder that is trained."""

    @abstractmethod
    def posterior(self, X: Tensor) -> Posterior:
        """Encode data, shape (n_channels, n_samples)."""


class TrainedEncoder(Encoder):
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

    def start_at(self, W_z: Tensor, covariance: Tensor) -> None:
        """Begin at a mean map, (n_dipoles, n_channels), and a covariance of the latents."""
        L = torch.linalg.cholesky(covariance)
        with torch.no_grad():
            self.W_z.copy_(W_z)
            self._lower.copy_(torch.tril(L, -1) + torch.diag(L.diagonal().log()))

    def posterior(self, X: Tensor) -> Joint:
        """Encode data by the mean map."""
        return Joint(self.W_z @ X, self.S)


class BentEncoder(Encoder):
    """An encoder of a decoder that bends each latent: what a map encodes, unbent.

    Parameters
    ----------
    decoder : nn.Module
        With ``straighten(u)``, the latent of which u is the bend, and its slope.
    n_dipoles, n_channels, random_state : int
        As of `TrainedEncoder`.
    """

    def __init__(
        self, decoder: nn.Module, n_dipoles: int, n_channels: int, random_state: int = 0
    ) -> None:
        super().__init__()
        self.straight = TrainedEncoder(n_dipoles, n_channels, random_state)
        self._of: tuple[Any] = (decoder,)  # in a tuple, its parameters are not this module's

    def start_at(self, W_z: Tensor, covariance: Tensor) -> None:
        """Begin at a mean map and a covariance, as `TrainedEncoder` does."""
        self.straight.start_at(W_z, covariance)

    def posterior(self, X: Tensor) -> Bent:
        """Encode data by the map, and unbend the latents."""
        bent = self.straight.posterior(X)
        mean, slope = self._of[0].straighten(bent.mean)
        return Bent(mean, bent.S, slope)
