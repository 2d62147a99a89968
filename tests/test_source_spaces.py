"""Every kind of source space and orientation: found, of the right class, saved, exported."""

from __future__ import annotations

from types import SimpleNamespace

import mne
import nibabel
import numpy as np
import pytest
from mne.minimum_norm import (
    apply_inverse,
    apply_inverse_cov,
    apply_inverse_epochs,
    apply_inverse_raw,
    make_inverse_operator,
)
from small_recordings import CENTRE, meg_info, points, record, sphere_forward, tangent

from meg_vae import VAEInverse, read_vae_inverse

SEGMENTS = {"Left-Thalamus": 9, "Right-Thalamus": 48}  # numbers of FreeSurfer
BALL = 0.027  # radius of a hemisphere, m


def hemispheres():
    """Two small closed surfaces beside the midline."""
    spaces = []
    for sign, number in ((-1, 101), (1, 102)):
        mesh = mne.surface._get_ico_surface(2)
        surface = {**mesh, "rr": CENTRE + [sign * 0.033, 0.0, 0.01] + BALL * mesh["rr"]}
        space = mne.surface.complete_surface_info(surface, copy=True, verbose="error")
        n = space["np"]
        space |= {"id": number, "type": "surf", "coord_frame": 5, "subject_his_id": "two balls"}
        space |= {"nuse": n, "inuse": np.ones(n, int), "vertno": np.arange(n), "nuse_tri": 0}
        space |= dict.fromkeys(
            ["use_tris", "nearest", "nearest_dist", "pinfo", "patch_inds", "dist", "dist_limit"]
        )
        spaces.append(space)
    return mne.SourceSpaces(spaces)


@pytest.fixture(scope="module")
def atlas(tmp_path_factory):
    """A segmentation with a block below each ball."""
    labels = np.zeros((64, 64, 64), np.int32)
    image = nibabel.MGHImage(labels, np.diag([4.0, 4.0, 4.0, 1.0]))
    to_mm = image.header.get_vox2ras_tkr()
    voxels = np.moveaxis(np.indices(labels.shape), 0, -1)
    x, y, z = np.moveaxis(mne.transforms.apply_trans(to_mm, voxels), -1, 0)
    inside = (abs(y) < 30) & (z > 10) & (z < 32)
    labels[inside & (x < -4) & (x > -48)] = SEGMENTS["Left-Thalamus"]
    labels[inside & (x > 4) & (x < 48)] = SEGMENTS["Right-Thalamus"]
    path = tmp_path_factory.mktemp("atlas") / "aseg.mgz"
    nibabel.save(nibabel.MGHImage(labels, image.affine), path)
    return path


def volume(atlas, labels=None):
    """Points 12 mm apart in a volume, or in its segments."""
    return mne.setup_volume_source_space(
        None,
        pos=12.0,
        mri=atlas,
        sphere=(*CENTRE, 0.06),
        sphere_units="m",
        volume_label=labels,
        add_interpolator=False,
        verbose="error",
    )


SPACES = {
    "surface": lambda atlas: hemispheres(),
    "volume": volume,
    "segments": lambda atlas: volume(atlas, list(SEGMENTS)),
    "discrete": lambda atlas: points(),
    "mixed": lambda atlas: hemispheres() + volume(atlas, ["Left-Thalamus"]),
}
KINDS = {  # source space: what MNE calls its estimates
    "surface": "SourceEstimate",
    "volume": "VolSourceEstimate",
    "segments": "VolSourceEstimate",
    "discrete": "VolSourceEstimate",
    "mixed": "MixedSourceEstimate",
}
CASES = [
    ("surface", 0.0, "shared"),
    ("surface", "auto", "shared"),
    ("surface", 1.0, "full"),
    ("volume", "auto", "shared"),
    ("segments", 1.0, "full"),
    ("discrete", 0.0, "shared"),
    ("discrete", 0.3, "shared"),
    ("mixed", "auto", "shared"),
    ("mixed", {"surface": 0.2, "volume": 1.0}, "shared"),
    ("mixed", {"surface": 0.0, "volume": 1.0}, "shared"),
]


