"""Every kind of data, fitted and applied to: two routes to the same covariance agree."""

from __future__ import annotations

from copy import copy
from dataclasses import replace

import mne
import numpy as np
import pytest
from small_recordings import SFREQ, meg_info, points, record, sphere_forward, tangent

from meg_vae import VAEInverse

TRUE = [17, 41]
N_TRIALS = 20


@pytest.fixture(scope="module")
def model():
    """Sensors and forward model."""
    info = meg_info(["magnes"], 60)
    return info, sphere_forward(info, points())


@pytest.fixture(scope="module")
def trials(model):
    """Single trials of two sources, as epochs; the average has 10 dB."""
    info, forward = model
    nn = [tangent(forward["source_rr"][k]) for k in TRUE]
    signal = record(forward, info, TRUE, nn, nave=N_TRIALS, snr_db=10)
    silence = record(forward, info, [], [], nave=N_TRIALS)
    clean = signal.evoked.data - silence.evoked.data  # the same seed: the same noise
    noise = [record(forward, info, [], [], nave=1, seed=k).evoked.data for k in range(N_TRIALS)]
    epochs = mne.EpochsArray(clean + np.array(noise), info, tmin=-0.1, verbose="error")
    return epochs, forward, signal.noise_cov


@pytest.fixture(scope="module")
def raw(trials):
    """The trials one after the other, on a large constant field."""
    data = np.concatenate(trials[0].get_data(), axis=1) + 1e-9
    return mne.io.RawArray(data, trials[0].info, verbose="error")


@pytest.fixture(scope="module")
def by_epochs(trials):
    """A fit of the epochs."""
    return fit(*trials)


def fit(data, forward, noise_cov, *, positions="free", **kwargs):
    """A fit that says nothing."""
    inverse = VAEInverse(positions=positions, verbose="error")
    return inverse.fit(data, forward, noise_cov, **kwargs)


def same(one, two, rtol=3e-2):
    """Whether two fits are the same, up to where the descent over places stops."""
    assert list(one.sources_["vertno"]) == list(two.sources_["vertno"])
    ours, theirs = (fit.filter_.gain @ fit.filter_.inverse_map for fit in (one, two))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=rtol * abs(ours).max())
    ours, theirs = (fit.sources_[["x_mm", "y_mm", "z_mm"]] for fit in (one, two))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=10 * rtol)
    ours, theirs = one.sources_["log_evidence"], two.sources_["log_evidence"]
    np.testing.assert_allclose(ours, theirs, rtol=rtol)


def test_epochs_are_fitted_by_their_average(trials, by_epochs):
    epochs, *rest = trials
    average = epochs.average()
    assert average.nave == by_epochs.filter_.nave == N_TRIALS
    same(by_epochs, fit(average, *rest), rtol=1e-12)
    assert sorted(by_epochs.sources_["vertno"]) == TRUE
    assert by_epochs.residual().nave == N_TRIALS
    one = average.copy()
    one.nave = 1  # the control: taken for a single trial, it seems to have a twentieth of the noise
    assert by_epochs.noise_variance_ == pytest.approx(1, abs=0.1)
    assert fit(one, *rest).noise_variance_ == pytest.approx(1 / N_TRIALS, rel=0.1)


def test_a_recording_is_fitted_by_its_covariance(trials, raw):
    _, forward, noise_cov = trials
    by_raw = fit(raw, forward, noise_cov)
    cov = mne.compute_raw_covariance(raw, tstep=None, verbose="error")
    by_cov = fit(cov, forward, noise_cov, info=raw.info)
    same(by_raw, by_cov, rtol=0.05)
    on_grid = [
        fit(data, forward, noise_cov, positions="grid", **more)
        for data, more in ((raw, {}), (cov, {"info": raw.info}))
    ]
    same(*on_grid, rtol=1e-4)  # MNE loses digits to the constant field
    assert by_raw.n_effective_ == by_cov.n_effective_ == raw.n_times - 1
    assert by_raw.filter_.nave == 1
    for one in (by_raw, by_cov):
        assert sorted(one.sources_["vertno"][:2]) == TRUE
    evoked = mne.EvokedArray(raw.get_data() - raw.get_data().mean(1, keepdims=True), raw.info)
    by_evoked = fit(evoked, forward, noise_cov)
    assert by_evoked.n_effective_ == raw.n_times  # white noise: every time point counts
    assert set(TRUE) < set(by_evoked.sources_["vertno"])
    stc = by_raw.apply(evoked)
    for _, source in by_raw.sources_.iterrows():
        amplitude = stc.data[list(stc.vertices[0]).index(source["vertno"])]
        assert source["peak_s"] == stc.times[amplitude.argmax()]
        assert source["peak_nAm"] * 1e-9 == pytest.approx(amplitude.max(), rel=5e-3)


