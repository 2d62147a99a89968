"""Encoder and decoder networks, for data without a dictionary."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from meg_vae.model.encoders import Encoder, Independent


def _layers(n_in: int, n_hidden: int, n_out: int) -> nn.Sequential:
    """Two hidden layers."""
    return nn.Sequential(
        nn.Linear(n_in, n_hidden),
        nn.SiLU(),
        nn.Linear(n_hidden, n_hidden),
        nn.SiLU(),
        nn.Linear(n_hidden, n_out),
    ).to(torch.float64)


class NetworkEncoder(Encoder):
    """An encoder z | x ~ N(m(x), diag(s(x)²)) by two networks.

    Parameters
    ----------
    n_latents : int
        Latent dimension.
    n_channels : int
        Data dimension.
    n_hidden : int
        Units in each of the two hidden layers.
    random_state : int
        Seed of the weights.
    """

    def __init__(
        self, n_latents: int, n_channels: int, n_hidden: int = 64, random_state: int = 0
    ) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(random_state)
            self.mean = _layers(n_channels, n_hidden, n_latents)
            self.log_std = _layers(n_channels, n_hidden, n_latents)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Encode data.

        Parameters
        ----------
        x : Tensor, shape (n_channels, n_samples)
            Data.

        Returns
        -------
        mean : Tensor, shape (n_latents, n_samples)
            Posterior mean.
        std : Tensor, shape (n_latents, n_samples)
            Posterior standard deviation; 1 is the prior's.
        """
        return self.mean(x.T).T, self.log_std(x.T).T.clamp(-12.0, 5.0).exp()

    def posterior(self, X: Tensor) -> Independent:
        """Encode data by the networks."""
        return Independent(*self(X))


class NetworkDecoder(nn.Module):
    """A decoder x | z by a network.

    Parameters
    ----------
    n_latents : int
        Latent dimension.
    n_channels : int
        Data dimension.
    n_hidden : int
        Units in each of the two hidden layers.
    random_state : int
        Seed of the weights.
    """

    def __init__(
        self, n_latents: int, n_channels: int, n_hidden: int = 64, random_state: int = 0
    ) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(random_state + 1)
            self.layers = _layers(n_latents, n_hidden, n_channels)

    def forward(self, z: Tensor) -> Tensor:
        """Decode latents.

        Parameters
        ----------
        z : Tensor, shape (n_latents, n_samples)
            Latents.

        Returns
        -------
        x : Tensor, shape (n_channels, n_samples)
            The mean of the data.
        """
        out: Tensor = self.layers(z.T).T
        return out
