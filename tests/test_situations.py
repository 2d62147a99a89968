"""What people's recordings look like: one row a situation, with its answer or its exact message."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from types import SimpleNamespace

import mne
import nibabel
import numpy as np
import pandas as pd
import pytest
from small_recordings import (
    CENTRE,
    SFREQ,
    ctf_info,
    eeg_info,
    elsewhere,
    joined,
    meg_info,
    points,
    record,
    sphere_forward,
    tangent,
)

from meg_vae import VAEInverse, compare, read_vae_inverse
from meg_vae.cli import main
from meg_vae.cli.inputs import read_inputs
from meg_vae.cli.preparation import DataOptions
from meg_vae.meg.storage import read_state, write_state

TRUE = [17, 41]
TRIPLET = ["planar", "planar", "magnetometer"]
ARRAYS = {
    "VectorView": lambda: meg_info(TRIPLET, 30),
    "CTF": lambda: ctf_info(60, grade=1),
    "KIT": lambda: meg_info(["kit"], 60),
    "OPM": lambda: meg_info(["opm", "opm"], 30),
    "EEG": lambda: eeg_info(60),
    "MEG and EEG": lambda: joined(meg_info(TRIPLET, 20), eeg_info(40)),
    "BTi": lambda: meg_info(["magnes"], 60),
    "dense": lambda: meg_info(TRIPLET, 40),
}


@functools.cache
def model(name):
    """Sensors of an array and their forward model."""
    info = ARRAYS[name]()
    return info, sphere_forward(info, points())


@functools.cache
def made(name="VectorView", true=tuple(TRUE), **options):
    """A recording of two sources; never changed by a row."""
    info, forward = model(name)
    directions = [tangent(forward["source_rr"][k]) for k in true]
    return record(forward, info, true, directions, **options)


@functools.cache
def fitted(name="VectorView"):
    """A fit of such a recording."""
    case = made(name)
    return fit(case.evoked, case.forward, case.noise_cov)


def on_the_grid():
    """A fit whose sources are positions, as those of an inverse operator are."""
    return fit_case(made().evoked, positions="grid")


def fit(data, forward, noise_cov, info=None, **options):
    """A fit that logs nothing; its warnings are errors unless a row expects them."""
    return VAEInverse(**options).fit(data, forward, noise_cov, info=info)


def answer(inverse, evoked, truth, rel=0.3):
    """The sources are the true ones: places, time courses with their signs, amplitudes."""
    assert sorted(inverse.sources_["vertno"]) == TRUE
    if inverse.filter_.positions.axes.shape[1] == 1:
        found = inverse.apply(evoked).data[:, None] * inverse.filter_.positions.axes[:, 0, :, None]
    else:
        found = inverse.apply(evoked, "vector").data
    for one, true in zip(found, truth, strict=True):
        assert np.corrcoef(one.ravel(), true.ravel())[0, 1] > 0.9
        assert np.linalg.norm(one) == pytest.approx(np.linalg.norm(true), rel=rel)


def changed(inst, **values):
    """A copy with other entries of its info."""
    out = inst.copy()
    with out.info._unlock():
        for name, value in values.items():
            out.info[name] = value
    return out


def moved(inst, mm=20.0, degrees=0.0):
    """A copy that says that the head was elsewhere."""
    trans = mne.transforms.rotation(np.radians(degrees), 0, 0)
    trans[0, 3] = mm / 1e3
    return changed(inst, dev_head_t=mne.Transform("meg", "head", trans))


# Rank: data, covariance and info are compared.


@functools.cache
def filtered():
    """A Maxwell-filtered recording of 35 dimensions, and its room noise, filtered alike."""
    case, (info, _) = made("dense"), model("dense")
    rng = np.random.default_rng(1)
    noise = np.sqrt(np.diag(case.noise_cov._get_square()))[:, None] * rng.standard_normal(
        (120, 1000)
    )
    sss = functools.partial(
        mne.preprocessing.maxwell_filter,
        origin=CENTRE,
        int_order=5,
        ext_order=2,
        regularize=None,
        verbose="error",
    )
    raw = sss(mne.io.RawArray(case.evoked.data, info.copy(), verbose="error"))
    evoked = mne.EvokedArray(raw.get_data(), raw.info, nave=20, verbose="error")
    room = sss(mne.io.RawArray(noise, info.copy(), verbose="error"))
    return SimpleNamespace(evoked=evoked, forward=case.forward, room=room, truth=case.truth)


def covariance(kind):
    """A noise covariance of the filtered recording."""
    room = filtered().room
    if kind == "ad hoc":
        return mne.make_ad_hoc_cov(room.info, verbose="error")
    if kind == "shrunk":
        return mne.compute_raw_covariance(
            room, tstep=0.2, method="shrunk", rank="full", verbose="error"
        )
    cov = mne.compute_raw_covariance(room, tstep=0.2, verbose="error")
    if kind == "diagonal":
        return cov.as_diag()
    if kind == "regularized":
        return mne.cov.regularize(cov, room.info, rank="full", verbose="error")
    return cov


RANKS = {  # covariance, rank, what is said
    "empirical": ("empirical", None, None),
    "empirical, by info": ("empirical", "info", None),
    "empirical, by number": ("empirical", {"meg": 35}, None),
    "shrunk": ("shrunk", None, "noise_cov has rank 120 in its MEG channels, and the Maxwell.* 35"),
    "shrunk, by info": ("shrunk", "info", None),
    "shrunk, by number": ("shrunk", {"meg": 35}, None),
    "ad hoc": ("ad hoc", None, "noise_cov has rank 120 in its MEG channels"),
    "ad hoc, by info": ("ad hoc", "info", None),
    "diagonal": ("diagonal", None, "noise_cov has rank 120 in its MEG channels"),
    "regularized": ("regularized", None, "noise_cov has rank .* in its MEG channels"),
}


@pytest.mark.parametrize("row", RANKS)
def test_rank_of_filtered_data(row):
    kind, rank, said = RANKS[row]
    case, cov = filtered(), covariance(kind)
    if said is None:
        inverse = fit(case.evoked, case.forward, cov, rank=rank)
    else:
        with pytest.warns(RuntimeWarning, match=said):
            inverse = fit(case.evoked, case.forward, cov, rank=rank)
    assert len(inverse.filter_.whitener) == 35
    answer(inverse, case.evoked, case.truth)


@pytest.mark.parametrize("kind", ["empirical", "shrunk", "ad hoc"])
def test_rank_of_filtered_and_projected_data(kind):
    """Projections after the filter leave its rank."""
    case, cov = filtered(), covariance(kind)
    evoked = case.evoked.copy().add_proj(random_projections(120)).apply_proj(verbose="error")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "noise_cov has rank 118")
        inverse = fit(evoked, case.forward, cov)
    assert len(inverse.filter_.whitener) == 35
    assert sorted(inverse.sources_["vertno"][:2]) == TRUE
    assert inverse.sources_["log_evidence"][2:].max() < 20 or len(inverse.sources_) == 2


def random_projections(n, desc=("one", "two")):
    """Projections against random fields."""
    names = filtered().evoked.ch_names[:n]
    fields = np.linalg.qr(np.random.default_rng(0).standard_normal((n, len(desc))))[0].T
    entries = {"nrow": 1, "ncol": n, "row_names": None, "col_names": names}
    return [
        mne.Projection(data=entries | {"data": field[None]}, active=False, kind=1, desc=name)
        for field, name in zip(fields, desc, strict=True)
    ]


OUTSIDE = {
    "unfiltered data": lambda: (made("dense"), covariance("empirical")),
    "covariance of few samples": lambda: (
        made(),
        data_cov(raw_of().crop(0, 30 / SFREQ)),
    ),
}


@pytest.mark.filterwarnings("ignore:noise_cov was estimated from 30 samples")
@pytest.mark.filterwarnings(
    "ignore:the noise of the data is"
)  # which one of 30 samples cannot tell
@pytest.mark.parametrize("row", OUTSIDE)
def test_data_outside_of_the_covariance(row):
    case, cov = OUTSIDE[row]()
    said = r"% of the power of the data in the MEG channels lie outside of the space of noise_cov"
    with pytest.warns(RuntimeWarning, match=said):
        fit(case.evoked, case.forward, cov)
    with pytest.warns(RuntimeWarning, match=said):
        compare(case.evoked, case.forward, cov, ["zeros"])


def test_rank_in_a_comparison():
    """Every method is handed the covariance and the rank that the fit takes."""
    case = filtered()
    with pytest.warns(RuntimeWarning, match="noise_cov has rank 120"):
        result = compare(case.evoked, case.forward, covariance("ad hoc"), ["vae", "vae_grid"])
    assert list(result.table["status"]) == ["ok", "ok"]
    assert result.table["n_sources"][1] == 2


def test_rank_of_a_covariance_of_filtered_data():
    """The data tell their rank themselves where nothing else does."""
    case = filtered()
    noise, true = case.room.get_data(), np.zeros((120, 1000))
    true[:, :60] = np.sqrt(20) * case.evoked.data
    raw = mne.io.RawArray(noise + true, model("dense")[0], verbose="error")  # of no history
    with pytest.warns(RuntimeWarning, match="MEG channels, and the data 35. The smaller one"):
        inverse = fit(raw, case.forward, covariance("shrunk"))
    assert len(inverse.filter_.whitener) == 35
    assert sorted(inverse.sources_["vertno"][:2]) == TRUE


def projected():
    """A recording with a projection, applied."""
    case = made()
    names = case.evoked.ch_names
    data = np.random.default_rng(0).standard_normal((1, len(names)))
    data = {"data": data / np.linalg.norm(data), "nrow": 1, "ncol": len(names)}
    proj = mne.Projection(
        data=data | {"row_names": None, "col_names": names}, active=False, kind=1, desc="one"
    )
    return case.evoked.copy().add_proj(proj).apply_proj(verbose="error"), case


REFUSED_RANKS = {
    "full, projected": (
        "full",
        "rank='full' asks for 90 in the MEG channels, .* have 89; use rank=None or "
        "rank={'meg': 89}",
    ),
    "number, projected": ({"meg": 90}, "rank={'meg': 90} asks for 90 in the MEG channels"),
}


@pytest.mark.parametrize("row", REFUSED_RANKS)
def test_refused_rank(row):
    rank, said = REFUSED_RANKS[row]
    evoked, case = projected()
    with pytest.raises(ValueError, match=said):
        fit(evoked, case.forward, case.noise_cov, rank=rank)
    with pytest.raises(ValueError, match=said):
        compare(evoked, case.forward, case.noise_cov, ["vae"], rank=rank)
    filtered_ = filtered()
    with pytest.raises(ValueError, match="asks for .* in the MEG channels, .* have 35"):
        fit(filtered_.evoked, filtered_.forward, covariance("shrunk"), rank=rank)


# Every object that is given: head position, filters, complex values.

AWAY = r"has its sensors up to 20.0 mm from where {} has them in the head's coordinates"


def epochs_of(name="VectorView"):
    """Single trials whose average is as good as the recording."""
    case = made(name)
    noise = [made(name, true=(), nave=1, seed=k).evoked.data for k in range(20)]
    clean = case.evoked.data - made(name, true=()).evoked.data
    return mne.EpochsArray(clean + np.array(noise), case.evoked.info, verbose="error")


def raw_of(name="VectorView"):
    """The trials one after the other."""
    return mne.io.RawArray(
        np.concatenate(epochs_of(name).get_data(), axis=1), made(name).evoked.info, verbose="error"
    )


def fit_case(data, case=None, **options):
    """A fit of other data with forward model and covariance of the recording."""
    case = case or made()
    return fit(data, case.forward, case.noise_cov, **options)


def shifted_cap():
    """EEG of electrodes 5 mm further."""
    evoked = made("EEG").evoked.copy()
    for channel in evoked.info["chs"]:
        channel["loc"][0] += 0.005
    return evoked


def data_cov(inst=None):
    return mne.compute_raw_covariance(inst or raw_of(), tstep=None, verbose="error")


def full_epochs(data=None):
    """Epochs with other values."""
    epochs = epochs_of()
    return epochs if data is None else mne.EpochsArray(data, epochs.info, verbose="error")


def complex_of(inst):
    """The same values, as of a Hilbert transform."""
    if isinstance(inst, mne.BaseEpochs):
        return mne.EpochsArray(inst.get_data() * (1 + 1j), inst.info, verbose="error")
    if isinstance(inst, mne.io.BaseRaw):
        return mne.io.RawArray(inst.get_data() * (1 + 1j), inst.info, verbose="error")
    out = inst.copy()
    if isinstance(inst, mne.Covariance):
        out["data"] = inst.data * (1 + 0j)
    else:
        out.data = inst.data * (1 + 1j)
    return out


def bootstrap(epochs, forward=None, cov=None):
    case = made()
    inverse = fit(epochs_of(), case.forward, case.noise_cov)
    return inverse.bootstrap(epochs, forward or case.forward, cov or case.noise_cov, n_bootstrap=2)


def standard_error():
    out = made().evoked.copy()
    out.kind = "standard_error"
    return out


def referenced():
    out = mne.EvokedArray(made("EEG").evoked.data, ARRAYS["EEG"](), nave=20, verbose="error")
    return out.set_eeg_reference("average", projection=False, verbose="error")


@functools.cache
def two_runs():
    """The recording, and another of its sources with the head elsewhere."""
    case, (info, _) = made(), model("VectorView")
    other = elsewhere(info)
    forward = sphere_forward(other, points())
    directions = [tangent(forward["source_rr"][k]) for k in TRUE]
    second = record(forward, other, TRUE, directions, seed=1)
    return SimpleNamespace(
        evoked=[case.evoked, second.evoked],
        forward=[case.forward, forward],
        noise_cov=case.noise_cov,
        truth=[case.truth, second.truth],
    )


@functools.cache
def fitted_runs():
    """A fit of both."""
    return fit_runs(*two_runs().evoked)


def fit_runs(*evoked, forward=None, noise_cov=None, **options):
    """A fit of runs, each with its own forward model."""
    case = two_runs()
    return fit(list(evoked), forward or case.forward, noise_cov or case.noise_cov, **options)


def other_points(n=60, mm=0.0):
    """The forward model of the second run with other positions."""
    src = points(n)
    src[0]["rr"] = src[0]["rr"] + mm / 1e3
    return [made().forward, sphere_forward(two_runs().evoked[1].info, src)]


def test_runs_each_with_its_own_forward():
    case = two_runs()
    for evoked, truth in zip(case.evoked, case.truth, strict=True):
        answer(fitted_runs(), evoked, truth)


MAXWELL = "Maxwell-filtered, and the fit is"
COMPLEX = "holds complex values, as of a Hilbert or a Fourier transform, and real ones are needed"
REFUSED = {  # what is done, and what is said
    # head position
    "moved: forward, evoked": (lambda: fit_case(moved(made().evoked)), AWAY.format("evoked")),
    "moved: forward, epochs": (lambda: fit_case(moved(epochs_of())), AWAY.format("evoked")),
    "moved: forward, raw": (lambda: fit_case(moved(raw_of())), AWAY.format("evoked")),
    "moved: forward, covariance": (
        lambda: fit_case(data_cov(), info=moved(raw_of()).info),
        AWAY.format("evoked"),
    ),
    "moved: list": (
        lambda: fit_case([made().evoked, moved(made().evoked)]),
        "evoked '.*' " + AWAY.format("the fit"),
    ),
    "moved: apply": (lambda: fitted().apply(moved(made().evoked)), AWAY.format("the fit")),
    "moved: apply_epochs": (
        lambda: fitted().apply_epochs(moved(epochs_of())),
        "epochs " + AWAY.format("the fit"),
    ),
    "moved: apply_raw": (
        lambda: fitted().apply_raw(moved(raw_of())),
        "raw " + AWAY.format("the fit"),
    ),
    "moved: residual": (lambda: fitted().residual(moved(made().evoked)), AWAY.format("the fit")),
    "moved: dipoles": (lambda: fitted().dipoles(moved(made().evoked)), AWAY.format("the fit")),
    "moved: operator": (
        lambda: on_the_grid().to_inverse_operator(moved(made().evoked).info, made().forward),
        "info " + AWAY.format("the fit"),
    ),
    "moved: bootstrap": (lambda: bootstrap(moved(epochs_of())), "epochs " + AWAY.format("the fit")),
    "moved: compare": (
        lambda: compare(moved(made().evoked), made().forward, made().noise_cov, ["zeros"]),
        "forward " + AWAY.format("evoked"),
    ),
    "moved: compare, epochs": (
        lambda: compare(
            epochs_of().average(),
            made().forward,
            made().noise_cov,
            ["zeros"],
            epochs=moved(epochs_of()),
        ),
        "epochs " + AWAY.format("evoked"),
    ),
    "turned by 10 degrees": (
        lambda: fit_case(moved(made().evoked, 0, 10)),
        r"up to .* mm and 10\.0° from where evoked has them",
    ),
    "CTF moved": (lambda: fit_case(moved(made("CTF").evoked), made("CTF")), AWAY.format("evoked")),
    "OPM moved": (lambda: fit_case(moved(made("OPM").evoked), made("OPM")), AWAY.format("evoked")),
    "electrodes elsewhere": (
        lambda: fit_case(shifted_cap(), made("EEG")),
        "up to 5.0 mm from where evoked has them .* or other electrodes",
    ),
    "electrodes elsewhere: apply": (
        lambda: fitted("EEG").apply(shifted_cap()),
        "up to 5.0 mm from where the fit has them",
    ),
    # runs of several positions
    "runs: each other's forward": (
        lambda: fit_runs(*two_runs().evoked, forward=two_runs().forward[::-1]),
        r"run 1 of 2: forward has its sensors up to .* mm and .*° from where evoked has them",
    ),
    "runs: one forward twice": (
        lambda: fit_runs(*two_runs().evoked, forward=2 * two_runs().forward[:1]),
        r"run 2 of 2: forward has its sensors .*\(fit\(\[run1, run2\], \[forward1, forward2\]",
    ),
    "runs: one forward": (
        lambda: fit(two_runs().evoked, made().forward, made().noise_cov),
        r"evoked '' has its sensors .* give runs of several positions each its own \(fit\(\[run1",
    ),
    "runs: fewer forwards": (
        lambda: fit_runs(made().evoked, made().evoked, two_runs().evoked[1]),
        r"evoked is a list of 3 runs, and forward one of 2 forward models; .*\(\[\[left1, right1",
    ),
    "runs: no forward": (
        lambda: fit([], [], made().noise_cov),
        "evoked is a list of 0 runs, and forward one of 0",
    ),
    "runs: no list of data": (
        lambda: fit(made().evoked, two_runs().forward, made().noise_cov),
        r"forward must be one mne.Forward .* got a list of Forward; .*fit\(\[run1, run2\]",
    ),
    "runs: covariances": (
        lambda: fit_runs(*two_runs().evoked, noise_cov=3 * [made().noise_cov]),
        "noise_cov is a list of 3, and there are 2 runs; give one for all, or one for each",
    ),
    "runs: covariance without info": (
        lambda: fit_runs(made().evoked, data_cov()),
        "run 2 of 2: info is needed with a covariance",
    ),
    "runs: info without a covariance": (
        lambda: fit_runs(*two_runs().evoked, info=made().evoked.info),
        "run 1 of 2: info goes with a covariance alone",
    ),
    "runs: no data": (lambda: fit_runs(made().evoked, None), "run 2 of 2: data must be an mne.Ev"),
    "runs: a file of no forward": (
        lambda: fit_runs(*two_runs().evoked, forward=[made().forward, None]),
        "run 2 of 2: forward must be an mne.Forward .* got NoneType",
    ),
    "runs: on the grid": (
        lambda: fit_runs(*two_runs().evoked, positions="grid"),
        "forward is a list of 2 forward models, .* use positions='free'",
    ),
    "runs: other source space": (
        lambda: fit_runs(*two_runs().evoked, forward=other_points(61)),
        r"forward models 1 and 2 have other source spaces \(60 and 61 positions\).* the same src",
    ),
    "runs: positions elsewhere": (
        lambda: fit_runs(*two_runs().evoked, forward=other_points(mm=2.0)),
        r"forward models 1 and 2 have their positions up to 3\.5 mm apart .* same src and trans",
    ),
    "runs: one moved": (
        lambda: fit_runs(made().evoked, moved(two_runs().evoked[1])),
        "run 2 of 2: forward has its sensors up to",
    ),
    "runs: one complex": (
        lambda: fit_runs(made().evoked, complex_of(two_runs().evoked[1])),
        "run 2 of 2: .*" + COMPLEX,
    ),
    "runs: one of another rank": (
        lambda: fit_runs(*two_runs().evoked, rank={"meg": 91}),
        "run 1 of 2: rank",
    ),
    "runs: apply": (
        lambda: fitted_runs().apply(moved(made().evoked)),
        r"evoked has its sensors at a head position of its own: from those of run 1 up to 20\.0 "
        r"mm, run 2 up to \d+\.\d mm. Fit again",
    ),
    "runs: apply_epochs": (
        lambda: fitted_runs().apply_epochs(moved(epochs_of())),
        "epochs has its sensors at a head position of its own",
    ),
    "runs: apply_raw": (
        lambda: fitted_runs().apply_raw(moved(raw_of())),
        "raw has its sensors at a head position of its own",
    ),
    "runs: residual": (
        lambda: fitted_runs().residual(moved(made().evoked)),
        "evoked has its sensors at a head position of its own",
    ),
    "runs: apply_cov": (
        lambda: fitted_runs().apply_cov(data_cov()),
        r"info is needed: this inverse was fitted to 2 runs .* apply_cov\(cov, info=raw.info\)",
    ),
    "runs: unknown position": (
        lambda: fitted_runs().apply(changed(made().evoked, dev_head_t=None)),
        r"evoked does not tell where its sensors were \(info\['dev_head_t'\]\), and this inverse",
    ),
    "runs: apply, filtered": (
        lambda: fitted_runs().apply(projected()[0]),
        "evoked has other projections than the fit: it has one",
    ),
    "runs: operator": (
        lambda: fitted_runs().to_inverse_operator(made().evoked.info, made().forward),
        "an inverse operator of MNE has one lead field, and this fit had one for each of 2 runs",
    ),
    "runs: bootstrap of one": (
        lambda: fitted_runs().bootstrap(epochs_of(), made().forward, made().noise_cov),
        "fitted to 2 runs, and epochs holds no list, but EpochsArray; give one of each run",
    ),
    "runs: bootstrap of three": (
        lambda: fitted_runs().bootstrap(3 * [epochs_of()], two_runs().forward, made().noise_cov),
        "fitted to 2 runs, and epochs holds 3; give one of each run",
    ),
    "runs: bootstrap of each other": (
        lambda: fitted_runs().bootstrap(2 * [epochs_of()], two_runs().forward, made().noise_cov),
        "run 2 of 2: epochs has its sensors up to .* from where the fit has them",
    ),
    "runs: compare": (
        lambda: compare(made().evoked, two_runs().forward, made().noise_cov, ["zeros"]),
        r"got a list of Forward; one is needed here; for runs of several head positions it is VAEI",
    ),
    # Maxwell filter
    "filter: list": (
        lambda: fit(
            [filtered().evoked, made("dense").evoked], filtered().forward, covariance("empirical")
        ),
        f"is not {MAXWELL}",
    ),
    "filter: apply": (
        lambda: fitted("dense").apply(filtered().evoked),
        f"evoked is {MAXWELL} not",
    ),
    "filter: apply_raw": (
        lambda: fitted("dense").apply_raw(filtered().room),
        f"raw is {MAXWELL} not",
    ),
    # what is no average, no signal, or has another reference
    "standard error": (lambda: fit_case(standard_error()), "is a standard error, and an average"),
    "standard error: compare": (
        lambda: compare(standard_error(), made().forward, made().noise_cov, ["zeros"]),
        "is a standard error, and an average is needed",
    ),
    "other sensors": (lambda: fit_case(made("EEG").evoked), "have no channel in common"),
    "custom reference": (
        lambda: fit_case(referenced(), made("EEG")),
        r"Custom EEG reference .* Use set_eeg_reference\('average', projection=True\)",
    ),
    "no time": (lambda: fit_case([]), "got a list of nothing"),
    # complex values
    "complex: evoked": (lambda: fit_case(complex_of(made().evoked)), COMPLEX),
    "complex: epochs": (lambda: fit_case(complex_of(epochs_of())), COMPLEX),
    "complex: raw": (lambda: fit_case(complex_of(raw_of())), "raw " + COMPLEX),
    "complex: covariance": (
        lambda: fit_case(complex_of(data_cov()), info=raw_of().info),
        "data covariance " + COMPLEX,
    ),
    "complex: noise": (
        lambda: fit(made().evoked, made().forward, complex_of(made().noise_cov)),
        "noise_cov " + COMPLEX,
    ),
    "complex: list": (lambda: fit_case([made().evoked, complex_of(made().evoked)]), COMPLEX),
    "complex: apply": (lambda: fitted().apply(complex_of(made().evoked)), "evoked " + COMPLEX),
    "complex: apply_epochs": (
        lambda: fitted().apply_epochs(complex_of(epochs_of())),
        "epochs " + COMPLEX,
    ),
    "complex: apply_raw": (lambda: fitted().apply_raw(complex_of(raw_of())), "raw " + COMPLEX),
    "complex: apply_cov": (lambda: fitted().apply_cov(complex_of(data_cov())), COMPLEX),
    "complex: bootstrap": (lambda: bootstrap(complex_of(epochs_of())), "epochs " + COMPLEX),
    "complex: compare": (
        lambda: compare(complex_of(made().evoked), made().forward, made().noise_cov, ["zeros"]),
        COMPLEX,
    ),
}


@pytest.mark.parametrize("row", REFUSED)
def test_refused(row):
    action, said = REFUSED[row]
    with pytest.raises((ValueError, TypeError), match=said):
        action()


NEAR = {
    "0.5 mm": lambda: moved(made().evoked, 0.5),
    "unknown position": lambda: changed(made().evoked, dev_head_t=None),
}


@pytest.mark.parametrize("row", NEAR)
def test_near_enough(row):
    evoked = NEAR[row]()
    answer(fit_case(evoked), evoked, made().truth)
    answer(fitted(), evoked, made().truth)


def test_near_enough_to_one_run():
    answer(fitted_runs(), moved(made().evoked, 0.5), made().truth)


# Short windows: one sample is one.

WINDOWS = {  # low-pass in Hz, number of samples; the noise is white, whatever the info says
    "1 sample at 15 Hz": (15.0, 1),
    "3 samples at 15 Hz": (15.0, 3),
    "10 samples at 15 Hz": (15.0, 10),
    "1 sample, no low-pass": (SFREQ / 2, 1),
    "1 sample, low-pass 0": (0.0, 1),
    "1 sample, low-pass None": (None, 1),
    "20 samples, low-pass None": (None, 20),
}


@pytest.mark.parametrize("row", WINDOWS)
def test_short_window(row):
    lowpass, n = WINDOWS[row]
    case = made(snr_db=20.0)
    first = 10
    window = changed(case.evoked, lowpass=lowpass).crop(first / SFREQ, (first + n - 1) / SFREQ)
    inverse = fit_case(window, case)
    assert inverse.n_effective_ == n
    answer(inverse, window, case.truth[..., first : first + n])


def test_short_windows_in_a_list():
    """Each response counts by its own filter, and as one sample at least."""
    case = made(snr_db=20.0)
    windows = [
        changed(case.evoked, lowpass=hz).crop(k / SFREQ, k / SFREQ)
        for k, hz in ((10, 15.0), (12, 15.0), (14, 60.0))
    ]
    inverse = fit_case(windows, case)
    assert inverse.n_effective_ == pytest.approx(3.0)
    answer(inverse, windows[0], case.truth[..., 10:11])


# A lead field of another toolbox.


@functools.cache
def cortex():
    """A small closed cortex: positions with normals, and sources along them."""
    rr, nn = _ball(60)
    src = mne.setup_volume_source_space(pos={"rr": rr, "nn": nn}, verbose="error")
    info = model("VectorView")[0]
    forward = sphere_forward(info, src)
    return record(forward, info, TRUE, [forward["src"][0]["nn"][k] for k in TRUE])


def _ball(n):
    """Points with tangential normals."""
    rr = points(n)[0]["rr"]
    return rr, np.array([tangent(place) for place in rr])


def own_gain(form):
    """The gains in another order of positions, as those of another model; what was put where."""
    forward = cortex().forward
    perm = np.random.default_rng(0).permutation(60)
    if form in ("surface", "fixed"):
        forward = mne.convert_forward_solution(
            forward, surf_ori=True, force_fixed=form == "fixed", verbose="error"
        )
    # The place takes the normal with it, so that along and across the normal mean the same.
    gain = cortex().forward["sol"]["data"].reshape(90, 60, 3)[:, perm]
    there = cortex().forward["src"][0]["nn"][perm]
    here = cortex().forward["src"][0]["nn"]
    turn = np.stack([_rotation(a, b) for a, b in zip(here, there, strict=True)])
    gain = np.einsum("dgk,gkl->dgl", gain, turn)  # a dipole along the normal here: the one there
    forward = forward.copy()
    if form == "surface":
        axes = forward["source_nn"].reshape(60, 3, 3)
        gain = np.einsum("dgk,gak->dga", gain, axes)
    if form == "fixed":
        gain = np.einsum("dgk,gk->dg", gain, forward["source_nn"])
    forward["sol"]["data"] = gain.reshape(90, -1)
    return forward, sorted(int(np.flatnonzero(perm == k)[0]) for k in TRUE)


def _rotation(a, b):
    """A rotation that takes one unit vector to another."""
    to_a, to_b = (mne.transforms.rotation3d_align_z_axis(v) for v in (a, b))
    return to_b @ to_a.T


GAINS = {  # how the forward model was converted before, and the constraint
    "free, loose 0": ("free", 0.0),
    "free, loose 0.2": ("free", 0.2),
    "free, loose 1": ("free", 1.0),
    "surface, loose 0": ("surface", 0.0),
    "surface, loose 0.2": ("surface", 0.2),
    "surface, loose 1": ("surface", 1.0),
    "fixed": ("fixed", "auto"),
}


@pytest.mark.parametrize("row", GAINS)
def test_own_gain(row, tmp_path):
    form, loose = GAINS[row]
    forward, places = own_gain(form)
    case, options = cortex(), {} if loose == "auto" else {"loose": loose}
    options = {"loose": {"discrete": loose}} if options else {}
    inverse = fit(case.evoked, forward, case.noise_cov, positions="grid", **options)
    assert sorted(inverse.sources_["vertno"]) == places
    inverse.to_inverse_operator(case.evoked.info, forward)  # is that of the fit


def test_own_gain_in_a_comparison():
    """Every method is given the gain that is in the forward model."""
    forward, places = own_gain("free")
    case = cortex()
    result = compare(
        case.evoked, forward, case.noise_cov, ["vae_fixed", "irmxne", "sloreta"], loose=0.0
    )
    for name in ("vae_fixed", "irmxne"):
        stc = result.estimates[name]
        assert sorted(stc.vertices[0]) == places
    assert result.estimates["sloreta"].get_peak()[0] in places


def test_own_gain_of_another_shape():
    forward = cortex().forward.copy()
    forward["sol"]["data"] = forward["sol"]["data"][:, :60]
    with pytest.raises(ValueError, match=r"has shape \(90, 60\), and its 90 channels and 60"):
        fit_case(cortex().evoked, SimpleNamespace(forward=forward, noise_cov=cortex().noise_cov))


# Values that are not numbers: they matter where a channel takes part, and nowhere else.


def with_nan(inst, where):
    """Values of one channel are NaN: a good one, a bad one, one of another kind, an electrode."""
    good = [name for name in inst.ch_names if name.startswith("MEG")]
    out = inst.copy()
    name = {"bad": good[3], "good": good[3]}.get(where, where)
    if where == "bad":
        out.info["bads"] = [name]
    elif where != "good":
        data = np.zeros((len(inst.ch_names) + 1, *inst.get_data().shape[-1:]))
        kind = {"misc": "misc", "eyegaze": "eyegaze", "EEG 001": "eeg"}[where]
        extra = mne.create_info([name], SFREQ, kind)
        with extra._unlock():
            extra["dev_head_t"] = inst.info["dev_head_t"]
        shape = list(inst.get_data().shape)
        shape[-2] = 1
        cls = {mne.Evoked: mne.EvokedArray}.get(type(inst), type(inst))
        data, own = np.zeros(shape), {}
        if isinstance(inst, mne.Evoked):
            cls, own = mne.EvokedArray, {"tmin": inst.tmin, "nave": inst.nave}
        elif isinstance(inst, mne.BaseEpochs):
            own = {"tmin": inst.tmin}
        out.add_channels([cls(data, extra, **own, verbose="error")], force_update_info=True)
    if isinstance(out, mne.Evoked):
        out.data[out.ch_names.index(name), 2:5] = np.nan
    else:
        out._data[..., out.ch_names.index(name), 2:5] = np.nan
    return out


KINDS = {"evoked": lambda: made().evoked, "epochs": epochs_of, "raw": raw_of}
ELSEWHERE = ("bad", "misc", "eyegaze", "EEG 001")


@pytest.mark.parametrize("where", ELSEWHERE)
@pytest.mark.parametrize("kind", KINDS)
def test_nan_elsewhere(kind, where):
    data = with_nan(KINDS[kind](), where)
    inverse = fit_case(data)
    assert sorted(inverse.sources_["vertno"][:2]) == TRUE
    assert np.isfinite(inverse.filter_.inverse_map).all()
    if where != "bad":
        verb = {"evoked": "apply", "epochs": "apply_epochs", "raw": "apply_raw"}[kind]
        found = getattr(fitted(), verb)(data)
        for stc in found if isinstance(found, list) else [found]:
            assert np.isfinite(stc.data).all()


@pytest.mark.parametrize("where", ELSEWHERE)
def test_nan_elsewhere_in_bootstrap_and_comparison(where):
    epochs = with_nan(epochs_of(), where)
    case, average = made(), epochs.average(picks="all")
    if where != "bad":
        assert bootstrap(epochs).sources["probability"].notna().all()
    result = compare(average, case.forward, case.noise_cov, ["vae_grid"], epochs=epochs, n_folds=2)
    assert list(result.table["status"]) == ["ok"]
    assert result.table["heldout_error"][0] == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize("kind", KINDS)
def test_nan_in_a_good_channel(kind):
    data = with_nan(KINDS[kind](), "good")
    name = {"evoked": "evoked", "epochs": "evoked", "raw": "raw"}[kind]
    said = rf"{name} has NaN or infinite values in 1 good channels \(MEG 0010\)"
    with pytest.raises(ValueError, match=said):
        fit_case(data)


def test_nan_in_the_covariance():
    """Of a channel that is bad in the data it does not matter."""
    case = made()
    cov = mne.Covariance(
        case.noise_cov._get_square(), case.noise_cov.ch_names, [], [], case.noise_cov["nfree"]
    )
    cov["data"][3] = cov["data"][:, 3] = np.nan
    with pytest.raises(ValueError, match="noise_cov has NaN or infinite entries in the channels"):
        fit(case.evoked, case.forward, cov)
    bad = case.evoked.copy()
    bad.info["bads"] = [cov.ch_names[3]]
    assert sorted(fit(bad, case.forward, cov).sources_["vertno"]) == TRUE


REFUSED_NAN = {
    "bootstrap": (
        lambda: bootstrap(with_nan(epochs_of(), "good")),
        r"epochs has NaN .* \(MEG 0010\)",
    ),
    "compare": (
        lambda: compare(with_nan(made().evoked, "good"), made().forward, made().noise_cov),
        r"evoked has NaN .* \(MEG 0010\)",
    ),
    "compare, epochs": (
        lambda: compare(
            epochs_of().average(),
            made().forward,
            made().noise_cov,
            ["zeros"],
            epochs=with_nan(epochs_of(), "good"),
            n_folds=2,
        ),
        r"has NaN .* \(MEG 0010\)",
    ),
}


@pytest.mark.parametrize("row", REFUSED_NAN)
def test_refused_nan(row):
    action, said = REFUSED_NAN[row]
    with pytest.raises(ValueError, match=said):
        action()


# Arguments: what was given in the place of what.


def saved(inst, name):
    """A file in a folder of its own."""
    path = Path(tempfile.mkdtemp()) / name
    if isinstance(inst, mne.Forward):
        mne.write_forward_solution(path, inst, verbose="error")
    else:
        inst.save(path, verbose="error")
    return path


def operator():
    """MNE's inverse operator."""
    return on_the_grid().to_inverse_operator(made().evoked.info, made().forward)


