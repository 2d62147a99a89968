"""Models of other sensor arrays: where their coils are, and a source found with one of them."""

from __future__ import annotations

import mne
import numpy as np
import pytest
from scipy.spatial import cKDTree

from meg_vae import VAEInverse, datasets
from meg_vae.datasets.arrays import GAP, NAMES, STANDOFF, _scalp, array_info
from meg_vae.datasets.noise import noise_covariance
from meg_vae.datasets.simulation import record

CHANNELS = {
    "VectorView": (306, {3012, 3024}),
    "TRIUX": (306, {3014, 3024}),
    "CTF 275": (275, {5001}),
    "KIT 160": (160, {6001}),
    "4D 248": (248, {4001}),
    "OPM 64": (64, {8001}),
    "OPM 64, triaxial": (192, {8001}),
}


@pytest.mark.parametrize("name", NAMES)
def test_coils_are_about_the_head_and_look_outward(name):
    info = array_info(name, 200.0)
    n_channels, coils = CHANNELS[name]
    assert len(info["chs"]) == n_channels
    assert {int(channel["coil_type"]) for channel in info["chs"]} == coils
    loc = np.array([channel["loc"] for channel in info["chs"]])
    to_head = info["dev_head_t"]
    places = mne.transforms.apply_trans(to_head, loc[:, :3])
    axes = loc[:, 3:].reshape(-1, 3, 3)
    np.testing.assert_allclose(axes @ axes.mT, np.broadcast_to(np.eye(3), axes.shape), atol=1e-6)
    np.testing.assert_allclose(np.linalg.det(axes), 1.0, atol=1e-6)
    away = cKDTree(_scalp()["rr"]).query(places)[0]
    worn = name.startswith("OPM")
    assert away.min() > (0.9 * STANDOFF if worn else 0.99 * GAP)
    assert away.max() < (0.012 if worn else 0.045)
    normals = mne.transforms.apply_trans(to_head, axes[:, 2], move=False)
    outward = np.sum((places - places.mean(0)) * normals, axis=1) > 0
    assert outward.mean() > (0.5 if "triaxial" in name else 0.99)
    sites = np.unique(places.round(6), axis=0)
    assert cKDTree(sites).query(sites, 2)[0][:, 1].min() > 0.008  # spread, not in clumps
    assert array_info(name, 200.0)["chs"][5]["loc"] == pytest.approx(info["chs"][5]["loc"])


def test_triaxial_sensors_see_three_components_of_one_field():
    """The single axis of a site is the first of its three; the three are at right angles."""
    one, three = array_info("OPM 64"), array_info("OPM 64, triaxial")
    single = np.array([channel["loc"] for channel in one["chs"]])
    each = np.array([channel["loc"] for channel in three["chs"]]).reshape(64, 3, 12)
    np.testing.assert_allclose(each[:, 0], single)
    np.testing.assert_allclose(each[:, :, :3], np.repeat(single[:, None, :3], 3, 1))
    along = each[:, :, 9:]
    np.testing.assert_allclose(along @ along.mT, np.broadcast_to(np.eye(3), (64, 3, 3)), atol=1e-6)


def test_an_array_that_is_none():
    with pytest.raises(ValueError, match="name='CTF' is no array; use one of VectorView"):
        array_info("CTF")


def test_axial_gradiometers_find_a_source():
    """CTF's coils are gradiometers that MNE counts as magnetometers; noise alone gives nothing."""
    head = datasets.template("ico3", verbose="error")
    info = array_info("CTF 275", 200.0)
    info = mne.pick_info(info, np.arange(0, len(info["ch_names"]), 3))  # enough for one source
    options = {"meg": True, "eeg": False, "verbose": "error"}
    forward = mne.make_forward_solution(info, head.trans, head.src, head.bem, **options)
    cov = noise_covariance(forward, info, [one["vertno"] for one in forward["src"]])
    g = 700
    gain = forward["sol"]["data"][:, 3 * g : 3 * g + 3] @ forward["source_nn"][3 * g + 2][:, None]
    course = np.sin(np.arange(40) / 4)[None]
    told = {"snr_db": 5.0, "nave": 50, "random_state": 0}
    inverse = VAEInverse(extent="point", registration=None, verbose="error")
    evoked = record(gain, course, info, cov, **told)[0]
    inverse.fit(evoked, forward, cov)
    assert len(inverse.sources_) == 1
    found = inverse.filter_.positions.rr_head[0]
    assert np.linalg.norm(found - forward["source_rr"][g]) < 0.002
    alone = record(gain[:, :0], course[:0], info, cov, **told)[0]
    inverse.fit(alone, forward, cov)
    assert inverse.sources_.empty
