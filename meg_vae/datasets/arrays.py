"""Models of the sensor arrays that laboratories have, around the template head.

Sites are spread evenly over the helmet surface that MNE ships for drawing, or over the scalp, and
carry the coils of MNE's definitions. They are models, not measured layouts.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import mne
import numpy as np
from mne.io.constants import FIFF
from mne.surface import complete_surface_info
from mne.transforms import apply_trans, invert_transform, rotation3d_align_z_axis
from scipy.cluster.vq import kmeans2
from scipy.spatial import cKDTree

from meg_vae.datasets.helmet import MNE_DATA, fiducials, helmet_info, points_on

GAP = 0.020  # m, least distance from scalp to sensor in a helmet
STANDOFF = 0.0065  # m, from scalp to the cell of a sensor that is worn
WORN_ABOVE = 0.0  # m, height in head coordinates above which sensors are worn
INSIDE_ABOVE = 0.03  # m, the same above which the head is all in a helmet


@dataclass(frozen=True)
class Array:
    """A kind of array.

    ``helmet`` is MNE's surface, "" where it is worn on the scalp; sites are above ``floor`` (m, the
    helmet's own height) and ``beyond`` it (m), where the surface is the wall and not the coils;
    each has coils along ``axes``.
    """

    helmet: str
    n_sites: int
    coil: int
    axes: str = "z"
    floor: float = -np.inf
    beyond: float = 0.0


ARRAYS = {
    "CTF 275": Array("CTF_275", 275, FIFF.FIFFV_COIL_CTF_GRAD, floor=-0.02, beyond=0.018),
    "KIT 160": Array("KIT", 160, FIFF.FIFFV_COIL_KIT_GRAD),
    "4D 248": Array("Magnes_3600wh", 248, FIFF.FIFFV_COIL_MAGNES_MAG),
    "OPM 64": Array("", 64, FIFF.FIFFV_COIL_QUSPIN_ZFOPM_MAG),
    "OPM 64, triaxial": Array("", 64, FIFF.FIFFV_COIL_QUSPIN_ZFOPM_MAG, axes="zxy"),
}
NAMES = ("VectorView", "TRIUX", *ARRAYS)
TRIUX = {FIFF.FIFFV_COIL_VV_PLANAR_T1: FIFF.FIFFV_COIL_VV_PLANAR_T3}  # its later gradiometers


def array_info(name: str, sfreq: float = 600.0) -> mne.Info:
    """Make the measurement info of an array around the template head.

    Parameters
    ----------
    name : str
        "VectorView", "TRIUX" (both 306 channels), "CTF 275", "KIT 160", "4D 248", "OPM 64", or
        "OPM 64, triaxial" (192 channels).
    sfreq : float
        Sampling frequency in Hz.

    Returns
    -------
    info : mne.Info
        MEG channels alone, the device to head transform, and three fiducials.

    Raises
    ------
    ValueError
        If there is no such array.
    """
    if name not in NAMES:
        raise ValueError(f"name={name!r} is no array; use one of {', '.join(NAMES)}.")
    if name not in ARRAYS:
        info = helmet_info(sfreq)
        for channel in info["chs"] if name == "TRIUX" else []:
            channel["coil_type"] = TRIUX.get(int(channel["coil_type"]), channel["coil_type"])
        return info
    array = ARRAYS[name]
    places, normals, to_head = _in_helmet(array) if array.helmet else _worn(array)
    info = mne.create_info(len(places) * len(array.axes), sfreq, "mag")
    frames = [rotation3d_align_z_axis(normal).T for normal in normals]
    turned = [
        np.concatenate([place, *np.roll(frame, 2 - "xyz".index(axis), axis=0)])
        for place, frame in zip(places, frames, strict=True)
        for axis in array.axes
    ]
    for channel, loc in zip(info["chs"], turned, strict=True):
        channel["coil_type"] = array.coil
        channel["loc"][:] = loc
    info["dev_head_t"] = mne.Transform("meg", "head", to_head)
    info["description"] = f"Model of an array of the kind {name}, not a measured sensor layout"
    info.set_montage(fiducials())
    return info


def _in_helmet(array: Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Spread sites over a helmet, and put the head into it: upright, and as far up as it goes."""
    path = MNE_DATA / "helmets" / f"{array.helmet}.fif.gz"
    surface = mne.read_bem_surfaces(path, verbose="error")[0]
    complete_surface_info(surface, copy=False, verbose="error")
    walls, normals = _spread(_above(surface, array.floor), array.n_sites)
    outward = np.sign(np.sum((walls - walls.mean(0)) * normals, axis=1).mean())
    normals = outward * normals
    places = walls + array.beyond * normals
    tree, scalp = cKDTree(places), _scalp()["rr"]
    crown = scalp[scalp[:, 2] > INSIDE_ABOVE]

    def fits(shift: np.ndarray) -> bool:
        """Whether the head is below the wall, and as far from the sensors as it must be."""
        away, near = tree.query(crown + shift)
        below = np.sum((walls[near] - crown - shift) * normals[near], axis=1) > 0
        return bool(away.min() >= GAP and below.all())

    steps = np.arange(-0.1, 0.1, 0.0025)
    highest = (0.0, -np.inf)
    for forth in steps[::2]:
        ups = [up for up in steps if fits(np.array([0.0, forth, up]))]
        if ups and max(ups) > highest[1]:
            highest = (float(forth), float(max(ups)))
    return places, normals, mne.transforms.translation(0, -highest[0], -highest[1])


def _above(surface: dict, floor: float) -> dict:
    """Keep the triangles of a surface above some height."""
    kept = surface["rr"][surface["tris"]][:, :, 2].min(1) > floor
    return {**surface, "tris": surface["tris"][kept], "tri_area": surface["tri_area"][kept]}


def _worn(array: Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Spread sites over the upper scalp, at a distance from it; device and head are one."""
    places, normals = _spread(_above(_scalp(), WORN_ABOVE), array.n_sites)
    outward = np.sign(np.sum((places - places.mean(0)) * normals, axis=1).mean())
    return places + STANDOFF * outward * normals, outward * normals, np.eye(4)


@functools.cache
def _scalp() -> dict:
    """Read the template's scalp in head coordinates, m."""
    folder = MNE_DATA / "fsaverage"
    surface = mne.read_bem_surfaces(folder / "fsaverage-head.fif", verbose="error")[0]
    to_head = invert_transform(mne.read_trans(folder / "fsaverage-trans.fif"))
    surface["rr"] = apply_trans(to_head, surface["rr"])
    return complete_surface_info(surface, copy=False, verbose="error")


def _spread(surface: dict, n_sites: int) -> tuple[np.ndarray, np.ndarray]:
    """Spread sites evenly over a surface: positions and unit normals."""
    points, normals = points_on(surface)
    seeds = [int(points[:, 2].argmax())]
    distance = np.full(len(points), np.inf)
    for _ in range(n_sites - 1):
        distance = np.minimum(distance, np.linalg.norm(points - points[seeds[-1]], axis=1))
        seeds.append(int(distance.argmax()))
    centres, _ = kmeans2(points, points[seeds], iter=30, minit="matrix")
    nearest = cKDTree(points).query(centres)[1]
    return points[nearest], normals[nearest]