ORDER = r"the order is \(evoked, forward, noise_cov\)"
WRONG = {  # evoked, forward, noise_cov -> message
    "forward and covariance swapped": (
        lambda e, f, c: (e, c, f),
        f"forward must be an mne.Forward or the name of its file, got Covariance; {ORDER}",
    ),
    "evoked and forward swapped": (
        lambda e, f, c: (f, e, c),
        f"forward must be an mne.Forward .*, got EvokedArray; {ORDER}",
    ),
    "evoked and covariance swapped": (
        lambda e, f, c: (c, f, e),
        f"noise_cov must be one mne.Covariance or the name of its file, got EvokedArray; {ORDER}",
    ),
    "list of covariances": (
        lambda e, f, c: (e, f, [c, c]),
        "noise_cov must be one .*, got a list of Covariance; choose one: .* the first is the best",
    ),
    "list of forwards": (
        lambda e, f, c: (e, [f, f], c),
        "forward must be .*, got a list of Forward",
    ),
    "inverse operator": (
        lambda e, f, c: (e, operator(), c),
        "forward must be .*, got InverseOperator; give the forward model that this operator was",
    ),
    "no forward": (lambda e, f, c: (e, None, c), "forward must be .*, got NoneType"),
    "no covariance": (lambda e, f, c: (e, f, None), "noise_cov must be one .*, got NoneType"),
    "covariance as an array": (lambda e, f, c: (e, f, c.data), "noise_cov must .*, got ndarray"),
    "path of no file": (
        lambda e, f, c: (e, "nowhere-fwd.fif", c),
        "forward='nowhere-fwd.fif': there is no such file",
    ),
    "path of data": (
        lambda e, f, c: ("x-ave.fif", f, c),
        r"got str \('x-ave.fif'; read it with mne.read_evokeds",
    ),
    "data as an array": (lambda e, f, c: (e.data, f, c), "got ndarray"),
}


