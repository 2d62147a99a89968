"""Glass, shells, arrows, regions, borders and methods are where they belong."""

from __future__ import annotations

import sys
import warnings

import matplotlib as mpl
import mne
import numpy as np
import pandas as pd
import pytest
from pictures import (
    HALVES,
    SIZE,
    alike,
    brains,
    coloured,
    outermost,
    small,
    table,
    take,
    texts,
    top,
)
from scipy.stats import chi2

from meg_vae import VAEInverse, read_vae_inverse, viz
from meg_vae.viz import brain, canvas, layers, layout, marks, paint, style, surfaces

mpl.use("agg")
DORSAL = {"look": small()}
COVARIANCE = ("cov_xx", "cov_xy", "cov_xz", "cov_yy", "cov_yz", "cov_zz")


def deep(*places, peak=10.0):
    """A table of sources off the cortex, from (x, y, z) in mm."""
    sources = pd.DataFrame(np.reshape(places, (-1, 3)), columns=["x_mm", "y_mm", "z_mm"])
    return sources.assign(hemi="space 0", vertno=range(len(sources)), peak_nAm=peak)


def regions(places, covariance):
    """A table of ellipsoids with one covariance."""
    upper = np.asarray(covariance, float)[np.triu_indices(3)]
    return deep(*places).assign(**dict(zip(COVARIANCE, upper, strict=True)))


# --- glass --------------------------------------------------------------------------------------


@pytest.mark.rendering
def test_glass_shows_sources_in_the_depth_in_their_colour_at_their_place(where):
    places, peaks = [(-25.0, -20.0, 10.0), (30.0, 10.0, 5.0)], np.array([5.0, 20.0])
    sources = deep(*places, peak=peaks)
    kwargs = {"look": small(surface="glass", clim=(0, 20)), **where}
    image, pixels = take(viz.plot_cortex(sources, **kwargs), places)
    bare, _ = take(viz.plot_cortex(sources.iloc[:0], **kwargs), places)
    for (row, column), peak in zip(pixels, peaks, strict=True):
        expected = 255 * np.array(mpl.colormaps[style.SEQUENTIAL](peak / 20))[:3]
        np.testing.assert_allclose(image[row, column], expected, atol=30)
        assert not coloured(bare)[row, column]
    assert pixels[0][1] < SIZE[0] / 2 < pixels[1][1]  # the left one is on the left from above
    with pytest.raises(ValueError, match="surface='glass', or with plot_slices"):
        viz.plot_cortex(sources, **DORSAL, **where)


@pytest.mark.rendering
def test_the_head_goes_around_the_brain(where, tmp_path):
    sources = deep((0.0, 0.0, 0.0))
    ink = []
    for shell in (None, "head"):
        look = small(surface="glass", shell=shell)
        plotter = viz.plot_cortex(sources, look=look, **where)
        scale_mm = plotter.renderers[1].camera.parallel_scale
        image = brains(viz.picture(plotter))
        ink.append((scale_mm, (image < 250).any(axis=2).sum()))
    assert ink[1][0] > 1.2 * ink[0][0]  # room for it
    points, triangles = surfaces.load_shell(shell="head", **where)
    assert np.ptp(points[:, 0]) > 130
    assert triangles.max() < len(points)
    with pytest.raises(FileNotFoundError, match=r"inner_skull\.surf.*datasets\.template"):
        viz.plot_cortex(sources, look=small(shell="inner_skull"), **where)