def test_samples_annotated_as_bad_do_not_count(trials, raw):
    _, forward, noise_cov = trials
    spoiled = raw.copy()
    spoiled._data[:, 300:400] *= 30
    spoiled.set_annotations(mne.Annotations(300 / SFREQ, 100 / SFREQ, "BAD_jump"))
    clean = mne.concatenate_raws(
        [raw.copy().crop(0, 299 / SFREQ), raw.copy().crop(400 / SFREQ)], verbose="error"
    ).set_annotations(None)
    same(fit(spoiled, forward, noise_cov), fit(clean, forward, noise_cov))
    everything = raw.copy().set_annotations(mne.Annotations(0, raw.n_times / SFREQ, "BAD_all"))
    with pytest.raises(ValueError, match="raw has 0 samples that are not annotated as bad"):
        fit(everything, forward, noise_cov)


def test_a_covariance_has_power_but_no_time(trials):
    epochs, forward, noise_cov = trials
    cov = mne.compute_covariance(epochs, verbose="error")
    inverse = fit(cov, forward, noise_cov, info=epochs.info)
    assert inverse.n_effective_ == cov["nfree"]
    sources = inverse.sources_.set_index("vertno")
    assert set(TRUE) <= set(sources.index)
    assert sources["peak_s"].isna().all()
    data = np.concatenate(epochs.get_data(), axis=1)
    data -= data.mean(1, keepdims=True)
    U = inverse.filter_.sources(data)
    for place, vertno in enumerate(inverse.filter_.positions.vertno):
        largest = np.linalg.svd(U[place], compute_uv=False)[0] / data.shape[1] ** 0.5
        assert sources.loc[vertno, "peak_nAm"] == pytest.approx(1e9 * largest, rel=1e-2)
    for draw in (inverse.residual, inverse.dipoles, inverse.plot_residual):
        with pytest.raises(ValueError, match="evoked is needed"):
            draw()
    assert inverse.apply(epochs.average()).data.any()


def test_responses_of_a_list_have_their_own_averages(trials):
    epochs, forward, noise_cov = trials
    few, many = epochs[:5].average(), epochs[5:].average()
    inverse = fit([few, many], forward, noise_cov)
    assert inverse.filter_.nave == 5
    X = np.concatenate([inverse.filter_.whiten(one) for one in (few, many)], axis=1)
    noise = fit(noise_only(few, many), forward, noise_cov)
    assert np.square(X).mean() > 2
    assert noise.sources_.empty
    assert noise.noise_variance_ == pytest.approx(1, abs=0.1)  # each whitened by its own


def noise_only(*evokeds):
    """Noise of as many averages in place of responses."""
    rng = np.random.default_rng(3)
    out = []
    for evoked in evokeds:
        one = evoked.copy()
        sd = mne.make_ad_hoc_cov(one.info, verbose="error")["data"][0] ** 0.5
        one.data = sd * rng.standard_normal(one.data.shape) / one.nave**0.5
        out.append(one)
    return out


def test_apply_is_the_same_map_for_every_kind_of_data(trials, raw, by_epochs):
    epochs = trials[0]
    whole = by_epochs.apply_raw(raw, pick_ori="vector")
    assert whole.data.shape == (2, 3, raw.n_times)
    offset = by_epochs.apply_raw(
        mne.io.RawArray(np.full((60, 1), 1e-9), raw.info, verbose="error"), pick_ori="vector"
    )
    listed = by_epochs.apply_epochs(epochs, "vector")
    together = np.concatenate([one.data for one in listed], axis=2)
    size = abs(together).max()
    np.testing.assert_allclose(whole.data - offset.data, together, rtol=0, atol=1e-6 * size)
    mean = by_epochs.apply(epochs.average(), "vector")
    np.testing.assert_allclose(
        np.mean([one.data for one in listed], axis=0), mean.data, rtol=0, atol=1e-12 * size
    )
    assert listed[0].tmin == mean.tmin == epochs.tmin
    part = by_epochs.apply_raw(raw, 100, 150)
    everything = by_epochs.apply_raw(raw)
    np.testing.assert_allclose(part.data, everything.data[:, 100:150], rtol=1e-9)
    assert part.tmin == raw.times[100]
    cov = mne.compute_raw_covariance(raw, tstep=None, verbose="error")
    power = by_epochs.apply_cov(cov)
    np.testing.assert_allclose(power.data[:, 0], whole.data.var(2, ddof=1).sum(1), rtol=1e-6)
    assert power.data.shape == (2, 1)


