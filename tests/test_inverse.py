"""VAEInverse: from evoked responses to sources and back."""

from __future__ import annotations

import datetime
import warnings

import h5io
import h5py
import mne
import numpy as np
import pytest
from sklearn.base import clone

from meg_vae import VAEInverse, datasets, read_vae_inverse, vae_inverse, viz


def truth_table(recording):
    """The true sources on the cortex."""
    return viz.dipole_table(
        recording.truth,
        trans=recording.trans,
        subject=recording.subject,
        subjects_dir=recording.subjects_dir,
    )


def distances(found, truth):
    """Distance from each true source to the nearest of the found ones, mm; inf if none is found."""
    axes = ["x_mm", "y_mm", "z_mm"]
    if found.empty:
        return np.full(len(truth), np.inf)
    gaps = found[axes].to_numpy()[None] - truth[axes].to_numpy()[:, None]
    return np.linalg.norm(gaps, axis=2).min(1)


def test_finds_the_true_sources(recording, fitted):
    assert len(fitted.sources_) == 2
    assert (distances(fitted.sources_, truth_table(recording)) < 1).all()
    assert list(fitted.sources_.columns) == [
        "hemi",
        "vertno",
        "x_mm",
        "y_mm",
        "z_mm",
        "label",
        "peak_nAm",
        "peak_s",
        "sd_nAm",
        "log_evidence",
        "radius_mm",
        "extent_mm",
        "extent_low_mm",
        "extent_high_mm",
        "density_pAm_mm2",
        "on_wall",
        "cluster",
        "onset_s",
        "onset_low_s",
        "onset_high_s",
        "offset_s",
        "offset_low_s",
        "offset_high_s",
    ]
    assert fitted.sources_["log_evidence"].is_monotonic_decreasing
    assert fitted.certificate_ <= 1e-3
    assert fitted.noise_variance_ == pytest.approx(1, abs=0.1)


def test_amplitudes_are_in_ampere_metres(recording, fitted):
    truth, axes = truth_table(recording), ["x_mm", "y_mm", "z_mm"]
    for _, row in fitted.sources_.iterrows():
        gaps = np.linalg.norm((truth[axes] - row[axes].to_numpy(float)).to_numpy(), axis=1)
        assert abs(row["peak_nAm"]) == pytest.approx(
            truth["peak_nAm"].abs().iloc[gaps.argmin()], rel=0.3
        )
    stc = fitted.apply(recording.evoked)
    assert isinstance(stc, mne.SourceEstimate)
    assert stc.data.max() * 1e9 == pytest.approx(fitted.sources_["peak_nAm"].abs().max())
    np.testing.assert_allclose(stc.times, recording.evoked.times)


def test_fit_and_residual_make_the_data(recording, fitted):
    residual = fitted.residual()
    explained = fitted.explained_variance()
    assert 80 < explained < 99
    predicted = fitted.filter_.predict(recording.evoked)
    np.testing.assert_allclose(predicted.data + residual.data, recording.evoked.data, atol=1e-25)
    on_grid = VAEInverse(positions="grid")
    on_grid.fit(recording.evoked, recording.forward, recording.noise_cov)
    predicted = on_grid.filter_.predict(recording.evoked)
    stc = on_grid.apply(recording.evoked, pick_ori="vector")
    forward = mne.convert_forward_solution(recording.forward, surf_ori=False, verbose="error")
    sensors = mne.apply_forward(
        forward, stc, recording.evoked.info, verbose="error", on_missing="ignore"
    )
    sensors.add_proj(recording.evoked.info["projs"], remove_existing=True)
    for projector in sensors.info["projs"]:
        projector["active"] = False
    sensors.apply_proj(verbose="error")
    np.testing.assert_allclose(
        sensors.data, predicted.data, rtol=1e-4, atol=1e-4 * abs(predicted.data).max()
    )


