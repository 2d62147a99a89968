"""Pictures show what they are given, where it is, and nothing else."""

from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys

import matplotlib as mpl
import mne
import nibabel
import numpy as np
import pandas as pd
import pytest
from pictures import (
    HALVES,
    SIZE,
    SUBJECT,
    alike,
    away,
    brains,
    coloured,
    dense,
    estimate,
    outermost,
    small,
    table,
    take,
    texts,
    top,
)
from scipy.signal import lfilter
from small_recordings import ctf_info, eeg_info, meg_info

from meg_vae import VAEInverse, viz
from meg_vae.viz import layers, layout, look, paint, style, surfaces
from meg_vae.viz.sensors import type_name

mpl.use("agg")


@pytest.fixture(autouse=True)
def _close_figures():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


# --- the cortex -------------------------------------------------------------------------------


@pytest.mark.rendering
@pytest.mark.parametrize(("hemi", "other"), [("lh", "rh"), ("rh", "lh")])
def test_a_source_shows_on_its_own_hemisphere_only(where, cortex, hemi, other):
    sources = table((hemi, top(cortex, hemi)))
    plotter = viz.plot_cortex(sources, look=small(), **where)
    spots = coloured(brains(viz.picture(plotter)))
    assert spots[:, HALVES[hemi]].sum() > 50
    assert spots[:, HALVES[other]].sum() == 0


@pytest.mark.rendering
def test_from_below_left_is_on_the_right_and_the_top_is_hidden(where, cortex):
    below = int(cortex["lh"].points[:, 2].argmin())
    plotter = viz.plot_cortex(table(("lh", below)), look=small("ventral"), **where)
    spots = coloured(brains(viz.picture(plotter)))
    assert spots[:, HALVES["rh"]].sum() > 50
    assert spots[:, HALVES["lh"]].sum() == 0
    sources = table(("lh", top(cortex, "lh")))
    plotter = viz.plot_cortex(sources, look=small("ventral"), **where)
    assert coloured(brains(viz.picture(plotter))).sum() == 0


@pytest.mark.rendering
def test_lateral_views_show_each_hemisphere_by_itself(where, cortex):
    sources = table(("rh", outermost(cortex, "rh")))
    image = viz.picture(viz.plot_cortex(sources, look=small("lateral"), **where))
    grey = alike(brains(image), style.GYRUS, 30)
    spots = coloured(brains(image))
    for hemi, columns in HALVES.items():
        assert grey[:, columns].sum() > 2000
        assert (spots[:, columns].sum() > 20) == (hemi == "rh")


@pytest.mark.rendering
def test_no_source_leaves_the_cortex_grey_and_says_so(where):
    empty = table().iloc[:0]
    plotter = viz.plot_cortex(empty, look=small(), **where)
    assert "no source" in texts(plotter)
    image = viz.picture(plotter)
    assert coloured(image).sum() == 0
    assert alike(image, style.SULCUS, 40).sum() > 2000
    assert alike(image, style.GYRUS, 30).sum() > 2000


@pytest.mark.rendering
def test_spheres_have_the_colour_bars_colours_where_the_vertices_are(where, cortex):
    peaks = np.array([4.0, 20.0, 12.0])
    spots = [("lh", top(cortex, "lh")), ("rh", top(cortex, "rh"))]
    height = cortex["lh"].points[:, 2] - 1e3 * (away(cortex["lh"].points, spots[0][1]) < 40)
    spots.append(("lh", int(height.argmax())))
    points = [cortex[hemi].points[vertex] for hemi, vertex in spots]
    kwargs = {"look": small(clim=(0, 20)), **where}
    sources = table(*spots, peak=peaks)
    image, pixels = take(viz.plot_cortex(sources, **kwargs), points)
    bare, _ = take(viz.plot_cortex(sources.iloc[:0], **kwargs), points)
    for (row, column), peak in zip(pixels, peaks, strict=True):
        expected = 255 * np.array(mpl.colormaps[style.SEQUENTIAL](peak / 20))[:3]
        np.testing.assert_allclose(image[row, column], expected, atol=25)
        assert not coloured(bare)[row, column]


