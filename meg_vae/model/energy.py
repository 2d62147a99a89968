r"""The energy of the linear Gaussian VAE, term by term, and its profile.

For X = ΦU, with a decoder x | z ~ N(Φ diag(w_x) z, λI), an encoder z | x ~ N(W_z x, S Sᵀ) and a
prior z ~ N(0, I), the energy (twice the negative evidence lower bound, up to a constant) has the
closed form

.. math::

    L = \tfrac1λ\|X - Φ D W_z X\|^2 + \tfrac nλ \operatorname{tr}(Φ D S S^T D Φ^T) + n d \log λ
        + n \operatorname{tr}(S S^T) - n \log|S S^T| + \|W_z X\|^2, \qquad D = diag(w_x).

The best encoder for a fixed decoder leaves the profile L / n = J(γ, λ) + n_dipoles with

.. math::

    J = \log|Σ| + \operatorname{tr}(C Σ^{-1}), \quad Σ = λI + Φ diag(γ) Φ^T,
    \quad C = X X^T / n, \quad γ = w_x^2,

which is the sparse-Bayesian (type-II) likelihood. Everything here is dimensionless: X and Φ are
whitened.

References
----------
D. Wipf, "Marginalization is not Marginal: No Bad VAE Local Minima when Learning Optimal Sparse
Representations", ICML 2023.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class EnergyTerms:
    """The six terms of the energy, each a scalar tensor in nats × 2 (their sum is the energy L).

    Attributes
    ----------
    reconstruction : Tensor
        Misfit of the posterior mean, ‖X − Φ diag(w_x) W_z X‖² / λ.
    decoder_variance : Tensor
        What the encoder's covariance adds to the misfit, n tr(Φ diag(w_x) S Sᵀ diag(w_x) Φᵀ) / λ.
    noise_volume : Tensor
        n d log λ.
    encoder_variance : Tensor
        n tr(S Sᵀ).
    encoder_entropy : Tensor
        −n log|S Sᵀ|.
    encoder_mean : Tensor
        ‖W_z X‖².
    """

    reconstruction: Tensor
    decoder_variance: Tensor
    noise_volume: Tensor
    encoder_variance: Tensor
    encoder_entropy: Tensor
    encoder_mean: Tensor

    def total(self) -> Tensor:
        """Sum the terms.

        Returns
        -------
        energy : Tensor
            The scalar energy L.
        """
        total: Tensor = sum(vars(self).values(), start=torch.zeros(()))
        return total


def energy_terms(
    X: Tensor, decoder: Tensor, noise_variance: Tensor, W_z: Tensor, S: Tensor
) -> EnergyTerms:
    """Evaluate the energy of the linear VAE term by term.

    Parameters
    ----------
    X : Tensor, shape (n_channels, n_samples)
        Whitened data.
    decoder : Tensor, shape (n_channels, n_dipoles)
        Decoder matrix Φ diag(w_x).
    noise_variance : Tensor, shape () or (n_channels,)
        Decoder noise variance λ, one for all channels or one each.
    W_z : Tensor, shape (n_dipoles, n_channels)
        Encoder mean map.
    S : Tensor, shape (n_dipoles, n_dipoles)
        A factor of the encoder covariance S Sᵀ.

    Returns
    -------
    terms : EnergyTerms
        The six terms.
    """
    d, n = X.shape
    noise = noise_variance.expand(d)
    mean = W_z @ X
    return EnergyTerms(
        reconstruction=((X - decoder @ mean).square() / noise[:, None]).sum(),
        decoder_variance=n * ((decoder @ S).square() / noise[:, None]).sum(),
        noise_volume=n * noise.log().sum(),
        encoder_variance=n * S.square().sum(),
        encoder_entropy=-2 * n * torch.linalg.slogdet(S).logabsdet,
        encoder_mean=mean.square().sum(),
    )


def marginal_energy(X: Tensor, decoder: Tensor, noise_variance: Tensor) -> Tensor:
    """J of a decoder matrix P at its best encoder.

    From RᵀR = Σ by an orthogonal factorisation of P and √λ I, accurate even where γ/λ is so large
    that Σ has no Cholesky factor.

    Parameters
    ----------
    X : Tensor, shape (n_channels, n_samples)
        Whitened data.
    decoder : Tensor, shape (n_channels, n_dipoles)
        Decoder matrix P.
    noise_variance : Tensor, shape ()
        λ.

    Returns
    -------
    J : Tensor, shape ()
        The profile, in nats × 2 per sample.
    """
    d, n = X.shape
    noise = noise_variance.sqrt() * torch.eye(d, dtype=decoder.dtype)
    R = torch.linalg.qr(torch.cat([decoder.T, noise])).R
    fit = torch.linalg.solve_triangular(R.T, X, upper=False).square().sum() / n
    return 2 * R.diagonal().abs().log().sum() + fit


def model_covariance(Phi: Tensor, gamma: Tensor, noise_variance: Tensor) -> Tensor:
    """Covariance of the data under the decoder, Σ = λI + Φ diag(γ) Φᵀ.

    Parameters
    ----------
    Phi : Tensor, shape (n_channels, n_dipoles)
        Dictionary.
    gamma : Tensor, shape (n_groups,)
        Prior variance per position; n_groups divides n_dipoles.
    noise_variance : Tensor, shape () or (n_channels,)
        Noise variance λ.

    Returns
    -------
    Sigma : Tensor, shape (n_channels, n_channels)
        The covariance.
    """
    per_dipole = gamma.repeat_interleave(Phi.shape[1] // gamma.shape[0])
    return (Phi * per_dipole) @ Phi.T + torch.diag(noise_variance.expand(Phi.shape[0]))


def profile(Phi: Tensor, gamma: Tensor, noise_variance: Tensor, C: Tensor) -> Tensor:
    """Energy per sample at the optimal encoder, J = log|Σ| + tr(C Σ⁻¹).

    Parameters
    ----------
    Phi : Tensor, shape (n_channels, n_dipoles)
        Dictionary.
    gamma : Tensor, shape (n_groups,)
        Prior variance per position.
    noise_variance : Tensor, shape () or (n_channels,)
        Noise variance λ.
    C : Tensor, shape (n_channels, n_channels)
        Data covariance X Xᵀ / n.

    Returns
    -------
    J : Tensor, shape ()
        The profile, in nats × 2 per sample.
    """
    L = torch.linalg.cholesky(model_covariance(Phi, gamma, noise_variance))
    J: Tensor = 2 * L.diagonal().log().sum() + torch.cholesky_solve(C, L).trace()
    return J


def profile_gradient(
    Phi: Tensor, gamma: Tensor, noise_variance: Tensor, C: Tensor
) -> tuple[Tensor, Tensor]:
    """Give the two halves of the gradient of J: ∂J/∂γ_g = s_g − q_g.

    Parameters
    ----------
    Phi : Tensor, shape (n_channels, n_dipoles)
        Dictionary.
    gamma : Tensor, shape (n_groups,)
        Prior variance per position.
    noise_variance : Tensor, shape () or (n_channels,)
        Noise variance λ.
    C : Tensor, shape (n_channels, n_channels)
        Data covariance.

    Returns
    -------
    s : Tensor, shape (n_groups,)
        tr_g(Φᵀ Σ⁻¹ Φ), the pull of the volume term.
    q : Tensor, shape (n_groups,)
        tr_g(Φᵀ Σ⁻¹ C Σ⁻¹ Φ), the pull of the data.
    """
    precision = torch.linalg.inv(model_covariance(Phi, gamma, noise_variance))
    weighted = precision @ Phi
    s = (Phi * weighted).sum(0).reshape(len(gamma), -1).sum(1)
    q = (weighted * (C @ weighted)).sum(0).reshape(len(gamma), -1).sum(1)
    return s, q


def profile_curvature(Phi: Tensor, gamma: Tensor, noise_variance: Tensor, C: Tensor) -> Tensor:
    """Second derivatives of J: ∂²J/∂γ_g∂γ_h = 2⟨K_gh, M_gh⟩ − ‖K_gh‖².

    Parameters
    ----------
    Phi : Tensor, shape (n_channels, n_dipoles)
        Dictionary.
    gamma : Tensor, shape (n_groups,)
        Prior variance per position.
    noise_variance : Tensor, shape () or (n_channels,)
        Noise variance λ.
    C : Tensor, shape (n_channels, n_channels)
        Data covariance.

    Returns
    -------
    H : Tensor, shape (n_groups, n_groups)
        The Hessian, with K = Φᵀ Σ⁻¹ Φ and M = Φᵀ Σ⁻¹ C Σ⁻¹ Φ in blocks of one position.
    """
    weighted = torch.linalg.inv(model_covariance(Phi, gamma, noise_variance)) @ Phi
    K, M = Phi.T @ weighted, weighted.T @ C @ weighted
    shape = (len(gamma), -1, len(gamma), Phi.shape[1] // len(gamma))
    H: Tensor = (K * (2 * M - K)).reshape(shape).sum((1, 3))
    return H