@pytest.fixture(scope="module")
def cases(atlas):
    """Recordings of two sources in each source space, along the normal where there is one."""
    info = meg_info(["planar", "planar", "magnetometer"], 25)
    made = {}

    def get(name):
        if name not in made:
            forward = sphere_forward(info, SPACES[name](atlas))
            rr = forward["source_rr"]
            true = [int(np.linalg.norm(rr - place, axis=1).argmin()) for place in _places(name)]
            nn = [_direction(name, rr[k]) for k in true]
            case = record(forward, info, true, nn, snr_db=15)
            vertno = np.concatenate([space["vertno"] for space in forward["src"]])
            made[name] = SimpleNamespace(**vars(case), vertno=sorted(vertno[true]), rr=rr[true])
        return made[name]

    return get


def _places(name):
    """Where the sources are: on the flank of the left ball, and in the right half or below."""
    flank = CENTRE + [-0.033, 0.0, 0.01] + BALL * np.array([-0.6, 0.64, 0.48])
    other = CENTRE + [0.033, 0.0, 0.01] + BALL * np.array([0.6, -0.64, 0.48])
    return flank, np.array([-0.025, -0.02, 0.02]) if name == "mixed" else other


def _direction(name, place):
    ball = CENTRE + [0.033 * np.sign(place[0]), 0.0, 0.01]
    on_ball = abs(np.linalg.norm(place - ball) - BALL) < 1e-4
    if name in ("surface", "mixed") and on_ball:
        return (place - ball) / np.linalg.norm(place - ball)
    return tangent(place)


def fit(case, loose, orientation):
    """A fit of a case on the positions of its source space."""
    inverse = VAEInverse(positions="grid", loose=loose, orientation=orientation, verbose="error")
    return inverse.fit(case.evoked, case.forward, case.noise_cov)


def fit_between(case):
    """A fit of a case in and between the positions."""
    return VAEInverse(verbose="error").fit(case.evoked, case.forward, case.noise_cov)


def gaps(inverse, case):
    """Distance from each true source to the nearest found, mm; the truth is in head = MRI."""
    found = inverse.sources_[["x_mm", "y_mm", "z_mm"]].to_numpy()
    if not len(found):
        return np.full(len(case.rr), np.inf)
    return np.linalg.norm(found[None] - 1e3 * case.rr[:, None], axis=2).min(1)


@pytest.mark.parametrize(("name", "loose", "orientation"), CASES)
def test_round_of_every_source_space(cases, tmp_path, name, loose, orientation):
    """Found where they are, in MNE's class; saved, read and exported without a difference."""
    case = cases(name)
    inverse = fit(case, loose, orientation)
    assert (gaps(inverse, case) < 13).all()
    again = read_vae_inverse(inverse.save(tmp_path / "x-vae.h5"))
    free = inverse.filter_.positions.axes.shape[1] == 3
    operator = inverse.to_inverse_operator(case.evoked.info, case.forward)
    for pick_ori in (None, "vector") if free else (None,):
        stc = inverse.apply(case.evoked, pick_ori)
        vector = "Vector" if pick_ori else ""
        assert type(stc).__name__ == KINDS[name].replace("Source", f"{vector}Source")
        kept = again.apply(case.evoked, pick_ori)
        theirs = apply_inverse(
            case.evoked, operator, 1.0, "MNE", pick_ori=pick_ori, verbose="error"
        )
        assert type(kept) is type(theirs) is type(stc)
        for one, two, three in zip(stc.vertices, kept.vertices, theirs.vertices, strict=True):
            np.testing.assert_array_equal(one, two)
            np.testing.assert_array_equal(one, three)
        np.testing.assert_array_equal(kept.data, stc.data)
        assert abs(theirs.data - stc.data).max() <= 1e-10 * abs(stc.data).max()
    assert again.sources_.equals(inverse.sources_)
    for state in ("noise_variance_", "energy_", "certificate_", "n_effective_", "loose"):
        assert getattr(again, state) == getattr(inverse, state)