@pytest.mark.rendering
def test_size_by_makes_the_stronger_source_larger(where, cortex):
    sources = table(("lh", top(cortex, "lh")), ("rh", top(cortex, "rh"))).assign(
        log_evidence=[100.0, 50.0]
    )
    areas = []
    for size_by in ("log_evidence", None):
        kwargs = {"size_by": size_by, "look": small(), **where}
        spots = coloured(brains(viz.picture(viz.plot_cortex(sources, **kwargs))))
        areas.append([spots[:, columns].sum() for columns in HALVES.values()])
    assert areas[0][0] / areas[0][1] == pytest.approx(2, rel=0.25)
    assert areas[1][0] / areas[1][1] == pytest.approx(1, rel=0.1)


@pytest.mark.rendering
def test_true_sources_are_marked_only_when_given(where, cortex):
    sources = table(("lh", top(cortex, "lh")))
    truth = table(("rh", top(cortex, "rh")))[["hemi", "vertno"]]
    kwargs = {"look": small(), **where}
    plotter = viz.plot_cortex(sources, truth=truth, **kwargs)
    assert "true source" in texts(plotter)
    marked = alike(brains(viz.picture(plotter)), style.TRUTH)
    assert marked[:, HALVES["rh"]].sum() > 20
    assert marked[:, HALVES["lh"]].sum() == 0
    plotter = viz.plot_cortex(sources, **kwargs)
    assert "true source" not in texts(plotter)
    assert alike(viz.picture(plotter), style.TRUTH).sum() == 0


@pytest.mark.rendering
def test_a_hit_shows_both_the_estimate_and_the_truth(where, cortex):
    sources = table(("lh", top(cortex, "lh")))
    plotter = viz.plot_cortex(sources, truth=sources, look=small(), **where)
    image = brains(viz.picture(plotter))
    assert alike(image, style.TRUTH).sum() > 20
    ball = mpl.colormaps[style.SEQUENTIAL](1.0)[:3]
    assert alike(image, ball, 40).sum() > 20


@pytest.mark.rendering
@pytest.mark.parametrize("surface", ["white", "pial"])
def test_a_source_deep_in_a_sulcus_is_drawn_at_its_mouth(where, cortex_dir, surface):
    folded = surfaces.load_cortex(SUBJECT, cortex_dir, surface)["lh"]
    middle = np.median(folded.points, axis=0)
    # the insula: the most medial place under the lateral face, which the temporal lobe covers
    near = np.linalg.norm(folded.points[:, 1:] - middle[1:], axis=1) < 40
    deep = near & (folded.points[:, 0] < middle[0]) & (folded.curvature > 0.15)
    vertex = int(np.flatnonzero(deep)[folded.points[deep, 0].argmax()])
    kwargs = {"look": small("lateral", surface=surface), **where}
    spots = coloured(brains(viz.picture(viz.plot_cortex(table(("lh", vertex)), **kwargs))))
    assert spots[:, HALVES["lh"]].sum() > 20
    assert spots[:, HALVES["rh"]].sum() == 0


@pytest.mark.rendering
def test_default_is_four_views_of_both_hemispheres_with_units(where, cortex):
    sources = table(("lh", top(cortex, "lh")), ("rh", outermost(cortex, "rh")))
    plotter = viz.plot_cortex(sources, title="Left visual", **where)
    said = texts(plotter)
    assert len(plotter.renderers) == 1 + 6
    captions = {"Left lateral", "Right lateral", "Left medial", "Right medial", "Dorsal", "Ventral"}
    assert captions | {"Left visual", "Peak amplitude (nAm)", "estimate"} <= set(said)
    image = viz.picture(plotter)
    edge = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    assert (edge == 255).all()  # nothing runs off the page


@pytest.mark.rendering
def test_a_picture_is_written_whole_or_not_at_all(where, tmp_path):
    path = tmp_path / "brain.png"
    plotter = viz.plot_cortex(table(), look=small(), **where)
    with pytest.raises(ValueError, match=r"\.png"):
        viz.save_picture(plotter, tmp_path / "brain.tiff")
    assert viz.save_picture(plotter, path) == path
    written = path.read_bytes()
    image = mpl.image.imread(path)
    assert image.shape[:2] == SIZE[::-1]
    with pytest.raises(RuntimeError, match="plotter is closed"):
        viz.save_picture(plotter, path)
    assert path.read_bytes() == written
    assert list(tmp_path.iterdir()) == [path]


# --- comparison -------------------------------------------------------------------------------


