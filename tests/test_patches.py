"""Patches of cortex: their surface, their field, and what an inverse says of them."""

from __future__ import annotations

import warnings

import mne
import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist
from small_recordings import meg_info, points, sphere_forward

from meg_vae import VAEInverse, compare, datasets, read_vae_inverse
from meg_vae.datasets.recipe_recording import simulate_recording
from meg_vae.datasets.recipes import Recipe
from meg_vae.meg.cortex import Cortex, cortex_of
from meg_vae.meg.densities import Densities
from meg_vae.meg.discs import Discs
from meg_vae.meg.interpolation import Vertices
from meg_vae.viz.paint import are_patches, source_labels

NONE = np.zeros(0)
QUICK = {"spans": "whole", "registration": None}  # when and where the head is are not asked here


@pytest.fixture(scope="module")
def head():
    return datasets.template("ico3", verbose="error")


@pytest.fixture(scope="module")
def cortex(head):
    return cortex_of(head.forward)


@pytest.fixture(scope="module")
def patchy():
    """Two patches of 15 mm in the template, off the grid, turned from their normals."""
    recipe = Recipe(n_sources=2, snr_db=5, extent_mm=15, tilt_deg=15, spacing="ico3")
    return simulate_recording(recipe, 3)


@pytest.fixture(scope="module")
def found(patchy):
    inverse = VAEInverse(subjects_dir=patchy.subjects_dir, **QUICK)
    return inverse.fit(patchy.evoked, patchy.forward, patchy.noise_cov)


class Plain:
    """A lead field that is a simple function of place, on five channels."""

    n_channels, spacing = 5, 0.006

    def vertices(self, n):
        return Vertices(n, self.n_channels)

    def gain(self, rr):
        wave = [np.sin(40 * rr @ [1, 2, 3] + k) for k in range(5)]
        return np.stack(wave, 1)[:, :, None] * np.array([1.0, 2, -1])

    def whiten(self, gain):
        return gain

    def carried(self, gain, delta):
        return gain


def some_discs(cortex, n=5):
    """Discs about places beside vertices, of all sizes."""
    rng = np.random.default_rng(0)
    near = cortex.rr[rng.choice(len(cortex.rr), n)] + rng.normal(0, 0.001, (n, 3))
    return np.c_[cortex.foot(near), np.linspace(0.005, 0.025, n)]


def test_discs_hold_what_mne_grows_labels_to(head, cortex):
    nodes = np.array([4000, 15000])
    distances = cortex.distances(nodes, 0.03)
    for node, distance in zip(nodes, distances, strict=True):
        hemi, vertex = divmod(node, 10242)
        (label,) = mne.grow_labels(
            head.subject, vertex, 12.0, int(hemi), head.subjects_dir, surface="white"
        )
        inside = np.flatnonzero(distance <= 0.012) - hemi * 10242
        assert len(np.setxor1d(inside, label.vertices)) <= 2  # rounding at the edge


def test_a_centre_beside_a_fold_has_a_disc_too(cortex):
    """Where all vertices are farther than a small disc goes: by one centre and by many."""
    rng, densities = np.random.default_rng(0), Densities(cortex)
    near = cortex.rr[rng.choice(len(cortex.rr), 40)]
    centres = near + 0.003 * rng.standard_normal(near.shape)
    farthest = densities._distances(centres, 0.004).min(1)
    centre, radius = centres[[farthest.argmax()]], farthest.max() - cortex.spacing
    assert radius > 0
    small, smaller = np.c_[centre, radius], np.c_[centre, radius / 2]
    one, same = densities.of(small[0]), densities.of(smaller[0])
    np.testing.assert_allclose(one.even[0].sum(), 1)
    np.testing.assert_allclose(one.even[0], same.even[0])
    nodes, even, uneven = densities.of_many(np.r_[small, np.c_[centre, 0.01]])
    np.testing.assert_allclose(even.sum(1), 1)
    assert np.isfinite(uneven).all()
    np.testing.assert_allclose(even[0, np.isin(nodes, one.nodes)], one.even[0], atol=1e-12)


