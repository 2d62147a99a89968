"""SparseVAE: the estimator's face, its evidence and its errors."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from conftest import sparse_problem

from meg_vae import SparseVAE
from meg_vae.model import sparse_vae


@pytest.mark.parametrize("solver", ["exact", "gradient"])
@pytest.mark.parametrize("n_orient", [1, 3])
def test_finds_the_active_rows(solver, n_orient):
    case = sparse_problem(n_orient=n_orient, n_groups=30 // n_orient, n=100)
    model = SparseVAE(n_orient, solver=solver, min_log_evidence=10).fit(case.Phi, case.X)
    assert list(np.flatnonzero(model.active_)) == list(case.active)
    np.testing.assert_allclose(model.U_, case.U, atol=0.4)
    assert np.linalg.norm(model.U_ - case.U) < 0.05 * np.linalg.norm(case.U)  # zero would give 1
    assert model.noise_variance_ == pytest.approx(case.noise**2, rel=0.2)


def test_attributes_fit_together(grouped):
    model = SparseVAE(3, noise_variance=0.01).fit(grouped.Phi, grouped.X)
    np.testing.assert_allclose(model.w_x_**2, np.repeat(model.gamma_, 3))
    np.testing.assert_allclose(model.w_x_[:, None] * (model.W_z_ @ grouped.X), model.U_, atol=1e-10)
    np.testing.assert_allclose(model.transform(grouped.X), model.U_)
    assert model.energy_ == pytest.approx(model.history_[-1], rel=1e-9)
    total = sum(model.energy_terms(grouped.X).values())
    assert total == pytest.approx(40 * (model.energy_ + 45), rel=1e-9)
    assert (model.posterior_std() > 0).sum() == 3 * model.active_.sum()


def test_posterior_matches_bayes(problem):
    model = SparseVAE(noise_variance=0.01).fit(problem.Phi, problem.X)
    rows = np.flatnonzero(model.active_)
    A = problem.Phi[:, rows]
    precision = A.T @ A / 0.01 + np.diag(1 / model.gamma_[rows])
    covariance = np.linalg.inv(precision)
    np.testing.assert_allclose(model.U_[rows], covariance @ A.T @ problem.X / 0.01, atol=1e-9)
    np.testing.assert_allclose(model.posterior_std()[rows], np.sqrt(np.diag(covariance)), rtol=1e-6)


def test_log_evidence_is_the_log_likelihood_lost(problem):
    """The closed form against the Gaussian log density of the data with and without the row."""
    model = SparseVAE(noise_variance=0.01).fit(problem.Phi, problem.X)

    def log_likelihood(gamma):
        Sigma = (problem.Phi * gamma) @ problem.Phi.T + 0.01 * np.eye(20)
        sign, logdet = np.linalg.slogdet(Sigma)
        assert sign > 0
        fit = np.sum(problem.X * np.linalg.solve(Sigma, problem.X))
        return -0.5 * (problem.X.shape[1] * logdet + fit)

    for g in np.flatnonzero(model.active_):
        without = model.gamma_.copy()
        without[g] = 0
        lost = log_likelihood(model.gamma_) - log_likelihood(without)
        assert model.source_log_evidence_[g] == pytest.approx(lost, rel=1e-6, abs=1e-8)
    assert not model.source_log_evidence_[~model.active_].any()


def test_twins_are_kept_once():
    """Two equal columns split the evidence of one source; elimination keeps one of them."""
    case = sparse_problem(n_active=1, noise=1.0)
    g = int(case.active[0])
    rng = np.random.default_rng(0)
    near = case.Phi[:, g] + 0.02 * rng.standard_normal(20)
    between = (case.Phi[:, g] + near) / 2
    X = np.outer(between, case.U[g]) + rng.standard_normal((20, 40))
    Phi = np.column_stack([case.Phi, near])
    model = SparseVAE(noise_variance=1.0, min_log_evidence=10).fit(Phi, X)
    found = np.flatnonzero(model.active_)
    assert len(found) == 1
    assert found[0] in (g, 30)


def test_noise_alone_carries_no_evidence():
    rng = np.random.default_rng(0)
    for _ in range(20):
        model = SparseVAE(noise_variance=1.0, min_log_evidence=10)
        model.fit(rng.standard_normal((20, 200)), rng.standard_normal((20, 50)))
        assert not model.active_.any()
        assert not model.U_.any()


def test_fewer_effective_samples_carry_less_evidence(problem):
    all_, half = (
        SparseVAE(noise_variance=0.01).fit(problem.Phi, problem.X, n_effective=n) for n in (40, 20)
    )
    np.testing.assert_allclose(2 * half.source_log_evidence_, all_.source_log_evidence_)


def test_the_same_input_gives_the_same_answer(problem):
    one, two = (SparseVAE().fit(problem.Phi, problem.X) for _ in range(2))
    np.testing.assert_array_equal(one.U_, two.U_)


def test_docstring_example():
    assert doctest.testmod(sparse_vae).failed == 0


BAD = {
    "shapes that do not fit": (dict(), lambda P, X: (P, X[:-1]), "n_channels=20"),
    "a vector of data": (dict(), lambda P, X: (P, X[0]), "must have shape"),
    "NaN in the data": (dict(), lambda P, X: (P, X * np.nan), "X has NaN"),
    "inf in Φ": (dict(), lambda P, X: (P + np.inf, X), "Phi has NaN"),
    "zero Φ": (dict(), lambda P, X: (0 * P, X), "Phi is zero"),
    "empty Φ": (dict(), lambda P, X: (P[:, :0], X), "must be a matrix"),
    "n_orient that does not divide": (dict(n_orient=7), lambda P, X: (P, X), "does not divide"),
    "λ of zero": (dict(noise_variance=0.0), lambda P, X: (P, X), "must be positive"),
    "negative λ": (dict(noise_variance=-1), lambda P, X: (P, X), "must be positive"),
    "unknown λ": (dict(noise_variance="guess"), lambda P, X: (P, X), "'learn'"),
    "unknown orientation": (dict(orientation="x"), lambda P, X: (P, X), "'shared', 'full'"),
    "unknown solver": (dict(solver="magic"), lambda P, X: (P, X), "'exact', 'gradient'"),
    "tol of zero": (dict(tol=0), lambda P, X: (P, X), "tol=0"),
    "per channel by gradient": (
        dict(noise_variance="per_channel", solver="gradient"),
        lambda P, X: (P, X),
        "solver='exact'",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused(name, problem):
    options, spoil, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        SparseVAE(**options).fit(*spoil(problem.Phi, problem.X))


@pytest.mark.parametrize("n_effective", [0, -1, np.inf, np.nan])
def test_bad_number_of_samples_is_refused(problem, n_effective):
    with pytest.raises(ValueError, match="n_effective"):
        SparseVAE().fit(problem.Phi, problem.X, n_effective=n_effective)
