"""Recipes are small and exact, and what is simulated is what they say."""

from __future__ import annotations

import dataclasses
import os

import mne
import numpy as np
import pytest
from mne.cov import compute_whitener

from meg_vae import datasets
from meg_vae.comparison import Recipe, read_recipe, simulate_recording
from meg_vae.datasets import recipe_recording as simulate
from meg_vae.datasets.fields import displaced
from meg_vae.datasets.helmet import helmet_info
from meg_vae.datasets.noise import symmetric_roots
from meg_vae.datasets.recipes import make_recipe
from meg_vae.datasets.time_courses import correlate

SMALL = {"spacing": "ico3", "grid": "same"}
HARD = {
    "snr_db": -10.0,
    "correlation": 0.9,
    "extent_mm": 15.0,
    "depth_mm": [20, 100],
    "tilt_deg": 30.0,
    "conductor": "sphere",
    "noise": "white",
}


@pytest.fixture(autouse=True, scope="module")
def coarse():
    """Take a coarser grid for sources off the grid, which is made in seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulate, "FINEST", "oct5")
        simulate._head.cache_clear()
        yield
    simulate._head.cache_clear()


def small(**kwargs):
    return make_recipe(SMALL | kwargs)


def whitened(case):
    evoked = case.evoked.copy().pick("meg", exclude="bads")
    whitener, _ = compute_whitener(case.noise_cov, evoked.info, pca=True, verbose="error")
    return np.sqrt(evoked.nave) * whitener @ evoked.data


def places(case):
    return np.array([1e3 * dipole.pos[0] for dipole in case.truth]).reshape(-1, 3)


class TestRecipe:
    @pytest.mark.parametrize("values", [{}, HARD, {"noise": "none"}, {"n_sources": 0}])
    def test_a_recipe_comes_back_as_it_was(self, values, tmp_path):
        recipe = make_recipe(values)
        assert read_recipe(recipe.save(tmp_path / "one.json")) == recipe
        assert (tmp_path / "one.json").stat().st_size < 400
        assert [path.name for path in tmp_path.iterdir()] == ["one.json"]

    def test_a_recipe_in_toml(self, tmp_path):
        (tmp_path / "one.toml").write_text("snr_db = 3\nnoise = 'white'\n")
        assert read_recipe(tmp_path / "one.toml") == Recipe(snr_db=3.0, noise="white")

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ({"sources": 3}, "'sources' is no key of a recipe; valid are n_sources, snr_db"),
            ({"n_sources": 21}, "from 0 to 20"),
            ({"n_sources": 2.5}, "whole number"),
            ({"snr_db": float("nan")}, "snr_db"),
            ({"snr_db": np.inf}, "disagree"),
            ({"noise": "none", "snr_db": 3}, "disagree"),
            ({"correlation": 1.0}, "from 0 to 0.99"),
            ({"extent_mm": 30}, "extent_mm"),
            ({"depth_mm": [30, 20]}, "least and a greatest"),
            ({"coregistration_mm": -1}, "coregistration_mm"),
            ({"grid": "other"}, "one of finer, same"),
            ({"conductor": "cube"}, "one of bem, sphere"),
            ({"noise": "pink"}, "one of brain, white, covariance, baseline, none"),
            ({"spacing": "ico9"}, "spacing"),
            ({"noise_file": "x-raw.fif"}, "noise='baseline'"),
            ({"n_sources": "three"}, "wrong type"),
        ],
    )
    def test_wrong_values_are_refused(self, values, expected):
        with pytest.raises(ValueError, match=expected.replace("(", r"\(")):
            make_recipe(values)

    def test_files_that_are_no_recipe(self, tmp_path):
        (tmp_path / "one.json").write_text("{")
        with pytest.raises(ValueError, match="no recipe in JSON or TOML"):
            read_recipe(tmp_path / "one.json")
        with pytest.raises(ValueError, match=r"must end in \.json"):
            Recipe().save(tmp_path / "one.yaml")


class TestSimulation:
    @pytest.mark.parametrize("snr_db", [-10.0, 0.0, 20.0])
    def test_signal_to_noise_ratio(self, snr_db):
        """Power of data is that of the signal plus 1, within its sampling error."""
        power = np.square(whitened(simulate_recording(small(snr_db=snr_db), 1))).mean()
        assert power == pytest.approx(1 + 10 ** (snr_db / 10), rel=0.05)

    def test_the_seed_decides_everything_and_the_noise_alone_changes_nothing_else(self):
        one, same = (simulate_recording(small(), 5) for _ in range(2))
        np.testing.assert_array_equal(one.evoked.data, same.evoked.data)
        other = simulate_recording(small(), 6)
        assert not np.allclose(places(one), places(other))
        faint = simulate_recording(small(snr_db=-5), 5)
        np.testing.assert_array_equal(places(one), places(faint))
        assert np.abs(one.evoked.data - faint.evoked.data).max() > 1e-14

    def test_noise_alone(self):
        case = simulate_recording(small(n_sources=0), 0)
        assert case.truth == []
        assert np.square(whitened(case)).mean() == pytest.approx(1, rel=0.05)

    def test_no_noise_at_all(self):
        """The data are the field of the truth, to the last digit."""
        case = simulate_recording(small(noise="none"), 0)
        field = _field_of_truth(case)
        np.testing.assert_allclose(case.evoked.data, field, atol=1e-6 * np.abs(field).max())

    @pytest.mark.parametrize("rho", [0.0, 0.5, 0.99])
    def test_correlation_is_exact(self, rho):
        case = simulate_recording(small(n_sources=4, correlation=rho), 2)
        between = np.corrcoef([dipole.amplitude for dipole in case.truth])
        np.testing.assert_allclose(between[~np.eye(4, dtype=bool)], rho, atol=1e-6)

    def test_correlation_changes_as_little_as_can_be(self):
        rng = np.random.default_rng(0)
        courses = np.linalg.qr(rng.standard_normal((50, 3)) - 0)[0].T
        courses -= courses.mean(axis=1, keepdims=True)
        mixed = correlate(courses, 0.0)
        fit = [abs(np.corrcoef(a, b)[0, 1]) for a, b in zip(courses, mixed, strict=True)]
        assert min(fit) > 0.95
        with pytest.raises(ValueError, match="not linearly independent"):
            correlate(courses[[0, 0, 1]], 0.5)
        assert len(correlate(courses[:0], 0.5)) == 0

    def test_sources_are_off_the_grid_that_is_inverted(self):
        case = simulate_recording(small(grid="finer", n_sources=10, min_distance_mm=10), 0)
        grid = 1e3 * case.forward["source_rr"]
        off = np.linalg.norm(grid[:, None] - places(case), axis=2).min(axis=0)
        assert off.min() > 0.5
        assert 1 < np.median(off) < 8
        on = simulate_recording(small(), 0)
        assert np.linalg.norm(grid[:, None] - places(on), axis=2).min(axis=0).max() < 1e-9

    @pytest.mark.parametrize(("low", "high"), [(0, 15), (30, 100)])
    def test_depth_and_distance(self, low, high):
        case = simulate_recording(small(depth_mm=[low, high], min_distance_mm=40), 0)
        skull = case.bem["surfs"][0]["rr"]
        to_head = mne.transforms.invert_transform(case.trans)
        skull = 1e3 * mne.transforms.apply_trans(to_head, skull)
        depth = np.linalg.norm(skull[:, None] - places(case), axis=2).min(axis=0)
        assert ((depth >= low) & (depth <= high)).all()
        between = np.linalg.norm(places(case)[:, None] - places(case), axis=2)
        assert between[~np.eye(3, dtype=bool)].min() >= 40

    def test_tilt_is_the_angle_to_the_normal(self):
        straight, tilted = (simulate_recording(small(tilt_deg=angle), 3) for angle in (0, 30))
        for one, other in zip(straight.truth, tilted.truth, strict=True):
            assert np.degrees(np.arccos(one.ori[0] @ other.ori[0])) == pytest.approx(30, abs=1e-4)
            np.testing.assert_array_equal(one.pos, other.pos)

    def test_a_patch_is_a_broader_field_around_its_centre(self):
        point, patch = (
            simulate_recording(small(noise="none", n_sources=1, extent_mm=size), 3)
            for size in (0, 20)
        )
        np.testing.assert_array_equal(places(point), places(patch))
        likeness = np.corrcoef(point.evoked.data.ravel(), patch.evoked.data.ravel())[0, 1]
        assert 0.3 < abs(likeness) < 0.999
        assert make_recipe({"extent_mm": 20}).hit_radius_mm == 20

    def test_a_sphere_is_not_the_bem(self):
        bem, sphere = (
            simulate_recording(small(noise="none", conductor=one), 0) for one in ("bem", "sphere")
        )
        likeness = np.corrcoef(bem.evoked.data.ravel(), sphere.evoked.data.ravel())[0, 1]
        assert 0.6 < likeness < 0.999
        np.testing.assert_array_equal(places(bem), places(sphere))
        assert bem.forward is sphere.forward  # that which is inverted is the same

    def test_the_head_moves_by_what_it_should(self):
        info, rng = helmet_info(), np.random.default_rng(0)
        rr = datasets.template("ico3", verbose="error").forward["source_rr"]
        for error in (0.5, 5.0):
            moved = displaced(info, rr, error, rng)
            back = np.linalg.inv(info["dev_head_t"]["trans"])
            change = moved["dev_head_t"]["trans"] @ back
            shift = 1e3 * (mne.transforms.apply_trans(change, rr) - rr)
            assert np.sqrt(np.square(shift).sum(axis=1).mean()) == pytest.approx(error, rel=0.01)
            np.testing.assert_allclose(change[:3, :3] @ change[:3, :3].T, np.eye(3), atol=1e-9)
        assert displaced(info, rr, 0.0, rng) is None

    @pytest.mark.slow
    def test_a_moved_head_has_another_field_and_no_movement_the_same(self):
        still, moved = (
            simulate_recording(small(noise="none", n_sources=2, coregistration_mm=size), 0)
            for size in (0, 4)
        )
        likeness = np.corrcoef(still.evoked.data.ravel(), moved.evoked.data.ravel())[0, 1]
        assert 0.7 < likeness < 0.9999
        # A forward model computed for the sources alone gives the columns of the whole one.
        almost = simulate_recording(small(noise="none", n_sources=2, coregistration_mm=1e-6), 0)
        scale = np.abs(still.evoked.data).max()
        np.testing.assert_allclose(almost.evoked.data, still.evoked.data, atol=1e-3 * scale)

    def test_more_sources_than_positions(self):
        with pytest.raises(ValueError, match="more than the 0 positions from 90 to 95 mm"):
            simulate.check_recipe(small(depth_mm=[90, 95]), [0])
        with pytest.raises(ValueError, match="could not be placed"):
            simulate.check_recipe(small(n_sources=20, min_distance_mm=100), [0])
        simulate.check_recipe(small(), [0, 1])


class TestRealNoise:
    def test_without_files_there_is_a_clear_error(self, monkeypatch, tmp_path):
        monkeypatch.setenv("MEG_VAE_SAMPLE", str(tmp_path))
        with pytest.raises(FileNotFoundError, match="has no MEG"):
            simulate.check_recipe(small(noise="covariance"), [0])

    @pytest.mark.parametrize("kind", ["ave", "epo", "raw"])
    def test_a_users_own_baseline(self, kind, tmp_path):
        """Noise of a user's files: of the stated power, and not the same for two seeds."""
        head = datasets.template_recording(0, spacing="ico3", nave=1, verbose="error")
        cov_file, noise_file = tmp_path / "x-cov.fif", tmp_path / f"x-{kind}.fif"
        mne.write_cov(cov_file, head.noise_cov, verbose="error")
        _write_noise(head, noise_file, kind)
        recipe = small(
            n_sources=0,
            noise="baseline",
            noise_cov_file=str(cov_file),
            noise_file=str(noise_file),
            tmax=0.3,
        )
        first, second = (simulate_recording(recipe, seed) for seed in (0, 1))
        assert np.square(whitened(first)).mean() == pytest.approx(1, rel=0.15)
        assert np.abs(first.evoked.data - second.evoked.data).max() > 1e-14
        short = dataclasses.replace(recipe, tmax=9.0)
        with pytest.raises(ValueError, match="shorten the window"):
            simulate.check_recipe(short, [0])

    @pytest.mark.slow
    @pytest.mark.realdata
    @pytest.mark.skipif("MEG_VAE_SAMPLE" not in os.environ, reason="MEG_VAE_SAMPLE is not set")
    @pytest.mark.parametrize("noise", ["covariance", "baseline"])
    def test_noise_of_the_sample_dataset(self, noise):
        case = simulate_recording(small(noise=noise, n_sources=0), 0)
        power = np.square(whitened(case)).mean()
        assert power == pytest.approx(1, rel=0.1 if noise == "covariance" else 0.6)
        assert case.evoked.info["bads"] == ["MEG 2443"]


