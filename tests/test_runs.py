"""Runs between which the head moved, in one fit: each with its own forward model."""

from __future__ import annotations

import functools
import warnings
from types import SimpleNamespace

import mne
import numpy as np
import pytest
from small_recordings import (
    CENTRE,
    elsewhere,
    meg_info,
    points,
    record,
    sphere_forward,
    tangent,
)

from meg_vae import VAEInverse, read_vae_inverse

N_TIMES, NAVES = 60, (20, 30)


@functools.cache
def head():
    """Two head positions, 10 mm and 7° apart, and their forward models."""
    info = meg_info(["planar", "planar", "magnetometer"], 30)
    infos = [info, elsewhere(info)]
    src = points(200)
    return SimpleNamespace(infos=infos, forwards=[sphere_forward(one, src) for one in infos])


@functools.cache
def runs(seed=0, n_sources=2, snr_db=-2.0):
    """Two runs of the same sources, between the positions, each with its own time courses."""
    rng = np.random.default_rng(seed)
    rr = head().forwards[0]["source_rr"]
    cells = rng.choice(np.flatnonzero(rr[:, 2] > CENTRE[2]), 2, replace=False)
    places = rr[cells] + rng.uniform(-0.004, 0.004, (2, 3))
    directions = np.array([tangent(place) for place in places])
    true = mne.setup_volume_source_space(pos={"rr": places, "nn": directions}, verbose="error")
    made = [
        record(
            sphere_forward(info, true),
            info,
            range(n_sources),
            directions,
            snr_db=snr_db,
            nave=nave,
            n_times=N_TIMES,
            seed=10 * seed + k,
        )
        for k, (info, nave) in enumerate(zip(head().infos, NAVES, strict=True))
    ]
    return SimpleNamespace(
        evoked=[one.evoked for one in made],
        truth=[one.truth for one in made],
        noise_cov=made[0].noise_cov,
        places=places,
    )


