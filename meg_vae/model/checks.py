"""Checks of the arrays and options that enter the model, each with one clear message."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

NOISE_OPTIONS = ("learn", "per_channel", "anneal")
MIN_LOG_EVIDENCE = 13.0  # nats: noise shows a source in about 1 of 20 recordings


def check_option(name: str, value: object, allowed: tuple[object, ...]) -> None:
    """Refuse a value that is not among the allowed ones.

    Parameters
    ----------
    name : str
        Name of the argument.
    value : object
        What was given.
    allowed : tuple
        What may be given.

    Raises
    ------
    ValueError
        If the value is not allowed.
    """
    if value not in allowed:
        raise ValueError(
            f"{name}={value!r} is unknown; use one of {', '.join(map(repr, allowed))}."
        )


def check_noise_variance(value: float | str) -> None:
    """Refuse a noise variance that is neither positive nor one of the options.

    Parameters
    ----------
    value : float | str
        What was given.

    Raises
    ------
    ValueError
        If it is neither.
    """
    if isinstance(value, str):
        check_option("noise_variance", value, NOISE_OPTIONS)
    elif not (isinstance(value, Real) and np.isfinite(float(value)) and value > 0):
        raise ValueError(
            f"noise_variance={value!r} must be positive, or one of "
            f"{', '.join(map(repr, NOISE_OPTIONS))}."
        )


def check_positive(name: str, value: float) -> None:
    """Refuse a number that is not positive and finite.

    Parameters
    ----------
    name : str
        Name of the argument.
    value : float
        What was given.

    Raises
    ------
    ValueError
        If it is not.
    """
    if not (np.isfinite(value) and value > 0):
        raise ValueError(f"{name}={value!r} must be a positive number.")


def check_whole(name: str, value: Any, least: int = 1) -> None:
    """Raise ValueError unless a value is a whole number of ``least`` or more."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(f"{name}={value!r} must be a whole number, {least} or more.")


def check_evidence(value: Any) -> None:
    """Raise ValueError unless ``min_log_evidence`` is a number of nats, 0 or more."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) < np.inf:
        raise ValueError(f"min_log_evidence={value!r} must be a number of nats, 0 or more.")


def check_stretches(stretches: Sequence[int] | None, n_samples: int) -> None:
    """Refuse stretches of consecutive samples that are not all of the samples.

    Parameters
    ----------
    stretches : sequence of int | None
        Their lengths; None where the samples do not follow each other.
    n_samples : int
        Number of samples.

    Raises
    ------
    ValueError
        If one is empty or they do not add up.
    """
    if stretches is None:
        return
    if min(stretches, default=0) < 1 or sum(stretches) != n_samples:
        raise ValueError(
            f"stretches={list(stretches)!r} must be positive and add up to the {n_samples} samples."
        )


def check_noise_samples(n_noise: float, noise_variance: float | str) -> None:
    """Refuse a number of samples of noise that is none, or that the noise variance cannot use.

    Parameters
    ----------
    n_noise : float
        Samples that the covariance of the noise was estimated from; infinity where it is known.
    noise_variance : float | str
        Option of the noise variance.

    Raises
    ------
    ValueError
        If it is not positive, or the option is for noise that no covariance describes.
    """
    if not (isinstance(n_noise, Real) and n_noise > 0):
        raise ValueError(f"n_noise={n_noise!r} must be a number of samples, or infinity.")
    if np.isfinite(n_noise) and noise_variance in ("per_channel", "anneal"):
        raise ValueError(
            f"noise_variance={noise_variance!r} takes the noise for independent in each channel, "
            "so that no covariance was estimated; leave n_noise out, or use 'learn'."
        )


def check_data(X: ArrayLike, n_channels: int) -> NDArray[np.float64]:
    """Turn data into a finite float64 matrix that fits a dictionary.

    Parameters
    ----------
    X : array_like, shape (n_channels, n_samples)
        Data.
    n_channels : int
        Rows of the dictionary.

    Returns
    -------
    X : ndarray, shape (n_channels, n_samples)
        The data.

    Raises
    ------
    ValueError
        If the shape does not fit or an entry is not finite.
    """
    data = np.asarray(X, dtype=np.float64)
    if data.ndim != 2 or data.shape[0] != n_channels or data.shape[1] == 0:
        raise ValueError(
            f"X must have shape (n_channels, n_samples) with n_channels={n_channels} as in Phi, "
            f"got {data.shape}."
        )
    if not np.isfinite(data).all():
        raise ValueError("X has NaN or infinite entries; drop or interpolate them first.")
    return data


def check_swing(swing: ArrayLike) -> NDArray[np.float64]:
    """Refuse lengths by which a field may have moved that are none.

    Parameters
    ----------
    swing : array_like, shape (n_motion,)
        The lengths.

    Returns
    -------
    swing : ndarray, shape (n_motion,)
        The same.

    Raises
    ------
    ValueError
        If they are no list of positive numbers.
    """
    lengths = np.array(swing, dtype=np.float64)
    if lengths.ndim != 1 or not (np.isfinite(lengths) & (lengths > 0)).all():
        raise ValueError(
            f"swing={swing!r} must hold a positive length for each parameter of the motion; leave "
            "out those that are known."
        )
    return lengths


def check_share(name: str, value: Any) -> None:
    """Raise ValueError unless a value is a share, from 0 to less than 1."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) < 1:
        raise ValueError(f"{name}={value!r} must be a share from 0 to less than 1; 0.05 is 5 %.")
