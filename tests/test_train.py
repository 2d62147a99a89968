"""Gradient training against the exact minimiser: one energy, two routes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import sparse_problem

from meg_vae.model.decoders import BlockDecoder, RowScaleDecoder
from meg_vae.model.encoders import TrainedEncoder
from meg_vae.model.exact.dictionary import Dictionary
from meg_vae.model.networks import NetworkEncoder
from meg_vae.model.nonlinear_decoders import WarpedDecoder
from meg_vae.model.solve import solve
from meg_vae.model.train import _Energy, train


@pytest.fixture
def easy():
    """A problem with one minimum: more samples than channels, more channels than columns."""
    return sparse_problem(d=12, n_groups=8, n=60, n_active=2, noise=0.3)


def normalised(case):
    """Φ with unit columns, and X."""
    Phi = torch.as_tensor(case.Phi / np.linalg.norm(case.Phi, axis=0))
    return Phi, torch.as_tensor(case.X)


@pytest.mark.parametrize("noise", ["learn", 0.09])
def test_profiled_training_reaches_the_exact_energy(easy, noise):
    Phi, X = normalised(easy)
    exact = solve(Dictionary(Phi), X, noise_variance=noise)
    trained = train(RowScaleDecoder(Phi), X, noise_variance=noise)
    assert float(trained.history[-1]) == pytest.approx(float(exact.energy), rel=1e-4)
    assert float(trained.noise_variance) == pytest.approx(float(exact.noise_variance), rel=1e-2)
    assert float(trained.history[0]) > float(exact.energy) + 1  # null control: the start is not it


def test_training_encoder_and_decoder_reaches_the_exact_energy(easy):
    Phi, X = normalised(easy)
    exact = solve(Dictionary(Phi), X, noise_variance=0.09)
    encoder = TrainedEncoder(8, 12)
    trained = train(RowScaleDecoder(Phi), X, encoder=encoder, noise_variance=0.09, max_iter=4000)
    assert trained.encoder is encoder
    assert float(trained.history[-1]) == pytest.approx(float(exact.energy), rel=1e-4)


def test_adam_reaches_the_exact_energy(easy):
    Phi, X = normalised(easy)
    exact = solve(Dictionary(Phi), X, noise_variance=0.09)
    trained = train(
        RowScaleDecoder(Phi),
        X,
        noise_variance=0.09,
        optimizer="adam",
        learning_rate=0.2,
        max_iter=2000,
    )
    assert float(trained.history[-1]) == pytest.approx(float(exact.energy), rel=1e-3)


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_training_stops_early_and_shows_progress(easy, optimizer, capsys):
    """Long before max_iter, once the energy no longer falls; the bar counts the steps taken."""
    Phi, X = normalised(easy)
    options = {"noise_variance": 0.09, "optimizer": optimizer, "learning_rate": 0.2, "tol": 1e-5}
    trained = train(RowScaleDecoder(Phi), X, max_iter=3000, progress=True, **options)
    assert 10 < len(trained.history) < 1500
    assert "energy=" in capsys.readouterr().err
    exact = solve(Dictionary(Phi), X, noise_variance=0.09)
    assert float(trained.history[-1]) == pytest.approx(float(exact.energy), rel=1e-3)
    quiet = train(RowScaleDecoder(Phi), X, max_iter=5, **options)
    assert len(quiet.history) <= 6
    assert float(quiet.history[-1]) > float(trained.history[-1])  # null control: too early
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "sgd"}, "optimizer='sgd' is unknown"),
        ({"noise_variance": "per_channel"}, "noise_variance='per_channel' is unknown"),
        ({"noise_variance": -1.0}, "noise_variance=-1.0 must be positive"),
    ],
)
def test_unknown_options_are_named(easy, options, message):
    Phi, X = normalised(easy)
    with pytest.raises(ValueError, match=message):
        train(RowScaleDecoder(Phi), X, **options)


def test_block_decoder_reaches_the_exact_energy(grouped):
    Phi = torch.as_tensor(grouped.Phi[:, :12])
    X = torch.as_tensor(grouped.X)
    exact = solve(Dictionary(Phi, 3), X, noise_variance=0.5, orientation="full")
    trained = train(BlockDecoder(Phi, 3), X, noise_variance=0.5)
    assert float(trained.history[-1]) == pytest.approx(float(exact.energy), rel=1e-4)


def test_sampled_energy_of_a_nonlinear_decoder_is_the_closed_one(easy):
    """A module that hides that it is linear must end where the closed form ends, up to sampling."""
    Phi, X = normalised(easy)

    class Hidden(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = RowScaleDecoder(Phi)

        def forward(self, z):
            return self.inner(z)

    exact = solve(Dictionary(Phi), X, noise_variance=0.3)
    trained = train(
        Hidden(),
        X,
        encoder=TrainedEncoder(8, 12),
        noise_variance=0.3,
        optimizer="adam",
        max_iter=1500,
        n_draws=4,
        learning_rate=0.03,
    )
    left = float(trained.history[-50:].mean() - exact.energy)
    assert abs(left) < 0.02 * float(trained.history[0] - exact.energy)
    with pytest.raises(ValueError, match="nonlinear decoder"):
        train(Hidden(), X, optimizer="adam")


def test_annealed_training_recovers(problem):
    Phi = torch.as_tensor(problem.Phi / np.linalg.norm(problem.Phi, axis=0))
    decoder = RowScaleDecoder(Phi)
    X = torch.as_tensor(problem.Phi @ problem.U)
    trained = train(decoder, X, noise_variance="anneal", max_iter=3000)
    found = np.flatnonzero((decoder.gamma > 1e-4 * decoder.gamma.max()).numpy())
    assert list(found) == list(problem.active)
    assert float(trained.noise_variance) < 1e-9 * float(X.square().mean()) * 1.01


def test_same_seed_same_history(easy):
    Phi, X = normalised(easy)
    one, two = (train(RowScaleDecoder(Phi), X, max_iter=20).history for _ in range(2))
    assert torch.equal(one, two)


def test_diverging_training_says_so(easy):
    Phi, X = normalised(easy)
    with pytest.raises(FloatingPointError, match="learning_rate"):
        train(RowScaleDecoder(Phi), X * 1e200, noise_variance=1e-300, optimizer="adam", max_iter=5)


@pytest.mark.parametrize("kind", ["one covariance", "networks"])
def test_any_decoder_goes_with_any_encoder(easy, kind):
    """What is known in closed form is what draws come to; a decoder that hides its matrix draws."""
    Phi, X = normalised(easy)
    encoder = TrainedEncoder(8, 12) if kind == "one covariance" else NetworkEncoder(8, 12, 16)
    linear = RowScaleDecoder(Phi)

    class Hidden(torch.nn.Module):
        """The same, of which only draws can be decoded."""

        def __init__(self):
            super().__init__()
            self.own = linear

        def forward(self, z):
            """Decode."""
            return self.own(z)

    noise = torch.tensor(0.09, dtype=torch.float64).log()
    with torch.no_grad():
        known, drawn = (
            float(_Energy(decoder, encoder, X, noise, n_draws, 0)())
            for decoder, n_draws in ((linear, 0), (Hidden(), 4000))
        )
        few = float(_Energy(Hidden(), encoder, X, noise, 1, 0)())
    assert drawn == pytest.approx(known, rel=2e-3)
    assert abs(few - known) > abs(drawn - known)  # null control: a single draw is off


@pytest.mark.parametrize("kind", ["one covariance", "networks"])
def test_what_a_posterior_costs_is_its_divergence_from_the_prior(easy, kind):
    """In closed form and by draws; what passes through a matrix too."""
    X = normalised(easy)[1]
    generator = torch.Generator().manual_seed(1)
    encoder = TrainedEncoder(8, 12) if kind == "one covariance" else NetworkEncoder(8, 12, 16)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
        posterior = encoder.posterior(X)
        draws = torch.randn(4000, *posterior.mean.shape, generator=generator, dtype=X.dtype)
        z = torch.stack([posterior.at(draw) for draw in draws])
        P = torch.randn(5, 8, generator=generator, dtype=X.dtype)
        passed = (P @ z).var(0).sum()
        torch.testing.assert_close(posterior.spread_through(P), passed, rtol=1e-2, atol=0)
        if kind == "networks":
            q = torch.distributions.Normal(posterior.mean, encoder(X)[1])
            log_q = q.log_prob(z).sum((1, 2))
        else:
            q = torch.distributions.MultivariateNormal(posterior.mean.T, scale_tril=encoder.S)
            log_q = q.log_prob(z.mT).sum(1)
        log_p = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum((1, 2))
        divergence = 2 * (log_q - log_p).mean()
        assert divergence > 1  # null control: it is not the prior
        torch.testing.assert_close(posterior.cost() - z[0].numel(), divergence, rtol=1e-2, atol=0.1)


def test_a_nonlinear_decoder_needs_an_encoder(easy):
    Phi, X = normalised(easy)
    with pytest.raises(ValueError, match="nonlinear decoder needs an encoder"):
        train(WarpedDecoder(Phi), X)
    ended = train(
        WarpedDecoder(Phi),
        X,
        encoder=NetworkEncoder(8, 12, 16),
        optimizer="adam",
        learning_rate=0.02,
        max_iter=60,
        noise_variance=0.09,
    )
    assert ended.history[-5:].mean() < ended.history[:5].mean()