def test_dipoles_are_what_mne_expects(recording, fitted):
    dipoles = fitted.dipoles()
    assert len(dipoles) == 2
    places = np.array([d.pos[0] for d in recording.truth])
    for dipole in dipoles:
        gaps = np.linalg.norm(places - dipole.pos[0], axis=1)
        assert gaps.min() < 1e-3
        true = recording.truth[gaps.argmin()]
        peak = np.abs(true.amplitude).argmax()
        cosine = dipole.ori[peak] @ true.ori[peak] * np.sign(true.amplitude[peak])
        assert cosine > 0.9
        assert 0 < dipole.gof.max() <= 100
        assert np.corrcoef(dipole.amplitude, np.abs(true.amplitude))[0, 1] > 0.9


@pytest.mark.parametrize("loose", [0.0, 1.0])
def test_orientations(recording, loose):
    inverse = VAEInverse(positions="grid", loose=loose)
    inverse.fit(recording.evoked, recording.forward, recording.noise_cov)
    assert (distances(inverse.sources_, truth_table(recording)) < 10).all()
    if loose == 0:
        with pytest.raises(ValueError, match="free orientation"):
            inverse.apply(recording.evoked, pick_ori="vector")


def test_full_orientation(recording):
    inverse = VAEInverse(positions="grid", loose=1.0, orientation="full")
    inverse.fit(recording.evoked, recording.forward, recording.noise_cov)
    assert (distances(inverse.sources_, truth_table(recording)) < 10).all()


def test_noise_alone_gives_an_empty_estimate_that_works(tmp_path):
    case = datasets.template_recording(n_sources=0, spacing="ico3", verbose="error")
    inverse = VAEInverse(subjects_dir=case.subjects_dir)
    with pytest.warns(RuntimeWarning, match="estimate is empty"):
        inverse.fit(case.evoked, case.forward, case.noise_cov)
    assert inverse.sources_.empty
    assert inverse.apply(case.evoked).data.shape == (0, 101)
    assert inverse.apply(case.evoked, pick_ori="vector").data.shape == (0, 3, 101)
    assert inverse.dipoles() == []
    assert inverse.explained_variance() == 0
    np.testing.assert_array_equal(inverse.residual().data, case.evoked.data)
    again = read_vae_inverse(inverse.save(tmp_path / "empty-vae.h5"))
    assert again.sources_.empty
    assert again.apply(case.evoked).data.shape == (0, 101)


def test_responses_that_share_their_sources(recording):
    """Two responses of other naves, one list: the same positions, each response its own course."""
    first, second = recording.evoked.copy(), recording.evoked.copy()
    rng = np.random.default_rng(0)
    noise = np.linalg.cholesky(recording.noise_cov.data + 1e-30 * np.eye(306))
    second.data = -0.5 * first.data + noise @ rng.standard_normal(first.data.shape) / 20
    second.nave = 400
    inverse = VAEInverse(extent="point", spans="whole")
    inverse.fit([first, second], recording.forward, recording.noise_cov)
    assert (distances(inverse.sources_, truth_table(recording)) < 1).all()
    one, two = (inverse.apply(e, pick_ori="vector").data for e in (first, second))
    assert np.corrcoef(one.ravel(), two.ravel())[0, 1] < -0.9


def test_one_call_does_the_same(recording, fitted):
    stc = vae_inverse(recording.evoked, recording.forward, recording.noise_cov)
    np.testing.assert_array_equal(stc.data, fitted.apply(recording.evoked).data)


def test_round_trip(recording, fitted, tmp_path):
    path = fitted.save(tmp_path / "x-vae.h5")
    again = read_vae_inverse(path)
    np.testing.assert_array_equal(again.position_covariance_, fitted.position_covariance_)
    assert again.growth_ == fitted.growth_
    for pick_ori in (None, "vector"):
        np.testing.assert_array_equal(
            again.apply(recording.evoked, pick_ori).data,
            fitted.apply(recording.evoked, pick_ori).data,
        )
    assert again.explained_variance(recording.evoked) == fitted.explained_variance()
    assert again.sources_.equals(fitted.sources_)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        fitted.save(path)
    with pytest.raises(ValueError, match="evoked is needed"):
        again.residual()
    assert again.plot_energy().axes
    assert again.plot_time_courses(recording.evoked).axes


