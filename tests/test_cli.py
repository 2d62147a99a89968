"""The command line: what it writes, and what it says of bad input."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from meg_vae.cli import main
from meg_vae.cli.inputs import read_inputs
from meg_vae.cli.outputs import new_folder
from meg_vae.cli.preparation import DataOptions
from meg_vae.cli.responses import read_responses
from meg_vae.model.checks import MIN_LOG_EVIDENCE

CONDITIONS = ("First", "Second")
QUICK = ["--extent", "point", "--spans", "whole", "--registration", "none"]  # where alone is asked
PICTURES = {"time_courses.png", "residual.png", "noise.png", "evidence.png", "energy.png"}
LOCALIZED = {
    *PICTURES,
    "report.html",
    "run.json",
    "sources.csv",
    "sources.dip",
    "inverse-vae.h5",
    "vae-lh.stc",
    "vae-rh.stc",
}


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path_factory):
    """Hide the user's own MNE settings, such as a subjects folder."""
    monkeypatch.delenv("SUBJECTS_DIR", raising=False)
    monkeypatch.setenv("_MNE_FAKE_HOME_DIR", str(tmp_path_factory.mktemp("home")))


@pytest.fixture(scope="module")
def files(recording, tmp_path_factory):
    """Two responses, a forward solution and a noise covariance in files."""
    folder = tmp_path_factory.mktemp("files")
    second = recording.evoked.copy()
    second.data = -second.data
    responses = [recording.evoked.copy(), second]
    for one, comment in zip(responses, CONDITIONS, strict=True):
        one.comment = comment
    mne.write_evokeds(folder / "x-ave.fif", responses, verbose="error")
    mne.write_forward_solution(folder / "x-fwd.fif", recording.forward, verbose="error")
    mne.write_cov(folder / "x-cov.fif", recording.noise_cov, verbose="error")
    mne.write_bem_solution(folder / "x-bem-sol.fif", recording.bem, verbose="error")
    mne.write_trans(folder / "x-trans.fif", recording.trans, verbose="error")
    return folder


@pytest.fixture(scope="module")
def finished(files, tmp_path_factory):
    """The folder of a finished run."""
    out = tmp_path_factory.mktemp("finished") / "out"
    assert main(arguments("localize", files, out, *QUICK)) == 0
    return out


