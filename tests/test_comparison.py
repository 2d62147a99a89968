"""Methods are compared on equal terms, and their scores mean what they say."""

from __future__ import annotations

import dataclasses
import warnings

import mne
import numpy as np
import pandas as pd
import pytest
from mne.minimum_norm import apply_inverse, make_inverse_operator

from meg_vae import VAEInverse, compare, datasets
from meg_vae.comparison import METHODS, Method, metrics
from meg_vae.comparison.comparison import DEFAULT
from meg_vae.meg.leadfield import make_leadfield

QUICK = ["vae", "irmxne", "sloreta", "dspm"]
BY_SURE = [name for name in METHODS if name.endswith("sure")]
SCORES = ["localization_error_mm", "hit_rate", "n_spurious"]


@pytest.fixture(scope="session")
def case():
    """Return a recording with two sources, without its baseline."""
    recording = datasets.template_recording(2, 10.0, spacing="ico3", verbose="warning")
    return dataclasses.replace(recording, evoked=recording.evoked.crop(0.0, 0.3))


@pytest.fixture(scope="session")
def small(case):
    """Return the same, magnetometers and few samples only."""
    evoked = case.evoked.copy().pick("mag", verbose="error").decimate(5, verbose="error")
    return dataclasses.replace(case, evoked=evoked)


@pytest.fixture(scope="session")
def noise():
    """Return noise alone, magnetometers only."""
    recording = datasets.template_recording(0, spacing="ico3", verbose="warning")
    evoked = recording.evoked.crop(0.0, 0.1).pick("mag", verbose="error")
    return dataclasses.replace(recording, evoked=evoked)


@pytest.fixture(scope="session")
def result(case):
    return run(case, QUICK, truth=case.truth)


def run(recording, methods, **kwargs):
    data = (recording.evoked, recording.forward, recording.noise_cov)
    return compare(*data, methods, **{"verbose": "warning", **kwargs})


def row(comparison, method):
    return comparison.table.set_index("method").loc[method]


def head_mm(recording):
    return np.array([1e3 * dipole.pos[0] for dipole in recording.truth])


def estimate_at(forward, index, amplitude=1e-8, n_times=3):
    """Return vectors along x at some positions of a forward model."""
    n_left = len(forward["src"][0]["vertno"])
    index = np.sort(np.asarray(index, int))
    vertices = [
        forward["src"][0]["vertno"][index[index < n_left]],
        forward["src"][1]["vertno"][index[index >= n_left] - n_left],
    ]
    data = np.zeros((len(index), 3, n_times))
    data[:, 0] = np.broadcast_to(amplitude, len(index))[:, None]
    return mne.VectorSourceEstimate(data, vertices, 0.0, 0.01)


def true_index(recording):
    distance = np.linalg.norm(
        1e3 * recording.forward["source_rr"][:, None] - head_mm(recording), axis=2
    )
    assert distance.min(axis=0).max() < 1e-3
    return distance.argmin(axis=0)


def add_method(monkeypatch, name, run, **kwargs):
    fields = {"unit": "A·m", "sparse": True, "knobs": "none", "reference": "none", **kwargs}
    monkeypatch.setitem(METHODS, name, Method(name, name.upper(), run=run, **fields))


