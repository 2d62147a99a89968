"""Estimates over time, in movies and on slices of the MRI."""

from __future__ import annotations

import importlib.util

import matplotlib as mpl
import mne
import nibabel
import numpy as np
import pandas as pd
import pytest
from pictures import (
    HALVES,
    alike,
    brains,
    coloured,
    dense,
    estimate,
    small,
    table,
    take,
    texts,
    top,
)

from meg_vae import viz
from meg_vae.viz import slices, style

mpl.use("agg")
DORSAL = {"look": small()}  # one small panel


def alternating(cortex):
    """An estimate with a source on the left at first, and then one on the right."""
    vertices = [np.array([top(cortex, hemi)]) for hemi in ("lh", "rh")]
    return mne.SourceEstimate(
        np.array([[8e-9, 0], [0, 4e-9]]), vertices, 0.1, 0.1, subject="fsaverage5"
    )


@pytest.mark.rendering
def test_an_estimate_is_drawn_at_a_time_in_its_unit(where, cortex):
    stc = alternating(cortex)
    kwargs = {"look": small(unit="nAm"), **where}
    for time, hemi in ((0.1, "lh"), (0.2, "rh")):
        plotter = viz.plot_estimate(stc, time=time, **kwargs)
        assert "Magnitude (nAm)" in texts(plotter)
        image, [(row, column)] = take(plotter, [cortex[hemi].points[top(cortex, hemi)]])
        peak = {"lh": 8.0, "rh": 4.0}[hemi]
        expected = 255 * np.array(mpl.colormaps[style.SEQUENTIAL](peak / 8))[:3]
        np.testing.assert_allclose(image[row, column], expected, atol=25)
        other = {"lh": "rh", "rh": "lh"}[hemi]
        assert coloured(brains(image))[:, HALVES[other]].sum() == 0
    image = viz.picture(viz.plot_estimate(stc, **kwargs))  # the largest over time: both
    assert all(coloured(brains(image))[:, half].sum() > 20 for half in HALVES.values())
    nothing = viz.plot_estimate(0 * stc, **kwargs)
    assert "no source" in texts(nothing)
    assert coloured(viz.picture(nothing)).sum() == 0


@pytest.mark.rendering
def test_a_map_is_painted_above_its_threshold_alone(where, cortex):
    stc = dense(cortex, "rh", top(cortex, "rh"))
    areas = []
    for threshold in (20.0, 80.0):
        look = small(threshold=threshold, unit="dimensionless")
        plotter = viz.plot_estimate(stc, look=look, **where)
        note = f"Magnitude (dimensionless); shown above {threshold:g} % of the largest"
        assert note in texts(plotter)
        spots = coloured(brains(viz.picture(plotter)))
        assert spots[:, HALVES["lh"]].sum() == 0
        areas.append(spots[:, HALVES["rh"]].sum())
    assert areas[0] > 2 * areas[1] > 100


def test_estimates_that_cannot_be_drawn_are_refused(where, cortex):
    stc = alternating(cortex)
    other = dict(where, subject="sample")
    for call in (
        lambda: viz.plot_estimate(stc, **other),
        lambda: viz.plot_comparison({"dSPM": stc}, **{**other, **where, "subject": "sample"}),
        lambda: viz.save_movie(stc, "a.gif", **other),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match="sample"):
            call()
    with pytest.raises(ValueError, match=r"stc is an estimate of 'fsaverage5'.*'sample'.*morph"):
        viz.plot_estimate(stc, **other)
    with pytest.raises(ValueError, match=r"time=0\.5 must be from 0\.1 to 0\.2 s"):
        viz.plot_estimate(stc, time=0.5, **where)
    volume = mne.VolSourceEstimate(np.ones((3, 1)), [np.arange(3)], 0, 1)
    with pytest.raises(TypeError, match="plot_slices draws"):
        viz.plot_estimate(volume, **where)
    with pytest.raises(ValueError, match="20000 is outside the lh surface"):
        viz.plot_estimate(estimate([np.array([20000]), np.array([], int)], [1.0]), **where)
    with pytest.raises(ValueError, match="not finite"):
        viz.plot_estimate(estimate([np.array([2])] * 2, [1.0, np.inf]), **where)


