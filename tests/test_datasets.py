"""The template head, the recordings made in it, and the sample dataset."""

from __future__ import annotations

import os
import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mne
import numpy as np
import pytest
from mne.channels import read_vectorview_selection
from mne.cov import compute_whitener
from mne.transforms import apply_trans, invert_transform
from scipy.spatial import cKDTree
from scipy.spatial.distance import pdist

from meg_vae import datasets
from meg_vae.datasets.cache import MANIFEST, cache_dir, cached_folder
from meg_vae.datasets.noise import symmetric_roots
from meg_vae.datasets.simulation import event_related, place_sources, simulate
from meg_vae.datasets.template import cortex_vertices

SPACING = "ico3"


def record(n_sources=3, snr_db=10.0, *, grid="same", **kwargs):
    return datasets.template_recording(
        n_sources, snr_db, spacing=SPACING, grid=grid, verbose="warning", **kwargs
    )


@pytest.fixture(scope="module")
def head():
    return datasets.template(SPACING, verbose="warning")


@pytest.fixture(scope="module")
def case():
    return record()


@pytest.fixture(scope="module")
def clean():
    """No noise, sources between the positions."""
    return record(5, np.inf, grid="finer")


def whitener_of(recording):
    """Whitening matrix of the average, one row per independent channel."""
    whitener, _, rank = compute_whitener(
        recording.noise_cov,
        recording.evoked.info,
        pca=True,
        return_rank=True,
        verbose="warning",
    )
    assert rank == len(whitener) == 303
    return np.sqrt(recording.evoked.nave) * whitener


def test_noise_is_coloured_by_roots_that_no_sign_of_an_eigenvector_changes(case):
    whitener, colorer, rank = symmetric_roots(case.noise_cov, case.evoked.info)
    size = np.abs(case.noise_cov.data).max()
    np.testing.assert_allclose(colorer @ colorer, case.noise_cov.data, atol=1e-9 * size)
    np.testing.assert_allclose(colorer, colorer.T, atol=1e-9 * size**0.5)
    assert np.trace(whitener @ colorer) == pytest.approx(rank) == 303


def fields_of(recording):
    """Noise-free field of each true source, from the nearest position of the forward solution."""
    source_rr, gain = recording.forward["source_rr"], recording.forward["sol"]["data"]
    fields = []
    for dipole in recording.truth:
        distance, nearest = cKDTree(source_rr).query(dipole.pos[0])
        assert distance < 1e-6
        field = gain[:, 3 * nearest : 3 * nearest + 3] @ dipole.ori[0]
        fields.append(np.outer(field, dipole.amplitude))
    return np.array(fields)


def winding_number(points, rr, tris):
    """1 inside a closed surface, 0 outside, from the solid angles of its triangles."""
    numbers = []
    for point in points:
        a, b, c = (rr[corner] - point for corner in tris.T)
        la, lb, lc = (np.linalg.norm(x, axis=1) for x in (a, b, c))
        ab, bc, ca = ((x * y).sum(axis=1) for x, y in ((a, b), (b, c), (c, a)))
        triple = (a * np.cross(b, c)).sum(axis=1)
        half = np.arctan2(triple, la * lb * lc + ab * lc + bc * la + ca * lb)
        numbers.append(half.sum() / (2 * np.pi))
    return np.abs(np.round(numbers, 6))


def scalp(head):
    path = head.subjects_dir / head.subject / "bem" / "fsaverage5-head.fif"
    surface = mne.read_bem_surfaces(path, verbose="warning")[0]
    return apply_trans(invert_transform(head.trans), surface["rr"]), surface["tris"]


def sites(head):
    """Magnetometers in head coordinates."""
    device = np.array([ch["loc"][:3] for ch in head.info["chs"][2::3]])
    return apply_trans(head.info["dev_head_t"], device)