@pytest.mark.parametrize("name", SPACES)
def test_round_between_the_positions_of_every_source_space(cases, tmp_path, name):
    """Found nearer than the positions are to each other; shown at the nearest; saved and read."""
    case = cases(name)
    inverse = fit_between(case)
    assert (gaps(inverse, case) < 4).all()
    assert sorted(inverse.sources_["vertno"]) == case.vertno
    assert (inverse.sources_["radius_mm"] < 10).all()
    assert np.isfinite(inverse.growth_)
    again = read_vae_inverse(inverse.save(tmp_path / "x-vae.h5"))
    assert again.sources_.equals(inverse.sources_)
    np.testing.assert_array_equal(again.position_covariance_, inverse.position_covariance_)
    for pick_ori in (None, "vector"):
        stc = inverse.apply(case.evoked, pick_ori)
        vector = "Vector" if pick_ori else ""
        assert type(stc).__name__ == KINDS[name].replace("Source", f"{vector}Source")
        assert sorted(np.concatenate(stc.vertices)) == case.vertno
        np.testing.assert_array_equal(again.apply(case.evoked, pick_ori).data, stc.data)
    for dipole, place in zip(inverse.dipoles(), inverse.filter_.positions.rr_head, strict=True):
        np.testing.assert_array_equal(dipole.pos[0], place)
    with pytest.raises(ValueError, match=r"VAEInverse\(positions='grid'\) to export"):
        inverse.to_inverse_operator(case.evoked.info, case.forward)


@pytest.mark.parametrize("loose", [0.0, 0.2, {"surface": 0.2, "volume": 1.0}])
def test_dipoles_held_to_normals_need_the_positions(cases, loose):
    case = cases("mixed")
    fixed = mne.convert_forward_solution(cases("surface").forward, force_fixed=True, verbose=False)
    with pytest.raises(ValueError, match=r"loose=.* use VAEInverse\(positions='grid'\)"):
        VAEInverse(loose=loose).fit(case.evoked, case.forward, case.noise_cov)
    with pytest.raises(ValueError, match=r"fixed orientation.* VAEInverse\(positions='grid'\)"):
        VAEInverse().fit(case.evoked, fixed, case.noise_cov)


@pytest.mark.parametrize("find", [lambda case: fit(case, "auto", "shared"), fit_between])
def test_noise_alone_passes_none_of_that(cases, find):
    case = cases("surface")
    silent = record(case.forward, case.evoked.info, [], [])
    inverse = find(SimpleNamespace(**vars(silent), rr=case.rr))
    assert not (gaps(inverse, case) < 13).any()
    with pytest.raises(ValueError, match="there is no source|positions='grid'"):
        inverse.to_inverse_operator(silent.evoked.info, silent.forward)


def test_segments_are_named(cases):
    sources = fit(cases("segments"), "auto", "shared").sources_
    assert set(sources["hemi"]) == set(sources["label"]) == set(SEGMENTS)
    mixed = fit(cases("mixed"), "auto", "shared").sources_
    assert set(mixed["hemi"]) == {"lh", "Left-Thalamus"}


def test_a_mixed_source_space_may_be_fixed_on_its_surfaces_alone(cases):
    case = cases("mixed")
    inverse = fit(case, {"surface": 0.0, "volume": 1.0}, "shared")
    positions, U = inverse.filter_.positions, inverse.filter_.activity(case.evoked)
    surface = positions.space < 2
    assert (U[surface, :2] == 0).all()
    assert (abs(U[~surface]).max(2) > 0).all()
    vectors = np.einsum("gat,gak->gkt", U, positions.axes)[surface]
    along = np.einsum("gkt,gk->gt", vectors, positions.normals[surface])
    np.testing.assert_allclose(abs(along), np.linalg.norm(vectors, axis=1), rtol=1e-6)
    with pytest.raises(ValueError, match="in a mixed one loose="):
        fit(case, 0.2, "shared")
    with pytest.raises(ValueError, match="each kind of source space: surface, volume"):
        fit(case, {"surface": 0.2}, "shared")
    with pytest.raises(ValueError, match="surface or discrete"):
        inverse.apply(case.evoked, "normal")


