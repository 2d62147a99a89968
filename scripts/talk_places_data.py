"""Spikes on a line, seen through a smooth kernel, and the measure of what was found of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

APART = 0.08  # smallest distance between two sources, of the line
DECADES = 1  # over which the norms of the rows are spread
SEEN = 0.1  # of the smallest true row: what is weaker is not counted
EXACT = 0.02  # of the kernel's width: places this near are right


@dataclass(frozen=True)
class Line:
    """Data of spikes on a line of length 1.

    Attributes
    ----------
    width : float
        Standard deviation of the kernel that the channels see them through.
    places : ndarray, shape (m,)
        Where they are.
    U : ndarray, shape (m, n)
        Their activity.
    X : ndarray, shape (d, n)
        Data.
    """

    width: float
    places: np.ndarray
    U: np.ndarray
    X: np.ndarray

    def field(self, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Give bumps of unit norm at places, and their derivatives.

        Parameters
        ----------
        r : ndarray, shape (m, 1)
            Places.

        Returns
        -------
        values, gradient : ndarray, shape (m, d, 1) and (m, d, 1, 1)
            As `SlidingVAE` asks for them.
        """
        t = np.linspace(0, 1, len(self.X))
        away = (t - r) / self.width
        bump = np.exp(-(away**2) / 2)
        slope = bump * away / self.width
        size = np.linalg.norm(bump, axis=1, keepdims=True)
        unit = bump / size
        slope = (slope - unit * (unit * slope).sum(1, keepdims=True)) / size
        return unit[:, :, None], slope[:, :, None, None]


def make_line(width: float, n_sources: int, n_channels: int, n_samples: int, *, seed: int) -> Line:
    """Draw spikes at least `APART` from each other, without noise, of mean power 1.

    Parameters
    ----------
    width : float
        Of the kernel, relative to the line.
    n_sources, n_channels, n_samples : int
        Sizes.
    seed : int
        Seed.

    Returns
    -------
    line : Line
        The problem.

    Raises
    ------
    ValueError
        If the sources do not fit on the line.
    """
    rng = np.random.default_rng(seed)
    slack = 0.9 - APART * (n_sources - 1)
    if slack <= 0:
        raise ValueError(f"{n_sources} sources do not fit on the line {APART} apart")
    places = 0.05 + np.sort(rng.uniform(0, slack, n_sources)) + APART * np.arange(n_sources)
    U = rng.standard_normal((n_sources, n_samples))
    norms = 10.0 ** rng.permutation(np.linspace(0, DECADES, n_sources))
    U *= (norms / np.linalg.norm(U, axis=1))[:, None]
    line = Line(width, places, U, np.zeros((n_channels, n_samples)))
    X = line.field(places[:, None])[0][:, :, 0].T @ U
    scale = np.sqrt(np.mean(X**2))
    return Line(width, places, U / scale, X / scale)


def score(line: Line, places: np.ndarray, U: np.ndarray) -> tuple[int, float, bool]:
    """Count what was found, and measure its places; sources at one place count as one.

    Parameters
    ----------
    line : Line
        The problem.
    places : ndarray, shape (m,)
        Places found.
    U : ndarray, shape (m, n)
        Activity there.

    Returns
    -------
    n_found : int
        Sources that are not too weak to count.
    error : float
        Largest distance between a true place and the one found for it, in widths.
    recovered : bool
        Whether all places are right and there is none beside.
    """
    order = places.argsort()
    group = np.concatenate([[0], np.cumsum(np.diff(places[order]) > EXACT * line.width)])
    n = int(group[-1]) + 1 if len(places) else 0
    rows, middle = np.zeros((n, U.shape[1])), np.zeros(n)
    for g in range(n):
        own = order[group == g]
        power = np.square(U[own]).sum(1) + 1e-300
        rows[g], middle[g] = U[own].sum(0), power @ places[own] / power.sum()
    smallest = np.linalg.norm(line.U, axis=1).min()
    seen = middle[np.linalg.norm(rows, axis=1) > SEEN * smallest]
    if len(seen) < len(line.places):
        return len(seen), np.inf, False
    distance = np.abs(line.places[:, None] - seen) / line.width
    error = float(distance[linear_sum_assignment(distance)].max())
    return len(seen), error, len(seen) == len(line.places) and error < EXACT