def test_a_source_beside_its_vertex_is_drawn_at_the_nearest_of_the_white_surface(cortex):
    """Whatever position names it: a place between has no point of its own on such a surface."""
    vertex, far = 4000, 9000
    place = cortex["lh"].white[vertex] + 0.4
    sources = pd.DataFrame([("lh", far, *place)], columns=["hemi", "vertno", *surfaces.OWN_PLACE])
    meshes = {hemi: marks.cortex_mesh(part) for hemi, part in cortex.items()}
    radius = np.array([5.0])

    def drawn(table):
        return marks.centres(table, cortex, meshes, radius, "inflated")

    at_vertex = drawn(pd.DataFrame({"hemi": ["lh"], "vertno": [vertex]}))
    np.testing.assert_array_equal(drawn(sources), at_vertex)
    named = drawn(sources.drop(columns=list(surfaces.OWN_PLACE)))  # the control: the position's own
    assert np.linalg.norm(named - at_vertex) > 10
    np.testing.assert_array_equal(marks.centres(sources, cortex, meshes, radius, "glass")[0], place)


def test_ellipsoids_of_a_fit_are_those_of_its_places_in_the_mri(recording, fitted, tmp_path):
    known = read_vae_inverse(fitted.save(tmp_path / "x-vae.h5")).ellipsoids()
    axes = list(surfaces.OWN_PLACE)
    np.testing.assert_array_equal(known[axes], fitted.sources_[axes])
    turn = recording.forward["mri_head_t"]["trans"][:3, :3].T
    assert abs(turn - np.eye(3)).max() > 0.05  # the control: head and MRI are turned
    for row, covariance in zip(known.iloc, fitted.position_covariance_, strict=True):
        expected = 1e6 * turn @ covariance @ turn.T
        found = [[row[f"cov_{min(i, j)}{max(i, j)}"] for j in "xyz"] for i in "xyz"]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    longest = np.sqrt(chi2.ppf(0.95, 3) * np.linalg.eigvalsh(1e6 * fitted.position_covariance_))
    np.testing.assert_allclose(fitted.sources_["radius_mm"], longest[:, -1])


@pytest.mark.rendering
def test_a_fit_shows_its_ellipsoids_in_the_glass_brain(recording, fitted):
    kwargs = {"surface": "glass", "look": viz.Look(off_screen=True)}
    assert "95 % region" in texts(fitted.plot_sources(**kwargs))
    assert "95 % region" not in texts(fitted.plot_sources(ellipsoids=None, **kwargs))
    assert "95 % region" not in texts(fitted.plot_sources(look=kwargs["look"]))
    on_grid = VAEInverse(positions="grid", subjects_dir=recording.subjects_dir, verbose="error")
    on_grid.fit(recording.evoked, recording.forward, recording.noise_cov)
    assert on_grid.ellipsoids().empty
    assert "95 % region" not in texts(on_grid.plot_sources(**kwargs))


def test_an_ellipsoid_holds_the_share_that_it_says():
    rng = np.random.default_rng(0)
    covariance = np.array([[30.0, 10, 0], [10, 60, 5], [0, 5, 10]])
    centre = np.array([10.0, -20, 30])
    mesh = marks.ellipsoid_mesh(centre[np.newaxis], covariance[np.newaxis])
    offset = np.asarray(mesh.points, float) - centre
    square = np.einsum("ij,jk,ik->i", offset, np.linalg.inv(covariance), offset)
    np.testing.assert_allclose(square, chi2.ppf(0.95, 3), rtol=1e-4)
    draws = rng.multivariate_normal(np.zeros(3), covariance, 20_000)
    inside = np.einsum("ij,jk,ik->i", draws, np.linalg.inv(covariance), draws) <= square.mean()
    assert inside.mean() == pytest.approx(0.95, abs=0.006)
    flat = marks.ellipsoid_mesh(np.zeros((1, 3)), np.zeros((1, 3, 3)))
    assert np.ptp(flat.points, axis=0).min() == pytest.approx(1.0, abs=0.05)