def contents(folder):
    """Every file of a folder, by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def arguments(command, folder, out, *more, condition=True):
    """Arguments of localize or compare on the files of a folder."""
    names = [str(folder / name) for name in ("x-ave.fif", "x-fwd.fif", "x-cov.fif")]
    chosen = ["--condition", "First"] if condition else []
    window = ["--tmin", "0.05", "--tmax", "0.3"]
    points = ["--extent", "point"] if command == "localize" and "--extent" not in more else []
    return [command, *names, *chosen, *window, *points, "-o", str(out), *more]


def data_options(folder, **kwargs):
    """Options to read the files of a folder."""
    return DataOptions(
        *(folder / name for name in ("x-ave.fif", "x-fwd.fif", "x-cov.fif")), **kwargs
    )


def one_error(capsys, args, *expected):
    """Run a command that must fail: status 2, and one line that says why."""
    assert main(args) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert said.err.startswith("meg-vae: error: ")
    for text in expected:
        assert text in said.err
    return said.err


# What it writes


def test_localize_writes_everything(files, fitted, recording, tmp_path, capsys):
    out = tmp_path / "deep" / "out"
    assert main(arguments("localize", files, out)) == 0
    said = capsys.readouterr()
    assert {path.name for path in out.iterdir()} == LOCALIZED
    assert [path.name for path in out.parent.iterdir()] == ["out"]  # nothing temporary is left
    # One warning: no subjects folder is known, so there is no cortex to draw.
    assert said.err.count("\n") == 1
    assert said.err.startswith("meg-vae: warning: the cortex is not drawn")

    sources = pd.read_csv(out / "sources.csv")
    assert list(sources.columns) == list(fitted.sources_.columns)
    found = sources[["x_mm", "y_mm", "z_mm"]].to_numpy()
    to_mri = mne.transforms.invert_transform(recording.forward["mri_head_t"])
    for dipole in recording.truth:
        true = 1e3 * mne.transforms.apply_trans(to_mri, dipole.pos[0])
        assert np.linalg.norm(found - true, axis=1).min() < 10
    assert "vertex" in said.out
    assert str(out / "report.html") in said.out

    stc = mne.read_source_estimate(out / "vae")
    assert stc.data.shape[0] == len(sources)
    assert stc.tmin == pytest.approx(0.05)
    assert stc.times[-1] == pytest.approx(0.3)
    assert 1e9 * np.abs(stc.data).max() == pytest.approx(sources["peak_nAm"].abs().max(), rel=1e-3)


def test_the_dipole_file_is_for_mne(files, finished):
    """A row per source of the table, at its place and its peak."""
    sources = pd.read_csv(finished / "sources.csv")
    dipoles = mne.read_dipole(finished / "sources.dip", verbose="error")
    to_head = mne.read_forward_solution(files / "x-fwd.fif", verbose="error")["mri_head_t"]
    places = mne.transforms.apply_trans(to_head, 1e-3 * sources[["x_mm", "y_mm", "z_mm"]])
    assert len(dipoles) == len(sources) == 2
    np.testing.assert_allclose(dipoles.pos, places, atol=1e-5)
    np.testing.assert_allclose(1e9 * dipoles.amplitude, sources["peak_nAm"].abs(), atol=1e-3)
    np.testing.assert_allclose(dipoles.times, sources["peak_s"], atol=1e-4)
    largest = 4 / 3 * np.pi * sources["radius_mm"] ** 3
    assert (dipoles.conf["vol"] > 0).all()
    assert (1e9 * dipoles.conf["vol"] <= largest + 1e-3).all()
    assert np.linalg.norm(dipoles.pos[0] - places[1]) > 0.01  # the control: they are two places


@pytest.mark.usefixtures("undrawn")
def test_places_by_the_bem_of_the_forward_model(files, finished, recording, tmp_path, capsys):
    bem, trans = files / "x-bem-sol.fif", files / "x-trans.fif"
    exact = ["--bem", str(bem), "--trans", str(trans)]
    assert main(arguments("localize", files, tmp_path / "out", *QUICK, *exact)) == 0
    assert "95 % radius (mm)" in capsys.readouterr().out
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["inputs"]["bem"]["path"] == str(bem)
    assert record["figures"]["field_error"] == [0, 0]
    assert record["figures"]["growth_nats"] < 12
    assert ".fit(evoked, forward, noise_cov, bem=bem, trans=trans)" in (
        tmp_path / "out" / "report.html"
    ).read_text(encoding="utf-8")
    interpolated = json.loads((finished / "run.json").read_text())["figures"]
    assert min(interpolated["field_error"]) > 0
    where = [pd.read_csv(one / "sources.csv") for one in (finished, tmp_path / "out")]
    gaps = [one.sort_values("x_mm")[["x_mm", "y_mm", "z_mm"]].to_numpy() for one in where]
    assert 0 < np.abs(gaps[0] - gaps[1]).max() < 1


@pytest.mark.usefixtures("undrawn")
def test_positions_alone(files, tmp_path, capsys):
    out = tmp_path / "out"
    assert main([*arguments("localize", files, out), "--positions", "grid", "--loose", "0.3"]) == 0
    said = capsys.readouterr().out
    assert "radius" not in said
    sources = pd.read_csv(out / "sources.csv")
    assert sources["radius_mm"].isna().all()
    dipoles = mne.read_dipole(out / "sources.dip", verbose="error")
    assert len(dipoles) == len(sources) > 0
    assert "growth_nats" not in json.loads((out / "run.json").read_text())["figures"]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["--positions", "between"], "positions"),
        (["--extent", "3"], "from 4 to 30 mm"),
        (["--extent", "wide"], "extent="),
        (["--bem", "{bem}"], "bem is given without trans"),
        (["--trans", "{trans}"], "trans is given without bem"),
        (["--bem", "{none}", "--trans", "{trans}"], "there is no file"),
        (["--bem", "{trans}", "--trans", "{trans}"], "does not hold a BEM solution"),
        (["--bem", "{bem}", "--trans", "{bem}"], "does not hold a transform"),
        (["--bem", "{bem}", "--trans", "{other}"], "do not give the lead field of forward"),
        (["--positions", "grid", "--bem", "{bem}", "--trans", "{trans}"], "positions='grid' has"),
        (["--loose", "0.2"], "VAEInverse(positions='grid')"),
    ],
)
def test_places_that_cannot_be(files, tmp_path, capsys, more, expected):
    paths = {"bem": files / "x-bem-sol.fif", "trans": files / "x-trans.fif"}
    paths |= {"none": tmp_path / "none.fif", "other": tmp_path / "other-trans.fif"}
    turned = mne.read_trans(paths["trans"])
    turned["trans"][:3, 3] += 0.02
    mne.write_trans(paths["other"], turned, verbose="error")
    out = tmp_path / "out"
    more = [one.format(**paths) for one in more]
    one_error(capsys, [*arguments("localize", files, out), *more], expected)
    assert not out.exists()


@pytest.mark.usefixtures("undrawn")
def test_record_of_the_run(files, tmp_path):
    more = ["--loose", "1", "--lowpass", "60", "--registration", "none", "--spans", "whole"]
    more += ["--lead-field-error", "0.02"]
    args = arguments("localize", files, tmp_path / "out", *more, "--extent", "point")
    assert main([*args, "--bad", "MEG 0111", "--bad", "MEG 0121"]) == 0
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["command"].startswith("meg-vae localize ")
    assert record["versions"]["mne"] == mne.__version__
    assert record["inputs"]["forward"]["path"] == str(files / "x-fwd.fif")
    assert record["inputs"]["forward"]["bytes"] == (files / "x-fwd.fif").stat().st_size
    assert len(record["inputs"]["forward"]["sha256"]) == 64
    assert record["options"]["loose"] == 1.0
    assert record["options"]["lead_field_error"] == 0.02
    assert record["options"]["lowpass"] == 60.0
    assert record["options"]["bads"] == ["MEG 0111", "MEG 0121"]
    figures = record["figures"]
    assert figures["n_channels"] == 304
    assert 0.5 < figures["noise_variance"] < 2
    assert figures["certificate"] < 0.01
    assert 0 < figures["explained_variance_percent"] < 100
    assert set(figures["seconds"]) >= {"reading", "localizing", "drawing"}
    there = {path.name for path in (tmp_path / "out").iterdir()}
    assert set(record["files"]) == there


@pytest.mark.parametrize(("condition", "sign"), [("0", 1), ("1", -1), ("Second", -1)])
def test_condition_by_name_or_number(files, recording, condition, sign):
    read = read_inputs(data_options(files, condition=condition))
    np.testing.assert_allclose(read.evoked.data, sign * recording.evoked.data, rtol=1e-4)


@pytest.mark.usefixtures("undrawn")
def test_a_recording_is_filtered_to_the_band_of_a_rhythm(files, recording, tmp_path, capsys):
    info = recording.evoked.info
    rng = np.random.default_rng(0)
    t = np.arange(1000) / info["sfreq"]
    data = 1e-12 * (np.sin(2 * np.pi * 10 * t) + np.sin(2 * np.pi * 30 * t))
    data = data + 1e-14 * rng.standard_normal((len(info.ch_names), 1000))
    mne.io.RawArray(data, info, verbose="error").save(tmp_path / "x_raw.fif", verbose="error")
    options = replace(data_options(files), evoked=tmp_path / "x_raw.fif")
    read = read_inputs(replace(options, fmin=8.0, fmax=12.0))
    assert (read.raw.info["highpass"], read.raw.info["lowpass"]) == (8.0, 12.0)
    power = np.square(np.abs(np.fft.rfft(read.raw.get_data()[0])))
    frequency = np.fft.rfftfreq(1000, 1 / info["sfreq"])
    assert power[np.abs(frequency - 30) < 1].sum() < 1e-4 * power[np.abs(frequency - 10) < 1].sum()
    for band, said in (
        ({"fmin": 12.0, "fmax": 8.0}, "--fmin 12 --fmax 8 must be a band"),
        ({"fmax": 1000.0}, "--fmax 1000 must be a band"),
        ({"fmin": 8.0, "lowpass": 40.0}, "--fmin 8 and --lowpass both"),
    ):
        with pytest.raises(ValueError, match=said):
            read_inputs(replace(options, **band))


def test_a_single_response_needs_no_condition(files, recording, tmp_path):
    folder = shutil.copytree(files, tmp_path / "files")
    mne.write_evokeds(folder / "x-ave.fif", recording.evoked, overwrite=True, verbose="error")
    read = read_inputs(data_options(folder))
    np.testing.assert_allclose(read.evoked.data, recording.evoked.data, rtol=1e-4)


def test_epochs_are_averaged_and_a_recording_is_one_trial(recording, tmp_path):
    rng = np.random.default_rng(0)
    trials = recording.evoked.data + 1e-13 * rng.standard_normal((5, *recording.evoked.data.shape))
    events = np.column_stack([np.arange(5), np.zeros(5, int), [1, 1, 1, 2, 2]])
    kinds = {"left": 1, "right": 2}
    info = recording.evoked.info
    epochs = mne.EpochsArray(trials, info, events, -0.1, kinds, verbose="error")
    epochs.save(tmp_path / "x-epo.fif", verbose="error")
    left, right = read_responses(tmp_path / "x-epo.fif")
    assert (left.comment, left.nave, right.comment, right.nave) == ("left", 3, "right", 2)
    np.testing.assert_allclose(left.data, trials[:3].mean(0), rtol=1e-5, atol=1e-18)
    np.testing.assert_allclose(left.times, recording.evoked.times, atol=1e-6)
    raw = mne.io.RawArray(trials[0] + 1e-12, info, verbose="error")
    raw.save(tmp_path / "x_raw.fif", verbose="error")
    (one,) = read_responses(tmp_path / "x_raw.fif")
    assert (one.comment, one.nave) == ("recording", 1)
    expected = trials[0] - trials[0].mean(1, keepdims=True)
    np.testing.assert_allclose(one.data, expected, rtol=1e-4, atol=1e-17)


def test_preparation_is_that_of_mne(files, recording):
    options = data_options(
        files,
        condition="First",
        tmin=0.05,
        tmax=0.1,
        bads=["MEG 0111"],
        baseline=(-0.1, 0.0),
        lowpass=40.0,
        reg=0.1,
    )
    read = read_inputs(options)
    expected = mne.read_evokeds(files / "x-ave.fif", "First", verbose="error")
    expected.info["bads"] = ["MEG 0111"]
    expected.filter(None, 40.0, verbose="error").apply_baseline((-0.1, 0.0)).crop(0.05, 0.1)
    np.testing.assert_allclose(read.evoked.data, expected.data, rtol=1e-12)
    np.testing.assert_array_equal(read.evoked.times, expected.times)
    assert read.evoked.info["bads"] == ["MEG 0111"]
    noise_cov = mne.read_cov(files / "x-cov.fif", verbose="error")
    regularized = mne.cov.regularize(
        noise_cov, expected.info, mag=0.1, grad=0.1, eeg=0.1, verbose="error"
    )
    np.testing.assert_allclose(read.noise_cov.data, regularized.data, rtol=1e-9)


def test_noise_alone_gives_no_source(files, recording, tmp_path, capsys):
    """Null control: the same run on noise finds nothing, says so, and still writes everything."""
    folder = shutil.copytree(files, tmp_path / "files")
    noise = recording.evoked.copy().crop(None, 0.0)  # the baseline, before any source is active
    mne.write_evokeds(folder / "x-ave.fif", noise, overwrite=True, verbose="error")
    out = tmp_path / "out"
    names = [str(folder / name) for name in ("x-ave.fif", "x-fwd.fif", "x-cov.fif")]
    assert main(["localize", *names, "-o", str(out)]) == 0
    said = capsys.readouterr()
    assert "none" in said.out
    assert "look like noise" in said.err
    assert {path.name for path in out.iterdir()} == LOCALIZED - {"sources.dip"}
    assert pd.read_csv(out / "sources.csv").empty
    assert json.loads((out / "run.json").read_text())["figures"]["n_sources"] == 0


def test_compare_writes_everything(files, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(arguments("compare", files, out, "--methods", "vae_grid, sloreta")) == 0
    stcs = {f"{name}-{hemi}.stc" for name in ("vae_grid", "sloreta") for hemi in ("lh", "rh")}
    assert {path.name for path in out.iterdir()} == stcs | {
        "agreement.csv",
        "comparison.csv",
        "report.html",
        "run.json",
    }
    table = pd.read_csv(out / "comparison.csv")
    assert list(table["method"]) == ["vae_grid", "sloreta"]
    rows = json.loads((out / "run.json").read_text())["figures"]["methods"]
    assert rows[0]["n_sources"] == table["n_sources"][0]
    assert rows[1]["n_sources"] is None  # a map has no number of sources
    assert "sLORETA" in capsys.readouterr().out


def test_compare_scores_held_out_epochs(files, recording, tmp_path, capsys):
    """Epochs in, a held-out error for every method with a field, and what it means on the page."""
    data = np.stack([(1 + 0.1 * k) * recording.evoked.data for k in range(4)])
    epochs = mne.EpochsArray(data, recording.evoked.info, tmin=-0.1, verbose="error")
    epochs.save(tmp_path / "x-epo.fif", verbose="error")
    more = ["--methods", "dipole,zeros,sloreta", "--epochs", str(tmp_path / "x-epo.fif")]
    assert main(arguments("compare", files, tmp_path / "out", *more, "--folds", "2")) == 0
    error = pd.read_csv(tmp_path / "out" / "comparison.csv").set_index("method")["heldout_error"]
    assert error["dipole"] < error["zeros"]
    assert np.isnan(error["sloreta"])
    assert "Held-out error" in capsys.readouterr().out
    assert "needs no truth" in (tmp_path / "out" / "report.html").read_text("utf-8")
    inputs = json.loads((tmp_path / "out" / "run.json").read_text())["inputs"]
    assert set(inputs) == {"evoked", "forward", "noise_cov", "epochs"}
    bad = arguments("compare", files, tmp_path / "bad", *more, "--folds", "9")
    one_error(capsys, bad, "n_folds=9 must be from 2 to the number of epochs, 4")
    (tmp_path / "y-epo.fif").write_bytes(b"nothing")
    broken = [*more[:-1], str(tmp_path / "y-epo.fif")]
    one_error(
        capsys, arguments("compare", files, tmp_path / "bad", *broken), "does not hold epochs"
    )


@pytest.mark.rendering
def test_demo_finds_the_sources(tmp_path, capsys):
    out = tmp_path / "demo"
    args = ["demo", "--n-sources", "2", "--seed", "1", "--spacing", "ico3", "-o", str(out)]
    assert main(args) == 0
    said = capsys.readouterr()
    assert {path.name for path in out.iterdir()} >= LOCALIZED | {
        "sources.png",
        "comparison.png",
        "comparison.csv",
        "irmxne-lh.stc",
        "sloreta-rh.stc",
    }
    assert "missed" not in said.out
    assert str(out / "report.html") in said.out
    table = pd.read_csv(out / "comparison.csv").set_index("method")
    assert table.loc["vae", "localization_error_mm"] < 10
    for name in ("sources.png", "comparison.png"):
        image = imread(out / name)[..., :3]
        assert image.std() > 0.05  # not blank
    # Once more into the same folder: refused, then replaced when asked.
    one_error(capsys, args, "not empty", "--overwrite")
    assert main([*args, "--overwrite"]) == 0


@pytest.mark.rendering
def test_localize_draws_the_cortex(files, recording, tmp_path, capsys):
    out = tmp_path / "out"
    more = ["--subjects-dir", str(recording.subjects_dir)]
    assert main(arguments("localize", files, out, *more)) == 0
    assert capsys.readouterr().err == ""
    assert {path.name for path in out.iterdir()} == LOCALIZED | {"sources.png", "cortex.html"}


def volume_files(folder, *, reference):
    """EEG data on a sphere with a volume source space, in files."""
    montage = mne.channels.make_standard_montage("easycap-M1")
    names = ["Fp1", "Fp2", "F3", "F4", "C3", "C4", "P3", "P4", "O1", "O2", "F7", "F8", "T7"]
    info = mne.create_info([*names, "T8", "P7", "P8", "Fz", "Cz", "Pz"], 200.0, "eeg")
    info.set_montage(montage)
    sphere = mne.make_sphere_model("auto", "auto", info, verbose="error")
    src = mne.setup_volume_source_space(pos=25.0, sphere=sphere, verbose="error")
    forward = mne.make_forward_solution(
        info, None, src, sphere, meg=False, eeg=True, verbose="error"
    )
    noise_cov = mne.make_ad_hoc_cov(info, verbose="error")
    rng = np.random.default_rng(0)
    course = 2e-7 * np.sin(np.arange(50) / 5)
    data = np.outer(forward["sol"]["data"][:, 40], course)
    data += np.sqrt(noise_cov["data"])[:, None] * rng.standard_normal(data.shape)
    evoked = mne.EvokedArray(data, info, nave=1, verbose="error")
    if reference:
        evoked.set_eeg_reference(projection=True, verbose="error").apply_proj(verbose="error")
    mne.write_evokeds(folder / "x-ave.fif", evoked, verbose="error")
    mne.write_forward_solution(folder / "x-fwd.fif", forward, verbose="error")
    mne.write_cov(folder / "x-cov.fif", noise_cov, verbose="error")
    return [str(folder / name) for name in ("x-ave.fif", "x-fwd.fif", "x-cov.fif")]


def test_a_volume_goes_to_one_file(tmp_path, capsys):
    names = volume_files(tmp_path, reference=True)
    out = tmp_path / "out"
    assert main(["localize", *names, "-o", str(out)]) == 0
    assert "the cortex is not drawn" in capsys.readouterr().err
    stc = mne.read_source_estimate(out / "vae-vl.stc")
    assert isinstance(stc, mne.VolSourceEstimate)
    assert len(stc.data) == len(pd.read_csv(out / "sources.csv"))


def test_forward_computes_what_mne_does(recording, tmp_path, capsys):
    sensors, trans, src, bem = (
        tmp_path / name for name in ("x-ave.fif", "x-trans.fif", "x-src.fif", "x-bem-sol.fif")
    )
    evoked = recording.evoked.copy().pick([f"MEG 0{k}1" for k in (11, 41, 21)])
    mne.write_evokeds(sensors, evoked, verbose="error")
    mne.write_trans(trans, recording.trans)
    space = mne.setup_volume_source_space(
        pos={"rr": [[0.03, 0, 0.05], [-0.03, 0, 0.05]], "nn": [[0, 0, 1.0]] * 2}, verbose="error"
    )
    mne.write_source_spaces(src, space, verbose="error")
    mne.write_bem_solution(bem, recording.bem, verbose="error")
    out = tmp_path / "x-fwd.fif"
    args = ["forward", "--info", str(sensors), "--trans", str(trans), "--src", str(src)]
    args += ["--bem", str(bem), "-o", str(out)]
    before = {path.name for path in tmp_path.iterdir()}
    assert main(args) == 0
    assert "2 of 2 positions, 3 channels" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == before | {"x-fwd.fif"}
    forward = mne.read_forward_solution(out, verbose="error")
    expected = mne.make_forward_solution(
        evoked.info, recording.trans, space, recording.bem, mindist=5.0, verbose="error"
    )
    np.testing.assert_allclose(forward["sol"]["data"], expected["sol"]["data"], rtol=1e-5)

    one_error(capsys, args, "x-fwd.fif is there already", "--overwrite")
    swapped = [str(sensors) if one == str(trans) else one for one in args]
    one_error(capsys, [*swapped, "--overwrite"], "x-ave.fif does not hold a head to MRI transform")
    one_error(capsys, [*args[:-1], str(tmp_path / "x.fif")], "must be named X-fwd.fif")
    np.testing.assert_allclose(  # and the file that was there is as it was
        mne.read_forward_solution(out, verbose="error")["sol"]["data"], forward["sol"]["data"]
    )


# Bad input: one line, status 2, nothing written


def edit_evoked(folder, change, **kwargs):
    evokeds = mne.read_evokeds(folder / "x-ave.fif", verbose="error")
    for evoked in evokeds:
        change(evoked, **kwargs)
    mne.write_evokeds(folder / "x-ave.fif", evokeds, overwrite=True, verbose="error")


def edit_forward(folder, change):
    forward = mne.read_forward_solution(folder / "x-fwd.fif", verbose="error")
    forward = change(forward) or forward
    mne.write_forward_solution(folder / "x-fwd.fif", forward, overwrite=True, verbose="error")


def edit_cov(folder, change):
    cov = mne.read_cov(folder / "x-cov.fif", verbose="error")
    cov = change(cov) or cov
    mne.write_cov(folder / "x-cov.fif", cov, overwrite=True, verbose="error")


def missing(kind):
    return lambda folder: (folder / f"x-{kind}.fif").unlink()


def truncated(kind, share):
    def change(folder):
        path = folder / f"x-{kind}.fif"
        path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])

    return change


def exchanged(kind, other):
    return lambda folder: shutil.copy(folder / f"x-{other}.fif", folder / f"x-{kind}.fif")


def text_file(kind):
    return lambda folder: (folder / f"x-{kind}.fif").write_text("not a FIF file\n" * 99)


def other_sensors(folder):
    def rename(evoked):
        evoked.rename_channels({name: f"X{name[3:]}" for name in evoked.ch_names})

    edit_evoked(folder, rename)


def all_bad(folder):
    edit_evoked(folder, lambda evoked: evoked.info.update(bads=list(evoked.ch_names)))


def not_finite_data(value):
    def change(folder):
        edit_evoked(folder, lambda evoked: evoked.data.__setitem__((7, 20), value))

    return change


def not_finite_gain(folder):
    def change(forward):
        gain = forward["sol"]["data"].copy()
        gain[3, 5] = np.nan
        forward["sol"]["data"] = forward["_orig_sol"] = gain  # MNE writes the second

    edit_forward(folder, change)


def not_finite_cov(folder):
    edit_cov(folder, lambda cov: cov["data"].__setitem__((4, 4), np.inf))


def small_cov(folder):
    edit_cov(folder, lambda cov: cov.pick_channels(cov.ch_names[:300], verbose="error"))


def no_averages(folder):
    edit_evoked(folder, lambda evoked: setattr(evoked, "nave", 0))


WHAT = {"ave": "evoked responses", "fwd": "a forward solution", "cov": "a noise covariance"}
BAD_FILES = {
    **{f"missing {k}": (missing(k), [f"no file {{folder}}/x-{k}.fif", WHAT[k]]) for k in WHAT},
    **{f"text {k}": (text_file(k), [f"x-{k}.fif does not hold {WHAT[k]}"]) for k in WHAT},
    **{
        f"truncated {k} {share}": (truncated(k, share), [f"x-{k}.fif does not hold {WHAT[k]}"])
        for k in WHAT
        for share in (0.0, 0.01, 0.5, 0.999)
    },
    **{
        f"{other} as {k}": (exchanged(k, other), [f"x-{k}.fif does not hold {WHAT[k]}"])
        for k in WHAT
        for other in WHAT
        if k != other
    },
    "other sensors": (other_sensors, ["no channel in common", "X 0113", "MEG 0113"]),
    "all bad": (all_bad, ["all 306 channels", "bad"]),
    "NaN in data": (not_finite_data(np.nan), ["NaN or infinite", "--bad"]),
    "inf in data": (not_finite_data(np.inf), ["NaN or infinite", "--bad"]),
    "NaN in gain": (not_finite_gain, ["forward has NaN or infinite"]),
    "inf in covariance": (not_finite_cov, ["noise_cov has NaN or infinite"]),
    "small covariance": (small_cov, ["noise_cov does not cover 6 of the 306"]),
    "nave 0": (no_averages, ["nave=0", "at least 1"]),
}


@pytest.mark.parametrize("command", ["localize", "compare"])
@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files(files, tmp_path, capsys, command, case):
    change, expected = BAD_FILES[case]
    folder = shutil.copytree(files, tmp_path / "files")
    change(folder)
    expected = [text.format(folder=folder) for text in expected]
    one_error(capsys, arguments(command, folder, tmp_path / "out"), *expected)
    assert os.listdir(tmp_path) == ["files"]


BAD_OPTIONS = {
    "empty window": (["--tmin", "0.3", "--tmax", "0.1"], ["no sample", "-0.1 to 0.4 s"]),
    "window outside": (["--tmin", "0.5", "--tmax", "0.6"], ["no sample", "-0.1 to 0.4 s"]),
    "unknown condition": (
        ["--condition", "Third"],
        ["'Third'", "not there", "0: 'First', 1: 'Second'"],
    ),
    "number out of range": (["--condition", "2"], ["'2'", "0: 'First', 1: 'Second'"]),
    "unknown channel": (["--bad", "MEG 9999"], ["'MEG 9999'", "no channel"]),
    "loose": (["--loose", "2"], ["loose=2.0"]),
    "loose word": (["--loose", "tight"], ["loose='tight'"]),
    "reg": (["--reg", "2"], ["--reg 2"]),
    "rank": (["--rank", "many"], ["rank"]),
    "low-pass": (["--lowpass", "1000"], ["--lowpass 1000", "100 Hz"]),
    "band of an average": (["--fmin", "8", "--fmax", "12"], ["--fmin 8 --fmax 12", "recording"]),
    "baseline outside": (["--baseline", "-5", "0"], ["--baseline -5 0", "-0.1 to 0.4 s"]),
    "baseline backwards": (["--baseline", "0", "-0.1"], ["--baseline 0 -0.1"]),
    "not a number": (["--tmin", "soon"], ["--tmin", "meg-vae localize --help"]),
    "no subjects folder": (["--subjects-dir", "/nowhere"], ["--subjects-dir", "/nowhere"]),
    "unknown option": (["--alpha", "5"], ["--alpha"]),
}


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_bad_options(files, tmp_path, capsys, case):
    options, expected = BAD_OPTIONS[case]
    args = arguments("localize", files, tmp_path / "out", *options)
    one_error(capsys, args, *expected)
    assert os.listdir(tmp_path) == []


def test_several_responses_need_a_condition(files, tmp_path, capsys):
    args = arguments("localize", files, tmp_path / "out", condition=False)
    one_error(capsys, args, "--condition", "0: 'First', 1: 'Second'")


def test_unknown_method(files, tmp_path, capsys):
    from meg_vae.comparison import METHODS

    args = arguments("compare", files, tmp_path / "out", "--methods", "vae,magic")
    assert ", ".join(METHODS) in one_error(capsys, args, "'magic' is no method")
    one_error(capsys, arguments("compare", files, tmp_path / "out", "--methods", ","), "names none")


def test_eeg_without_average_reference(tmp_path, capsys):
    names = volume_files(tmp_path, reference=False)
    before = sorted(os.listdir(tmp_path))
    one_error(capsys, ["localize", *names, "-o", str(tmp_path / "out")], "average reference")
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize("args", [["nonsense"], ["localize"], ["demo", "--n-sources", "many"]])
def test_bad_usage(args, capsys):
    one_error(capsys, args, "--help")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--spacing", "oct9"], "spacing"),
        (["--n-sources", "-1", "--spacing", "ico3"], "n_sources"),
        (["--n-sources", "4000", "--spacing", "ico3"], "n_sources=4000 could not be placed"),
        (["--snr", "nan", "--spacing", "ico3"], "snr_db"),
    ],
)
def test_bad_demo(tmp_path, capsys, options, expected):
    one_error(capsys, ["demo", "-o", str(tmp_path / "out"), *options], expected)
    assert os.listdir(tmp_path) == []


@pytest.mark.usefixtures("undrawn")
def test_channels_partly_common(files, tmp_path, capsys):
    """Not an error: it goes on with one warning that says how many channels are used."""
    folder = shutil.copytree(files, tmp_path / "files")

    def fewer(forward):
        names = forward["sol"]["row_names"][:250]
        return mne.pick_channels_forward(forward, names, verbose="error")

    edit_forward(folder, fewer)
    methods = ["--methods", "vae_grid,sloreta"]
    assert main(arguments("compare", folder, tmp_path / "out", *methods)) == 0
    said = capsys.readouterr().err.splitlines()
    partly = [line for line in said if "using the 250" in line]
    assert len(partly) == 1
    assert partly[0].startswith("meg-vae: warning: ")
    assert main(arguments("localize", folder, tmp_path / "other", "--positions", "grid")) == 0
    figures = json.loads((tmp_path / "other" / "run.json").read_text())["figures"]
    assert figures["n_channels"] == 250


# The folder: whole, or not there


def test_folder_that_cannot_be_written(files, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    for out in (tmp_path / "file" / "out", Path("/proc/meg-vae-out")):
        one_error(capsys, arguments("localize", files, out), str(out), "cannot be written")
    one_error(capsys, arguments("localize", files, tmp_path / "file"), "is a file")
    assert os.listdir(tmp_path) == ["file"]


def test_current_folder_is_not_replaced(files, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one_error(capsys, arguments("localize", files, "."), "current")
    assert os.listdir(tmp_path) == []


def test_existing_folder(files, finished, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    with new_folder(out, overwrite=False) as folder:  # an empty folder is free
        (folder / "file").write_text("new")
    assert contents(out) == {"file": b"new"}
    shutil.rmtree(out)
    shutil.copytree(finished, out)
    # Refused before anything is read.
    one_error(capsys, ["localize", "none", "none", "none", "-o", str(out)], "not empty")
    assert main([*arguments("localize", files, out), "--overwrite", "--positions", "grid"]) == 0
    assert json.loads((out / "run.json").read_text())["options"]["positions"] == "grid"
    assert {path.name for path in out.iterdir()} == LOCALIZED


@pytest.mark.parametrize("damage", ["more files", "no record", "broken record"])
def test_what_others_wrote_is_never_replaced(files, finished, tmp_path, capsys, damage):
    out = shutil.copytree(finished, tmp_path / "out")
    if damage == "more files":
        (out / "notes.txt").write_text("mine")
    elif damage == "no record":
        (out / "run.json").unlink()
    else:
        (out / "run.json").write_text("{}")
    before = contents(out)
    one_error(capsys, [*arguments("localize", files, out), "--overwrite"], "did not write")
    assert contents(out) == before


@pytest.mark.parametrize("error", [OSError("the disk is full"), KeyboardInterrupt()])
def test_failing_half_way_leaves_nothing(files, finished, tmp_path, capsys, monkeypatch, error):
    old = shutil.copytree(finished, tmp_path / "old")
    half = []

    def fail(_, __, folder, **___):
        (folder / "energy.png").write_bytes(b"half a pictu")
        half.append(folder)
        raise error

    monkeypatch.setattr("meg_vae.report.localization_pictures", fail)
    for out in (tmp_path / "new" / "deep", old):
        status = main(arguments("localize", files, out, "--overwrite", "--positions", "grid"))
        said = capsys.readouterr().err
        if isinstance(error, OSError):
            assert status == 2
            assert said == "meg-vae: error: the disk is full\n"
        else:
            assert status == 130
    assert len(half) == 2
    assert os.listdir(tmp_path) == ["old"]
    assert contents(old) == contents(finished)


@pytest.mark.parametrize("there", [True, False])
def test_moving_in_fails(finished, tmp_path, monkeypatch, there):
    """The old folder comes back when the new one cannot take its place."""
    out = tmp_path / "out"
    if there:
        shutil.copytree(finished, out)
    replace = os.replace

    def fail(source, target):
        if Path(target) == out and Path(source).name == "out":
            raise PermissionError(13, "Permission denied", str(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(PermissionError), new_folder(out, overwrite=True) as folder:
        (folder / "file").write_text("new")
    assert os.listdir(tmp_path) == ["out"] * there
    if there:
        assert contents(out) == contents(finished)


# The process


def run(*args):
    code = "import sys; from meg_vae.cli import main; sys.exit(main())"
    return subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True)


def test_help_is_light_and_shows_examples():
    code = (
        "import sys; from meg_vae.cli import main; status = main(['--help']); "
        "print([m for m in ('mne', 'torch', 'pandas', 'pyvista') if m in sys.modules]); "
        "sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    for command in ("demo", "forward", "localize", "compare"):
        assert command in done.stdout
        text = run(command, "--help").stdout
        assert f"  meg-vae {command} " in text
    assert f"(else {MIN_LOG_EVIDENCE:g})" in " ".join(run("localize", "--help").stdout.split())


def test_version(capsys):
    from meg_vae import __version__

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{__version__}\n"


def test_status_of_the_process(tmp_path, capsys):
    done = run("localize", "a", "b", "c", "-o", str(tmp_path / "out"))
    assert done.returncode == 2
    assert (
        done.stderr == "meg-vae: error: there is no file a, which should hold evoked responses.\n"
    )
    assert done.stdout == ""
    assert main(["localize", "a", "b", "c", "-o", str(tmp_path / "out"), "--verbose"]) == 2
    assert "Traceback" in capsys.readouterr().err  # where it went wrong, for those who ask


# Real recordings


CONDITIONS_OF_SAMPLE = {  # window in s, label of the other hemisphere, farthest from it in mm
    "Left Auditory": (0.07, 0.12, "Aud-rh", None),  # three averages: too few to ask for a place
    "Right Auditory": (0.07, 0.12, "Aud-lh", 30.0),
    "Left visual": (0.08, 0.15, "Vis-rh", 25.0),
    "Right visual": (0.08, 0.15, "Vis-lh", 25.0),
}


def is_near(sources, label, limit):
    """Whether the source that the data speak most for is near a label's centre, on its side."""
    if sources.empty:
        return False
    top = sources.loc[sources["log_evidence"].idxmax()]
    distance = np.linalg.norm(top[["x_mm", "y_mm", "z_mm"]].to_numpy(float) - centre(label))
    return bool(top["hemi"] == label.hemi and distance <= limit)


