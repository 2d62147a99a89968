"""Methods are compared on equal terms, and their scores mean what they say."""

from __future__ import annotations

import dataclasses
import sys
import warnings

import mne
import numpy as np
import pandas as pd
import pytest
from mne.beamformer import apply_lcmv
from mne.minimum_norm import apply_inverse, make_inverse_operator

from meg_vae import VAEInverse, compare, datasets
from meg_vae.comparison import METHODS, METRICS, Method, array_method, register
from meg_vae.comparison.comparison import DEFAULT
from meg_vae.comparison.methods import FAMILIES, registry, scanning
from meg_vae.comparison.methods.conversions import at_nearest_positions
from meg_vae.datasets.noise import symmetric_roots
from meg_vae.datasets.simulation import fixed_dipole, record
from meg_vae.meg.leadfield import make_leadfield

QUICK = ["vae", "irmxne", "sloreta", "dspm", "vae_grid"]
SCORES = [name for name, metric in METRICS.items() if metric.needs in ("truth", "peaks")]
SLOW = (
    "mxne_sure",
    "irmxne_sure",
    "nl_champagne",
    "vae_full",
    "vae_tails",
    "champagne_low_snr",
    "champagne",
)
FIXED = (
    *("vae", "vae_grid", "vae_free", "irmxne", "sloreta"),
    *("lcmv", "trap_music", "sequential_dipoles"),
)
NULL = ("zeros", "random")
EXPECTED = {
    *("vae", "vae_grid", "vae_fixed", "vae_loose", "vae_free", "vae_full", "vae_tails"),
    *("mxne", "irmxne", "mxne_sure", "irmxne_sure", "tf_mxne", "gamma_map"),
    *("mne", "dspm", "sloreta", "eloreta", "lcmv", "rap_music", "trap_music"),
    *("dipole", "sequential_dipoles", "zeros", "random"),
    *("champagne", "champagne_convexity", "champagne_low_snr", "nl_champagne", "sesame"),
    *("flex_champagne", "flex_ap"),
}


SIDE = np.array([0.05, 0.0, 0.06])  # m, head coordinates


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


@pytest.fixture(scope="module")
def on_grid():
    """Return the same with its sources on positions of the grid."""
    recording = datasets.template_recording(2, spacing="ico3", grid="same", verbose="warning")
    evoked = recording.evoked.crop(0.0, 0.3).pick("mag", verbose="error")
    return dataclasses.replace(recording, evoked=evoked.decimate(5, verbose="error"))


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


def dipole_at(place, moment, evoked):
    """Return a dipole in head coordinates (mm), with one moment (A·m) at all times."""
    n, size = len(evoked.times), np.linalg.norm(moment)
    pos, ori = np.tile(np.divide(place, 1e3), (n, 1)), np.tile(np.divide(moment, size), (n, 1))
    return mne.Dipole(evoked.times, pos, np.full(n, size), ori, np.zeros(n))


def add_method(monkeypatch, name, run, **kwargs):
    fields = {"unit": "A·m", "sparse": True, "knobs": "none", "reference": "none"}
    fields |= {"family": "Sparse", **kwargs}
    monkeypatch.setitem(METHODS, name, Method(name, name.upper(), run=run, **fields))


