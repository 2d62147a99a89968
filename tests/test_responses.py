"""Single events: which source each speaks for, in tables, pictures, files, pages and the shell."""

from __future__ import annotations

import mne
import numpy as np
import pandas as pd
import pytest

from meg_vae import VAEInverse, datasets, read_vae_inverse, viz
from meg_vae.cli import main
from meg_vae.report import localization_report
from meg_vae.viz.tables import responses_by_source, responses_table

ROWS = [200, 900]
KINDS = np.array([0, 0, 1, 0, -1, 0, 1, 0, 0, 1, 0, -1, 0, 0, 1, 0])  # of each spike; −1: none
N_TIMES, SFREQ = 30, 200.0


@pytest.fixture(scope="module")
def spikes():
    """Spikes of two sources in the template, and windows without one."""
    here = datasets.template("ico3", verbose="error")
    cov = datasets.template_recording(spacing="ico3", verbose="error").noise_cov
    normals = mne.convert_forward_solution(here.forward, force_fixed=True, verbose="error")
    info = mne.pick_info(here.info, [here.info["ch_names"].index(one) for one in cov.ch_names])
    with info._unlock():
        info["sfreq"], info["lowpass"] = SFREQ, SFREQ / 2
    rng = np.random.default_rng(0)
    data = rng.multivariate_normal(
        np.zeros(len(cov.data)), cov.data, size=(len(KINDS), N_TIMES), method="eigh"
    ).swapaxes(1, 2)
    spike = np.exp(-(((np.arange(N_TIMES) - 12) / 3) ** 2))
    for own, kind in zip(data, KINDS, strict=True):
        if kind >= 0:
            own += np.outer(normals["sol"]["data"][:, ROWS[kind]], 25e-9 * spike)
    epochs = mne.EpochsArray(data, info, tmin=-0.06, baseline=None, verbose="error")
    epochs.add_proj(cov["projs"]).apply_proj(verbose="error")
    return epochs, here.forward, cov


@pytest.fixture(scope="module")
def events(spikes):
    epochs, forward, cov = spikes
    inverse = VAEInverse(extent="point", registration=None, verbose="error")
    return inverse.fit(list(epochs.iter_evoked()), forward, cov)


def kinds_of(inverse, forward):
    away = np.linalg.norm(
        inverse.filter_.positions.rr_head[:, None] - forward["source_rr"][ROWS], axis=2
    )
    assert 1e3 * away.min(1).max() < 5
    return away.argmin(1)


def test_each_event_speaks_for_its_source(spikes, events):
    _, forward, _ = spikes
    kind = kinds_of(events, forward)
    assert sorted(kind) == [0, 1]
    np.testing.assert_array_equal(np.r_[kind, -1][events.responses_["source"]], KINDS)
    truth = KINDS == kind[:, None]
    assert (events.active_ | ~truth).all()
    assert (events.active_ & ~truth).sum() <= 1  # by a nat or two
    np.testing.assert_array_equal(truth, events.response_evidence_ > 5)
    table = events.responses_
    assert table["n_active"].tolist() == events.active_.sum(0).tolist()
    found = table[KINDS >= 0]
    assert found["peak_nAm"].between(10, 80).all()
    assert (found["peak_s"].abs() <= 0.02).all()
    assert table[KINDS < 0][["peak_nAm", "peak_s"]].isna().all(axis=None)
    best = events.response_evidence_[found["source"], found["response"]]
    np.testing.assert_allclose(found["log_evidence"], best)


def test_all_together_dilute_each_other(spikes, events):
    epochs, forward, cov = spikes
    whole = VAEInverse(spans="whole", extent="point", registration=None, verbose="error")
    whole.fit(list(epochs.iter_evoked()), forward, cov)
    assert whole.active_.all()
    assert whole.response_evidence_.shape == whole.active_.shape
    assert events.energy_ < whole.energy_
    assert events.log_evidence_ > whole.log_evidence_ + 20
    rarer = [int(kinds_of(one, forward).tolist().index(1)) for one in (events, whole)]
    nats = [one.sources_["log_evidence"][k] for one, k in zip((events, whole), rarer, strict=True)]
    assert nats[0] > nats[1] + 10


def test_events_of_noise_have_no_source(spikes):
    epochs, forward, cov = spikes
    noise = epochs.copy()
    rng = np.random.default_rng(1)
    noise._data[:] = rng.multivariate_normal(
        np.zeros(len(cov.data)), cov.data, size=(len(KINDS), N_TIMES), method="eigh"
    ).swapaxes(1, 2)
    with pytest.warns(RuntimeWarning, match="no source"):
        inverse = VAEInverse(extent="point").fit(list(noise.iter_evoked()), forward, cov)
    assert inverse.responses_["source"].eq(-1).all()
    assert inverse.active_.shape == (0, len(KINDS))
    assert inverse.plot_response_evidence().axes[0].texts[0].get_text() == "no source"


def test_events_are_kept_in_a_file(events, tmp_path):
    again = read_vae_inverse(events.save(tmp_path / "x-vae.h5"))
    pd.testing.assert_frame_equal(again.responses_, events.responses_)
    np.testing.assert_array_equal(again.active_, events.active_)
    np.testing.assert_array_equal(again.response_evidence_, events.response_evidence_)


def test_one_response_and_none(spikes):
    epochs, forward, cov = spikes
    one = VAEInverse(extent="point", verbose="error").fit(epochs.average(), forward, cov)
    assert one.responses_["response"].tolist() == [0]
    assert one.active_.shape == (len(one.sources_), 1)
    grid = VAEInverse(positions="grid", verbose="error").fit(epochs.average(), forward, cov)
    assert np.isnan(grid.response_evidence_).all()
    assert grid.responses_.empty
    with pytest.raises(ValueError, match="positions='free'"):
        grid.plot_response_evidence()


