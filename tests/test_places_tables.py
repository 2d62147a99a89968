"""The benchmark of free places runs, and its committed tables hold what is claimed of them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

import benchmark_noise
import benchmark_places
import benchmark_places_dipole as dipole
import benchmark_places_heads
import benchmark_places_scores as scores

TINY = "template, ico3"


def committed(name):
    path = benchmark_places.OUT / f"{name}.csv"
    if not path.exists():
        pytest.skip(f"{name}.csv has not been made")
    return pd.read_csv(path)


def pooled(table, conditions):
    """Scores of some conditions over all heads together."""
    part = table[table["condition"].str.contains(conditions)]
    return scores.summary_row("all", conditions, part)


@pytest.fixture(scope="module")
def row():
    """One recording of the coarsest head, fitted on the grid and at free places."""
    return scores.row_of(TINY, "1 source, 5 dB", 0)


class TestRecordings:
    def test_sources_lie_between_positions_and_have_the_forward_models_field(self):
        """The truth is MNE's forward model at the very places, by its public function."""
        import mne

        here = benchmark_places_heads.head(TINY)
        condition = benchmark_places_heads.Condition(2, np.inf)
        case = benchmark_places_heads.recorded(TINY, condition, 0)
        positions = here.forward["source_rr"]
        gaps = np.linalg.norm(positions[:, None] - case.rr, axis=2).min(0)
        assert (gaps > benchmark_places_heads.BETWEEN[0]).all()
        dipole = mne.Dipole(
            np.zeros(2), case.rr, np.ones(2), [d.ori[0] for d in case.truth], np.full(2, 100.0)
        )
        forward = mne.make_forward_dipole(dipole, here.bem, here.info, here.trans)[0]
        whole = forward["sol"]["data"] @ [d.amplitude for d in case.truth]
        seen = mne.EvokedArray(whole, here.info)
        seen.add_proj(here.noise_cov["projs"]).apply_proj()
        size = np.abs(case.evoked.data).max()
        np.testing.assert_allclose(case.evoked.data, seen.data, atol=1e-6 * size)

    def test_same_seed_gives_the_same_recording_and_levels_share_their_sources(self):
        first, again, weaker = (
            benchmark_places_heads.recorded(TINY, benchmark_places_heads.Condition(2, level), 3)
            for level in (10.0, 10.0, 0.0)
        )
        np.testing.assert_array_equal(first.evoked.data, again.evoked.data)
        np.testing.assert_array_equal(first.rr, weaker.rr)

    def test_heads_without_their_folder_are_left_out_with_a_reason(self, monkeypatch, capsys):
        monkeypatch.setenv("MEG_VAE_HEADS", "nowhere")
        wanted = [TINY, benchmark_places_heads.SECOND]
        assert benchmark_places.heads_at_hand(wanted) == [TINY]
        assert "MEG_VAE_HEADS" in capsys.readouterr().out


class TestScores:
    def test_free_places_are_nearer_than_the_grid(self, row):
        assert row["n_free"] == row["n_true"] == 1
        assert float(row["free_error_mm"]) < 2 < float(row["grid_error_mm"])
        assert 0 <= float(row["amplitude_held"]) <= 1

    def test_summary_counts_recordings_and_sources(self, row):
        one = scores.summary(pd.DataFrame([row, row])).iloc[0]
        assert (one["n"], one["n_sources"], one["right_number"]) == (2, 2, 1)
        assert one["mean_error_mm"] == pytest.approx(float(row["free_error_mm"]))
        assert np.isnan(one["place_coverage_null"])  # one source has no other

    def test_noise_alone_has_no_errors(self):
        row = scores.row_of(TINY, "noise alone", 0)
        one = scores.summary(pd.DataFrame([row])).iloc[0]
        assert one["n_sources"] == 0
        assert np.isnan(one["mean_error_mm"])

    def test_figure_is_drawn(self, row):
        import matplotlib.pyplot as plt

        figure = benchmark_places.draw(pd.DataFrame([row]))
        assert len(figure.axes) == 3
        plt.close(figure)


