"""The bootstrap over epochs: how sure the places, the amplitudes and the number of sources are."""

from __future__ import annotations

import warnings

import mne
import numpy as np
import pytest
import torch
from conftest import sparse_problem
from scipy.stats import chi2

from meg_vae import VAEInverse, datasets
from meg_vae.model import bootstrap as model
from meg_vae.model.evidence import possible_gain
from meg_vae.model.exact.dictionary import Dictionary
from meg_vae.model.priors import prior_of
from meg_vae.model.solve import solve

N_EPOCHS = 20


def epochs_around(case, seed=0, n_epochs=N_EPOCHS):
    """Epochs whose average is the evoked response of a case, with noise of its covariance."""
    rng = np.random.default_rng(seed)
    evoked = case.evoked.copy().crop(0.05, 0.25).pick("mag")  # a third of the channels: quick
    size = (n_epochs, len(evoked.ch_names), len(evoked.times))
    cov = case.noise_cov.copy().pick_channels(evoked.ch_names, ordered=True, verbose="error")
    values, vectors = np.linalg.eigh(cov.data)
    colour = vectors * np.sqrt(values.clip(0) * n_epochs / evoked.nave)
    noise = np.einsum("cd,edt->ect", colour, rng.standard_normal(size))
    epochs = mne.EpochsArray(
        evoked.data + noise - noise.mean(0), evoked.info, tmin=evoked.tmin, verbose="error"
    )
    cov["data"] = cov.data * n_epochs / evoked.nave
    return epochs, epochs.average(), cov


@pytest.fixture(scope="module", params=["free", "grid"])
def positions(request):
    """Where sources may lie."""
    return request.param


@pytest.fixture(scope="module")
def recording(positions):
    """Two sources in the template head, where they may lie."""
    grid = {"free": "finer", "grid": "same"}[positions]
    return datasets.template_recording(n_sources=2, spacing="ico3", grid=grid, verbose="error")


@pytest.fixture(scope="module")
def case(positions, recording):
    """Epochs, forward and covariance, the inverse of their average, and its bootstrap."""
    epochs, average, cov = epochs_around(recording)
    options = {"spans": "whole", "subjects_dir": recording.subjects_dir}
    if positions == "free":
        options |= {"extent": "point", "registration": None}
    inverse = VAEInverse(positions=positions, **options)
    inverse.fit(average, recording.forward, cov)
    result = inverse.bootstrap(
        epochs, recording.forward, cov, n_bootstrap=40, random_state=0, verbose="error"
    )
    return epochs, recording.forward, cov, inverse, result


def test_true_sources_are_selected_and_others_are_not(recording, case):
    *_, inverse, result = case
    assert len(inverse.sources_) == 2
    assert (result.sources["probability"] > 0.9).all()
    probability = result.selection_probability.data[:, 0]
    assert probability.max() <= 1
    assert probability.shape == (recording.forward["nsource"],)
    rr = recording.forward["source_rr"]
    true = np.array([dipole.pos[0] for dipole in recording.truth])
    far = np.linalg.norm(rr[:, None] - true, axis=2).min(1) > 0.02
    assert probability[far].max() < 0.2
    assert probability[~far].sum() > 1.8


def test_ellipsoids_hold_the_truth(recording, case):
    *_, result = case
    to_mri = mne.transforms.invert_transform(recording.forward["mri_head_t"])
    true = np.array([dipole.pos[0] for dipole in recording.truth])
    true = 1e3 * mne.transforms.apply_trans(to_mri, true)
    ellipsoids = result.ellipsoids()
    assert len(ellipsoids) == 2
    for row, covariance in zip(ellipsoids.itertuples(), result.covariance_mm2, strict=True):
        offset = true - [row.x_mm, row.y_mm, row.z_mm]
        depth = np.einsum("tk,kl,tl->t", offset, np.linalg.inv(covariance), offset)
        assert depth.min() <= chi2.ppf(0.999, 3)  # one recording
        assert depth.max() > chi2.ppf(0.999, 3)  # and not the other source
        assert row.cov_xz == covariance[0, 2]


def test_amplitudes_scatter_as_the_noise_makes_them(case):
    """The resampled standard deviation against that of the fit's own linear filter.

    At free places it is that of the filter and of the places, which the table has.
    """
    epochs, _, cov, inverse, result = case
    filter_, evoked = inverse.filter_, epochs.average()
    U = filter_.activity(evoked)
    maps = filter_.inverse_map.reshape(*U.shape[:2], -1)
    sd = []
    for own, rows in zip(U, maps, strict=True):
        peak = own[:, np.square(own).sum(0).argmax()]
        weights = peak / np.linalg.norm(peak) @ rows
        sd.append(1e9 * np.sqrt(weights @ cov.data @ weights / evoked.nave))
    if inverse.positions == "free":
        sd = inverse.sources_["sd_nAm"]
    ratio = result.sources["amplitude_sd_nAm"] / np.array(sd)
    assert ratio.between(0.4, 2.0).all()
    share = result.sources["amplitude_nAm"] / inverse.sources_["peak_nAm"]
    assert share.between(0.8, 1.2).all()


def test_the_seed_alone_decides(case):
    epochs, forward, cov, inverse, _ = case
    options = {"n_bootstrap": 6, "verbose": "error"}
    n_jobs = 2 if inverse.positions == "free" else 1  # processes take a while to start
    one, two, other = (
        inverse.bootstrap(epochs, forward, cov, random_state=seed, n_jobs=jobs, **options)
        for seed, jobs in ((1, 1), (1, n_jobs), (2, 1))
    )
    assert one.sources.equals(two.sources)
    np.testing.assert_array_equal(one.missed_log_evidence, two.missed_log_evidence)
    assert not one.sources.equals(other.sources)