@pytest.mark.parametrize("row", WRONG)
def test_wrong_arguments(row):
    given, said = WRONG[row]
    case = made()
    arguments = given(case.evoked, case.forward, case.noise_cov)
    with pytest.raises((TypeError, FileNotFoundError), match=said):
        fit(*arguments)
    with pytest.raises((TypeError, FileNotFoundError), match=said):
        compare(*arguments, ["zeros"])


def test_paths_are_read():
    case = made()
    forward, cov = saved(case.forward, "x-fwd.fif"), saved(case.noise_cov, "x-cov.fif")
    answer(fit(case.evoked, forward, str(cov)), case.evoked, case.truth)
    assert compare(case.evoked, str(forward), cov, ["vae"]).table["n_sources"][0] == 2
    epochs = epochs_of()
    assert len(fit(epochs, forward, cov).bootstrap(epochs, forward, cov, n_bootstrap=2).sources)


# The shell: the same path as in Python, one line of error.


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Files of a recording, of its trials and of a spoiled recording."""
    folder = tmp_path_factory.mktemp("files")
    case = made("BTi")
    mne.write_forward_solution(folder / "x-fwd.fif", case.forward, verbose="error")
    case.noise_cov.save(folder / "x-cov.fif", verbose="error")
    mne.write_evokeds(folder / "x-ave.fif", case.evoked, verbose="error")
    mne.write_evokeds(folder / "moved-ave.fif", moved(case.evoked), verbose="error")
    mne.write_evokeds(folder / "nan-ave.fif", with_nan(case.evoked, "good"), verbose="error")
    mne.write_evokeds(folder / "bad-ave.fif", with_nan(case.evoked, "bad"), verbose="error")
    mne.write_evokeds(folder / "eeg-ave.fif", with_nan(case.evoked, "EEG 001"), verbose="error")
    spoiled_raw().save(folder / "x_raw.fif", verbose="error")
    return folder


def spoiled_raw():
    """A recording with another, stronger source in samples that are annotated as bad."""
    raw = raw_of("BTi")
    raw._data[:, 200:260] += 300 * made("BTi", true=(5,)).evoked.data
    return raw.set_annotations(mne.Annotations([200 / SFREQ], [60 / SFREQ], ["BAD_artefact"]))


def shell(files, name, *more, command="localize", out="out"):
    """Run a command on files."""
    names = [str(files / one) for one in (name, "x-fwd.fif", "x-cov.fif")]
    return main([command, *names, "-o", str(out), *map(str, more)])


WINDOW = ["--tmin", "0.8", "--tmax", "1.5"]


@pytest.mark.parametrize("more", [[], WINDOW], ids=["all of it", "a window"])
@pytest.mark.usefixtures("undrawn")
def test_bad_samples_in_the_shell(files, tmp_path, capsys, more):
    assert shell(files, "x_raw.fif", *more, out=tmp_path / "out") == 0
    assert "60 of " in (said := capsys.readouterr().err)
    assert "samples of x_raw.fif are annotated as bad and left out" in said
    found = pd.read_csv(tmp_path / "out" / "sources.csv")
    raw = mne.io.read_raw_fif(files / "x_raw.fif", verbose="error")
    raw = raw.crop(0.8, 1.5) if more else raw
    inverse = fit_case(raw, made("BTi"))
    assert list(found["vertno"]) == list(inverse.sources_["vertno"])
    for name in ("peak_nAm", "log_evidence"):
        np.testing.assert_allclose(
            found[name], inverse.sources_[name], rtol=0.02
        )  # rounding of a file, and where a descent ends
    np.testing.assert_allclose(
        found["peak_s"], inverse.sources_["peak_s"] + (0.8 if more else 0), atol=1e-9
    )
    assert sorted(found["vertno"][:2]) == TRUE
    assert 5 not in set(found["vertno"])


def test_bad_samples_in_a_comparison_in_the_shell(files, tmp_path):
    assert (
        shell(
            files,
            "x_raw.fif",
            "--methods",
            "vae",
            *WINDOW,
            command="compare",
            out=tmp_path / "out",
        )
        == 0
    )
    table = pd.read_csv(tmp_path / "out" / "comparison.csv")
    assert table["n_sources"][0] == 2


@pytest.mark.parametrize("name", ["bad-ave.fif", "eeg-ave.fif"])
@pytest.mark.usefixtures("undrawn")
def test_nan_elsewhere_in_the_shell(files, tmp_path, name):
    more = ["--lowpass", "40", "--reg", "0.05"]
    assert shell(files, name, *more, out=tmp_path / "out") == 0
    assert sorted(pd.read_csv(tmp_path / "out" / "sources.csv")["vertno"]) == TRUE


SHELL = {  # file, options -> what is said
    "moved": ("moved-ave.fif", [], "forward has its sensors up to 20.0 mm from where evoked has"),
    "moved, compare": ("moved-ave.fif", "compare", "up to 20.0 mm from where evoked has"),
    "NaN": ("nan-ave.fif", [], "NaN or infinite values in 1 good channels (MEG 0030)"),
    "baseline of a recording": ("x_raw.fif", ["--baseline", "0", "1"], "--baseline is for respons"),
}


@pytest.mark.parametrize("row", SHELL)
def test_one_line_in_the_shell(row, files, tmp_path, capsys):
    one_line(*SHELL[row], files, tmp_path, capsys)


def one_line(name, more, said, files, tmp_path, capsys):
    command, more = ("localize", more) if isinstance(more, list) else (more, ["--methods", "zeros"])
    assert shell(files, name, *more, command=command, out=tmp_path / "out") == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert said in err
    assert not (tmp_path / "out").exists()


# Processes.

FORK = """
import multiprocessing as mp, numpy as np, torch, warnings
from meg_vae import SparseVAE
torch.set_num_threads(2)
rng = np.random.default_rng(0)
Phi = rng.standard_normal((100, 3000))
X = Phi[:, [5]] @ rng.standard_normal((1, 20)) + 0.1 * rng.standard_normal((100, 20))
def fit(_=0):
    return int(SparseVAE(1).fit(Phi, X).gamma_.argmax())