@pytest.mark.rendering
def test_regions_are_as_wide_as_the_covariance(where):
    place = (-40.0, -20.0, 20.0)
    wide = regions([place], np.diag([100.0, 1.0, 1.0]))
    kwargs = {"look": small(surface="glass"), **where}
    sources = deep(place)
    plotter = viz.plot_cortex(sources, ellipsoids=wide, **kwargs)
    assert "95 % region" in texts(plotter)
    zoom = SIZE[1] * np.diff(plotter.renderers[1].viewport[1::2])[0]
    zoom /= 2 * plotter.renderers[1].camera.parallel_scale
    image, _ = take(plotter, [place])
    bare, _ = take(viz.plot_cortex(sources, **kwargs), [place])
    blue = brains(np.abs(image.astype(int) - bare).max(axis=2) > 20)
    width = np.ptp(np.flatnonzero(blue.any(axis=0)))
    assert width == pytest.approx(2 * np.sqrt(100 * chi2.ppf(0.95, 3)) * zoom, rel=0.1)
    with pytest.raises(ValueError, match="surface='glass'"):
        viz.plot_cortex(table(), ellipsoids=wide, **where)
    with pytest.raises(ValueError, match="lacks the column cov_xy"):
        viz.plot_cortex(sources, ellipsoids=wide.drop(columns="cov_xy"), **kwargs)
    with pytest.raises(ValueError, match="not finite"):
        viz.plot_cortex(sources, ellipsoids=wide.assign(cov_xx=np.nan), **kwargs)


@pytest.mark.rendering
def test_arrows_point_where_they_are_told(where):
    place, sources = (-40.0, -20.0, 20.0), deep((-40.0, -20.0, 20.0))
    kwargs = {"look": small(surface="glass"), **where}
    extents = {}
    for name, direction in (("none", None), ("right", [[5.0, 0, 0]]), ("front", [[0, 2.0, 0]])):
        image, [(row, column)] = take(
            viz.plot_cortex(sources, orientations=direction, **kwargs), [place]
        )
        rows, columns = np.nonzero(coloured(brains(image)))
        extents[name] = (columns.max() - column, row - rows.min())  # to the right, to the front
    assert extents["right"][0] > 2 * extents["none"][0]
    assert extents["right"][1] <= extents["none"][1] + 1
    assert extents["front"][1] > 2 * extents["none"][1]
    assert extents["front"][0] <= extents["none"][0] + 1
    with pytest.raises(ValueError, match="inflated surface, which has other directions"):
        viz.plot_cortex(table(("lh", 1)), orientations=[[1, 0, 0]], **where)
    for wrong in ([[0, 0, 0]], np.eye(3), [[np.nan, 0, 1]]):
        with pytest.raises(ValueError, match="orientations must be 1 directions"):
            viz.plot_cortex(sources, orientations=wrong, **kwargs)


# --- borders ------------------------------------------------------------------------------------


@pytest.mark.rendering
def test_a_label_is_outlined_on_its_hemisphere(where, cortex):
    near = np.linalg.norm(cortex["lh"].points - cortex["lh"].points[top(cortex, "lh")], axis=1) < 25
    label = mne.Label(np.flatnonzero(near), hemi="lh", name="patch-lh")
    plotter = viz.plot_cortex(table(), look=small(labels=[label]), **where)
    assert "patch-lh" in texts(plotter)
    green = alike(brains(viz.picture(plotter)), paint.COLOURS[0], 60)
    assert green[:, HALVES["lh"]].sum() > 60
    assert green[:, HALVES["rh"]].sum() == 0
    rows, columns = np.nonzero(green)
    assert not green[round(rows.mean()), round(columns.mean())]  # a line, not a patch


def test_borders_lie_between_different_labels(where, cortex):
    meshes = {hemi: marks.cortex_mesh(part) for hemi, part in cortex.items()}
    front = cortex["lh"].points[:, 1] > 0
    halves = [
        mne.Label(np.flatnonzero(front), hemi="lh", name="front-lh"),
        mne.Label(np.flatnonzero(~front), hemi="lh", name="back-lh"),
    ]
    drawn, legend = paint.outline_layers(halves, meshes)
    assert [key.text for key in legend] == ["front-lh", "back-lh"]
    assert not drawn["rh"]
    for layer in drawn["lh"]:
        assert np.abs(layer.mesh.points[:, 1]).max() < 6  # within a triangle of the border
    everything = mne.Label(np.arange(len(front)), hemi="lh", name="all")
    assert paint.outline_layers([everything], meshes)[0]["lh"] == []
    far = mne.Label([99_999], hemi="rh", name="far")
    with pytest.raises(ValueError, match="99999, but the surface only 10242"):
        paint.outline_layers([far], meshes)