def fit(evoked, forward, noise_cov, weights=None, **options):
    """A fit that says nothing of the lead field between so few positions."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "at . of . sources the lead field")
        # how sources look, when they are active and where the head is are not what is asked here
        options = {"extent": "point", "spans": "whole", "registration": None} | options
        return VAEInverse(**options).fit(evoked, forward, noise_cov, weights=weights)


@functools.cache
def together(seed=0):
    case = runs(seed)
    return fit(case.evoked, head().forwards, case.noise_cov)


def nearest(inverse, places):
    """The source nearest to each true place, and how far it is in mm."""
    gaps = 1e3 * np.linalg.norm(inverse.filter_.positions.rr_head[:, None] - places, axis=2)
    return gaps.argmin(0), gaps.min(0)


@pytest.mark.slow
def test_runs_together_come_nearer():
    """Nearer than either alone, and the evidence adds up."""
    error, evidence = [], []
    for seed in range(5):
        case = runs(seed)
        alone = [
            fit(one, forward, case.noise_cov)
            for one, forward in zip(case.evoked, head().forwards, strict=True)
        ]
        fits = [*alone, together(seed)]
        assert len(fits[2].sources_) == 2
        error.append([nearest(one, case.places)[1] for one in fits])
        evidence.append([one.sources_["log_evidence"].sum() for one in fits])
    rms = np.sqrt(np.square(error).mean((0, 2)))
    assert rms[2] < 0.85 * rms[:2].min()
    evidence = np.array(evidence)
    np.testing.assert_allclose(evidence[:, 2], evidence[:, :2].sum(1), rtol=0.15)


def test_each_run_is_estimated_with_its_own_filter():
    case, inverse = runs(), together()
    assert inverse.stationarity_ < 1e-3
    assert inverse.growth_ < inverse.min_log_evidence
    assert [one.nave for one in inverse.filters_] == list(NAVES)
    found, _ = nearest(inverse, case.places)
    for k, (evoked, truth) in enumerate(zip(case.evoked, case.truth, strict=True)):
        dipoles = inverse.dipoles(evoked)
        for j, true in zip(found, truth, strict=True):
            moment = (dipoles[j].amplitude[:, None] * dipoles[j].ori).T
            assert np.corrcoef(moment.ravel(), true.ravel())[0, 1] > 0.95
            assert np.linalg.norm(moment) == pytest.approx(np.linalg.norm(true), rel=0.2)
        own, other = inverse.filters_[k], inverse.filters_[1 - k]
        left = own.data(evoked) - own.patterns(evoked).sum(0)
        np.testing.assert_array_equal(inverse.residual(evoked).data, left)
        assert inverse.explained_variance(evoked) == own.explained_variance(evoked) > 30
        with pytest.raises(ValueError, match=r"has its sensors up to .* mm .* from where the fit"):
            other.activity(evoked)
    stcs = [inverse.apply(one) for one in case.evoked]
    assert np.array_equal(stcs[0].vertices[0], stcs[1].vertices[0])
    peak = max(np.abs(one.data).max() for one in stcs)
    assert inverse.sources_["peak_nAm"].max() == pytest.approx(1e9 * peak, rel=0.05)


def test_a_list_of_one_run_is_the_run():
    case, forward = runs(), head().forwards[1]
    alone = fit(case.evoked[1], forward, case.noise_cov)
    listed = fit([case.evoked[1]], [forward], [case.noise_cov])
    assert listed.sources_.equals(alone.sources_)
    assert listed.energy_ == alone.energy_
    np.testing.assert_array_equal(listed.filter_.inverse_map, alone.filter_.inverse_map)
    on_grid = [
        fit(one, f, case.noise_cov, positions="grid")
        for one, f in ((case.evoked[1], forward), ([case.evoked[1]], [forward]))
    ]
    assert on_grid[0].sources_.equals(on_grid[1].sources_)


def test_runs_of_one_position_are_a_list_of_responses():
    """The same sources and evidence, up to how the noise of each run is seen to go on."""
    case, forward = runs(), head().forwards[0]
    evoked = case.evoked[0]
    halves = [evoked.copy().crop(0, evoked.times[29]), evoked.copy().crop(evoked.times[30])]
    one = fit(halves, forward, case.noise_cov)
    two = fit(halves, [forward, forward], case.noise_cov)
    assert two.noise_variance_ == pytest.approx(one.noise_variance_, rel=0.1)
    found, gaps = nearest(two, one.filter_.positions.rr_head)
    assert gaps.max() < 0.3
    assert sorted(found) == [0, 1]
    rel = abs(two.log_evidence_ - one.log_evidence_) / abs(one.log_evidence_)
    assert rel < 0.015


def test_nothing_in_the_noise_of_both():
    for seed in range(3):
        case = runs(seed, n_sources=0)
        with pytest.warns(RuntimeWarning, match="no source carries 13 nats .* noise alone"):
            inverse = VAEInverse().fit(case.evoked, head().forwards, case.noise_cov)
        assert inverse.sources_.empty
        assert len(inverse.filters_) == 2
        assert inverse.apply(case.evoked[1]).data.shape == (0, N_TIMES)


def test_a_file_keeps_all_runs(tmp_path):
    case, inverse = runs(), together()
    again = read_vae_inverse(inverse.save(tmp_path / "two-vae.h5"))
    assert again.sources_.equals(inverse.sources_)
    for evoked in case.evoked:
        np.testing.assert_array_equal(again.apply(evoked).data, inverse.apply(evoked).data)
        ours, theirs = again.dipoles(evoked), inverse.dipoles(evoked)
        np.testing.assert_array_equal(ours[0].amplitude, theirs[0].amplitude)


def test_runs_of_other_channels_naves_and_covariances():
    """Bad channels of one run are used in the other; each run has its own noise."""
    case = runs()
    first, second = (one.copy() for one in case.evoked)
    second.info["bads"] = second.ch_names[3:5]
    louder = case.noise_cov.copy()
    louder["data"] = 4 * louder["data"]
    second.data *= 2  # of noise four times as large, and sources twice as strong
    inverse = fit([first, second], head().forwards, [case.noise_cov, louder])
    assert [len(one.ch_names) for one in inverse.filters_] == [90, 88]
    assert len(inverse.sources_) == 2
    assert inverse.noise_variance_ == pytest.approx(1, rel=0.1)
    assert nearest(inverse, case.places)[1].max() < 5
    assert inverse.residual(second).data.shape == (88, N_TIMES)
    assert "90 and 88" in inverse._repr_html_()
    ratio = np.abs(inverse.apply(second).data).max(1) / np.abs(inverse.apply(first).data).max(1)
    assert ratio.min() > 1.4


def estimated(cov, n, seed):
    """The covariance that so many samples of its noise give."""
    size = np.sqrt(np.diag(cov._get_square()))
    E = size[:, None] * np.random.default_rng(seed).standard_normal((len(size), n))
    return mne.Covariance(E @ E.T / n, cov.ch_names, [], [], nfree=n)


def test_covariances_of_few_samples():
    """Each run is whitened in the directions that its own covariance is known for."""
    case = runs()
    covs = [estimated(case.noise_cov, n, n) for n in (300, 2000)]
    inverse = fit(case.evoked, head().forwards, covs)
    assert len(inverse.sources_) == 2
    assert nearest(inverse, case.places)[1].max() < 5
    assert inverse.noise_samples_.tolist() == [300, 2000]
    assert inverse.noise_autocorrelation_.shape[0] == 2
    assert inverse.noise_variance_ == pytest.approx(1, rel=0.1)
    with pytest.warns(RuntimeWarning, match="^run 1 of 2: noise_cov was estimated from 100 sam"):
        few = fit(case.evoked, head().forwards, [estimated(case.noise_cov, 100, 1), covs[1]])
    first, second = (len(one.whitener) for one in few.filters_)
    assert first <= 50
    assert second == 90
    assert len(few.sources_) == 2
    assert nearest(few, case.places)[1].max() < 5


def test_nothing_in_the_noise_of_both_with_covariances_of_few_samples():
    for seed in range(3):
        case = runs(seed, n_sources=0)
        covs = [estimated(case.noise_cov, n, seed) for n in (200, 270)]
        with pytest.warns(RuntimeWarning, match="no source carries 13 nats .* noise alone"):
            inverse = VAEInverse().fit(case.evoked, head().forwards, covs)
        assert inverse.sources_.empty


@pytest.mark.slow
def test_weights_of_the_positions_in_runs():
    case = runs()
    rr = head().forwards[0]["source_rr"]
    gone = np.linalg.norm(rr - case.places[0], axis=1) < 0.02
    weights = np.where(gone, -np.inf, 0.0)
    # registration=None, or the head moves to where a source may be
    inverse = fit(case.evoked, head().forwards, case.noise_cov, weights=weights)
    np.testing.assert_array_equal(inverse.position_weights_, weights)
    near = np.linalg.norm(inverse.filter_.positions.rr_head[:, None] - rr, axis=2).argmin(1)
    assert not gone[near].any()
    assert nearest(inverse, case.places)[1][1] < 5


@functools.cache
def trials(k, n=12):
    """Single trials of a run, of sources three times as strong."""
    info = head().infos[k]
    size = np.sqrt(np.diag(runs().noise_cov._get_square()))[:, None]
    noise = size * np.random.default_rng(k).standard_normal((n, len(size), N_TIMES))
    clean = 3 * together().filters_[k].predict(runs().evoked[k]).data
    return mne.EpochsArray(clean + noise, info, verbose="error")


def kinds(name):
    """Both runs as data of another kind, and what goes with them."""
    epochs = [trials(0), trials(1)]
    raws = [
        mne.io.RawArray(np.concatenate(one.get_data(), 1), one.info, verbose="error")
        for one in epochs
    ]
    covs = [mne.compute_raw_covariance(one, tstep=None, verbose="error") for one in raws]
    infos = [one.info for one in raws]
    conditions = [[one.copy().crop(0, 0.1), one.copy().crop(0.12)] for one in runs().evoked]
    return {
        "epochs": (epochs, None),
        "raw": (raws, None),
        "covariances": (covs, infos),
        "epochs and a covariance": ([epochs[0], covs[1]], [None, infos[1]]),
        "one info": ([epochs[0], covs[1]], infos[1]),
        "responses of each": (conditions, None),
    }[name]


KINDS = ["epochs", "raw", "covariances", "epochs and a covariance", "one info", "responses of each"]


@pytest.mark.parametrize("name", KINDS)
def test_runs_of_any_kind(name):
    data, info = kinds(name)
    case = runs()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "at . of . sources the lead field")
        inverse = VAEInverse().fit(data, head().forwards, case.noise_cov, info=info)
    found = inverse.filter_.positions.rr_head
    place = together().filter_.positions.rr_head
    assert len(found) == 2
    assert 1e3 * np.linalg.norm(found[:, None] - place, axis=2).min(0).max() < 4
    if name == "raw":
        assert inverse.apply_raw(data[1]).data.shape == (2, 12 * N_TIMES)
    if name == "epochs":
        stcs = inverse.apply_epochs(data[1])
        assert len(stcs) == 12
        mean = np.mean([one.data for one in inverse.apply_epochs(data[1], "vector")], 0)
        np.testing.assert_allclose(
            mean, inverse.apply(data[1].average(), "vector").data, atol=1e-18
        )


def test_covariances_of_each_run():
    """A covariance does not tell its head position; its info does."""
    inverse, ((_, cov), (first, second)) = together(), kinds("covariances")
    own = inverse.apply_cov(cov, info=second).data
    assert (abs(inverse.apply_cov(cov, info=first).data - own) > 0.02 * own).all()
    raw = kinds("raw")[0][1]
    power = np.square(inverse.apply_raw(raw, pick_ori="vector").data).sum(1)
    mean = np.square(inverse.apply_raw(raw, pick_ori="vector").data.mean(2)).sum(1)
    np.testing.assert_allclose(own[:, 0], power.mean(1) - mean, rtol=0.01)
    with pytest.raises(ValueError, match="info is needed: this inverse was fitted to 2 runs"):
        inverse.apply_cov(cov)


def test_the_bootstrap_resamples_each_run():
    case = runs()
    epochs = [trials(0), trials(1, 16)]
    inverse = fit(epochs, head().forwards, case.noise_cov)
    result, again = (
        inverse.bootstrap(
            epochs, head().forwards, case.noise_cov, n_bootstrap=6, random_state=0, n_jobs=1
        )
        for _ in range(2)
    )
    assert result.sources.equals(again.sources)
    assert (result.sources["probability"] == 1).all()
    gaps = result.sources[["x_mm", "y_mm", "z_mm"]] - inverse.sources_[["x_mm", "y_mm", "z_mm"]]
    assert np.linalg.norm(gaps, axis=1).max() < 2
    peak = inverse.sources_["peak_nAm"].to_numpy()
    np.testing.assert_allclose(result.sources["amplitude_nAm"], peak, rtol=0.1)


def test_pictures_of_each_run():
    case, inverse = runs(), together()
    courses = []
    for evoked in (None, *case.evoked):
        figure = inverse.plot_time_courses(evoked)
        courses.append(np.array([line.get_ydata() for line in figure.axes[0].lines[:2]]))
    np.testing.assert_array_equal(courses[0], courses[1])
    assert not np.array_equal(courses[1], courses[2])


def test_the_report_says_how_runs_are_fitted_again():
    from meg_vae.report.facts import python_code

    case = runs()
    names = {"noise_cov": case.noise_cov}
    for k in range(2):
        names |= {f"evoked{k + 1}": case.evoked[k], f"forward{k + 1}": head().forwards[k]}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "at . of . sources the lead field")
        exec(python_code(together()), names)  # noqa: S102
    assert names["inverse"].sources_.equals(together().sources_)
    assert np.array_equal(names["stc"].data, together().apply(case.evoked[0]).data)