def own(_=0):
    return float((torch.ones(999, 999) @ torch.ones(999, 999)).sum())
warnings.simplefilter("ignore")
print(FIRST(), flush=True)
with mp.get_context("fork").Pool(1) as pool:
    print(pool.apply_async(fit).get(timeout=40))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("first", ["fit", "own"])
def test_fork_after_threads(first):
    """A fit in a forked process ends, whoever has used torch's threads before."""
    code = FORK.replace("FIRST", first)
    env = {**os.environ, "OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=90, env=env
    )
    assert done.stdout.splitlines()[-1:] == ["5"], done.stderr


# Options, files and noise that no recording has.

OPTIONS = {
    "anneal": ({"noise_variance": "anneal"}, "lets the noise vanish, .*; use 'learn'"),
    "noise 0": ({"noise_variance": 0}, "noise_variance=0 must be 'learn', 'per_channel' or a pos"),
    "noise NaN": ({"noise_variance": np.nan}, "noise_variance=nan must be"),
    "noise negative": ({"noise_variance": -1.0}, "noise_variance=-1.0 must be"),
    "noise in words": ({"noise_variance": "some"}, "noise_variance='some' must be 'learn'"),
    "evidence NaN": ({"min_log_evidence": np.nan}, "min_log_evidence=nan must be a number of nats"),
    "evidence negative": ({"min_log_evidence": -5}, "min_log_evidence=-5 must be a number of nats"),
    "evidence infinite": ({"min_log_evidence": np.inf}, "min_log_evidence=inf must be"),
    "loose NaN": ({"loose": np.nan}, "loose=nan must be 'auto' or a number from 0"),
    "loose negative": ({"loose": -0.1}, "loose=-0.1 must be 'auto' or a number from 0"),
}


