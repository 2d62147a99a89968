"""A model of a 306-channel MEG helmet."""

from __future__ import annotations

import functools
from pathlib import Path

import mne
import numpy as np
from mne.channels import make_dig_montage, read_layout
from mne.io import read_fiducials
from mne.surface import complete_surface_info
from mne.transforms import apply_trans, invert_transform, rotation3d_align_z_axis
from scipy.cluster.vq import kmeans2
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree

MNE_DATA = Path(mne.__file__).parent / "data"

# Where the template head sits in the helmet, in metres: upright, on the midline, and as far up
# as leaves 20 mm from scalp to sensor at the closest point, as in a head pressed into a dewar.
_HEAD_IN_HELMET = (0.0, -0.005, 0.0525)

_N_SITES = 102
_N_SURFACE_POINTS = 20_000


def helmet_info(sfreq: float = 600.0) -> mne.Info:
    """Make the measurement info of a 306-channel helmet around the template head.

    This is a model of a helmet, not a measured sensor layout: 102 sites are spread evenly, and
    symmetrically from left to right, over the helmet surface that MNE ships for drawing, and each
    carries one magnetometer (coil type 3024) and two planar gradiometers at right angles
    (coil type 3012). Each site takes the Vectorview name that fits its place, so that MNE's
    layouts and channel selections apply.

    Parameters
    ----------
    sfreq : float
        Sampling frequency in Hz.

    Returns
    -------
    info : mne.Info
        306 MEG channels in the order gradiometer, gradiometer, magnetometer ("MEG 0113",
        "MEG 0112", "MEG 0111", ...), the device to head transform, and the three fiducials.
    """
    positions, normals = _sites()
    names = _site_names(positions)
    order = np.argsort(names)
    positions, normals, names = positions[order], normals[order], names[order]
    ch_names = [f"{name[:-1]}{digit}" for name in names for digit in "321"]
    info = mne.create_info(ch_names, sfreq, ["grad", "grad", "mag"] * _N_SITES)
    locs = [loc for site in zip(positions, normals, strict=True) for loc in _triplet(*site)]
    for channel, loc in zip(info["chs"], locs, strict=True):
        channel["loc"][:] = loc
    to_head = np.eye(4)
    to_head[:3, 3] = _HEAD_IN_HELMET
    info["dev_head_t"] = mne.Transform("meg", "head", to_head)
    info["description"] = "Model of a 306-channel helmet, not a measured sensor layout"
    info.set_montage(fiducials())
    return info


@functools.cache
def _sites() -> tuple[np.ndarray, np.ndarray]:
    """Spread sites over the helmet: positions and outward normals, device coordinates, m."""
    points, normals = _surface_points()
    # By symmetry the right half is spread alone. Its k-means centres keep about half a spacing
    # from the rim and from the midline, and so one spacing from their mirror images.
    seeds = [points[:, 2].argmax()]
    distance = np.full(len(points), np.inf)
    for _ in range(_N_SITES // 2 - 1):
        distance = np.minimum(distance, np.linalg.norm(points - points[seeds[-1]], axis=1))
        seeds.append(distance.argmax())
    centres, _ = kmeans2(points, points[seeds], iter=50, minit="matrix")
    nearest = cKDTree(points).query(centres)[1]
    mirror = np.array([-1.0, 1.0, 1.0])
    right, outward = points[nearest], normals[nearest]
    return np.concatenate([right, right * mirror]), np.concatenate([outward, outward * mirror])


def _surface_points() -> tuple[np.ndarray, np.ndarray]:
    """Draw points evenly over the helmet surface, folded onto its right half."""
    surface = mne.read_bem_surfaces(MNE_DATA / "helmets" / "306m.fif.gz", verbose="warning")[0]
    points, normals = points_on(complete_surface_info(surface, verbose="warning"))
    fold = np.column_stack([np.where(points[:, 0] < 0, -1, 1), *np.ones((2, len(points)))])
    return points * fold, normals * fold


def points_on(surface: dict) -> tuple[np.ndarray, np.ndarray]:
    """Draw points evenly over a surface, with their unit normals."""
    rng = np.random.default_rng(0)
    area = surface["tri_area"]
    corners = surface["tris"][rng.choice(len(area), _N_SURFACE_POINTS, p=area / area.sum())]
    weights = rng.dirichlet(np.ones(3), _N_SURFACE_POINTS)
    points = np.einsum("ij,ijk->ik", weights, surface["rr"][corners])
    normals = np.einsum("ij,ijk->ik", weights, surface["nn"][corners])
    return points, normals / np.linalg.norm(normals, axis=1, keepdims=True)


def _site_names(positions: np.ndarray) -> np.ndarray:
    """Give each site the Vectorview magnetometer name whose place it comes nearest to."""
    layout = read_layout("Vectorview-mag")
    # Both are seen from above and flattened; only the arrangement matters, not the scale.
    polar = np.arctan2(np.linalg.norm(positions[:, :2], axis=1), positions[:, 2])
    azimuth = np.arctan2(positions[:, 1], positions[:, 0])
    flat = np.column_stack([polar * np.cos(azimuth), polar * np.sin(azimuth)])
    target = layout.pos[:, :2]
    flat, target = ((xy - xy.mean(axis=0)) / xy.std(axis=0) for xy in (flat, target))
    cost = ((flat[:, np.newaxis] - target) ** 2).sum(axis=-1)
    return np.array(layout.names)[linear_sum_assignment(cost)[1]]


def _triplet(position: np.ndarray, normal: np.ndarray) -> list[np.ndarray]:
    """Place two gradiometers and a magnetometer: origin, then the unit vectors ex, ey and ez."""
    ex, ey, ez = rotation3d_align_z_axis(normal).T
    along_x = np.concatenate([position, ex, ey, ez])
    along_y = np.concatenate([position, ey, -ex, ez])
    return [along_x, along_y, along_x]


def fiducials() -> mne.channels.DigMontage:
    """Take the template's fiducials to head coordinates."""
    folder = MNE_DATA / "fsaverage"
    mri_to_head = invert_transform(mne.read_trans(folder / "fsaverage-trans.fif"))
    points, _ = read_fiducials(folder / "fsaverage-fiducials.fif", verbose="warning")
    lpa, nasion, rpa = (apply_trans(mri_to_head, point["r"]) for point in points)
    return make_dig_montage(nasion=nasion, lpa=lpa, rpa=rpa, coord_frame="head")
