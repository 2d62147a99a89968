"""What speaks for a source and for a model: formulas by two routes, twins, independent samples."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from conftest import sparse_problem
from scipy.signal import lfilter
from scipy.special import comb

from meg_vae import SparseVAE, VAEInverse, datasets
from meg_vae.datasets.simulation import simulate
from meg_vae.model.evidence import model_log_evidence
from meg_vae.model.exact.dictionary import Dictionary


def log_likelihood(problem, gamma, noise, columns=slice(None)):
    """Gaussian log density of the data, up to its constant."""
    A = problem.Phi[:, columns]
    Sigma = (A * gamma) @ A.T + noise * np.eye(len(A))
    fit = np.sum(problem.X * np.linalg.solve(Sigma, problem.X))
    return -0.5 * (problem.X.shape[1] * np.linalg.slogdet(Sigma)[1] + fit)


def twins(strength=1.0, seed=0, n=40):
    """One generator half-way between two columns of a dictionary of 31."""
    case = sparse_problem(n_active=1, noise=1.0, seed=seed, n=n)
    g = int(case.active[0])
    rng = np.random.default_rng(seed)
    near = case.Phi[:, g] + 0.7 * rng.standard_normal(20)
    between = (case.Phi[:, g] + near) / 2
    X = strength * np.outer(between, case.U[g]) + rng.standard_normal((20, n))
    return SimpleNamespace(Phi=np.column_stack([case.Phi, near]), X=X, pair=[g, 30])


@pytest.mark.parametrize("n_orient", [1, 3])
def test_a_cluster_is_judged_by_what_is_lost_without_all_of_it(n_orient):
    """The closed form against the density of the data with and without the whole cluster."""
    case = twins(strength=3.0)
    if n_orient == 3:  # the same, with two more columns at every position
        rng = np.random.default_rng(1)
        case.Phi = np.column_stack(
            [np.column_stack([c, 0.3 * rng.standard_normal((20, 2))]) for c in case.Phi.T]
        )
    model = SparseVAE(n_orient, noise_variance=1.0).fit(case.Phi, case.X)
    numbers = model.cluster_[case.pair]
    assert (model.cluster_ >= -1).all()
    assert ((model.cluster_ >= 0) == model.active_).all()
    for number in np.unique(model.cluster_[model.active_]):
        members = model.cluster_ == number
        without = np.repeat(np.where(members, 0.0, model.gamma_), n_orient)
        full = log_likelihood(case, np.repeat(model.gamma_, n_orient), 1.0)
        lost = full - log_likelihood(case, without, 1.0)
        np.testing.assert_allclose(model.cluster_log_evidence_[members], lost, rtol=1e-6)
        assert lost >= model.source_log_evidence_[members].max() - 1e-9
    if n_orient == 1:
        assert numbers[0] == numbers[1] >= 0


def test_a_source_between_two_columns_is_never_lost_by_being_split():
    """At a threshold above what each twin carries alone, and below what they carry together."""
    n_split = 0
    for seed in range(8):
        case = twins(strength=3.0, seed=seed)
        full = SparseVAE(noise_variance=1.0).fit(case.Phi, case.X)
        pair = [g for g in case.pair if full.active_[g]]
        joint = full.cluster_log_evidence_[pair].max()
        n_split += full.source_log_evidence_[pair].max() < 0.9 * joint
        threshold = 0.95 * joint
        kept = SparseVAE(noise_variance=1.0, min_log_evidence=threshold).fit(case.Phi, case.X)
        found = np.flatnonzero(kept.active_)
        assert set(found) & set(case.pair)
        assert (kept.cluster_log_evidence_[found] >= threshold).all()
        most = 1.5 * kept.cluster_log_evidence_.max()
        above = SparseVAE(noise_variance=1.0, min_log_evidence=most)
        assert not above.fit(case.Phi, case.X).active_.any()
    assert n_split >= 2  # so that the assertions were put to the test


def test_two_sources_are_two_clusters(problem):
    model = SparseVAE(noise_variance=0.01, min_log_evidence=10).fit(problem.Phi, problem.X)
    assert len(np.unique(model.cluster_[problem.active])) == 3
    np.testing.assert_array_equal(model.cluster_log_evidence_, model.source_log_evidence_)


def some_dictionary(d=200, seed=0):
    rng = np.random.default_rng(seed)
    return Dictionary(rng.standard_normal((d, 400)))


def test_filtered_noise_carries_no_more_evidence_than_white():
    """Noise of half the bandwidth, once counted, looks like half of the samples."""
    rng = np.random.default_rng(0)
    dictionary, largest = some_dictionary(60), {"counted": [], "not counted": []}
    for _ in range(10):
        X = lfilter([1], [1, -0.9], rng.standard_normal((60, 300)), axis=1)[:, 200:]
        X /= X.std()
        for name, stretches in (("counted", [100]), ("not counted", None)):
            model = SparseVAE(noise_variance=1.0).fit(dictionary, X, stretches=stretches)
            largest[name].append(model.cluster_log_evidence_.max())
    assert max(largest["counted"]) < 10
    assert max(largest["not counted"]) > 10


def test_stretches_must_fit(problem):
    model = SparseVAE(noise_variance=0.01)
    with pytest.raises(ValueError, match="add up to the 40 samples"):
        model.fit(problem.Phi, problem.X, stretches=[30, 11])
    one = model.fit(problem.Phi, problem.X, stretches=[40]).n_effective_
    assert 20 < one <= 40
    assert model.fit(problem.Phi, problem.X, n_effective=5, stretches=[40]).n_effective_ == 5


def test_model_evidence_is_the_density_less_the_price_of_the_sources(problem):
    model = SparseVAE(noise_variance=0.01, min_log_evidence=10).fit(problem.Phi, problem.X)
    density = log_likelihood(problem, model.gamma_, 0.01) - 20 * 40 / 2 * np.log(2 * np.pi)
    price = 3 / 2 * np.log(40) + np.log(comb(30, 3))
    assert model.log_evidence_ == pytest.approx(density - price)
    assert model_log_evidence(-5.0, 7.0, 10, 30, 0, 1) == pytest.approx(25 + 7)


def test_model_evidence_prefers_the_dictionary_that_made_the_data(problem):
    """Also against twice as many columns, which fit as well."""
    rng = np.random.default_rng(7)
    options = {"noise_variance": 0.01, "min_log_evidence": 10}
    true = SparseVAE(**options).fit(problem.Phi, problem.X)
    wrong = SparseVAE(**options).fit(problem.Phi + 0.2 * rng.standard_normal((20, 30)), problem.X)
    more = SparseVAE(**options).fit(
        np.column_stack([problem.Phi, rng.standard_normal((20, 30))]), problem.X
    )
    assert true.log_evidence_ > wrong.log_evidence_ + 10
    assert true.log_evidence_ > more.log_evidence_
    assert true.energy_ == pytest.approx(more.energy_, abs=1e-3)


def test_evidence_of_a_recording(recording, fitted, tmp_path):
    from meg_vae import read_vae_inverse

    np.testing.assert_array_equal(fitted.sources_["cluster"], [0, 1])
    assert 1 <= fitted.n_effective_ <= len(recording.evoked.times)
    again = read_vae_inverse(fitted.save(tmp_path / "x-vae.h5"))
    assert again.log_evidence_ == fitted.log_evidence_
    np.testing.assert_array_equal(again.sources_["cluster"], fitted.sources_["cluster"])
    wrong = recording.forward.copy()
    error = np.random.default_rng(0).uniform(0.9, 1.1, (306, 1))  # of each sensor's gain
    wrong["sol"]["data"] = error * wrong["sol"]["data"]
    wrong["_orig_sol"] = error * wrong["_orig_sol"]
    inverse = VAEInverse(spans="whole", extent="point", registration=None)
    evidence = [
        inverse.fit(recording.evoked, forward, recording.noise_cov).log_evidence_
        for forward in (recording.forward, wrong)
    ]
    assert evidence[1] < evidence[0] - 10


def test_a_source_off_the_grid_is_reported_as_one_cluster(recording):
    """At a position of a finer grid, 5 mm or more from the nearest of those it is sought at."""
    fine = datasets.template("ico4", verbose="error").forward
    gaps = np.linalg.norm(fine["source_rr"][::7, None] - recording.forward["source_rr"], axis=2)
    place = 7 * int(np.flatnonzero((gaps.min(1) > 0.005) & (fine["source_rr"][::7, 2] > 0.05))[3])
    course = np.exp(-(((recording.evoked.times - 0.1) / 0.03) ** 2))[None]
    evoked, truth = simulate(
        fine,
        recording.evoked.info,
        recording.noise_cov,
        np.array([place]),
        course,
        tmin=recording.evoked.tmin,
        snr_db=-5.0,
        nave=recording.evoked.nave,
        random_state=0,
    )
    inverse = VAEInverse(extent="point").fit(evoked, recording.forward, recording.noise_cov)
    assert len(set(inverse.sources_["cluster"])) == 1
    found = inverse.filter_.positions.rr_head
    assert np.linalg.norm(found - truth[0].pos[0], axis=1).max() < 0.02
    assert inverse.sources_["log_evidence"].nunique() == 1


@pytest.mark.realdata
@pytest.mark.parametrize("condition", ["Left Auditory", "Right visual"])
def test_real_baselines_show_no_source(condition):
    """Two of the twenty windows of the calibration, which has all of them."""
    case = datasets.sample(condition, tmin=-0.1, tmax=0.0, verbose="error")
    inverse = VAEInverse()
    with pytest.warns(RuntimeWarning, match="estimate is empty"):
        inverse.fit(case.evoked, case.forward, case.noise_cov)
    assert inverse.sources_.empty
