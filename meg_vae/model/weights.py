"""Prior weights of positions, in nats, and how far each counts."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

ALONE = 1.0  # nats of evidence that a source carries of its own, however large its weight


def check_weights(weights: ArrayLike, n_positions: int) -> NDArray[np.float64]:
    """Refuse weights that are no log prior odds of each position.

    Parameters
    ----------
    weights : array_like, shape (n_positions,)
        What was given.
    n_positions : int
        How many there should be.

    Returns
    -------
    weights : ndarray, shape (n_positions,)
        The weights in nats; −inf excludes a position.

    Raises
    ------
    ValueError
        If the shape does not fit, one is no number or +inf, or all are −inf.
    """
    given = np.asarray(weights)
    if given.dtype.kind not in "biuf":
        raise ValueError(f"weights must be real numbers of nats, got an array of {given.dtype}.")
    given = given.astype(np.float64)
    if given.shape != (n_positions,):
        size = f"{len(given)} entries" if given.ndim == 1 else f"shape {given.shape}"
        raise ValueError(
            f"weights has {size}, and there are {n_positions} positions; give one number of nats "
            "for each."
        )
    if np.isnan(given).any():
        raise ValueError(
            f"weights has NaN at {np.isnan(given).sum()} of {n_positions} positions; give 0 where "
            "there is no opinion, or -inf to exclude a position."
        )
    if (given == np.inf).any():
        raise ValueError(
            "weights has +inf, and no prior makes a source certain; give a finite number of nats."
        )
    if not np.isfinite(given).any():
        raise ValueError("weights is -inf at all positions, which leaves none; exclude fewer.")
    return given


def counted(
    weights: NDArray[np.float64] | None, least: float
) -> tuple[NDArray[np.float64] | None, float]:
    """Give the weights as they count where sources are judged, and the evidence then asked for.

    A source stays, and enters, when its log evidence and its weight together are ``least`` or more.
    A weight counts up to `ALONE` below that, so that none makes a source by itself. Weights that
    are all the same only shift what is asked for.

    Parameters
    ----------
    weights : ndarray, shape (n_positions,) | None
        Weights in nats, checked.
    least : float
        Log evidence asked for, in nats.

    Returns
    -------
    weights : ndarray, shape (n_positions,) | None
        As they count; None where all are the same.
    least : float
        Log evidence and weight asked for together.
    """
    if weights is None:
        return None, least
    own = np.minimum(weights, least - min(ALONE, least))
    if (own == own[0]).all():
        return None, float(least - own[0])
    return own, least
