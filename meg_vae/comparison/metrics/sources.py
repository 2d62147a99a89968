"""Sources found and missed: errors, hits, false positives, and time courses."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from meg_vae.comparison.metrics import pairing as p
from meg_vae.comparison.metrics.case import Scored


def _top(scored: Scored) -> NDArray[np.float64]:
    """Distance of each true source to its own peak, of as many strongest ones as it has."""
    true = scored.truth.places
    rows = scored.peak_rows[: len(true)]
    return p.match(true, scored.found_rr[rows])


def localization_error(scored: Scored) -> float:
    """Average the distance between true sources and as many strongest peaks, paired, in mm.

    Parameters
    ----------
    scored : Scored
        The estimate and the truth.

    Returns
    -------
    error : float
        From 0 to 100 mm, which is the error of a source without a peak.
    """
    return float(_top(scored).mean())


def hit_rate(scored: Scored) -> float:
    """Compute the share of true sources whose peak, of as many strongest, is within the radius.

    Parameters
    ----------
    scored : Scored
        The estimate and the truth.

    Returns
    -------
    rate : float
        From 0 to 1.
    """
    return float((_top(scored) <= scored.truth.radius).mean())


def extent_error(scored: Scored) -> float:
    """Average how much larger or smaller found sources are than the true ones they are paired with.

    Parameters
    ----------
    scored : Scored
        The estimate and the truth.

    Returns
    -------
    error : float
        Mean over the true sources that are found, in mm of the radius; not a number where none is.
    """
    truth, rows = scored.truth, scored.peak_rows[: len(scored.truth.places)]
    hit, by = pairs(truth.places, scored.found_rr[rows], truth.radius)
    if not len(hit):
        return float("nan")
    return float(np.abs(scored.extents_mm[rows[by]] - truth.extents[hit]).mean())


def pairs(
    true: NDArray[np.float64], found: NDArray[np.float64], radius: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pair as many true and found places as lie within a radius, each once.

    Parameters
    ----------
    true, found : ndarray, shape (n, 3)
        Places in mm.
    radius : float
        In mm.

    Returns
    -------
    rows, columns : ndarray of int, shape (n_hits,)
        The true places that are found, and what found them.
    """
    distance = cdist(true, found)
    cost = np.where(distance <= radius, distance / (1 + radius), len(true) + 1.0)
    rows, columns = linear_sum_assignment(cost)
    near = distance[rows, columns] <= radius
    return rows[near], columns[near]


def _counts(scored: Scored) -> NDArray[np.float64]:
    """Hits, peaks and sum of correlations at each threshold, shape (n_thresholds, 3)."""
    truth, counts = scored.truth, []
    for share in scored.thresholds:
        found = scored.peaks_above(share)
        rows, columns = pairs(truth.places, scored.found_rr[found], truth.radius)
        fit = sum(
            correlation(truth.courses[i], scored.activity[found[j]])
            for i, j in zip(rows, columns, strict=True)
        )
        counts.append((len(rows), len(found), fit))
    return np.array(counts, float)


def correlation(course: NDArray[np.float64], estimated: NDArray[np.float64]) -> float:
    """Correlate a true time course with an estimated one, whose sign is not known.

    Parameters
    ----------
    course : ndarray, shape (n_times,)
        The true one.
    estimated : ndarray, shape (n_times,) or (3, n_times)
        An amplitude, or a vector, which counts along its main direction.

    Returns
    -------
    correlation : float
        Magnitude of Pearson's correlation, 0 where one of them is constant or lengths differ.
    """
    if estimated.ndim == 2:
        direction = np.linalg.svd(estimated, full_matrices=False)[0][:, 0]
        estimated = direction @ estimated
    if len(course) != len(estimated) or len(course) < 2:
        return 0.0
    one, other = course - course.mean(), estimated - estimated.mean()
    size = np.linalg.norm(one) * np.linalg.norm(other)
    return float(abs(one @ other) / size) if size > 0 else 0.0


def false_positives(scored: Scored) -> float:
    """Count peaks that find no source within the radius; of a map, the mean over thresholds.

    Parameters
    ----------
    scored : Scored
        The estimate and the truth.

    Returns
    -------
    count : float
        At least 0.
    """
    hits, found, _ = _counts(scored).T
    return float((found - hits).mean())


def f1(scored: Scored) -> float:
    """Compute F1 of sources, 2 hits / (true + found); of a map, the mean over thresholds.

    Parameters
    ----------
    scored : Scored
        The estimate and the truth.

    Returns
    -------
    f1 : float
        From 0 to 1.
    """
    hits, found, _ = _counts(scored).T
    return float((2 * hits / (len(scored.truth.places) + found)).mean())


def area(hits: NDArray[np.float64], false: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute A′ of Pollack and Norman, in the form of Snodgrass and Corwin.

    ½ + (H − F)(1 + H − F) / (4 H (1 − F)) where H ≥ F, and its mirror image below.

    Parameters
    ----------
    hits, false : ndarray
        Rates of hits and of false alarms, from 0 to 1.

    Returns
    -------
    area : ndarray
        From 0 to 1; ½ is chance.
    """
    high, low = np.maximum(hits, false), np.minimum(hits, false)
    size = 4 * high * (1 - low)
    half = np.where(size > 0, (high - low) * (1 + high - low) / np.where(size > 0, size, 1), 0)
    return 0.5 + np.sign(hits - false) * half


def _rates(scored: Scored) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Rates of hits and false alarms, and mean correlation over true sources."""
    hits, found, fit = _counts(scored).T
    n_true = len(scored.truth.places)
    most = max(scored.n_places - n_true, 1)
    return hits / n_true, np.minimum((found - hits) / most, 1.0), fit / n_true


def a_prime(scored: Scored) -> float:
    """Compute A′ of the sources; of a map, the mean over thresholds.

    Parameters
    ----------
    scored : Scored
        The estimate and the truth.

    Returns
    -------
    area : float
        From 0 to 1; ½ for an empty estimate.
    """
    hits, false, _ = _rates(scored)
    return float(area(hits, false).mean())


def aggregate_performance(scored: Scored) -> float:
    """Average A′ and the correlation of time courses, in which a missed source counts 0.

    Parameters
    ----------
    scored : Scored
        The estimate and the truth.

    Returns
    -------
    performance : float
        From 0 to 1; ¼ for an empty estimate.
    """
    hits, false, fit = _rates(scored)
    return float((area(hits, false) + fit).mean() / 2)
