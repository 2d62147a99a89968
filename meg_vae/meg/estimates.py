"""A sparse solution as MNE shows it: source estimates and dipoles."""

from __future__ import annotations

from dataclasses import dataclass, replace

import mne
import numpy as np
from numpy.typing import NDArray

HEMISPHERES = {101: "lh", 102: "rh"}  # by FIFF's number of the surface


@dataclass(frozen=True)
class Positions:
    """Where sources are: at positions of a source space, or at places between them.

    Attributes
    ----------
    kind : str
        "surface", "volume", "discrete" or "mixed", as MNE calls the source space.
    names : list of str
        Name of each source space: "lh" and "rh" for a cortex, a segment's name for a volume.
    space : ndarray of int, shape (n_active,)
        Source space of each source, or of the position nearest to it.
    vertno : ndarray of int, shape (n_active,)
        Vertex number of that position.
    rr_head : ndarray, shape (n_active, 3)
        Place in head coordinates, m.
    rr_mri : ndarray, shape (n_active, 3)
        Place in MRI surface RAS coordinates, m.
    axes : ndarray, shape (n_active, n_orient, 3)
        Directions of the dipoles in head coordinates.
    normals : ndarray, shape (n_active, 3)
        Cortical normal of the position, the mean over a patch where patches are known; NaN in a
        volume.
    subject : str | None
        The subject, where the source space knows it.
    vertices : list of ndarray of int | None
        All vertex numbers of each source space; None in files of earlier versions.
    to_mri : ndarray, shape (3, 3) | None
        Turns directions from head to MRI coordinates; None where a file does not tell.
    """

    kind: str
    names: list[str]
    space: NDArray[np.int64]
    vertno: NDArray[np.int64]
    rr_head: NDArray[np.float64]
    rr_mri: NDArray[np.float64]
    axes: NDArray[np.float64]
    normals: NDArray[np.float64]
    subject: str | None
    vertices: list[NDArray[np.int64]] | None = None
    to_mri: NDArray[np.float64] | None = None

    def ordered(self, order: NDArray[np.int64]) -> Positions:
        """Put the sources in another order, shape (n_active,)."""
        rows = ("space", "vertno", "rr_head", "rr_mri", "axes", "normals")
        return replace(self, **{name: getattr(self, name)[order] for name in rows})


def active_positions(forward: mne.Forward, active: NDArray[np.int64]) -> Positions:
    """Look up where some positions of a forward model are.

    Parameters
    ----------
    forward : mne.Forward
        The forward model.
    active : ndarray of int, shape (n_active,)
        Indices of positions.

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
        names=_space_names(src),
        space=space[active],
        vertno=vertno[active],
        rr_head=rr_head,
        rr_mri=mne.transforms.apply_trans(to_mri, rr_head),
        axes=forward["source_nn"].reshape(len(vertno), -1, 3)[active],
        normals=_normals(src, space[active], vertno[active]),
        subject=src._subject,
        vertices=[np.asarray(one["vertno"], dtype=np.int64) for one in src],
        to_mri=to_mri["trans"][:3, :3],
    )


def free_positions(
    forward: mne.Forward, rr_head: NDArray[np.float64], nearest: NDArray[np.int64]
) -> Positions:
    """Describe places between the positions of a forward model.

    Parameters
    ----------
    forward : mne.Forward
        The forward model.
    rr_head : ndarray, shape (n_active, 3)
        The places in head coordinates, m.
    nearest : ndarray of int, shape (n_active,)
        Index of the position nearest to each.

    Returns
    -------
    positions : Positions
        The places, with the axes of head coordinates; all else is that of the nearest positions.
    """
    to_mri = mne.transforms.invert_transform(forward["mri_head_t"])
    return replace(
        active_positions(forward, nearest),
        rr_head=rr_head,
        rr_mri=mne.transforms.apply_trans(to_mri, rr_head),
        axes=np.tile(np.eye(3), (len(rr_head), 1, 1)),
    )


def _space_names(src: mne.SourceSpaces) -> list[str]:
    """Name the source spaces: hemispheres, segments, or by number."""
    return [
        HEMISPHERES.get(int(one["id"]), f"space {k}")
        if one["type"] == "surf"
        else str(one.get("seg_name") or f"space {k}")
        for k, one in enumerate(src)
    ]


def _normals(
    src: mne.SourceSpaces, space: NDArray[np.int64], vertno: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Look up normals as MNE does: the mean over the patch of a vertex where patches are known."""
    normals = np.full((len(space), 3), np.nan)
    for k, (one, vertex) in enumerate(zip(space, vertno, strict=True)):
        here = src[one]
        if here["type"] == "vol":
            continue
        patch = [vertex]
        if here.get("patch_inds") is not None:
            patch = here["pinfo"][here["patch_inds"][np.searchsorted(here["vertno"], vertex)]]
        normals[k] = here["nn"][patch].sum(0)
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)