@pytest.mark.parametrize("row", OPTIONS)
def test_refused_options(row):
    options, said = OPTIONS[row]
    with pytest.raises(ValueError, match=said):
        fit_case(made().evoked, **options)


def scaled(data=1.0, offset=0.0, cov=1.0, **info):
    """The recording in other units, on a constant field, with another covariance."""
    case = made()
    evoked, noise_cov = case.evoked.copy(), case.noise_cov.copy()
    evoked.data = data * evoked.data + offset
    noise_cov["data"] = cov * noise_cov.data
    evoked.nave = info.get("nave", evoked.nave)
    return evoked, case.forward, noise_cov


NOISE = {
    "no baseline": ({"offset": 1e-8}, "times what noise_cov says, .*: the baseline was not"),
    "data in other units": ({"data": 1e6}, "the units are wrong"),
    "covariance in other units": ({"cov": 1e12}, "noise_cov is of other data or in other units"),
    "covariance of nothing": ({"cov": 1e-12}, "noise_cov is of other data"),
    "nave too small": ({"cov": 1.0, "nave": 1, "data": 0.5}, "evoked.nave is too small"),
    "nave too large": ({"nave": 20_000}, "or evoked.nave is too large"),
}


@pytest.mark.parametrize("row", NOISE)
def test_noise_of_no_recording(row):
    options, said = NOISE[row]
    with pytest.warns(RuntimeWarning, match=said) as caught:
        fit(*scaled(**options), positions="grid")
    assert not [one for one in caught if "noise alone" in str(one.message)]


