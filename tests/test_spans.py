"""When sources are active: onsets, offsets and evidence over time."""

from __future__ import annotations

import mne
import numpy as np
import pytest

from meg_vae import VAEInverse, datasets, read_vae_inverse
from meg_vae.datasets.simulation import record
from meg_vae.meg.spans import (
    Spans,
    _independent,
    _span,
    active_spans,
    relative_power,
    running_evidence,
)
from meg_vae.report.facts import result_facts

QUICK = {"extent": "point", "registration": None}  # where and how large are not asked here
BURSTS = ((20, 69), (120, 139))  # first and last samples of 200


@pytest.fixture(scope="module")
def bursts():
    """Two sources in the template, each with a burst of its own in a second."""
    here = datasets.template("ico3", verbose="error")
    forward = mne.convert_forward_solution(here.forward, force_fixed=True, verbose="error")
    rows = [200, 900]
    courses = np.zeros((2, 200))
    for course, (first, last) in zip(courses, BURSTS, strict=True):
        course[first : last + 1] = np.cos(2 * np.pi * 12 * np.arange(last + 1 - first) / 200)
    info = here.info.copy()
    with info._unlock():
        info["sfreq"], info["lowpass"] = 200.0, 100.0
    evoked, _ = record(
        forward["sol"]["data"][:, rows],
        courses,
        info,
        datasets.template_recording(spacing="ico3", verbose="error").noise_cov,
        tmin=-0.2,
        snr_db=3,
        nave=100,
        random_state=0,
    )
    cov = datasets.template_recording(spacing="ico3", verbose="error").noise_cov
    inverse = VAEInverse(verbose="error", **QUICK).fit(evoked, here.forward, cov)
    return evoked, inverse, rows, here.forward


def test_onsets_and_offsets_are_those_of_the_bursts(bursts):
    evoked, inverse, rows, forward = bursts
    sources = inverse.sources_
    assert len(sources) == 2
    true = forward["source_rr"][rows]
    for k, (first, last) in enumerate(BURSTS):
        away = np.linalg.norm(inverse.filter_.positions.rr_head - true[k], axis=1)
        row = sources.iloc[away.argmin()]
        onset, offset = evoked.times[[first, last]]
        assert abs(row["onset_s"] - onset) <= 0.01  # two samples
        assert abs(row["offset_s"] - offset) <= 0.01
        assert row["onset_low_s"] <= onset + 1e-9
        assert offset - 1e-9 <= row["offset_high_s"]
        assert row["onset_low_s"] <= row["onset_s"] <= row["onset_high_s"]
        assert row["offset_low_s"] <= row["offset_s"] <= row["offset_high_s"]
        assert row["onset_s"] > 0.2 * (k - 1)  # nothing before the stimulus at 0 but burst one


def test_evidence_adds_up_between_onset_and_offset(bursts):
    evoked, inverse, *_ = bursts
    noise = inverse.noise_variance_, inverse.noise_autocorrelation_[0]
    power = relative_power(inverse.filter_, evoked, *noise)
    so_far, spans = running_evidence(power), active_spans(power, evoked.times)
    np.testing.assert_allclose(so_far[:, -1], spans.log_evidence)
    for own, onset, offset in zip(so_far, spans.onset, spans.offset, strict=True):
        np.testing.assert_array_equal(own[evoked.times < onset - 1e-9], 0)
        np.testing.assert_allclose(own[evoked.times > offset + 1e-9], own[-1])
    # a short burst carries what it carries in its own window
    k = int(spans.onset.argmax())
    crop = evoked.copy().crop(spans.onset[k], spans.offset[k])
    alone = active_spans(relative_power(inverse.filter_, crop, *noise), crop.times)
    assert alone.log_evidence[k] == pytest.approx(spans.log_evidence[k], rel=0.05)


def test_the_picture_shows_when(bursts):
    evoked, inverse, *_ = bursts
    figure = inverse.plot_evidence_over_time()
    (axes,) = figure.axes
    assert axes.get_xlabel() == "Time (ms)"
    assert axes.get_ylabel() == "Log evidence so far (nats)"
    assert len(axes.lines) == 2
    assert len(axes.patches) == 4  # an onset and an offset each
    top = max(line.get_ydata().max() for line in axes.lines)
    assert axes.get_ylim()[1] >= top > 100


