"""Maps as a whole: how well they rank the places, and how far their weight is from the truth."""

from __future__ import annotations

import mne
import numpy as np
import ot
from mne.simulation.metrics import region_localization_error, roc_auc_score
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from sklearn.metrics import average_precision_score

from meg_vae.comparison.metrics.case import Scored
from meg_vae.comparison.metrics.pairing import MISSING_MM


def true_places(scored: Scored) -> NDArray[np.bool_]:
    """Tell which positions of the source space are true: those of a patch, or near to a point.

    Parameters
    ----------
    scored : Scored
        The estimate and the truth.

    Returns
    -------
    true : ndarray of bool, shape (n_positions,)
        Those within the extent of a patch, or within the radius of a point; the nearest position of
        each source is always among them.
    """
    truth, distance = scored.truth, cdist(scored.source_rr, scored.truth.places)
    reach = np.where(truth.extents > 0, truth.extents, truth.radius)
    true: NDArray[np.bool_] = (distance <= reach).any(axis=1)
    true[distance.argmin(axis=0)] = True
    return true


def _one_sample(values: NDArray[np.float64]) -> mne.SourceEstimate:
    """Put one value per position in an estimate, its vertices being just their numbers."""
    return mne.SourceEstimate(values[:, None], [np.arange(len(values)), np.zeros(0, int)], 0, 1)


def roc_auc(scored: Scored) -> float:
    """Area under the receiver operating characteristic of the positions, by MNE.

    Parameters
    ----------
    scored : Scored
        The estimate and the truth.

    Returns
    -------
    area : float
        From 0 to 1; ½ for an empty estimate, all of whose positions tie.
    """
    true = _one_sample(true_places(scored).astype(float))
    return float(roc_auc_score(true, _one_sample(scored.everywhere), per_sample=False))


def average_precision(scored: Scored) -> float:
    """Area under the precision-recall curve of the positions, by scikit-learn.

    Parameters
    ----------
    scored : Scored
        The estimate and the truth.

    Returns
    -------
    area : float
        From 0 to 1; the share of true positions for an empty estimate.
    """
    return float(average_precision_score(true_places(scored), scored.everywhere))


def region_error(scored: Scored) -> float:
    """Region localization error, by MNE; of a map, its mean over thresholds, in mm.

    Parameters
    ----------
    scored : Scored
        The estimate and the truth.

    Returns
    -------
    error : float
        Mean of the distances from true to found positions and back; 100 mm if nothing is found.
    """
    nearest = cdist(scored.source_rr, scored.truth.places).argmin(axis=0)
    at_truth = np.zeros(len(scored.source_rr))
    at_truth[nearest] = 1.0
    src = [{"rr": scored.source_rr}, {"rr": scored.source_rr[:0]}]
    errors = [
        region_localization_error(
            _one_sample(at_truth), _one_sample(scored.everywhere), src, f"{100 * share:g}%", False
        )
        for share in scored.thresholds
    ]
    return float(np.minimum(errors, MISSING_MM).mean())


def spatial_dispersion(scored: Scored) -> float:
    """Root mean square distance of the power to the nearest true source, in mm.

    √(Σ d² ‖u‖² / Σ ‖u‖²) over positions.

    Parameters
    ----------
    scored : Scored
        The estimate and the truth.

    Returns
    -------
    dispersion : float
        At least 0 mm; 100 mm for an empty estimate.
    """
    power = np.square(scored.strength)
    if not power.any():
        return MISSING_MM
    distance = cdist(scored.found_rr, scored.truth.places).min(axis=1)
    return float(np.sqrt(np.average(np.square(distance), weights=power)))


def earth_movers_distance(scored: Scored) -> float:
    """Work it takes to carry the estimate onto the truth, both of total weight 1, in mm, by POT.

    Weights are root mean squares over time, those of patches shared evenly by the positions that
    they fill; they are carried in straight lines, and no way counts as longer than 100 mm.

    Parameters
    ----------
    scored : Scored
        The estimate and the truth.

    Returns
    -------
    distance : float
        From 0 to 100 mm; 100 mm for an empty estimate.
    """
    truth, weight = scored.truth, scored.strength
    if not weight.any():
        return MISSING_MM
    rr = scored.source_rr
    strength = np.array([np.sqrt(np.square(one).mean()) for one in truth.courses])
    found, places = _spread(scored.found_rr, weight, scored.extents_mm, rr)
    true, goals = _spread(truth.places, strength, truth.extents_mm, rr)
    cost = np.minimum(cdist(places, goals), MISSING_MM)
    return float(ot.emd2(found, true, cost, numItermax=1_000_000))


def _spread(
    places: NDArray[np.float64],
    weight: NDArray[np.float64],
    extents: NDArray[np.float64] | None,
    rr: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Share weights of patches by the positions (n, 3) that they fill; weights of sum 1, places."""
    some = np.flatnonzero(weight)
    if extents is None or not extents.any():
        return weight[some] / weight.sum(), places[some]
    parts, where = [], []
    for k in some:
        near = rr[np.linalg.norm(rr - places[k], axis=1) <= extents[k]]
        own = near if len(near) else places[[k]]
        parts.append(np.full(len(own), weight[k] / len(own)))
        where.append(own)
    total = np.concatenate(parts)
    return total / total.sum(), np.concatenate(where)
