"""Scores mean what they say: by hand, against MNE's, and for estimates that find nothing."""

from __future__ import annotations

from dataclasses import replace

import mne
import numpy as np
import pytest
from mne.simulation.metrics import (
    f1_score,
    region_localization_error,
    roc_auc_score,
    spatial_deviation_error,
)

from meg_vae.comparison.metrics import (
    METRICS,
    Cost,
    Scored,
    Truth,
    fit,
    maps,
    pairing,
    score,
    sources,
)
from meg_vae.comparison.metrics.case import n_places
from meg_vae.meg.leadfield import LeadField
from meg_vae.meg.sensors import Sensors

LINE = np.array([[x, 0.0, 0.0] for x in range(0, 200, 10)])  # twenty places on a line, mm
N_TIMES = 4
COURSE = np.array([0.0, 1.0, -1.0, 2.0])


class Spaces(list):
    """Two source spaces, as far as scores need them."""

    kind, _subject = "surface", None


def stc_of(values, courses=COURSE):
    """An estimate on the line: values by place, all with one time course."""
    index = np.array(sorted(values), int)
    data = np.array([values[k] for k in index])[:, None] * courses
    return mne.SourceEstimate(data, [index, np.zeros(0, int)], 0.0, 0.01)


def leadfield_of(gain=None):
    """A lead field on the line with as many channels as places, already whitened."""
    gain = np.eye(len(LINE)) if gain is None else gain
    vertno = (np.arange(len(LINE)), np.zeros(0, int))
    src = Spaces([{"vertno": one, "type": "surf", "coord_frame": 5} for one in vertno])
    forward = {
        "src": src,
        "source_rr": LINE / 1e3,
        "source_nn": np.tile([0.0, 0, 1], (len(LINE), 1)),
        "sol": {"data": gain},
        "mri_head_t": mne.Transform("mri", "head"),
    }
    names = [f"MEG {k:03d}" for k in range(len(gain))]
    sensors = Sensors.of(mne.create_info(names, 100.0, "mag"), names)
    eye, n = np.eye(len(gain)), len(gain)
    cov = mne.Covariance(np.ones(n), names, [], [], nfree=0)
    parts = (gain, eye, sensors, np.ones(len(LINE)), 1, 1, forward)
    return LeadField(*parts, projector=eye, noise_cov=cov, rank={"mag": n})


def case_of(values, true=(5,), *, sparse=True, radius=10.0, courses=COURSE, X=None):
    """A scored estimate with true sources at some places of the line."""
    leadfield = leadfield_of()
    info = mne.create_info(leadfield.ch_names, 100.0, "mag")
    X = np.zeros((len(LINE), N_TIMES)) if X is None else X
    truth = Truth(LINE[list(true)].reshape(-1, 3), [COURSE] * len(true), radius)
    stc = stc_of(values, courses)
    return Scored(
        stc,
        sparse,
        fit.whitened_field(stc, leadfield, leadfield.forward),
        mne.EvokedArray(X, info, nave=1, verbose="error"),
        leadfield,
        truth,
    )


EMPTY = ({}, {7: 0.0})
AGAINST_TRUTH = [name for name, metric in METRICS.items() if metric.needs == "truth"]