def _field_of_truth(case):
    """Compute the field of the true dipoles through the forward model's own columns."""
    distance = np.linalg.norm(1e3 * case.forward["source_rr"][:, None] - places(case), axis=2)
    gain = case.forward["sol"]["data"].reshape(306, -1, 3)[:, distance.argmin(axis=0)]
    field = sum(
        gain[:, k] @ dipole.ori[0][:, None] * dipole.amplitude
        for k, dipole in enumerate(case.truth)
    )
    evoked = case.evoked.copy()
    project = mne.proj.make_projector(evoked.info["projs"], evoked.ch_names)[0]
    return project @ field


def _write_noise(head, fname, kind):
    """Write noise of one trial, 2 s of it in all, as averages, epochs or raw data."""
    rng = np.random.default_rng(0)
    info = mne.create_info(head.evoked.ch_names, 200.0, head.evoked.get_channel_types())
    _, colorer, _ = symmetric_roots(head.noise_cov, head.evoked.info)
    data = colorer @ rng.standard_normal((4, len(colorer), 120))
    with mne.utils.use_log_level("error"):
        if kind == "raw":
            mne.io.RawArray(np.concatenate(data, axis=1), info).save(fname)
        elif kind == "epo":
            mne.EpochsArray(data, info, tmin=-0.4).save(fname)
        else:
            one = [mne.EvokedArray(x / 3, info, -0.4, nave=9, comment=str(x[0, 0])) for x in data]
            mne.write_evokeds(fname, one)