def test_the_surface_knows_its_area_and_its_feet(head, cortex):
    white = [
        mne.read_surface(head.subjects_dir / head.subject / "surf" / f"{h}.white")
        for h in ("lh", "rh")
    ]
    area = sum(
        np.linalg.norm(np.cross(*(rr[t[:, [1, 2]]] - rr[t[:, :1]]).swapaxes(0, 1)), axis=1).sum()
        / 2
        for rr, t in white
    )
    np.testing.assert_allclose(1e6 * cortex.area.sum(), area, rtol=1e-6)
    corners = cortex.rr[cortex.tris[::500]]
    inside = np.einsum("k,tka->ta", [0.8, 0.1, 0.1], corners)
    np.testing.assert_allclose(cortex.foot(inside), inside, atol=1e-9)


def test_a_fine_surface_is_thinned_and_keeps_its_measure(cortex):
    space = {"rr": cortex.rr[:10242], "nn": cortex.nn[:10242], "tris": cortex.tris[:20480]}
    middle = space["rr"][space["tris"]].mean(1)
    corners = np.arange(len(middle)) + 10242
    a, b, c = space["tris"].T
    fine = {
        "rr": np.concatenate([space["rr"], middle]),
        "tris": np.concatenate([np.c_[x, y, corners] for x, y in ((a, b), (b, c), (c, a))]),
    }
    normals = np.cross(space["rr"][b] - space["rr"][a], space["rr"][c] - space["rr"][a])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    fine["nn"] = np.concatenate([space["nn"], normals])
    thin = Cortex([fine])
    assert 9000 < len(thin.rr) < 11000
    np.testing.assert_allclose(thin.area.sum(), cortex.area[:10242].sum(), rtol=0.02)
    assert (np.linalg.norm(thin.nn, axis=1) <= 1 + 1e-6).all()


def test_derivatives_of_a_disc_are_those_of_its_field(cortex):
    discs, places = Discs(cortex, [Plain()]), some_discs(cortex)
    _, gradient, _, drift, *_ = discs(places)
    for axis in range(4):
        step = 1e-6 * np.eye(4)[axis]
        ahead, behind = discs(places + step), discs(places - step)
        for exact, k in ((gradient, 0), (drift, 2)):
            numeric = (ahead[k] - behind[k]) / 2e-6
            scale = np.abs(numeric).max()
            np.testing.assert_allclose(exact[..., axis], numeric, atol=1e-5 * scale)


def test_a_disc_is_the_mean_of_its_dipoles(cortex):
    field = Plain()
    discs, places = Discs(cortex, [field]), some_discs(cortex)
    values = discs(places)[0]
    for place, value in zip(places, values, strict=True):
        disc = discs.densities.of(place)
        nodes, weights = disc.nodes, disc.even[0]
        mean = np.einsum("u,uda,ua->d", weights, field.gain(cortex.rr[nodes]), cortex.nn[nodes])
        np.testing.assert_allclose(value, mean, rtol=1e-9)
        np.testing.assert_allclose([weights.sum(), np.linalg.norm(disc.direction)], 1)
    area = np.array([discs.densities.of(place).area for place in places])
    flat = np.pi * places[:, 3] ** 2
    assert ((0.5 * flat < area) & (area < 1.3 * flat)).all()  # edges are longer than the surface


def test_many_discs_at_once_are_what_each_is_alone(cortex):
    discs = Discs(cortex, [Plain()])
    places = discs.near(cortex.rr[100], 0.01)
    values, patterns = discs.columns(places, NONE)
    alone = discs(places)
    np.testing.assert_allclose(values, alone[0], atol=1e-12)
    np.testing.assert_allclose(patterns, alone[2], atol=1e-12)


def test_patches_are_found_as_patches(patchy, found):
    true = np.array([one.pos[0] for one in patchy.truth])
    assert len(found.sources_) == 2
    distance = 1e3 * cdist(found.filter_.positions.rr_head, true)
    assert distance.min(1).max() < 6
    assert set(distance.argmin(1)) == {0, 1}
    sources = found.sources_
    assert (abs(sources["extent_mm"] - 15) < 5).all()
    assert (sources["extent_low_mm"] > 0).all()
    assert ((sources["extent_low_mm"] < 15) & (15 < sources["extent_high_mm"])).all()
    assert not sources["on_wall"].any()
    peaks = np.array([1e9 * np.abs(one.amplitude).max() for one in patchy.truth])
    np.testing.assert_allclose(sources["peak_nAm"], peaks[distance.argmin(1)], rtol=0.35)
    density = sources["peak_nAm"] / (np.pi * sources["extent_mm"] ** 2)
    assert (sources["density_pAm_mm2"] / (1e3 * density)).between(0.7, 2).all()


