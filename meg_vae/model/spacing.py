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