class TestPeaks:
    def test_matching_by_hand(self):
        true = np.array([[0.0, 0, 0], [10, 0, 0]])
        np.testing.assert_allclose(pairing.match(true, true[::-1]), [0, 0])
        # The nearest pair first (4 + 16) would cost more than this.
        found = np.array([[6.0, 0, 0], [16, 0, 0]])
        np.testing.assert_allclose(pairing.match(true, found), [6, 6])
        np.testing.assert_allclose(pairing.match(true, np.array([[10.0, 3, 4]])), [100, 5])
        np.testing.assert_allclose(pairing.match(true, np.zeros((0, 3))), [100, 100])
        np.testing.assert_allclose(pairing.match(true, np.array([[900.0, 0, 0]] * 2)), [100, 100])

    def test_more_found_sources_never_match_worse(self):
        rng = np.random.default_rng(0)
        true, found = rng.uniform(-70, 70, (4, 3)), rng.uniform(-70, 70, (9, 3))
        errors = [pairing.match(true, found[:n]).sum() for n in range(10)]
        assert errors[0] == 400
        assert (np.diff(errors) <= 1e-9).all()

    def test_peaks_by_hand(self):
        points = np.array([[x, 0.0, 0.0] for x in (0, 5, 10, 40, 45, 90)])
        magnitude = np.array([1.0, 3, 2, 4, 4, 0])
        np.testing.assert_array_equal(pairing.peaks(magnitude, points, 5, 12.0), [3, 1])
        np.testing.assert_array_equal(pairing.peaks(magnitude, points, 1, 12.0), [3])
        np.testing.assert_array_equal(pairing.peaks(magnitude, points, 9, 1.0), [3, 4, 1, 2, 0])
        assert len(pairing.peaks(0 * magnitude, points, 3, 12.0)) == 0
        assert len(pairing.peaks(np.zeros(0), np.zeros((0, 3)), 3, 12.0)) == 0

    def test_the_radius_of_a_peak_keeps_true_sources_apart(self):
        assert pairing.peak_radius(np.zeros((1, 3))) == 20
        assert pairing.peak_radius(np.array([[0.0, 0, 0], [100, 0, 0]])) == 20
        assert pairing.peak_radius(np.array([[0.0, 0, 0], [100, 0, 0], [0, 12, 0]])) == 6

    def test_active_positions(self):
        stc = stc_of({1: 1.0, 2: 0.5, 3: 0.011, 4: 0.009})
        np.testing.assert_array_equal(pairing.active(stc), [True, True, True, False])
        for values in EMPTY:
            assert pairing.active(stc_of(values)).sum() == 0

    def test_packing_by_hand(self):
        assert n_places(LINE, 20.0) == 7  # 0, 30, 60, ..., 180
        assert n_places(LINE, 500.0) == 1