def test_an_estimate_fills_its_patches(patchy, found):
    stc = found.apply(patchy.evoked)
    rr = np.concatenate(
        [s["rr"][v] for s, v in zip(patchy.forward["src"], stc.vertices, strict=True)]
    )
    places = found.filter_.positions.rr_head
    nearest = cdist(rr, places)
    assert (nearest.min(1) < 0.025).all()
    assert len(rr) > 4
    moments = np.linalg.norm(found.filter_.activity(patchy.evoked), axis=1)
    vector = found.apply(patchy.evoked, "vector")
    for k, dipole in enumerate(found.dipoles()):
        own = nearest.argmin(1) == k
        np.testing.assert_allclose(stc.data[own].sum(0), moments[k], rtol=1e-9)
        net = vector.data[own].sum(0)
        np.testing.assert_allclose(net.T, dipole.amplitude[:, None] * dipole.ori, atol=1e-15)
        assert (dipole.amplitude <= moments[k] * (1 + 1e-9)).all()
    full = found.apply(patchy.evoked, full=True)
    assert np.count_nonzero(full.data.any(1)) == len(rr)
    np.testing.assert_allclose(np.linalg.norm(vector.data, axis=1), stc.data, rtol=1e-9)


def test_a_patch_explains_what_its_dipoles_put_on_the_sensors(patchy, found):
    whole = found.explained_variance()
    points = VAEInverse(extent="point", **QUICK)
    points.fit(patchy.evoked, patchy.forward, patchy.noise_cov)
    assert whole > points.explained_variance() - 1
    assert (points.sources_["extent_mm"] == 0).all()
    assert points.sources_["extent_low_mm"].isna().all()
    assert found.energy_ < points.energy_ + 0.1 or len(points.sources_) > 2


def test_a_file_keeps_patches(found, patchy, tmp_path):
    again = read_vae_inverse(found.save(tmp_path / "sub-vae.h5"))
    np.testing.assert_array_equal(again.apply(patchy.evoked).data, found.apply(patchy.evoked).data)
    assert again.extent == "learn"
    assert again.sources_.equals(found.sources_)


def test_the_bootstrap_keeps_patches_what_they_are(patchy):
    rng = np.random.default_rng(0)
    noise = 0.5 * np.sqrt(patchy.noise_cov.data.diagonal())[:, None]
    trials = patchy.evoked.data + noise * rng.standard_normal((20, *patchy.evoked.data.shape))
    epochs = mne.EpochsArray(trials, patchy.evoked.info, verbose="error").apply_proj()
    inverse = VAEInverse(**QUICK).fit(epochs, patchy.forward, patchy.noise_cov)
    assert inverse.sources_["extent_mm"].any()
    sure = inverse.bootstrap(
        epochs, patchy.forward, patchy.noise_cov, n_bootstrap=4, random_state=0
    ).sources
    assert (sure["probability"] == 1).all()
    places = ["x_mm", "y_mm", "z_mm"]
    np.testing.assert_allclose(sure[places], inverse.sources_[places], atol=4)
    np.testing.assert_allclose(sure["amplitude_nAm"], inverse.sources_["peak_nAm"], rtol=0.5)


def test_labels_are_the_vertices_within_the_extents(found, patchy):
    labels = found.labels()
    assert [one.hemi for one in labels] == found.sources_["hemi"].tolist()
    for label, (_, row) in zip(labels, found.sources_.iterrows(), strict=True):
        away = np.linalg.norm(
            1e3 * label.pos - row[["x_mm", "y_mm", "z_mm"]].to_numpy(float), axis=1
        )
        assert away.max() <= row["extent_mm"] + 5
        assert away.min() < 4
    np.testing.assert_array_equal(are_patches(found.sources_), True)
    np.testing.assert_array_equal(are_patches(found.sources_.assign(extent_mm=0.0)), False)
    volume = found.sources_.assign(hemi="Left-Amygdala")
    assert not are_patches(volume).any()


