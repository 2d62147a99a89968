"""Virtual channels: the sources as channels of MNE, none with the activity of another."""

from __future__ import annotations

import mne
import numpy as np
import pytest

from meg_vae import VAEInverse, datasets, read_vae_inverse
from meg_vae.meg.unmixing import source_axes, unmixing


@pytest.fixture(scope="module")
def along(fitted):
    """Fields of the sources along their axes, (n_channels, n_sources)."""
    gain = fitted.filter_.gain
    axis = source_axes(fitted.filter_)
    return np.einsum("dga,ga->dg", gain.reshape(len(gain), *axis.shape), axis)


def of_fields(recording, fitted, fields, courses):
    """An evoked response of given fields, without noise."""
    info = mne.pick_info(
        recording.evoked.info,
        [recording.evoked.ch_names.index(name) for name in fitted.filter_.ch_names],
    )
    evoked = mne.EvokedArray(fields @ courses, info, 0.0, nave=recording.evoked.nave)
    return evoked.apply_proj(verbose="error")


def test_each_channel_holds_its_own_source_and_no_other(recording, fitted, along):
    n = len(fitted.sources_)
    assert n >= 2
    for k in range(n):
        courses = np.zeros((n, 20))
        courses[k] = 1e-8 * np.sin(np.arange(20))
        evoked = of_fields(recording, fitted, along, courses)
        found = fitted.to_evoked(evoked)
        np.testing.assert_allclose(found.data, courses, atol=1e-8 * 1e-8)


def test_leakage_is_what_apply_holds_of_the_others(recording, fitted, along):
    leakage = fitted.leakage()
    n = len(leakage)
    assert leakage.shape == (n, n)
    axis = source_axes(fitted.filter_)
    U = fitted.filter_.activity(of_fields(recording, fitted, along, np.eye(n)))
    np.testing.assert_allclose(np.einsum("ga,gat->gt", axis, U), leakage, atol=1e-9)
    assert (np.diag(leakage) > 0.5).all()
    assert (np.diag(leakage) < 1).all()


def test_channels_say_what_and_where_they_are(recording, fitted):
    found = fitted.to_evoked(recording.evoked)
    sources = fitted.sources_
    assert set(found.get_channel_types()) == {"dipole"}
    assert len(found.ch_names) == len(sources)
    for k, (name, label) in enumerate(zip(found.ch_names, sources["label"], strict=True), 1):
        assert name.startswith(f"S{k:03d}")
        assert str(label) in name
    places = np.array([channel["loc"][:3] for channel in found.info["chs"]])
    np.testing.assert_allclose(places, fitted.filter_.positions.rr_head)
    assert found.nave == recording.evoked.nave
    assert found.info["lowpass"] == recording.evoked.info["lowpass"]
    np.testing.assert_allclose(found.times, recording.evoked.times)


def test_a_channel_is_the_time_course_of_its_source(recording, fitted):
    found = fitted.to_evoked(recording.evoked)
    true = np.array([one.amplitude for one in recording.truth])
    match = np.abs(np.corrcoef(found.data, true)[: len(found.data), len(found.data) :])
    assert (match.max(0) > 0.95).all()


def test_axes_point_out_of_the_cortex(fitted):
    positions = fitted.filter_.positions
    vectors = np.einsum("ga,gak->gk", source_axes(fitted.filter_), positions.axes)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1)
    along = np.einsum("gk,gk->g", vectors, positions.normals)
    assert (along[np.abs(along) > 0.2] > 0).all()


def test_trials_and_recordings_are_the_same_channels(recording, fitted):
    info = recording.evoked.info
    rng = np.random.default_rng(0)
    sd = np.sqrt(recording.noise_cov.data.diagonal())[:, None]
    trials = recording.evoked.data + sd * rng.standard_normal((3, *recording.evoked.data.shape))
    events = np.c_[[50, 150, 250], [0, 0, 0], [1, 2, 1]]
    epochs = mne.EpochsArray(
        trials, info, events, tmin=-0.1, event_id={"a": 1, "b": 2}, verbose="error"
    ).apply_proj(verbose="error")
    found = fitted.to_epochs(epochs)
    np.testing.assert_array_equal(found.events, events)
    assert found.event_id == {"a": 1, "b": 2}
    assert found.tmin == epochs.tmin
    np.testing.assert_allclose(
        found.average(picks="all").data, fitted.to_evoked(epochs.average()).data, rtol=1e-6
    )
    raw = mne.io.RawArray(np.concatenate(trials, axis=1), info, first_samp=7, verbose="error")
    raw.apply_proj(verbose="error")
    raw.set_annotations(mne.Annotations([0.1], [0.05], ["blink"]))
    continuous = fitted.to_raw(raw)
    np.testing.assert_allclose(
        continuous.get_data(), np.concatenate(list(found.get_data(picks="all")), axis=1), rtol=1e-6
    )
    assert continuous.first_samp == 7
    assert list(continuous.annotations.description) == ["blink"]
    np.testing.assert_allclose(continuous.annotations.onset, raw.annotations.onset)


