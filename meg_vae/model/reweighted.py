"""The autoencoder's energy, and reweighted least squares, every step of which lowers it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from meg_vae.model.checks import check_data, check_positive
from meg_vae.model.exact.dictionary import Dictionary
from meg_vae.model.penalties import RowPenalty

#: Variance below which a row norm is rounded off, relative to the data's mean power.
SMOOTHING = 1e-10


@dataclass(frozen=True)
class Step:
    """A step from several starts at once.

    Attributes
    ----------
    energy : Tensor, shape (n_starts,)
        Energy per sample at the step.
    norms : Tensor, shape (n_starts, n_groups)
        Row norms there.
    gamma : Tensor, shape (n_starts, n_groups)
        Weights after it.
    """

    energy: Tensor
    norms: Tensor
    gamma: Tensor


@dataclass(frozen=True)
class Reweighted:
    """The problem that is solved anew at each step.

    Attributes
    ----------
    dictionary : Dictionary
        Φ.
    F : Tensor, shape (n_channels, k)
        Factor of the data covariance, for data of mean power 1.
    penalty : RowPenalty
        Cost of a row.
    """

    dictionary: Dictionary
    F: Tensor
    penalty: RowPenalty

    def step(self, gamma: Tensor, noise: Tensor, smoothing: Tensor) -> Step:
        """Solve the weighted least squares for every start, and weigh anew.

        Parameters
        ----------
        gamma : Tensor, shape (n_starts, n_groups)
            Weights.
        noise, smoothing : Tensor, shape (n_starts,)
            λ, and the variance below which row norms are rounded off.

        Returns
        -------
        step : Step
            The solution's energy and norms, and the next weights.
        """
        Y = torch.cholesky_solve(self.F, torch.linalg.cholesky(self._covariance(gamma, noise)))
        seen = (self.dictionary.Phi.T @ Y).square().sum(2)
        square = gamma**2 * seen.reshape(*gamma.shape, -1).sum(2)
        # the residual of the least squares is λY
        fit = noise * Y.square().sum((1, 2)) + len(self.F) * noise.log()
        visible = ~self.dictionary.silent
        rounded = square + smoothing[:, None]
        energy = fit + self.penalty.value(rounded[:, visible]).sum(1)
        return Step(energy, square.sqrt(), self.penalty.variance(rounded) * visible)

    def inverse_map(self, gamma: Tensor, noise: Tensor) -> Tensor:
        """Give the map from data to activity at some weights.

        Parameters
        ----------
        gamma : Tensor, shape (n_groups,)
            Weights.
        noise : Tensor, shape ()
            λ.

        Returns
        -------
        inverse_map : Tensor, shape (n_dipoles, n_channels)
            diag(γ) Φᵀ Σ⁻¹.
        """
        Phi = self.dictionary.Phi
        repeated = gamma.repeat_interleave(self.dictionary.n_orient)
        return repeated[:, None] * torch.linalg.solve(self._covariance(gamma, noise), Phi).T

    def _covariance(self, gamma: Tensor, noise: Tensor) -> Tensor:
        """Σ = Φ diag(γ) Φᵀ + λI for every start."""
        Phi = self.dictionary.Phi
        weighted = gamma.repeat_interleave(self.dictionary.n_orient, -1)[..., None, :] * Phi
        return weighted @ Phi.T + noise[..., None, None] * torch.eye(len(Phi), dtype=Phi.dtype)


def twin_energy(
    Phi: ArrayLike,
    X: ArrayLike,
    U: ArrayLike,
    penalty: RowPenalty,
    *,
    noise_variance: float,
    smoothing: float = SMOOTHING,
) -> float:
    """Evaluate the autoencoder's energy per sample at any activity, at the best decoder scales.

    Parameters
    ----------
    Phi : array_like, shape (n_channels, n_groups)
        Dictionary; one column per position.
    X : array_like, shape (n_channels, n_samples)
        Data.
    U : array_like, shape (n_groups, n_samples)
        Activity; rows outside the row space of X are out of an encoder's reach.
    penalty : RowPenalty
        Cost of a row.
    noise_variance : float
        λ, in the unit of X squared.
    smoothing : float
        Variance below which a row norm is rounded off, relative to the data's mean power.

    Returns
    -------
    energy : float
        Energy per sample in the units of `SparseAutoencoder`.

    Raises
    ------
    ValueError
        If λ is not positive or the data do not fit the dictionary.
    """
    check_positive("noise_variance", noise_variance)
    dictionary = Dictionary(Phi)
    data = check_data(X, dictionary.n_channels)
    scale = float(np.sqrt(np.mean(data**2)))
    rows = torch.as_tensor(np.asarray(U, dtype=np.float64) / scale) * dictionary.norms[:, None]
    n = data.shape[1]
    residual = (torch.as_tensor(data / scale) - dictionary.Phi @ rows).square().sum() / n
    noise = noise_variance / scale**2
    cost = penalty.value(rows.square().sum(1) / n + smoothing).sum()
    return float(residual / noise + len(data) * np.log(noise) + cost)