def test_labels_need_a_fit_and_a_cortex(found):
    with pytest.raises(RuntimeError, match="not fitted yet"):
        VAEInverse(subject="fsaverage5").labels()
    deep = found.sources_.assign(hemi="Left-Amygdala")
    with pytest.raises(ValueError, match="a source lies in 'Left-Amygdala'"):
        source_labels(deep, "fsaverage5", found.subjects_dir)


def test_one_extent_for_all(patchy):
    inverse = VAEInverse(extent=15, **QUICK)
    inverse.fit(patchy.evoked, patchy.forward, patchy.noise_cov)
    np.testing.assert_array_equal(inverse.sources_["extent_mm"], 15)
    np.testing.assert_array_equal(inverse.sources_["extent_low_mm"], 15)
    true = np.array([one.pos[0] for one in patchy.truth])
    assert 1e3 * cdist(inverse.filter_.positions.rr_head, true).min(1).max() < 6


def test_points_stay_points(recording, fitted):
    points = VAEInverse(extent="point")
    points.fit(recording.evoked, recording.forward, recording.noise_cov)
    assert (fitted.sources_["extent_low_mm"] == 0).all()
    np.testing.assert_allclose(
        fitted.filter_.positions.rr_head, points.filter_.positions.rr_head, atol=1e-3
    )


@pytest.mark.parametrize("extent", [3, 40, True, "patch", None, float("nan")])
def test_an_extent_that_is_none_is_refused(recording, extent):
    with pytest.raises(ValueError, match="from 4 to 30 mm"):
        VAEInverse(extent=extent).fit(recording.evoked, recording.forward, recording.noise_cov)


def test_a_radius_needs_a_surface(recording):
    with pytest.raises(ValueError, match="positions='grid' they are points"):
        VAEInverse(extent=10, positions="grid").fit(
            recording.evoked, recording.forward, recording.noise_cov
        )
    info = meg_info(["planar", "magnetometer"], 60)
    forward = sphere_forward(info, points(60))
    cov = mne.make_ad_hoc_cov(info, verbose="error")
    rng = np.random.default_rng(0)
    noise = (
        np.sqrt(np.diag(mne.Covariance.as_diag(cov).data))
        if cov["diag"] is False
        else cov.data**0.5
    )
    evoked = mne.EvokedArray(noise[:, None] * rng.standard_normal((len(noise), 30)), info, nave=1)
    with pytest.raises(ValueError, match="no triangulated surface"):
        VAEInverse(extent=10).fit(evoked, forward, cov)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inverse = VAEInverse().fit(evoked, forward, cov)
    assert inverse.sources_.empty


def ball_of_places(radius):
    """The corners of an icosahedron: a mean over them is that over its sphere, up to degree 5."""
    golden = (1 + 5**0.5) / 2
    corners = [(0, a, b * golden) for a in (1, -1) for b in (1, -1)]
    corners = np.array([np.roll(one, k) for one in corners for k in range(3)], float)
    return radius * corners / np.linalg.norm(corners[0])


def test_a_ball_has_the_field_of_a_point_at_its_centre():
    info = meg_info(["planar", "magnetometer"], 60)
    sphere = mne.make_sphere_model((0, 0, 0.04), 0.09, info=None, verbose="error")
    centre, rr = np.array([0.02, 0.01, 0.08]), ball_of_places(0.012)

    def mean_field(places):
        n = len(places)
        every = np.tile(np.eye(3), (n, 1))
        pos = mne.setup_volume_source_space(
            pos={"rr": np.repeat(places, 3, 0), "nn": every}, verbose="error"
        )
        forward = mne.make_forward_solution(info, None, pos, sphere, verbose="error")
        gain = forward["sol"]["data"].reshape(len(info.ch_names), n, 3, 3)
        return np.einsum("dnkk->dnk", gain).mean(1)

    point, ball = mean_field(centre[None]), mean_field(centre + rr)
    beside = mean_field(centre[None] + [0.003, 0, 0])
    size = np.linalg.norm(point)
    assert np.linalg.norm(ball - point) < 2e-3 * size
    assert np.linalg.norm(beside - point) > 0.02 * size  # a null control: 3 mm are seen