def test_spans_by_hand():
    power = np.ones(40)
    power[10:20] = 9.0
    ends, bounds, evidence = _span(power)
    assert ends.tolist() == [10, 19]
    assert evidence == pytest.approx(5 * (9 - 1 - np.log(9)))
    low, high = bounds.T
    assert (low <= ends).all()
    assert (ends <= high).all()
    assert (high - low <= 8).all()
    flat = _span(np.full(7, 0.5))
    assert flat[0].tolist() == [0, 6]
    assert flat[2] == 0
    long = np.ones(9000)
    long[3000:6000] = 4.0
    ends, *_ = _span(long)
    assert abs(ends - [3000, 5999]).max() <= 3  # blocks of three


def test_intervals_hold_the_truth():
    rng = np.random.default_rng(0)
    held, width = [], []
    for _ in range(400):
        scale = np.ones(60)
        scale[20:40] = 2.5
        _, bounds, _ = _span(np.square(scale * rng.standard_normal(60)))
        held.append((bounds[0, 0] <= 20 <= bounds[0, 1], bounds[1, 0] <= 39 <= bounds[1, 1]))
        width.append(np.diff(bounds))
    assert 0.92 < np.mean(held) < 0.99
    assert np.median(width) < 15


def test_noise_that_goes_on_is_made_independent():
    rng = np.random.default_rng(0)
    r = 0.8 ** np.arange(1000)
    e = rng.standard_normal((4, 3000))
    x = np.zeros_like(e)
    for t in range(1, 3000):
        x[:, t] = 0.8 * x[:, t - 1] + 0.6 * e[:, t]
    y = _independent(x, r)
    assert abs(np.mean(y[:, 1:] * y[:, :-1])) < 0.05
    assert np.mean(y**2) == pytest.approx(1, abs=0.05)
    np.testing.assert_array_equal(_independent(x, np.array([1.0])), x)


def test_data_without_time_have_no_onsets(bursts):
    evoked, _, _, forward = bursts
    raw = mne.io.RawArray(evoked.data, evoked.info, verbose="error")
    raw.apply_proj(verbose="error")
    cov = mne.compute_raw_covariance(raw, verbose="error")
    noise = datasets.template_recording(spacing="ico3", verbose="error").noise_cov
    noise = noise.copy()
    noise["data"] = noise["data"] / evoked.nave
    inverse = VAEInverse(verbose="error", **QUICK).fit(cov, forward, noise, info=evoked.info)
    assert inverse.sources_["onset_s"].isna().all()
    none = Spans.unknown(0)
    assert none.onset_interval.shape == (0, 2)


@pytest.fixture(scope="module")
def epoch():
    """A source for 0.9 s of a second, and a weak one for 50 ms of it."""
    here = datasets.template("ico3", verbose="error")
    forward = mne.convert_forward_solution(here.forward, force_fixed=True, verbose="error")
    rows, times = [200, 900], np.arange(200) / 200 - 0.2
    courses = np.zeros((2, 200))
    courses[0, 20:] = 15e-9 * np.cos(2 * np.pi * 11 * times[20:])
    courses[1, 120:130] = 12e-9 * np.cos(2 * np.pi * 15 * times[:10])
    info = here.info.copy()
    with info._unlock():
        info["sfreq"], info["lowpass"] = 200.0, 100.0
    cov = datasets.template_recording(spacing="ico3", verbose="error").noise_cov
    picks = [info["ch_names"].index(name) for name in cov.ch_names]
    info = mne.pick_info(info, picks)
    trials = np.random.default_rng(0).multivariate_normal(
        np.zeros(len(picks)), cov.data, size=(20, 200), method="eigh"
    )
    clean = forward["sol"]["data"][picks][:, rows] @ courses
    epochs = mne.EpochsArray(
        clean + trials.swapaxes(1, 2), info, tmin=-0.2, baseline=None, verbose="error"
    )
    epochs.add_proj(cov["projs"]).apply_proj(verbose="error")
    inverse = VAEInverse(verbose="error", **QUICK).fit(epochs.average(), here.forward, cov)
    return epochs, inverse, here.forward, cov, rows