@pytest.mark.rendering
def test_comparison_draws_points_and_maps_on_one_relative_scale(where, cortex):
    left, right = top(cortex, "lh"), top(cortex, "rh")
    none = np.array([], int)
    estimates = {
        "points": estimate([np.array([left]), none], [3e-9]),
        "map": dense(cortex, "rh", right),
        "nothing": estimate([none, none], np.zeros(0)),
    }
    kwargs = {"look": small(window_size=(500, 1000)), **where}
    plotter = viz.plot_comparison(estimates, **kwargs)
    rows = [[round(v * 1000) for v in r.GetViewport()[1::2]] for r in plotter.renderers[1:]]
    middle = sum(plotter.renderers[1].GetViewport()[::2]) / 2 * 500
    assert {"points", "map", "nothing\n(no source)"} <= set(texts(plotter))
    assert any("%" in text for text in texts(plotter))
    image = viz.picture(plotter)
    for name, (low, high) in zip(estimates, rows, strict=True):
        spots = coloured(image[1000 - high : 1000 - low])
        left, right = spots[:, : int(middle)].sum(), spots[:, int(middle) :].sum()
        assert (left > 20) == (name == "points")
        assert (right > 20) == (name == "map")
        assert name != "nothing" or left + right == 0
    louder = {name: 1e6 * stc for name, stc in estimates.items()}
    np.testing.assert_array_equal(image, viz.picture(viz.plot_comparison(louder, **kwargs)))


@pytest.mark.rendering
def test_a_higher_threshold_paints_less_and_truth_is_marked(where, cortex):
    estimates = {"map": dense(cortex, "lh", top(cortex, "lh"))}
    truth = table(("rh", top(cortex, "rh")))
    painted = []
    for threshold in (30.0, 80.0):
        how = {"look": small(threshold=threshold), **where}
        plotter = viz.plot_comparison(estimates, truth=truth, **how)
        image = brains(viz.picture(plotter))
        truths = alike(image, style.TRUTH)
        assert truths.sum() > 20
        painted.append((coloured(image) & ~truths).sum())
    assert painted[0] > 2 * painted[1] > 100


def test_comparison_refuses_what_it_cannot_draw(where):
    with pytest.raises(ValueError, match="estimates is empty"):
        viz.plot_comparison({}, **where)
    volume = mne.VolSourceEstimate(np.ones((3, 1)), [np.arange(3)], 0, 1)
    with pytest.raises(TypeError, match="'LCMV'.*VolSourceEstimate"):
        viz.plot_comparison({"LCMV": volume}, **where)
    far = estimate([np.array([99999]), np.array([], int)], [1.0])
    with pytest.raises(ValueError, match="99999 is outside the lh surface"):
        viz.plot_comparison({"MxNE": far}, **where)
    with pytest.raises(ValueError, match="not finite"):
        viz.plot_comparison({"MxNE": estimate([np.array([9])] * 2, [1.0, np.nan])}, **where)
    with pytest.raises(TypeError, match=r"look must be a meg_vae\.viz\.Look; got dict"):
        viz.plot_comparison({"MxNE": far}, look={"threshold": 50}, **where)


def test_spreading_keeps_constants_and_stays_near(cortex):
    vertno = np.flatnonzero(cortex["lh"].white[:, 1] > 0)[::2]  # the front half
    values = paint.spread(cortex["lh"], vertno, np.full(len(vertno), 3.0))
    known = np.isfinite(values)
    np.testing.assert_allclose(values[known], 3.0)
    assert known[vertno].all()
    assert known[cortex["lh"].white[:, 1] > 5].mean() > 0.98
    assert not known[cortex["lh"].white[:, 1] < -15].any()


def test_spreading_is_local_and_of_nothing_is_nothing(cortex):
    white, vertno = cortex["rh"].white, np.arange(0, 10242, 2)
    bump = np.zeros(len(vertno))
    bump[1000] = 1.0
    values = paint.spread(cortex["rh"], vertno, bump)
    touched = np.flatnonzero(np.nan_to_num(values))
    assert 0 < len(touched) < 60
    assert away(white, vertno[1000])[touched].max() < 15
    assert not np.nan_to_num(paint.spread(cortex["rh"], vertno, 0 * bump)).any()
    single = paint.spread(cortex["rh"], vertno[:1], np.ones(1))
    np.testing.assert_array_equal(np.flatnonzero(np.isfinite(single)), vertno[:1])