class TestHead:
    def test_white_surface_lies_inside_the_inner_skull(self, head):
        skull = head.bem["surfs"][0]
        assert len(skull["rr"]) == 2562
        for hemi in ("lh", "rh"):
            path = head.subjects_dir / head.subject / "surf" / f"{hemi}.white"
            white, _ = mne.read_surface(path)
            assert len(white) == 10242
            points = white[::20] / 1000.0
            np.testing.assert_allclose(winding_number(points, skull["rr"], skull["tris"]), 1)
            assert cKDTree(skull["rr"]).query(white / 1000.0)[0].min() > 0.004
        np.testing.assert_allclose(winding_number(points + 0.5, skull["rr"], skull["tris"]), 0)

    def test_subject_folder_is_complete(self, head):
        folder = head.subjects_dir / head.subject
        for hemi in ("lh", "rh"):
            for name in ("white", "pial", "inflated", "sphere", "curv", "sulc", "thickness"):
                assert (folder / "surf" / f"{hemi}.{name}").is_file()
        for name in ("inner_skull.surf", "fsaverage5-fiducials.fif", "fsaverage5-trans.fif"):
            assert (folder / "bem" / name).is_file()

    def test_medial_wall_is_no_cortex(self, head):
        for hemi, vertices in zip(("lh", "rh"), cortex_vertices(head.subjects_dir), strict=True):
            path = head.subjects_dir / head.subject / "surf" / f"{hemi}.white"
            white, _ = mne.read_surface(path)
            wall = np.setdiff1d(np.arange(len(white)), vertices)
            assert 400 < len(wall) < 1000
            assert np.abs(white[wall, 0]).max() < 45.0  # mm from the midline
            assert np.abs(white[vertices, 0]).max() > 60.0

    def test_source_space_is_whole_and_has_patches(self, head):
        assert [s["nuse"] for s in head.src] == [642, 642]
        assert [s["nuse"] for s in head.forward["src"]] == [642, 642]
        assert all(s["patch_inds"] is not None for s in head.src)
        assert head.src[0]["coord_frame"] == 5  # MRI

    def test_unknown_spacing(self):
        with pytest.raises(ValueError, match="ico3, ico4, oct5, oct6, got 'ico9'"):
            datasets.template("ico9")


class TestHelmet:
    def test_channels(self, head):
        types = head.info.get_channel_types()
        assert types == ["grad", "grad", "mag"] * 102
        assert head.info.ch_names[:3] == ["MEG 0113", "MEG 0112", "MEG 0111"]
        assert {ch["coil_type"] for ch in head.info["chs"]} == {3012, 3024}

    def test_axes_are_orthonormal_and_point_outward(self, head):
        for ch in head.info["chs"]:
            axes = ch["loc"][3:].reshape(3, 3)
            np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-7)
            np.testing.assert_allclose(np.cross(axes[0], axes[1]), axes[2], atol=1e-7)
            assert axes[2] @ ch["loc"][:3] > 0
        first, second = (ch["loc"][3:6] for ch in head.info["chs"][:2])
        assert abs(first @ second) < 1e-7

    def test_sensors_clear_the_scalp(self, head):
        rr, tris = scalp(head)
        positions = sites(head)
        np.testing.assert_allclose(winding_number(positions, rr, tris), 0)
        np.testing.assert_allclose(winding_number(np.zeros((1, 3)), rr, tris), 1)
        distance = cKDTree(rr).query(positions)[0]
        assert 0.015 < distance.min() < 0.025
        assert distance.max() < 0.035

    def test_sites_are_spread_evenly_and_symmetrically(self, head):
        positions = sites(head)
        assert pdist(positions).min() > 0.025
        assert cKDTree(positions).query(positions * [-1, 1, 1])[0].max() < 1e-6

    @pytest.mark.parametrize("lobe", ["temporal", "frontal", "parietal", "occipital"])
    def test_names_fit_their_places(self, head, lobe):
        x = dict(zip(head.info.ch_names[2::3], sites(head)[:, 0], strict=True))
        for side, sign in (("Left", -1), ("Right", 1)):
            names = read_vectorview_selection(f"{side}-{lobe}", info=head.info)
            assert all(sign * x[name] > 0 for name in names if name in x)

    def test_fiducials_span_the_head_frame(self, head):
        lpa, nasion, rpa = (point["r"] for point in head.info["dig"])
        np.testing.assert_allclose([lpa[1:], rpa[1:]], 0, atol=1e-4)
        np.testing.assert_allclose(nasion[[0, 2]], 0, atol=1e-4)
        assert lpa[0] < 0 < rpa[0]
        assert nasion[1] > 0.09


