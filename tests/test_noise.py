"""Noise as it is: coloured in time, and of a covariance that was estimated."""

from __future__ import annotations

import math

import mne
import numpy as np
import pytest
import torch
from scipy.signal import lfilter
from scipy.special import multigammaln as gammas
from scipy.stats import multivariate_normal

from meg_vae import SlidingVAE, SparseVAE, VAEInverse
from meg_vae.meg.samples import band_limited_samples, noise_samples
from meg_vae.model.exact.dictionary import Dictionary
from meg_vae.model.in_time import LONGEST, autocorrelation, independent, log_volume
from meg_vae.model.misfit import (
    Certainty,
    best_variance,
    certainty,
    growth,
    misfit,
    noise_alone,
    removal_change,
    weights_root,
)
from meg_vae.model.noise import Noise
from meg_vae.model.solve import solve


def process(a, n, rows=100, seed=0):
    """An autoregressive process of unit variance, in independent rows."""
    rng = np.random.default_rng(seed)
    x = lfilter([1], [1, *(-np.array(a))], rng.standard_normal((rows, n + 400)), axis=1)[:, 400:]
    return torch.as_tensor(x / x.std())


def random_dictionary(d=40, n=120, seed=0):
    return np.random.default_rng(seed).standard_normal((d, n))


def whitened_by_samples(X, Phi, n_noise, rng):
    """Data and dictionary, whitened by the covariance of so many samples of white noise."""
    E = rng.standard_normal((len(X), n_noise))
    L = np.linalg.cholesky(E @ E.T / n_noise)
    return np.linalg.solve(L, X), np.linalg.solve(L, Phi)


@pytest.mark.parametrize(("a", "n"), [((0.9,), 100), ((1.5, -0.8), 100), ((0.6,), 20)])
def test_the_autocorrelation_is_that_of_the_process(a, n):
    r = autocorrelation([process(a, n)], 100.0)
    impulse = lfilter([1], [1, *(-np.array(a))], np.eye(1, 2000)[0])
    true = np.array([impulse[k:] @ impulse[: 2000 - k] for k in range(10)])
    np.testing.assert_allclose(r[:10], true / true[0], atol=0.06)
    assert len(r) == LONGEST
    assert abs(float(r[-1])) < 1e-6


def test_white_noise_stays_as_it_is():
    X = process((), 60)
    r = autocorrelation([X], 100.0)
    assert not r[1:].any()
    assert independent(X, [60], r) is X
    assert log_volume([60], r) == 0
    silent = autocorrelation([torch.zeros(3, 7, dtype=torch.float64)], 3.0)
    single = autocorrelation([X[:, :1], X[:, 1:2]], 100.0)
    for none in (silent, single):
        assert none[0] == 1
        assert not none[1:].any()


def test_coloured_noise_becomes_white():
    X, stretches = process((0.6,), 160, rows=400), [100, 60]
    r = autocorrelation(list(X.split(stretches, 1)), 400.0)
    Y = independent(X, stretches, r)
    assert Y.shape == X.shape
    C = (Y.T @ Y / len(Y)).numpy()
    assert np.trace(C) / 160 == pytest.approx(1, abs=0.05)
    spread = np.linalg.eigvalsh(C)
    edge = (1 + (160 / 400) ** 0.5) ** 2  # of white noise (Marchenko & Pastur 1967)
    assert spread[-1] < 1.1 * edge
    assert np.linalg.eigvalsh((X.T @ X / len(X)).numpy())[-1] > 2 * edge
    T = 0.6 ** np.abs(np.subtract.outer(np.arange(100), np.arange(100)))
    true = torch.as_tensor(0.6 ** np.arange(LONGEST))
    assert log_volume([100], true) == pytest.approx(np.linalg.slogdet(T)[1])
    batch = independent(torch.stack([X, 2 * X]), stretches, r)
    torch.testing.assert_close(batch[1], 2 * Y)


