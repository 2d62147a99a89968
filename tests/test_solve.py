"""The exact minimiser: optimality, invariances, hard cases."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from conftest import sparse_problem
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd.functional import hessian, jacobian

from meg_vae.model.energy import profile, profile_gradient
from meg_vae.model.exact import pulls
from meg_vae.model.exact.dictionary import Dictionary
from meg_vae.model.exact.point import Candidates, evaluate
from meg_vae.model.exact.pulls import group_pulls, pulling_rows
from meg_vae.model.exact.slopes import slopes
from meg_vae.model.misfit import removal_change
from meg_vae.model.noise_variance import Learnt
from meg_vae.model.priors import ISOTROPIC, best_variance
from meg_vae.model.solve import data_factor, solve

TOL = 1e-3


def tensor(array):
    """Float64 tensor."""
    return torch.as_tensor(array, dtype=torch.float64)


def stationarity(Phi, X, solution):
    """The certificate by textbook formulas: dense inverse, explicit covariance, no factor."""
    Phi, X = tensor(Phi), tensor(X)
    s, q = profile_gradient(Phi, solution.gamma, solution.noise_variance, X @ X.T / X.shape[1])
    active = solution.gamma > 0
    inactive = (q / s - 1)[~active]
    worst = max(float(inactive.max()) if len(inactive) else 0.0, 0.0)
    if active.any():
        worst = max(worst, float((solution.gamma * (s - q))[active].abs().max()))
    return worst


def plain_sweeps(Phi, X, noise, n_orient, n_sweeps=1000):
    """γ ← γ q/s over all groups from a flat start; the energy it ends with."""
    Phi, X = tensor(Phi), tensor(X)
    C = X @ X.T / X.shape[1]
    gamma = torch.full(
        (Phi.shape[1] // n_orient,), float(C.trace() / Phi.square().sum()), dtype=torch.float64
    )
    for _ in range(n_sweeps):
        s, q = profile_gradient(Phi, gamma, tensor(noise), C)
        gamma = gamma * q / s
    return float(profile(Phi, gamma, tensor(noise), C))


@pytest.mark.parametrize("n_orient", [1, 3])
@pytest.mark.parametrize("noise", ["learn", 0.01, 0.5])
def test_certified_by_an_independent_formula(n_orient, noise):
    case = sparse_problem(n_orient=n_orient, n_groups=40 // n_orient, n=60)
    solution = solve(Dictionary(case.Phi, n_orient), tensor(case.X), noise_variance=noise)
    assert solution.certificate <= TOL
    assert stationarity(case.Phi, case.X, solution) <= 1.01 * TOL
    history = solution.history.numpy()
    assert (np.diff(history) <= 0).all()
    J = profile(
        tensor(case.Phi), solution.gamma, solution.noise_variance, tensor(case.X @ case.X.T / 60)
    )
    assert float(J) == pytest.approx(float(solution.energy), rel=1e-9)
    doubled = solution.gamma * 2  # null control: another point is not certified
    other = type(solution)(**{**vars(solution), "factor": solution.factor * 2**0.5})
    assert stationarity(case.Phi, case.X, other) > 10 * TOL
    assert (doubled > 0).any()


def test_learnt_noise_is_stationary():
    case = sparse_problem(n=200)
    solution = solve(Dictionary(case.Phi), tensor(case.X), noise_variance="learn")
    Phi, X = tensor(case.Phi), tensor(case.X)
    noise = solution.noise_variance.clone().requires_grad_()
    profile(Phi, solution.gamma, noise, X @ X.T / 200).backward()
    assert abs(float(noise.grad * noise.detach())) <= TOL
    assert float(solution.noise_variance) == pytest.approx(case.noise**2, rel=0.15)


def test_noise_per_channel_tells_loud_channels():
    case = sparse_problem(d=15, n=400, noise=0.0)
    sd = np.where(np.arange(15) < 5, 1.0, 0.1)
    X = case.X + sd[:, None] * np.random.default_rng(1).standard_normal(case.X.shape)
    solution = solve(Dictionary(case.Phi), tensor(X), noise_variance="per_channel")
    assert solution.certificate <= TOL
    np.testing.assert_allclose(np.log10(solution.noise_variance.numpy()), np.log10(sd**2), atol=0.4)


def test_learning_is_not_fooled_by_directions_nobody_sees():
    case = sparse_problem(n=200)
    Q = np.linalg.qr(np.random.default_rng(0).standard_normal((25, 20)))[
        0
    ]  # 25 channels of rank 20
    plain = solve(Dictionary(case.Phi), tensor(case.X))
    embedded = solve(Dictionary(Q @ case.Phi), tensor(Q @ case.X))
    assert float(embedded.noise_variance) == pytest.approx(float(plain.noise_variance), rel=1e-6)


def test_learning_that_cannot_tell_noise_from_sources_says_so():
    """Many columns, few samples: λ is fooled, and held λ is not."""
    case = sparse_problem(n_groups=100, n=10, noise=0.3)
    with pytest.warns(RuntimeWarning, match="fell to its floor"):
        learnt = solve(Dictionary(case.Phi), tensor(case.X))
    assert learnt.noise_variance < 1e-6 * case.noise**2
    held = solve(Dictionary(case.Phi), tensor(case.X), noise_variance=case.noise**2)
    assert (held.gamma > 0).sum() < 20


@pytest.mark.parametrize("seed", range(20))
def test_energy_not_above_plain_sweeps(seed):
    n_orient = 1 + 2 * (seed % 2)
    case = sparse_problem(
        20, 60 // n_orient, 30, n_orient=n_orient, n_active=4, noise=0.5, seed=seed
    )
    solution = solve(Dictionary(case.Phi, n_orient), tensor(case.X), noise_variance=0.25)
    assert float(solution.energy) <= plain_sweeps(case.Phi, case.X, 0.25, n_orient) + 1e-4


@pytest.mark.parametrize("noise", ["learn", 0.01])
def test_full_orientation(noise):
    rng = np.random.default_rng(0)
    Phi = rng.standard_normal((20, 45))
    axes = rng.standard_normal((3, 3))
    U = np.zeros((45, 100))
    for g, axis in zip((2, 7, 11), axes, strict=True):
        U[3 * g : 3 * g + 3] = np.outer(axis, rng.standard_normal(100))
    X = Phi @ U + 0.1 * rng.standard_normal((20, 100))
    dictionary = Dictionary(Phi, 3)
    shared = solve(dictionary, tensor(X), noise_variance=noise)
    full = solve(dictionary, tensor(X), noise_variance=noise, orientation="full")
    assert full.certificate <= TOL
    assert (np.diff(full.history.numpy()) <= 0).all()
    assert full.energy < shared.energy
    L = torch.linalg.cholesky(
        sum(B @ B.T for B in _blocks(Phi, full))
        + full.noise_variance * torch.eye(20, dtype=torch.float64)
    )
    C, factor = tensor(X @ X.T / 100), full.everywhere(full.factor)
    for g in range(15):  # K − M has no negative direction, and none at all along the prior
        A = torch.cholesky_solve(tensor(Phi[:, 3 * g : 3 * g + 3]), L)
        K, M = tensor(Phi[:, 3 * g : 3 * g + 3]).T @ A, A.T @ C @ A
        R = factor[g]
        assert (R.T @ (K - M) @ R).abs().max() <= 2 * TOL
        ratio = np.linalg.eigvals(np.linalg.solve(K.numpy(), M.numpy())).real.max()
        assert ratio <= 1 + (2 * TOL if not R.any() else 1e-1)
    for g, axis in zip((2, 7, 11), axes, strict=True):
        Gamma = (factor[g] @ factor[g].T).numpy()
        along = axis @ Gamma @ axis / (axis @ axis)
        assert along / np.trace(Gamma) > 0.99


def _blocks(Phi, solution):
    for g, R in zip(solution.positions, solution.factor, strict=True):
        yield tensor(Phi[:, 3 * g : 3 * g + 3]) @ R


def test_slopes_match_autograd(grouped):
    """Gradient and curvature in the logarithm of γ and λ, at a stationary point and elsewhere."""
    Phi, X = tensor(grouped.Phi[:, :12]), tensor(grouped.X)
    F = data_factor(X)[None]
    theta = torch.linspace(-1, 1, 5, dtype=torch.float64)

    def J(theta):
        return profile(Phi, theta[:4].exp(), theta[4].exp(), F[0] @ F[0].T)

    candidates = Candidates(Phi.reshape(20, 4, 3), F, ISOTROPIC, Learnt())
    eye = torch.eye(3, dtype=torch.float64)
    R = (theta[:4] / 2).exp()[None, :, None, None] * eye
    at = slopes(candidates, evaluate(candidates, R, theta[4].exp().expand(1, 20)))
    torch.testing.assert_close(at.gradient[0], jacobian(J, theta))
    growing = torch.diag(at.gradient[0].clamp_max(0.0))  # the step adds where a variance grows
    torch.testing.assert_close(at.curvature[0] + growing, hessian(J, theta))
    without = theta.clone()
    without[1] = -200.0
    assert float(at.removal[0, 1]) == pytest.approx(float(J(without) - J(theta)), rel=1e-9)


def test_accelerators_get_the_same_pulls(grouped):
    """The two ways to one product: a joint diagonal, and two products one above the other."""
    Phi, X = tensor(grouped.Phi), tensor(grouped.X)
    for n in (5, 40):  # few and many data
        F = data_factor(X[:, :n])[None]
        L = torch.linalg.cholesky(0.3 * (Phi[:, :9] @ Phi[:, :9].T) + torch.eye(20).double())[None]
        B = torch.linalg.solve_triangular(L, F, upper=False)
        ways = [pulls._jointly_diagonal(L, B), pulls._by_two_products(L, B)]
        (s, q), (s2, q2) = (group_pulls(*way, Phi, 3) for way in ways)
        torch.testing.assert_close(s, s2)
        torch.testing.assert_close(q, q2)


def test_best_variance_is_the_best(grouped):
    Phi, X = tensor(grouped.Phi), tensor(grouped.X)
    C = X @ X.T / X.shape[1]
    T, weights = pulling_rows(torch.eye(20, dtype=torch.float64)[None], data_factor(X)[None])
    g = int(grouped.active[0])
    A = T @ Phi[:, 3 * g : 3 * g + 3]
    K, M = A.mT @ A, (A * weights[:, 1, :, None]).mT @ A
    best = float(best_variance(K, M)[0])

    def J(gamma):
        return float(profile(Phi[:, 3 * g : 3 * g + 3], tensor([gamma]), tensor(1.0), C))

    assert J(best) < min(J(best * 1.01), J(best / 1.01), J(1e-12))
    silent = torch.zeros_like(K)
    assert float(best_variance(K, silent)[0]) == 0.0
    assert float(removal_change(torch.zeros(3, 3), torch.zeros(3, 3))) == 0.0


def test_group_pulls_match_reference(grouped):
    Phi, X = tensor(grouped.Phi), tensor(grouped.X)
    gamma = torch.rand(15, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    C = X @ X.T / X.shape[1]
    s, q = profile_gradient(Phi, gamma, tensor(0.2), C)
    Sigma = (Phi * gamma.repeat_interleave(3)) @ Phi.T + 0.2 * torch.eye(20, dtype=torch.float64)
    L = torch.linalg.cholesky(Sigma)[None]
    B = torch.linalg.solve_triangular(L, data_factor(X)[None], upper=False)
    s2, q2 = group_pulls(*pulling_rows(L, B), Phi, 3)
    torch.testing.assert_close(s2[0], s)
    torch.testing.assert_close(q2[0], q)
    single = group_pulls(*(t.float() for t in pulling_rows(L, B)), Phi.float(), 3)
    torch.testing.assert_close(single[1][0].double(), q, rtol=1e-4, atol=1e-4)


@settings(max_examples=25, deadline=None)
@given(
    d=st.integers(2, 25),
    groups=st.integers(1, 60),
    n=st.integers(1, 50),
    n_orient=st.sampled_from([1, 2, 3]),
    data_scale=st.integers(-10, 10),
    phi_scale=st.integers(-10, 10),
    seed=st.integers(0, 99),
)
def test_answer_does_not_depend_on_units_order_or_axes(
    d, groups, n, n_orient, data_scale, phi_scale, seed
):
    """Rotated channels, permuted and rescaled groups, other units: the same answer."""
    rng = np.random.default_rng(seed)
    Phi = rng.standard_normal((d, groups * n_orient))
    X = rng.standard_normal((d, n)) + 3 * Phi[:, :1] @ rng.standard_normal((1, n))
    plain = solve(Dictionary(Phi, n_orient), tensor(X), noise_variance=1.0, tol=1e-5)
    assert plain.certificate <= 1e-5
    assert stationarity(Phi, X, plain) <= 1e-4
    a, b = 10.0**data_scale, 10.0**phi_scale
    order = rng.permutation(groups)
    columns = (order[:, None] * n_orient + np.arange(n_orient)).ravel()
    size = 10 ** rng.uniform(-5, 5, groups)
    Q = np.linalg.qr(rng.standard_normal((d, d)))[0]
    other = solve(
        Dictionary(b * (Q @ Phi * np.repeat(size, n_orient))[:, columns], n_orient),
        tensor(a * Q @ X),
        noise_variance=a**2,
        tol=1e-5,
    )
    assert float(other.energy - 2 * d * np.log(a)) == pytest.approx(float(plain.energy), abs=1e-5)
    back = np.empty(groups)
    back[order] = other.gamma.numpy() * (b * size[order] / a) ** 2
    np.testing.assert_allclose(back, plain.gamma, atol=1e-2 * float(plain.gamma.max()) + 1e-12)


def test_batch_equals_one_by_one(problem):
    dictionary = Dictionary(problem.Phi)
    rng = np.random.default_rng(0)
    many = np.stack([problem.X[:, rng.integers(0, 40, 40)] for _ in range(5)])
    batch = solve(dictionary, tensor(many), tol=1e-6)
    assert batch.gamma.shape == (5, 30)
    for k in range(5):
        one = solve(dictionary, tensor(many[k]), tol=1e-6)
        assert float(batch.energy[k]) == pytest.approx(float(one.energy), abs=1e-4)
    rounding = (
        1e-12 * batch.history.abs().max()
    )  # an item that waits is evaluated again with others
    assert (batch.history.diff(dim=0) <= rounding).all()


def test_cost_of_samples_is_gone(problem):
    """Data of one covariance have one answer, however many samples made it."""
    X = np.concatenate([problem.X, -problem.X], axis=1)
    few, many = (
        solve(Dictionary(problem.Phi), tensor(T), noise_variance=0.01) for T in (problem.X, X)
    )
    assert data_factor(tensor(np.tile(X, (1, 100)))).shape == (20, 20)
    np.testing.assert_allclose(few.gamma, many.gamma, rtol=1e-6, atol=1e-12)


def test_duplicated_and_zero_columns(problem):
    Phi = np.concatenate([problem.Phi, problem.Phi[:, :5], np.zeros((20, 3))], axis=1)
    solution = solve(Dictionary(Phi), tensor(problem.X), noise_variance=0.01)
    plain = solve(Dictionary(problem.Phi), tensor(problem.X), noise_variance=0.01)
    assert solution.certificate <= TOL
    assert float(solution.energy) == pytest.approx(float(plain.energy), abs=1e-4)
    assert not solution.gamma[-3:].any()


@pytest.mark.parametrize("noise", [1e-10, 1e-6, 1e6])
def test_extreme_noise(problem, noise):
    solution = solve(Dictionary(problem.Phi), tensor(problem.Phi @ problem.U), noise_variance=noise)
    assert torch.isfinite(solution.gamma).all()
    assert solution.certificate <= TOL
    found = np.flatnonzero(solution.gamma > 1e-6 * solution.gamma.max())
    assert list(found) == ([] if noise > 1 else list(problem.active))


def test_annealing_recovers_as_many_rows_as_channels_less_one():
    for seed in range(3):
        rng = np.random.default_rng(seed)
        Phi, U = rng.standard_normal((15, 50)), np.zeros((50, 15))
        rows = np.sort(rng.choice(50, 14, replace=False))
        U[rows] = rng.standard_normal((14, 15)) * 10 ** rng.uniform(-1, 1, 14)[:, None]
        solution = solve(
            Dictionary(Phi), tensor(Phi @ U), noise_variance="anneal", max_iter=300, tol=1e-2
        )
        assert list(np.flatnonzero(solution.gamma > 1e-6 * solution.gamma.max())) == list(rows)
        dense = rng.standard_normal(
            (15, 15)
        )  # null control: nothing sparse, nothing sparse claimed
        solution = solve(Dictionary(Phi), tensor(dense), noise_variance=1e-6)
        assert (solution.gamma > 0).sum() >= 15


def test_zero_data_give_no_source(problem):
    with pytest.warns(RuntimeWarning, match="data are zero"):
        solution = solve(Dictionary(problem.Phi), torch.zeros(20, 10, dtype=torch.float64))
    assert not solution.gamma.any()
    assert torch.isfinite(solution.energy)


def test_max_iter_warns_with_the_certificate(problem):
    with pytest.warns(RuntimeWarning, match="certificate of"):
        solve(Dictionary(problem.Phi), tensor(problem.X), max_iter=1)


def test_pure_noise_is_certified_quickly():
    X = np.random.default_rng(0).standard_normal((30, 50))
    Phi = np.random.default_rng(1).standard_normal((30, 300))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solution = solve(Dictionary(Phi), tensor(X), noise_variance=1.0)
    assert solution.certificate <= TOL