def test_save_that_fails_leaves_the_old_file(fitted, tmp_path, monkeypatch):
    path = fitted.save(tmp_path / "x-vae.h5")
    before = path.read_bytes()

    def broken(fname, *args, **kwargs):
        with open(fname, "wb") as file:
            file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("h5io.write_hdf5", broken)
    with pytest.raises(OSError, match="disk full"):
        fitted.save(path, overwrite=True)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_files_that_are_not_ours_are_refused(fitted, tmp_path):
    with pytest.raises(FileNotFoundError, match="no file"):
        read_vae_inverse(tmp_path / "nothing.h5")
    foreign = tmp_path / "foreign.h5"
    foreign.write_bytes(b"not HDF5")
    with pytest.raises(ValueError, match="not an inverse saved by meg_vae"):
        read_vae_inverse(foreign)
    with pytest.raises(ValueError, match="must end with .h5"):
        fitted.save(tmp_path / "x.txt")
    with pytest.raises(FileNotFoundError, match="no folder .*nowhere"):
        fitted.save(tmp_path / "nowhere" / "x-vae.h5")


def test_files_of_another_version_are_refused(fitted, tmp_path):
    path = fitted.save(tmp_path / "x-vae.h5")
    state = h5io.read_hdf5(str(path), title="meg_vae")
    for version, advice in ((99, "update meg_vae"), (1, "the meg_vae that wrote it")):
        changed = state | {"version": version}
        h5io.write_hdf5(str(path), changed, overwrite=True, title="meg_vae")
        with pytest.raises(ValueError, match=f"version {version}, .* versions 2 to 8; .*{advice}"):
            read_vae_inverse(path)
    other = tmp_path / "other.h5"
    h5io.write_hdf5(str(other), {"kind": "LCMV"}, title="mnepython")
    with pytest.raises(ValueError, match="no part named meg_vae"):
        read_vae_inverse(other)


EXTENT = ("extent_low_mm", "extent_high_mm", "density_pAm_mm2")  # in format 6
NEW = {"weights_", "position_weights_", "noise_samples_", "noise_autocorrelation_"}  # in format 4
SPANS = {"spans", "spans_", "active_", "response_evidence_", "noise_autocorrelation"}  # in format 7


def before_8(inverse):
    """What a file kept until format 7: clusters beside the table."""
    state = inverse._state()
    state["results"]["clusters_"] = np.array(state["sources"].pop("cluster"))
    del state["options"]["lead_field_error"]
    return state


def test_files_with_clusters_beside_the_table_still_open(fitted, tmp_path):
    path = tmp_path / "old-vae.h5"
    h5io.write_hdf5(str(path), before_8(fitted) | {"version": 7}, title="meg_vae")
    again = read_vae_inverse(path)
    assert again.sources_.equals(fitted.sources_)
    assert again.lead_field_error == 0


def old_state(inverse):
    """What format 2 kept: rows of the filter in an order of their own, which ``_order`` tells."""
    state = before_8(inverse)
    del state["filters"]
    order = np.arange(len(inverse.sources_))[::-1]
    kept = inverse.filter_.ordered(order)
    parts = {"sensors": vars(kept.sensors), "positions": vars(kept.positions)}
    new = {"positions", "modes", "growth_", "stationarity_", "field_error_", "radius_mm"}
    new |= {"extent", "extent_mm", "on_wall", "position_covariance_", "field_covariance_", *NEW}
    new |= {*EXTENT, *SPANS, "cover"}
    for name in ("options", "results", "sources"):
        state[name] = {key: value for key, value in state[name].items() if key not in new}
    state["results"]["_order"] = np.argsort(order)
    kept = {key: value for key, value in vars(kept).items() if key not in new}
    return state | {"version": 2, "filter": kept | parts}


