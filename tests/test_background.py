"""Ongoing activity before the stimulus: learnt from a baseline, it is noise after it."""

from __future__ import annotations

import functools
from types import SimpleNamespace

import mne
import numpy as np
import pytest
from small_recordings import CENTRE, SFREQ, meg_info, points, sphere_forward, tangent

from meg_vae import VAEInverse, read_vae_inverse
from meg_vae.meg.background import Background, _patterns

NAVE, N = 25, 80  # averages; samples before and after
OPTIONS = {"registration": None, "verbose": "error"}


@functools.cache
def made(strength=3.0, seed=0):
    """A response, and a rhythm elsewhere that goes on before it and after."""
    info = meg_info(["planar", "planar", "magnetometer"], 30)
    forward, cov = sphere_forward(info, points(200)), mne.make_ad_hoc_cov(info, verbose="error")
    rr = forward["source_rr"]
    left, right = (int(np.argmax(s * (rr - CENTRE)[:, 0] + rr[:, 2])) for s in (-1, 1))
    times, rng = np.arange(-N, N) / SFREQ, np.random.default_rng(seed)
    gain = forward["sol"]["data"].reshape(len(info["ch_names"]), -1, 3)
    fields = np.stack([gain[:, k] @ tangent(rr[k]) for k in (left, right)], 1)
    sd = np.sqrt(np.diag(cov._get_square()))[:, None] / NAVE**0.5
    fields /= np.linalg.norm(fields / sd, axis=0)
    response = 30 * np.exp(-(((times - 0.15) / 0.04) ** 2))
    rhythm = strength * 10 * np.sin(2 * np.pi * 10 * times + 1.0)
    data = fields @ np.stack([response, rhythm]) + sd * rng.standard_normal((len(sd), 2 * N))
    evoked = mne.EvokedArray(data, info, times[0], nave=NAVE, verbose="error")
    return SimpleNamespace(
        evoked=evoked.copy().crop(0, None),
        baseline=evoked.copy().crop(None, -1 / SFREQ),
        forward=forward,
        cov=cov,
        places=rr[[left, right]],
        field=fields[:, 1],
    )


def fit(case, baseline, **options):
    return VAEInverse(**OPTIONS | options).fit(
        case.evoked, case.forward, case.cov, baseline=baseline
    )


def evidence_near(inverse, place):
    """Log evidence of all sources within 15 mm."""
    gaps = np.linalg.norm(inverse.filter_.positions.rr_head - place, axis=1)
    return inverse.sources_["log_evidence"][gaps < 0.015].sum()


@pytest.mark.parametrize("positions", ["free", "grid"])
def test_what_goes_on_before_is_no_response(positions):
    case = made()
    without, with_ = (fit(case, b, positions=positions) for b in (None, case.baseline))
    response, rhythm = case.places
    assert evidence_near(without, rhythm) > 1000
    assert evidence_near(with_, rhythm) < 0.05 * evidence_near(without, rhythm)
    assert evidence_near(with_, response) > 0.8 * evidence_near(without, response)
    (background,) = with_.background_
    assert background.patterns.shape == (90, 1)
    whitened = background.patterns[:, 0] / np.sqrt(np.diag(case.cov._get_square()))
    true = case.field / np.sqrt(np.diag(case.cov._get_square()))
    cosine = whitened @ true / np.linalg.norm(whitened) / np.linalg.norm(true)
    assert abs(cosine) > 0.98


def test_noise_alone_has_no_background():
    case = made(strength=0.0)
    with_, without = fit(case, case.baseline), fit(case, None)
    assert with_.background_[0].patterns.shape == (90, 0)
    np.testing.assert_array_equal(with_.sources_["x_mm"], without.sources_["x_mm"])
    assert with_.log_evidence_ == without.log_evidence_