class TestForward:
    def test_free_orientation_of_all_positions(self, head):
        assert head.forward["sol"]["data"].shape == (306, 3 * 1284)
        assert head.forward["source_ori"] == 2  # free
        assert head.forward["sol"]["row_names"] == head.info.ch_names

    def test_agrees_with_a_sphere_where_the_head_is_round(self, head):
        # Parietal cortex: below a part of the skull that a sphere fits well.
        rr = head.forward["source_rr"]
        chosen = np.linalg.norm(rr - [0.03, -0.04, 0.09], axis=1).argmin()
        times, unit = np.zeros(1), np.ones(1)
        centre = np.array([0.0, -0.01, 0.04])
        tangent = np.cross(rr[chosen] - centre, [0.0, 1.0, 0.0])
        tangent /= np.linalg.norm(tangent)
        dipole = mne.Dipole(times, rr[[chosen]], unit, tangent[np.newaxis], unit)
        sphere = mne.make_sphere_model(centre, head_radius=None, verbose="warning")
        other, _ = mne.make_forward_dipole(dipole, sphere, head.info, verbose="warning")
        gain = head.forward["sol"]["data"][:, 3 * chosen : 3 * chosen + 3] @ tangent
        field = other["sol"]["data"][:, 0]
        grads = mne.pick_types(head.info, meg="grad")
        assert np.corrcoef(gain[grads], field[grads])[0, 1] > 0.95
        assert 0.7 < np.linalg.norm(gain[grads]) / np.linalg.norm(field[grads]) < 1.4


class TestRecording:
    def test_shape(self, case):
        assert case.evoked.data.shape == (306, 101)
        assert case.evoked.proj
        assert case.evoked.nave == 100
        np.testing.assert_allclose(case.evoked.times[[0, -1]], [-0.1, 0.4])
        assert len(case.truth) == 3
        assert case.forward["sol"]["row_names"] == case.evoked.ch_names == case.noise_cov.ch_names

    @pytest.mark.parametrize("snr_db", [0.0, 10.0])
    @pytest.mark.parametrize("n_sources", [1, 4])
    def test_power_is_the_stated_one(self, snr_db, n_sources):
        recording = record(n_sources, snr_db, random_state=1)
        whitener, fields = whitener_of(recording), fields_of(recording)
        signal = whitener @ fields.sum(axis=0)
        assert np.mean(signal**2) == pytest.approx(10 ** (snr_db / 10))
        each = np.mean((whitener @ fields) ** 2, axis=(1, 2))
        np.testing.assert_allclose(each, each.mean())
        noise = whitener @ recording.evoked.data - signal
        assert np.mean(noise**2) == pytest.approx(1.0, abs=0.03)

    @pytest.mark.slow
    def test_truth_means_the_same_to_mne(self, case):
        one = np.ones(3)
        positions = np.array([dipole.pos[0] for dipole in case.truth])
        normals = np.array([dipole.ori[0] for dipole in case.truth])
        dipoles = mne.Dipole(np.arange(3.0), positions, one, normals, one)
        forward, _ = mne.make_forward_dipole(
            dipoles, case.bem, case.evoked.info, case.trans, verbose="warning"
        )
        amplitude = np.array([dipole.amplitude for dipole in case.truth])
        whitener = whitener_of(case)
        error = whitener @ (forward["sol"]["data"] @ amplitude - fields_of(case).sum(axis=0))
        np.testing.assert_allclose(error, 0, atol=1e-3)

    def test_baseline_is_noise_alone(self, case):
        before = case.evoked.times <= 0
        assert all(not dipole.amplitude[before].any() for dipole in case.truth)
        assert all(dipole.amplitude[~before].any() for dipole in case.truth)
        noise = whitener_of(case) @ case.evoked.data[:, before]
        assert np.mean(noise**2) == pytest.approx(1.0, abs=0.08)

    def test_pure_noise(self):
        recording = record(0)
        assert recording.truth == []
        noise = whitener_of(recording) @ recording.evoked.data
        assert np.mean(noise**2) == pytest.approx(1.0, abs=0.03)

    def test_noise_free(self, case):
        clean = record(snr_db=np.inf)
        whitener = whitener_of(clean)
        error = whitener @ (clean.evoked.data - fields_of(clean).sum(axis=0))
        np.testing.assert_allclose(error, 0, atol=1e-4)
        assert np.mean((whitener @ clean.evoked.data) ** 2) == pytest.approx(10.0)
        for dipole, same in zip(clean.truth, case.truth, strict=True):
            np.testing.assert_array_equal(dipole.amplitude, same.amplitude)

    @pytest.mark.parametrize(
        ("change", "factor"), [({"snr_db": 20.0}, np.sqrt(10)), ({"nave": 400}, 0.5)]
    )
    def test_amplitudes_follow_the_noise(self, case, change, factor):
        other = record(**change)
        for dipole, changed in zip(case.truth, other.truth, strict=True):
            np.testing.assert_allclose(changed.amplitude, factor * dipole.amplitude)

    def test_amplitudes_are_physiological(self):
        truth = [dipole for seed in range(5) for dipole in record(random_state=seed).truth]
        peaks = np.array([np.abs(dipole.amplitude).max() for dipole in truth])
        assert 10e-9 < np.median(peaks) < 80e-9
        assert peaks.min() > 1e-9

    def test_truth_lies_on_the_grid_along_the_normal(self, case):
        src = case.forward["src"]
        grid = np.concatenate([s["rr"][s["vertno"]] for s in src])
        normals = np.concatenate([s["nn"][s["vertno"]] for s in src])
        for dipole in case.truth:
            distance, nearest = cKDTree(grid).query(dipole.pos[0])
            assert distance < 1e-6
            assert np.linalg.norm(dipole.ori[0]) == pytest.approx(1.0)
            assert normals[nearest] @ dipole.ori[0] > 0.5
            assert np.ptp(dipole.pos, axis=0).max() == 0

    @pytest.mark.parametrize("seed", range(5))
    def test_sources_keep_their_distance_and_stay_on_cortex(self, head, seed):
        recording = record(5, min_distance=0.05, random_state=seed)
        positions = np.array([dipole.pos[0] for dipole in recording.truth])
        assert pdist(positions).min() >= 0.05
        cortex = cortex_vertices(head.subjects_dir)
        allowed = [
            s["rr"][np.intersect1d(s["vertno"], v)]
            for s, v in zip(recording.forward["src"], cortex, strict=True)
        ]
        assert cKDTree(np.concatenate(allowed)).query(positions)[0].max() < 1e-6

    def test_seed(self, case):
        again, other = record(), record(random_state=1)
        np.testing.assert_array_equal(again.evoked.data, case.evoked.data)
        assert np.corrcoef(other.evoked.data.ravel(), case.evoked.data.ravel())[0, 1] < 0.5
        assert not np.allclose(other.truth[0].pos, case.truth[0].pos)

    @pytest.mark.parametrize(
        ("kwargs", "message"),
        [
            ({"n_sources": -1}, "n_sources"),
            ({"n_sources": 1.5}, "n_sources"),
            ({"n_sources": 500}, "n_sources=500 could not be placed"),
            ({"snr_db": np.nan}, "snr_db"),
            ({"snr_db": -np.inf}, "snr_db"),
            ({"nave": 0}, "nave"),
            ({"min_distance": -0.01}, "min_distance"),
            ({"spacing": "all"}, "spacing"),
            ({"grid": "fine"}, "grid must be one of finer, same, got 'fine'"),
        ],
    )
    def test_bad_arguments(self, kwargs, message):
        with pytest.raises(ValueError, match=message):
            datasets.template_recording(**{"spacing": SPACING, "verbose": "warning", **kwargs})


