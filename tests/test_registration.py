"""Sensors that are not where they were said to be: what it does to the field, and finding it."""

from __future__ import annotations

import functools
import warnings
from types import SimpleNamespace

import mne
import numpy as np
import pytest
from mne.transforms import apply_trans
from scipy.spatial.distance import cdist
from scipy.stats import chi2
from small_recordings import CENTRE, eeg_info, joined, meg_info, points, sphere_forward

from meg_vae import VAEInverse, datasets, read_vae_inverse
from meg_vae.cli import options
from meg_vae.meg.channel_maps import ChannelMaps, moved_sensors, rigid
from meg_vae.meg.conductor import sphere_conductor
from meg_vae.meg.registration import Motion

ABOUT = np.array([0.001, 0.01, 0.05])
TWIST = np.array([0.002, -0.003, 0.001, 0.03, -0.02, 0.035])  # 3.7 mm and 2.9°


def test_turns_go_about_their_point_by_the_right_hand():
    quarter = rigid(np.array([0, 0, 0, 0, 0, np.pi / 2]), ABOUT)
    np.testing.assert_allclose(apply_trans(quarter, ABOUT), ABOUT, atol=1e-12)
    there = apply_trans(quarter, ABOUT + [0.01, 0, 0])
    np.testing.assert_allclose(there, ABOUT + [0, 0.01, 0], atol=1e-12)
    shifted = apply_trans(rigid(np.array([0.004, 0, 0, 0, 0, 0]), ABOUT), ABOUT)
    np.testing.assert_allclose(shifted, ABOUT + [0.004, 0, 0], atol=1e-12)


def test_parameters_come_back_from_the_transform():
    rr = ABOUT + 0.06 * np.random.default_rng(0).standard_normal((50, 3))
    for mm, degrees, n in ((4.0, 3.0, 6), (0.0, 2.0, 3), (5.0, 0.0, 3)):
        motion = Motion.of(rr, mm, degrees)
        delta = np.linspace(-1.5, 1.0, n)
        np.testing.assert_allclose(motion.delta(motion.transform(delta)), delta, atol=1e-9)
        assert len(motion.swing) == n
        known = motion.covariance(np.eye(n))
        np.testing.assert_allclose(
            np.sqrt(known.diagonal()), np.repeat([1e-3 * mm, np.radians(degrees)], 3)
        )


@functools.cache
def cap():
    """A sphere with gradiometers, magnetometers and electrodes, and the maps of its channels."""
    info = joined(meg_info(["planar", "planar", "magnetometer"], 100), eeg_info(10))
    forward = sphere_forward(info, points(200))
    names, rr = info["ch_names"], forward["source_rr"]
    return SimpleNamespace(
        info=info, names=names, rr=rr, maps=ChannelMaps.learnt(info, names, rr, ABOUT)
    )


def test_the_field_of_moved_sensors_is_nearly_what_mne_computes():
    here = cap()
    inside = here.rr + 0.003 * np.random.default_rng(1).standard_normal(here.rr.shape)
    places = inside[np.linalg.norm(inside - CENTRE, axis=1) < 0.075]
    still = sphere_conductor(here.info, here.names, here.rr)(places)
    info = moved_sensors(here.info, rigid(TWIST, ABOUT))
    true = sphere_conductor(info, here.names, here.rr)(places)
    found, _ = here.maps(still, TWIST)
    size = np.linalg.norm(here.maps.size[:, None] ** -1 * true, axis=(1, 2))

    def off(gain):
        return np.median(
            np.linalg.norm((gain - true) / here.maps.size[:, None], axis=(1, 2)) / size
        )

    assert off(found) < 0.02
    assert off(still) > 0.1  # and without it
    assert off(here.maps(still, -TWIST)[0]) > 0.2  # the way round matters
    electric = [k for k, name in enumerate(here.names) if name.startswith("EEG")]
    field = np.random.default_rng(2).standard_normal((2, len(here.names), 3))
    np.testing.assert_allclose(here.maps(field, TWIST)[0][:, electric], field[:, electric])