def test_labels_that_are_not_there_are_named(where):
    with pytest.raises(FileNotFoundError, match=r"lh\.aparc\.annot.*rh\.aparc\.annot"):
        viz.plot_cortex(table(), look=small(labels="aparc"), **where)
    with pytest.raises(TypeError, match="annotation or mne.Labels; int"):
        viz.Look(labels=[1])


# --- methods and views --------------------------------------------------------------------------


@pytest.mark.rendering
def test_methods_have_colours_of_their_own_and_do_not_hide_each_other(where, cortex):
    vertex = top(cortex, "lh")
    sources = table(("lh", vertex), ("lh", vertex)).assign(method=["VAE", "MxNE"])
    plotter = viz.plot_cortex(sources, color_by="method", **DORSAL, **where)
    assert {"VAE", "MxNE"} <= set(texts(plotter))
    image = brains(viz.picture(plotter))
    seen = [alike(image, colour, 30)[:, HALVES["lh"]].sum() for colour in style.PALETTE[:3]]
    assert min(seen[:2]) > 30
    assert seen[2] == 0
    many = table(*[("lh", k) for k in range(8)]).assign(method=list("abcdefgh"))
    with pytest.raises(ValueError, match="8 names; at most 7"):
        viz.plot_cortex(many, color_by="method", **where)
    with pytest.raises(ValueError, match="size_by must be one of"):
        viz.plot_cortex(sources, size_by="method", **where)


def test_marks_at_one_place_are_set_apart():
    points = np.array([[0.0, 0, 50], [0, 0, 50], [0, 0, 50], [30, 0, 40]])
    apart = marks.fan_out(points, np.full(4, 5.0))
    gaps = [np.linalg.norm(apart[i] - apart[j]) for i, j in ((0, 1), (1, 2), (0, 2))]
    np.testing.assert_allclose(gaps, 9.5)
    np.testing.assert_allclose(apart[:3, 2], 50)  # in the plane that faces outwards
    np.testing.assert_array_equal(apart[3], points[3])
    assert layers.Categories.of("abab").numbers("ba").tolist() == [1, 0]


@pytest.mark.rendering
@pytest.mark.parametrize(("azimuth", "seen"), [(180.0, True), (0.0, False)])
def test_any_camera_sees_what_faces_it(where, cortex, azimuth, seen):
    sources = table(("lh", outermost(cortex, "lh")))
    kwargs = {"look": small([(azimuth, 90.0)]), **where}
    assert (coloured(brains(viz.picture(viz.plot_cortex(sources, **kwargs)))).sum() > 20) == seen


def test_a_camera_is_that_of_the_standard_view():
    both = surfaces.HEMIS
    for angles, view in (((0.0, 0.0), "dorsal"), ((90.0, 90.0), "rostral"), ((0, 180), "ventral")):
        camera, standard = layout.Panel(angles, both), layout.Panel(view, both)
        np.testing.assert_allclose(camera.towards, standard.towards, atol=1e-12)
        np.testing.assert_allclose(camera.up, standard.up, atol=1e-12)
    assert layout.check_views((30, 60)) == ((30, 60),)


# --- without OpenGL -----------------------------------------------------------------------------


@pytest.fixture
def no_opengl(monkeypatch):
    monkeypatch.setattr(canvas, "LIBRARIES", ("libNoSuchThing.so",))
    canvas.has_opengl.cache_clear()
    canvas._warn.cache_clear()
    yield
    canvas.has_opengl.cache_clear()
    canvas._warn.cache_clear()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux lacks OpenGL")
