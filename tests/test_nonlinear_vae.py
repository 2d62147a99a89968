"""NonlinearVAE: where it must agree with the linear model, and where it must be better."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from meg_vae import NonlinearVAE, SparseVAE
from meg_vae.model.encoders import BentEncoder, TrainedEncoder
from meg_vae.model.nonlinear_decoders import HiddenDecoder, TailedDecoder, WarpedDecoder

ACTIVE = [3, 17, 60]
QUICK = {"min_log_evidence": 6.0, "max_iter": 150, "n_draws": 2}


def data(kind, scale=1.0, seed=0):
    """X = ΦU + noise of variance 1/4, with rows of some distribution."""
    rng = np.random.default_rng(seed)
    Phi, U = rng.standard_normal((30, 100)), np.zeros((100, 60))
    rows = rng.standard_normal((3, 60))
    bends = {"gaussian": lambda r: r, "heavy": lambda r: np.sinh(2 * r) / 2, "light": np.tanh}
    U[ACTIVE] = scale * bends[kind]((3 if kind == "light" else 1) * rows)
    return Phi, U, Phi @ U + 0.5 * rng.standard_normal((30, 60))


class Straight(WarpedDecoder):
    """A linear decoder that hides it."""

    def activity(self, z):
        return self.w_x[:, None] * z


@pytest.fixture(scope="module", params=["gaussian", "heavy", "light"])
def fitted(request):
    Phi, U, X = data(request.param, 0.1 if request.param == "heavy" else 1.0)
    return request.param, U, X, NonlinearVAE(**QUICK | {"max_iter": 300}).fit(Phi, X)


def test_a_linear_decoder_is_the_linear_model():
    """Two routes to one minimum: energy, λ, activity, deviation and evidence of each source."""
    Phi, _, X = data("gaussian", 0.1)
    linear = SparseVAE(min_log_evidence=6).fit(Phi, X)
    model = NonlinearVAE(Straight, **QUICK).fit(Phi, X)
    assert list(np.flatnonzero(model.active_)) == list(np.flatnonzero(linear.active_)) == ACTIVE
    assert model.energy_ == pytest.approx(linear.energy_, abs=0.3)
    assert abs(model.bending_log_evidence_) < 2
    assert model.noise_variance_ == pytest.approx(linear.noise_variance_, rel=0.05)
    evidence = model.source_log_evidence_[ACTIVE]
    np.testing.assert_allclose(evidence, linear.source_log_evidence_[ACTIVE], rtol=0.1, atol=3)
    wrong = np.linalg.norm(model.U_ - linear.U_) / np.linalg.norm(linear.U_)
    assert wrong < 0.1
    std = model.posterior_std(X)[ACTIVE].mean(1)
    np.testing.assert_allclose(std, linear.posterior_std()[ACTIVE], rtol=0.15)


def test_tails_are_learnt_where_there_are_some(fitted):
    kind, U, X, model = fitted
    assert list(np.flatnonzero(model.active_)) == ACTIVE
    bend = float(model.decoder_.log_bend.detach().exp())
    if kind == "gaussian":  # null control: nothing to gain, and nothing is claimed
        assert bend == pytest.approx(1, abs=0.2)
        assert -3 < model.bending_log_evidence_ < 1
    else:
        assert bend > 1.3 if kind == "heavy" else bend < 0.7
        assert model.bending_log_evidence_ > 10
    np.testing.assert_allclose(model.transform(X), model.U_)
    error, linear = (np.linalg.norm(one.U_ - U) for one in (model, model.linear_))
    assert error < 1.05 * linear < 0.2 * np.linalg.norm(U)
    assert not model.U_[np.setdiff1d(range(100), ACTIVE)].any()


def small(decoder, k, d):
    return TrainedEncoder(k, d, 1)


@pytest.mark.parametrize(("decoder", "encoder"), [(HiddenDecoder, None), (WarpedDecoder, small)])
def test_any_decoder_goes_with_any_encoder(decoder, encoder):
    Phi, _, X = data("gaussian", 0.1)
    model = NonlinearVAE(decoder, encoder, **QUICK).fit(Phi, X)
    assert list(np.flatnonzero(model.active_)) == ACTIVE
    assert (model.source_log_evidence_[ACTIVE] > 6).all()


@pytest.mark.parametrize("orientation", ["shared", "full"])
def test_dipoles_of_a_position_go_together(orientation):
    rng = np.random.default_rng(1)
    Phi, U = rng.standard_normal((30, 60)), np.zeros((20, 3, 40))
    U[[2, 11]] = rng.standard_normal((2, 3, 1)) * rng.standard_normal((2, 1, 40))
    X = Phi @ U.reshape(60, 40) + 0.3 * rng.standard_normal((30, 40))
    model = NonlinearVAE(n_orient=3, orientation=orientation, **QUICK).fit(Phi, X)
    assert list(np.flatnonzero(model.active_)) == [2, 11]
    assert model.U_.shape == (60, 40)
    assert np.linalg.norm(model.U_ - U.reshape(60, 40)) < 0.2 * np.linalg.norm(U)


def test_noise_alone_has_no_source():
    Phi, _, _ = data("gaussian")
    X = np.random.default_rng(2).standard_normal((30, 60))
    model = NonlinearVAE(min_log_evidence=10, max_iter=200).fit(Phi, X)
    assert not model.active_.any()
    assert not model.U_.any()
    assert model.energy_ == pytest.approx(30 * (np.log(np.mean(X**2)) + 1))
    assert model.bending_log_evidence_ == 0


def test_a_bend_and_its_inverse():
    decoder = TailedDecoder(torch.eye(2, dtype=torch.float64))
    z = torch.linspace(-4, 4, 18, dtype=torch.float64).reshape(2, 9).requires_grad_()
    for b in (0.3, 1.0, 2.5):
        with torch.no_grad():
            decoder.log_bend.fill_(np.log(b))
        u = decoder.activity(z)
        back, slope = decoder.straighten(u)
        torch.testing.assert_close(back, z)
        (steep,) = torch.autograd.grad(u.sum(), z)
        torch.testing.assert_close(slope * steep, torch.ones_like(z))
        ends = decoder.activity(torch.tensor([[-1.0, 0, 1]] * 2, dtype=torch.float64))
        torch.testing.assert_close(ends, torch.tensor([[-1.0, 0, 1]] * 2, dtype=torch.float64))
        if b == 1:
            torch.testing.assert_close(u, z)
        else:  # null control
            assert (u - z).abs().max() > 0.1


def test_what_a_bent_posterior_costs_is_its_divergence_from_the_prior():
    torch.manual_seed(0)
    decoder = TailedDecoder(torch.randn(5, 3, dtype=torch.float64))
    encoder = BentEncoder(decoder, 3, 5)
    with torch.no_grad():
        decoder.log_bend.fill_(0.7)
        for parameter in encoder.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, dtype=torch.float64)
        posterior = encoder.posterior(torch.randn(5, 4, dtype=torch.float64))
        z = torch.stack(
            [posterior.at(torch.randn(3, 4, dtype=torch.float64)) for _ in range(20000)]
        )
        factors = posterior.slope.T[:, :, None] * posterior.S
        q = torch.distributions.MultivariateNormal(posterior.mean.T, factors @ factors.mT)
        prior = torch.distributions.Normal(0.0, 1.0)
        exact = 2 * (q.log_prob(z.mT).sum(1) - prior.log_prob(z).sum((1, 2))).mean()
        torch.testing.assert_close(posterior.cost() - z[0].numel(), exact, rtol=1e-2, atol=0.1)
        P = torch.randn(4, 3, dtype=torch.float64)
        torch.testing.assert_close(
            posterior.spread_through(P), (P @ z).var(0).sum(), rtol=2e-2, atol=0
        )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"noise_variance": "anneal"}, "noise_variance='anneal' must be 'learn'"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"n_draws": -1}, "n_draws"),
        ({"n_draws": 1.5}, "n_draws=1.5 must be a whole number"),
        ({"max_iter": True}, "max_iter=True must be a whole number"),
        ({"min_log_evidence": -3}, "min_log_evidence=-3 must be a number of nats"),
        ({"min_log_evidence": "a"}, "min_log_evidence='a' must be a number of nats"),
        ({"orientation": "radial"}, "orientation"),
    ],
)
def test_wrong_options_are_named(options, said):
    Phi, _, X = data("gaussian")
    with pytest.raises(ValueError, match=said):
        NonlinearVAE(**options).fit(Phi, X)


def test_a_decoder_is_what_makes_a_module():
    Phi, _, X = data("gaussian")
    with pytest.raises(TypeError, match="decoder='warped' must make a module"):
        NonlinearVAE(decoder="warped").fit(Phi, X)


def test_the_same_seed_gives_the_same_answer():
    Phi, _, X = data("gaussian", 0.1)
    one, two = (NonlinearVAE(max_iter=30, min_log_evidence=6).fit(Phi, X).U_ for _ in range(2))
    np.testing.assert_array_equal(one, two)