class TestRegistry:
    def test_methods_are_described(self):
        for name, method in METHODS.items():
            assert method.name == name
            assert method.unit in ("A·m", "dimensionless")
            assert len(method.reference) > 15
            assert "Told nothing." in method.knobs
        titles = [method.title for method in METHODS.values()]
        assert len(set(titles)) == len(titles)
        assert set(DEFAULT) <= set(METHODS)

    @pytest.mark.parametrize("loose", ["auto", 0.0])
    @pytest.mark.parametrize(
        "name",
        [pytest.param(m, marks=pytest.mark.slow) if m in BY_SURE else m for m in METHODS],
    )
    def test_every_method_finds_the_sources_and_leaves_its_inputs_alone(self, small, name, loose):
        before = [
            small.evoked.data.copy(),
            small.noise_cov.data.copy(),
            small.forward["sol"]["data"].copy(),
            small.forward["source_nn"].copy(),
        ]
        done = run(small, [name], truth=small.truth, loose=loose)
        after = [
            small.evoked.data,
            small.noise_cov.data,
            small.forward["sol"]["data"],
            small.forward["source_nn"],
        ]
        for one, other in zip(before, after, strict=True):
            np.testing.assert_array_equal(one, other)
        assert small.evoked.nave == 100
        stc, scores = done.estimates[name], row(done, name)
        assert isinstance(stc, mne.SourceEstimate)
        np.testing.assert_allclose(stc.times, small.evoked.times, atol=1e-9)
        assert (stc.data < 0).any() == (loose == 0.0)
        assert scores["note"] == ""
        assert scores["seconds"] > 0
        assert scores["localization_error_mm"] < 40
        if METHODS[name].sparse:
            assert 1 <= scores["n_sources"] <= 30
        else:
            assert len(stc.data) == small.forward["nsource"]
            assert scores[["n_sources", "n_spurious"]].isna().all()
        if METHODS[name].unit == "A·m":
            assert 50 < scores["explained_variance"] <= 100
            assert stc.data.max() < 1e-6
        else:
            assert scores["explained_variance"] is pd.NA
            assert stc.data.max() > 1e-3

    def test_a_method_that_finds_nothing_is_empty_and_scores_worst(self, small, noise):
        for name in ("vae", "gamma_map"):
            done = run(noise, [name], truth=small.truth)
            assert len(done.estimates[name].data) == 0
            scores = row(done, name)
            assert scores["n_sources"] == scores["explained_variance"] == 0
            assert scores["localization_error_mm"] == 100
            assert scores["hit_rate"] == 0
            assert scores[["x_mm", "y_mm", "z_mm"]].isna().all()


class TestFairness:
    def test_every_method_is_handed_the_same_average(self, case, monkeypatch):
        handed = []

        def spy(evoked, forward, noise_cov, *, loose, rank):
            handed.append("spy")
            evoked.data[:] = 0  # the next one must not see this
            noise_cov["data"][:] = 0
            rank.clear()
            return estimate_at(forward, [0], n_times=len(evoked.times))

        def witness(evoked, forward, noise_cov, *, loose, rank):
            assert evoked.nave == 1
            assert evoked.data.any()
            good = np.delete(np.arange(306), 7)
            np.testing.assert_allclose(
                noise_cov.data, case.noise_cov.data[np.ix_(good, good)] / 100
            )
            assert noise_cov.ch_names == evoked.ch_names == forward["sol"]["row_names"]
            assert case.evoked.ch_names[7] not in evoked.ch_names
            assert rank == {"meg": 302}
            handed.append(loose)
            return estimate_at(forward, [0], n_times=len(evoked.times))

        add_method(monkeypatch, "spy", spy)
        add_method(monkeypatch, "witness", witness)
        evoked = case.evoked.copy()
        evoked.info["bads"] = [evoked.ch_names[7]]
        done = run(dataclasses.replace(case, evoked=evoked), ["spy", "witness"], loose=0.3)
        assert list(done.table["note"]) == ["", ""]
        assert handed == ["spy", 0.3]

    def test_dspm_is_that_of_mne_with_its_own_handling_of_averages(self, case, result):
        evoked, forward = case.evoked, case.forward
        operator = make_inverse_operator(evoked.info, forward, case.noise_cov, verbose="error")
        own = apply_inverse(evoked, operator, 1 / 9, "dSPM", verbose="error")
        np.testing.assert_allclose(result.estimates["dspm"].data, own.data, rtol=1e-6)
        single = evoked.copy()
        single.nave = 1
        other = apply_inverse(single, operator, 1 / 9, "dSPM", verbose="error")
        assert not np.allclose(result.estimates["dspm"].data, other.data, rtol=0.1)

    def test_averages_count_for_sparse_solvers_as_for_minimum_norms(self, small):
        """The same noise in the average, from one trial or from 400, is the same problem."""
        evoked, noise_cov = small.evoked.copy(), small.noise_cov.copy()
        evoked.nave, noise_cov["data"] = 400, 4 * noise_cov["data"]
        methods = ["vae", "irmxne", "gamma_map", "sloreta"]
        one = run(small, methods)
        other = compare(evoked, small.forward, noise_cov, methods, verbose="warning")
        for name in methods:
            first, second = one.estimates[name], other.estimates[name]
            np.testing.assert_allclose(second.data, first.data, rtol=1e-4, atol=1e-12)

    def test_the_vae_is_vae_inverse(self, case, result):
        own = VAEInverse(verbose="warning").fit(case.evoked, case.forward, case.noise_cov)
        stc = own.apply(case.evoked)
        np.testing.assert_allclose(result.estimates["vae"].data, stc.data, rtol=1e-5)
        np.testing.assert_allclose(
            row(result, "vae")["explained_variance"], own.explained_variance(), rtol=1e-6
        )
        first = own.sources_.loc[own.sources_["peak_nAm"].abs().idxmax()]
        place = row(result, "vae")[["x_mm", "y_mm", "z_mm"]].astype(float)
        np.testing.assert_allclose(place, first[["x_mm", "y_mm", "z_mm"]].astype(float), atol=1e-6)

    def test_the_truth_is_for_the_scores_alone(self, case, result):
        blind = run(case, QUICK[:2])
        assert blind.table[SCORES].isna().all(axis=None)
        for name in QUICK[:2]:
            np.testing.assert_array_equal(blind.estimates[name].data, result.estimates[name].data)
        same = ["method", "n_sources", "x_mm", "explained_variance", "note"]
        pd.testing.assert_frame_equal(blind.table[same], result.table[same][:2])
        assert list(blind.table.columns) == list(result.table.columns)
        assert list(blind.table.dtypes) == list(result.table.dtypes)


