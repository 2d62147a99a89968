"""Where sources are on the cortex: tables with hemisphere and vertex."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .surfaces import HEMIS, load_white

if TYPE_CHECKING:
    from os import PathLike

    import mne
    import pandas as pd

    from .surfaces import Hemisphere

FAR_MM = 15.0  # a dipole farther than this from the cortex deserves a warning


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
    columns = ["hemi", "vertno", "x_mm", "y_mm", "z_mm", "peak_nAm", "distance_mm"]
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

    Parameters
    ----------
    truth : pandas.DataFrame | list of mne.Dipole | None
        Such a table, or dipoles in head coordinates.
    cortex : dict of Hemisphere
        The cortex on which they must lie.
    trans : mne.Transform | None
        The transform between head and MRI coordinates, which dipoles need.
    subject : str
        Name of the subject's folder.
    subjects_dir : path-like
        The FreeSurfer folder that holds it.
    on_cortex : bool
        Whether dipoles belong on the cortex; if not, they get ``x_mm``, ``y_mm``, ``z_mm`` alone.

    Returns
    -------
    table : pandas.DataFrame
        The true sources.
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
            return pd.DataFrame(np.reshape(places, (-1, 3)), columns=["x_mm", "y_mm", "z_mm"])
        truth = dipole_table(truth, trans=trans, subject=subject, subjects_dir=subjects_dir)
    if on_cortex or (cortex and not {"x_mm", "y_mm", "z_mm"} <= set(truth)):
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
