"""The cortex and the head of a subject, read from a FreeSurfer folder, and what lies on them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable
    from os import PathLike

    import mne
    import pandas as pd

HEMIS = ("lh", "rh")
SURFACES = ("inflated", "white", "pial", "glass")
SHELLS = {"inner_skull": ("inner_skull.surf",), "head": ("{}-head.fif", "outer_skin.surf")}
OWN_PLACE = ("x_mm", "y_mm", "z_mm")
GAP_MM = 8.0  # between the hemispheres once inflated, where they would overlap
FAR_MM = 15.0  # a dipole farther than this from the cortex deserves a warning


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
    """Read both hemispheres; inflated ones are moved apart along x.

    "glass" is the pial surface, or the white one of a subject who has no other.
    """
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
    """Read "inner_skull" or "head": its vertices (mm, MRI surface RAS) and its triangles."""
    import mne

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


def dipole_table(
    dipoles: list[mne.Dipole], *, trans: mne.Transform, subject: str, subjects_dir: str | PathLike
) -> pd.DataFrame:
    """Place dipoles, given in head coordinates, on the nearest vertices of the white surface.

    Parameters
    ----------
    dipoles : list of mne.Dipole
        The dipoles, in head coordinates. Of a dipole with several time points, the one of largest
        amplitude counts.
    trans : mne.Transform
        The transform between head and MRI coordinates.
    subject : str
        Name of the subject's folder.
    subjects_dir : path-like
        The FreeSurfer folder that holds it.

    Returns
    -------
    table : pandas.DataFrame
        A row per dipole: ``hemi``, ``vertno``, its own position ``x_mm``, ``y_mm``, ``z_mm`` (MRI
        surface RAS), ``peak_nAm``, and ``distance_mm`` from that position to the vertex.

    Raises
    ------
    TypeError
        If ``dipoles`` holds anything else.

    Warns
    -----
    RuntimeWarning
        If a dipole lies more than 15 mm from the white surface.
    """
    import mne
    import pandas as pd
    from scipy.spatial import cKDTree

    _check_dipoles(dipoles)
    columns = ["hemi", "vertno", *OWN_PLACE, "peak_nAm", "distance_mm"]
    white = load_white(subject, subjects_dir)
    trees = {hemi: cKDTree(points) for hemi, points in white.items()}
    rows = []
    for dipole in dipoles:
        place, amplitude = _mri_place(dipole, trans, subject, subjects_dir)
        found = {hemi: tree.query(place) for hemi, tree in trees.items()}
        hemi = min(found, key=lambda name: found[name][0])
        distance, vertno = found[hemi]
        rows.append((hemi, int(vertno), *place, amplitude, float(distance)))
    table = pd.DataFrame(rows, columns=columns)
    if (table["distance_mm"] > FAR_MM).any():
        mne.utils.warn(
            f"A dipole lies {table['distance_mm'].max():.0f} mm from the white surface of "
            f"{subject!r}; check that trans and subject belong to it.",
            RuntimeWarning,
        )
    return table


def check_places(table: pd.DataFrame, cortex: dict[str, Hemisphere], name: str) -> None:
    """Raise a ValueError unless ``hemi`` and ``vertno`` of a table are vertices of the cortex."""
    missing = [column for column in ("hemi", "vertno") if column not in table]
    if missing:
        raise ValueError(f"{name} lacks the column {' and '.join(missing)}.")
    wrong = sorted({str(hemi) for hemi in table["hemi"]} - set(HEMIS))
    if wrong:
        raise ValueError(
            f"{name}: hemi must be 'lh' or 'rh'; got {', '.join(map(repr, wrong))}. Draw sources "
            "that are not on the cortex with surface='glass', or with plot_slices."
        )
    if (table["vertno"] != table["vertno"].astype(int)).any():
        raise ValueError(f"{name}: vertno must be whole numbers.")
    for hemi, hemisphere in cortex.items():
        vertno = table["vertno"][table["hemi"] == hemi]
        n_vertices = len(hemisphere.points)
        outside = vertno[~vertno.between(0, n_vertices - 1)]
        if len(outside):
            raise ValueError(
                f"{name}: vertno {outside.iloc[0]} is outside the {hemi} surface, which has "
                f"{n_vertices} vertices (0 to {n_vertices - 1}). Is it another subject's?"
            )


def true_places(
    truth: pd.DataFrame | list[mne.Dipole] | None,
    cortex: dict[str, Hemisphere],
    *,
    trans: mne.Transform | None,
    subject: str,
    subjects_dir: str | PathLike,
    on_cortex: bool = True,
) -> pd.DataFrame:
    """Return the true sources as a table with ``hemi`` and ``vertno``, empty if there are none.

    Dipoles that do not belong on the cortex get ``x_mm``, ``y_mm``, ``z_mm`` alone.
    """
    import pandas as pd

    if truth is None:
        return pd.DataFrame(columns=["hemi", "vertno"])
    if not isinstance(truth, pd.DataFrame):
        if trans is None:
            raise ValueError(
                "truth as dipoles needs trans, the transform between head and MRI coordinates."
            )
        if not on_cortex:
            _check_dipoles(truth)
            places = [_mri_place(one, trans, subject, subjects_dir)[0] for one in truth]
            return pd.DataFrame(np.reshape(places, (-1, 3)), columns=list(OWN_PLACE))
        truth = dipole_table(truth, trans=trans, subject=subject, subjects_dir=subjects_dir)
    if on_cortex or (cortex and not set(OWN_PLACE) <= set(truth)):
        check_places(truth, cortex, "truth")
    return truth


def _check_dipoles(dipoles: list[mne.Dipole]) -> None:
    import mne

    if isinstance(dipoles, mne.Dipole) or not all(isinstance(one, mne.Dipole) for one in dipoles):
        raise TypeError("dipoles must be a list with an mne.Dipole per source.")


def _mri_place(
    dipole: mne.Dipole, trans: mne.Transform, subject: str, subjects_dir: str | PathLike
) -> tuple[np.ndarray, float]:
    """Return where a dipole is at its largest amplitude (mm, MRI surface RAS), and that (nAm)."""
    import mne

    best = int(np.argmax(np.abs(dipole.amplitude)))
    place = mne.head_to_mri(dipole.pos[best], subject, trans, subjects_dir=subjects_dir, kind="mri")
    return place, 1e9 * dipole.amplitude[best]


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
            f"The cortex of {subject!r} cannot be drawn: no {', '.join(missing)}. Choose a "
            "surface that the subject has, or the head that meg_vae.datasets.template() offers."
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