def test_patterns_are_as_many_as_there_are():
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.standard_normal((60, 3)))[0]
    noise = 1.5 * rng.standard_normal((60, 300))
    X = noise + axes @ (np.array([[9.0], [6.0], [4.0]]) * rng.standard_normal((3, 300)))
    B = _patterns(X)
    assert B.shape == (60, 3)
    np.testing.assert_allclose(np.linalg.norm(B, axis=0), np.array([6, 4, 2.7]), rtol=0.15)
    assert np.linalg.svd(axes.T @ (B / np.linalg.norm(B, axis=0)))[1].min() > 0.9
    assert _patterns(noise).shape == (60, 0)


@pytest.mark.parametrize(("d", "n"), [(305, 20), (100, 12), (305, 60), (30, 2000)])
def test_few_samples_are_no_patterns(d, n):
    """Where the samples are fewer than the channels they all fit into a few directions."""
    rng = np.random.default_rng(d + n)
    axis = np.linalg.qr(rng.standard_normal((d, 1)))[0]
    for _ in range(5):
        noise = 0.7 * rng.standard_normal((d, n))
        assert _patterns(noise).shape == (d, 0)
        X = noise + 20 * axis * rng.standard_normal(n)
        B = _patterns(X)
        assert B.shape == (d, 1)
        assert abs(axis[:, 0] @ B[:, 0]) > 0.95 * np.linalg.norm(B)


def test_it_is_added_to_the_covariance():
    cov = made().cov
    B = np.random.default_rng(0).standard_normal((3, 2))
    names = [cov.ch_names[k] for k in (5, 2, 7)]
    more = Background(names, B).beside(cov)._get_square() - cov._get_square()
    np.testing.assert_allclose(more[np.ix_([5, 2, 7], [5, 2, 7])], B @ B.T)
    assert np.count_nonzero(more) == 9
    assert Background(names, B[:, :0]).beside(cov) is cov


def test_a_file_and_a_bootstrap_keep_it(tmp_path):
    case = made()
    inverse = fit(case, case.baseline)
    again = read_vae_inverse(inverse.save(tmp_path / "x-vae.h5"))
    assert again.background_[0].ch_names == inverse.background_[0].ch_names
    np.testing.assert_array_equal(again.background_[0].patterns, inverse.background_[0].patterns)
    sd = np.sqrt(np.diag(case.cov._get_square()))[:, None]
    noise = sd * np.random.default_rng(1).standard_normal((NAVE, len(sd), len(case.evoked.times)))
    noise += case.evoked.data - noise.mean(0)
    epochs = mne.EpochsArray(noise, case.evoked.info, verbose="error")
    found = inverse.bootstrap(epochs, case.forward, case.cov, n_bootstrap=10, random_state=0)
    assert found.sources["probability"].iloc[0] == 1


REFUSED = {
    "an array": (lambda case: case.baseline.data, TypeError, "baseline must be an mne.Evoked"),
    "a window": (lambda case: (-0.2, 0.0), ValueError, "baseline is a list of 2"),
    "too short": (
        lambda case: case.baseline.copy().crop(None, -0.38),
        ValueError,
        "baseline has 5 samples",
    ),
    "the response": (lambda case: case.evoked, ValueError, "overlap from 0 to"),
    "another rate": (
        lambda case: case.baseline.copy().resample(100.0),
        ValueError,
        "sampled at 100 Hz and the data at 200 Hz",
    ),
    "fewer channels": (
        lambda case: case.baseline.copy().pick(case.baseline.ch_names[:50]),
        ValueError,
        "baseline",
    ),
    "NaN": (
        lambda case: mne.EvokedArray(np.nan * case.baseline.data, case.baseline.info, -0.4),
        ValueError,
        "baseline has NaN",
    ),
}


@pytest.mark.parametrize("row", REFUSED)
def test_what_is_no_baseline_is_refused(row):
    give, kind, said = REFUSED[row]
    with pytest.raises(kind, match=said):
        fit(made(), give(made()))
