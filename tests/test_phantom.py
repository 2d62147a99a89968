"""Phantoms: read as MNE's tutorials read them, and scored against where their dipoles are.

The datasets are simulated: that of Elekta in its file, the others as recordings, since MNE does not
write their formats.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from benchmark_phantom_data import (
    bti_raw,
    ctf_raws,
    elekta_raw,
    fields,
    kit_raw,
    with_channels,
    write_elekta,
)

from meg_vae import datasets, report, viz
from meg_vae.cli import main
from meg_vae.comparison import phantom as scoring
from meg_vae.comparison import score_phantom, summarize_phantom
from meg_vae.datasets import phantom_responses as responses
from meg_vae.datasets import phantoms
from meg_vae.meg.table import RADIUS

SMALL = {"trials": 5, "sfreq": 250.0, "room": 0.0}  # 3 are averaged: noise of sensors alone
SHALLOW = [0, 8, 16, 24]  # dipoles of the Elekta phantom, the outermost of each row


@pytest.fixture(autouse=True)
def _few_positions(monkeypatch):
    """Quick: the VAE starts from positions 20 mm apart."""
    monkeypatch.setattr(scoring, "SPACING", 20.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The file of the Elekta phantom, where MNE would put it."""
    home = tmp_path_factory.mktemp("data") / "MNE-brainstorm-data" / "bst_phantom_elekta"
    return write_elekta(home, **SMALL)


@pytest.fixture(scope="module")
def elekta(folder):
    return datasets.phantom("elekta", folder, verbose="error")


def some(case, chosen):
    """A phantom with some of its dipoles."""
    kept = {name: [getattr(case, name)[k] for k in chosen] for name in ("evokeds", "noise_covs")}
    truth = {name: getattr(case, name)[chosen] for name in ("pos", "ori", "amplitude")}
    return replace(case, **kept, **truth)


def simulated(kind, evokeds, noise_covs):
    """A phantom of responses that no file holds."""
    sphere = mne.make_sphere_model((0.0, 0.0, 0.0), head_radius=0.08, verbose="error")
    truth = phantoms.DATASETS[kind].truth()
    return datasets.Phantom(kind, f"{kind} phantom", evokeds, noise_covs, sphere, *truth)


def likeness(case, ori):
    """Correlation of each response with the field of each dipole, of magnetometers."""
    picks = mne.pick_types(case.evokeds[0].info, meg="mag")
    gain = fields(mne.pick_info(case.evokeds[0].info, picks), case.pos, ori)
    data = np.column_stack([one.data[picks, 0] for one in case.evokeds])
    return np.corrcoef(data.T, gain.T)[: len(case.pos), len(case.pos) :]