class TestMetrics:
    def test_matching_by_hand(self):
        true = np.array([[0.0, 0, 0], [10, 0, 0]])
        np.testing.assert_allclose(metrics.match(true, true[::-1]), [0, 0])
        # The nearest pair first (4 + 16) would cost more than this.
        found = np.array([[6.0, 0, 0], [16, 0, 0]])
        np.testing.assert_allclose(metrics.match(true, found), [6, 6])
        np.testing.assert_allclose(metrics.match(true, np.array([[10.0, 3, 4]])), [100, 5])
        np.testing.assert_allclose(metrics.match(true, np.zeros((0, 3))), [100, 100])
        np.testing.assert_allclose(metrics.match(true, np.array([[900.0, 0, 0]] * 2)), [100, 100])

    def test_more_found_sources_never_score_worse(self):
        rng = np.random.default_rng(0)
        true, found = rng.uniform(-70, 70, (4, 3)), rng.uniform(-70, 70, (9, 3))
        errors = [metrics.match(true, found[:n]).sum() for n in range(10)]
        assert errors[0] == 400
        assert (np.diff(errors) <= 1e-9).all()

    def test_peaks_by_hand(self):
        points = np.array([[x, 0.0, 0.0] for x in (0, 5, 10, 40, 45, 90)])
        magnitude = np.array([1.0, 3, 2, 4, 4, 0])
        np.testing.assert_array_equal(metrics.peaks(magnitude, points, 5, 12.0), [3, 1])
        np.testing.assert_array_equal(metrics.peaks(magnitude, points, 1, 12.0), [3])
        np.testing.assert_array_equal(metrics.peaks(magnitude, points, 9, 1.0), [3, 4, 1, 2, 0])
        assert len(metrics.peaks(0 * magnitude, points, 3, 12.0)) == 0
        assert len(metrics.peaks(np.zeros(0), np.zeros((0, 3)), 3, 12.0)) == 0

    def test_the_radius_of_a_peak_keeps_true_sources_apart(self):
        assert metrics.peak_radius(np.zeros((1, 3))) == 20
        assert metrics.peak_radius(np.array([[0.0, 0, 0], [100, 0, 0]])) == 20
        assert metrics.peak_radius(np.array([[0.0, 0, 0], [100, 0, 0], [0, 12, 0]])) == 6

    def test_localization_of_known_estimates(self, case):
        forward, true = case.forward, head_mm(case)
        places, index = 1e3 * forward["source_rr"], true_index(case)
        perfect = estimate_at(forward, index)
        assert metrics.localization(perfect, forward, true) == (pytest.approx(0, abs=1e-6), 1)
        half = estimate_at(forward, index[:1])
        assert metrics.localization(half, forward, true) == (pytest.approx(50), 0.5)
        for nothing in (estimate_at(forward, []), estimate_at(forward, range(1284), 0.0)):
            assert metrics.localization(nothing, forward, true) == (100, 0)
        far = np.linalg.norm(places - true[0], axis=1).argmax()
        distance = min(np.linalg.norm(places[far] - true[0]), 100)
        error, hits = metrics.localization(estimate_at(forward, [far]), forward, true[:1])
        assert (error, hits) == (pytest.approx(distance), 0)

    def test_only_as_many_of_the_strongest_count_as_there_are_sources(self, case):
        forward, true = case.forward, head_mm(case)
        index = true_index(case)
        away = np.linalg.norm(1e3 * forward["source_rr"][:, None] - true, axis=2).min(axis=1)
        wrong = np.flatnonzero(away > 50)[:1]
        order = np.argsort(np.concatenate([index, wrong]))
        faint = np.array([2.0, 2.0, 1.0])[order]
        loud = np.array([2.0, 2.0, 3.0])[order]
        everywhere = np.concatenate([index, wrong])
        assert metrics.localization(estimate_at(forward, everywhere, faint), forward, true)[1] == 1
        assert metrics.localization(estimate_at(forward, everywhere, loud), forward, true)[1] < 1

    def test_active_and_spurious_positions(self, case):
        forward, true, index = case.forward, head_mm(case), np.sort(true_index(case))
        away = np.linalg.norm(1e3 * forward["source_rr"][:, None] - true, axis=2).min(axis=1)
        wrong = np.flatnonzero((away > 10) & (np.arange(1284) > index[-1]))[:2]
        stc = estimate_at(forward, [*index, *wrong], [1.0, 1.0, 0.5, 0.009])
        np.testing.assert_array_equal(metrics.active(stc), [True, True, True, False])
        expected = [False, False, True, False]
        np.testing.assert_array_equal(metrics.spurious(stc, forward, true), expected)
        assert metrics.spurious(stc, forward, true[:0]).sum() == 3
        nothing = estimate_at(forward, [])
        assert metrics.active(nothing).sum() == metrics.spurious(nothing, forward, true).sum() == 0
        assert metrics.active(estimate_at(forward, index, 0.0)).sum() == 0

    def test_an_estimate_at_random_is_worse_than_the_vae(self, case, result):
        rng = np.random.default_rng(0)
        errors = []
        for _ in range(200):
            stc = estimate_at(case.forward, rng.choice(1284, 2, replace=False))
            errors.append(metrics.localization(stc, case.forward, head_mm(case))[0])
        assert row(result, "vae")["localization_error_mm"] < np.quantile(errors, 0.01)
        assert 40 < np.median(errors) < 100

    def test_explained_variance_is_one_minus_the_residual_of_mne(self, case):
        noise_cov, evoked = case.noise_cov.copy(), case.evoked.copy()
        noise_cov["data"], evoked.nave = noise_cov["data"] / evoked.nave, 1
        operator = make_inverse_operator(evoked.info, case.forward, noise_cov, verbose="error")
        stc, residual = apply_inverse(
            evoked,
            operator,
            1 / 9,
            "MNE",
            pick_ori="vector",
            return_residual=True,
            verbose="error",
        )
        leadfield = make_leadfield(case.forward, evoked.info, noise_cov)
        X = leadfield.whitener @ evoked.data
        left = leadfield.whitener @ residual.data
        expected = 100 * (1 - np.square(left).sum() / np.square(X).sum())
        explained = metrics.explained_variance(stc, evoked, leadfield)
        np.testing.assert_allclose(explained, expected, rtol=1e-6)
        assert 80 < explained < 100
        assert metrics.explained_variance(0 * stc, evoked, leadfield) == 0
        assert metrics.explained_variance(-1 * stc, evoked, leadfield) < -100
        nothing = estimate_at(case.forward, [], n_times=len(evoked.times))
        assert metrics.explained_variance(nothing, evoked, leadfield) == 0
        with pytest.raises(ValueError, match="must hold vectors"):
            metrics.explained_variance(stc.magnitude(), evoked, leadfield)
        evoked.data[:] = 0
        assert metrics.explained_variance(stc, evoked, leadfield) == 0

    def test_an_estimate_of_another_source_space_is_refused(self, case):
        stc = estimate_at(case.forward, [3])
        stc.vertices[0] = np.array([10241])
        with pytest.raises(ValueError, match="vertices that the forward model lacks"):
            metrics.localization(stc, case.forward, head_mm(case))