# --- places -----------------------------------------------------------------------------------


@pytest.fixture
def trans():
    turn = mne.transforms.rotation(0.1, -0.2, 0.3) @ mne.transforms.translation(0.01, 0.02, -0.03)
    return mne.Transform("head", "mri", turn)


def dipole(position_mm, trans):
    """Return a dipole at an MRI position, with its largest amplitude there and a decoy before."""
    inverse = np.linalg.inv(trans["trans"])
    pos = mne.transforms.apply_trans(inverse, np.array([[0.0, 0, 0], position_mm]) / 1e3)
    ori = np.tile([0.0, 0, 1], (2, 1))
    return mne.Dipole([0.0, 0.1], pos, np.array([1.0, 20.0]) * 1e-9, ori, np.ones(2) * 90)


def test_dipoles_find_their_vertices(where, cortex, trans):
    targets = [("rh", 1234), ("lh", 42)]
    dipoles = [dipole(cortex[hemi].white[vertex], trans) for hemi, vertex in targets]
    found = viz.dipole_table(dipoles, trans=trans, **where)
    assert list(zip(found["hemi"], found["vertno"], strict=True)) == targets
    np.testing.assert_allclose(found["distance_mm"], 0, atol=1e-3)
    np.testing.assert_allclose(found["peak_nAm"], 20)
    back = viz.dipole_table(dipoles, trans=mne.transforms.invert_transform(trans), **where)
    pd.testing.assert_frame_equal(found, back)
    assert viz.dipole_table([], trans=trans, **where).empty


def test_dipoles_far_from_the_cortex_are_warned_about(where, trans):
    with pytest.warns(RuntimeWarning, match="from the white surface"):
        viz.dipole_table([dipole(np.array([0.0, 0, 200]), trans)], trans=trans, **where)
    with pytest.raises(TypeError, match=r"list with an mne\.Dipole"):
        viz.dipole_table(dipole(np.zeros(3), trans), trans=trans, **where)


def test_true_dipoles_need_trans(where, cortex, trans):
    dipoles = [dipole(cortex["lh"].white[7], trans)]
    with pytest.raises(ValueError, match="needs trans"):
        surfaces.true_places(dipoles, cortex, trans=None, **where)
    found = surfaces.true_places(dipoles, cortex, trans=trans, **where)
    assert (found["hemi"][0], found["vertno"][0]) == ("lh", 7)
    assert surfaces.true_places(None, cortex, trans=None, **where).empty


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"color_by": "amplitude"}, "peak_nAm, sd_nAm, log_evidence.*'amplitude'"),
        ({"size_by": "label"}, "size_by must be one of"),
        ({"look": viz.Look(window_size=(60, 60))}, "too small"),
        ({"subjects_dir": None}, "subject and subjects_dir"),
        ({"sources": table(("lh", 10242))}, "10242 is outside the lh surface.*0 to 10241"),
        ({"sources": table(("lh", -1))}, "-1 is outside"),
        ({"sources": table(("lh", 1.5))}, "whole numbers"),
        ({"sources": table(("left", 1))}, "'lh' or 'rh'; got 'left'.*glass"),
        ({"sources": table(("lh", 1)).drop(columns="vertno")}, "lacks the column vertno"),
        ({"sources": table(("lh", 1)).drop(columns="peak_nAm")}, "no such column"),
        ({"sources": table(("lh", 1), peak=np.nan)}, "not finite"),
        ({"truth": table(("rh", 20000))}, "truth: vertno 20000"),
    ],
)
def test_bad_input_is_named(where, change, match):
    kwargs = {"sources": table(("lh", 1)), **where} | change
    with pytest.raises(ValueError, match=match):
        viz.plot_cortex(**kwargs)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"surface": "sphere"}, "surface must be one of inflated, white, pial, glass.*'sphere'"),
        ({"shell": "scalp"}, "shell must be one of inner_skull, head, or None; got 'scalp'"),
        ({"views": ("lateral", "top")}, "views.*lateral, medial, dorsal.*azimuth.*top"),
        ({"views": ()}, "views.*at least one"),
        ({"source_size": 0}, "source_size must be a number of mm"),
        ({"unit": "pAm"}, "unit must be one of percent, nAm, dimensionless; got 'pAm'"),
        ({"threshold": 100}, "threshold must be from 0 to below 100 percent; got 100"),
        ({"threshold": np.nan}, "threshold must be from 0"),
        ({"threshold": "half"}, "threshold must be from 0 to below 100 percent; got 'half'"),
        ({"source_size": "small"}, "source_size must be a number of mm; got 'small'"),
        ({"window_size": 300}, "window_size must be two numbers of pixels; got 300"),
        ({"views": 3}, "views must be different ones of"),
        ({"clim": (3, 1)}, "clim must be two rising numbers"),
        ({"clim": (0, np.inf)}, "clim must be two rising numbers"),
        ({"background": "greyish"}, "background must be a colour of matplotlib; got 'greyish'"),
        ({"window_size": (300.5, 200)}, "window_size must be two numbers of pixels"),
        ({"backend": "mayavi"}, "backend must be one of pyvista, matplotlib, or None"),
    ],
)
def test_a_look_that_is_none_is_named(wrong, match):
    with pytest.raises(ValueError, match=match):
        viz.Look(**wrong)


