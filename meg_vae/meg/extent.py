"""How large sources are: the option, and what it says of a forward model.

On a cortex they are discs, whose fields tell how large they are. In a volume they are balls, whose
fields do not: in a homogeneous conductor each component of the lead field is harmonic in the place
of the source, so that its mean over a ball is its value at the centre. How large a ball is can be
given, and fills an estimate; it cannot be learnt.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Any

import mne
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from meg_vae.meg.cortex import SIDE, cortex_of
from meg_vae.meg.discs import LARGEST, SMALLEST, Discs
from meg_vae.meg.estimates import active_positions
from meg_vae.meg.field_of_runs import FieldOfRuns
from meg_vae.meg.filter import Cover

Array = NDArray[np.float64]

COARSE = 0.005  # m: on surfaces with longer edges there are no discs


@dataclass(frozen=True)
class Extent:
    """How large sources are.

    Attributes
    ----------
    radius : ndarray, shape (n_active,)
        Radius along the cortex, m; zero for a point.
    interval : ndarray, shape (n_active, 2)
        95 % interval of that, m; NaN on the grid, where sources are taken for points.
    area : ndarray, shape (n_active,)
        Area, m²; NaN for a point.
    """

    radius: Array
    interval: Array
    area: Array

    @classmethod
    def of_points(cls, n: int) -> Extent:
        """Describe sources that are taken for points."""
        return cls(np.zeros(n), np.full((n, 2), np.nan), np.full(n, np.nan))

    @classmethod
    def of(
        cls,
        discs: Discs | None,
        ball: float | None,
        places: Array,
        radius: Array,
        interval: Array,
    ) -> Extent:
        """Describe the sources of a fit at places (m, 3), of a radius (m,), which may be zero.

        Or all of the radius of a ``ball``, m, where they are that.
        """
        n = len(places)
        if ball is not None:
            return cls(np.full(n, ball), np.full((n, 2), ball), np.full(n, np.nan))
        if discs is None:
            return cls.of_points(n)
        area = np.full(len(places), np.nan)
        for k in np.flatnonzero(radius):
            area[k] = discs.densities.of(np.r_[places[k], radius[k]]).area
        return cls(radius, interval, area)


def check_extent(extent: Any, positions: str) -> None:
    """Refuse an extent that is none.

    Parameters
    ----------
    extent : str | float
        The option of `VAEInverse`.
    positions : str
        That where sources are; on the grid they are points.

    Raises
    ------
    ValueError
        If it cannot be used.
    """
    low, high = 1e3 * SMALLEST, 1e3 * LARGEST
    number = isinstance(extent, Real) and not isinstance(extent, bool)
    named = isinstance(extent, str) and extent in ("learn", "point")
    if not named and not (number and low <= float(extent) <= high):
        raise ValueError(
            f"extent={extent!r} must be 'learn', 'point' or the radius of all sources, along the "
            f"cortex or of balls in a volume, from {low:g} to {high:g} mm."
        )
    if number and positions == "grid":
        raise ValueError(
            f"extent={extent!r} is for sources between the positions, and with positions='grid' "
            "they are points; use positions='free', or extent='point'."
        )


def discs_of(extent: Any, forward: mne.Forward, field: FieldOfRuns) -> Discs | None:
    """Give the discs of cortex that sources can be.

    Parameters
    ----------
    extent : str | float
        The option of `VAEInverse`.
    forward : mne.Forward
        The forward model.
    field : FieldOfRuns
        Its lead field as a function of place.

    Returns
    -------
    discs : Discs | None
        None where sources have the fields of points: because that is asked for, there is no fine
        surface, or they are balls.

    Raises
    ------
    ValueError
        If a radius is given and the surface is not fine.
    """
    if extent == "point" or ball_radius(extent, forward) is not None:
        return None
    cortex = cortex_of(forward)
    if cortex is None or cortex.spacing > COARSE:
        if extent == "learn":
            return None
        edges = "" if cortex is None else f" with edges of {1e3 * COARSE:g} mm or less"
        raise ValueError(
            f"extent={extent!r} is a radius along the cortex, and forward has no triangulated "
            f"surface{edges}; use extent='point', or another source space."
        )
    return Discs(cortex, field.fields, None if extent == "learn" else 1e-3 * float(extent))


def ball_radius(extent: Any, forward: mne.Forward) -> float | None:
    """Give the radius of the balls that sources are.

    Parameters
    ----------
    extent : str | float
        The option of `VAEInverse`.
    forward : mne.Forward
        The forward model.

    Returns
    -------
    radius : float | None
        In m; None where sources are something else.
    """
    volume = all(one["type"] == "vol" or "shape" in one for one in forward["src"])
    return 1e-3 * float(extent) if volume and not isinstance(extent, str) else None


def cover_of(
    forward: mne.Forward, discs: Discs | None, places: Array, extents: Array, nearest: Array
) -> Cover | None:
    """Tell which positions of the source space stand for each source in an estimate.

    Parameters
    ----------
    forward : mne.Forward
        The forward model.
    discs : Discs | None
        The discs that sources can be; None where those that are larger than a point are balls.
    places : ndarray, shape (n_active, 3)
        Places in head coordinates, m.
    extents : ndarray, shape (n_active,)
        Radii, m; zero for points.
    nearest : ndarray of int, shape (n_active,)
        The position that is nearest to each.

    Returns
    -------
    cover : Cover | None
        None where each has a single one. The moments of a disc are shared by area, along the
        normals of the positions, those of a ball evenly.
    """
    if not extents.any():
        return None
    if discs is None:
        return _cover_of_balls(forward, places, extents, nearest)
    every = active_positions(forward, np.arange(forward["nsource"]))
    rr, normals = forward["source_rr"], every.normals  # MNE's source spaces of a forward: head
    there = np.flatnonzero(np.isfinite(normals).all(1))
    tree = cKDTree(np.c_[rr, SIDE * normals][there])  # a fold's other side is far
    source, rows, share = [], [], []
    for k, (place, extent) in enumerate(zip(places, extents, strict=True)):
        if not extent:
            source.append([k])
            rows.append([nearest[k]])
            share.append(np.eye(3)[None])
            continue
        disc, cortex = discs.densities.of(np.r_[place, extent]), discs.cortex
        own = there[tree.query(np.c_[cortex.rr, SIDE * cortex.nn][disc.nodes])[1]]
        some, which = np.unique(own, return_inverse=True)
        part = np.bincount(which.ravel(), disc.even[0])
        source.append([k] * len(some))
        rows.append(some)
        share.append(part[:, None, None] * normals[some][:, :, None] * disc.direction)
    index = np.concatenate(rows).astype(np.int64)
    return Cover(
        source=np.concatenate(source).astype(np.int64),
        share=np.concatenate(share),
        positions=active_positions(forward, index),
    )


def _cover_of_balls(forward: mne.Forward, places: Array, radii: Array, nearest: Array) -> Cover:
    """Let the positions within each ball, and the nearest, share its moment evenly."""
    inside = cKDTree(forward["source_rr"]).query_ball_point(places, radii)
    rows = [np.union1d(own, k) for own, k in zip(inside, nearest, strict=True)]
    counts = np.array([len(own) for own in rows])
    source = np.repeat(np.arange(len(rows)), counts)
    return Cover(
        source=source,
        share=np.eye(3) / counts[source, None, None],
        positions=active_positions(forward, np.concatenate(rows).astype(np.int64)),
    )