# --- movies -------------------------------------------------------------------------------------


@pytest.mark.rendering
def test_a_movie_shows_each_source_in_its_time(where, cortex, tmp_path):
    from PIL import Image

    path = viz.save_movie(alternating(cortex), tmp_path / "a.gif", **DORSAL, **where)
    assert list(tmp_path.iterdir()) == [path]
    with Image.open(path) as film:
        assert film.n_frames == 2
        for frame, hemi in enumerate(("lh", "rh")):
            film.seek(frame)
            spots = coloured(brains(np.asarray(film.convert("RGB"))))
            assert (spots[:, HALVES[hemi]].sum() > 20, spots.sum()) == (
                True,
                spots[:, HALVES[hemi]].sum(),
            )


@pytest.mark.rendering
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of the reader
def test_an_mp4_has_the_frames_asked_for(where, cortex, tmp_path):
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    path = viz.save_movie(alternating(cortex), tmp_path / "a.mp4", times=0.2, **DORSAL, **where)
    frames = ffmpeg.read_frames(str(path))
    width, height = next(frames)["size"]
    images = [np.frombuffer(one, np.uint8).reshape(height, width, 3) for one in frames]
    assert len(images) == 1
    spots = coloured(brains(images[0]))
    assert spots[:, HALVES["rh"]].sum() > 20
    assert spots[:, HALVES["lh"]].sum() == 0


def test_movies_that_cannot_be_made_are_refused(where, cortex, tmp_path, monkeypatch):
    stc = alternating(cortex)
    with pytest.raises(ValueError, match=r"\.mp4 or \.gif"):
        viz.save_movie(stc, tmp_path / "a.avi", **where)
    for wrong in ([], [0.2, 0.1], [[0.1]]):
        with pytest.raises(ValueError, match=r"times must be one time or more"):
            viz.save_movie(stc, tmp_path / "a.gif", times=wrong, **where)
    with pytest.raises(ValueError, match=r"time=0\.5 must be from 0\.1 to 0\.2 s"):
        viz.save_movie(stc, tmp_path / "a.gif", times=[0.1, 0.5], **where)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install imageio-ffmpeg"):
        viz.save_movie(stc, tmp_path / "a.mp4", **where)
    assert not list(tmp_path.iterdir())


# --- slices -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own_mri(tmp_path_factory):
    """A subject whose MRI is a ramp from left to right, shifted in scanner coordinates."""
    root = tmp_path_factory.mktemp("mri")
    (root / "ramp" / "mri").mkdir(parents=True)
    data = np.tile(np.linspace(10, 200, 64, dtype=np.float32)[:, None, None], (1, 64, 64))
    to_scanner = np.diag([4.0, 4, 4, 1])
    to_scanner[:3, 3] = [-100, -130, -110]
    nibabel.save(nibabel.MGHImage(data, to_scanner), root / "ramp" / "mri" / "T1.mgz")
    return {"subject": "ramp", "subjects_dir": root}


def cuts(fig):
    """Where the slices are cut, by axis, as they say."""
    said = [text.get_text() for ax in fig.findobj(mpl.axes.Axes) for text in ax.texts]
    return {text[0]: float(text[2:]) for text in said if text[:2] in ("x=", "y=", "z=")}


def test_slices_are_cut_through_the_source_in_scanner_coordinates(own_mri):
    sources = pd.DataFrame({"x_mm": [20.0], "y_mm": [-12.0], "z_mm": [8.0], "peak_nAm": [5.0]})
    image, to_image = slices._mri(**own_mri)
    expected = to_image[:3] @ [20, -12, 8, 1]
    assert not np.allclose(expected, [20, -12, 8])
    fig = viz.plot_slices(sources, **own_mri)
    assert cuts(fig) == pytest.approx(dict(zip("xyz", expected, strict=True)), abs=0.6)
    assert "Peak amplitude (nAm)" in [ax.get_xlabel() for ax in fig.axes]
    empty = viz.plot_slices(sources.iloc[:0], **own_mri)
    assert "no source" in [text.get_text() for text in empty.texts]