def test_a_look_leaves_open_what_suits_the_picture():
    open_, own = viz.Look(), viz.Look(surface="pial", views="dorsal", source_size=2.0)
    assert own.views == ("dorsal",)
    for given in (None, open_):
        chosen = look.filled(given, surface="glass")
        assert (chosen.surface, chosen.views) == ("glass", layout.ALL_VIEWS)
        assert look.filled(given).surface == "inflated"
    chosen = look.filled(own, surface="glass", source_size=3.0, views=("lateral",))
    assert (chosen.surface, chosen.views, chosen.source_size) == ("pial", ("dorsal",), 2.0)
    said = look.with_choices(own, surface=None, views="ventral")
    assert (said.surface, said.views) == ("pial", ("ventral",))
    with pytest.raises(dataclasses.FrozenInstanceError):
        own.surface = "white"


def test_sources_must_be_a_table(where):
    with pytest.raises(TypeError, match="sources must be a pandas.DataFrame; got list"):
        viz.plot_cortex([], **where)


def test_missing_surfaces_are_named(where, cortex_dir, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"lh\.white.*rh\.curv.*datasets\.template"):
        viz.plot_cortex(table(), subject="nobody", subjects_dir=cortex_dir)
    folder = tmp_path / SUBJECT / "surf"
    folder.mkdir(parents=True)
    for file in (cortex_dir / SUBJECT / "surf").iterdir():
        if "pial" not in file.name:
            (folder / file.name).symlink_to(file)
    with pytest.raises(FileNotFoundError, match=r"no \S+lh\.pial, \S+rh\.pial\. Choose"):
        viz.plot_cortex(
            table(), subject=SUBJECT, subjects_dir=tmp_path, look=viz.Look(surface="pial")
        )
    (folder / "lh.curv").unlink()
    nibabel.freesurfer.write_morph_data(folder / "lh.curv", np.zeros(5))
    with pytest.raises(ValueError, match="10242 and 5 vertices"):
        viz.plot_cortex(table(), subject=SUBJECT, subjects_dir=tmp_path)


# --- page and scale ---------------------------------------------------------------------------


def test_inflated_hemispheres_stand_apart(cortex):
    assert cortex["lh"].points[:, 0].max() < 0 < cortex["rh"].points[:, 0].min()


@pytest.mark.parametrize("views", [layout.ALL_VIEWS, ("lateral",), ("caudal", "medial", "dorsal")])
def test_panels_show_both_hemispheres_and_do_not_overlap(cortex, views):
    for rows, grid in ((layout.sheet(views), False), ([layout.strip(views)] * 3, True)):
        for view in views:
            shown = [hemi for row in rows for p in row if p.view == view for hemi in p.hemis]
            assert set(shown) == {"lh", "rh"}
        page = layout.arrange(rows, cortex, title=True, grid=grid)
        used = np.zeros(page.window[::-1], int)
        for left, bottom, width, height in (box for row in page.boxes for box in row):
            assert left >= -1e-6
            assert bottom >= page.footer - 1e-6
            assert left + width <= page.window[0] + 1e-6
            assert bottom + height <= page.window[1] - page.header + 1e-6
            rows_in = slice(int(np.ceil(bottom)), int(bottom + height))
            used[rows_in, int(np.ceil(left)) : int(left + width)] += 1
        assert used.max() == 1