def test_files_of_the_format_before_still_open(recording, tmp_path):
    inverse = VAEInverse(positions="grid")
    inverse.fit(recording.evoked, recording.forward, recording.noise_cov)
    assert len(inverse.sources_) > 1
    path = tmp_path / "old-vae.h5"
    h5io.write_hdf5(str(path), old_state(inverse), title="meg_vae")
    again = read_vae_inverse(path)
    assert again.positions == "grid"
    assert again.sources_.equals(inverse.sources_)
    assert again.sources_["radius_mm"].isna().all()
    assert np.isnan(again.growth_)
    assert np.isnan(again.position_covariance_).all()
    np.testing.assert_array_equal(again.filter_.inverse_map, inverse.filter_.inverse_map)
    for ours, theirs in zip(
        again.dipoles(recording.evoked), inverse.dipoles(recording.evoked), strict=True
    ):
        np.testing.assert_array_equal(ours.pos, theirs.pos)
        np.testing.assert_array_equal(ours.amplitude, theirs.amplitude)
    assert again.plot_time_courses(recording.evoked).axes
    saved = read_vae_inverse(again.save(tmp_path / "new-vae.h5"))
    assert saved.sources_.equals(inverse.sources_)


def test_files_of_one_run_alone_still_open(fitted, recording, tmp_path):
    """Format 3 held one filter, of white noise with a known covariance, and no weights."""
    state = before_8(fitted)
    (kept,) = state.pop("filters")
    for name in ("options", "results"):
        state[name] = {key: own for key, own in state[name].items() if key not in NEW | SPANS}
    state["sources"] = {key: own for key, own in state["sources"].items() if key not in EXTENT}
    path = tmp_path / "old-vae.h5"
    h5io.write_hdf5(str(path), state | {"version": 3, "filter": kept}, title="meg_vae")
    again = read_vae_inverse(path)
    assert again.sources_.equals(fitted.sources_.assign(**dict.fromkeys(EXTENT, np.nan)))
    assert again.extent == "point"
    assert again.spans == "whole"
    assert np.isinf(again.spans_).all()
    own, theirs = (x.apply(recording.evoked).data for x in (fitted, again))
    np.testing.assert_array_equal(own, theirs)
    assert again.position_weights_ is None
    assert again.weights_.tolist() == [0] * len(again.sources_)
    assert again.noise_samples_.tolist() == [np.inf]
    assert again.noise_autocorrelation_.tolist() == [[1]]


def test_files_hold_nothing_but_numbers_texts_and_arrays(fitted, tmp_path):
    """No pickle goes in; and what h5io would evaluate or import is refused before it does."""
    path = fitted.save(tmp_path / "x-vae.h5")
    kinds = set()

    def look(name, node):
        kinds.add(str(node.attrs["TITLE"]))
        assert not (isinstance(node, h5py.Dataset) and node.dtype.kind in "OV")

    with h5py.File(path) as file:
        file.visititems(look)
    assert kinds <= {"dict", "list", "ndarray", "int", "float", "unicode", "None"}
    for name, value in (("code", datetime.UTC), ("class", dict)):
        foreign = tmp_path / f"{name}.h5"
        h5io.write_hdf5(str(foreign), {"version": 2, name: value}, title="meg_vae")
        with pytest.raises(ValueError, match="no plain number, text or array"):
            read_vae_inverse(foreign)


def test_data_that_do_not_fit_are_refused(recording, fitted):
    evoked = recording.evoked
    with pytest.raises(ValueError, match="lacks 6 of the 306"):
        fitted.apply(evoked.copy().pick(evoked.ch_names[6:]))
    bad = evoked.copy()
    bad.data[3, 4] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite"):
        fitted.apply(bad)
    with pytest.raises(ValueError, match="pick_ori='max'"):
        fitted.apply(evoked, pick_ori="max")
    with pytest.raises(RuntimeError, match="not fitted"):
        VAEInverse().apply(evoked)
    zero = evoked.copy()
    zero.nave = 0
    with pytest.raises(ValueError, match="nave=0"):
        VAEInverse().fit(zero, recording.forward, recording.noise_cov)
    with pytest.raises(TypeError, match="must be an mne.Evoked"):
        VAEInverse().fit([1], recording.forward, recording.noise_cov)
    other = evoked.copy().pick(evoked.ch_names[1:])
    with pytest.raises(ValueError, match="make them equal"):
        VAEInverse().fit([evoked, other], recording.forward, recording.noise_cov)


