"""Small recordings of known sources, with any sensors and in any source space."""

from __future__ import annotations

from types import SimpleNamespace

import mne
import numpy as np

SFREQ = 200.0
CENTRE = np.array([0.0, 0.0, 0.04])  # of the spherical head, m
COILS = {  # FIFF's coil types
    "planar": 3012,
    "magnetometer": 3024,
    "magnes": 4001,
    "magnes_grad": 4002,
    "ctf": 5001,
    "ctf_reference": 5002,
    "kit": 6001,
    "opm": 8001,
}
REFERENCE_CHANNEL = 301  # FIFF's kind of a reference channel


def cap(n, radius):
    """Points spread evenly over the upper part of a sphere, and their outward normals."""
    k = np.arange(n) + 0.5
    z, angle = 1 - 1.2 * k / n, np.pi * (1 + 5**0.5) * k
    r = np.sqrt(1 - z**2)
    normals = np.column_stack([r * np.cos(angle), r * np.sin(angle), z])
    return CENTRE + radius * normals, normals


def meg_info(coils, n_sites, name="MEG", ch_type="mag"):
    """Sites around the head, each with some coils; planar ones lie at right angles."""
    places, normals = cap(n_sites, 0.12)
    names = [f"{name} {site:03d}{k}" for site in range(n_sites) for k in range(len(coils))]
    types = ["grad" if coil == "planar" else ch_type for coil in coils] * n_sites
    info = mne.create_info(names, SFREQ, types)
    for index, channel in enumerate(info["chs"]):
        site, k = divmod(index, len(coils))
        ex, ey, ez = mne.transforms.rotation3d_align_z_axis(normals[site]).T
        turned = (ey, -ex) if k % 2 else (ex, ey)
        channel["loc"][:] = np.concatenate([places[site], *turned, ez])
        channel["coil_type"] = COILS[coils[k]]
    info["dev_head_t"] = mne.Transform("meg", "head", np.eye(4))
    return info


def eeg_info(n_channels):
    """Electrodes on the head."""
    places, _ = cap(n_channels, 0.09)
    names = [f"EEG {k:03d}" for k in range(n_channels)]
    info = mne.create_info(names, SFREQ, "eeg")
    montage = mne.channels.make_dig_montage(
        dict(zip(names, places, strict=True)), coord_frame="head"
    )
    return info.set_montage(montage)


def ctf_info(n_sites, grade):
    """CTF gradiometers and reference magnetometers, with a first-grade compensation."""
    info = meg_info(["ctf"], n_sites)
    reference = meg_info(["ctf_reference"], 3, "REF", "ref_meg")
    for channel in reference["chs"]:
        channel["loc"][:3] += [0, 0, 0.15]
        channel["kind"] = REFERENCE_CHANNEL
    info = joined(info, reference)
    weights = 0.1 * np.random.default_rng(1).standard_normal((n_sites, 3))
    names = info["ch_names"]
    with info._unlock():
        info["comps"] = [
            {
                "kind": 1,
                "save_calibrated": False,
                "rowcals": np.ones(n_sites),
                "colcals": np.ones(3),
                "data": {
                    "nrow": n_sites,
                    "ncol": 3,
                    "row_names": names[:n_sites],
                    "col_names": names[n_sites:],
                    "data": weights,
                },
            }
        ]
    for channel in info["chs"][:n_sites]:
        channel["coil_type"] = COILS["ctf"] | grade << 16
    return info


def joined(*infos):
    """All channels of several infos."""
    first = infos[0]
    names = [name for info in infos for name in info["ch_names"]]
    out = mne.create_info(names, SFREQ, "mag")
    with out._unlock():
        out["chs"] = [channel.copy() for info in infos for channel in info["chs"]]
        out["dev_head_t"] = first["dev_head_t"]
    return out


def sphere_forward(info, src, trans=None):
    """Forward model in a spherical head."""
    kinds = set(info.get_channel_types())
    sphere = mne.make_sphere_model(CENTRE, 0.095 if "eeg" in kinds else None, verbose="error")
    return mne.make_forward_solution(
        info, trans, src, sphere, meg=bool(kinds - {"eeg"}), eeg="eeg" in kinds, verbose="error"
    )


def points(n=60):
    """A discrete source space of points in the upper half of the head, spread evenly.

    Their normals lie across the radius of the head, along which MEG sees nothing.
    """
    rng = np.random.default_rng(0)
    places = rng.uniform(-1, 1, (50 * n, 3))
    places = places[(np.linalg.norm(places, axis=1) < 1) & (places[:, 2] > -0.2)][: 5 * n]
    chosen = [0]
    for _ in range(n - 1):
        gaps = np.linalg.norm(places[:, None] - places[chosen], axis=2).min(1)
        chosen.append(int(gaps.argmax()))
    rr = CENTRE + 0.065 * places[chosen]
    pos = {"rr": rr, "nn": np.array([tangent(place) for place in rr])}
    return mne.setup_volume_source_space(pos=pos, verbose="error")


def record(forward, info, positions, directions, *, snr_db=10.0, nave=20, n_times=60, seed=0):
    """Average of trials with sources at some positions; no source is noise alone."""
    rng = np.random.default_rng(seed)
    cov = mne.make_ad_hoc_cov(info, verbose="error")
    evoked = mne.EvokedArray(np.zeros((len(info["ch_names"]), n_times)), info, 0.0, nave=nave)
    if "eeg" in evoked:
        evoked.set_eeg_reference(projection=True, verbose="error")
    names = forward["sol"]["row_names"]
    W, _, colorer = mne.cov.compute_whitener(
        cov, evoked.info, names, return_colorer=True, verbose="error"
    )
    gain = forward["sol"]["data"].reshape(len(names), -1, 3)
    shapes = np.sin(2 * np.pi * (np.arange(n_times) / SFREQ * 9 + rng.uniform(size=(9, 1))))
    data, truth = np.zeros((len(names), n_times)), []
    for position, direction, shape in zip(positions, directions, shapes, strict=False):
        field = gain[:, position] @ direction
        size = np.sqrt(2 * 10 ** (snr_db / 10) * len(names) / nave) / np.linalg.norm(W @ field)
        data += size * field[:, None] * shape
        truth.append(size * np.outer(direction, shape))
    data += colorer @ rng.standard_normal(data.shape) / nave**0.5
    evoked.data[[evoked.ch_names.index(name) for name in names]] = data
    evoked.apply_proj(verbose="error")
    return SimpleNamespace(evoked=evoked, forward=forward, noise_cov=cov, truth=np.array(truth))


def tangent(place):
    """A direction across the radius of the head, which MEG sees."""
    radial = (place - CENTRE) / np.linalg.norm(place - CENTRE)
    across = np.cross(radial, [0.6, -0.64, 0.48])
    return across / np.linalg.norm(across)


def elsewhere(info, mm=(8.0, -3.0, 5.0), degrees=6.0):
    """The same sensors, with the head elsewhere."""
    out = info.copy()
    trans = mne.transforms.rotation(np.radians(degrees), 0, np.radians(degrees / 2))
    trans[:3, 3] = np.array(mm) / 1e3
    with out._unlock():
        out["dev_head_t"] = mne.Transform("meg", "head", trans)
    return out