class TestCoverage:
    """A share of the sources, and how far it moves when the seeds are drawn again."""

    def table(self, distances):
        """One source a recording, two conditions of each seed that share their outcome."""
        rows = [
            {"head": "one", "seed": seed, "n_true": 1, "squared_distance": f"{z}"}
            | {"amplitude_held": "0.5", "peak_held": "1"}
            for seed, z in enumerate(distances)
            for _ in range(2)
        ]
        return pd.DataFrame(rows)

    def test_counts_the_sources_inside(self):
        row = scores.coverage(self.table([1.0, 2.0, 3.0, 80.0])).iloc[0]
        assert (row["seeds"], row["sources"], row["place"], row["amplitude"]) == (4, 8, 0.75, 0.5)
        assert row["place_low"] < 0.75 < row["place_high"]
        assert row["amplitude_low"] == row["amplitude_high"] == 0.5

    def test_recordings_of_one_seed_count_as_one_draw(self):
        """The interval is that of the seeds alone: conditions that repeat them add nothing."""
        distances = [1.0] * 15 + [80.0] * 5
        row = scores.coverage(self.table(distances)).iloc[0]
        error = np.sqrt(0.75 * 0.25 / 20)
        assert row["place_high"] - row["place_low"] == pytest.approx(2 * 1.96 * error, rel=0.15)


class TestDipoleFit:
    @pytest.mark.slow
    def test_mne_finds_the_dipole_nearly_where_we_do(self):
        """Without noise both are near; a fit at the place of another source would not be."""
        case = benchmark_places_heads.recorded(TINY, benchmark_places_heads.Condition(1, 30.0), 0)
        errors = dipole.fit_dipole_mm(TINY, case)
        assert max(errors) < 5 < 1e3 * benchmark_places_heads.APART

    def test_the_committed_table_says_what_the_readme_says(self):
        table = committed("places_dipole")
        by = table.groupby("snr_db")[[dipole.OURS, dipole.PEAK, dipole.COMPONENT]].mean()
        np.testing.assert_allclose(by.loc[10.0], [0.17, 1.41, 1.38], atol=0.01)
        np.testing.assert_allclose(by.loc[0.0], [0.52, 1.68, 1.53], atol=0.01)
        assert len(table) == 48
        for theirs in (dipole.PEAK, dipole.COMPONENT):
            assert (table[dipole.OURS] < table[theirs]).sum() == 45


def test_the_committed_coverage_says_what_the_readme_says():
    table = committed("places_coverage").set_index("head")
    percent = (100 * table[["place", "place_low", "place_high"]]).round()
    assert percent.loc["all"].tolist() == [93, 91, 95]
    assert percent.loc["sample head"].tolist() == [91, 84, 96]
    assert (100 * table.loc["all", ["amplitude", "peak"]]).round().tolist() == [95, 93]
    again = scores.coverage(pd.read_csv(benchmark_places.OUT / "places.csv")).set_index("head")
    np.testing.assert_allclose(table["place"], again["place"], atol=1e-3)


def test_the_committed_table_says_what_the_readme_says():
    table = pd.read_csv(benchmark_places.OUT / "places.csv")
    sources = table[table["n_true"] > 0]
    assert (sources["n_free"] == sources["n_true"]).all()
    assert not (sources["n_grid"] == sources["n_true"]).all()  # which the grid does not reach
    error, on_grid = (
        np.concatenate([np.array(str(one).split(), float) for one in sources[name].dropna()])
        for name in ("free_error_mm", "grid_error_mm")
    )
    assert error.mean() < 0.7 < 3 < on_grid.mean()


class TestNoise:
    """The benchmark of noise as it is."""

    def test_the_committed_table_holds_what_is_said_of_it(self):
        table = benchmark_noise.summary(committed("noise"))
        by = table.set_index("noise")
        assert list(by.index) == list(benchmark_noise.NOISES)
        assert (by["with_false_source"] * by["alone"]).sum() == pytest.approx(1)
        assert (by["alone"].sum(), by["recordings"].sum()) == (165, 198)
        assert ((1 - by["right_number"]) * by["recordings"]).sum() == pytest.approx(1)
        assert (by["false_sources"] * by["recordings"]).sum() == pytest.approx(1)
        assert (by[["hits_0_dB", "hits_5_dB", "hits_10_dB"]] == 1).all(axis=None)
        error = by["error_5_dB"]
        assert error[benchmark_noise.KNOWN] == pytest.approx(0.37, abs=0.005)
        assert error["white, 1,000"] == pytest.approx(0.48, abs=0.005)
        assert 1.6 < error["white, 200"] / error[benchmark_noise.KNOWN] < 1.7
        assert error.max() < 0.95
        assert by["place_coverage"].between(0.885, 1).all()
        assert by["amplitude_coverage"].between(0.885, 0.97).all()

    def test_noise_is_of_the_kind_that_it_is_called(self):
        rng = np.random.default_rng(0)
        for kind, r in (("white", 0.0), ("AR 0.9", 0.9), ("low-pass 40 Hz", 0.75)):
            E = benchmark_noise.coloured(kind, 40, 400, 200.0, rng, 400)
            assert np.square(E).mean() == pytest.approx(1, abs=0.1)
            assert (E[:, 1:] * E[:, :-1]).mean() == pytest.approx(r, abs=0.1)
        here = benchmark_places_heads.head(TINY)
        case, cov = benchmark_noise.recording(here, "white, 1,000", None, 0)
        assert cov["nfree"] == 1000
        assert case.truth == []