def test_scale_has_round_ticks_around_the_values():
    np.testing.assert_allclose(
        layers.ColourScale.around(np.array([3.0, 19.0]), from_zero=True).ticks, [0, 5, 10, 15, 20]
    )
    signed = layers.ColourScale.around(np.array([-3.0, 19.0]), from_zero=True)
    assert signed.cmap == style.DIVERGING
    assert signed.ticks[0] == -signed.ticks[-1] <= -19
    times = layers.ColourScale.around(np.array([0.08, 0.12]), from_zero=False)
    assert times.cmap == style.SEQUENTIAL
    assert 0.07 < times.ticks[0] <= 0.08
    for values in ([], [0.0], [5.0], [-5.0]):
        for from_zero in (True, False):
            ticks = layers.ColourScale.around(np.array(values), from_zero=from_zero).ticks
            assert ticks[0] < ticks[-1]
            assert all(ticks[0] <= value <= ticks[-1] for value in values)


# --- curves -----------------------------------------------------------------------------------


@pytest.fixture
def evoked():
    names = [f"MEG {k:04d}" for k in (113, 112, 111, 121)]
    info = mne.create_info(names, 100.0, ["grad", "grad", "mag", "mag"])
    rng = np.random.default_rng(0)
    data = rng.standard_normal((4, 50)) * np.array([[5e-12], [5e-12], [2e-13], [2e-13]])
    return mne.EvokedArray(data, info, tmin=-0.1, nave=5)


def test_fit_is_in_the_sensors_units(evoked):
    residual = evoked.copy()
    residual.data[:2] *= 0.5  # three quarters of the sum of squares are explained
    grad, grad_fit, grad_left, mag, mag_fit, mag_left = viz.plot_fit(evoked, residual).axes
    assert "fT/cm" in grad.get_ylabel()
    assert mag.get_ylabel().strip() == "fT"
    assert mag_left.get_xlabel() == "Time (ms)"
    assert "75 % explained" in grad_left.get_title()
    assert "0 % explained" in mag_left.get_title()
    peak = max(np.abs(curve.get_ydata()).max() for curve in grad.lines)
    assert peak == pytest.approx(np.abs(evoked.data[:2]).max() * 1e13)
    assert max(np.max(curve.get_xdata()) for curve in mag.lines[:2]) == pytest.approx(390)
    assert mag.get_ylim() == mag_fit.get_ylim() == mag_left.get_ylim()
    for data, fit, left in zip(
        grad.lines[:2], grad_fit.lines[:2], grad_left.lines[:2], strict=True
    ):
        np.testing.assert_allclose(data.get_ydata(), fit.get_ydata() + left.get_ydata())
    for curve in mag_fit.lines[:2]:  # null control: nothing is explained
        np.testing.assert_array_equal(curve.get_ydata(), 0)


def test_fit_leaves_bad_channels_out_and_refuses_other_channels(evoked):
    evoked.info["bads"] = ["MEG 0113"]
    axes = viz.plot_fit(evoked, evoked).axes
    assert len([c for c in axes[0].lines if len(c.get_xdata()) == 50]) == 1
    with pytest.raises(ValueError, match="channels and the times"):
        viz.plot_fit(evoked, evoked.copy().pick("mag"))
    with pytest.raises(ValueError, match=r"axes must have the shape \(2, 3\)"):
        viz.plot_fit(evoked, evoked, axes=axes[:2])


@pytest.mark.parametrize(
    ("info", "kind", "name"),
    [
        (ctf_info(8, grade=1), "mag", "Axial gradiometers"),
        (meg_info(["kit"], 8), "mag", "Axial gradiometers"),
        (meg_info(["magnes"], 8), "mag", "Magnetometers"),
        (meg_info(["magnes", "magnes_grad"], 8), "mag", "Magnetometers"),
        (meg_info(["planar", "planar", "magnetometer"], 8), "grad", "Gradiometers"),
        (eeg_info(8), "eeg", "EEG"),
    ],
)
def test_types_of_sensors_have_the_name_that_their_users_know(info, kind, name):
    assert type_name(info, kind) == name