class TestResponses:
    def test_elekta(self, elekta):
        assert len(elekta.evokeds) == 32
        assert {one.nave for one in elekta.evokeds} == {3}  # the first and the last are left out
        assert all(one.times == pytest.approx([0.036]) for one in elekta.evokeds)
        assert elekta.evokeds[0].info["bads"] == ["MEG1933", "MEG2421"]
        assert elekta.noise_covs[0]["nfree"] > 2 * 306
        like = likeness(elekta, elekta.ori)
        assert (like.diagonal()[SHALLOW] > 0.95).all()  # with the sign that the truth has
        assert (like.argmax(0)[SHALLOW] == SHALLOW).all()

    def test_elekta_needs_three_trials_and_its_channels(self):
        with pytest.raises(ValueError, match="dipole 1 has fewer than 3 trials"):
            responses.elekta_responses(elekta_raw(trials=2, sfreq=250.0))
        with pytest.raises(ValueError, match="has no channel MEG1933, MEG2421; it is not that of"):
            responses.elekta_responses(bti_raw(0, trials=2))

    def test_kit(self, monkeypatch, tmp_path):
        """Its head position is put right, and bursts are told apart by their order."""
        asked = []
        raw = kit_raw(rounds=1)
        monkeypatch.setattr(phantoms, "KIT_STRETCH", (0.2, raw.times[-1]))
        monkeypatch.setattr(mne.io, "read_raw_kit", lambda path: (asked.append(path), raw)[1])
        (tmp_path / "002_phantom_11Hz_100uA.con").touch()
        case = datasets.phantom("kit", tmp_path, verbose="error")
        assert asked == [tmp_path / "002_phantom_11Hz_100uA.con"]
        assert len(case.evokeds) == 49
        assert case.evokeds[0].info["lowpass"] == 40
        assert np.isnan(case.amplitude).all()
        at = case.evokeds[0].info["dev_head_t"]["trans"]
        np.testing.assert_allclose(at, responses.KIT_DEVICE_TO_HEAD)
        assert np.median(likeness(case, case.ori).diagonal()) > 0.65
        turned = likeness(case, np.roll(case.ori, 1, 0)).diagonal()
        assert np.median(np.abs(turned)) < 0.45  # of the other dipole of each place

    def test_kit_that_is_not_whole(self):
        raw = kit_raw(rounds=1)
        with pytest.raises(ValueError, match="MISC 017 has .* no multiple of 49 dipoles"):
            responses.kit_responses(raw.crop(2.0, None))

    def test_ctf_that_was_not_driven(self):
        info = mne.create_info(1, 600.0, "mag")
        raw = with_channels(info, np.zeros((1, 600)), {responses.CTF_DRIVE: np.zeros(600)}, "misc")
        with pytest.raises(ValueError, match="HDAC006-4408 never crosses 0.5"):
            responses.ctf_responses(raw, raw.copy())

    @pytest.mark.slow
    def test_ctf(self, monkeypatch, tmp_path):
        """Found by both methods, from the cycles about both crossings, with half the amplitude."""
        raws = dict(zip(phantoms.CTF_FILES, ctf_raws(), strict=True))
        monkeypatch.setattr(mne.io, "read_raw_ctf", lambda path: raws[path.name])
        for name in raws:
            (tmp_path / name).mkdir()
        case = datasets.phantom("ctf", tmp_path, verbose="error")
        table = score_phantom(case, verbose="error")
        assert (table["n_sources"] == 1).all()
        assert (table["position_error_mm"] < 2).all()
        assert table["amplitude_nAm"].to_numpy() == pytest.approx([50, 50], abs=3)
        assert table["orientation_error_deg"].isna().all()
        assert table["note"].str.contains("rank").all()  # of an empty room, after its own filter


@pytest.fixture(scope="module")
def bti():
    """The four recordings of the 4D phantom."""
    return [bti_raw(k, trials=20) for k in range(4)]


@pytest.fixture
def bti_folder(bti, monkeypatch, tmp_path):
    """A folder from which MNE seems to read them."""
    for number in range(1, 5):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "e,rfhp1.0Hz").touch()

    def read(path, *, rename_channels, preload):
        assert (path.name, rename_channels, preload) == ("e,rfhp1.0Hz", False, True)
        return bti[int(path.parent.name) - 1].copy()

    monkeypatch.setattr(mne.io, "read_raw_bti", read)
    return tmp_path


class TestFiles:
    def test_found_where_mne_keeps_it_and_never_downloaded(self, folder, monkeypatch):
        monkeypatch.setenv("MNE_DATASETS_BRAINSTORM_PATH", str(folder.parents[1]))

        def never(*args, **kwargs):
            pytest.fail("something was downloaded")

        monkeypatch.setattr("pooch.retrieve", never)
        monkeypatch.setattr("pooch.create", never)
        assert phantoms.phantom_folder("elekta") == folder
        with pytest.raises(FileNotFoundError, match=r"bst_phantom_ctf.data_path\(\), or name the"):
            datasets.phantom("ctf")

    @pytest.mark.parametrize("kind", phantoms.DATASETS)
    def test_absent(self, kind, monkeypatch, tmp_path):
        monkeypatch.setenv("MNE_DATA", str(tmp_path))
        name = {"elekta": "bst_phantom_elekta", "ctf": "bst_phantom_ctf"}.get(kind, kind)
        with pytest.raises(FileNotFoundError, match=f"'{kind}' is not installed: there is no .*"):
            datasets.phantom(kind)
        with pytest.raises(FileNotFoundError, match=rf"not in .*: .* Download it with .*{name}"):
            datasets.phantom(kind, tmp_path / "nowhere")

    def test_the_way_out_is_there(self):
        for dataset in phantoms.DATASETS.values():
            home, _, name = dataset.home.rpartition(".")
            assert callable(getattr(sys.modules.get(home) or __import__(home), name).data_path)

    def test_no_phantom(self, tmp_path):
        with pytest.raises(ValueError, match="kind='vectorview' is no phantom; use one of elekta,"):
            datasets.phantom("vectorview", tmp_path)


