"""The energy: its terms, its profile, its derivatives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.autograd.functional import hessian, jacobian

from meg_vae.model.encoders import TrainedEncoder, optimal_encoder
from meg_vae.model.energy import (
    energy_terms,
    model_covariance,
    profile,
    profile_curvature,
    profile_gradient,
)


@pytest.fixture(params=[1, 3], ids=["groups of 1", "groups of 3"])
def setting(request):
    """Random Φ, γ, λ and X."""
    rng = torch.Generator().manual_seed(request.param)
    d, n, groups = 7, 11, 6
    Phi = torch.randn(d, groups * request.param, generator=rng, dtype=torch.float64)
    X = torch.randn(d, n, generator=rng, dtype=torch.float64)
    gamma = torch.rand(groups, generator=rng, dtype=torch.float64)
    return Phi, gamma, X, torch.tensor(0.3, dtype=torch.float64)


def decoder_of(Phi, gamma):
    """Φ diag(w_x)."""
    return Phi * gamma.sqrt().repeat_interleave(Phi.shape[1] // len(gamma))


def test_profile_is_energy_at_optimal_encoder(setting):
    Phi, gamma, X, noise = setting
    decoder = decoder_of(Phi, gamma)
    encoder = optimal_encoder(decoder, noise)
    total = energy_terms(X, decoder, noise, encoder.W_z, encoder.S).total()
    J = profile(Phi, gamma, noise, X @ X.T / X.shape[1])
    assert float(total / X.shape[1] - Phi.shape[1]) == pytest.approx(float(J), rel=1e-10)


def test_optimal_encoder_is_optimal(setting):
    Phi, gamma, X, noise = setting
    decoder = decoder_of(Phi, gamma)
    encoder = optimal_encoder(decoder, noise)
    W_z, S = (T.clone().requires_grad_() for T in (encoder.W_z, encoder.S))
    energy_terms(X, decoder, noise, W_z, S).total().backward()
    assert W_z.grad.abs().max() < 1e-9
    assert S.grad.abs().max() < 1e-9
    other = TrainedEncoder(Phi.shape[1], len(X))  # null control: another encoder is worse
    worse = energy_terms(X, decoder, noise, other.W_z, other.S).total()
    assert worse > energy_terms(X, decoder, noise, encoder.W_z, encoder.S).total() + 1


def test_energy_is_the_evidence_bound_of_the_vae(setting):
    """The closed form against an average over draws of z from the encoder."""
    Phi, gamma, X, noise = setting
    decoder = decoder_of(Phi, gamma)
    encoder = TrainedEncoder(Phi.shape[1], len(X), random_state=1)
    draws = torch.randn(
        4000,
        Phi.shape[1],
        X.shape[1],
        dtype=torch.float64,
        generator=torch.Generator().manual_seed(0),
    )
    z = encoder.W_z @ X + encoder.S @ draws
    misfit = (X - decoder @ z).square().sum((1, 2)).mean() / noise
    terms = energy_terms(X, decoder, noise, encoder.W_z, encoder.S)
    closed = float((terms.reconstruction + terms.decoder_variance).detach())
    assert float(misfit.detach()) == pytest.approx(closed, rel=0.02)


@pytest.mark.parametrize("per_channel", [False, True])
def test_gradient_and_curvature_match_autograd(setting, per_channel):
    Phi, gamma, X, noise = setting
    if per_channel:
        noise = torch.linspace(0.2, 0.5, len(X), dtype=torch.float64)
    C = X @ X.T / X.shape[1]
    s, q = profile_gradient(Phi, gamma, noise, C)
    auto = jacobian(lambda at: profile(Phi, at, noise, C), gamma)
    torch.testing.assert_close(s - q, auto, rtol=1e-9, atol=1e-9)
    auto = hessian(lambda at: profile(Phi, at, noise, C), gamma)
    torch.testing.assert_close(profile_curvature(Phi, gamma, noise, C), auto, rtol=1e-9, atol=1e-9)


def test_profile_depends_on_data_through_covariance_alone(setting):
    Phi, gamma, X, noise = setting
    C = X @ X.T / X.shape[1]
    twice = torch.cat([X, X], 1)
    np.testing.assert_allclose(
        profile(Phi, gamma, noise, C), profile(Phi, gamma, noise, twice @ twice.T / twice.shape[1])
    )
    assert torch.linalg.eigvalsh(model_covariance(Phi, gamma, noise))[0] >= noise - 1e-12
