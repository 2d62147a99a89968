"""Cortical surfaces read from a FreeSurfer folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from os import PathLike

    import numpy as np

HEMIS = ("lh", "rh")
SURFACES = ("inflated", "white", "pial", "glass")
SHELLS = {"inner_skull": ("inner_skull.surf",), "head": ("{}-head.fif", "outer_skin.surf")}
GAP_MM = 8.0  # between the hemispheres once inflated, where they would overlap


@dataclass(frozen=True, eq=False)
class Hemisphere:
    """One hemisphere: the surface to draw, and the white surface its vertices stand for.

    Attributes
    ----------
    points : ndarray, shape (n_vertices, 3)
        Vertices of the surface to draw (mm).
    white : ndarray, shape (n_vertices, 3)
        The same vertices on the white surface, in MRI surface RAS coordinates (mm).
    triangles : ndarray of int, shape (n_triangles, 3)
        Corners of each triangle.
    curvature : ndarray, shape (n_vertices,)
        Mean curvature (1/mm), positive in the sulci.
    around : ndarray, shape (n_points, 3) | None
        What else is drawn around the cortex, for which a picture needs room (mm).
    """

    points: np.ndarray
    white: np.ndarray
    triangles: np.ndarray
    curvature: np.ndarray
    around: np.ndarray | None = None

    @property
    def extent(self) -> np.ndarray:
        """Points that a picture of the hemisphere needs room for."""
        return self.points if self.around is None else self.around


def load_cortex(
    subject: str, subjects_dir: str | PathLike, surface: str = "inflated"
) -> dict[str, Hemisphere]:
    """Read both hemispheres of a subject.

    Parameters
    ----------
    subject : str
        Name of the subject's folder.
    subjects_dir : path-like
        The FreeSurfer folder that holds it.
    surface : "inflated" | "white" | "pial" | "glass"
        The surface to draw. Inflated hemispheres are moved apart along x. "glass" is the pial
        surface, or the white one of a subject who has no other.

    Returns
    -------
    cortex : dict
        A `Hemisphere` for each of ``"lh"`` and ``"rh"``.

    Raises
    ------
    ValueError
        If ``surface`` is unknown, or the surfaces of a hemisphere do not match.
    FileNotFoundError
        If a file is missing; the message names all files that were looked for.
    """
    if surface not in SURFACES:
        raise ValueError(f"surface must be one of {', '.join(SURFACES)}; got {surface!r}.")
    if surface == "glass":
        surface = "pial" if _has(subject, subjects_dir, "pial") else "white"
    kinds = dict.fromkeys((surface, "white", "curv"))
    folder = _surf_folder(subject, subjects_dir, kinds)
    return {hemi: _read_hemisphere(folder, hemi, surface) for hemi in HEMIS}


def load_white(subject: str, subjects_dir: str | PathLike) -> dict[str, np.ndarray]:
    """Return the white surface's vertices (mm, MRI surface RAS) of ``"lh"`` and ``"rh"``."""
    import mne

    folder = _surf_folder(subject, subjects_dir, ["white"])
    return {hemi: mne.read_surface(folder / f"{hemi}.white")[0] for hemi in HEMIS}


def load_shell(
    subject: str, subjects_dir: str | PathLike, shell: str
) -> tuple[np.ndarray, np.ndarray]:
    """Read the inner skull or the head.

    Parameters
    ----------
    subject : str
        Name of the subject's folder.
    subjects_dir : path-like
        The FreeSurfer folder that holds it.
    shell : "inner_skull" | "head"
        The surface around the brain.

    Returns
    -------
    points : ndarray, shape (n_points, 3)
        Its vertices (mm, MRI surface RAS).
    triangles : ndarray of int, shape (n_triangles, 3)
        Corners of each triangle.
    """
    import mne

    if shell not in SHELLS:
        raise ValueError(f"shell must be one of {', '.join(SHELLS)}, or None; got {shell!r}.")
    folder = Path(subjects_dir) / subject / "bem"
    files = [folder / name.format(subject) for name in SHELLS[shell]]
    found = next((file for file in files if file.is_file()), None)
    if found is None:
        raise FileNotFoundError(
            f"The {shell} of {subject!r} cannot be drawn: no {', no '.join(map(str, files))}. "
            "Leave shell out, or take the head that meg_vae.datasets.template() offers."
        )
    if found.suffix == ".fif":
        surface = mne.read_bem_surfaces(found, verbose="error")[0]
        return 1e3 * surface["rr"], surface["tris"]
    return mne.read_surface(found)[:2]


def _has(subject: str, subjects_dir: str | PathLike, kind: str) -> bool:
    """Whether both hemispheres have a file."""
    if subject is None or subjects_dir is None:
        return False  # the caller says so
    folder = Path(subjects_dir) / subject / "surf"
    return all((folder / f"{hemi}.{kind}").is_file() for hemi in HEMIS)


def _surf_folder(subject: str, subjects_dir: str | PathLike, kinds: Iterable[str]) -> Path:
    """Return the subject's surf folder, which has every file asked for."""
    if subject is None or subjects_dir is None:
        raise ValueError(
            "subject and subjects_dir must name the FreeSurfer folder with the cortex; "
            f"got subject={subject!r}, subjects_dir={subjects_dir!r}."
        )
    folder = Path(subjects_dir) / subject / "surf"
    missing = [
        str(path)
        for kind in kinds
        for hemi in HEMIS
        if not (path := folder / f"{hemi}.{kind}").is_file()
    ]
    if missing:
        raise FileNotFoundError(
            f"The cortex of {subject!r} cannot be drawn: no {', '.join(missing)}. Choose a surface "
            "that the subject has, or the head that meg_vae.datasets.template() offers."
        )
    return folder


def _read_hemisphere(folder: Path, hemi: str, surface: str) -> Hemisphere:
    """Read one hemisphere, and move it aside if it is inflated."""
    import mne
    import nibabel

    white, triangles = mne.read_surface(folder / f"{hemi}.white")
    points = mne.read_surface(folder / f"{hemi}.{surface}")[0]
    curvature = nibabel.freesurfer.read_morph_data(folder / f"{hemi}.curv").astype(float)
    if not len(white) == len(points) == len(curvature):
        raise ValueError(
            f"{folder}: {hemi}.white, {hemi}.{surface} and {hemi}.curv have {len(white)}, "
            f"{len(points)} and {len(curvature)} vertices; they must belong together."
        )
    if surface == "inflated":
        edge, side = (points[:, 0].max(), -1) if hemi == "lh" else (points[:, 0].min(), 1)
        points = points + [side * GAP_MM / 2 - edge, 0, 0]
    return Hemisphere(points, white, triangles, curvature)
