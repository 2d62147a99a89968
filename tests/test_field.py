"""The lead field between the positions of a forward model: against MNE's own, and its own error."""

from __future__ import annotations

import mne
import numpy as np
import pytest
from mne.transforms import apply_trans, invert_transform

from meg_vae import VAEInverse, datasets
from meg_vae.datasets.template import cortex_vertices
from meg_vae.meg.conductor import bem_conductor
from meg_vae.meg.field import ContinuousField
from meg_vae.meg.leadfield import make_leadfield


@pytest.fixture(scope="module")
def head():
    """The template at its coarsest spacing, on magnetometers alone, and its whitened lead field."""
    template = datasets.template("ico3", verbose="error")
    info = mne.pick_info(template.info, mne.pick_types(template.info, meg="mag"))
    cov = mne.make_ad_hoc_cov(info, verbose="error")
    leadfield = make_leadfield(template.forward, info, cov, loose=1.0)
    return template, info, cov, leadfield


@pytest.fixture(scope="module")
def between(head):
    """Places of the cortex between the positions, and MNE's own lead field there, whitened."""
    template, info, _, leadfield = head
    white = template.subjects_dir / template.subject / "surf" / "lh.white"
    vertices = mne.read_surface(white)[0] / 1e3
    own = np.setdiff1d(cortex_vertices(template.subjects_dir)[0], template.src[0]["vertno"])
    rr = vertices[np.random.default_rng(0).choice(own, 60, replace=False)]
    src = mne.setup_volume_source_space(
        pos={"rr": rr, "nn": np.tile([0.0, 0.0, 1.0], (len(rr), 1))}, verbose="error"
    )
    forward = mne.make_forward_solution(
        info, template.trans, src, template.bem, mindist=0.0, verbose="error"
    )
    gain = forward["sol"]["data"].reshape(len(info["ch_names"]), -1, 3)
    values = np.einsum("rd,dmk->mrk", leadfield.whitener, gain)
    assert np.allclose(
        forward["source_rr"], apply_trans(invert_transform(template.trans), rr), atol=1e-6
    ) or np.allclose(forward["source_rr"], apply_trans(template.trans, rr), atol=1e-6)
    return forward["source_rr"], values


def misses(values, true):
    """Relative error of the field at each place."""
    return np.linalg.norm(values - true, axis=(1, 2)) / np.linalg.norm(true, axis=(1, 2))


def test_between_the_positions_it_is_nearly_what_mne_computes(head, between):
    _, info, _, leadfield = head
    rr, true = between
    field = ContinuousField(leadfield, info)
    error = misses(field(rr)[0], true)
    assert np.median(error) < 0.01
    # The nearest position, which is what a grid has, is far worse.
    nearest = leadfield.Phi.reshape(len(leadfield.Phi), -1, 3)[:, field.nearest(rr)]
    assert np.median(misses(nearest.swapaxes(0, 1), true)) > 0.1
    # It knows its own error: not too small, and not meaningless.
    told = field.relative_error(rr)
    assert np.sqrt(np.mean(error**2)) < 3 * np.sqrt(np.mean(told**2))
    assert np.median(told) < 0.05


def test_in_a_sphere_it_is_the_field_that_mne_computes(head):
    template, info, _, _ = head
    rr, axes = template.forward["source_rr"][:100], np.tile(np.eye(3), (100, 1))
    dipoles = mne.Dipole(np.arange(300.0), rr.repeat(3, 0), np.ones(300), axes, np.zeros(300))
    sphere = mne.make_sphere_model((0.002, 0.01, 0.04), head_radius=None, verbose="error")
    info = mne.pick_info(template.info, mne.pick_types(template.info, meg=True))
    forward, _ = mne.make_forward_dipole(dipoles, sphere, info, verbose="error")
    true = forward["sol"]["data"].reshape(-1, 100, 3).swapaxes(0, 1)
    conductor = bem_conductor(info, info["ch_names"], sphere, template.trans)
    found = conductor(rr)
    each = np.concatenate([conductor(rr[k : k + 1]) for k in range(len(rr))])
    np.testing.assert_array_equal(each, found)  # whatever is asked beside
    assert np.allclose(found, true, rtol=0, atol=1e-6 * np.abs(true).max())
    assert not np.allclose(found, np.roll(true, 1, axis=0), rtol=0, atol=0.1 * np.abs(true).max())


def test_its_slope_nowhere_jumps(head):
    """Along a line the slope changes by little within a step, though other positions come near."""
    _, info, _, leadfield = head
    field = ContinuousField(leadfield, info)
    positions = leadfield.forward["source_rr"]
    start, end = positions[100], positions[100] + 0.3 * (positions[101] - positions[100])
    steps = np.linspace(0.1, 0.9, 2001)[:, None]
    values = field.gain(start + steps * (end - start)).reshape(len(steps), -1)
    ranks = field._samples.tree.query(start + steps * (end - start), 60)[1]
    assert len(np.unique(np.sort(ranks), axis=0)) > 3  # the nearest are others further on
    slope = np.diff(values, axis=0)
    jump = np.linalg.norm(np.diff(slope, axis=0), axis=1) / np.linalg.norm(slope, axis=1).mean()
    assert jump.max() < 5 * np.median(jump)