def test_sources_with_one_nearest_position_add_up_there(trials, raw, by_epochs):
    epochs, filter_ = trials[0], by_epochs.filter_
    vertno = filter_.positions.vertno.min().repeat(2)
    inverse = copy(by_epochs)
    alike = replace(filter_, positions=replace(filter_.positions, vertno=vertno))
    inverse.filters_ = [alike]
    moment = filter_.sources(epochs.average().data).sum(0)
    size = abs(moment).max()
    whole = inverse.apply_raw(raw, pick_ori="vector")
    assert [list(own) for own in inverse.apply(epochs.average()).vertices] == [[vertno[0]]]
    for pick_ori, wanted in (("vector", moment), (None, np.linalg.norm(moment, axis=0))):
        mean = inverse.apply(epochs.average(), pick_ori).data
        np.testing.assert_allclose(mean, wanted[None], rtol=0, atol=1e-9 * size)
    for one, vectors in zip(
        inverse.apply_epochs(epochs), inverse.apply_epochs(epochs, "vector"), strict=True
    ):
        np.testing.assert_allclose(one.data, vectors.magnitude().data, rtol=1e-12)
    np.testing.assert_allclose(inverse.apply_raw(raw).data, whole.magnitude().data, rtol=1e-12)
    power = inverse.apply_cov(mne.compute_raw_covariance(raw, tstep=None, verbose="error")).data
    np.testing.assert_allclose(power[:, 0], whole.data.var(2, ddof=1).sum(1), rtol=1e-6)
    assert len(inverse.dipoles(epochs.average())) == 2


def test_channels_go_by_name(trials, by_epochs):
    evoked = trials[0].average()
    names = list(np.random.default_rng(0).permutation(evoked.ch_names))
    shuffled = evoked.copy().reorder_channels(names)
    assert shuffled.ch_names != evoked.ch_names
    np.testing.assert_array_equal(by_epochs.apply(shuffled).data, by_epochs.apply(evoked).data)


def test_pieces_of_a_recording_join_without_a_seam(raw, by_epochs, monkeypatch):
    whole = by_epochs.apply_raw(raw).data
    monkeypatch.setattr("meg_vae.meg.apply.CHUNK", 77)
    np.testing.assert_allclose(by_epochs.apply_raw(raw).data, whole, rtol=1e-12)
    monkeypatch.setattr("meg_vae.meg.recording.CHUNK", 77)
    cov = mne.compute_raw_covariance(raw, tstep=None, verbose="error")
    from meg_vae.meg.recording import recording_covariance

    np.testing.assert_allclose(recording_covariance(raw).data, cov.data, rtol=1e-5, atol=1e-32)


def test_epochs_come_one_by_one_and_may_be_read_late(trials, by_epochs, tmp_path):
    epochs = trials[0]
    stcs = by_epochs.apply_epochs(epochs, return_generator=True)
    first = next(stcs)
    assert not isinstance(stcs, list)
    np.testing.assert_array_equal(first.data, by_epochs.apply_epochs(epochs[:1])[0].data)
    fname = tmp_path / "x-epo.fif"
    epochs.save(fname, fmt="double", verbose="error")
    late = mne.read_epochs(fname, preload=False, verbose="error")
    assert len(by_epochs.apply_epochs(late)) == N_TRIALS
    same(by_epochs, fit(late, *trials[1:]))


def test_empty_epochs_are_refused(trials, by_epochs, raw):
    epochs, *rest = trials
    events = np.column_stack([[100, 500], [0, 0], [1, 1]])
    options = {"tmin": 0, "tmax": 0.1, "baseline": None, "preload": False, "verbose": "error"}
    dropped = mne.Epochs(raw, events, reject={"mag": 1e-20}, **options)
    for empty in (epochs[:0], dropped):
        with pytest.raises(ValueError, match="epochs is empty"):
            fit(empty, *rest)
        with pytest.raises(ValueError, match="epochs is empty"):
            by_epochs.apply_epochs(empty)


def test_bad_data_are_refused(trials, raw, by_epochs):
    epochs, *rest = trials
    cov = mne.compute_covariance(epochs, verbose="error")
    with pytest.raises(ValueError, match="info is needed with a covariance"):
        fit(cov, *rest)
    with pytest.raises(ValueError, match="info goes with a covariance alone"):
        fit(raw, *rest, info=raw.info)
    unknown = cov.copy()
    unknown["nfree"] = 0
    with pytest.raises(ValueError, match="nfree=0"):
        fit(unknown, *rest, info=raw.info)
    broken = cov.copy()
    broken["data"] = np.full_like(cov.data, np.nan)
    with pytest.raises(ValueError, match="data covariance has NaN"):
        fit(broken, *rest, info=raw.info)
    with pytest.raises(
        TypeError, match="must be an mne.Evoked, a list .* got a list of EpochsArray"
    ):
        fit([epochs], *rest)
    with pytest.raises(TypeError, match="apply takes evoked, an mne.Evoked, and got EpochsArray"):
        by_epochs.apply(epochs)
    with pytest.raises(TypeError, match="apply_raw takes raw, an mne.Raw"):
        by_epochs.apply_raw(epochs)
    with pytest.raises(ValueError, match="start=10 and stop=5 leave no sample"):
        by_epochs.apply_raw(raw, 10, 5)
    with pytest.raises(ValueError, match="gives no power"):
        by_epochs.apply_cov(cov, "vector")
    few = mne.pick_channels_cov(cov, cov.ch_names[:50])
    with pytest.raises(ValueError, match="cov lacks 10 of the 60"):
        by_epochs.apply_cov(few)
    wild = raw.copy()
    wild._data[3, 200] = np.inf
    with pytest.raises(ValueError, match="NaN or infinite"):
        by_epochs.apply_raw(wild)