def centre(label):
    """Centroid of a label in mm, MRI surface RAS."""
    return 1e3 * label.pos.mean(axis=0)


@pytest.mark.realdata
@pytest.mark.skipif("MEG_VAE_SAMPLE" not in os.environ, reason="MEG_VAE_SAMPLE names no folder")
@pytest.mark.parametrize("condition", CONDITIONS_OF_SAMPLE)
def test_real_responses_are_contralateral(condition, tmp_path):
    from meg_vae import datasets

    tmin, tmax, name, limit = CONDITIONS_OF_SAMPLE[condition]
    case = datasets.sample(condition, tmin, tmax)
    names = [str(tmp_path / name) for name in ("x-ave.fif", "x-fwd.fif", "x-cov.fif")]
    mne.write_evokeds(names[0], case.evoked, verbose="error")
    mne.write_forward_solution(names[1], case.forward, verbose="error")
    mne.write_cov(names[2], case.noise_cov, verbose="error")
    assert main(["localize", *names, "-o", str(tmp_path / "out")]) == 0
    sources = pd.read_csv(tmp_path / "out" / "sources.csv")
    folder = case.subjects_dir / "sample" / "label"
    there, other = (
        mne.read_label(folder / f"{name[:-2]}{hemi}.label")
        for hemi in (name[-2:], {"lh": "rh", "rh": "lh"}[name[-2:]])
    )
    assert np.isfinite(sources[["peak_nAm", "sd_nAm", "log_evidence"]]).all(axis=None)
    if limit is None:
        return
    assert is_near(sources, there, limit)
    # Null controls: no estimate at all, and the same estimate against the other hemisphere.
    assert not is_near(sources.iloc[:0], there, limit)
    assert not is_near(sources, other, limit)
