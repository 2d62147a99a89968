"""Time courses of exactly known correlation."""

from __future__ import annotations

import numpy as np


def correlate(time_courses: np.ndarray, correlation: float) -> np.ndarray:
    """Mix time courses so that any two of them have the same given correlation.

    With W the time courses, G their covariance and R = (1 − ρ)I + ρ11ᵀ, they become
    R^½ G^−½ W: of all that have correlation ρ, those are the closest to W when ρ = 0 (Löwdin 1950).

    Parameters
    ----------
    time_courses : array, shape (n_sources, n_times)
        Linearly independent time courses.
    correlation : float
        Pearson's correlation ρ, from 0 to below 1.

    Returns
    -------
    mixed : array, shape (n_sources, n_times)
        Largest magnitude of each 1; zero wherever all of them were.

    Raises
    ------
    ValueError
        If the time courses are not linearly independent.
    """
    n_sources = len(time_courses)
    if n_sources == 0:
        return time_courses
    values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(time_courses)))
    if values[0] <= 1e-10 * values[-1]:
        raise ValueError(
            f"{n_sources} time courses of {time_courses.shape[1]} samples are not linearly "
            "independent, so no correlation can be set; use fewer sources or a longer window."
        )
    decorrelated = vectors / np.sqrt(values) @ vectors.T @ time_courses
    wanted = (1 - correlation) * np.eye(n_sources) + correlation
    values, vectors = np.linalg.eigh(wanted)
    mixed = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T @ decorrelated
    return mixed / np.abs(mixed).max(axis=1, keepdims=True)
