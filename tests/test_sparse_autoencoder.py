"""SparseAutoencoder: its descent, its stated energy, its units, and its errors."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from conftest import sparse_problem

from meg_vae import SparseAutoencoder, SparseVAE
from meg_vae.model import sparse_autoencoder
from meg_vae.model.exact.dictionary import Dictionary
from meg_vae.model.penalties import row_penalty
from meg_vae.model.reweighted import twin_energy

D, K = 15, 40


def problem(n_active):
    """A noiseless problem with more columns than channels, and as many samples."""
    return sparse_problem(D, K, D, n_active=n_active, noise=0.0)


@pytest.mark.parametrize("penalty", ["l21", "lp", "log"])
@pytest.mark.parametrize("decoder_penalty", ["squared", "bounded"])
def test_twin_recovers_an_easy_problem(penalty, decoder_penalty):
    case = problem(3)
    model = SparseAutoencoder(penalty=penalty, decoder_penalty=decoder_penalty)
    model.fit(case.Phi, case.X)
    assert np.allclose(model.U_, case.U, atol=1e-4)
    np.testing.assert_array_equal(model.active_, case.U.any(axis=1))
    assert not np.allclose(0, case.U, atol=1e-4)


def test_twin_energy_falls_and_is_the_stated_one():
    case = problem(10)
    noise = 1e-3 * float(np.mean(case.X**2))
    for options in ({"penalty": "log"}, {"penalty": "lp", "decoder_penalty": "bounded"}):
        model = SparseAutoencoder(
            noise_variance=noise, anneal=False, random_start=True, n_starts=1, **options
        )
        model.fit(case.Phi, case.X)
        assert np.diff(model.history_).max() <= 1e-9 * abs(model.energy_)
        assert model.history_[0] > model.energy_ + 1
        stated = twin_energy(
            case.Phi, case.X, model.U_, row_penalty(**options), noise_variance=noise
        )
        assert stated == pytest.approx(model.energy_, rel=1e-3)


def test_twin_decoder_scales_are_at_their_best():
    case = problem(5)
    model = SparseAutoencoder(penalty="l21").fit(case.Phi, case.X)
    w = (model.w_x_ * np.linalg.norm(case.Phi, axis=0))[model.active_] / np.sqrt(np.mean(case.X**2))
    z = np.linalg.norm((model.W_z_ @ case.X)[model.active_], axis=1) / np.sqrt(D)

    def cost(t):
        return (t * w) ** 2 + z / t

    assert (cost(1.0) <= cost(0.99)).all()
    assert (cost(1.0) <= cost(1.01)).all()


def test_twin_does_not_depend_on_units():
    case = problem(5)
    plain = SparseAutoencoder().fit(case.Phi, case.X)
    scaled = SparseAutoencoder().fit(1e6 * case.Phi, 1e-9 * case.X)
    np.testing.assert_allclose(1e15 * scaled.U_, plain.U_, rtol=1e-5, atol=1e-8)


def test_twin_groups_share_a_penalty():
    rng = np.random.default_rng(0)
    Phi, U = rng.standard_normal((15, 60)), np.zeros((60, 15))
    U[6:9], U[30:33] = rng.standard_normal((2, 3, 15))
    model = SparseAutoencoder(3).fit(Phi, Phi @ U)
    np.testing.assert_array_equal(np.flatnonzero(model.active_), [2, 10])
    np.testing.assert_allclose(model.U_, U, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"penalty": "l0"}, "penalty='l0'"),
        ({"decoder_penalty": "none"}, "decoder_penalty='none'"),
        ({"noise_variance": "learn"}, "cannot learn"),
        ({"noise_variance": -1.0}, "noise_variance=-1.0"),
        ({"p": 1.5}, "p=1.5"),
        ({"n_starts": 0}, "n_starts=0"),
        ({"anneal": False}, "needs anneal=True"),
    ],
)
def test_twin_refuses_bad_options(options, message):
    case = problem(2)
    with pytest.raises(ValueError, match=message):
        SparseAutoencoder(**options).fit(case.Phi, case.X)


@pytest.mark.parametrize("n_orient", [1, 3])
@pytest.mark.parametrize(
    "model_of", [SparseAutoencoder, lambda o: SparseVAE(o, noise_variance="anneal")]
)
def test_twin_and_vae_have_one_face(model_of, n_orient):
    case = sparse_problem(D, 12, D, n_orient=n_orient, n_active=2, noise=0.0)
    model = model_of(n_orient).fit(case.Phi, case.X)
    assert list(np.flatnonzero(model.active_)) == list(case.active)
    rows = model.active_dipoles_
    assert list(rows) == list(np.flatnonzero(case.U.any(axis=1)))
    assert not np.delete(model.W_z_, rows, axis=0).any()
    np.testing.assert_allclose(model.inverse_map_, model.w_x_[rows, None] * model.W_z_[rows])
    np.testing.assert_allclose(model.w_x_[:, None] * (model.W_z_ @ case.X), model.U_, atol=1e-12)
    np.testing.assert_allclose(model.transform(2 * case.X), 2 * model.U_)
    with pytest.raises(ValueError, match="n_channels=15"):
        model.transform(case.X[1:])
    with pytest.raises(ValueError, match="prepared with n_orient=2"):
        model.fit(Dictionary(np.ones((D, 4)), 2), case.X)


def test_twin_refuses_zero_data():
    with pytest.raises(ValueError, match="X is zero"):
        SparseAutoencoder().fit(np.eye(3), np.zeros((3, 2)))


def test_twin_says_when_it_has_not_settled():
    case = problem(10)
    with pytest.warns(RuntimeWarning, match="max_iter=2"):
        SparseAutoencoder(max_iter=2, anneal=False, noise_variance=1e-3).fit(case.Phi, case.X)


def test_penalty_is_the_least_cost_over_the_decoder_scale():
    import torch

    scale = torch.logspace(-4, 4, 4001, dtype=torch.float64)
    for p, name in ((1.0, "l21"), (0.5, "lp")):
        for r in (0.1, 1.0, 7.0):
            cost = scale**2 + (r / scale) ** p
            stated = row_penalty(name, 0.5).value(torch.tensor(r**2, dtype=torch.float64))
            assert float(stated) == pytest.approx(float(cost.min()), rel=1e-4)
            best = row_penalty(name, 0.5).scales(torch.tensor(r, dtype=torch.float64))
            assert float(best) == pytest.approx(float(scale[cost.argmin()]), rel=0.01)


def test_examples_in_the_docstring():
    assert doctest.testmod(sparse_autoencoder).failed == 0