def test_the_picture_tells_the_events_apart(events):
    ax, bar = events.plot_response_evidence().axes
    image = ax.images[0].get_array()
    np.testing.assert_array_equal(image, events.response_evidence_)
    dots = ax.lines[0]
    assert len(dots.get_xdata()) == events.active_.sum()
    assert dots.get_xdata().min() == 1  # the first response
    assert bar.get_ylabel() == "Log evidence (nats)"
    colours = ax.images[0].to_rgba(image)
    sure, against = (colours[some] for some in (image > 5, image < -1))
    assert min(len(sure), len(against)) > 5
    assert (sure[:, 0] > sure[:, 2] + 0.2).all()  # red
    assert (against[:, 2] > against[:, 0]).all()  # blue
    with pytest.raises(ValueError, match="shape"):
        viz.plot_response_evidence(np.zeros((2, 3)), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="NaN"):
        viz.plot_response_evidence([[np.nan, 1.0]], [[True, False]])
    with pytest.raises(ValueError, match="names has 2 entries for 1"):
        viz.plot_response_evidence([[2.0, 1.0]], [[True, False]], names=["a", "b"])
    with pytest.raises(ValueError, match="responses has 1 entries for 2"):
        viz.plot_response_evidence([[2.0, 1.0]], [[True, False]], responses=["a"])
    names = ["left", "right"]
    few = viz.plot_response_evidence([[5.0, -2.0]], [[True, False]], responses=names).axes[0]
    assert [text.get_text() for text in few.get_xticklabels()] == names


def test_tables_count_them(spikes, events):
    _, forward, _ = spikes
    counts = responses_by_source(events.responses_, events.active_, events.sources_)
    kind = kinds_of(events, forward).tolist()
    assert counts["Strongest in"].tolist() == [*(str((KINDS == k).sum()) for k in kind), "0"]
    assert counts["Active in"].tolist() == [*map(str, events.active_.sum(1)), "2"]
    assert counts["Source"].iloc[-1] == "no source"
    every = responses_table(events.responses_, events.sources_)
    assert every["Response"].tolist() == [str(k + 1) for k in range(len(KINDS))]
    assert (every["Strongest source"] == "–").tolist() == (KINDS < 0).tolist()


def test_the_page_has_a_table_of_events(spikes, events):
    epochs, *_ = spikes
    page = localization_report(events, epochs.average(), pictures={})
    html = "".join(str(one.html) for one in page._content)
    assert "Response by response" in html
    assert "no source" in html
    assert html.count("<tr>") > len(KINDS)


@pytest.fixture(scope="module")
def night(spikes, tmp_path_factory):
    """The same in files: a recording with spikes, and where they are."""
    epochs, forward, cov = spikes
    folder = tmp_path_factory.mktemp("night")
    n, data = 2 * N_TIMES, epochs.get_data(copy=False)
    rng = np.random.default_rng(2)
    whole = rng.multivariate_normal(
        np.zeros(len(cov.data)), cov.data, size=n * len(KINDS), method="eigh"
    ).T
    for k, own in enumerate(data):
        whole[:, n * k + 10 : n * k + 10 + N_TIMES] = own
    raw = mne.io.RawArray(whole, epochs.info, first_samp=700, verbose="error")
    raw.save(folder / "night_raw.fif", verbose="error")
    samples = 700 + n * np.arange(len(KINDS)) + 22
    rows = np.c_[samples, np.zeros_like(samples), np.where(KINDS == 1, 2, 1)]
    mne.write_events(folder / "spikes-eve.fif", rows)
    mne.write_forward_solution(folder / "x-fwd.fif", forward, verbose="error")
    cov.save(folder / "x-cov.fif", verbose="error")
    return folder


def localize(night, *args):
    files = [str(night / name) for name in ("night_raw.fif", "x-fwd.fif", "x-cov.fif")]
    return main(["localize", *files, *map(str, args)])


WINDOW = ("--tmin", -0.06, "--tmax", 0.085)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the cortex is not drawn")
def test_events_in_the_shell(night, tmp_path, capsys):
    events = ("--events", night / "spikes-eve.fif", "--extent", "point")
    events += ("--registration", "none")
    assert localize(night, *events, *WINDOW, "-o", tmp_path / "out") == 0
    assert f"Of {len(KINDS)} responses" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "out" / "responses.csv")
    np.testing.assert_array_equal(table["source"] < 0, KINDS < 0)
    assert len(table["source"][KINDS == 1].unique()) == 1
    assert table["comment"][0] == "0.110 s"
    assert (tmp_path / "out" / "responses.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--events", "spikes-eve.fif", "--tmin", -0.2, "--tmax", 0.2), "300 ms apart"),
        (("--events", "spikes-eve.fif", "--event-id", 7, *WINDOW), "it has 1, 2"),
        (("--events", "spikes-eve.fif"), "--tmin -0.05 --tmax 0.05"),
        (("--event-id", 1), "goes with --events"),
        (("--events", "x-cov.fif", *WINDOW), "does not hold events"),
        (("--events", "spikes-eve.fif", *WINDOW, "--fmin", 8, "--fmax", 12), "give one"),
    ],
)
def test_events_that_cannot_be_used(night, tmp_path, capsys, args, said):
    args = [night / one if str(one).endswith(".fif") else one for one in args]
    assert localize(night, *args, "-o", tmp_path / "out") == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