def test_noise_is_drawn_as_it_is():
    """Of noise with twice the power, slower than white, both curves say so."""
    info = mne.create_info(40, 200.0, "mag")
    rng = np.random.default_rng(0)
    r = 0.8 ** np.arange(200)
    white = rng.standard_normal((40, 4200))
    noise = np.sqrt(2 * (1 - 0.8**2)) * lfilter([1], [1, -0.8], white)[:, 200:]
    residual = mne.EvokedArray(1e-15 * noise, info, verbose="error")
    given = {"noise_variance": 2.0, "autocorrelation": r}
    spectrum, channels = viz.plot_noise(residual, np.full(40, 1e-15), noise, **given).axes
    found, learnt, as_given = spectrum.get_lines()
    there = np.interp(found.get_xdata(), learnt.get_xdata(), learnt.get_ydata())
    assert np.median(np.abs(np.log(found.get_ydata() / there))) < 0.2
    assert np.ptp(np.log(there)) > 3  # the curve is not flat
    np.testing.assert_array_equal(as_given.get_ydata(), 1)
    assert spectrum.get_xlim()[1] == 100
    points, one, root = channels.get_lines()
    assert np.median(points.get_ydata()) == pytest.approx(2**0.5, rel=0.1)
    assert (one.get_ydata()[0], root.get_ydata()[0]) == (1, pytest.approx(2**0.5))
    silent = viz.plot_noise(residual.copy().crop(0, 0), np.ones(40), noise[:, :1], noise_variance=1)
    assert len(silent.axes[0].get_lines()) == 2  # of one sample there is no spectrum
    with pytest.raises(ValueError, match="given_sd must have a value for each of 40 channels"):
        viz.plot_noise(residual, np.ones(3), noise, noise_variance=1.0)


def test_topographies_are_at_the_peaks_and_say_their_unit(recording):
    evoked = recording.evoked.copy().pick("mag")
    course = np.square(evoked.data).sum(axis=0)
    residual = evoked.copy()
    residual.data[:] = 0
    fig = viz.plot_fit(evoked, residual)
    curves = fig.axes[:3]
    maps = [ax for ax in fig.axes if ax.get_title().endswith("ms")]
    times = [float(ax.get_title().split()[0]) for ax in maps[: len(maps) // 3]]
    assert len(maps) == 3 * len(times) > 0
    assert np.abs(np.array(times) - 1e3 * evoked.times[course.argmax()]).min() < 1
    marked = {line.get_xdata()[0] for line in curves[0].lines if line.get_linestyle() == ":"}
    assert {round(time) for time in marked} == {round(time) for time in times}
    images = np.array([np.ma.filled(ax.images[0].get_array(), 0) for ax in maps])
    for data, fit, left in zip(*np.split(images, 3), strict=True):
        np.testing.assert_array_equal(data, fit)
        assert np.abs(data).max() > 10 * np.abs(left).max() == 0
    assert "Field (fT)" in [ax.get_ylabel() for ax in fig.axes]


def test_time_courses_are_in_nam_with_bands_of_two_deviations():
    times, U = np.array([0.1, 0.2, 0.3]), np.array([[1.0, 2, 3], [4, 5, 6]]) * 1e-9
    (ax,) = viz.plot_time_courses(times, U, np.array([1e-9, 2e-9]), names=["V1", "A1"]).axes
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Time (ms)", "Source amplitude (nAm)")
    np.testing.assert_allclose(ax.lines[0].get_xdata(), [100, 200, 300])
    np.testing.assert_allclose(ax.lines[1].get_ydata(), [4, 5, 6])
    heights = [np.ptp(band.get_paths()[0].vertices[:, 1]) for band in ax.collections]
    np.testing.assert_allclose(heights, [3 - 1 + 4, 6 - 4 + 8])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["V1", "A1"]
    assert not viz.plot_time_courses(times, U).axes[0].collections
    with pytest.raises(ValueError, match="3 samples"):
        viz.plot_time_courses(times, U[:, :2])
    with pytest.raises(ValueError, match="names has 1"):
        viz.plot_time_courses(times, U, names=["V1"])


def test_time_courses_of_no_source_say_so():
    (ax,) = viz.plot_time_courses(np.arange(3), np.zeros((0, 3)), np.zeros(0)).axes
    assert "no source" in [text.get_text() for text in ax.texts]
    assert len(ax.lines) == 1  # the zero line
    assert not ax.collections


def test_energy_is_drawn_against_the_iteration():
    fig = viz.plot_energy([5.0, 3.0, 2.5], label="a")
    (ax,) = fig.axes
    assert viz.plot_energy([4.0, 1.0], label="b", ax=ax) is fig
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Iteration", "Energy $J$ (dimensionless)")
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), [[1, 5], [2, 3], [3, 2.5]])
    assert ax.lines[0].get_color() != ax.lines[1].get_color()
    assert not ax.texts
    viz.plot_energy([4.0, 1.0], certificate=2e-4, tol=1e-3, ax=ax)
    assert ax.texts[0].get_text() == "certificate 2.0e-04 (target 1e-03)"
    with pytest.raises(ValueError, match="at least one"):
        viz.plot_energy([])


