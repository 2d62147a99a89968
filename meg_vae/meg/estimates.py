"""A sparse solution as MNE shows it: source estimates, dipoles and a table of sources."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import mne
import numpy as np
import pandas as pd
from numpy.typing import NDArray

COLUMNS = [
    "hemi",
    "vertno",
    "x_mm",
    "y_mm",
    "z_mm",
    "label",
    "peak_nAm",
    "peak_s",
    "sd_nAm",
    "log_evidence",
    "cluster",
]
HEMISPHERES = ("lh", "rh")


@dataclass(frozen=True)
class Positions:
    """Active positions of a source space, in its order.

    Attributes
    ----------
    kind : str
        "surface", "volume", "discrete" or "mixed", as MNE calls the source space.
    n_spaces : int
        Number of source spaces (two for a cortex).
    space : ndarray of int, shape (n_active,)
        Source space of each position.
    vertno : ndarray of int, shape (n_active,)
        Its vertex number.
    rr_head : ndarray, shape (n_active, 3)
        Position in head coordinates, m.
    rr_mri : ndarray, shape (n_active, 3)
        Position in MRI surface RAS coordinates, m.
    axes : ndarray, shape (n_active, n_orient, 3)
        Directions of the dipoles in head coordinates.
    subject : str | None
        The subject, where the source space knows it.
    """

    kind: str
    n_spaces: int
    space: NDArray[np.int64]
    vertno: NDArray[np.int64]
    rr_head: NDArray[np.float64]
    rr_mri: NDArray[np.float64]
    axes: NDArray[np.float64]
    subject: str | None


def active_positions(forward: mne.Forward, active: NDArray[np.int64]) -> Positions:
    """Look up where some positions of a forward model are.

    Parameters
    ----------
    forward : mne.Forward
        The forward model.
    active : ndarray of int, shape (n_active,)
        Indices of positions, increasing.

    Returns
    -------
    positions : Positions
        Their places and axes.
    """
    src = forward["src"]
    space = np.repeat(np.arange(len(src)), [len(s["vertno"]) for s in src])
    vertno = np.concatenate([s["vertno"] for s in src])
    rr_head = forward["source_rr"][active]
    to_mri = mne.transforms.invert_transform(forward["mri_head_t"])
    return Positions(
        kind=src.kind,
        n_spaces=len(src),
        space=space[active],
        vertno=vertno[active],
        rr_head=rr_head,
        rr_mri=mne.transforms.apply_trans(to_mri, rr_head),
        axes=forward["source_nn"].reshape(len(vertno), -1, 3)[active],
        subject=src._subject,
    )


def source_estimate(
    positions: Positions, U: NDArray[np.float64], tmin: float, tstep: float, pick_ori: str | None
) -> mne.SourceEstimate:
    """Turn activity into MNE's source estimate of the matching kind.

    Parameters
    ----------
    positions : Positions
        Where the active positions are.
    U : ndarray, shape (n_active, n_orient, n_times)
        Activity in A·m.
    tmin, tstep : float
        First time and time step in s.
    pick_ori : None | "vector"
        None gives the amplitude (signed for a fixed orientation), "vector" the three components.

    Returns
    -------
    stc : SourceEstimate | VolSourceEstimate | MixedSourceEstimate or their vector variants
        The estimate; empty where nothing is active.

    Raises
    ------
    ValueError
        If ``pick_ori`` is unknown, or "vector" with a fixed orientation.
    """
    if pick_ori not in (None, "vector"):
        raise ValueError(f"pick_ori={pick_ori!r} must be None or 'vector'.")
    if pick_ori == "vector":
        if positions.axes.shape[1] == 1:
            raise ValueError(
                "pick_ori='vector' needs dipoles of free orientation; fit with loose > 0."
            )
        data = np.einsum("gak,gat->gkt", positions.axes, U)
    else:
        data = U[:, 0] if U.shape[1] == 1 else np.linalg.norm(U, axis=1)
    vertices = [positions.vertno[positions.space == k] for k in range(positions.n_spaces)]
    name = {"surface": "{}SourceEstimate", "mixed": "Mixed{}SourceEstimate"}.get(
        positions.kind, "Vol{}SourceEstimate"
    )
    kind = getattr(mne, name.format("Vector" if pick_ori == "vector" else ""))
    return kind(data, vertices, tmin, tstep, subject=positions.subject)


def dipoles(
    positions: Positions,
    U: NDArray[np.float64],
    times: NDArray[np.float64],
    gof: NDArray[np.float64],
) -> list[mne.Dipole]:
    """Turn activity into a dipole per active position.

    Parameters
    ----------
    positions : Positions
        Where the active positions are.
    U : ndarray, shape (n_active, n_orient, n_times)
        Activity in A·m.
    times : ndarray, shape (n_times,)
        Times in s.
    gof : ndarray, shape (n_active, n_times)
        Goodness of fit of each dipole in %.

    Returns
    -------
    dipoles : list of mne.Dipole
        Fixed in place, turning with time where the orientation is free.
    """
    vectors = np.einsum("gak,gat->gtk", positions.axes, U)
    out = []
    for place, vector, own, axes, fit in zip(
        positions.rr_head, vectors, U, positions.axes, gof, strict=True
    ):
        fixed = len(axes) == 1
        amplitude = own[0] if fixed else np.linalg.norm(vector, axis=1)
        safe = np.where(amplitude > 0, amplitude, 1.0)[:, None]
        ori = np.tile(axes[0], (len(times), 1)) if fixed else vector / safe
        out.append(mne.Dipole(times, np.tile(place, (len(times), 1)), amplitude, ori, fit))
    return out


def main_axis(
    U: NDArray[np.float64], covariance: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Project the activity of each source on its direction at the peak.

    Parameters
    ----------
    U : ndarray, shape (n_active, n_orient, n_times)
        Activity in A·m.
    covariance : ndarray, shape (n_active, n_orient, n_orient)
        Posterior covariance in (A·m)².

    Returns
    -------
    course : ndarray, shape (n_active, n_times)
        Signed time course; positive at its peak where the orientation is free.
    sd : ndarray, shape (n_active,)
        Its posterior standard deviation.
    peak : ndarray of int, shape (n_active,)
        Index of the peak.
    """
    peak = np.square(U).sum(1).argmax(1) if len(U) else np.zeros(0, dtype=int)
    axis = np.ones((len(U), 1))
    if U.shape[1] > 1:
        moment = np.take_along_axis(U, peak[:, None, None], 2)[..., 0]
        size = np.linalg.norm(moment, axis=1, keepdims=True)
        axis = moment / np.where(size > 0, size, 1.0)
    course = np.einsum("ga,gat->gt", axis, U)
    return course, np.sqrt(np.einsum("ga,gab,gb->g", axis, covariance, axis)), peak


