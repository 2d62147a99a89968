"""Decoders x | z: the linear ones that the exact solver knows too, and nonlinear ones to train.

A decoder is a module with ``forward(z)``, the mean of x for latents z of shape (n_dipoles,
n_samples). The energy of a linear one is computed in closed form, without drawing samples.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LinearDecoder(nn.Module):
    """A decoder that is a matrix."""

    def matrix(self) -> Tensor:
        """Give the decoder matrix.

        Returns
        -------
        decoder : Tensor, shape (n_channels, n_dipoles)
            The matrix.

        Raises
        ------
        NotImplementedError
            In this base class.
        """
        raise NotImplementedError

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
        return self.matrix() @ z


class RowScaleDecoder(LinearDecoder):
    """The talk's decoder, x = Φ diag(w_x) z, with one scale for the dipoles of a position.

    Parameters
    ----------
    Phi : Tensor, shape (n_channels, n_dipoles)
        Dictionary.
    n_orient : int
        Dipoles per position.
    gamma : float
        Prior variance w_x² that every position starts from.
    """

    Phi: Tensor

    def __init__(self, Phi: Tensor, n_orient: int = 1, gamma: float = 1.0) -> None:
        super().__init__()
        self.n_orient = n_orient
        self.register_buffer("Phi", Phi)
        n_groups = Phi.shape[1] // n_orient
        self.log_gamma = nn.Parameter(torch.full((n_groups,), gamma, dtype=Phi.dtype).log())

    @property
    def gamma(self) -> Tensor:
        """Prior variance per position, shape (n_groups,)."""
        return self.log_gamma.exp()

    @property
    def factor(self) -> Tensor:
        """√γ_g I of each position, shape (n_groups, n_orient, n_orient)."""
        eye = torch.eye(self.n_orient, dtype=self.log_gamma.dtype, device=self.log_gamma.device)
        return self.gamma.sqrt()[:, None, None] * eye

    def matrix(self) -> Tensor:
        """Give the decoder matrix.

        Returns
        -------
        decoder : Tensor, shape (n_channels, n_dipoles)
            Φ diag(w_x).
        """
        return self.Phi * (self.log_gamma / 2).exp().repeat_interleave(self.n_orient)


class BlockDecoder(LinearDecoder):
    """A decoder whose orientations are learnt, x = Φ blockdiag(R_g) z.

    Every position has a full prior covariance R_g R_gᵀ.

    Parameters
    ----------
    Phi : Tensor, shape (n_channels, n_dipoles)
        Dictionary.
    n_orient : int
        Dipoles per position.
    gamma : float
        Prior variance that every dipole starts from.
    """

    Phi: Tensor

    def __init__(self, Phi: Tensor, n_orient: int = 3, gamma: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("Phi", Phi.reshape(len(Phi), -1, n_orient))
        eye = torch.eye(n_orient, dtype=Phi.dtype) * gamma**0.5
        self.R = nn.Parameter(eye.repeat(self.Phi.shape[1], 1, 1))

    @property
    def gamma(self) -> Tensor:
        """Mean prior variance per position, tr(R_g R_gᵀ) / n_orient, shape (n_groups,)."""
        return self.R.square().sum((1, 2)) / self.R.shape[2]

    @property
    def factor(self) -> Tensor:
        """R_g of each position, shape (n_groups, n_orient, n_orient)."""
        return self.R

    def matrix(self) -> Tensor:
        """Give the decoder matrix.

        Returns
        -------
        decoder : Tensor, shape (n_channels, n_dipoles)
            Φ_g R_g, side by side.
        """
        return torch.einsum("dma,mab->dmb", self.Phi, self.R).flatten(1)


class FreeDecoder(LinearDecoder):
    """A matrix without a dictionary, x = W z: the decoder of probabilistic PCA.

    Parameters
    ----------
    n_channels : int
        Rows of W.
    n_latents : int
        Columns of W.
    random_state : int
        Seed of the small random W it starts from.
    """

    def __init__(self, n_channels: int, n_latents: int, random_state: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(random_state)
        start = torch.randn(n_channels, n_latents, generator=generator, dtype=torch.float64)
        self.W = nn.Parameter(0.1 * start)

    def matrix(self) -> Tensor:
        """Give the decoder matrix.

        Returns
        -------
        decoder : Tensor, shape (n_channels, n_latents)
            W.
        """
        return self.W


class WarpedDecoder(nn.Module):
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

    Phi: Tensor

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


class HiddenDecoder(nn.Module):
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

    Phi: Tensor

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