def test_the_committed_tasks_of_others_say_what_the_readme_says():
    table = committed("invertmeeg_summary").set_index(["task", "method"])
    error = table["mle_mm_mean"].round(1).unstack()[["VAE (grid)", "FlexChampagne", "AP"]]
    assert error.loc["focal_source"].tolist() == [0.0, 0.0, 0.0]
    assert error.loc["multi_source"].tolist() == [3.4, 8.1, 10.6]
    assert error.loc["noisy"].tolist() == [11.1, 26.0, 11.9]
    assert error.loc["extended_source"].tolist() == [19.6, 15.9, 21.9]
    precision = table["average_precision_mean"].round(2)["extended_source"]
    some = ["FlexChampagne", "VAE (grid)", "VAE (places)"]
    assert precision[some].tolist() == [0.36, 0.11, 0.18]
    places = table["mle_mm_mean"].unstack()["VAE (places)"].round(1)
    assert places[["multi_source", "extended_source"]].tolist() == [13.5, 19.7]
    assert (table["recordings"] == 50).all()


def test_the_committed_patches_say_what_the_readme_says():
    table = committed("extents")
    learnt, points = (table[table["extent"] == kind] for kind in ("learn", "point"))
    ten, twenty = "3 patches of 10 mm, 5 dB", "3 patches of 20 mm, 5 dB"
    error = learnt.groupby("condition")["error_mm"].mean().round(1)
    assert error[[ten, twenty]].tolist() == [2.3, 3.6]
    assert points.groupby("condition")["error_mm"].mean().round(1)[[ten, twenty]].tolist() == [
        3.8,
        7.5,
    ]
    for kind, right in ((learnt, 24), (points, 13)):
        patchy = kind[kind["condition"].isin([ten, twenty])]
        runs = patchy.groupby(["condition", "head", "seed"])[["n_found", "n_true"]].first()
        assert len(runs) == 24
        assert (runs["n_found"] == runs["n_true"]).sum() == right
    off = (learnt["extent_mm"] - learnt["true_mm"]).abs().groupby(learnt["condition"]).median()
    assert off.round(1)[[ten, twenty]].tolist() == [1.6, 1.1]
    low, high, true = (learnt[name] for name in ("extent_low_mm", "extent_high_mm", "true_mm"))
    held = ((low <= true) & (true <= high)).groupby(learnt["condition"]).mean().round(2)
    assert held[[ten, twenty]].tolist() == [0.92, 0.92]
    assert (low == 0)[learnt["condition"] == ten].mean().round(2) == 0.28
    alone = learnt["condition"] == "3 points, 5 dB"
    assert (low == 0)[alone].sum() == alone.sum() - 1 == 35
    middle = [one.groupby("condition")["error_mm"].median() for one in (learnt, points)]
    assert [one["3 points, 5 dB"].round(2) for one in middle] == [0.44, 0.44]
    assert learnt["error_mm"][alone].max().round(1) == 5.9
    mixed = learnt[learnt["condition"] == "3 points, 10 and 20 mm, 15 dB"]
    assert (mixed["error_mm"] > 10).sum() == 0
    assert len(mixed) == 60
    more = mixed.groupby(["head", "seed"])[["n_found", "n_true"]].first()
    assert (more["n_found"] > more["n_true"]).sum() == 1
    inside = (learnt["squared_distance"] <= chi2.ppf(0.95, 3))[learnt["true_mm"] > 0]
    shares = inside.groupby([learnt["condition"], learnt["true_mm"]]).mean()
    assert [shares.min().round(2), shares.max().round(2)] == [0.81, 1.0]