def test_without_opengl_matplotlib_draws_and_one_warning_says_what_to_install(
    where, cortex, no_opengl
):
    sources = table(("rh", top(cortex, "rh")))
    with pytest.warns(RuntimeWarning, match="apt install libegl1") as caught:
        plotter = viz.plot_cortex(sources, look=small(clim=(0, 10)), **where)
    assert len(caught) == 1
    image = viz.picture(plotter)
    assert image.shape == (SIZE[1], SIZE[0], 3)
    spots = coloured(brains(image))
    assert spots[:, HALVES["rh"]].sum() > 50
    assert spots[:, HALVES["lh"]].sum() == 0
    assert alike(brains(image), mpl.colormaps[style.SEQUENTIAL](1.0)[:3], 30).sum() > 10
    assert alike(image, style.SULCUS, 40).sum() > 2000
    with pytest.raises(RuntimeError, match="plotter is closed"):
        plotter.still()
    empty = viz.plot_cortex(table(), **DORSAL, **where)  # and no second warning
    assert coloured(empty.screenshot()).sum() == 0
    with pytest.raises(RuntimeError, match="no window can be opened"):
        empty.show()
    with pytest.raises(RuntimeError, match="backend='pyvista': this machine has no OpenGL"):
        viz.plot_cortex(sources, look=small(backend="pyvista"), **where)


@pytest.mark.rendering
def test_both_canvases_draw_the_same(where, cortex):
    sources = table(("lh", top(cortex, "lh")))
    kwargs = {"truth": table(("rh", top(cortex, "rh"))), **where}
    looks = [small(backend=backend) for backend in ("pyvista", "matplotlib")]
    images = [viz.picture(viz.plot_cortex(sources, look=look, **kwargs)) for look in looks]
    for colour in (style.TRUTH, mpl.colormaps[style.SEQUENTIAL](1.0)[:3]):
        centres = [np.mean(np.nonzero(alike(brains(one), colour, 40)), axis=1) for one in images]
        np.testing.assert_allclose(*centres, atol=3)
    difference = np.abs(images[0].astype(int) - images[1])[60:400]
    assert np.median(difference.max(axis=2)) < 12


# --- MNE's browser ------------------------------------------------------------------------------


def test_what_is_missing_for_qt_is_said(where, monkeypatch):
    monkeypatch.setattr(brain, "missing_qt", lambda: ["pyvistaqt", "PySide6"])
    with pytest.raises(ImportError, match="pip install pyvistaqt PySide6"):
        viz.plot_brain(table(), **where)


@pytest.mark.rendering
def test_mne_shows_the_sources_where_there_is_qt(where, cortex):
    if missing := brain.missing_qt():
        pytest.skip(f"needs Qt: {' and '.join(missing)} not installed")
    try:
        from mne.viz.backends._utils import _display_is_valid

        shown = _display_is_valid()
    except ImportError:
        shown = False
    if not shown:
        pytest.skip("needs a display, as MNE's browser does")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of Qt and its themes
        window = viz.plot_brain(table(("lh", outermost(cortex, "lh"))), size=(300, 250), **where)
        window.show_view("lateral", hemi="lh")
        image = window.screenshot()
        window.close()
    assert coloured(image).sum() > 10


@pytest.mark.rendering
def test_a_patch_is_painted_as_large_as_it_is_and_a_point_is_a_sphere(where, cortex):
    vertex = top(cortex, "lh")
    ink = []
    for extent in (0.0, 8.0, 16.0):
        sources = table(("lh", vertex)).assign(extent_mm=extent)
        sources[list(surfaces.OWN_PLACE)] = cortex["lh"].white[[vertex]]
        plotter = viz.plot_cortex(sources, **DORSAL, **where)
        assert ("estimate, a patch" in texts(plotter)) == (extent > 0)
        spots = coloured(brains(viz.picture(plotter)))
        assert spots[:, HALVES["rh"]].sum() == 0
        ink.append(spots[:, HALVES["lh"]].sum())
    assert ink[0] > 50
    assert 2.5 < ink[2] / ink[1] < 6  # the square of the radius