def test_at_the_positions_it_is_the_forward_model(head):
    template, info, _, leadfield = head
    field = ContinuousField(leadfield, info)
    some = np.arange(0, 1284, 37)
    given = leadfield.forward["sol"]["data"].reshape(len(info["ch_names"]), -1, 3)[:, some]
    gain = field.gain(leadfield.forward["source_rr"][some])
    assert abs(gain - given.swapaxes(0, 1)).max() < 1e-6 * abs(given).max()


def test_its_gradient_is_that_of_its_values(head, between):
    field = ContinuousField(head[3], head[1])
    rr, step = between[0][:5], 1e-4
    gradient = field(rr)[1]
    for axis, e in enumerate(np.eye(3)):
        slope = (field(rr + step * e)[0] - field(rr - step * e)[0]) / (2 * step)
        assert abs(slope - gradient[..., axis]).max() < 0.02 * abs(gradient).max()


def test_axes_along_the_cortex_make_no_difference(head, between):
    template, info, cov, leadfield = head
    turned = mne.convert_forward_solution(template.forward, surf_ori=True, verbose="error")
    other = ContinuousField(make_leadfield(turned, info, cov, loose=1.0), info)
    values = ContinuousField(leadfield, info)(between[0])[0]
    assert np.allclose(other(between[0])[0], values, rtol=0, atol=1e-5 * abs(values).max())


def test_with_bem_and_trans_mne_computes_it(head, between):
    template, info, _, leadfield = head
    field = ContinuousField(leadfield, info, template.bem, template.trans)
    assert field.is_exact
    assert not field.relative_error(between[0]).any()
    assert misses(field(between[0])[0], between[1]).max() < 1e-4


def test_the_wall(head):
    field = ContinuousField(head[3], head[1])
    positions = head[3].forward["source_rr"]
    assert np.allclose(field.confine(positions), positions, atol=1e-12)
    far = positions[:4] * 3
    back = field.confine(far)
    assert np.allclose(
        np.linalg.norm(back - positions[field.nearest(far)], axis=1), field.reach, rtol=1e-6
    )
    assert field.confine(far[:0]).shape == (0, 3)


class TestBadInput:
    @pytest.fixture
    def fit(self, recording):
        def fit(forward=recording.forward, inverse=None, **more):
            inverse = inverse or VAEInverse()
            return inverse.fit(recording.evoked, forward, recording.noise_cov, **more)

        return fit

    def test_of_another_transform(self, recording, fit):
        moved = mne.Transform("head", "mri", recording.trans["trans"].copy())
        moved["trans"][:3, 3] += 0.01
        with pytest.raises(ValueError, match="do not give the lead field of forward"):
            fit(bem=recording.bem, trans=moved)

    def test_of_another_frame(self, recording, fit):
        with pytest.raises(ValueError, match="not between head and MRI"):
            fit(bem=recording.bem, trans=recording.evoked.info["dev_head_t"])

    def test_one_without_the_other(self, recording, fit):
        with pytest.raises(ValueError, match="bem is given without trans"):
            fit(bem=recording.bem)
        with pytest.raises(ValueError, match="trans is given without bem"):
            fit(trans=recording.trans)

    def test_things_that_are_neither(self, recording, fit):
        with pytest.raises(TypeError, match="bem must be"):
            fit(bem=1, trans=recording.trans)
        with pytest.raises(TypeError, match="trans must be"):
            fit(bem=recording.bem, trans=2)

    def test_with_the_grid(self, recording, fit):
        with pytest.raises(ValueError, match="positions='grid' has no use for it"):
            fit(inverse=VAEInverse(positions="grid"), bem=recording.bem, trans=recording.trans)

    def test_a_fixed_forward(self, recording, fit):
        fixed = mne.convert_forward_solution(recording.forward, force_fixed=True, verbose="error")
        with pytest.raises(ValueError, match=r"fixed orientation.*positions='grid'"):
            fit(fixed)

    def test_an_orientation_held_to_the_normals(self, fit):
        with pytest.raises(ValueError, match=r"loose=0.2 holds.*positions='grid'"):
            fit(inverse=VAEInverse(loose=0.2))

    def test_too_few_positions(self, recording, fit):
        few = [recording.forward["src"][0]["vertno"][:9], recording.forward["src"][1]["vertno"][:0]]
        stc = mne.SourceEstimate(np.ones((9, 1)), few, 0, 1)
        forward = mne.forward.restrict_forward_to_stc(recording.forward, stc)
        with pytest.raises(ValueError, match="has 9 positions"):
            fit(forward)

    def test_an_unknown_word(self, fit):
        with pytest.raises(ValueError, match=r"positions='between' is unknown"):
            fit(inverse=VAEInverse(positions="between"))