@pytest.mark.parametrize("loose", [0.2, 1.0])
def test_normal_component_is_that_of_mne(cases, recording, loose):
    """With the normals of single vertices, and with those of patches."""
    for case in (cases("surface"), recording):
        inverse = fit(case, loose, "shared")
        normal = inverse.apply(case.evoked, "normal")
        vector = inverse.apply(case.evoked, "vector")
        where = inverse.filter_.positions
        normals = where.normals[np.lexsort((where.vertno, where.space))]  # as in the estimate
        along = np.einsum("gkt,gk->gt", vector.data, normals)
        np.testing.assert_allclose(normal.data, along, rtol=1e-9, atol=1e-20)
        operator = inverse.to_inverse_operator(case.evoked.info, case.forward)
        theirs = apply_inverse(case.evoked, operator, 1.0, "MNE", "normal", verbose="error")
        assert abs(theirs.data - normal.data).max() <= 1e-10 * abs(normal.data).max()
    with pytest.raises(ValueError, match="needs dipoles of free orientation"):
        fit(cases("surface"), 0.0, "shared").apply(cases("surface").evoked, "normal")


@pytest.mark.parametrize(("name", "loose"), [("surface", 0.0), ("surface", 0.2), ("volume", 1.0)])
def test_mne_applies_the_exported_operator_to_every_kind_of_data(cases, tmp_path, name, loose):
    case = cases(name)
    inverse = fit(case, loose, "shared")
    info = case.evoked.info
    operator = inverse.to_inverse_operator(info, case.forward)
    rng = np.random.default_rng(0)
    trials = case.evoked.data + 1e-12 * rng.standard_normal((3, *case.evoked.data.shape))
    epochs = mne.EpochsArray(trials, info, verbose="error")
    raw = mne.io.RawArray(np.concatenate(trials, 1), info, verbose="error")
    cov = mne.compute_raw_covariance(raw, verbose="error")
    options = {"lambda2": 1.0, "method": "MNE", "verbose": "error"}
    pairs = [
        *zip(
            inverse.apply_epochs(epochs),
            apply_inverse_epochs(epochs, operator, **options),
            strict=True,
        ),
        (inverse.apply_raw(raw), apply_inverse_raw(raw, operator, **options)),
        (inverse.apply_cov(cov), apply_inverse_cov(cov, info, operator, **options)),
    ]
    assert len(pairs) == 5
    for ours, theirs in pairs:
        assert abs(ours.data - theirs.data).max() <= 1e-10 * abs(ours.data).max()
    fname = tmp_path / "x-inv.fif"
    mne.minimum_norm.write_inverse_operator(fname, operator, verbose="error")
    read = mne.minimum_norm.read_inverse_operator(fname, verbose="error")
    theirs = apply_inverse(case.evoked, read, 1.0, "MNE", verbose="error").data
    ours = inverse.apply(case.evoked).data
    assert abs(ours - theirs).max() <= 1e-5 * abs(ours).max()  # FIF files are in single precision
    other = make_inverse_operator(info, case.forward, case.noise_cov, loose, verbose="error")
    theirs = apply_inverse(case.evoked, other, 1.0, "MNE", verbose="error")
    assert theirs.data.max() < 0.5 * ours.max()  # the control: MNE's own operator smears