class TestScores:
    def test_a_phantom_where_it_is_and_one_that_is_not(self, elekta):
        """Both methods are near; against truths 10 mm away, the same estimates are not."""
        case = some(elekta, SHALLOW[:2])
        table = score_phantom(case, verbose="error")
        assert table["dipole"].tolist() == [1, 1, 2, 2]
        assert table["method"].tolist() == ["vae", "fit_dipole"] * 2
        assert (table["n_sources"] == 1).all()
        assert (table["position_error_mm"] < 2.5).all()
        assert (table["orientation_error_deg"] < 3).all()
        assert (table["amplitude_error_nAm"].abs() < 10).all()
        ours = table[table["method"] == "vae"]
        assert ours["inside"].all()
        assert (ours["radius_mm"] < 4).all()
        assert (table["note"] == "").all()
        first = mne.fit_dipole(case.evokeds[0], case.noise_covs[0], case.sphere, verbose="error")[0]
        place = table.loc[1, ["x_mm", "y_mm", "z_mm"]].to_numpy(float)
        np.testing.assert_allclose(place, 1e3 * first.pos[0])
        error = 1e3 * np.linalg.norm(first.pos[0] - case.pos[0])
        assert table.loc[1, "position_error_mm"] == pytest.approx(error)

    def test_a_phantom_that_lies_elsewhere(self):
        raw = elekta_raw(**SMALL, shift=0.01)
        evokeds, noise_cov = responses.elekta_responses(raw)
        case = some(simulated("elekta", evokeds, [noise_cov] * 32), SHALLOW[:1])
        table = score_phantom(case, verbose="error")
        assert (table["position_error_mm"] > 9).all()
        assert not table["inside"].any()

    def test_noise_alone_names_nothing(self, tmp_path):
        raw = elekta_raw(**SMALL, amplitude=0.0)
        evokeds, noise_cov = responses.elekta_responses(raw)
        case = some(simulated("elekta", evokeds, [noise_cov] * 32), SHALLOW[:2])
        table = score_phantom(case, verbose="error")
        ours = table[table["method"] == "vae"]
        assert (ours["status"] == "empty").all()
        assert (ours["n_sources"] == 0).all()
        assert ours[["position_error_mm", "radius_mm", "inside"]].isna().all(axis=None)
        assert ours["note"].str.contains("no source", case=False).all()
        told = table[table["method"] == "fit_dipole"]
        assert (told["n_sources"] == 1).all()  # which is what it was told
        summary = summarize_phantom(table).set_index("method")
        assert summary["n_found"].to_dict() == {"vae": 0, "fit_dipole": 2}
        assert np.isnan(summary.loc["vae", "position_error_mm"])
        assert report.phantom_figure(table, "Nothing", tmp_path).is_file()

    def test_errors_are_rows(self, elekta, monkeypatch):
        def broken(case):
            raise np.linalg.LinAlgError("singular")

        monkeypatch.setattr(scoring, "_by_vae", broken)
        table = score_phantom(some(elekta, [0]), verbose="error")
        assert table["status"].tolist() == ["failed", "ok"]
        assert table.loc[0, "note"] == "LinAlgError: singular"
        assert pd.isna(table.loc[0, "n_sources"])
        assert summarize_phantom(table)["n_found"].tolist() == [0, 1]

    @pytest.mark.parametrize(("far", "inside"), [(0.99, True), (1.01, False)])
    def test_scores_by_hand(self, far, inside):
        """The ellipsoid has its longest axis along x, and the truth lies along y."""
        covariance = np.diag([4e-6, 1e-6, 1e-6])
        pos = np.array([0.01, 0.02, 0.03])
        found = scoring._Found(2, pos, np.array([0.0, -3e-8, 4e-8]), covariance, 20.0)
        case = scoring._Case(
            1,
            *(None,) * 3,
            pos=pos + [0, far * RADIUS * 1e-3, 0],
            ori=np.array([0.0, 1.0, 0.0]),
            amplitude=60e-9,
            sphere=None,
        )
        scores = scoring._scores(found, case)
        assert scores["inside"] is inside
        assert scores["radius_mm"] == pytest.approx(2 * RADIUS)
        assert scores["position_error_mm"] == pytest.approx(far * RADIUS)
        assert scores["orientation_error_deg"] == pytest.approx(np.degrees(np.arccos(0.6)))
        assert scores["amplitude_error_nAm"] == pytest.approx(-10)
        assert scores["n_sources"] == 2


