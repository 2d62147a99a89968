"""Linear decoders x | z, those that the exact solver knows too among them.

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
