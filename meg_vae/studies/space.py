"""The common space of a study: places of each subject on fsaverage, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import mne
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Array = NDArray[np.float64]

SPACES = ("auto", "surface", "affine")
AVERAGES = ("fsaverage", "fsaverage5", "fsaverage6")  # all have the coordinates of fsaverage
AFFINE_MM = 4.0  # standard deviation of an affine match of heads, along each axis
NEAR = 12  # positions about a place that say where it is on fsaverage
HEMIS = ("lh", "rh")
CELL = 5.0  # mm, of the cells that measure the volume in which sources may lie


@dataclass(frozen=True)
class Warp:
    """Where the places of one subject are on fsaverage.

    Attributes
    ----------
    positions : ndarray, shape (n_positions, 3)
        Positions of the forward model in MRI surface RAS coordinates, mm.
    targets : ndarray, shape (n_positions, 3)
        The same on fsaverage, mm (its surface RAS coordinates are MNI305).
    linear : ndarray, shape (3, 3)
        Linear part of the affine map between them.
    unsure : ndarray, shape (3, 3)
        Covariance in mm² of what the map does not know by itself.
    """

    positions: Array
    targets: Array
    linear: Array
    unsure: Array

    def __call__(self, places: Array) -> tuple[Array, Array]:
        """Carry places (m, 3) to fsaverage, mm, with the covariance (m, 3, 3) of the map there.

        Near a place the map is the affine one and the mean of what each position is off it, as in
        the interpolation of weights; how much these differ says how sure it is.
        """
        distance, near = cKDTree(self.positions).query(places, min(NEAR, len(self.positions)))
        reach = 1.01 * distance[:, -1:] + 1e-9
        share = (1 - distance / reach) ** 2 / (distance + 1e-6) ** 2
        share /= share.sum(1, keepdims=True)
        off = self.targets - self.positions @ self.linear.T
        mean = np.einsum("mk,mki->mi", share, off[near])
        away = off[near] - mean[:, None]
        return places @ self.linear.T + mean, self.unsure + np.einsum(
            "mk,mki,mkj->mij", share, away, away
        )

    def covariance(self, own: Array) -> Array:
        """Carry covariances of places (m, 3, 3) to fsaverage."""
        return self.linear @ own @ self.linear.T


def warp_of(forward: mne.Forward, head: str | None, subjects_dir: Path | None, space: str) -> Warp:
    """Find where the positions of a forward model are on fsaverage.

    Parameters
    ----------
    forward : mne.Forward
        The forward model.
    head : str | None
        The FreeSurfer subject; None takes the one that the source space names.
    subjects_dir : Path | None
        FreeSurfer folder; None takes MNE's setting.
    space : "auto" | "surface" | "affine"
        By the registered spheres of the cortex, by the Talairach transform, or the first that the
        subject has.

    Returns
    -------
    warp : Warp
        The map.

    Raises
    ------
    ValueError
        If the subject has no way to fsaverage.
    """
    head = head or forward["src"]._subject
    folder = mne.utils.get_subjects_dir(subjects_dir, raise_error=False)
    rr = 1e3 * mne.transforms.apply_trans(_to_mri(forward), forward["source_rr"])
    if head in AVERAGES:
        return Warp(rr, rr, np.eye(3), np.zeros((3, 3)))
    surfaces = [one["type"] == "surf" for one in forward["src"]] == [True, True]
    registered = folder is not None and head is not None and surfaces
    files = [Path(folder or "") / str(head) / "surf" / f"{hemi}.sphere.reg" for hemi in HEMIS]
    if space != "affine" and registered and all(file.is_file() for file in files):
        average, halves = average_surfaces(folder), zip(files, forward["src"], strict=True)
        targets = np.concatenate([_on_average(file, one, *average) for file, one in halves])
        linear = np.linalg.lstsq(np.c_[rr, np.ones(len(rr))], targets, rcond=None)[0][:3].T
        return Warp(rr, targets, linear, np.zeros((3, 3)))
    affine = folder is not None and head is not None
    if space == "surface" or not affine or not _talairach(folder, head).is_file():
        wanted = {
            "surface": "surf/lh.sphere.reg and rh.sphere.reg, for space='surface', of surfaces",
            "affine": "mri/transforms/talairach.xfm, for space='affine'",
        }
        need = wanted.get(space, "surf/?h.sphere.reg or mri/transforms/talairach.xfm")
        raise ValueError(f"subject {head!r} in {folder} has no way to fsaverage; it needs {need}.")
    trans = mne.read_talxfm(head, folder, verbose="error")["trans"]
    targets = 1e3 * mne.transforms.apply_trans(trans, rr / 1e3)
    return Warp(rr, targets, trans[:3, :3], AFFINE_MM**2 * np.eye(3))


def volume_of(warp: Warp) -> float:
    """Volume on fsaverage, mm³, in which sources of a subject may lie.

    Cells of half a centimetre that hold a position, or lie about as near to one as positions lie to
    each other.
    """
    gap = np.median(cKDTree(warp.targets).query(warp.targets, 2)[0][:, 1])
    around = np.arange(-int(gap // CELL), int(gap // CELL) + 1)
    steps = np.stack(np.meshgrid(around, around, around), -1).reshape(-1, 3)
    own = np.round(warp.targets / CELL).astype(np.int64)
    return CELL**3 * len(np.unique((own[:, None] + steps).reshape(-1, 3), axis=0))


def average_surfaces(subjects_dir: Path | None) -> tuple[str, Path]:
    """Find fsaverage: in the FreeSurfer folder, else the template that the package makes."""
    folder = mne.utils.get_subjects_dir(subjects_dir, raise_error=False)
    if folder is not None and (Path(folder) / "fsaverage" / "surf" / "lh.sphere").is_file():
        return "fsaverage", Path(folder)
    from meg_vae.datasets import template

    head = template("ico3", verbose="warning")
    return head.subject, head.subjects_dir


def _to_mri(forward: mne.Forward) -> mne.Transform:
    """Give the transform from the frame of a forward model to MRI coordinates."""
    return mne.transforms.invert_transform(forward["mri_head_t"])


def _talairach(folder: Path | None, head: str | None) -> Path:
    """Name the file of the Talairach transform."""
    return Path(folder or "") / str(head) / "mri" / "transforms" / "talairach.xfm"


def _on_average(file: Path, space: mne.SourceSpaces, average: str, folder: Path) -> Array:
    """Find the vertices of one hemisphere on fsaverage's white surface, mm."""
    own = mne.read_surface(file, verbose="warning")[0][space["vertno"]]
    surf = folder / average / "surf"
    hemi = file.name[:2]
    sphere = mne.read_surface(surf / f"{hemi}.sphere", verbose="warning")[0]
    white = mne.read_surface(surf / f"{hemi}.white", verbose="warning")[0]
    own, sphere = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (own, sphere))
    distance, nearest = cKDTree(sphere).query(own, 3)
    share = 1 / (distance + 1e-9)
    return np.einsum("mk,mki->mi", share / share.sum(1, keepdims=True), white[nearest])