def test_a_volume_is_cut_at_its_peak(own_mri):
    src = mne.setup_volume_source_space(
        None, pos=10.0, sphere=(0, 0, 0, 0.06), sphere_units="m", verbose="error"
    )
    places = src[0]["rr"][src[0]["vertno"]]
    target = int(np.linalg.norm(places - [0.02, -0.01, 0.03], axis=1).argmin())
    values = np.exp(-0.5 * (np.linalg.norm(places - places[target], axis=1) / 0.015) ** 2)
    stc = mne.VolSourceEstimate(values[:, None], [src[0]["vertno"]], 0, 1)
    _, to_image = slices._mri(**own_mri)
    expected = to_image[:3] @ [*(1e3 * places[target]), 1]
    fig = viz.plot_slices(stc, src=src, **own_mri)
    assert cuts(fig) == pytest.approx(dict(zip("xyz", expected, strict=True)), abs=0.6)
    image = slices._grid_image(src, stc.vertices, values, to_image)
    back = np.linalg.inv(image.affine)[:3] @ [*expected, 1]
    assert image.get_fdata()[tuple(np.round(back).astype(int))] == pytest.approx(1.0)
    with pytest.raises(ValueError, match="src is needed"):
        viz.plot_slices(stc, **own_mri)
    with pytest.raises(TypeError, match="VolSourceEstimate; got SourceEstimate"):
        viz.plot_slices(estimate([np.array([2])] * 2, [1.0, 2.0]), **own_mri)


def test_the_template_has_nilearns_brain_and_others_must_have_their_own(where, own_mri):
    sources = pd.DataFrame({"x_mm": [20.0], "y_mm": [-12.0], "z_mm": [8.0], "peak_nAm": [5.0]})
    expected = slices.MNI305_TO_MNI152[:3] @ [20, -12, 8, 1]
    assert cuts(viz.plot_slices(sources, **where)) == pytest.approx(
        dict(zip("xyz", expected, strict=True)), abs=0.6
    )
    with pytest.raises(FileNotFoundError, match=r"T1\.mgz.*surface='glass'"):
        viz.plot_slices(sources, subject="nobody", subjects_dir=where["subjects_dir"])
    with pytest.raises(ValueError, match="slices have a colour bar"):
        viz.plot_slices(sources.assign(method="a"), color_by="method", **own_mri)


# --- hits and false positives ---------------------------------------------------------------------


def test_hit_curves_rise_with_false_positives():
    rows = table(*[("lh", 1)] * 3)[["hemi"]].assign(
        method="a", hit_rate=[1.0, 0.2, 0.6], false_positives=[3.0, 0.0, 1.0]
    )
    (ax,) = viz.plot_hit_curves(rows).axes
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), [0, 1, 3])
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [20, 60, 100])
    assert ax.get_ylabel() == "True sources found (%)"
    with pytest.raises(ValueError, match="hit_rate must be from 0 to 1"):
        viz.plot_hit_curves(rows.assign(hit_rate=100))
    with pytest.raises(ValueError, match="lacks the column method"):
        viz.plot_hit_curves(rows.drop(columns="method"))


def test_errors_against_noise_need_a_method_at_two_ratios():
    scores = {"mean": 5.0, "low": 4.0, "high": 6.0}
    rows = pd.DataFrame([{"snr_db": db, "family": "VAE", **scores} for db in (0, 10)])
    (ax,) = viz.plot_error_against_snr(rows.assign(title="VAE")).axes
    assert ax.get_title(loc="left") == "VAE"
    for lacking in (rows.assign(title=["a", "b"]), rows.assign(title="Zeros", family="Null")):
        with pytest.raises(ValueError, match="at two values of snr_db"):
            viz.plot_error_against_snr(lacking)


def test_alike_is_no_friend_of_everything():
    assert alike(np.full((2, 2, 3), 255), "white").all()
    assert not alike(np.zeros((2, 2, 3)), "white").any()
