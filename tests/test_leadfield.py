"""The whitened lead field against MNE's own whitener and gain."""

from __future__ import annotations

import mne
import numpy as np
import pytest
from mne.minimum_norm.inverse import _prepare_forward  # MNE's own preparation, to agree with

from meg_vae.meg.leadfield import make_leadfield


@pytest.mark.parametrize("loose", ["auto", 0.0, 0.3, 1.0])
def test_agrees_with_mne(recording, loose):
    info = recording.evoked.info
    ours = make_leadfield(recording.forward, info, recording.noise_cov, nave=9, loose=loose)
    forward, picked, gain, _, _, source_std, _, _, whitener = _prepare_forward(
        recording.forward,
        info,
        recording.noise_cov,
        "auto",
        loose,
        None,
        True,
        use_cps=True,
        exp=None,
        limit_depth_chs=False,
        combine_xyz=False,
        allow_fixed_depth=True,
        limit=None,
    )
    assert ours.ch_names == picked["ch_names"]
    np.testing.assert_allclose(
        ours.whitener, 3 * whitener, rtol=1e-8, atol=1e-8 * abs(whitener).max()
    )
    scale = np.linalg.norm(gain, "fro") / np.linalg.norm(ours.Phi, "fro")  # MNE's global factor
    np.testing.assert_allclose(scale * ours.Phi, gain, rtol=1e-6, atol=1e-9 * abs(gain).max())
    np.testing.assert_allclose(ours.weights, source_std / source_std.max())
    assert ours.n_orient == (1 if loose == 0 else 3)


def test_noise_is_white_and_nave_counts(recording):
    info, cov = recording.evoked.info, recording.noise_cov
    leadfield = make_leadfield(recording.forward, info, cov, nave=4)
    assert leadfield.whitener.shape == (303, 306)  # three projectors
    W = leadfield.whitener
    np.testing.assert_allclose(W @ cov.data @ W.T, 4 * np.eye(303), atol=1e-6)
    four = mne.EvokedArray(recording.evoked.data, info, nave=4)
    sixteen = mne.EvokedArray(recording.evoked.data, info, nave=16)
    X4, X16 = (leadfield.whiten(one) for one in (four, sixteen))
    np.testing.assert_allclose(X16, 2 * X4)


def test_channels_go_by_name_not_by_place(recording):
    rng = np.random.default_rng(0)
    shuffled = recording.evoked.copy().reorder_channels(
        list(rng.permutation(recording.evoked.ch_names))
    )
    one = make_leadfield(recording.forward, recording.evoked.info, recording.noise_cov)
    two = make_leadfield(recording.forward, shuffled.info, recording.noise_cov)
    X1 = one.whiten(recording.evoked)
    X2 = two.whiten(shuffled)
    np.testing.assert_allclose(
        one.Phi.T @ X1, two.Phi.T @ X2, rtol=1e-6, atol=1e-6 * abs(one.Phi.T @ X1).max()
    )


def test_bad_channels_are_left_out(recording):
    evoked = recording.evoked.copy()
    evoked.info["bads"] = evoked.ch_names[:2]
    leadfield = make_leadfield(recording.forward, evoked.info, recording.noise_cov)
    assert len(leadfield.ch_names) == 304
    assert not set(evoked.info["bads"]) & set(leadfield.ch_names)


def test_partly_common_channels_warn_with_their_number(recording):
    some = mne.pick_channels_forward(recording.forward, recording.evoked.ch_names[:200])
    with pytest.warns(RuntimeWarning, match="using the 200"):
        leadfield = make_leadfield(some, recording.evoked.info, recording.noise_cov)
    assert len(leadfield.ch_names) == 200


def test_rank_after_sss(recording):
    """Data confined to 70 dimensions, as SSS leaves them, are whitened to 70 rows."""
    rng = np.random.default_rng(0)
    Q = np.linalg.qr(rng.standard_normal((306, 70)))[0]
    scales = np.sqrt(np.diag(recording.noise_cov.data))
    half = scales[:, None] * Q
    cov = mne.Covariance(half @ half.T, recording.evoked.ch_names, [], [], 1000)
    info = mne.create_info(recording.evoked.ch_names, 200, recording.evoked.get_channel_types())
    with info._unlock():
        info["chs"] = recording.evoked.info["chs"]
        info["dev_head_t"] = recording.evoked.info["dev_head_t"]
    leadfield = make_leadfield(recording.forward, info, cov, rank={"meg": 70})
    assert leadfield.Phi.shape[0] == 70
    assert np.isfinite(leadfield.Phi).all()


def spoiled_forward(recording, value):
    """A forward model with one bad entry."""
    forward = recording.forward.copy()
    forward["sol"]["data"] = forward["sol"]["data"].copy()
    forward["sol"]["data"][3, 5] = value
    return forward


def spoiled_cov(recording, value):
    """A covariance with one bad entry."""
    cov = recording.noise_cov.copy()
    cov["data"] = cov.data.copy()
    cov["data"][0, 0] = value
    return cov


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_entries_that_are_not_finite_are_refused(recording, value):
    info = recording.evoked.info
    with pytest.raises(ValueError, match="gain"):
        make_leadfield(spoiled_forward(recording, value), info, recording.noise_cov)
    with pytest.raises(ValueError, match="noise_cov has NaN"):
        make_leadfield(recording.forward, info, spoiled_cov(recording, value))


def without_projections(evoked):
    """A copy whose channels can be renamed: MNE renames them in the original's projections too."""
    other = evoked.copy()
    with other.info._unlock():
        other.info["projs"] = []
    return other


def test_channels_that_do_not_match_are_refused(recording):
    evoked, cov = recording.evoked.copy(), recording.noise_cov
    other = without_projections(evoked)
    other.rename_channels({name: "X" + name for name in evoked.ch_names})
    with pytest.raises(ValueError, match="no channel in common"):
        make_leadfield(recording.forward, other.info, cov)
    few = mne.pick_channels_cov(cov, cov.ch_names[:100])
    with pytest.raises(ValueError, match="does not cover 206 of the 306"):
        make_leadfield(recording.forward, evoked.info, few)
    evoked.info["bads"] = evoked.ch_names
    with pytest.raises(ValueError, match="marked bad"):
        make_leadfield(recording.forward, evoked.info, cov)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"nave": 0}, "nave=0"), ({"loose": 2}, "loose=2"), ({"loose": "some"}, "loose='some'")],
)
def test_bad_options_are_refused(recording, options, message):
    with pytest.raises(ValueError, match=message):
        make_leadfield(recording.forward, recording.evoked.info, recording.noise_cov, **options)


def test_fixed_forward_stays_fixed(recording):
    fixed = mne.convert_forward_solution(recording.forward, force_fixed=True, use_cps=True)
    assert make_leadfield(fixed, recording.evoked.info, recording.noise_cov).n_orient == 1
    with pytest.raises(ValueError, match="fixed"):
        make_leadfield(fixed, recording.evoked.info, recording.noise_cov, loose=0.5)
