"""The benchmark of free places runs, and its committed tables hold what is claimed of them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

import benchmark_places
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