def test_eeg_needs_its_average_reference(recording):
    names = [f"EEG {k:03d}" for k in range(60)]
    info = mne.create_info(names, 200.0, "eeg")
    info.set_montage(
        mne.channels.make_dig_montage(
            dict(zip(names, 0.09 * _sphere(60), strict=True)), coord_frame="head"
        )
    )
    sphere = mne.make_sphere_model((0, 0, 0), 0.09, verbose="error")
    rr = 0.06 * np.random.default_rng(0).uniform(-1, 1, (30, 3)) / 3**0.5
    src = mne.setup_volume_source_space(pos=dict(rr=rr, nn=_sphere(30)), verbose="error")
    forward = mne.make_forward_solution(
        info, None, src, sphere, eeg=True, meg=False, verbose="error"
    )
    evoked = mne.EvokedArray(
        1e-6 * np.random.default_rng(0).standard_normal((60, 50)), info, nave=10
    )
    cov = mne.make_ad_hoc_cov(info, {"eeg": 1e-6})
    with pytest.raises(ValueError, match="average reference"):
        VAEInverse().fit(evoked, forward, cov)
    evoked.set_eeg_reference(projection=True, verbose="error")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="no source")
        inverse = VAEInverse().fit(evoked, forward, cov)
    assert isinstance(inverse.apply(evoked), mne.VolSourceEstimate)


def _sphere(n):
    """Points on the upper half of the unit sphere."""
    k = np.arange(n) + 0.5
    z, angle = k / n, np.pi * (1 + 5**0.5) * k
    r = np.sqrt(1 - z**2)
    return np.column_stack([r * np.cos(angle), r * np.sin(angle), z])


@pytest.mark.slow
def test_three_sources_at_10_db_are_found_in_nine_of_ten_seeds():
    """Each true source has one of the three strongest estimates within 10 mm."""
    hits, zero_hits = 0, 0
    for seed in range(10):
        case = datasets.template_recording(
            3, 10.0, spacing="ico3", random_state=seed, verbose="error"
        )
        inverse = VAEInverse(extent="point")
        inverse.fit(case.evoked, case.forward, case.noise_cov)
        strongest = inverse.sources_.reindex(inverse.sources_["peak_nAm"].abs().nlargest(3).index)
        truth = truth_table(case)
        hits += (distances(strongest, truth) < 10).all()
        zero_hits += (distances(strongest.iloc[:0], truth) < 10).all()
    assert hits >= 9
    assert zero_hits == 0


def test_plots(recording, fitted):
    import matplotlib.pyplot as plt

    for figure in (fitted.plot_time_courses(), fitted.plot_energy(), fitted.plot_residual()):
        assert figure.axes
        plt.close(figure)


@pytest.mark.rendering
def test_plot_sources(fitted):
    image = viz.picture(fitted.plot_sources(look=viz.Look(off_screen=True)))
    assert image.std() > 10


def test_options_are_those_of_an_estimator_of_scikit_learn(fitted):
    inverse = VAEInverse(loose=0.3, positions="grid", min_log_evidence=20)
    assert inverse.get_params()["loose"] == 0.3
    assert repr(inverse) == "VAEInverse(loose=0.3, min_log_evidence=20, positions='grid')"
    again = clone(inverse)
    assert again.get_params() == inverse.get_params()
    assert again is not inverse
    inverse.set_params(loose=1.0)
    assert inverse.loose == 1.0
    with pytest.raises(ValueError, match="Invalid parameter 'depth'"):
        inverse.set_params(depth=0.8)
    assert not hasattr(clone(fitted), "sources_")