def test_evidence_is_sorted_and_named():
    sources = table(("lh", 5), ("rh", 6), ("rh", 7)).assign(
        log_evidence=[12.0, 900.0, 40.0], label=["cuneus-lh", None, "insula-rh"]
    )
    (ax,) = viz.plot_evidence(sources, threshold=10).axes
    assert ax.get_xlabel() == "Log evidence (nats)"
    assert ax.get_xscale() == "log"
    named = [text.get_text() for text in ax.get_yticklabels()]
    assert named == ["vertex 6 (right)", "insula (right)", "cuneus (left)"]
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), [900, 40, 12])
    assert ax.yaxis_inverted()
    assert list(ax.lines[1].get_xdata()) == [10, 10]
    assert viz.plot_evidence(sources.iloc[[0, 2]]).axes[0].get_xscale() == "linear"
    (empty,) = viz.plot_evidence(sources.iloc[:0], threshold=10).axes
    assert "no source" in [text.get_text() for text in empty.texts]
    with pytest.raises(ValueError, match="lacks the column log_evidence"):
        viz.plot_evidence(sources.drop(columns="log_evidence"))


@pytest.mark.parametrize(
    ("backend", "show", "own", "shown"),
    [
        ("qtagg", None, True, True),
        ("qtagg", False, True, False),
        ("qtagg", None, False, False),  # of a figure that is the caller's
        ("qtagg", True, False, True),
        ("module://matplotlib_inline.backend_inline", None, True, False),  # it shows itself
        ("agg", True, True, False),  # there is nothing to show it in
    ],
)
def test_a_figure_is_shown_once_as_mne_shows_it(monkeypatch, backend, show, own, shown):
    import matplotlib.pyplot as plt

    times = []
    monkeypatch.setattr(plt, "show", lambda: times.append(1))
    ax = None if own else plt.figure().add_subplot()
    monkeypatch.setattr(mpl, "get_backend", lambda: backend)
    fig = viz.plot_energy([2.0, 1.0], ax=ax, show=show)
    assert bool(times) == shown
    assert own or fig is ax.figure


# --- the package ------------------------------------------------------------------------------


def test_importing_viz_is_cheap_and_its_names_exist():
    code = (
        "import sys, meg_vae.viz\n"
        "heavy = {'pyvista', 'vtkmodules', 'matplotlib', 'torch', 'mne'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert all(callable(getattr(viz, name)) for name in viz.__all__)
    assert set(viz.__all__) <= set(dir(viz))
    with pytest.raises(AttributeError, match="plot_everything"):
        _ = viz.plot_everything


def test_what_draws_takes_few_arguments_and_is_alike():
    """How the cortex looks is one object; a figure is returned, and shown as one asks."""
    on_cortex = {"plot_cortex", "plot_estimate", "plot_comparison", "plot_group", "plot_brain"}
    drawing = {name for name in viz.__all__ if name.startswith("plot_")}
    for name in drawing | {"save_movie"}:
        taken = inspect.signature(getattr(viz, name))
        assert len(taken.parameters) <= 11, name
        assert ("look" in taken.parameters) == (name in on_cortex | {"save_movie", "plot_slices"})
        if name in drawing - on_cortex:
            assert taken.parameters["show"].default is None, name
            assert taken.return_annotation == "Figure", name
    curves = {name for name in dir(VAEInverse) if name.startswith("plot_")} & drawing
    for name in curves - {"plot_slices"}:  # which hands its arguments on
        assert "show" in inspect.signature(getattr(VAEInverse, name)).parameters, name