class TestRegistry:
    def test_the_registry_is_complete(self):
        assert set(METHODS) == EXPECTED
        assert set(DEFAULT) <= set(METHODS)
        assert list(METHODS)[-2:] == list(NULL)

    def test_methods_are_described(self):
        for name, method in METHODS.items():
            assert method.name == name
            assert method.unit in ("A·m", "dimensionless")
            assert method.family in FAMILIES
            assert len(method.reference) > 15
            assert len(method.knobs) > 15
        titles = [method.title for method in METHODS.values()]
        assert len(set(titles)) == len(titles)

    def test_what_methods_are_told_is_stated_and_nothing_else_is_given(self, small, monkeypatch):
        told = [name for name, method in METHODS.items() if method.oracle]
        assert told == ["rap_music", "trap_music", "sequential_dipoles", "random"]
        given = {}

        def spy(evoked, forward, noise_cov, **options):
            given[len(given)] = options
            return estimate_at(forward, [0], n_times=len(evoked.times))

        add_method(monkeypatch, "told", spy, oracle="the number of sources")
        add_method(monkeypatch, "untold", spy)
        run(small, ["told", "untold"], truth=small.truth)
        run(small, ["told"])
        assert given[0]["n_sources"] == 2
        assert "n_sources" not in given[1]
        assert given[2]["n_sources"] == 5

    def test_a_method_is_added_in_one_place(self, small, monkeypatch):
        monkeypatch.setattr(registry, "METHODS", METHODS)
        fields = {"unit": "A·m", "sparse": True, "knobs": "none", "reference": "none"}
        fields["family"] = "Sparse"
        dipole = METHODS["dipole"].run
        try:
            assert register("own", "Own", **fields)(dipole) is dipole
            assert list(run(small, ["own"]).table["title"]) == ["Own"]
            for taken in (("own", "Other"), ("other", "Own")):
                with pytest.raises(ValueError, match="is taken"):
                    register(*taken, **fields)(dipole)
        finally:
            METHODS.pop("own", None)
        for change, expected in (
            ({"unit": "T"}, "unit"),
            ({"family": "Other"}, "family"),
            ({"oracle": "everything"}, "oracle"),
        ):
            with pytest.raises(ValueError, match=expected):
                register("own", "Own", **fields | change)(dipole)
        assert "own" not in METHODS

    @pytest.mark.parametrize(
        ("orientation", "loose", "n_orient"),
        [
            ("asked", 0.3, 3),
            ("asked", 0.0, 1),
            ("free", 0.3, 3),
            ("free", 0.0, 1),
            ("fixed", 0.3, 1),
        ],
    )
    def test_a_function_of_arrays_is_a_method(
        self, small, monkeypatch, orientation, loose, n_orient
    ):
        """Whatever the columns are, true activity comes back with the field that it had in Φ."""
        seen = {}

        def solve(Phi, X, n_orient):
            seen.update(n_orient=n_orient, X=X)
            active = np.zeros(Phi.shape[1], bool)
            active[4 * n_orient + np.arange(n_orient)] = True
            seen["U"] = np.linalg.lstsq(Phi[:, active], X, rcond=None)[0]
            seen["field"] = Phi[:, active] @ seen["U"]
            return seen["U"], active

        add_method(monkeypatch, "arrays", array_method(orientation)(solve))
        done = run(small, ["arrays"], truth=small.truth, loose=loose)
        assert seen["n_orient"] == n_orient
        left = np.square(seen["X"] - seen["field"]).sum() / np.square(seen["X"]).sum()
        assert row(done, "arrays")["explained_variance"] == pytest.approx(
            100 * (1 - left), abs=1e-6
        )
        stc = done.estimates["arrays"]
        assert len(stc.data) == 1
        add_method(
            monkeypatch,
            "double",
            array_method(orientation)(lambda *a: (2 * solve(*a)[0], solve(*a)[1])),
        )
        more = run(small, ["double"], truth=small.truth, loose=loose).estimates["double"]
        np.testing.assert_allclose(more.data, 2 * stc.data)

    def test_a_function_of_arrays_gives_the_right_shapes(self, small, monkeypatch):
        def nothing(Phi, X, n_orient):
            return np.zeros((0, X.shape[1])), np.zeros(Phi.shape[1], bool)

        add_method(monkeypatch, "nothing", array_method()(nothing))
        assert row(run(small, ["nothing"], truth=small.truth), "nothing")["status"] == "empty"
        for name, change, said in (
            ("indices", lambda U, active: (U, np.flatnonzero(active)), "active must be a mask"),
            ("rows", lambda U, active: (np.zeros((2, U.shape[1])), active), "U must have shape"),
        ):
            wrong = array_method()(lambda *a, change=change: change(*nothing(*a)))
            add_method(monkeypatch, name, wrong)
            assert said in row(run(small, [name], truth=small.truth), name)["note"]
        with pytest.raises(ValueError, match="orientation='radial' must be one of"):
            array_method("radial")

    def test_a_package_that_is_not_installed_is_a_row_with_the_reason(self, small, monkeypatch):
        for module in ("invert", "sesameeg"):
            monkeypatch.setitem(sys.modules, module, None)
        done = run(small, ["champagne", "sesame", "dipole"], truth=small.truth)
        assert list(done.table["status"]) == ["skipped", "skipped", "ok"]
        assert "pip install invertmeeg" in row(done, "champagne")["note"]
        assert "pip install sesameeg" in row(done, "sesame")["note"]
        assert list(done.estimates) == ["dipole"]
        assert done.table.loc[:1, ["seconds", *SCORES]].isna().all(axis=None)

    @pytest.mark.parametrize(
        ("name", "loose"),
        [
            pytest.param(name, loose, marks=[pytest.mark.slow] * (name in slow))
            for loose, slow in (("auto", SLOW), (0.0, set(METHODS) - set(FIXED)))
            for name in METHODS
            if name not in NULL
        ],
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
        scores = row(done, name)
        if scores["status"] == "skipped":
            pytest.skip(scores["note"])
        stc, method = done.estimates[name], METHODS[name]
        assert isinstance(stc, mne.SourceEstimate)
        np.testing.assert_allclose(stc.times, small.evoked.times, atol=1e-9)
        if name == "vae_grid" or not name.startswith("vae"):  # those have one of their own
            assert (stc.data < 0).any() == (loose == 0.0)
        assert scores["note"] == ""
        assert scores["seconds"] > 0
        # The nearest of its peaks is a source; most name both.
        assert scores["localization_error_mm"] < (75 if name in ("dipole", "lcmv") else 40)
        assert scores["roc_auc"] > 0.49  # few points, off the truth's nearest position
        if method.sparse:
            assert 1 <= scores["n_sources"] <= 40
        else:
            assert len(stc.data) == small.forward["nsource"]
            assert scores["n_sources"] is pd.NA
        if method.unit == "A·m":
            assert (10 if name == "dipole" else 50) < scores["explained_variance"] <= 100
            assert stc.data.max() < 1e-6
        else:
            assert scores["explained_variance"] is pd.NA
            assert stc.data.max() > 1e-3

    def test_null_methods_score_as_knowing_nothing_does(self, small):
        done = run(small, [*NULL, "dipole"], truth=small.truth)
        zeros, random = row(done, "zeros"), row(done, "random")
        assert zeros["status"] == "empty"
        assert zeros["localization_error_mm"] == 100
        assert zeros["f1"] == random["f1"] == 0
        assert random["n_sources"] == 2
        assert random["explained_variance"] < 0
        again = run(small, NULL, truth=small.truth)
        np.testing.assert_array_equal(done.estimates["random"].data, again.estimates["random"].data)

    def test_sequential_dipoles_are_least_squares_fits(self, small):
        """The first is the best single dipole, and the residual is orthogonal to all of them."""
        done = run(small, ["dipole", "sequential_dipoles"], truth=small.truth)
        one, two = (done.estimates[name] for name in ("dipole", "sequential_dipoles"))
        here = {(hemi, v) for hemi in (0, 1) for v in two.vertices[hemi]}
        assert {(hemi, v) for hemi in (0, 1) for v in one.vertices[hemi]} <= here
        gains = done.table.set_index("method")["explained_variance"]
        assert gains["sequential_dipoles"] > gains["dipole"]
        # No other place would have explained more: tried one by one with numpy alone.
        data = (small.forward, small.evoked.info, small.noise_cov)
        leadfield = make_leadfield(*data, nave=100, loose=1)
        X = leadfield.whitener @ small.evoked.data
        left = [
            np.square(X - q @ (q.T @ X)).sum()
            for q in (np.linalg.qr(part)[0] for part in np.split(leadfield.Phi, 1284, axis=1))
        ]
        best = 100 * (1 - min(left) / np.square(X).sum())
        assert gains["dipole"] == pytest.approx(best, rel=1e-5)

    def test_lcmv_has_unit_noise_gain(self, small):
        """White noise of the covariance gives an output of variance 1 along any axis."""
        weights = {}

        def spy(evoked, filters, **kwargs):
            weights["w"], weights["whitener"] = filters["weights"], filters["whitener"]
            return apply_lcmv(evoked, filters, **kwargs)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(scanning, "apply_lcmv", spy)
            run(small, ["lcmv"])
        gain = np.square(weights["w"]).sum(axis=1)
        np.testing.assert_allclose(gain, 1, rtol=1e-3)

    def test_a_method_that_finds_nothing_is_empty_and_scores_worst(self, small, noise):
        for name in ("vae_grid", "gamma_map"):
            done = run(noise, [name], truth=small.truth)
            assert len(done.estimates[name].data) == 0
            scores = row(done, name)
            assert scores["status"] == "empty"
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
        assert list(done.table["status"]) == ["ok", "ok"]
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
        methods = ["vae_grid", "irmxne", "gamma_map", "sloreta"]
        one = run(small, methods)
        other = compare(evoked, small.forward, noise_cov, methods, verbose="warning")
        for name in methods:
            first, second = one.estimates[name], other.estimates[name]
            np.testing.assert_allclose(second.data, first.data, rtol=1e-4, atol=1e-12)

    def test_the_vae_is_vae_inverse(self, case, result):
        for name, positions, near in (("vae", "free", 1e-2), ("vae_grid", "grid", 1e-6)):
            own = VAEInverse(positions=positions, verbose="warning")
            own.fit(case.evoked, case.forward, case.noise_cov)
            stc = own.apply(case.evoked)
            assert row(result, name)["n_sources"] == len(own.sources_)
            for one, other in zip(result.estimates[name].vertices, stc.vertices, strict=True):
                np.testing.assert_array_equal(one, other)
            np.testing.assert_allclose(
                result.estimates[name].data, stc.data, rtol=10 * near, atol=near * stc.data.max()
            )
            first = own.sources_.loc[own.sources_["peak_nAm"].abs().idxmax()]
            place = row(result, name)[["x_mm", "y_mm", "z_mm"]].astype(float)
            np.testing.assert_allclose(
                place, first[["x_mm", "y_mm", "z_mm"]].astype(float), atol=near
            )
            explained = row(result, name)["explained_variance"]
            np.testing.assert_allclose(explained, own.explained_variance(), rtol=near)

    def test_the_truth_is_for_the_scores_alone(self, case, result):
        names = ["vae_grid", "sloreta"]
        blind = run(case, names)
        assert blind.table[SCORES].isna().all(axis=None)
        for name in names:
            np.testing.assert_array_equal(blind.estimates[name].data, result.estimates[name].data)
        same = ["method", "n_sources", "x_mm", "explained_variance", "note"]
        theirs = result.table.set_index("method", drop=False).loc[names].reset_index(drop=True)
        pd.testing.assert_frame_equal(blind.table[same], theirs[same])
        assert list(blind.table.columns) == list(result.table.columns)
        assert list(blind.table.dtypes) == list(result.table.dtypes)


class TestCompare:
    def test_the_vae_finds_the_sources(self, case, result):
        assert list(result.table["method"]) == QUICK
        assert list(result.estimates) == QUICK
        scores = row(result, "vae")
        assert scores["localization_error_mm"] < 5
        assert scores["hit_rate"] == 1
        assert scores["n_sources"] == 2
        assert scores["false_positives"] == 0
        to_mri = mne.transforms.invert_transform(case.forward["mri_head_t"])
        true = mne.transforms.apply_trans(to_mri, head_mm(case) / 1e3) * 1e3
        place = scores[["x_mm", "y_mm", "z_mm"]].to_numpy(float)
        assert np.linalg.norm(true - place, axis=1).min() < 5

    def test_noise_alone_has_no_error_of_localization(self, noise):
        done = run(noise, ["vae_grid", "sloreta"], truth=noise.truth)
        assert done.table[["localization_error_mm", "hit_rate"]].isna().all(axis=None)
        scores = row(done, "vae_grid")
        assert scores["n_sources"] == scores["false_positives"] == 0
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
        assert list(done.table["status"]) == ["failed", "failed", "ok"]
        assert done.table.loc[:1, [*SCORES, "x_mm", "n_sources"]].isna().all(axis=None)
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

    def test_a_method_runs_in_the_place_of_that_of_its_name(self, small):
        def run_other(*args, **kwargs):
            return METHODS["mne"].run(*args, **kwargs)

        other = dataclasses.replace(METHODS["sloreta"], run=run_other)
        done, both = run(small, ["zeros", other]), run(small, ["sloreta", "mne"])
        assert list(done.table["method"]) == ["zeros", "sloreta"]
        assert np.array_equal(done.estimates["sloreta"].data, both.estimates["mne"].data)
        assert not np.allclose(done.estimates["sloreta"].data, both.estimates["sloreta"].data)
        with pytest.raises(ValueError, match="different ones"):
            run(small, ["sloreta", other])

    def test_wrong_names_of_methods(self, case):
        for methods in (["vae", "magic"], [], ["vae", "vae"]):
            with pytest.raises(ValueError, match="different ones of vae, .*eloreta, .*random"):
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
        with other.info._unlock():
            other.info["projs"] = []  # in which MNE would rename the original's channels too
        other.rename_channels({name: f"X{name}" for name in other.ch_names})
        with pytest.raises(ValueError, match="no channel in common"):
            run(dataclasses.replace(case, evoked=other), ["never"])
        with pytest.raises(ValueError, match="loose"):
            run(case, ["never"], loose=2)
        with pytest.raises(ValueError, match="hit_radius"):
            run(case, ["never"], hit_radius=0)
        with pytest.raises(TypeError, match=r"evoked must be an mne\.Evoked"):
            run(dataclasses.replace(case, evoked=[case.evoked]), ["never"])
        for truth in (case.truth[0], head_mm(case)):
            with pytest.raises(TypeError, match="truth must be a list"):
                run(case, ["never"], truth=truth)

    def test_a_fixed_forward_model_fits_all_methods(self, small):
        fixed = mne.convert_forward_solution(small.forward, force_fixed=True, verbose="error")
        methods = ["vae_grid", "irmxne", "mne"]
        one = run(dataclasses.replace(small, forward=fixed), ["vae", *methods], truth=small.truth)
        failed, done = row(one, "vae"), one.table[1:]
        assert failed["status"] == "failed"
        assert "give the forward model of free orientation" in failed["note"]
        assert list(done["note"]) == [""] * 3
        assert (done["explained_variance"] > 50).all()
        same = run(small, methods, truth=small.truth, loose=0)
        np.testing.assert_allclose(
            one.estimates["vae_grid"].data, same.estimates["vae_grid"].data, rtol=1e-4, atol=1e-13
        )

    def test_a_volume_source_space(self, small):
        with mne.utils.use_log_level("error"):
            sphere = mne.make_sphere_model((0.0, 0.0, 0.04), 0.09)
            src = mne.setup_volume_source_space(pos=22.0, sphere=sphere)
            forward = mne.make_forward_solution(
                small.evoked.info, small.trans, src, sphere, meg=True, eeg=False
            )
        # Sources along y, which is across the radius at these places.
        distance = np.linalg.norm(forward["source_rr"][:, None] - [SIDE, SIDE * [-1, 1, 1]], axis=2)
        own, info = 3 * distance.argmin(0) + 1, small.evoked.info
        noise_cov = small.noise_cov.copy().pick_channels(info["ch_names"], verbose="error")
        rise = np.linspace(0.1, 1.0, 10)
        found, size = record(
            forward["sol"]["data"][:, own],
            np.array([rise, rise[::-1]]),
            info,
            noise_cov,
            random_state=0,
        )
        truth = [
            fixed_dipole(found.times, forward["source_rr"][k // 3], [0.0, 1.0, 0.0], one)
            for k, one in zip(own, size, strict=True)
        ]
        data = dataclasses.replace(small, evoked=found, forward=forward)
        done = run(data, ["vae", "vae_grid", "irmxne", "sloreta", "random"], truth=truth)
        assert "lead field between the positions" in row(done, "vae")["note"]  # 22 mm apart
        assert list(done.table["note"])[1:] == [""] * 4
        error = done.table.set_index("method")["localization_error_mm"]
        assert error[["vae_grid", "irmxne", "sloreta"]].max() < 5
        assert error["vae"] < 11  # within what half of a spacing leaves open
        assert error["random"] > 22
        assert all(isinstance(stc, mne.VolSourceEstimate) for stc in done.estimates.values())

    def test_the_progress_bar_names_the_method_and_can_be_silenced(self, small, capsys):
        run(small, ["sloreta"], verbose="warning")
        assert capsys.readouterr().err == ""
        run(small, ["sloreta"], verbose="info")
        assert "sLORETA" in capsys.readouterr().err


class TestPlaces:
    """Methods whose sources lie between the positions."""

    def add(self, monkeypatch, *places, moment=(0, 3e-9, 4e-9)):
        """Add a method that names places, and one that puts the same at the nearest positions."""

        def named(evoked, forward, noise_cov, *, loose, rank):
            return [dipole_at(place, moment, evoked) for place in places]

        def nearest(evoked, forward, noise_cov, **options):
            dipoles = named(evoked, forward, noise_cov, **options)
            return at_nearest_positions(dipoles, forward, evoked)

        add_method(monkeypatch, "named", named)
        add_method(monkeypatch, "nearest", nearest)

    def test_a_dipole_between_the_positions_is_scored_by_its_place(self, small, monkeypatch):
        place = 1e3 * small.forward["source_rr"][7] + [0, 0, 3.0]
        self.add(monkeypatch, place)
        truth = [dipole_at(place, (0, 0, 1e-8), small.evoked)]
        done = run(small, ["named", "nearest"], truth=truth)
        named, nearest = row(done, "named"), row(done, "nearest")
        scores = ["localization_error_mm", "dispersion_mm", "emd_mm"]
        np.testing.assert_allclose(named[scores].astype(float), 0, atol=1e-6)
        np.testing.assert_allclose(nearest[scores].astype(float), 3)  # the null
        np.testing.assert_allclose(done.agreement.loc["named", "nearest"], 3)
        to_mri = mne.transforms.invert_transform(small.forward["mri_head_t"])
        np.testing.assert_allclose(
            named[["x_mm", "y_mm", "z_mm"]].astype(float),
            1e3 * mne.transforms.apply_trans(to_mri, place / 1e3),
        )
        for score in ("roc_auc", "average_precision", "region_error_mm"):
            assert named[score] == nearest[score]
        close = run(small, ["named", "nearest"], truth=truth, hit_radius=1.0).table["hit_rate"]
        assert list(close) == [1, 0]

    def test_the_field_of_a_dipole_is_that_at_its_place(self, small, monkeypatch):
        """MNE computes the field by the BEM: what is scored is interpolated from the forward."""
        place = 1e3 * small.forward["source_rr"][7] + [0, 0, 4.0]
        self.add(monkeypatch, place)
        dipole = dipole_at(place, (0, 3e-9, 4e-9), small.evoked)
        exact = mne.make_forward_dipole(
            dipole, small.bem, small.evoked.info, small.trans, verbose="error"
        )[0]["sol"]["data"][:, :1]
        evoked = small.evoked.copy()
        evoked.data = np.repeat(5e-9 * exact, len(evoked.times), axis=1)
        same = dataclasses.replace(small, evoked=evoked)
        methods = ["named", "nearest", "zeros"]
        epochs = mne.EpochsArray(
            np.repeat(evoked.data[None], 4, axis=0), evoked.info, tmin=evoked.tmin, verbose="error"
        )
        done = run(same, methods, epochs=epochs, n_folds=2).table.set_index("method")
        assert done.loc["named", "explained_variance"] > 99.9
        assert done.loc["nearest", "explained_variance"] < 99  # the null
        assert done.loc["named", "residual_whiteness"] < done.loc["nearest", "residual_whiteness"]
        left = done["heldout_error"] / done.loc["zeros", "heldout_error"]
        assert left["named"] < 0.001
        assert left["nearest"] > 0.01

    def test_sources_of_one_position_add_up_in_the_estimate_alone(self, small, monkeypatch):
        rr = 1e3 * small.forward["source_rr"][7]
        self.add(monkeypatch, rr + [2.0, 0, 0], rr - [2.0, 0, 0])
        moments = (0, 3e-9, 4e-9)
        truth = [dipole_at(rr + [shift, 0, 0], moments, small.evoked) for shift in (-2.0, 2.0)]
        done = run(small, ["named", "nearest"], truth=truth)
        named, nearest = row(done, "named"), row(done, "nearest")
        assert (named["n_sources"], nearest["n_sources"]) == (2, 1)
        assert (named["f1"], nearest["f1"]) == (1, pytest.approx(2 / 3))
        for name in ("named", "nearest"):
            np.testing.assert_allclose(done.estimates[name].data, 1e-8)

    def test_no_dipole_is_an_empty_estimate(self, small, monkeypatch):
        self.add(monkeypatch)
        done = run(small, ["named", "zeros"], truth=small.truth)
        same = ["status", "n_sources", *SCORES]
        one, other = row(done, "named")[same], row(done, "zeros")[same]
        pd.testing.assert_series_equal(one, other, check_names=False)

    def test_lists_that_are_no_sources_of_these_data(self, small, monkeypatch):
        late = small.evoked.copy().crop(0.1, None)
        for name, found in (
            ("words", ["a source"]),
            ("late", [dipole_at((0, 0, 50), (0, 0, 1e-8), late)]),
            ("infinite", [dipole_at((0, 0, np.inf), (0, 0, 1e-8), small.evoked)]),
        ):
            add_method(monkeypatch, name, lambda *args, found=found, **kwargs: found)
        done = run(small, ["words", "late", "infinite", "zeros"])
        assert list(done.table["status"]) == [*["failed"] * 3, "empty"]
        for name, said in (("words", "dipoles"), ("late", "samples"), ("infinite", "not finite")):
            assert said in row(done, name)["note"]

    def test_between_the_positions_the_vae_is_nearer_than_on_them(self, result):
        free, grid = row(result, "vae"), row(result, "vae_grid")
        assert free["localization_error_mm"] < 0.5 * grid["localization_error_mm"]


class TestAgreement:
    def test_by_hand(self, case, monkeypatch):
        rr = 1e3 * case.forward["source_rr"]
        far = np.linalg.norm(rr - rr[0], axis=1).argmax()
        near = np.argsort(np.linalg.norm(rr - rr[0], axis=1))[1]
        for name, index in (("one", [0]), ("close", [near]), ("two", [0, far]), ("none", [])):
            add_method(
                monkeypatch,
                name,
                lambda evoked, forward, cov, loose, rank, index=index: estimate_at(
                    forward, index, n_times=len(evoked.times)
                ),
            )
        done = run(case, ["one", "close", "two", "none"])
        gap = np.linalg.norm(rr[near] - rr[0])
        assert done.agreement.loc["one", "close"] == pytest.approx(gap)
        assert done.agreement.loc["one", "one"] == 0
        assert done.agreement.loc["one", "two"] in (pytest.approx(0), pytest.approx(100))
        assert done.agreement.loc["none"].isna().all()
        numbers = done.agreement.iloc[:3, :3].to_numpy(float)
        np.testing.assert_allclose(numbers, numbers.T)
        between = [done.agreement.loc["one", "close"], done.agreement.loc["one", "two"]]
        assert row(done, "one")["agreement_mm"] == pytest.approx(np.median(between))
        assert row(done, "none")["agreement_mm"] is pd.NA


@pytest.fixture(scope="module")
def epochs(on_grid):
    """Forty epochs: the field of the truth and noise of single trials."""
    rng = np.random.default_rng(0)
    evoked = on_grid.evoked
    signal = whole_field(on_grid)
    _, colorer, _ = symmetric_roots(on_grid.noise_cov, evoked.info)
    noise = colorer @ rng.standard_normal((40, len(colorer), len(evoked.times)))
    epochs = mne.EpochsArray(signal + noise, evoked.info, tmin=evoked.tmin, verbose="error")
    return epochs


class TestHeldout:
    def test_the_truth_scores_one_and_nothing_scores_the_power(self, on_grid, epochs, monkeypatch):
        evoked = epochs.average()
        signal = whole_field(on_grid)
        leadfield = make_leadfield(on_grid.forward, evoked.info, on_grid.noise_cov, nave=8)
        power = np.square(leadfield.whitener @ signal).mean()

        def truth(evoked, forward, noise_cov, *, loose, rank):
            return stc_of_truth(on_grid, forward)

        def places(evoked, forward, noise_cov, *, loose, rank):
            stc = stc_of_truth(on_grid, forward)
            rr = 1e3 * forward["source_rr"][np.sort(true_index(on_grid))]
            return [
                moving(place, vector.T, evoked) for place, vector in zip(rr, stc.data, strict=True)
            ]

        add_method(monkeypatch, "truth", truth)
        add_method(monkeypatch, "places", places)
        wrong = dataclasses.replace(on_grid, evoked=evoked)
        done = run(wrong, ["truth", "places", "zeros", "random", "dspm"], epochs=epochs, n_folds=5)
        error = done.table.set_index("method")["heldout_error"]
        assert error["truth"] == pytest.approx(1, abs=0.1)
        assert error["places"] == pytest.approx(error["truth"])
        assert error["zeros"] == pytest.approx(1 + power, rel=0.1)
        assert error["random"] > error["zeros"] > 1.5
        assert error["dspm"] is pd.NA
        without = run(wrong, ["zeros"])
        assert without.table["heldout_error"].isna().all()

    def test_folds_are_the_same_for_all(self, on_grid, epochs, monkeypatch):
        seen = []

        def spy(evoked, forward, noise_cov, *, loose, rank):
            seen.append((evoked.data.sum(), noise_cov["data"][0, 0]))
            return estimate_at(forward, [0], n_times=len(evoked.times))

        add_method(monkeypatch, "one", spy)
        add_method(monkeypatch, "two", spy)
        run(dataclasses.replace(on_grid, evoked=epochs.average()), ["one", "two"], epochs=epochs)
        assert seen[:6] == seen[6:]
        assert len(set(seen)) == 6
        np.testing.assert_allclose([cov for _, cov in seen[1:6]], seen[0][1] * 40 / 32)

    def test_epochs_that_do_not_fit(self, on_grid, epochs):
        with pytest.raises(TypeError, match=r"epochs must be mne\.Epochs"):
            run(on_grid, ["zeros"], epochs=epochs.get_data())
        for n_folds in (1, 41):
            with pytest.raises(ValueError, match="from 2 to the number of epochs, 40"):
                run(on_grid, ["zeros"], epochs=epochs, n_folds=n_folds)
        with pytest.raises(ValueError, match="samples"):
            run(on_grid, ["zeros"], epochs=epochs.copy().crop(0.1, None))
        with pytest.raises(ValueError, match="lack channels"):
            run(on_grid, ["zeros"], epochs=epochs.copy().pick(epochs.ch_names[:50]))


def moving(place, moments, evoked):
    """A dipole in mm with a moment for every sample."""
    size = np.linalg.norm(moments, axis=1)
    ori = moments / np.where(size > 0, size, 1)[:, None]
    pos = np.tile(place / 1e3, (len(size), 1))
    return mne.Dipole(evoked.times, pos, size, ori, np.zeros(len(size)))


def stc_of_truth(recording, forward):
    """The true sources as vectors on the grid that they lie on."""
    index = true_index(recording)
    stc = estimate_at(forward, index, n_times=len(recording.evoked.times))
    order = np.argsort(index)
    for k, place in enumerate(order):
        dipole = recording.truth[place]
        at = np.searchsorted(dipole.times, recording.evoked.times - 1e-9)
        stc.data[k] = dipole.ori[0][:, None] * dipole.amplitude[at]
    return stc


def whole_field(recording):
    """The field of the true sources on the sensors, through the projectors."""
    evoked = recording.evoked
    forward = mne.pick_channels_forward(
        recording.forward, evoked.ch_names, ordered=True, verbose="error"
    )
    stc = stc_of_truth(recording, forward)
    columns = (np.sort(true_index(recording))[:, None] * 3 + np.arange(3)).ravel()
    field = forward["sol"]["data"][:, columns] @ stc.data.reshape(len(columns), -1)
    return mne.proj.make_projector(evoked.info["projs"], evoked.ch_names)[0] @ field


class TestPlot:
    @pytest.mark.rendering
    def test_picture_has_a_row_per_method_and_the_truth(self, case, result):
        from meg_vae import viz
        from meg_vae.viz.style import TRUTH

        two = dataclasses.replace(
            result, estimates={name: result.estimates[name] for name in ("vae", "dspm")}
        )
        options = {"views": "dorsal", "look": viz.Look(window_size=(420, 900), off_screen=True)}
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