class TestShell:
    def test_a_phantom_leaves_a_table_a_figure_and_a_page(self, bti_folder, tmp_path, capsys):
        out = tmp_path / "out"
        args = ["benchmark", "--phantom", "4dbti", "--data", str(bti_folder), "-o", str(out)]
        assert main(args) == 0
        said = capsys.readouterr().out
        assert "4D phantom: 4 dipoles" in said
        assert "Dipole fit of MNE †" in said
        assert "orientation" not in said  # of which nothing is known
        table = pd.read_csv(out / "phantom.csv")
        assert len(table) == 8
        assert (table["position_error_mm"].iloc[:4] < 3).all()  # the others are deep
        there = {path.name for path in out.iterdir()}
        assert there == {"phantom.csv", "phantom.png", "report.html", "run.json"}
        page = (out / "report.html").read_text("utf-8")
        assert "Errors at each dipole" in page
        record = json.loads((out / "run.json").read_text())
        assert [one["n_found"] for one in record["figures"]["methods"]] == [4, 4]
        assert main(args) == 2
        assert "is not empty; name another, or give --overwrite" in capsys.readouterr().err

    def test_what_is_refused(self, folder, tmp_path, capsys):
        out = ["-o", str(tmp_path / "out")]
        here = ["--data", str(folder)]
        for args, expected in (
            ([], "give either PROTOCOL.toml or --phantom (see meg-vae benchmark --help)"),
            (["x.toml", "--phantom", "elekta"], "give either PROTOCOL.toml or --phantom"),
            (["x.toml", *here], "--data and --overwrite go with --phantom"),
            (["x.toml", "--overwrite"], "--data and --overwrite go with --phantom"),
            (["--phantom", "meg"], "kind='meg' is no phantom; use one of elekta, kit, 4dbti, ctf"),
            (["--phantom", "kit", *here], "there is no 002_phantom_11Hz_100uA.con. Download it"),
            (["--phantom", "elekta", *here, "--format", "xls"], "one of csv, parquet"),
            (["--phantom", "elekta", *here, "--backend", "dask"], "--scheduler go with a protocol"),
            (["--phantom", "elekta", *here, "--scheduler", "x"], "--scheduler go with a protocol"),
        ):
            assert main(["benchmark", *args, *out]) == 2
            err = capsys.readouterr().err
            assert expected in err
            assert err.count("\n") == 1
        assert not (tmp_path / "out").exists()

    @pytest.mark.slow
    def test_the_whole_elekta_phantom(self, folder, tmp_path):
        out = tmp_path / "out"
        args = ["benchmark", "--phantom", "elekta", "--data", str(folder), "-o", str(out)]
        assert main([*args, "--jobs", "2"]) == 0
        table = pd.read_csv(out / "phantom.csv")
        assert table["dipole"].tolist() == np.repeat(np.arange(1, 33), 2).tolist()
        assert table.groupby("method")["position_error_mm"].median().max() < 3
        assert (table["status"] == "ok").all()


def test_the_figure_has_a_panel_for_each_truth_that_is_known():
    row = {"title": "VAE", "n_sources": 1, "radius_mm": 2.0}
    row |= {"position_error_mm": 1.0, "orientation_error_deg": 2.0, "amplitude_error_nAm": -3.0}
    table = pd.DataFrame([row | {"dipole": k} for k in range(1, 4)])
    table["n_sources"] = table["n_sources"].astype("Int64")
    axes = viz.plot_phantom(table, title="three").axes
    assert [ax.get_ylabel().split("(")[-1] for ax in axes] == ["mm)", "°)", "nAm)"]
    unknown = table.assign(orientation_error_deg=np.nan, amplitude_error_nAm=np.nan)
    assert len(viz.plot_phantom(unknown).axes) == 1
