r"""Time courses of sources, freed of what leaks from the others.

The posterior mean K x of sources with gains G along their axes is R u + noise, R = K G: each time
course holds some of the others', and less than all of its own. R⁻¹K gives each source its own
activity and none of the others'. That costs noise where two look alike, and R tells by how much.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from meg_vae.meg.filter import SourceFilter

Array = NDArray[np.float64]

FLAT = 0.2  # cosine to the normal below which that does not tell the sign of an axis
ALIKE = 1e-6  # of the largest singular value of R: sources that no channel tells apart


def source_axes(filter_: SourceFilter) -> Array:
    """Give the direction in which each source is strongest.

    Parameters
    ----------
    filter_ : SourceFilter
        The filter of a fit.

    Returns
    -------
    axis : ndarray, shape (n_active, n_orient)
        Unit vectors among the axes of the sources, out of the cortex; where there is no normal, or
        none that tells, with their largest component positive.
    """
    positions = filter_.positions
    axis: Array = np.linalg.eigh(filter_.prior)[1][:, :, -1]
    vector = np.einsum("ga,gak->gk", axis, positions.axes)
    along = np.einsum("gk,gk->g", vector, np.nan_to_num(positions.normals))
    largest = np.take_along_axis(vector, np.abs(vector).argmax(1)[:, None], 1)[:, 0]
    return axis * np.where(np.where(np.abs(along) > FLAT, along, largest) < 0, -1.0, 1.0)[:, None]


def resolution(filter_: SourceFilter) -> tuple[Array, Array]:
    """Give the posterior mean along the axes, and how it sees the sources.

    Parameters
    ----------
    filter_ : SourceFilter
        The filter of a fit.

    Returns
    -------
    K : ndarray, shape (n_active, n_channels)
        Sensor data to A·m.
    R : ndarray, shape (n_active, n_active)
        Part of the activity of each source (columns) in each estimate (rows).
    """
    axis = source_axes(filter_)
    m, o = axis.shape
    d = len(filter_.gain)
    K = np.einsum("ga,gad->gd", axis, filter_.inverse_map.reshape(m, o, d))
    G = np.einsum("dga,ga->dg", filter_.gain.reshape(d, m, o), axis)
    return K, K @ G


def unmixing(filter_: SourceFilter) -> Array:
    """Give the filter of the virtual channels, R⁻¹K.

    Parameters
    ----------
    filter_ : SourceFilter
        The filter of a fit.

    Returns
    -------
    W : ndarray, shape (n_active, n_channels)
        Sensor data to A·m.

    Raises
    ------
    ValueError
        If there is no source, or two of them look the same to the sensors.
    """
    if not len(filter_.positions.vertno):
        raise ValueError("this fit found no source, so there is no virtual channel to compute.")
    K, R = resolution(filter_)
    if not _regular(R):
        raise ValueError(
            "two sources of this fit look the same to the sensors, and their courses cannot be "
            "told apart; apply gives their joint estimate."
        )
    return np.linalg.solve(R, K)


def separable(filter_: SourceFilter) -> bool:
    """Tell whether there are sources, and the sensors tell them apart.

    Parameters
    ----------
    filter_ : SourceFilter
        The filter of a fit.

    Returns
    -------
    separable : bool
        Whether `unmixing` has an answer.
    """
    return _regular(resolution(filter_)[1])


def _regular(R: Array) -> bool:
    size = np.linalg.svd(R, compute_uv=False)
    return bool(len(size) and size[-1] > ALIKE * size[0])
