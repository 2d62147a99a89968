"""Nonlinear decoders x = Φ U(z) of row-sparse activity, for training.

Each is a module with ``activity(z)``, the rows of U for latents z of shape (n_dipoles, n_samples),
and ``forward(z)``, the mean of x.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

UNIT = math.asinh(1.0)  # where a bend keeps its value


class ActivityDecoder(nn.Module, ABC):
    """A decoder of a dictionary and rows of activity, x = Φ U(z)."""

    Phi: Tensor

    @abstractmethod
    def activity(self, z: Tensor) -> Tensor:
        """Turn latents, (n_dipoles, n_samples), into row-sparse activity of the same shape."""

    def forward(self, z: Tensor) -> Tensor:
        """Decode latents.

        Parameters
        ----------
        z : Tensor, shape (n_dipoles, n_samples)
            Latents.

        Returns
        -------
        x : Tensor, shape (n_channels, n_samples)
            The mean of the data.
        """
        return self.Phi @ self.activity(z)


class WarpedDecoder(ActivityDecoder):
    """A decoder that bends every latent by one learnt function, x = Φ diag(w_x) f(z).

    f(z) = (z + a tanh(b z)) / c is odd and rises everywhere, since a, b > 0; c keeps f(1) at 1, so
    that the scale stays with w_x.

    Parameters
    ----------
    Phi : Tensor, shape (n_channels, n_dipoles)
        Dictionary.
    scale : float
        Scale w_x that every row starts from.
    """

    def __init__(self, Phi: Tensor, scale: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("Phi", Phi)
        self.w_x = nn.Parameter(torch.full((Phi.shape[1],), scale, dtype=Phi.dtype))
        self.log_bend = nn.Parameter(torch.tensor([-2.0, 0.0], dtype=Phi.dtype))

    def bend(self, z: Tensor) -> Tensor:
        """Apply f.

        Parameters
        ----------
        z : Tensor
            Latents.

        Returns
        -------
        bent : Tensor
            f(z), of the same shape.
        """
        a, b = self.log_bend.exp()
        return (z + a * torch.tanh(b * z)) / (1 + a * torch.tanh(b))

    def activity(self, z: Tensor) -> Tensor:
        """Turn latents into row-sparse activity.

        Parameters
        ----------
        z : Tensor, shape (n_dipoles, n_samples)
            Latents.

        Returns
        -------
        U : Tensor, shape (n_dipoles, n_samples)
            diag(w_x) f(z).
        """
        return self.w_x[:, None] * self.bend(z)


class TailedDecoder(ActivityDecoder):
    """A decoder of activity with heavier or lighter tails than a Gaussian, x = Φ diag(w_x) f(z).

    f(z) = sinh(b arsinh z) / sinh(b arsinh 1), b > 0, of M. C. Jones & A. Pewsey (2009), Biometrika
    96:761: b = 1, where it starts, is the linear decoder; above 1 the tails are heavier.

    Parameters
    ----------
    Phi : Tensor, shape (n_channels, n_dipoles)
        Dictionary.
    scale : float
        Scale w_x that every row starts from.
    """

    def __init__(self, Phi: Tensor, scale: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("Phi", Phi)
        self.w_x = nn.Parameter(torch.full((Phi.shape[1],), scale, dtype=Phi.dtype))
        self.log_bend = nn.Parameter(torch.zeros((), dtype=Phi.dtype))

    def activity(self, z: Tensor) -> Tensor:
        """Turn latents into row-sparse activity.

        Parameters
        ----------
        z : Tensor, shape (n_dipoles, n_samples)
            Latents.

        Returns
        -------
        U : Tensor, shape (n_dipoles, n_samples)
            diag(w_x) f(z).
        """
        b = self.log_bend.exp()
        return self.w_x[:, None] * torch.sinh(b * torch.asinh(z)) / torch.sinh(b * UNIT)

    def straighten(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Invert f: the latents of which u is the bend, and their slope.

        Parameters
        ----------
        u : Tensor
            f(z).

        Returns
        -------
        z, slope : Tensor
            f⁻¹(u) and its derivative, of the same shape.
        """
        b = self.log_bend.exp()
        bent = u * torch.sinh(b * UNIT)
        angle = torch.asinh(bent) / b
        steepness = torch.sinh(b * UNIT) / (b * torch.sqrt(1 + bent.square()))
        return torch.sinh(angle), torch.cosh(angle) * steepness


class HiddenDecoder(ActivityDecoder):
    """A decoder with a hidden layer before the dictionary, x = Φ diag(w_x) (z + B tanh(A z)).

    Every row may depend on every latent, so a row is let go by its scale w_x alone.

    Parameters
    ----------
    Phi : Tensor, shape (n_channels, n_dipoles)
        Dictionary.
    n_hidden : int
        Hidden units.
    scale : float
        Scale w_x that every row starts from.
    random_state : int
        Seed of the small random A and B it starts from.
    """

    def __init__(
        self, Phi: Tensor, n_hidden: int = 20, scale: float = 1.0, random_state: int = 0
    ) -> None:
        super().__init__()
        K = Phi.shape[1]
        generator = torch.Generator().manual_seed(random_state)
        draws = torch.randn(2, n_hidden, K, generator=generator, dtype=Phi.dtype)
        self.register_buffer("Phi", Phi)
        self.w_x = nn.Parameter(torch.full((K,), scale, dtype=Phi.dtype))
        self.A = nn.Parameter(draws[0] / K**0.5)
        self.B = nn.Parameter(0.1 * draws[1].T / n_hidden**0.5)

    def activity(self, z: Tensor) -> Tensor:
        """Turn latents into row-sparse activity.

        Parameters
        ----------
        z : Tensor, shape (n_dipoles, n_samples)
            Latents.

        Returns
        -------
        U : Tensor, shape (n_dipoles, n_samples)
            diag(w_x) (z + B tanh(A z)).
        """
        return self.w_x[:, None] * (z + self.B @ torch.tanh(self.A @ z))


class Rows(nn.Module):
    """A trained decoder with only some rows of its activity, and nothing to train."""

    def __init__(self, decoder: nn.Module, keep: Tensor) -> None:
        super().__init__()
        self._of: tuple[Any] = (decoder,)  # in a tuple, its parameters are not this module's
        self._keep = keep[:, None].double()

    def forward(self, z: Tensor) -> Tensor:
        """Decode latents, shape (n_latents, n_samples)."""
        decoder = self._of[0]
        return decoder.Phi @ (self._keep * decoder.activity(z))