def inverse_state(path):
    """What a file holds."""
    state = read_state(path)
    del state["version"]
    return state


def test_files_of_a_home(tmp_path, monkeypatch):
    """A tilde is the home folder, as in MNE."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    path = fitted().save("~/x-vae.h5")
    assert path == tmp_path / "x-vae.h5"
    again = read_vae_inverse("~/x-vae.h5")
    answer(again, made().evoked, made().truth)
    with pytest.raises(ValueError, match=AWAY.format("the fit")):  # a file knows where heads were
        again.apply(moved(made().evoked))
    state = inverse_state(path)
    for name in ("places", "dev_head_t", "maxwell_rank"):
        del state["filters"][0]["sensors"][name]
    del state["filters"][0]["positions"]["vertices"]
    write_state(path, state, overwrite=True)
    older = read_vae_inverse(path)  # which did not
    answer(older, made().evoked, made().truth)
    older.apply(moved(made().evoked))
    with pytest.raises(ValueError, match="full=True needs all positions .* fit again"):
        older.apply(made().evoked, full=True)
    case = made()
    for name, inst in (("x-fwd.fif", case.forward), ("x-cov.fif", case.noise_cov)):
        shutil.move(saved(inst, name), tmp_path / name)
    assert len(fit(case.evoked, "~/x-fwd.fif", "~/x-cov.fif").sources_) == 2


NUMBERS = {  # options of localize on the command line
    "tmin NaN": (["--tmin", "nan"], "the window from --tmin nan"),
    "lowpass negative": (["--lowpass", "-4"], "--lowpass -4 must be above 0"),
    "lowpass NaN": (["--lowpass", "nan"], "--lowpass nan must be above 0"),
    "reg negative": (["--reg", "-1"], "--reg -1 must be a number from 0 to 1"),
    "reg NaN": (["--reg", "nan"], "--reg nan must be a number from 0 to 1"),
    "evidence NaN": (["--min-log-evidence", "nan"], "min_log_evidence=nan must be a number"),
    "evidence negative": (["--min-log-evidence", "-5"], "min_log_evidence=-5.0 must be"),
    "noise": (["--noise-variance", "anneal"], "noise_variance='anneal' lets the noise vanish"),
    "baseline NaN": (["--baseline", "nan", "0"], "--baseline nan 0 must go forward"),
}


@pytest.mark.parametrize("row", NUMBERS)
def test_numbers_in_the_shell(row, files, tmp_path, capsys):
    one_line("x-ave.fif", *NUMBERS[row], files, tmp_path, capsys)


OTHER_NUMBERS = {
    "demo, snr": (["demo", "--snr", "inf"], "--snr inf must be a finite number of dB"),
    "demo, seed": (["demo", "--seed", "-1"], "--seed -1 must be a whole number from 0 on"),
}


@pytest.mark.parametrize("row", OTHER_NUMBERS)
def test_numbers_of_other_commands(row, tmp_path, capsys):
    args, said = OTHER_NUMBERS[row]
    assert main([*args, "--spacing", "ico3", "-o", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err


# Volumes: what MNE's functions need is every position.


@functools.cache
def volume():
    """A grid of positions in an MRI of two segments, and its files."""
    folder = Path(tempfile.mkdtemp())
    labels = np.zeros((64, 64, 64), np.int32)
    labels[:32], labels[32:] = 9, 48  # FreeSurfer's thalami
    image = nibabel.MGHImage(labels, np.diag([4.0, 4.0, 4.0, 1.0]))
    nibabel.save(image, folder / "aseg.mgz")
    src = mne.setup_volume_source_space(
        None,
        pos=16.0,
        mri=folder / "aseg.mgz",
        sphere=(*CENTRE, 0.06),
        sphere_units="m",
        add_interpolator=True,
        verbose="error",
    )
    info = model("VectorView")[0]
    forward = sphere_forward(info, src)
    return SimpleNamespace(forward=forward, info=info, aseg=folder / "aseg.mgz", folder=folder)


@functools.cache
def in_volume(n_sources):
    """A recording of sources on the grid, and its fit."""
    here = volume()
    true = [5, len(here.forward["source_rr"]) - 9][:n_sources]
    directions = [tangent(here.forward["source_rr"][k]) for k in true]
    case = record(here.forward, here.info, true, directions, snr_db=15)
    inverse = fit(case.evoked, here.forward, case.noise_cov)
    every = here.forward["src"][0]["vertno"]
    assert sorted(inverse.sources_["vertno"]) == sorted(every[true])
    return case, inverse, true


@pytest.mark.parametrize("n_sources", [1, 2])
@pytest.mark.parametrize("verb", ["apply", "vector", "epochs", "raw", "cov"])
def test_every_position(verb, n_sources):
    case, inverse, true = in_volume(n_sources)
    raw = mne.io.RawArray(case.evoked.data, case.evoked.info, verbose="error")
    epochs = mne.EpochsArray(case.evoked.data[None], case.evoked.info, verbose="error")
    make = {
        "apply": lambda **full: inverse.apply(case.evoked, **full),
        "vector": lambda **full: inverse.apply(case.evoked, "vector", **full),
        "epochs": lambda **full: inverse.apply_epochs(epochs, **full)[0],
        "raw": lambda **full: inverse.apply_raw(raw, **full),
        "cov": lambda **full: inverse.apply_cov(data_cov(raw), **full),
    }[verb]
    sparse, full = make(), make(full=True)
    assert type(full) is type(sparse)
    assert len(full.data) == volume().forward["nsource"]
    np.testing.assert_array_equal(full.data[true], sparse.data)
    assert not np.delete(full.data, true, axis=0).any()


@pytest.mark.parametrize("n_sources", [1, 2])
def test_functions_of_volumes(n_sources):
    """What crashes on a sparse estimate, or lights the whole brain, does what it should."""
    case, inverse, true = in_volume(n_sources)
    here, full = volume(), inverse.apply(case.evoked, full=True)
    src = here.forward["src"]
    image = np.asarray(full.as_volume(src).dataobj)
    assert (image.any(-1)).sum() == n_sources
    assert image.max() == pytest.approx(full.data.max(), rel=1e-5)
    courses = mne.extract_label_time_course(full, str(here.aseg), src, mode="max", verbose="error")
    assert np.isfinite(courses).all()
    peak = full.get_peak()[0]
    assert peak in src[0]["vertno"][true]


@pytest.mark.parametrize("fine", [False, True])
@pytest.mark.parametrize("n_sources", [1, 2])
def test_nifti(tmp_path, n_sources, fine):
    case, inverse, true = in_volume(n_sources)
    src = volume().forward["src"]
    path = inverse.to_nifti(tmp_path / "x.nii.gz", src, mri_resolution=fine)
    image = nibabel.load(path)
    data = np.asarray(image.dataobj)
    peak = np.argwhere(data.max(-1) == data.max())[0]
    where = mne.transforms.apply_trans(image.affine, peak)
    places = src[0]["rr"][src[0]["vertno"][true]]  # in surface RAS; an image is in the MRI's own
    places = 1e3 * mne.transforms.apply_trans(src[0]["mri_ras_t"], places)
    assert np.linalg.norm(places - where, axis=1).min() < (9 if fine else 1)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        inverse.to_nifti(path, src)
    assert [one.name for one in tmp_path.iterdir()] == ["x.nii.gz"]


NO_NIFTI = {
    "no volume": (lambda p: fitted().to_nifti(p / "x.nii", made().forward), "is discrete"),
    "another source space": (
        lambda p: in_volume(1)[1].to_nifti(p / "x.nii", _fewer(volume().forward["src"])),
        "src is not the source space of the fit",
    ),
    "another ending": (
        lambda p: in_volume(1)[1].to_nifti(p / "x.img", volume().forward),
        "must end with .nii or .nii.gz",
    ),
    "no source space": (lambda p: in_volume(1)[1].to_nifti(p / "x.nii", 3), "got int"),
}


def _fewer(src):
    src = src.copy()
    src[0]["vertno"] = src[0]["vertno"][1:]
    return src


@pytest.mark.parametrize("row", NO_NIFTI)
def test_refused_nifti(row, tmp_path):
    action, said = NO_NIFTI[row]
    with pytest.raises((ValueError, TypeError), match=said):
        action(tmp_path)
    assert not list(tmp_path.iterdir())


# MNI coordinates, where the subject allows.


@pytest.fixture(scope="module")
def subjects(tmp_path_factory):
    """Subjects with a Talairach transform that doubles, with a broken one, and with none."""
    folder = tmp_path_factory.mktemp("subjects")
    image = nibabel.MGHImage(np.zeros((8, 8, 8), np.uint8), np.diag([2.0, 2.0, 2.0, 1.0]))
    rows = "\n".join(["2 0 0 1", "0 2 0 2", "0 0 2 3;"])
    for name, text in (("sub-01", rows), ("sub-02", "nothing"), ("sub-03", None)):
        mri = folder / name / "mri"
        (mri / "transforms").mkdir(parents=True)
        nibabel.save(image, mri / "T1.mgz")
        if text is not None:
            text = f"MNI Transform File\n\nTransform_Type = Linear;\nLinear_Transform =\n{text}\n"
            (mri / "transforms" / "talairach.xfm").write_text(text)
    return folder


MNI = ["mni_x_mm", "mni_y_mm", "mni_z_mm"]
IN_MNI = {"sub-01": True, "sub-02": False, "sub-03": False, "fsaverage": True, None: False}


@pytest.mark.parametrize("subject", IN_MNI)
def test_mni_coordinates(subject, subjects, tmp_path):
    options = {"subject": subject, "subjects_dir": subjects}
    if subject == "sub-02":
        with pytest.warns(RuntimeWarning, match="no MNI coordinates: .*talairach.xfm cannot be"):
            inverse = fit_case(made().evoked, **options)
    else:
        inverse = fit_case(made().evoked, **options)
    table = inverse.sources_
    if not IN_MNI[subject]:
        assert not set(MNI) & set(table.columns)
        return
    assert list(table.columns[-3:]) == MNI
    expected = table[["x_mm", "y_mm", "z_mm"]].to_numpy()
    if subject == "sub-01":
        places = inverse.filter_.positions.rr_head
        trans = made().forward["mri_head_t"]
        expected = mne.head_to_mni(places, subject, trans, subjects)
    np.testing.assert_allclose(table[MNI], expected, atol=1e-3)
    again = read_vae_inverse(inverse.save(tmp_path / "x-vae.h5"))
    assert again.sources_.equals(table)


# Ranks as numbers, conditions by tags, sphere models.

BY_NUMBER = {  # array, rank -> rank used
    "number": ("VectorView", 60, 60),
    "meg": ("VectorView", {"meg": 60}, 60),
    "magnetometers alone": ("BTi", {"meg": 40}, 40),
    "magnetometers alone, by name": ("BTi", {"mag": 40}, 40),
    "magnetometers alone, a number": ("BTi", 40, 40),
    "EEG": ("EEG", 30, 30),
    "EEG, and a kind that is not there": ("EEG", {"eeg": 30, "meg": 300}, 30),
    "two kinds": ("MEG and EEG", {"meg": 50, "eeg": 30}, 80),
}


@pytest.mark.parametrize("row", BY_NUMBER)
def test_rank_by_number(row):
    name, rank, used = BY_NUMBER[row]
    case = made(name)
    inverse = fit_case(case.evoked, case, rank=rank)
    assert len(inverse.filter_.whitener) == used


NO_RANK = {
    "negative": ("VectorView", -3),
    "zero": ("VectorView", {"meg": 0}),
    "NaN": ("VectorView", np.nan),
    "words": ("VectorView", "some"),
    "half a channel": ("VectorView", {"meg": 50.5}),
    "magnetometers of both": ("VectorView", {"mag": 30, "grad": 60}),
    "one number for two kinds": ("MEG and EEG", 80),
}


@pytest.mark.parametrize("row", NO_RANK)
def test_no_rank(row):
    name, rank = NO_RANK[row]
    with pytest.raises(ValueError, match="must be None, 'info', 'full' or a whole number for each"):
        fit_case(made(name).evoked, made(name), rank=rank)
    with pytest.raises(ValueError, match="must be None, 'info', 'full' or a whole number for each"):
        compare(made(name).evoked, made(name).forward, made(name).noise_cov, ["zeros"], rank=rank)


OF_TAGS = {  # condition -> trials
    "left": [0, 1, 2, 4],
    "left/standard": [0, 1],
    "standard/left": [0, 1],
    "left/deviant": [2, 4],
    "right": [3],
    "deviant": [2, 3, 4],
    "1": [2, 4],
}


@pytest.mark.parametrize("condition", OF_TAGS)
def test_conditions_by_tags(condition, tmp_path):
    case = made("BTi")
    kinds = {"left/standard": 1, "left/deviant": 2, "right/deviant": 3}
    events = np.column_stack([np.arange(5), np.zeros(5, int), [1, 1, 2, 3, 2]])
    data = epochs_of("BTi").get_data()[:5]
    epochs = mne.EpochsArray(data, case.evoked.info, events, 0.0, kinds, verbose="error")
    paths = [tmp_path / one for one in ("x-epo.fif", "x-fwd.fif", "x-cov.fif")]
    epochs.save(paths[0], fmt="double", verbose="error")
    mne.write_forward_solution(paths[1], case.forward, verbose="error")
    case.noise_cov.save(paths[2], verbose="error")
    read = read_inputs(DataOptions(*paths, condition=condition, epochs=paths[0]))
    rows = OF_TAGS[condition]
    np.testing.assert_allclose(read.evoked.data, data[rows].mean(0), rtol=1e-6, atol=1e-20)
    assert read.evoked.nave == len(rows)
    if not condition.isdigit():
        assert len(read.epochs) == len(rows)


@pytest.mark.usefixtures("undrawn")
def test_a_tag_of_several_responses(files, tmp_path, capsys):
    first, second = made("BTi").evoked.copy(), made("BTi").evoked.copy()
    first.comment, second.comment = "left/standard", "right/standard"
    folder = shutil.copytree(files, tmp_path / "files")
    mne.write_evokeds(folder / "x-ave.fif", [first, second], overwrite=True, verbose="error")
    assert shell(folder, "x-ave.fif", "--condition", "left", out=tmp_path / "out") == 0
    capsys.readouterr()
    assert shell(folder, "x-ave.fif", "--condition", "standard", out=tmp_path / "no") == 2
    assert "is there more than once" in capsys.readouterr().err


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    """Sensors with digitized points, a transform and a source space."""
    folder = tmp_path_factory.mktemp("head")
    info = model("BTi")[0].copy()
    rng = np.random.default_rng(0)
    dig = rng.standard_normal((60, 3))
    dig = CENTRE + 0.09 * dig / np.linalg.norm(dig, axis=1, keepdims=True)
    montage = mne.channels.make_dig_montage(
        nasion=[0, 0.09, 0.04], lpa=[-0.09, 0, 0.04], rpa=[0.09, 0, 0.04], hsp=dig
    )
    with info._unlock():
        info["dig"] = montage.dig
    evoked = mne.EvokedArray(np.zeros((60, 1)), info, verbose="error")
    mne.write_evokeds(folder / "x-ave.fif", evoked, verbose="error")
    trans = mne.Transform("head", "mri", np.eye(4))
    mne.write_trans(folder / "x-trans.fif", trans)
    src = points()
    src.save(folder / "x-src.fif", verbose="error")
    return folder


def forward(head, out, *more):
    given = ["--info", "x-ave.fif", "--trans", "x-trans.fif", "--src", "x-src.fif"]
    given = [str(head / one) if one.endswith(".fif") else one for one in given]
    return main(["forward", *given, "-o", str(out), *more])


@pytest.mark.parametrize("sphere", ["auto", "0,0,0.04,0.09"])
def test_sphere_models_in_the_shell(head, tmp_path, sphere):
    out = tmp_path / "x-fwd.fif"
    assert forward(head, out, "--sphere", sphere) == 0
    read = mne.read_forward_solution(out, verbose="error")
    gain, expected = read["sol"]["data"], model("BTi")[1]["sol"]["data"]
    # A sphere of the same centre: that of the fit lies within a millimetre of it.
    assert np.linalg.norm(gain - expected) < 0.05 * np.linalg.norm(expected)


SPHERES = {
    "words": (["--sphere", "round"], "--sphere 'round' must be auto, or X,Y,Z,RADIUS in m"),
    "three numbers": (["--sphere", "0,0,0.04"], "must be auto, or X,Y,Z,RADIUS in m"),
    "NaN": (["--sphere", "0,0,nan,0.09"], "must be finite, with a radius above 0"),
    "negative radius": (["--sphere", "0,0,0.04,-1"], "must be finite, with a radius above 0"),
    "neither": ([], "give a BEM solution (--bem) or a sphere model (--sphere), one of them"),
    "both": (["--sphere", "auto", "--bem", "x"], "one of them"),
    "mindist NaN": (["--sphere", "auto", "--mindist", "nan"], "--mindist nan must be a number of"),
    "mindist negative": (["--sphere", "auto", "--mindist", "-3"], "--mindist -3 must be a number"),
}


@pytest.mark.parametrize("row", SPHERES)
def test_refused_spheres(row, head, tmp_path, capsys):
    more, said = SPHERES[row]
    assert forward(head, tmp_path / "x-fwd.fif", *more) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


# Prior weights of the positions.


def weighted(weights, **options):
    case = made()
    inverse = VAEInverse(**options)
    return inverse.fit(case.evoked, case.forward, case.noise_cov, weights=weights)


def estimate(n_times=1, shift=0, subject=None, vector=False):
    """Weights as an estimate on the points."""
    vertno = model("VectorView")[1]["src"][0]["vertno"] + shift
    if vector:
        return mne.VolVectorSourceEstimate(np.zeros((60, 3, 1)), [vertno], 0, 1)
    return mne.VolSourceEstimate(np.zeros((60, n_times)), [vertno], 0, 1, subject=subject)


NO_WEIGHTS = {
    "too few": (lambda: np.zeros(59), "weights has 59 entries, and there are 60 positions"),
    "one for each dipole": (lambda: np.zeros(180), "weights has 180 entries, and there are 60"),
    "a matrix": (lambda: np.zeros((60, 1)), r"weights has shape \(60, 1\), and there are 60 pos"),
    "NaN": (lambda: np.full(60, np.nan), "weights has NaN at 60 of 60 positions; give 0 where"),
    "+inf": (lambda: np.r_[np.inf, np.zeros(59)], r"weights has \+inf, and no prior makes"),
    "all -inf": (lambda: np.full(60, -np.inf), "weights is -inf at all positions, which leaves"),
    "words": (lambda: ["much"] * 60, "weights must be real numbers of nats"),
    "a name": (lambda: "x.stc", "weights must be real numbers of nats"),
    "several times": (lambda: estimate(3), r"an estimate of 3 times, .* its mean over time"),
    "vectors": (lambda: estimate(vector=True), "an estimate of vectors, and a position has one"),
    "other vertices": (lambda: estimate(shift=1), r"at 60 vertices, and they are not the 60 of fo"),
    "an estimate of a cortex": (
        lambda: mne.SourceEstimate(np.zeros((60, 1)), [np.arange(30)] * 2, 0, 1),
        "at 60 vertices, and they are not the 60 of forward",
    ),
    "arrays of another space": (
        lambda: [np.zeros(30), np.zeros(30)],
        r"arrays of shapes \[\(30,\), \(30,\)\], and the source spaces of forward have \[60\]",
    ),
}


@pytest.mark.parametrize("row", NO_WEIGHTS)
def test_refused_weights(row, monkeypatch):
    weights, said = NO_WEIGHTS[row]
    monkeypatch.setattr("meg_vae.meg.inverse.at_places", None)  # no work is begun
    monkeypatch.setattr("meg_vae.comparison.inputs.fit_data", None)
    with pytest.raises(ValueError, match=said):
        weighted(weights())
    case = made()
    with pytest.raises(ValueError, match=said):
        compare(case.evoked, case.forward, case.noise_cov, ["vae"], weights=weights())


def test_weights_of_another_subject(monkeypatch):
    forward = model("VectorView")[1]
    monkeypatch.setitem(forward["src"][0], "subject_his_id", "sub-01")
    with pytest.raises(ValueError, match="weights is of subject 'sub-02', and forward of 'sub-01'"):
        weighted(estimate(subject="sub-02"))
    assert len(weighted(estimate(subject="sub-01")).sources_) == 2


WEIGHTS = {
    "an array": lambda: np.zeros(60),
    "whole numbers": lambda: [0] * 60,
    "an estimate": estimate,
    "an array a space": lambda: [np.zeros(60)],
}


@pytest.mark.parametrize("row", WEIGHTS)
@pytest.mark.parametrize("positions", ["free", "grid"])
def test_weights_of_no_opinion_change_nothing(row, positions):
    bare, given = weighted(None, positions=positions), weighted(WEIGHTS[row](), positions=positions)
    assert given.sources_.equals(bare.sources_)
    np.testing.assert_array_equal(given.filter_.inverse_map, bare.filter_.inverse_map)
    np.testing.assert_array_equal(given.position_covariance_, bare.position_covariance_)
    assert given.energy_ == bare.energy_
    assert given.weights_.tolist() == bare.weights_.tolist() == [0, 0]
    assert bare.position_weights_ is None


@pytest.mark.parametrize("seed", range(3))
def test_wrong_weights_move_no_strong_source(seed):
    bare = weighted(None)
    inverse = weighted(3 * np.random.default_rng(seed).standard_normal(60))
    answer(inverse, made().evoked, made().truth)
    moved = inverse.filter_.positions.rr_head - bare.filter_.positions.rr_head
    covariance = bare.position_covariance_
    sds = np.einsum("ki,kij,kj->k", moved, np.linalg.inv(covariance), moved) ** 0.5
    assert (sds < 1).all()
    assert inverse.stationarity_ < 1e-3


def weak():
    """The recording of one source in so much noise that places 25 mm apart explain it as well."""
    return made(true=(17,), snr_db=-13, seed=9)


@pytest.mark.parametrize("positions", ["free", "grid"])
def test_weights_decide_where_the_data_do_not(positions):
    case = weak()

    def fit_weak(weights=None):
        inverse = VAEInverse(positions=positions)
        return inverse.fit(case.evoked, case.forward, case.noise_cov, weights=weights)

    bare = fit_weak()
    rr = case.forward["source_rr"]
    at = int(np.linalg.norm(rr - bare.filter_.positions.rr_head[0], axis=1).argmin())
    without = fit_weak(np.where(np.arange(60) == at, -np.inf, 0.0))
    other = int(np.linalg.norm(rr - without.filter_.positions.rr_head[0], axis=1).argmin())
    assert other != at
    lost = bare.sources_["log_evidence"][0] - without.sources_["log_evidence"][0]
    assert 1 < lost < 20
    vertno = case.forward["src"][0]["vertno"]
    for nats, wins in ((lost / 3, at), (lost + 3, other)):
        weights = nats / 2 * np.array([(k == other) - float(k == at) for k in range(60)])
        inverse = fit_weak(weights)
        assert inverse.sources_["vertno"].tolist() == [vertno[wins]]
    assert 0 < inverse.weights_[0] <= nats / 2 + 1e-9


@pytest.mark.parametrize("positions", ["free", "grid"])
def test_a_bootstrap_judges_with_the_weights_of_the_fit(positions, tmp_path):
    case, epochs = made(), epochs_of()
    average = epochs.average()
    weights = np.where(np.arange(60) == 3, -np.inf, 1.0)
    inverse = VAEInverse(positions=positions)
    inverse.fit(average, case.forward, case.noise_cov, weights=weights)
    again = read_vae_inverse(inverse.save(tmp_path / "x-vae.h5"))
    np.testing.assert_array_equal(again.position_weights_, weights)
    np.testing.assert_array_equal(again.weights_, inverse.weights_)
    assert again.sources_.equals(inverse.sources_)
    run = {"n_bootstrap": 4, "random_state": 0}
    result = inverse.bootstrap(epochs, case.forward, case.noise_cov, **run)
    share = result.selection_probability.data[:, 0]
    assert (share[TRUE] == 1).all()
    assert (result.sources["probability"] == 1).all()
    inverse.position_weights_ = np.where(np.arange(60) == TRUE[1], 0.0, -1e6)
    share = inverse.bootstrap(epochs, case.forward, case.noise_cov, **run).selection_probability
    assert share.data[:, 0].tolist() == (np.arange(60) == TRUE[1]).tolist()
    inverse.position_weights_ = weights
    info, fewer = model("VectorView")[0], points()
    keep = fewer[0]["vertno"][:50]
    fewer[0] |= {"vertno": keep, "nuse": 50, "inuse": np.isin(np.arange(60), keep).astype(int)}
    said = "forward has 50 positions, and the weights of the fit are of 60; give the forward of"
    with pytest.raises(ValueError, match=said):
        inverse.bootstrap(epochs, sphere_forward(info, fewer), case.noise_cov, **run)


def test_a_comparison_hands_weights_to_those_that_take_them():
    case = made()
    weights = np.where(np.arange(60) == 17, 0.0, -1e6)
    names = ["vae", "vae_grid", "sloreta"]
    inputs = case.evoked, case.forward, case.noise_cov, names
    result = compare(*inputs, weights=weights, epochs=epochs_of(), n_folds=2)
    assert (result.table["status"] == "ok").all()
    for name in names[:2]:
        assert result.estimates[name].vertices[0].tolist() == [17]
    bare = compare(*inputs)
    same = result.estimates["sloreta"].data == bare.estimates["sloreta"].data
    assert same.all()
    assert 41 in bare.estimates["vae"].vertices[0]


@pytest.mark.parametrize("kind", ["array", "estimate"])
@pytest.mark.parametrize("command", ["localize", "compare"])
@pytest.mark.usefixtures("undrawn")
def test_weights_in_the_shell(kind, command, files, tmp_path):
    weights = np.where(np.arange(60) == 17, 0.0, -1e6)
    path = tmp_path / {"array": "w.npy", "estimate": "w-vl.stc"}[kind]
    if kind == "array":
        np.save(path, weights)
    else:
        stc = estimate()
        stc.data = weights[:, None]
        stc.save(path, verbose="error")
    more = ["--weights", path] + (["--methods", "vae,zeros"] if command == "compare" else [])
    assert shell(files, "x-ave.fif", *more, command=command, out=tmp_path / "out") == 0
    if command == "localize":
        vertno = pd.read_csv(tmp_path / "out" / "sources.csv")["vertno"]
        assert vertno.tolist() == [17]
    else:
        table = pd.read_csv(tmp_path / "out" / "comparison.csv")
        assert table["n_sources"][0] == 1
    assert "w.npy" in (record := (tmp_path / "out" / "run.json").read_text()) or "w-vl" in record


def test_refused_weights_in_the_shell(files, tmp_path, capsys):
    np.save(tmp_path / "w.npy", np.zeros(59))
    (tmp_path / "w.stc").write_text("no estimate")
    for name, said in (
        ("w.npy", "weights has 59 entries, and there are 60 positions"),
        ("w.stc", "does not hold prior weights, or is damaged"),
        ("nowhere.npy", "which should hold prior weights"),
    ):
        more = ["--weights", tmp_path / name]
        one_line("x-ave.fif", more, said, files, tmp_path, capsys)
