"""Where an estimate has its peaks, and how they pair with true sources.

All distances are in mm and Euclidean.
"""

from __future__ import annotations

import mne
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist, pdist

HIT_MM = 10.0  # a source found within this distance is a hit
MISSING_MM = 100.0  # the error of a source that is not found, and the largest of one that is
PEAK_RADIUS_MM = 20.0  # a peak is the largest value within this distance
ACTIVE_SHARE = 0.01  # of its largest peak, below which a sparse method's position counts as zero


def positions_of(estimate: mne.SourceEstimate, forward: mne.Forward) -> NDArray[np.int64]:
    """Look up which positions of a forward model an estimate is about.

    Parameters
    ----------
    estimate : SourceEstimate
        An estimate of any class.
    forward : mne.Forward
        The forward model.

    Returns
    -------
    index : ndarray of int, shape (n_vertices,)
        Row of ``forward["source_rr"]`` for each row of the estimate.

    Raises
    ------
    ValueError
        If the estimate has a vertex that the forward model lacks.
    """
    known = [space["vertno"] for space in forward["src"]]
    first = np.cumsum([0] + [len(vertno) for vertno in known])
    index = []
    for start, vertno, wanted in zip(first, known, estimate.vertices, strict=False):
        if not np.isin(wanted, vertno).all():
            raise ValueError("estimate has vertices that the forward model lacks.")
        index.append(start + np.searchsorted(vertno, wanted))
    return np.concatenate(index).astype(np.int64)


def dipole_places(dipoles: list[mne.Dipole]) -> NDArray[np.float64]:
    """Give the places of dipoles, each at its largest amplitude.

    Parameters
    ----------
    dipoles : list of mne.Dipole
        The dipoles.

    Returns
    -------
    places : ndarray, shape (n_dipoles, 3)
        In m, head coordinates.
    """
    places = [one.pos[np.abs(one.amplitude).argmax()] for one in dipoles]
    return np.array(places, dtype=float).reshape(-1, 3)


def dipole_moments(dipoles: list[mne.Dipole], n_times: int) -> NDArray[np.float64]:
    """Give the moments of dipoles.

    Parameters
    ----------
    dipoles : list of mne.Dipole
        The dipoles.
    n_times : int
        Number of their samples.

    Returns
    -------
    moments : ndarray, shape (n_dipoles, 3, n_times)
        In A·m, head coordinates.
    """
    moments = [(one.amplitude[:, None] * one.ori).T for one in dipoles]
    return np.array(moments, dtype=float).reshape(-1, 3, n_times)


def peak_magnitude(activity: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the largest magnitude over time of each source.

    Parameters
    ----------
    activity : ndarray, shape (n_found, n_times) or (n_found, 3, n_times)
        Amplitudes or vectors.

    Returns
    -------
    magnitude : ndarray, shape (n_found,)
        In the unit of the activity.
    """
    size = np.linalg.norm(activity, axis=1) if activity.ndim == 3 else np.abs(activity)
    return size.max(axis=1, initial=0.0)


def peaks(
    magnitude: NDArray[np.float64], points: NDArray[np.float64], n_peaks: int, radius: float
) -> NDArray[np.int64]:
    """Find the strongest peaks of a map or of a few positions.

    A peak is a position where the magnitude is above zero and that no stronger one is within
    ``radius`` of. Positions that share one source thus count once, and so do ripples of one hill.

    Parameters
    ----------
    magnitude : ndarray, shape (n_positions,)
        Magnitudes.
    points : ndarray, shape (n_positions, 3)
        Their places in mm.
    n_peaks : int
        How many are wanted.
    radius : float
        In mm.

    Returns
    -------
    index : ndarray of int, shape (n_found,)
        Rows of ``points``, strongest first; fewer than wanted if there are fewer.
    """
    order = np.argsort(-magnitude, kind="stable")
    order = order[magnitude[order] > 0]
    rank = np.full(len(magnitude), len(magnitude))
    rank[order] = np.arange(len(order))
    tree = cKDTree(points)
    found: list[int] = []
    for k in order:
        if len(found) == n_peaks:
            break
        if rank[tree.query_ball_point(points[k], radius)].min() == rank[k]:
            found.append(k)
    return np.array(found, dtype=np.int64)


def peak_radius(true: NDArray[np.float64]) -> float:
    """Choose the radius of a peak for some true sources.

    Parameters
    ----------
    true : ndarray, shape (n_true, 3)
        Places of the true sources in mm.

    Returns
    -------
    radius : float
        20 mm, or half the distance of the closest two true sources where that is less, in mm.
    """
    return float(min(PEAK_RADIUS_MM, pdist(true).min(initial=np.inf) / 2))


def match(true: NDArray[np.float64], found: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pair true sources with found ones so that the sum of the distances is least.

    A distance above 100 mm counts as 100 mm, and so does a true source that is left without a
    found one: to find nothing scores as badly as can be, and to find something never worse.

    Parameters
    ----------
    true : ndarray, shape (n_true, 3)
        Places of the true sources in mm.
    found : ndarray, shape (n_found, 3)
        Places of the found sources in mm.

    Returns
    -------
    distance : ndarray, shape (n_true,)
        Distance of each true source to its own found one in mm.
    """
    distance = np.full(len(true), MISSING_MM)
    cost = np.minimum(cdist(true, found), MISSING_MM)
    rows, columns = linear_sum_assignment(cost)
    distance[rows] = cost[rows, columns]
    return distance


def active(estimate: mne.SourceEstimate) -> NDArray[np.bool_]:
    """Tell which positions of a sparse estimate are active.

    Parameters
    ----------
    estimate : SourceEstimate
        Amplitudes or vectors.

    Returns
    -------
    active : ndarray of bool, shape (n_vertices,)
        Whether its largest magnitude is at least 1 % of the largest of all.
    """
    return counts(peak_magnitude(estimate.data))


def counts(magnitude: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which sources of a sparse estimate count.

    Parameters
    ----------
    magnitude : ndarray, shape (n_found,)
        As `peak_magnitude` gives it.

    Returns
    -------
    counts : ndarray of bool, shape (n_found,)
        Whether it is at least 1 % of the largest: some solvers stop before what shrinks is exactly
        zero.
    """
    return (magnitude > 0) & (magnitude >= ACTIVE_SHARE * magnitude.max(initial=0.0))