def test_files_keep_channels(recording, fitted, tmp_path):
    again = read_vae_inverse(fitted.save(tmp_path / "sub-vae.h5"))
    np.testing.assert_allclose(
        again.to_evoked(recording.evoked).data, fitted.to_evoked(recording.evoked).data
    )
    raw = mne.io.RawArray(recording.evoked.data, recording.evoked.info, verbose="error")
    found = fitted.to_raw(raw.apply_proj(verbose="error"))
    found.save(tmp_path / "sources_raw.fif", verbose="error")
    kept = mne.io.read_raw_fif(tmp_path / "sources_raw.fif", verbose="error")
    assert kept.ch_names == found.ch_names
    np.testing.assert_allclose(kept.get_data(), found.get_data(), rtol=1e-5)


def test_a_recording_on_disk_is_read_piece_by_piece(recording, fitted, tmp_path):
    info, rng = recording.evoked.info, np.random.default_rng(0)
    data = 1e-12 * rng.standard_normal((len(info["ch_names"]), 500))
    raw = mne.io.RawArray(data, info, first_samp=30, verbose="error").apply_proj(verbose="error")
    raw.set_annotations(mne.Annotations([0.3], [0.1], ["blink"]))
    loaded = fitted.to_raw(raw)
    raw.save(tmp_path / "x_raw.fif", fmt="double", verbose="error")
    found = fitted.to_raw(mne.io.read_raw_fif(tmp_path / "x_raw.fif", verbose="error"))
    assert loaded.preload
    assert not found.preload
    size = np.abs(loaded.get_data()).max()
    np.testing.assert_allclose(found.get_data(), loaded.get_data(), atol=1e-9 * size)
    np.testing.assert_allclose(found[1:, 40:90][0], loaded[1:, 40:90][0], atol=1e-9 * size)
    late = found.copy().pick([0]).crop(0.2, 0.7)
    np.testing.assert_allclose(
        late.get_data(), loaded.copy().pick([0]).crop(0.2, 0.7).get_data(), atol=1e-9 * size
    )
    assert found.first_samp == 30
    np.testing.assert_allclose(found.annotations.onset, loaded.annotations.onset)
    found.save(tmp_path / "sources_raw.fif", fmt="double", verbose="error")
    kept = mne.io.read_raw_fif(tmp_path / "sources_raw.fif", verbose="error")
    np.testing.assert_allclose(kept.get_data(), loaded.get_data(), atol=1e-9 * size)
    gone = mne.io.RawArray(np.full((len(data), 20), np.nan), info, verbose="error")
    with pytest.raises(ValueError, match="raw"):
        fitted.to_raw(gone.apply_proj(verbose="error"))


def test_noise_gives_no_false_coherence(recording, fitted):
    """Two sources in noise that knows of neither: their channels go their own ways."""
    mc = pytest.importorskip("mne_connectivity", exc_type=ImportError)
    rng = np.random.default_rng(0)
    cov = recording.noise_cov.data
    sd = np.linalg.cholesky(cov + 1e-30 * np.eye(len(cov)))
    noise = sd @ rng.standard_normal((60, len(sd), 100))
    epochs = mne.EpochsArray(noise, recording.evoked.info, verbose="error")
    sources = fitted.to_epochs(epochs.apply_proj(verbose="error"))
    found = mc.spectral_connectivity_epochs(
        sources, method="coh", fmin=8, fmax=30, faverage=True, verbose="error"
    )
    coherence = found.get_data("dense")[..., 0]
    assert coherence.shape == (len(sources.ch_names),) * 2
    assert coherence.max() < 0.35


class TestBadInput:
    def test_no_source(self, recording):
        nothing = datasets.template_recording(n_sources=0, spacing="ico3", verbose="error")
        with pytest.warns(RuntimeWarning, match="noise alone"):
            inverse = VAEInverse().fit(nothing.evoked, nothing.forward, nothing.noise_cov)
        with pytest.raises(ValueError, match="found no source"):
            inverse.to_evoked(recording.evoked)
        assert inverse.leakage().shape == (0, 0)

    def test_two_sources_that_look_the_same(self, fitted):
        twice = fitted.filter_.ordered(np.array([0, 0]))
        with pytest.raises(ValueError, match="look the same to the sensors"):
            unmixing(twice)

    def test_not_fitted(self, recording):
        for verb in ("to_evoked", "to_epochs", "to_raw"):
            with pytest.raises((RuntimeError, AttributeError), match="not fitted yet"):
                getattr(VAEInverse(), verb)(recording.evoked)

    def test_data_of_another_kind(self, recording, fitted):
        raw = mne.io.RawArray(recording.evoked.data, recording.evoked.info, verbose="error")
        for verb, data in (("to_evoked", raw), ("to_epochs", raw), ("apply_tfr", raw)):
            with pytest.raises(TypeError, match=f"{verb} takes .*, and got RawArray"):
                getattr(fitted, verb)(data)
        with pytest.raises(TypeError, match="to_raw takes raw, an mne.Raw, and got EvokedArray"):
            fitted.to_raw(recording.evoked)

    def test_other_sensors(self, recording, fitted):
        with pytest.raises(ValueError, match="evoked lacks"):
            fitted.to_evoked(recording.evoked.copy().pick("mag"))