def source_estimate(
    positions: Positions, U: NDArray[np.float64], tmin: float, tstep: float, pick_ori: str | None
) -> mne.SourceEstimate:
    """Turn activity into MNE's source estimate of the matching kind.

    Parameters
    ----------
    positions : Positions
        Where the active positions are, each once and in ascending order.
    U : ndarray, shape (n_active, n_orient, n_times)
        Activity in A·m.
    tmin, tstep : float
        First time and time step in s.
    pick_ori : None | "normal" | "vector"
        As for `pick_orientation`.

    Returns
    -------
    stc : SourceEstimate | VolSourceEstimate | MixedSourceEstimate or their vector variants
        The estimate; empty where nothing is active.

    Raises
    ------
    ValueError
        If ``pick_ori`` is unknown, or does not suit the orientation or the source space.
    """
    return fill_estimate(positions, pick_orientation(positions, U, pick_ori), tmin, tstep)


def check_orientation(positions: Positions, pick_ori: str | None) -> None:
    """Refuse a component that there is not.

    Parameters
    ----------
    positions : Positions
        Where the active positions are.
    pick_ori : None | "normal" | "vector"
        Which components of the activity to give.

    Raises
    ------
    ValueError
        If ``pick_ori`` is unknown, needs a free orientation and there is none, or "normal" needs a
        surface and there is none.
    """
    if pick_ori not in (None, "normal", "vector"):
        raise ValueError(f"pick_ori={pick_ori!r} must be None, 'normal' or 'vector'.")
    if pick_ori is not None and positions.axes.shape[1] == 1:
        raise ValueError(
            f"pick_ori={pick_ori!r} needs dipoles of free orientation; fit with loose > 0. "
            "With a fixed one, pick_ori=None is the component along the normal."
        )
    if pick_ori == "normal" and positions.kind not in ("surface", "discrete"):
        raise ValueError(
            "pick_ori='normal' needs a surface or discrete source space, and this one is "
            f"{positions.kind}; use 'vector'."
        )


def pick_orientation(
    positions: Positions, U: NDArray[np.float64], pick_ori: str | None
) -> NDArray[np.float64]:
    """Take components of the activity.

    Parameters
    ----------
    positions : Positions
        Where the active positions are.
    U : ndarray, shape (n_active, n_orient, n_times)
        Activity in A·m.
    pick_ori : None | "normal" | "vector"
        None gives the amplitude (signed for a fixed orientation), "normal" the component along the
        cortical normal, "vector" the three components.

    Returns
    -------
    data : ndarray, shape (n_active, n_times) or (n_active, 3, n_times)
        In A·m.
    """
    check_orientation(positions, pick_ori)
    if pick_ori == "vector":
        return np.einsum("gak,gat->gkt", positions.axes, U)
    if pick_ori == "normal":
        along = np.einsum("gak,gk->ga", positions.axes, positions.normals)
        return np.einsum("ga,gat->gt", along, U)
    return U[:, 0] if U.shape[1] == 1 else np.linalg.norm(U, axis=1)


def pick_power(
    positions: Positions, power: NDArray[np.float64], pick_ori: str | None
) -> NDArray[np.float64]:
    """Take components of the power.

    Parameters
    ----------
    positions : Positions
        Where the active positions are.
    power : ndarray, shape (n_active, n_orient, n_orient)
        Covariance of the dipoles of each source, (A·m)².
    pick_ori : None | "normal"
        All of it, or that along the cortical normal.

    Returns
    -------
    data : ndarray, shape (n_active, 1)
        In (A·m)².

    Raises
    ------
    ValueError
        If ``pick_ori`` is "vector", unknown, or does not suit.
    """
    check_orientation(positions, pick_ori)
    if pick_ori == "vector":
        raise ValueError("pick_ori='vector' gives no power; use None or 'normal'.")
    if pick_ori == "normal":
        along = np.einsum("gak,gk->ga", positions.axes, positions.normals)
        return np.einsum("ga,gab,gb->g", along, power, along)[:, None]
    return np.trace(power, axis1=1, axis2=2)[:, None]


def fill_estimate(
    positions: Positions, data: NDArray[np.float64], tmin: float, tstep: float
) -> mne.SourceEstimate:
    """Put values at the positions into MNE's class for that source space.

    Parameters
    ----------
    positions : Positions
        Where the active positions are, each once and in ascending order.
    data : ndarray, shape (n_active, n_times) or (n_active, 3, n_times)
        The values.
    tmin, tstep : float
        First time and time step in s.

    Returns
    -------
    stc : SourceEstimate | VolSourceEstimate | MixedSourceEstimate or their vector variants
        The estimate.
    """
    name = {"surface": "{}SourceEstimate", "mixed": "Mixed{}SourceEstimate"}.get(
        positions.kind, "Vol{}SourceEstimate"
    )
    kind = getattr(mne, name.format("Vector" if data.ndim == 3 else ""))
    vertices = [positions.vertno[positions.space == k] for k in range(len(positions.names))]
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