def test_few_positions_do_as_well_as_all(case):
    """No position that was left out could have held a source that is reported."""
    *_, inverse, result = case
    few = inverse.positions == "grid"
    assert (result.n_positions < len(result.selection_probability.data)) == few
    assert len(result.missed_log_evidence) == (32 if few else 40)
    assert result.missed_log_evidence.max() < inverse.min_log_evidence


def test_noise_alone_gives_an_empty_bootstrap():
    noise = datasets.template_recording(n_sources=0, spacing="ico3", verbose="error")
    epochs, average, cov = epochs_around(noise)
    inverse = VAEInverse(subjects_dir=noise.subjects_dir)
    with pytest.warns(RuntimeWarning, match="estimate is empty"):
        inverse.fit(average, noise.forward, cov)
    result = inverse.bootstrap(
        epochs, noise.forward, cov, n_bootstrap=4, random_state=0, verbose="error"
    )
    assert result.sources.empty
    assert result.ellipsoids().empty
    assert result.selection_probability.data.max() < 0.5


def test_what_cannot_be_resampled_is_refused(case):
    epochs, forward, cov, inverse, _ = case
    with pytest.raises(ValueError, match="epochs holds 1 epoch,"):
        inverse.bootstrap(epochs[:1], forward, cov)
    with pytest.raises(ValueError, match="crop the epochs to the fit"):
        inverse.bootstrap(epochs.copy().crop(0.1, 0.2), forward, cov)
    with pytest.raises(TypeError, match="must be mne.Epochs, got EvokedArray"):
        inverse.bootstrap(epochs.average(), forward, cov)
    with pytest.raises(ValueError, match="n_bootstrap=1"):
        inverse.bootstrap(epochs, forward, cov, n_bootstrap=1)
    with pytest.raises(RuntimeError, match="not fitted"):
        VAEInverse().bootstrap(epochs, forward, cov)


def test_weights_resample_with_replacement():
    weights = model.resampling_weights(10, 2000, np.random.default_rng(0))
    np.testing.assert_allclose(weights.sum(1), 1)
    assert set(np.unique(np.round(10 * weights)).astype(int)) <= set(range(11))
    np.testing.assert_allclose(weights.mean(0), 0.1, atol=0.01)
    np.testing.assert_allclose(weights.var(0), 0.009, rtol=0.2)  # multinomial


@pytest.mark.parametrize("orientation", ["shared", "full"])
def test_possible_gain_is_the_best_that_one_position_can_do(orientation):
    """The closed form against a search over the prior of each position."""
    problem = sparse_problem(n_orient=3, n_groups=6, n_active=2, noise=0.5, n=30)
    dictionary = Dictionary(problem.Phi, 3)
    X = torch.as_tensor(problem.X)
    fit = solve(dictionary, X, noise_variance=0.25)
    nothing = fit.only(torch.zeros(len(fit.positions), dtype=torch.bool))
    prior = prior_of(orientation, 3)
    gain = possible_gain(dictionary, nothing, X, prior=prior, n_effective=30).numpy()
    C = problem.X @ problem.X.T / 30

    def gain_of(Gamma, columns):
        Sigma = 0.25 * np.eye(20) + columns @ Gamma @ columns.T
        J = np.linalg.slogdet(Sigma)[1] + np.trace(np.linalg.solve(Sigma, C))
        return 15 * (20 * np.log(0.25) + np.trace(C) / 0.25 - J)

    for g in range(6):
        columns = problem.Phi[:, 3 * g : 3 * g + 3]
        shared = max(gain_of(gamma * np.eye(3), columns) for gamma in np.geomspace(1e-6, 30, 300))
        if orientation == "shared":
            assert gain[g] == pytest.approx(max(shared, 0), rel=1e-3, abs=1e-3)
        else:
            assert gain[g] >= shared * (1 - 1e-6)
            sample = problem.X @ problem.X.T / 30 - 0.25 * np.eye(20)
            inverse = np.linalg.pinv(columns)
            values, vectors = np.linalg.eigh(inverse @ sample @ inverse.T)
            near = gain_of(vectors * values.clip(0) @ vectors.T, columns)
            assert gain[g] >= near * (1 - 1e-6)
    assert gain[problem.active].min() > np.delete(gain, problem.active).max()


def test_a_fit_of_other_epochs_is_noticed(case):
    epochs, forward, cov, inverse, _ = case
    with pytest.warns(RuntimeWarning, match="fit averaged 20 epochs, and these are 18"):
        inverse.bootstrap(epochs[:18], forward, cov, n_bootstrap=2, verbose="error")


def test_a_source_left_out_is_noticed():
    from meg_vae.meg.grid_bootstrap import _warn_of_missed

    with pytest.warns(RuntimeWarning, match="in 1 of 2 samples"):
        _warn_of_missed(np.array([1.0, 30.0]), 12.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _warn_of_missed(np.array([1.0, 3.0]), 12.0)


@pytest.mark.rendering
def test_ellipsoids_are_drawn_in_the_glass_brain(case):
    """They change the picture of the same brain; at free places those of the fit stand there."""
    from meg_vae import viz

    *_, inverse, result = case
    options = {"views": "lateral", "look": viz.Look(off_screen=True)}
    plain = viz.picture(inverse.plot_sources(surface="glass", **options))
    drawn = viz.picture(inverse.plot_sources(bootstrap=result, **options))
    same = min(len(plain), len(drawn))
    assert (plain[:same] != drawn[:same]).any()