def test_the_committed_motions_say_what_the_readme_says():
    table = committed("registration_summary")
    error = table.groupby(["moved", "registration", "n_true"])["mean_error_mm"].mean().round(1)
    assert error[True, "as given"][[3, 6]].tolist() == [4.4, 4.9]
    assert error[True, "learn"][[3, 6]].tolist() == [1.9, 2.3]
    assert error[True, "auto"][[3, 6]].tolist() == [2.0, 2.6]
    assert error[False, "auto"].tolist() == error[False, "as given"].tolist()
    assert error[False, "learn"][3] - error[False, "as given"][3] == pytest.approx(0.7)
    six = table[table["moved"] & (table["n_true"] == 6) & (table["registration"] == "learn")]
    held = six.set_index("head")["place_coverage"].round(2)
    assert held["second head"] == pytest.approx(0.94, abs=0.01)
    assert sorted(held.drop("second head")) == [0.22, 0.33]


def test_the_committed_rhythms_say_what_the_readme_says():
    table = committed("rhythms")
    error = table.groupby(["part", "method"])["error_mm"].mean().unstack()
    assert error["VAE"].round(2)[["two rhythms", "coherence 0.95"]].tolist() == [0.15, 0.12]
    assert (error["DICS"].round(1) == 2.7).all()
    one = table[(table["part"] == "two rhythms") & (table["method"] == "VAE")]
    assert (len(one), (one["n_found"] > 1).sum()) == (18, 1)
    assert (table["n_found"] >= np.where(table["part"] == "two rhythms", 1, 2)).all()
    both = table[table["coherence"].notna()]
    assert (both["coherence"] - both["true_coherence"]).abs().max() < 0.01
    assert both["silent_coherence"].max().round(2) == 0.09
    windows = committed("windows")
    middle = windows.groupby("part")[["error_mm", "alone_mm"]].median().round(2)
    assert middle.loc["all of its quarter"].tolist() == [0.24, 0.24]
    assert middle.loc["50 ms"].tolist() == [0.45, 0.44]
    assert (len(windows), (windows["error_mm"] < 5).all()) == (72, True)
    ratio = (windows["error_mm"] / windows["alone_mm"]).groupby(windows["part"]).mean()
    assert (ratio < 1.3).all()
    early = windows.groupby(["head", "part", "seed"])["before_the_stimulus"].first()
    assert early.sum() == 2  # of one recording's noise, in both parts
    assert (windows[["onset_samples", "offset_samples"]].abs() <= 1).all(axis=None)
    assert windows[["onset_held", "offset_held"]].all(axis=None)


def test_the_committed_events_say_what_the_readme_says():
    table = committed("events")
    learnt, whole = (table[table["spans"] == kind] for kind in ("learn", "whole"))
    runs = learnt.drop_duplicates(["head", "n_events", "seed"])
    assert len(runs) == 12
    assert (learnt[["assigned", "assigned_own", "nothing_in_nothing"]] == 1).all(axis=None)
    assert (whole["nothing_in_nothing"] == 0).all()
    rare = [one["error_mm"][one["share"] == 0.05].mean() for one in (learnt, whole)]
    assert [round(rare[0], 2), round(rare[1], 1)] == [0.75, 1.2]
    more = runs[runs["n_found"] > 3]
    assert (len(more), set(more["head"]), set(more["n_events"])) == (2, {"sample head"}, {200})
    rest = committed("rest")
    assert (rest["n_found"] == 1).all()
    assert rest["error_mm"].mean().round(1) == 0.1
    assert [round(rest["seconds"].min()), round(rest["seconds"].max())] == [4, 16]
    assert [round(rest["filtering_s"].min()), round(rest["filtering_s"].max())] == [2, 6]


def test_the_committed_studies_say_what_the_readme_says():
    table = committed("study_summary").set_index("kind")
    assert table["n_studies"].to_dict() == {
        "0 dB": 5,
        "one at -10 dB": 3,
        "one at -25 dB": 3,
        "noise alone": 20,
    }
    assert (table["found"].dropna() == 1).all()
    assert table["error_mm"]["0 dB"].round(1) == 2.8
    assert table["mean_to_centre_mm"]["0 dB"].round(1) == 2.6
    assert table["error_to_mean_mm"]["0 dB"].round(1) == 0.6
    assert table["presence_right"]["0 dB"].round(2) == 0.99
    assert table["false_studies"]["noise alone"] == 0
    assert table["weak_found_alone"]["one at -10 dB"] == 1
    rows = committed("study").query("kind == 'one at -25 dB'")
    assert len(rows) == 9
    assert [
        (rows[name].astype(str) == "True").sum() for name in ("weak_right", "weak_right_alone")
    ] == [3, 1]