class TestCompare:
    def test_the_vae_finds_the_sources(self, case, result):
        assert list(result.table["method"]) == QUICK
        assert list(result.estimates) == QUICK
        scores = row(result, "vae")
        assert scores["localization_error_mm"] < 5
        assert scores["hit_rate"] == 1
        assert scores["n_sources"] == 2
        assert scores["n_spurious"] == 0
        to_mri = mne.transforms.invert_transform(case.forward["mri_head_t"])
        true = mne.transforms.apply_trans(to_mri, head_mm(case) / 1e3) * 1e3
        place = scores[["x_mm", "y_mm", "z_mm"]].to_numpy(float)
        assert np.linalg.norm(true - place, axis=1).min() < 5

    def test_noise_alone_has_no_error_of_localization(self, noise):
        done = run(noise, ["vae", "sloreta"], truth=noise.truth)
        assert done.table[["localization_error_mm", "hit_rate"]].isna().all(axis=None)
        scores = row(done, "vae")
        assert scores["n_sources"] == scores["n_spurious"] == 0
        assert "no source carries" in scores["note"]

    def test_a_method_that_fails_is_a_row(self, small, monkeypatch):
        def broken(evoked, forward, noise_cov, *, loose, rank):
            warnings.warn("going\nwrong", RuntimeWarning, stacklevel=1)
            warnings.warn("going wrong", RuntimeWarning, stacklevel=1)
            warnings.warn("old name", FutureWarning, stacklevel=1)
            raise np.linalg.LinAlgError("singular")

        def infinite(evoked, forward, noise_cov, *, loose, rank):
            return estimate_at(forward, [0], np.nan, len(evoked.times))

        add_method(monkeypatch, "broken", broken)
        add_method(monkeypatch, "infinite", infinite)
        done = run(small, ["broken", "infinite", "sloreta"], truth=small.truth)
        assert row(done, "broken")["note"] == "LinAlgError: singular; going wrong"
        assert "not finite" in row(done, "infinite")["note"]
        assert list(done.estimates) == ["sloreta"]
        scores = done.table.drop(columns=["method", "title", "seconds", "note"])
        assert scores.iloc[:2].isna().all(axis=None)
        assert row(done, "sloreta")["localization_error_mm"] >= 0

    def test_a_solver_that_does_not_converge_says_so(self, small, monkeypatch):
        irmxne = METHODS["irmxne"]
        hasty = dataclasses.replace(
            irmxne, name="hasty", run=lambda *args, **kw: irmxne.run(*args, maxit=1, **kw)
        )
        monkeypatch.setitem(METHODS, "hasty", hasty)
        done = run(small, ["hasty"])
        assert "Did NOT converge" in row(done, "hasty")["note"]
        assert len(done.estimates["hasty"].data)

    def test_wrong_names_of_methods(self, case):
        for methods in (["vae", "lcmv"], [], ["vae", "vae"]):
            with pytest.raises(ValueError, match="different ones of vae, mxne, .*eloreta"):
                run(case, methods)

    def test_wrong_inputs_are_refused_before_any_method_runs(self, case, monkeypatch):
        def never(*args, **kwargs):
            pytest.fail("a method ran")

        add_method(monkeypatch, "never", never)
        broken = case.evoked.copy()
        broken.data[3, 3] = np.nan
        with pytest.raises(ValueError, match="evoked has NaN"):
            run(dataclasses.replace(case, evoked=broken), ["never"])
        few = case.evoked.copy()
        few.nave = 0
        with pytest.raises(ValueError, match="nave"):
            run(dataclasses.replace(case, evoked=few), ["never"])
        noise_cov = case.noise_cov.copy()
        noise_cov["data"][0, 0] = np.inf
        with pytest.raises(ValueError, match="noise_cov has NaN or infinite"):
            run(dataclasses.replace(case, noise_cov=noise_cov), ["never"])
        other = case.evoked.copy()
        other.rename_channels({name: f"X{name}" for name in other.ch_names})
        with pytest.raises(ValueError, match="no channel in common"):
            run(dataclasses.replace(case, evoked=other), ["never"])
        with pytest.raises(ValueError, match="loose"):
            run(case, ["never"], loose=2)
        with pytest.raises(TypeError, match=r"evoked must be an mne\.Evoked"):
            run(dataclasses.replace(case, evoked=[case.evoked]), ["never"])
        for truth in (case.truth[0], head_mm(case)):
            with pytest.raises(TypeError, match="truth must be a list"):
                run(case, ["never"], truth=truth)

    def test_a_fixed_forward_model_fits_all_methods(self, small):
        fixed = mne.convert_forward_solution(small.forward, force_fixed=True, verbose="error")
        methods = ["vae", "irmxne", "mne"]
        done = run(dataclasses.replace(small, forward=fixed), methods, truth=small.truth)
        assert list(done.table["note"]) == [""] * 3
        assert (done.table["explained_variance"] > 50).all()
        same = run(small, methods, truth=small.truth, loose=0)
        np.testing.assert_allclose(
            done.estimates["vae"].data, same.estimates["vae"].data, rtol=1e-4, atol=1e-13
        )

    def test_a_volume_source_space(self, small):
        with mne.utils.use_log_level("error"):
            sphere = mne.make_sphere_model((0.0, 0.0, 0.04), 0.09)
            src = mne.setup_volume_source_space(pos=20.0, sphere=sphere)
            forward = mne.make_forward_solution(
                small.evoked.info, small.trans, src, sphere, meg=True, eeg=False
            )
        methods = ["vae", "irmxne", "sloreta"]
        done = run(dataclasses.replace(small, forward=forward), methods, truth=small.truth)
        assert list(done.table["note"]) == [""] * 3
        assert (done.table["localization_error_mm"] < 40).all()
        assert all(isinstance(stc, mne.VolSourceEstimate) for stc in done.estimates.values())

    def test_the_progress_bar_names_the_method_and_can_be_silenced(self, small, capsys):
        run(small, ["sloreta"], verbose="warning")
        assert capsys.readouterr().err == ""
        run(small, ["sloreta"], verbose="info")
        assert "sLORETA" in capsys.readouterr().err


