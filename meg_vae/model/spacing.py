"""How far places of a grid lie apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree


def typical_spacing(places: NDArray[np.float64]) -> float:
    """Give the typical distance from a place to its nearest neighbour.

    Parameters
    ----------
    places : ndarray, shape (n_places, n_dimensions)
        The places.

    Returns
    -------
    spacing : float
        The median, in the unit of the places; 0 for a single place, or most of them twice.
    """
    if len(places) < 2:
        return 0.0
    return float(np.median(cKDTree(places).query(places, 2)[0][:, 1]))


def apart(places: NDArray[np.float64], distance: float) -> NDArray[np.int64]:
    """Choose places that are farther apart than a distance, taken greedily in order.

    Parameters
    ----------
    places : ndarray, shape (n_places, n_dimensions)
        The places.
    distance : float
        In their unit.

    Returns
    -------
    chosen : ndarray of int, shape (n_chosen,)
        Which of them.
    """
    tree, free, chosen = cKDTree(places), np.ones(len(places), bool), []
    for k in range(len(places)):
        if free[k]:
            chosen.append(k)
            free[tree.query_ball_point(places[k], distance)] = False
    return np.array(chosen, dtype=np.int64)