class TestBetweenThePositions:
    """Sources that lie off the grid, as they do unless told otherwise."""

    def test_they_lie_off_the_positions_on_the_cortex(self, clean, head):
        rr = np.array([dipole.pos[0] for dipole in clean.truth])
        gaps = cKDTree(clean.forward["source_rr"]).query(rr)[0]
        assert (gaps > 5e-4).all()
        assert (gaps < 0.01).all()
        on_grid = np.array([dipole.pos[0] for dipole in record(5).truth])  # the control
        assert cKDTree(clean.forward["source_rr"]).query(on_grid)[0].max() < 1e-6
        cortex = cortex_vertices(head.subjects_dir)
        allowed = [
            apply_trans(invert_transform(head.trans), s["rr"][v])
            for s, v in zip(head.src, cortex, strict=True)
        ]
        assert cKDTree(np.concatenate(allowed)).query(rr)[0].max() < 1e-6

    def test_their_fields_are_those_of_mne(self, clean):
        """None of them is the field of the nearest position, or of its whole normal."""
        whitener, n = whitener_of(clean), len(clean.truth)
        pos, ori = ([getattr(one, name)[0] for one in clean.truth] for name in ("pos", "ori"))
        each, _ = mne.make_forward_dipole(
            mne.Dipole(np.arange(n), pos, np.ones(n), ori, np.ones(n)),
            clean.bem,
            clean.evoked.info,
            clean.trans,
            verbose="warning",
        )
        data = each["sol"]["data"] @ [dipole.amplitude for dipole in clean.truth]
        size = np.linalg.norm(whitener @ data)
        assert np.linalg.norm(whitener @ (clean.evoked.data - data)) < 1e-3 * size
        nearest = cKDTree(clean.forward["source_rr"]).query([d.pos[0] for d in clean.truth])[1]
        gain = clean.forward["sol"]["data"].reshape(306, -1, 3)
        near = sum(
            np.outer(gain[:, k] @ dipole.ori[0], dipole.amplitude)
            for k, dipole in zip(nearest, clean.truth, strict=True)
        )
        assert np.linalg.norm(whitener @ (clean.evoked.data - near)) > 0.1 * size

    def test_the_forward_solution_stays_that_of_the_positions(self, clean, case):
        assert clean.forward["nsource"] == case.forward["nsource"] == 1284
        np.testing.assert_array_equal(clean.forward["sol"]["data"], case.forward["sol"]["data"])

    def test_their_fields_are_made_once(self, clean):
        folder = next(cache_dir().glob(f"template-*/between-{SPACING}"))
        before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
        again = record(5, np.inf, grid="finer")
        np.testing.assert_array_equal(again.evoked.data, clean.evoked.data)
        assert before == {path: path.stat().st_mtime_ns for path in folder.iterdir()}