def test_its_slopes_are_the_derivatives():
    maps = cap().maps
    gain = np.random.default_rng(0).standard_normal((2, len(maps.size), 3)) * maps.size[:, None]
    _, slopes = maps(gain, TWIST)
    for j, step in enumerate(1e-6 * np.eye(6)):
        difference = (maps(gain, TWIST + step)[0] - maps(gain, TWIST - step)[0]) / 2e-6
        scale = np.abs(difference / maps.size[:, None]).max()
        assert np.abs((slopes[j] - difference) / maps.size[:, None]).max() < 1e-6 * scale


@functools.cache
def recorded(n_sources, snr_db, moved, seed=0):
    """Sources off the grid in the template, of sensors that have moved or not."""
    template = datasets.template("ico3", verbose="error")
    rng, forward = np.random.default_rng([seed, n_sources]), template.forward
    cov = mne.make_ad_hoc_cov(template.info, verbose="error")
    cells = [int(rng.integers(forward["nsource"]))]
    while len(cells) < n_sources:  # apart from each other
        cell = int(rng.integers(forward["nsource"]))
        if cdist(forward["source_rr"][[cell]], forward["source_rr"][cells]).min() > 0.03:
            cells.append(cell)
    places = forward["source_rr"][cells] * 0.97 + 0.03 * forward["source_rr"].mean(0)
    directions = rng.standard_normal((n_sources, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    trans = rigid(TWIST if moved else np.zeros(6), forward["source_rr"].mean(0))
    info = moved_sensors(template.info, trans)
    gain = np.empty((len(info["ch_names"]), n_sources))
    for k, (place, direction) in enumerate(zip(places, directions, strict=True)):
        one = mne.Dipole([0.0], place[None], [1.0], direction[None], [100.0])
        field, _ = mne.make_forward_dipole(one, template.bem, info, template.trans, verbose="error")
        gain[:, k] = field["sol"]["data"][:, 0]
    whitener, _ = mne.cov.compute_whitener(cov, info, verbose="error")
    courses = rng.standard_normal((n_sources, 61))
    signal = gain @ (courses / np.linalg.norm(whitener @ gain, axis=0)[:, None])
    signal *= 10 ** (snr_db / 20) / np.sqrt(np.mean(np.square(whitener @ signal)))
    noise = np.sqrt(np.diag(cov.data) if cov.data.ndim == 2 else cov.data)[:, None]
    evoked = mne.EvokedArray(
        signal + noise * rng.standard_normal(signal.shape), template.info, nave=1, verbose="error"
    )
    return SimpleNamespace(
        evoked=evoked, forward=forward, cov=cov, places=places, trans=trans, template=template
    )


def fitted(case, verbose="error", **options):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "at .* of .* sources the lead field", RuntimeWarning)
        warnings.filterwarnings("ignore", "no source carries", RuntimeWarning)
        options = {"spans": "whole", "extent": "point"} | options  # registration alone is asked
        return VAEInverse(verbose=verbose, **options).fit(case.evoked, case.forward, case.cov)


def errors_mm(inverse, case):
    """Distance of each true source from the nearest one found."""
    return 1e3 * cdist(case.places, inverse.filter_.positions.rr_head).min(1)


def apart_mm(trans, other, rr):
    return 1e3 * np.linalg.norm(apply_trans(trans, rr) - apply_trans(other, rr), axis=1).mean()


@pytest.mark.slow
@pytest.mark.parametrize("extent", ["point", pytest.param("learn", marks=pytest.mark.slow)])
def test_a_moved_head_is_found_with_its_sources(extent):
    case = recorded(4, 8.0, moved=True, seed=2)
    given = fitted(case, registration=None)
    with pytest.warns(RuntimeWarning, match=r"sensors lie .* mm from where info and trans"):
        found = fitted(case, verbose="warning", extent=extent)
    rr = case.forward["source_rr"]
    before, after = errors_mm(given, case).mean(), errors_mm(found, case).mean()
    assert before > 3
    assert after < before / 2
    assert len(found.sources_) == 4
    assert apart_mm(case.trans, np.eye(4), rr) > 3.5
    assert apart_mm(case.trans, found.registration_["trans"], rr) < 2
    assert found.registration_log_evidence_ > 8
    explained = [one.explained_variance(case.evoked) for one in (given, found)]
    assert explained[1] > explained[0]  # by the field of the sensors where they are
    # The ellipsoids know what is not known of it; those that take it as given miss the truth.
    for inverse, most in ((found, chi2.ppf(0.999, 3)), (given, np.inf)):
        places = inverse.filter_.positions.rr_head
        nearest = cdist(case.places, places).argmin(1)
        away = case.places - places[nearest]
        covariance = inverse.position_covariance_[nearest]
        squared = np.einsum("ka,ka->k", away, np.linalg.solve(covariance, away[..., None])[..., 0])
        assert (squared < most).all()
    assert squared.max() > 100


@pytest.mark.slow
def test_a_head_that_has_not_moved_stays_where_it_is():
    case = recorded(4, 8.0, moved=False)
    given, found = fitted(case, registration=None), fitted(case)
    assert found.registration_log_evidence_ < 8
    np.testing.assert_array_equal(found.registration_["trans"], np.eye(4))
    assert not found.registration_covariance_.any()
    np.testing.assert_allclose(found.sources_["x_mm"], given.sources_["x_mm"])
    assert np.isnan(given.registration_log_evidence_)
    # Learnt all the same it moves a little, and the places are known less well.
    learnt = fitted(case, registration="learn")
    assert apart_mm(learnt.registration_["trans"], np.eye(4), case.forward["source_rr"]) < 2
    assert (learnt.sources_["radius_mm"] > given.sources_["radius_mm"]).all()


def test_where_the_data_cannot_tell_the_width_of_the_prior_stays():
    case = recorded(1, -12.0, moved=False)
    inverse = fitted(case, registration=(5.0, 2.0))
    assert len(inverse.sources_) == 1
    ratio = np.sqrt(inverse.registration_covariance_.diagonal()) / np.repeat(
        [0.005, np.radians(2.0)], 3
    )
    assert ratio.max() <= 1 + 1e-9
    assert ratio.max() > 0.9
    wide, narrow = inverse.sources_["radius_mm"], fitted(case).sources_["radius_mm"]
    assert wide[0] > narrow[0]


def test_without_a_source_nothing_has_moved():
    case = recorded(1, -60.0, moved=False)
    inverse = fitted(case, registration="learn")
    assert inverse.sources_.empty
    np.testing.assert_array_equal(inverse.registration_["trans"], np.eye(4))
    widths = np.sqrt(inverse.registration_covariance_.diagonal())
    np.testing.assert_allclose(widths, np.repeat([0.004, np.radians(3.0)], 3))


def test_a_file_keeps_it(tmp_path):
    inverse = fitted(recorded(1, 5.0, moved=False), registration=(3, 2))
    inverse.save(tmp_path / "x-vae.h5")
    again = read_vae_inverse(tmp_path / "x-vae.h5")
    assert again.registration == (3, 2)
    np.testing.assert_array_equal(again.registration_["trans"], inverse.registration_["trans"])
    np.testing.assert_array_equal(again.registration_covariance_, inverse.registration_covariance_)
    assert again.registration_log_evidence_ == inverse.registration_log_evidence_


@pytest.mark.parametrize(
    "registration", ["guess", 4, (4,), (-1, 3), (0, 0), (np.nan, 1), (1, 2, 3), ("a", "b"), True]
)
def test_a_registration_that_is_none_is_refused(registration):
    case = recorded(1, 5.0, moved=False)
    with pytest.raises(ValueError, match=r"registration=.* must be None, 'auto', 'learn' or"):
        VAEInverse(registration=registration).fit(case.evoked, case.forward, case.cov)


def test_the_grid_holds_the_lead_field():
    case = recorded(1, 5.0, moved=False)
    for registration in ("learn", (4, 3)):
        inverse = VAEInverse(positions="grid", registration=registration)
        with pytest.raises(ValueError, match="use positions='free', or registration=None"):
            inverse.fit(case.evoked, case.forward, case.cov)
    inverse = fitted(case, positions="grid")
    np.testing.assert_array_equal(inverse.registration_["trans"], np.eye(4))


@pytest.mark.parametrize(
    ("text", "value"),
    [("auto", "auto"), ("none", None), ("learn", "learn"), ("4,3", (4.0, 3.0)), ("x,y", "x,y")],
)
def test_the_option_of_the_shell(text, value):
    assert options.registration(text) == value