class TestPatches:
    """Sources that are larger than a point: a patch of 20 mm is its place and two on each side."""

    @staticmethod
    def case(found, extents, true=(8,), true_extents=(20.0,)):
        """Sources at places of the line with extents; the estimate fills them."""
        values = {}
        for k, extent in zip(found, extents, strict=True):
            reach = int(extent // 10)
            for j in range(k - reach, k + reach + 1):
                values[j] = 1.0 / (2 * reach + 1)
        dipoles = [
            mne.Dipole(
                np.arange(N_TIMES) / 100.0,
                np.tile(LINE[k] / 1e3, (N_TIMES, 1)),
                np.abs(COURSE),
                np.tile([0.0, 0, 1], (N_TIMES, 1)),
                np.full(N_TIMES, 100.0),
            )
            for k in found
        ]
        case = case_of(values, true)
        truth = replace(case.truth, extents_mm=np.array(true_extents))
        return replace(case, truth=truth, dipoles=dipoles, extents_mm=np.array(extents, float))

    def test_a_patch_found_as_it_is(self):
        scores = score(self.case([8], [20]))
        assert scores["extent_error_mm"] == 0
        assert scores["average_precision"] == 1
        assert scores["emd_mm"] == pytest.approx(0, abs=1e-9)
        assert scores["localization_error_mm"] == 0

    def test_a_patch_found_as_a_point(self):
        scores = score(self.case([8], [0]))
        assert scores["extent_error_mm"] == 20
        assert scores["average_precision"] < 0.5  # one of its five positions
        assert scores["emd_mm"] == pytest.approx((2 * 20 + 2 * 10) / 5)

    def test_only_sources_that_are_found_have_an_extent_error(self):
        both = self.case([8, 18], [10, 0], (8, 2), (20.0, 10.0))
        assert score(both)["extent_error_mm"] == 10
        assert np.isnan(score(self.case([18], [0]))["extent_error_mm"])
        assert "extent_error_mm" not in score(case_of({5: 1.0}))

    def test_points_are_scored_as_before(self):
        values = {5: 1.0, 12: 2.0}
        plain, told = case_of(values, (5, 12)), case_of(values, (5, 12))
        told = replace(told, truth=replace(told.truth, extents_mm=np.zeros(2)))
        assert score(told) == pytest.approx(score(plain), nan_ok=True)


class TestSources:
    def test_a_perfect_estimate(self):
        case = case_of({5: 1.0, 12: 2.0}, (5, 12))
        expected = {
            "localization_error_mm": 0,
            "hit_rate": 1,
            "false_positives": 0,
            "f1": 1,
            "a_prime": 1,
            "aggregate_performance": 1,
            "region_error_mm": 0,
            "dispersion_mm": 0,
            "emd_mm": pytest.approx(100 / 6 * 0.7),  # 1/6 of the weight goes 70 mm
        }
        scores = score(case)
        assert {name: scores[name] for name in expected} == pytest.approx(expected, abs=1e-9)

    def test_errors_by_hand(self):
        case = case_of({6: 1.0, 18: 2.0}, (5, 12))
        assert sources.localization_error(case) == pytest.approx((10 + 60) / 2)
        assert sources.hit_rate(case) == 0.5
        assert sources.false_positives(case) == 1
        assert sources.f1(case) == pytest.approx(2 / (2 + 2))

    def test_only_as_many_of_the_strongest_count_as_there_are_sources(self):
        faint, loud = case_of({5: 2.0, 15: 1.0}), case_of({5: 2.0, 15: 3.0})
        assert sources.hit_rate(faint) == 1
        assert sources.localization_error(loud) == pytest.approx(100)
        assert sources.false_positives(faint) == sources.false_positives(loud) == 1

    def test_the_radius_decides_what_is_a_hit(self):
        values = {8: 1.0}
        assert sources.hit_rate(case_of(values)) == 0
        assert sources.hit_rate(case_of(values, radius=30.0)) == 1
        assert sources.f1(case_of(values)) == 0
        assert sources.f1(case_of(values, radius=30.0)) == 1

    def test_pairs_take_as_many_as_they_can(self):
        # The nearest pair (2 mm) would leave the other true source without a partner.
        true, found = np.array([[0.0, 0, 0], [10, 0, 0]]), np.array([[8.0, 0, 0], [18, 0, 0]])
        rows, columns = sources.pairs(true, found, 10.0)
        np.testing.assert_array_equal([rows, columns], [[0, 1], [0, 1]])
        assert len(sources.pairs(true, found[:0], 10.0)[0]) == 0

    def test_a_map_is_scored_over_thresholds(self):
        """Peaks of 100, 55 and 25 %: nine thresholds, of which 9, 5 and 2 hold them."""
        values = {5: 100.0, 10: 55.0, 15: 25.0} | {0: 1.0}
        case = case_of(values, (5, 15), sparse=False)
        found = np.array([3, 3, 2, 2, 2, 1, 1, 1, 1])
        hits = np.array([2, 2, 1, 1, 1, 1, 1, 1, 1])
        assert sources.false_positives(case) == pytest.approx((found - hits).mean())
        assert sources.f1(case) == pytest.approx((2 * hits / (2 + found)).mean())
        # The same numbers from a sparse method are its own choice, and count as they are.
        assert sources.false_positives(case_of(values, (5, 15))) == 2

    def test_a_prime_in_the_form_of_snodgrass_and_corwin(self):
        area = sources.area(np.array([1.0, 0.8, 0.5, 0.2, 0.0]), np.array([0, 0.2, 0.5, 0.8, 1.0]))
        by_hand = 0.5 + (0.6 * 1.6) / (4 * 0.8 * 0.8)
        np.testing.assert_allclose(area, [1, by_hand, 0.5, 1 - by_hand, 0])
        assert sources.area(np.zeros(1), np.zeros(1)) == 0.5
        assert sources.area(np.ones(1), np.ones(1)) == 0.5
        # One hit of two, one false alarm of the 7 - 2 that the line has room for.
        case = case_of({5: 1.0, 18: 1.0}, (5, 12))
        expected = 0.5 + (0.5 - 0.2) * 1.3 / (4 * 0.5 * 0.8)
        assert sources.a_prime(case) == pytest.approx(expected)
        assert sources.aggregate_performance(case) == pytest.approx((expected + 0.5) / 2)

    def test_time_courses_count_in_the_aggregate(self):
        good, flipped = case_of({5: 1.0}), case_of({5: -3.0})
        other = case_of({5: 1.0}, courses=np.array([1.0, 1.0, 1.0, 1.0]))
        scores = [sources.aggregate_performance(one) for one in (good, flipped, other)]
        assert scores == pytest.approx([1, 1, 0.5])
        turning = np.array([COURSE, 0 * COURSE, 0.01 * COURSE])
        assert sources.correlation(COURSE, turning) == pytest.approx(1)
        assert sources.correlation(COURSE, COURSE[:3]) == 0
        one = np.corrcoef(COURSE, COURSE**2)[0, 1]
        assert sources.correlation(COURSE, COURSE**2) == pytest.approx(abs(one))


class TestPlaces:
    """Of a method that names places, these count, and not the positions nearest to them."""

    def dipoles(self, *x):
        ori, zeros = np.tile([0.0, 0, 1], (N_TIMES, 1)), np.zeros(N_TIMES)
        times = np.arange(N_TIMES) / 100
        pos = [np.tile([one / 1e3, 0, 0], (N_TIMES, 1)) for one in x]
        return [mne.Dipole(times, one, np.abs(COURSE), ori, zeros) for one in pos]

    def test_by_hand(self):
        case = replace(case_of({5: 1.0}, radius=2.0), dipoles=self.dipoles(53))
        case.truth.places[0, 0] = 53
        nearest = replace(case, dipoles=None)
        assert sources.localization_error(case) == pytest.approx(0, abs=1e-9)
        assert sources.localization_error(nearest) == pytest.approx(3)
        assert (sources.f1(case), sources.f1(nearest)) == (1, 0)
        assert maps.spatial_dispersion(case) == pytest.approx(0, abs=1e-6)
        assert maps.earth_movers_distance(nearest) == pytest.approx(3)
        assert maps.roc_auc(case) == maps.roc_auc(nearest)

    def test_two_of_one_position_are_two(self):
        case = replace(case_of({5: 2.0}, radius=1.0), dipoles=self.dipoles(48, 52))
        truth = Truth(np.array([[48.0, 0, 0], [52, 0, 0]]), [np.abs(COURSE)] * 2, 1.0)
        case = replace(case, truth=truth)
        assert sources.f1(case) == 1
        assert sources.false_positives(case) == 0
        assert np.flatnonzero(case.everywhere).tolist() == [5]
        assert sources.aggregate_performance(case) == pytest.approx(1)

    def test_faint_ones_do_not_count(self):
        loud, faint = self.dipoles(48, 152)
        faint = mne.Dipole(faint.times, faint.pos, 0.005 * faint.amplitude, faint.ori, faint.gof)
        case = replace(case_of({5: 2.0}), dipoles=[loud, faint])
        assert (case.magnitude > 0).tolist() == [True, False]


class TestMaps:
    def test_roc_is_that_of_mne_on_the_same_positions(self):
        rng = np.random.default_rng(1)
        values = dict(enumerate(rng.uniform(0.1, 1, len(LINE))))
        case = case_of(values, (5, 12), sparse=False)
        true = stc_of(dict.fromkeys((4, 5, 6, 11, 12, 13), 1.0), np.ones(1))
        found = stc_of({k: 2 * v for k, v in values.items()}, np.ones(1))
        assert maps.roc_auc(case) == pytest.approx(roc_auc_score(true, found, per_sample=False))
        np.testing.assert_array_equal(np.flatnonzero(maps.true_places(case)), [4, 5, 6, 11, 12, 13])

    def test_a_source_far_from_the_grid_has_its_nearest_position(self):
        case = case_of({5: 1.0}, radius=1.0)
        case.truth.places[0] += 4.0
        np.testing.assert_array_equal(np.flatnonzero(maps.true_places(case)), [5])

    def test_average_precision_by_hand(self):
        # Ranks of the three true places: 1, 2 and 4.
        case = case_of({4: 9.0, 5: 8.0, 15: 7.0, 6: 6.0, 16: 5.0}, sparse=False)
        assert maps.average_precision(case) == pytest.approx((1 + 1 + 3 / 4) / 3)

    def test_region_error_is_that_of_mne(self):
        values = {4: 1.0, 13: 0.65}
        case = case_of(values, (5, 12), sparse=False)
        src = [{"rr": LINE}, {"rr": LINE[:0]}]
        true, found = stc_of({5: 1.0, 12: 1.0}, np.ones(1)), stc_of(values, np.ones(1))
        by_mne = [
            region_localization_error(true, found, src, f"{10 * k}%", False) for k in range(1, 10)
        ]
        assert maps.region_error(case) == pytest.approx(np.mean(by_mne))
        both, one = 10.0, (10 + (10 + 80) / 2) / 2
        assert maps.region_error(case) == pytest.approx((6 * both + 3 * one) / 9)

    def test_dispersion_by_hand_and_beside_that_of_mne(self):
        case = case_of({5: 1.0, 8: 2.0}, sparse=False)
        assert maps.spatial_dispersion(case) == pytest.approx(np.sqrt(4 / 5) * 30)
        two = case_of({5: 1.0, 8: 2.0}, (5, 9), sparse=False)
        assert maps.spatial_dispersion(two) == pytest.approx(np.sqrt(4 / 5) * 10)
        # MNE weighs by amplitude, not by power, and knows one source: equal for one position.
        single = case_of({8: 2.0}, sparse=False)
        src = [{"rr": LINE}, {"rr": LINE[:0]}]
        true, found = stc_of({5: 1.0}, np.ones(1)), stc_of({8: 2.0}, np.ones(1))
        by_mne = spatial_deviation_error(true, found, src, "0%", per_sample=False)
        assert maps.spatial_dispersion(single) == pytest.approx(by_mne) == pytest.approx(30)

    def test_earth_movers_distance_by_hand(self):
        # Half of the weight goes 10 mm, the other half 20 mm.
        assert maps.earth_movers_distance(
            case_of({6: 1.0, 14: 1.0}, (5, 12), sparse=False)
        ) == pytest.approx(15)
        assert maps.earth_movers_distance(case_of({5: 1.0})) == 0
        assert maps.earth_movers_distance(case_of({19: 1.0})) == pytest.approx(100)  # 140 mm away

    def test_f1_at_zero_radius_is_that_of_mne(self):
        """With hits on the very place, F1 of sources is F1 of positions."""
        values = {0: 1.0, 5: 1.0, 10: 1.0}
        true, found = stc_of({5: 1.0, 15: 1.0}, np.ones(1)), stc_of(values, np.ones(1))
        by_mne = f1_score(true, found, "0%", per_sample=False)
        case = case_of(values, (5, 15), radius=1e-6)
        assert sources.f1(case) == pytest.approx(by_mne) == pytest.approx(0.4)


class TestFit:
    def test_explained_variance_by_hand(self):
        X = np.zeros((len(LINE), N_TIMES))
        X[5], X[9] = 2 * COURSE, COURSE
        assert fit.explained_variance(case_of({5: 2.0}, X=X)) == pytest.approx(80)
        assert fit.explained_variance(case_of({}, X=X)) == 0
        assert fit.explained_variance(case_of({5: -2.0}, X=X)) < -100
        assert fit.explained_variance(case_of({5: 1.0})) == 0  # data that are zero

    def test_residual_of_noise_is_white_and_what_is_left_is_not(self):
        rng = np.random.default_rng(0)
        X = rng.standard_normal((len(LINE), N_TIMES))
        largest = np.linalg.eigvalsh(X @ X.T / N_TIMES)[-1]
        expected = largest / (1 + np.sqrt(len(LINE) / N_TIMES)) ** 2
        assert fit.residual_whiteness(case_of({}, X=X)) == pytest.approx(expected)
        assert 0.5 < expected < 1.5
        X[5] += 100 * COURSE
        assert fit.residual_whiteness(case_of({}, X=X)) > 100
        assert fit.residual_whiteness(case_of({5: 100.0}, X=X)) < 1.5

    def test_vectors_are_needed_for_a_free_orientation(self):
        case = case_of({5: 1.0})
        axes = np.tile(np.eye(3), (len(LINE), 1))
        free = replace(
            case.leadfield, n_orient=3, forward=case.leadfield.forward | {"source_nn": axes}
        )
        with pytest.raises(ValueError, match="must hold vectors"):
            fit.whitened_field(case.estimate, free, free.forward)


class TestNothing:
    @pytest.mark.parametrize("values", EMPTY)
    @pytest.mark.parametrize("sparse", [True, False])
    def test_an_empty_estimate_scores_what_it_is_said_to(self, values, sparse):
        scores = score(case_of(values, (5, 12), sparse=sparse))
        for name in AGAINST_TRUTH:
            if name != "average_precision":  # the share of true positions, which differs
                assert scores[name] == pytest.approx(METRICS[name].worst), name
        assert scores["average_precision"] == pytest.approx(6 / 20)
        assert scores["false_positives"] == scores["explained_variance"] == 0

    def test_guessing_scores_little(self):
        rng = np.random.default_rng(0)
        scores = [score(case_of({int(rng.integers(20)): 1.0})) for _ in range(200)]
        assert np.mean([one["f1"] for one in scores]) < 0.35
        assert np.mean([one["a_prime"] for one in scores]) < 0.6

    def test_noise_alone_has_false_positives_and_nothing_else(self):
        scores = score(case_of({5: 1.0, 12: 1.0}, ()))
        assert scores["false_positives"] == 2
        assert not set(AGAINST_TRUTH) & set(scores)

    def test_without_truth_or_field_there_is_less_to_score(self):
        case = case_of({5: 1.0})
        blind = replace(case, field=None, truth=None)
        assert score(blind) == {}

    def test_an_estimate_of_another_source_space_is_refused(self):
        stc = stc_of({3: 1.0})
        stc.vertices[0] = np.array([10241])
        with pytest.raises(ValueError, match="vertices that the forward model lacks"):
            pairing.positions_of(stc, leadfield_of().forward)


class TestCost:
    def test_memory_and_time_of_a_call(self):
        with Cost() as small:
            pass
        with Cost() as large:
            block = np.ones(10_000_000)  # 80 MB
        assert large.memory_mb == pytest.approx(80, abs=15)
        assert small.memory_mb < 20
        assert 0 <= small.seconds < large.seconds
        assert large.cpu_seconds > 0
        assert block.size == 10_000_000

    def test_every_metric_is_described(self):
        for name, metric in METRICS.items():
            assert metric.name == name
            assert metric.better in ("higher", "lower", "")
            assert metric.needs in ("truth", "extents", "field", "peaks", "run")
            assert len(metric.reference) > 10
            assert (metric.compute is None) == (metric.needs == "run")