class TestSimulation:
    def test_noise_has_the_stated_covariance(self, case, head):
        n_times = 20_000
        evoked, truth = simulate(
            head.forward,
            head.info,
            case.noise_cov,
            np.zeros(0, int),
            np.zeros((0, n_times)),
            nave=4,
            random_state=0,
        )
        assert truth == []
        whitener, _ = compute_whitener(case.noise_cov, evoked.info, pca=True, verbose="warning")
        white = 2.0 * whitener @ evoked.data
        spread = np.linalg.eigvalsh(white @ white.T / n_times)
        edge = np.sqrt(303 / n_times)  # Marchenko-Pastur: eigenvalues within (1 -+ edge)^2
        assert spread.min() > (1 - edge) ** 2 - 0.02
        assert spread.max() < (1 + edge) ** 2 + 0.02
        neighbours = np.mean(white[:, 1:] * white[:, :-1])
        assert abs(neighbours) < 3 / np.sqrt(303 * n_times)

    def test_time_courses_are_independent_and_start_at_zero(self):
        times = np.arange(-20, 81) / 200.0
        courses = event_related(times, 6, np.random.default_rng(0))
        assert not courses[:, times <= 0].any()
        unit = courses / np.linalg.norm(courses, axis=1, keepdims=True)
        assert np.linalg.svd(unit, compute_uv=False).min() > 0.1
        assert np.abs(courses).max() <= 1.0
        assert np.abs(courses[:, -1]).max() < 0.05

    def test_positions_are_distinct_at_no_distance(self):
        rr = np.random.default_rng(0).standard_normal((20, 3))
        chosen = place_sources(rr, 20, 0.0, np.random.default_rng(0))
        assert sorted(chosen) == list(range(20))

    def test_bad_sources(self, case, head):
        def run(courses, info=head.info):
            return simulate(head.forward, info, case.noise_cov, [0, 1], courses)

        with pytest.raises(ValueError, match="one row for each"):
            run(np.ones((3, 5)))
        with pytest.raises(ValueError, match="none of them zero"):
            run(np.array([[1.0, 2.0], [0.0, 0.0]]))
        with pytest.raises(ValueError, match="same channels"):
            run(np.ones((2, 5)), mne.pick_info(head.info, range(3)))