@pytest.mark.parametrize("pick_ori", [None, "vector"])
def test_morph_to_fsaverage(cases, tmp_path, pick_ori):
    """To an "fsaverage" of the same shape, whose vertices are numbered anew."""
    case = cases("surface")
    stc = fit(case, 0.2, "shared").apply(case.evoked, pick_ori)
    mesh = mne.surface._get_ico_surface(2)
    rr, tris, n = 100 * mesh["rr"], mesh["tris"], mesh["np"]
    number = np.random.default_rng(0).permutation(n)  # new number of each vertex
    moved = np.empty_like(rr)
    moved[number] = rr
    for subject, surface in ((stc.subject, (rr, tris)), ("fsaverage", (moved, number[tris]))):
        (tmp_path / subject / "surf").mkdir(parents=True)
        for name in ("lh.sphere.reg", "rh.sphere.reg"):
            mne.write_surface(tmp_path / subject / "surf" / name, *surface)
    morph = mne.compute_source_morph(
        stc, None, "fsaverage", tmp_path, spacing=None, sparse=True, verbose="error"
    )
    there = morph.apply(stc)
    assert type(there) is type(stc)
    assert there.subject == "fsaverage"
    for old, new in zip(stc.vertices, there.vertices, strict=True):
        np.testing.assert_array_equal(new, np.sort(number[old]))
    np.testing.assert_allclose(there.data.sum(0), stc.data.sum(0))
    assert list(there.vertices[0]) != list(stc.vertices[0])  # the control: it did move


def test_export_needs_the_forward_model_of_the_fit(cases, monkeypatch):
    case = cases("volume")
    inverse = fit(case, 1.0, "shared")
    info = case.evoked.info
    other = case.forward.copy()
    other["sol"]["data"] = 1.01 * other["sol"]["data"]
    for forward in (other, cases("segments").forward, cases("surface").forward):
        with pytest.raises(ValueError, match="forward is not that of the fit"):
            inverse.to_inverse_operator(info, forward)
    with pytest.raises(ValueError, match="info lacks 74 of the 75"):
        inverse.to_inverse_operator(mne.pick_info(info, [0]), case.forward)

    def otherwise(operator, *args, **kwargs):
        return operator | {
            "reginv": operator["sing"],
            "whitener": np.eye(75),
            "proj": np.eye(75),
        }

    monkeypatch.setattr("meg_vae.meg.export.prepare_inverse_operator", otherwise)
    with pytest.raises(RuntimeError, match="applies inverse operators in another way"):
        inverse.to_inverse_operator(info, case.forward)


@pytest.mark.parametrize("name", SPACES)
def test_weights_of_every_source_space(cases, name):
    """An estimate, an array and one array a space are the same weights, each at its position."""
    case = cases(name)
    vertices = [space["vertno"] for space in case.forward["src"]]
    n = sum(map(len, vertices))
    near = np.linalg.norm(case.forward["source_rr"] - case.rr[0], axis=1) < 0.02
    weights = np.where(near, 0.5, -1e6)
    kind = {"surface": mne.SourceEstimate, "mixed": mne.MixedSourceEstimate}
    stc = kind.get(name, mne.VolSourceEstimate)(weights[:, None], vertices, 0.0, 1.0)
    apart = np.split(weights, np.cumsum([len(one) for one in vertices])[:-1])

    def found(given):
        inverse = VAEInverse(positions="grid", verbose="error")
        return inverse.fit(case.evoked, case.forward, case.noise_cov, weights=given)

    inverse = found(stc)
    np.testing.assert_array_equal(inverse.position_weights_, weights)
    assert inverse.sources_.equals(found(apart).sources_)
    first, second = gaps(inverse, case)
    assert first < 13
    assert second > 13
    if name == "surface":
        few = mne.SourceEstimate(weights[1:, None], [vertices[0][1:], vertices[1]], 0.0, 1.0)
        said = rf'{n - 1} vertices, and they are not the {n} of forward\["src"\]'
        with pytest.raises(ValueError, match=said):
            found(few)