class TestPlot:
    @pytest.mark.rendering
    def test_picture_has_a_row_per_method_and_the_truth(self, case, result):
        from meg_vae import viz
        from meg_vae.viz.style import TRUTH

        two = dataclasses.replace(
            result, estimates={name: result.estimates[name] for name in ("vae", "dspm")}
        )
        options = {"views": "dorsal", "window_size": (420, 900), "off_screen": True}
        plotter = two.plot(subjects_dir=case.subjects_dir, **options)
        assert len(plotter.renderers) == 3
        image = viz.picture(plotter).astype(int)
        colour = [int(TRUTH[k : k + 2], 16) for k in (1, 3, 5)]
        marked = (np.abs(image - colour) < 30).all(axis=2).sum()
        blind = dataclasses.replace(two, truth=None)
        plotter = blind.plot(subjects_dir=case.subjects_dir, **options)
        unmarked = viz.picture(plotter).astype(int)
        assert marked > 50
        assert (np.abs(unmarked - colour) < 30).all(axis=2).sum() == 0

    def test_what_cannot_be_drawn(self, case, result):
        with pytest.raises(ValueError, match=r"plot\(subject=\.\.\.\)"):
            dataclasses.replace(result, subject=None).plot(subjects_dir=case.subjects_dir)
        with pytest.raises(ValueError, match="no method has an estimate"):
            dataclasses.replace(result, estimates={}).plot(subjects_dir=case.subjects_dir)