def test_a_radius_in_a_volume_fills_the_estimate_and_moves_nothing():
    info = meg_info(["planar", "magnetometer"], 60)
    src = mne.setup_volume_source_space(
        pos=12.0, sphere=(0, 0, 0.04, 0.06), sphere_units="m", verbose="error"
    )
    forward = sphere_forward(info, src)
    rng = np.random.default_rng(1)
    k = 30
    moment = np.cross(forward["source_rr"][k] - [0, 0, 0.04], [0.3, 1, 0.2])
    gain = forward["sol"]["data"].reshape(len(info.ch_names), -1, 3)[:, k] @ moment
    cov = mne.make_ad_hoc_cov(info, verbose="error")
    sd = np.sqrt(cov.data)[:, None]
    course = np.sin(np.linspace(0, 3, 40))
    size = 20 * sd.mean() / np.abs(gain).max()
    data = size * gain[:, None] * course + sd * rng.standard_normal((len(sd), 40))
    evoked = mne.EvokedArray(data, info, nave=1, verbose="error")
    point = VAEInverse().fit(evoked, forward, cov)
    ball = VAEInverse(extent=20).fit(evoked, forward, cov)
    assert len(ball.sources_) == len(point.sources_) == 1
    np.testing.assert_array_equal(ball.filter_.positions.rr_head, point.filter_.positions.rr_head)
    assert (point.sources_["extent_mm"] == 0).all()
    assert point.sources_["extent_low_mm"].isna().all()  # no data could tell
    row = ball.sources_.iloc[0]
    assert (row[["extent_mm", "extent_low_mm", "extent_high_mm"]] == 20).all()
    assert np.isnan(row["density_pAm_mm2"])
    inside = np.linalg.norm(forward["source_rr"] - ball.filter_.positions.rr_head, axis=1) <= 0.02
    stc = ball.apply(evoked, "vector")
    assert 3 < len(stc.data) <= inside.sum() + 1
    np.testing.assert_allclose(stc.data.sum(0), point.apply(evoked, "vector").data[0], rtol=1e-9)
    np.testing.assert_allclose(ball.dipoles()[0].amplitude, point.dipoles()[0].amplitude, rtol=1e-9)


def test_discs_all_over_look_like_the_discs_that_they_stand_for(head, cortex):
    rr, field = head.forward["source_rr"], Plain()
    discs = Discs(cortex, [field])
    columns = np.moveaxis(field.gain(rr), 1, 0)
    places, found = discs.everywhere(rr, columns)
    assert set(np.round(places[:, 3], 6)) >= {0.03}
    some = np.random.default_rng(0).choice(len(places), 20, replace=False)
    exact = discs(places[some])[0].T
    off = np.linalg.norm(found[:, some] - exact, axis=0) / np.linalg.norm(exact, axis=0)
    assert np.median(off) < 0.15
    few, none = discs.everywhere(rr + 1.0, columns)  # none of them on the surface
    assert few.shape == (0, 4)
    assert none.shape == (5, 0)


@pytest.mark.slow
def test_a_comparison_scores_patches(patchy):
    truth = patchy.truth
    result = compare(
        patchy.evoked,
        patchy.forward,
        patchy.noise_cov,
        ["vae", "zeros"],
        truth=truth,
        truth_extents_mm=15,
    )
    ours, null = result.table.iloc[0], result.table.iloc[1]
    assert ours["extent_error_mm"] < 5
    assert ours["average_precision"] > 0.5 > null["average_precision"]
    assert ours["emd_mm"] < 15
    assert ours["explained_variance"] > 60
    assert null["extent_error_mm"] is pd.NA
    assert len(result.estimates["vae"].data) > 4
    for extents, said in (([1, 2, 3], r"\[1, 2, 3\]"), ("wide", "'wide'"), (-1, "-1")):
        with pytest.raises(ValueError, match=f"truth_extents_mm={said} .* 2 sources"):
            compare(
                patchy.evoked,
                patchy.forward,
                patchy.noise_cov,
                ["vae"],
                truth=truth,
                truth_extents_mm=extents,
            )