def test_a_low_pass_leaves_its_share_of_the_samples():
    rng = np.random.default_rng(0)
    spectrum = np.fft.rfft(rng.standard_normal((200, 4000)))
    spectrum[:, spectrum.shape[1] // 5 :] = 0
    X = torch.as_tensor(np.fft.irfft(spectrum)[:, :400])
    left = independent(X, [400], autocorrelation([X], 200.0)).shape[1]
    assert 80 <= left < 115  # a fifth, and what the edges of a window let through
    info = mne.create_info(1, 1000.0)
    assert band_limited_samples(400, info) == 400
    with info._unlock():
        info["lowpass"] = 100.0
    assert band_limited_samples(400, info) == 80


def test_long_stretches_are_whitened_in_parts():
    X = process((0.5,), 2 * LONGEST + 300, rows=4)
    r = autocorrelation([X], 4.0)
    whole = independent(X, [X.shape[1]], r)
    parts = independent(X, [LONGEST, LONGEST, 300], r)
    torch.testing.assert_close(whole, parts)


def test_noise_is_looked_at_where_the_dictionary_looks():
    """The same power of slow noise matters in the fields of the sources, and not elsewhere."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((200, 40)))[0]
    U, aside = basis[:, :20], basis[:, 20:]
    fields = U @ rng.standard_normal((20, 400)) + 0.01 * rng.standard_normal((200, 400))
    slow, white = process((0.95,), 200, rows=20).numpy(), rng.standard_normal((200, 200))
    dictionary = Dictionary(fields)
    seen, unseen = (
        Noise().learnt(torch.as_tensor(white + part @ (3 * slow)), [200], dictionary)
        for part in (U, aside)
    )
    assert seen.r[1] > 0.7
    assert abs(unseen.r[1]) < 0.2
    assert Noise(1000.0, seen.r).n_independent < 300 < Noise(1000.0, unseen.r).n_independent


def test_the_misfit_goes_over_to_the_gaussian_one():
    G = torch.as_tensor(np.cov(random_dictionary(6, 20)))
    for share, near in ((1e-6, 1e-4), (0.3, None)):
        value, root = misfit(G, share), weights_root(G, share)
        if near:
            assert float(value) == pytest.approx(float(misfit(G, 0.0)), rel=near)
            torch.testing.assert_close(root, torch.eye(6, dtype=G.dtype), rtol=0, atol=near)
        direct = torch.logdet(torch.eye(6, dtype=G.dtype) + share / (1 - share) * G) / share
        assert float(value) == pytest.approx(float(direct))
        tangent = torch.trace(root.T @ (1.001 * G) @ root) - torch.trace(root.T @ G @ root)
        assert float(misfit(1.001 * G, share) - value) == pytest.approx(float(tangent), rel=1e-3)
    root = weights_root(G, 0.3)
    for other in (0.5 * G, 2 * G):  # it lies below its tangent
        tangent = misfit(G, 0.3) + torch.trace(root.T @ (other - G) @ root)
        assert misfit(other, 0.3) < tangent


def test_the_share_of_a_known_covariance_is_none():
    assert certainty(50, 10, math.inf) == Certainty()
    assert certainty(50, 10, 1e12).share < 1e-10
    few = certainty(50, 10, 100)
    assert few.share == pytest.approx(50 / 141)
    assert 0 < few.spare < 10


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_formulas_of_one_source(share):
    """Growth and its variance in one dimension, against the energy itself."""
    k, ratio = 2.0, torch.tensor([1.8], dtype=torch.float64)

    def change(gamma):
        t = gamma * k / (1 + gamma * k)
        fall = math.log1p(-share * ratio.item() * t) / share if share else -ratio.item() * t
        return math.log1p(gamma * k) + fall

    best = float(best_variance(ratio, share)[0]) / k
    assert change(best) == pytest.approx(-float(growth(ratio, share)), abs=1e-12)
    assert min(change(1.01 * best), change(0.99 * best)) > change(best)
    small = torch.tensor([0.7], dtype=torch.float64)
    assert growth(small, share) == 0 == best_variance(small, share)[0]
    K, M = torch.tensor([[0.6]]).double(), torch.tensor([[1.1]]).double()
    lost = math.log(0.4) + (math.log1p(share * 1.1 / 0.4) / share if share else 1.1 / 0.4)
    assert float(removal_change(K, M, share)) == pytest.approx(lost)


def test_noise_alone_is_where_the_energy_is_stationary():
    X = torch.as_tensor(random_dictionary(40, 30))
    G = X.T @ X / 30
    for share, spare in ((0.0, 0.0), (0.3, 12.0)):
        lam = noise_alone([G], [40 - spare], [share], [1.0])
        J = [(40 - spare) * math.log(x) + float(misfit(G / x, share)) for x in (lam, 0.99 * lam)]
        assert J[0] < J[1]
        more = (40 - spare) * math.log(1.01 * lam) + float(misfit(G / (1.01 * lam), share))
        assert J[0] < more
    runs = ((G, 28.0, 0.3, 0.25), (4 * G[:20, :20], 40.0, 0.1, 0.75))  # one λ for both
    lam = noise_alone(*zip(*runs, strict=True))

    def J(noise):
        return sum(w * (d * math.log(noise) + float(misfit(P / noise, c))) for P, d, c, w in runs)

    assert J(lam) < min(J(0.99 * lam), J(1.01 * lam))


@pytest.mark.parametrize("orientation", ["shared", "full"])
def test_the_solver_certifies_the_energy_of_an_estimated_covariance(orientation):
    """No accepted step raises it, its gradient is zero, and no position wants to grow."""
    rng = np.random.default_rng(1)
    Phi = random_dictionary(30, 300, seed=3)
    X = torch.as_tensor(rng.standard_normal((30, 12)))
    X += torch.as_tensor(2 * Phi[:, [5, 100]] @ rng.standard_normal((2, 12)))
    known = Certainty(share=0.2, spare=5.0)
    found = solve(Dictionary(Phi, 3), X, orientation=orientation, certainty=known)
    assert float(found.certificate) <= 1e-3
    assert (found.history.diff() <= 1e-9).all()
    F, columns = X / 12**0.5, torch.as_tensor(Phi).reshape(30, -1, 3)
    stretch = torch.zeros(101, dtype=torch.float64, requires_grad=True)
    R = found.everywhere(found.factor) * (stretch[:100] / 2).exp()[:, None, None]
    P = torch.einsum("dga,gab->dgb", columns, R).flatten(1)
    lam = found.noise_variance * stretch[100].exp()
    Sigma = P @ P.T + lam * torch.eye(30, dtype=torch.float64)
    G = F.T @ torch.linalg.solve(Sigma, F)
    J = torch.logdet(Sigma) - 5.0 * lam.log() + misfit(G, 0.2)
    assert float(found.energy) == pytest.approx(J.item())
    assert torch.autograd.grad(J, stretch)[0].abs().max() < 2e-3


def test_an_estimated_covariance_names_no_false_source():
    """The same noise, whitened by its own covariance and by one from three times its channels."""
    rng = np.random.default_rng(0)
    Phi, false = random_dictionary(60, 400), {"told": 0, "not told": 0, "known": 0}
    for _ in range(8):
        X = rng.standard_normal((60, 40))
        Y, Psi = whitened_by_samples(X, Phi, 180, rng)
        for name, dictionary, data, n in (
            ("told", Psi, Y, 180),
            ("not told", Psi, Y, math.inf),
            ("known", Phi, X, math.inf),
        ):
            model = SparseVAE(min_log_evidence=8.0).fit(dictionary, data, n_noise=n)
            false[name] += model.active_.sum()
            if name == "told":
                assert model.noise_variance_ == pytest.approx(1, abs=0.15)
    assert false["told"] <= 1 >= false["known"]
    assert false["not told"] >= 8


def test_a_source_is_found_in_noise_of_an_estimated_covariance():
    rng = np.random.default_rng(5)
    Phi, course = random_dictionary(60, 400), rng.standard_normal((3, 40))
    true = [3, 90, 250]
    Y, Psi = whitened_by_samples(
        rng.standard_normal((60, 40)) + Phi[:, true] @ course, Phi, 180, rng
    )
    exact, told = (SparseVAE(min_log_evidence=8.0).fit(Psi, Y, n_noise=n) for n in (math.inf, 180))
    assert told.active_.nonzero()[0].tolist() == true
    assert set(true) < set(exact.active_.nonzero()[0])  # beside false ones
    one, two = (model.source_log_evidence_[true] for model in (told, exact))
    assert (one < two).all()
    assert (one > 20).all()
    held = SparseVAE(noise_variance=1.0, min_log_evidence=8.0).fit(Psi, Y, n_noise=180)
    assert held.noise_variance_ == pytest.approx(1.0)
    assert held.active_.nonzero()[0].tolist() == true


def test_places_in_coloured_noise_of_an_estimated_covariance():
    """Spikes behind a blur: only what the noise is told to be keeps false ones out."""
    t = np.linspace(0, 1, 40)
    grid, true = np.linspace(0, 1, 31)[:, None], np.array([0.312, 0.688])

    def field(r):
        bump = np.exp(-((t - r) ** 2) / (2 * 0.08**2))
        return bump[:, :, None], (bump * (t - r) / 0.08**2)[:, :, None, None]

    slow = process((0.9,), 60, rows=40, seed=3).numpy()
    clean = 2 * field(true[:, None])[0][:, :, 0].T @ process((0.9,), 60, rows=2, seed=4).numpy()
    E = process((0.9,), 2000, rows=40, seed=5).numpy()
    L = np.linalg.cholesky(E @ E.T / 2000)

    def whitened(r):
        values, slope = field(r)
        return np.linalg.solve(L, values), np.linalg.solve(L, slope[..., 0])[..., None]

    told = {"n_noise": 2000, "stretches": [60]}
    found = SlidingVAE().fit(whitened, grid, np.linalg.solve(L, slow + clean), **told)
    np.testing.assert_allclose(np.sort(found.places_[:, 0]), true, atol=0.01)
    assert found.noises_[0].r[1] == pytest.approx(0.9, abs=0.05)
    assert found.noise_variance_ == pytest.approx(1, abs=0.25)
    assert found.stationarity_ < 1e-2
    alone = np.linalg.solve(L, slow)
    assert len(SlidingVAE().fit(whitened, grid, alone, **told).places_) == 0
    assert len(SlidingVAE().fit(whitened, grid, alone).places_) > 0


def test_samples_of_a_covariance():
    cov = mne.Covariance(np.eye(2), ["a", "b"], [], [], nfree=120)
    assert noise_samples(cov) == 120
    diagonal = mne.Covariance(np.ones(2), ["a", "b"], [], [], nfree=120)
    assert noise_samples(diagonal) == math.inf
    for unsaid in (0, 1):
        assert noise_samples(mne.Covariance(np.eye(2), ["a", "b"], [], [], unsaid)) == math.inf


@pytest.mark.parametrize("n_noise", [0, -5, math.nan, "all"])
def test_a_number_of_samples_that_is_none_is_refused(n_noise):
    for model, data in (
        (SparseVAE(), (random_dictionary(), random_dictionary(40, 3))),
        (SlidingVAE(), (lambda r: (r[:, :, None], r[:, :, None, None]), [[0.0], [1.0]], [[1.0]])),
    ):
        with pytest.raises(ValueError, match="n_noise=.* must be a number of samples"):
            model.fit(*data, n_noise=n_noise)


def test_noise_of_each_channel_has_no_estimated_covariance():
    data = random_dictionary(), random_dictionary(40, 3)
    for option in ("per_channel", "anneal"):
        with pytest.raises(ValueError, match=f"noise_variance='{option}' .* leave n_noise out"):
            SparseVAE(noise_variance=option).fit(*data, n_noise=100)
    with pytest.raises(ValueError, match="n_noise=100 needs solver='exact'"):
        SparseVAE(solver="gradient").fit(*data, n_noise=100)


def test_the_constant_makes_a_density_of_the_energy():
    """Without sources: the Gaussian one, and a matrix-t as far as λ counts the channels."""
    rng = np.random.default_rng(0)
    X = torch.as_tensor(rng.standard_normal((5, 8)))
    r = torch.as_tensor(0.6 ** np.arange(LONGEST))
    T = 0.6 ** np.abs(np.subtract.outer(np.arange(8), np.arange(8)))
    for nu in (math.inf, 300.0):
        noise = Noise(nu * (1 + 2 * float(r[1:].square().sum())), r)
        Y = noise.independent(X, [8])
        known, lam = noise.certainty(8, 5), 1.3 * noise.inflation(5)
        J = (5 - known.spare) * math.log(lam) + float(misfit(Y.T @ Y / 8 / lam, known.share))
        constant = noise.log_constant(8, 5, [8])
        if math.isinf(nu):
            kron = 1.3 * np.kron(np.eye(5), T)
            truth = multivariate_normal(cov=kron).logpdf(X.numpy().ravel())
        else:
            S = Y.T @ Y / (1.3 * nu)
            shape = gammas((nu + 8) / 2, 5) - gammas(nu / 2, 5) - 20 * np.log(np.pi * nu * 1.3)
            density = shape - (nu + 8) / 2 * float(torch.logdet(torch.eye(8).double() + S))
            truth = (density - 5 / 2 * np.linalg.slogdet(T)[1]) * (5 - known.spare) / 5
        assert -8 / 2 * J + constant == pytest.approx(float(truth), rel=1e-9)


def test_noise_that_is_held_white_is_not_learnt():
    rng = np.random.default_rng(0)
    Phi = random_dictionary(20, 60)
    E = lfilter([1], [1, -0.8], rng.standard_normal((20, 200)), axis=1)
    X = 3 * Phi[:, [7]] @ rng.standard_normal((1, 200)) + E
    learnt, held, apart = (
        SparseVAE().fit(Phi, X, **own)
        for own in ({"stretches": [200]}, {"stretches": [200], "white": True}, {})
    )
    assert float(learnt.noise_.r[1]) > 0.5
    assert not held.noise_.r[1:].any()
    np.testing.assert_array_equal(held.source_log_evidence_, apart.source_log_evidence_)
    assert held.n_effective_ == 200 >= learnt.n_effective_

    def bump(r):
        values = np.exp(-((np.linspace(0, 1, 20) - r) ** 2) / 0.02)
        return values[:, :, None], (values * (np.linspace(0, 1, 20) - r) / 0.01)[:, :, None, None]

    grid, Y = np.linspace(0, 1, 21)[:, None], E + bump(np.array([[0.41]]))[0][0] * X[:1]
    learnt, held, apart = (
        SlidingVAE().fit(bump, grid, Y, **own)
        for own in ({"stretches": [200]}, {"stretches": [200], "white": True}, {})
    )
    assert float(learnt.noises_[0].r[1]) > 0.5
    np.testing.assert_array_equal(held.places_, apart.places_)
    assert held.energy_ == apart.energy_


def test_the_noise_of_a_response_is_white_if_it_is_told_so(recording):
    given = recording.evoked, recording.forward, recording.noise_cov
    inverse = VAEInverse(noise_autocorrelation="white", extent="point").fit(*given)
    assert not inverse.noise_autocorrelation_[0, 1:].any()
    assert inverse.n_effective_ == pytest.approx(
        band_limited_samples(len(recording.evoked.times), recording.evoked.info)
    )
    assert len(inverse.sources_) == 2
    grid = VAEInverse(noise_autocorrelation="white", positions="grid").fit(*given)
    assert not grid.noise_autocorrelation_[0, 1:].any()
    with pytest.raises(ValueError, match="noise_autocorrelation='pink'"):
        VAEInverse(noise_autocorrelation="pink").fit(*given)