def source_table(
    positions: Positions,
    U: NDArray[np.float64],
    times: NDArray[np.float64],
    covariance: NDArray[np.float64],
    log_evidence: NDArray[np.float64],
    cluster: NDArray[np.int64],
    labels: list[str],
) -> pd.DataFrame:
    """List the sources, in the order of the source space.

    Parameters
    ----------
    positions : Positions
        Where they are.
    U : ndarray, shape (n_active, n_orient, n_times)
        Activity in A·m.
    times : ndarray, shape (n_times,)
        Times in s.
    covariance : ndarray, shape (n_active, n_orient, n_orient)
        Posterior covariance in (A·m)².
    log_evidence : ndarray, shape (n_active,)
        Of the cluster of each, in nats.
    cluster : ndarray of int, shape (n_active,)
        Number of its cluster.
    labels : list of str
        Name of the region of each.

    Returns
    -------
    table : pandas.DataFrame
        Columns ``hemi, vertno, x_mm, y_mm, z_mm, label, peak_nAm, peak_s, sd_nAm, log_evidence,
        cluster``; the standard deviation is that of the amplitude along the direction at the peak.
    """
    course, sd, peak = main_axis(U, covariance)
    amplitude = np.take_along_axis(course, peak[:, None], 1)[:, 0]
    hemi = [
        HEMISPHERES[k] if positions.kind == "surface" else f"space {k}" for k in positions.space
    ]
    x, y, z = 1e3 * positions.rr_mri.T
    values = [
        hemi,
        positions.vertno,
        x,
        y,
        z,
        labels,
        1e9 * amplitude,
        times[peak],
        1e9 * sd,
        log_evidence,
        cluster,
    ]
    return pd.DataFrame(dict(zip(COLUMNS, values, strict=True)))


def region_names(
    positions: Positions, subject: str | None, subjects_dir: str | None, parc: str = "aparc"
) -> list[str]:
    """Name the cortical region of each position from an annotation, where there is one.

    Parameters
    ----------
    positions : Positions
        Where the sources are.
    subject : str | None
        Subject whose annotation to read; None takes the source space's own.
    subjects_dir : path-like | None
        FreeSurfer folder; None takes MNE's setting.
    parc : str
        Name of the annotation.

    Returns
    -------
    names : list of str
        Empty strings where there is no annotation or no region.
    """
    subject = subject or positions.subject
    subjects_dir = mne.utils.get_subjects_dir(subjects_dir, raise_error=False)
    names = [""] * len(positions.vertno)
    if subject is None or subjects_dir is None or positions.kind != "surface":
        return names
    folder = Path(subjects_dir) / subject / "label"
    if not all((folder / f"{hemi}.{parc}.annot").is_file() for hemi in HEMISPHERES):
        return names
    for label in mne.read_labels_from_annot(
        subject, parc, subjects_dir=subjects_dir, verbose="error"
    ):
        inside = (positions.space == HEMISPHERES.index(label.hemi)) & np.isin(
            positions.vertno, label.vertices
        )
        for k in np.flatnonzero(inside):
            names[k] = label.name
    return names