class TestCache:
    @staticmethod
    def make(folder):
        (folder / "deep").mkdir()
        (folder / "deep" / "numbers.txt").write_text("1 2 3")
        (folder / "other.txt").write_text("4")

    def test_makes_once(self, tmp_path):
        made = []

        def make(folder):
            made.append(folder)
            self.make(folder)

        folder = tmp_path / "entry"
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: cached_folder(folder, "1", make), range(8)))
        assert len(made) == 1
        assert (folder / "deep" / "numbers.txt").read_text() == "1 2 3"

    @pytest.mark.parametrize("damage", ["truncate", "delete", "manifest"])
    def test_damage_is_repaired_with_one_warning(self, tmp_path, damage):
        folder = cached_folder(tmp_path / "entry", "1", self.make)
        (folder / "mine.txt").write_text("not the cache's")
        if damage == "truncate":
            (folder / "deep" / "numbers.txt").write_text("1 2")
        elif damage == "delete":
            (folder / "deep" / "numbers.txt").unlink()
        else:
            (folder / MANIFEST).write_text("{")
        with pytest.warns(RuntimeWarning, match="damaged or missing") as caught:
            cached_folder(folder, "1", self.make)
        assert len(caught) == 1
        assert (folder / "deep" / "numbers.txt").read_text() == "1 2 3"
        assert (folder / "mine.txt").exists()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            cached_folder(folder, "1", self.make)

    def test_another_key_makes_it_again_silently(self, tmp_path):
        folder = cached_folder(tmp_path / "entry", "1", self.make)

        def make(new):
            (new / "other.txt").write_text("5")

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            cached_folder(folder, "2", make)
        assert (folder / "other.txt").read_text() == "5"

    def test_failure_leaves_nothing_behind(self, tmp_path):
        def make(folder):
            self.make(folder)
            raise RuntimeError("no space left")

        with pytest.raises(RuntimeError, match="no space"):
            cached_folder(tmp_path / "entry", "1", make)
        assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []

    def test_foreign_folder_is_left_alone(self, tmp_path):
        (tmp_path / "fsaverage5").mkdir()
        with pytest.raises(FileExistsError, match="did not write it"):
            datasets.template(SPACING, subjects_dir=tmp_path, verbose="warning")

    @pytest.mark.slow
    def test_truncated_forward_is_computed_again(self, head, tmp_path, monkeypatch):
        shutil.copytree(cache_dir(), tmp_path / "cache", ignore=_other_forwards)
        monkeypatch.setenv("MEG_VAE_CACHE", str(tmp_path / "cache"))
        (path,) = (tmp_path / "cache").glob(
            f"template-*-{mne.__version__}/forward-{SPACING}/*-fwd.fif"
        )
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.warns(RuntimeWarning, match="fwd.fif") as caught:
            again = datasets.template(SPACING, verbose="warning")
        assert len(caught) == 1
        np.testing.assert_array_equal(again.forward["sol"]["data"], head.forward["sol"]["data"])


def _other_forwards(_, names):
    return [name for name in names if name.startswith("forward-") and SPACING not in name]


class TestSample:
    def test_missing_dataset(self, tmp_path, monkeypatch):
        monkeypatch.delenv("MEG_VAE_SAMPLE", raising=False)
        monkeypatch.setenv("MNE_DATASETS_SAMPLE_PATH", str(tmp_path))
        with pytest.raises(FileNotFoundError, match=r"mne.datasets.sample.data_path\(\)"):
            datasets.sample()

    def test_wrong_folder(self, tmp_path, monkeypatch):
        monkeypatch.setenv("MEG_VAE_SAMPLE", str(tmp_path / "nowhere"))
        with pytest.raises(FileNotFoundError, match="not a folder"):
            datasets.sample()
        monkeypatch.setenv("MEG_VAE_SAMPLE", str(tmp_path))
        with pytest.raises(FileNotFoundError, match="sample_audvis-ave.fif"):
            datasets.sample()


@pytest.mark.realdata
@pytest.mark.skipif("MEG_VAE_SAMPLE" not in os.environ, reason="MEG_VAE_SAMPLE is not set")
class TestRealSample:
    def test_prepared_recording(self):
        recording = datasets.sample("Left visual", tmax=0.3, verbose="warning")
        evoked = recording.evoked
        assert recording.truth is None
        assert evoked.info["bads"] == ["MEG 2443"]
        assert evoked.info["lowpass"] == 40.0
        assert evoked.times[-1] == pytest.approx(0.3, abs=0.002)
        assert set(evoked.get_channel_types()) == {"mag", "grad"}
        before = evoked.data[:, evoked.times <= 0]
        np.testing.assert_allclose(before.mean(axis=1), 0, atol=1e-16)
        assert recording.forward["sol"]["row_names"] == evoked.ch_names
        assert recording.forward["nsource"] > 7000
        evoked = evoked.copy().pick("meg", exclude="bads")
        whitener, _ = compute_whitener(recording.noise_cov, evoked.info, verbose="warning")
        power = evoked.nave * (whitener @ evoked.data) ** 2
        response = power[:, evoked.times > 0.05].mean()
        assert 0.3 < power[:, evoked.times <= 0].mean() < 3.0
        assert response > 1.3 * power[:, evoked.times <= 0].mean()
        assert Path(recording.subjects_dir, recording.subject, "surf", "lh.white").is_file()

    def test_unknown_condition(self):
        with pytest.raises(ValueError, match="Left Auditory, Right Auditory, .* got 'Smell'"):
            datasets.sample("Smell", verbose="warning")
