"""The benchmark of forward models that did not make the data, and what its tables hold."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import mne
import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

import benchmark_forwards as script
import benchmark_forwards_heads as heads
from benchmark_places_heads import head
from readme_situations import of_forwards

from meg_vae.meg.conductor import bem_conductor

TINY = "template, ico3"
CENTRE = np.array([0.0, 0.0, 0.04])  # m, head coordinates


@pytest.fixture
def tiny(monkeypatch):
    """The coarsest head, whose own BEM of one layer makes the fields."""
    here = head(TINY)
    rr, nn = here.rr[::40], here.nn[::40]
    fields = np.einsum("kda,ka->kd", here.exact(rr), nn)
    monkeypatch.setattr(script, "head", lambda name: here)
    monkeypatch.setattr(script, "pool", lambda: (rr, nn))
    monkeypatch.setattr(script, "true_fields", lambda: fields)
    return SimpleNamespace(here=here, rr=rr, fields=fields)


@pytest.fixture(scope="module")
def balls():
    """Three spheres about the centre, in mm, and places inside of them, in m."""
    ball = mne.surface._get_ico_surface(3)
    radii = zip(heads.LAYERS, (70.0, 80.0, 90.0), strict=True)
    surfaces = {layer: (r * ball["rr"] + 1e3 * CENTRE, ball["tris"]) for layer, r in radii}
    rr = np.random.default_rng(0).standard_normal((40, 3))
    return surfaces, CENTRE + 0.04 * rr / np.linalg.norm(rr, axis=1, keepdims=True)


class TestForwardModels:
    def test_fields_in_concentric_spheres_do_not_know_of_the_skull(self, balls):
        """What MNE's BEM makes of them is near the sphere's, whatever the skull conducts."""
        surfaces, rr = balls
        info = head(TINY).info
        same = mne.Transform("head", "mri", np.eye(4))

        def fields(bem):
            return bem_conductor(info, info.ch_names, bem, same)(rr)

        ball = fields(mne.make_sphere_model(CENTRE, head_radius=None, verbose="error"))
        for skull in (0.003, 0.012):
            bem = heads.solved(surfaces, 2, (0.3, skull, 0.3))
            assert len(bem["surfs"]) == 3
            away = np.linalg.norm(fields(bem) - ball) / np.linalg.norm(ball)
            assert away < 0.1  # of its triangles, an ico2
        elsewhere = mne.make_sphere_model(CENTRE * 1.25, head_radius=None, verbose="error")
        assert np.linalg.norm(fields(elsewhere) - ball) / np.linalg.norm(ball) > 0.2

    def test_a_spheres_lead_field_is_not_the_heads(self):
        """By a quarter, as measured; one that is a tenth too large is off by a tenth."""
        here = head(TINY)
        whitener, _ = mne.cov.compute_whitener(here.noise_cov, here.info, verbose="error")
        options = {"eeg": False, "mindist": 0.0, "verbose": "error"}
        src, bem = here.forward["src"], heads.sphere(here)
        ball = mne.make_forward_solution(here.info, here.trans, src, bem, **options)
        assert 0.15 < np.median(heads.off(ball, here.forward, whitener)) < 0.35
        larger = here.forward.copy()
        larger["sol"]["data"] = 1.1 * larger["sol"]["data"]
        np.testing.assert_allclose(heads.off(larger, here.forward, whitener), 0.1, rtol=1e-5)
        assert heads.off(here.forward, here.forward, whitener).max() == 0


class TestRecordings:
    def test_gains_are_off_by_their_share_and_leave_the_noise(self, tiny):
        """Whitened sources differ by about the share; without an error nothing changes."""
        right, none, wrong, more = (
            script.recorded(2, np.inf, share, 0) for share in (0.0, 0.0, 0.01, 0.03)
        )
        np.testing.assert_array_equal(right.evoked.data, none.evoked.data)
        np.testing.assert_array_equal(right.rr, more.rr)
        size = np.linalg.norm(right.evoked.data)
        off = [np.linalg.norm(x.evoked.data - right.evoked.data) / size for x in (wrong, more)]
        assert 0.005 < off[0] < 0.02
        assert off[1] == pytest.approx(3 * off[0], rel=0.05)
        alone = [script.recorded(0, np.nan, share, 1) for share in (0.0, 0.03)]
        np.testing.assert_array_equal(alone[0].evoked.data, alone[1].evoked.data)
        assert alone[0].truth == []

    def test_levels_and_forward_models_share_their_sources(self, tiny):
        quiet, loud = (script.recorded(2, level, 0.0, 3) for level in (0.0, 20.0))
        np.testing.assert_array_equal(quiet.rr, loud.rr)
        other = script.recorded(2, 0.0, 0.0, 4)
        assert not np.array_equal(quiet.rr, other.rr)


class TestScores:
    def test_a_fit_with_the_true_forward_model(self, tiny, monkeypatch):
        monkeypatch.setattr(script, "METHODS", ("vae", "sloreta"))
        here = tiny.here
        case = script.recorded(1, 10.0, 0.0, 0)
        vae, map_ = script.scored(case, here.forward, here.noise_cov)
        assert (vae["n_found"], vae["hits"], vae["false"]) == (1, 1, 0)
        assert float(vae["away_mm"]) < 2
        assert float(vae["log_evidence"]) > 100
        assert vae["error_mm"] < 2 < map_["error_mm"]
        assert 0.8 < vae["noise_variance"] < 1.2
        assert float(vae["squared_distance"]) > 0

    def test_of_noise_alone_the_vae_is_asked_alone(self, tiny):
        noise = script.recorded(0, np.nan, 0.0, 0)
        (alone,) = script.scored(noise, tiny.here.forward, tiny.here.noise_cov)
        assert (alone["method"], alone["n_found"], alone["away_mm"]) == ("vae", 0, "")

    def test_seeds_come_one_after_the_other_and_what_is_there_is_skipped(self):
        cells = script.cells_of(2, pd.DataFrame(columns=script.KEY))
        assert len(set(cells)) == len(cells)
        assert [cell[-1] for cell in cells] == sorted(cell[-1] for cell in cells)
        some = cells[: len(cells) // 3]
        done = pd.DataFrame([dict(zip(script.KEY, cell, strict=True)) for cell in some])
        assert script.cells_of(2, done) == cells[len(some) :]
        assert {cell[0] for cell in cells if cell[1] == 0} == set(heads.FORWARDS)
        assert {cell[0] for cell in cells if cell[1] == 3} == set(script.GIVEN)

    def test_the_summary_counts_what_is_named_beyond_the_true(self):
        row = {"given": "same", "n_true": 3, "snr_db": 20.0, "method": "vae", "error_mm": 1.0}
        row |= {"hits": 1.0, "f1": 1.0, "noise_variance": 1.0, "moved": False, "seconds": 1.0}
        row |= {"radius_mm": "1 2", "squared_distance_null": "900 900", "n_paired": 2}
        rows = [
            row | {"n_found": 3, "false": 0.0, "squared_distance": "1 2"},
            row | {"n_found": 5, "false": 2.0, "squared_distance": "3 300"},
        ]
        (one,) = script.summary(pd.DataFrame(rows)).to_dict("records")
        assert (one["recordings"], one["right_number"], one["surplus"]) == (2, 0.5, 1.0)
        assert (one["place_coverage"], one["place_coverage_null"]) == (0.75, 0.0)
        assert (one["with_false_source"], one["false"]) == (0.5, 1.0)


def committed():
    path = script.OUT / "forwards.csv"
    if not path.exists():
        pytest.skip("forwards.csv has not been made")
    return pd.read_csv(path)


class TestCommittedTable:
    def test_the_limits_say_what_the_readme_says(self):
        limits = (Path(__file__).parents[1] / "docs" / "limits.rst").read_text(encoding="utf-8")
        _, named, held, *_ = of_forwards()
        for claim in (named, held):
            assert claim in " ".join(limits.split())

    def test_noise_alone_names_nothing(self):
        alone = committed().query("n_true == 0")
        assert set(alone["given"]) == set(heads.FORWARDS)
        assert (alone["n_found"] == 0).all()

    def test_the_summary_is_that_of_the_table(self):
        kept = pd.read_csv(script.OUT / "forwards_summary.csv")
        pd.testing.assert_frame_equal(
            script.summary(committed()), kept, check_dtype=False, rtol=1e-3
        )
