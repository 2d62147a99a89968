"""Prior weights of the positions of a forward model, checked, in the order of its source space."""

from __future__ import annotations

from collections.abc import Sequence

import mne
import numpy as np
from mne.source_estimate import _BaseSourceEstimate
from numpy.typing import ArrayLike, NDArray

from meg_vae.model.weights import check_weights

Weights = ArrayLike | Sequence[ArrayLike] | mne.SourceEstimate | None


def position_weights(weights: Weights, forward: mne.Forward) -> NDArray[np.float64] | None:
    """Take weights as an array, one a source space, or a source estimate.

    Parameters
    ----------
    weights : array_like | list of array_like | SourceEstimate | None
        What was given.
    forward : mne.Forward
        The forward model.

    Returns
    -------
    weights : ndarray, shape (n_positions,) | None
        In nats, −inf where a position is excluded; None where none were given.

    Raises
    ------
    ValueError
        If they are not for these positions, of several times, or no log odds.
    """
    if weights is None:
        return None
    vertices = [one["vertno"] for one in forward["src"]]
    if isinstance(weights, _BaseSourceEstimate):
        weights = _of_estimate(weights, vertices, forward["src"]._subject)
    elif isinstance(weights, (list, tuple)) and any(np.ndim(one) for one in weights):
        weights = _of_spaces(weights, vertices)
    return check_weights(weights, sum(map(len, vertices)))


def _of_estimate(
    stc: mne.SourceEstimate, vertices: list[NDArray[np.int64]], subject: str | None
) -> NDArray[np.float64]:
    """Take the values of an estimate of one time at these vertices."""
    if None not in (subject, stc.subject) and subject != stc.subject:
        raise ValueError(
            f"weights is of subject {stc.subject!r}, and forward of {subject!r}; morph it "
            "(mne.compute_source_morph)."
        )
    if stc.data.ndim != 2 or stc.data.shape[1] != 1:
        kind = "vectors" if stc.data.ndim > 2 else f"{stc.data.shape[1]} times"
        raise ValueError(
            f"weights is an estimate of {kind}, and a position has one weight; give its mean over "
            "time (stc.mean()), or one time of it."
        )
    if len(stc.vertices) != len(vertices) or not all(
        np.array_equal(one, other) for one, other in zip(stc.vertices, vertices, strict=True)
    ):
        raise ValueError(
            f"weights is an estimate at {len(stc.data)} vertices, and they are not the "
            f'{sum(map(len, vertices))} of forward["src"]; take its values there.'
        )
    values: NDArray[np.float64] = stc.data[:, 0]
    return values


def _of_spaces(
    weights: Sequence[ArrayLike], vertices: list[NDArray[np.int64]]
) -> NDArray[np.float64]:
    """Join the weights of the source spaces."""
    given, wanted = [np.shape(one) for one in weights], [(len(one),) for one in vertices]
    if given != wanted:
        raise ValueError(
            f"weights are arrays of shapes {given}, and the source spaces of forward have "
            f"{[len(one) for one in vertices]} positions; give an array for each."
        )
    return np.concatenate([np.asarray(one) for one in weights])


def check_same_positions(weights: NDArray[np.float64] | None, n_positions: int) -> None:
    """Refuse a forward model of other positions than the weights of a fit.

    Parameters
    ----------
    weights : ndarray, shape (n_positions,) | None
        Weights of the fit, if any.
    n_positions : int
        Positions of the forward model.

    Raises
    ------
    ValueError
        If there are more or fewer.
    """
    if weights is not None and len(weights) != n_positions:
        raise ValueError(
            f"forward has {n_positions} positions, and the weights of the fit are of "
            f"{len(weights)}; give the forward of the fit."
        )