def near(inverse, forward, row):
    away = np.linalg.norm(inverse.filter_.positions.rr_head - forward["source_rr"][row], axis=1)
    k = int(away.argmin())
    return k, 1e3 * away[k]


def test_a_short_source_in_a_long_window_is_as_evident_as_in_its_own(epoch):
    epochs, inverse, forward, cov, rows = epoch
    evoked = epochs.average()
    assert len(inverse.sources_) == 2
    (long, off), (short, away) = (near(inverse, forward, row) for row in rows)
    assert off < 3
    assert away < 8
    onset, offset = inverse.spans_[short]
    assert onset == pytest.approx(0.4, abs=0.05)
    assert offset == pytest.approx(0.445, abs=0.05)
    assert inverse.spans_[long][0] == pytest.approx(-0.1, abs=0.03)
    whole = VAEInverse(spans="whole", verbose="error", **QUICK).fit(evoked, forward, cov)
    assert np.isinf(whole.spans_).all()
    own = evoked.copy().crop(0.4, 0.445)
    alone = VAEInverse(spans="whole", verbose="error", **QUICK).fit(own, forward, cov)
    nats = alone.sources_["log_evidence"][near(alone, forward, rows[1])[0]]
    assert inverse.sources_["log_evidence"][short] == pytest.approx(nats, rel=0.25)
    diluted = near(whole, forward, rows[1])
    found = whole.sources_["log_evidence"][diluted[0]] if diluted[1] < 10 else 0.0
    assert inverse.sources_["log_evidence"][short] > found + 5
    assert inverse.log_evidence_ > whole.log_evidence_


def test_spans_are_kept_and_estimates_have_all_times(epoch, tmp_path):
    epochs, inverse, *_ = epoch
    again = read_vae_inverse(inverse.save(tmp_path / "x-vae.h5"))
    assert again.spans == "learn"
    np.testing.assert_array_equal(again.spans_, inverse.spans_)
    stc = again.apply(epochs.average())
    assert stc.data.shape[1] == 200
    assert np.abs(stc.data).min() > 0  # no times are cut out
    assert "2 of the sources" in str(result_facts(inverse, epochs.average()))


def test_samples_of_a_bootstrap_have_the_spans_of_the_fit(epoch):
    epochs, inverse, forward, cov, rows = epoch
    found = inverse.bootstrap(epochs, forward, cov, n_bootstrap=6, random_state=0, verbose=False)
    short = near(inverse, forward, rows[1])[0]
    assert found.sources["probability"][short] >= 0.5
    whole = VAEInverse(spans="whole", verbose="error", **QUICK).fit(epochs.average(), forward, cov)
    again = whole.bootstrap(epochs, forward, cov, n_bootstrap=2, random_state=0, verbose=False)
    assert len(again.sources) == len(whole.sources_)


def test_spans_are_learn_or_whole(epoch):
    epochs, _, forward, cov, _ = epoch
    with pytest.raises(ValueError, match="spans='short'"):
        VAEInverse(spans="short").fit(epochs.average(), forward, cov)


def fit_of(condition, tmin, tmax):
    case = datasets.sample(condition, tmin=tmin, tmax=tmax, verbose="error")
    inverse = VAEInverse(extent="point", verbose="error")
    return inverse.fit(case.evoked, case.forward, case.noise_cov)


@pytest.mark.realdata
@pytest.mark.parametrize("condition", ["Left visual"])
def test_whole_epochs_of_real_data_have_the_sources_of_their_windows(condition):
    window, whole = fit_of(condition, 0.08, 0.15), fit_of(condition, -0.1995, 0.4985)
    assert (whole.sources_["onset_s"] > 0).all()  # nothing before the stimulus
    strong = window.sources_["log_evidence"] > 20  # the cost of a span, above what all must carry
    for k in np.flatnonzero(strong):
        away = np.linalg.norm(
            whole.filter_.positions.rr_head - window.filter_.positions.rr_head[k], axis=1
        )
        assert 1e3 * away.min() < 20
        assert whole.sources_["log_evidence"][away.argmin()] > 13
