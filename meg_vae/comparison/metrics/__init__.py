"""Scores of an estimate: what each means, what it needs, and what finding nothing scores.

One table, `METRICS`, holds them all; `score` applies those that can be applied. A map is scored at
its local maxima, over thresholds from 10 to 90 % of its largest value; a sparse estimate at all of
its positions, because it has chosen them. Only the score is told how many sources there are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from meg_vae.comparison.metrics import fit, maps, sources
from meg_vae.comparison.metrics.case import Scored, Truth
from meg_vae.comparison.metrics.cost import Cost
from meg_vae.comparison.metrics.pairing import (
    HIT_MM,
    MISSING_MM,
    active,
    match,
    peak_radius,
    peaks,
    positions_of,
)

__all__ = [
    "HIT_MM",
    "METRICS",
    "MISSING_MM",
    "Cost",
    "Metric",
    "Scored",
    "Truth",
    "active",
    "match",
    "peak_radius",
    "peaks",
    "positions_of",
    "score",
]


@dataclass(frozen=True)
class Metric:
    """A score.

    Attributes
    ----------
    name : str
        Its name in `METRICS` and its column in tables.
    title : str
        Its name in figures, with its unit.
    better : "higher" | "lower" | ""
        Which end is good, if one is.
    worst : float
        What a run that failed counts as; for scores against the truth this is what an empty
        estimate scores.
    needs : "truth" | "extents" | "field" | "peaks" | "run"
        What it can be computed of: true sources, at least one; these, and sources that can be
        larger than a point; an estimate in A·m; any true sources, possibly none; or the run itself.
    reference : str
        Where it was defined.
    compute : callable | None
        ``compute(scored)`` gives the value; None for the cost of the run.
    """

    name: str
    title: str
    better: str
    worst: float
    needs: str
    reference: str
    compute: Callable[[Scored], float] | None


_NAN = float("nan")
_MOLINS = "Molins, Stufflebeam, Brown & Hämäläinen (2008), NeuroImage 42:1069"
_SNODGRASS = "Snodgrass & Corwin (1988), J. Exp. Psychol. Gen. 117:34"

_ALL = (
    Metric(
        "localization_error_mm",
        "Localization error (mm)",
        "lower",
        MISSING_MM,
        "truth",
        "Optimal assignment: Kuhn (1955), Naval Res. Logist. Q. 2:83",
        sources.localization_error,
    ),
    Metric(
        "hit_rate",
        "Hit rate",
        "higher",
        0.0,
        "truth",
        "Share of sources found; as in Darvas et al. (2004), NeuroImage 23:S289",
        sources.hit_rate,
    ),
    Metric(
        "false_positives",
        "False positives",
        "lower",
        0.0,
        "peaks",
        "Count of peaks without a source; as in Darvas et al. (2004), NeuroImage 23:S289",
        sources.false_positives,
    ),
    Metric(
        "f1",
        "F1 of sources",
        "higher",
        0.0,
        "truth",
        "Van Rijsbergen (1979), Information Retrieval, Butterworths",
        sources.f1,
    ),
    Metric("a_prime", "A′", "higher", 0.5, "truth", _SNODGRASS, sources.a_prime),
    Metric(
        "aggregate_performance",
        "Aggregate performance",
        "higher",
        0.25,
        "truth",
        "After Owen et al. (2012), NeuroImage 60:305, with misses counted as correlation 0",
        sources.aggregate_performance,
    ),
    Metric(
        "extent_error_mm",
        "Extent error (mm)",
        "lower",
        _NAN,
        "extents",
        "Difference of the radii along the cortex",
        sources.extent_error,
    ),
    Metric(
        "roc_auc",
        "ROC-AUC",
        "higher",
        0.5,
        "truth",
        "mne.simulation.metrics.roc_auc_score",
        maps.roc_auc,
    ),
    Metric(
        "average_precision",
        "Average precision",
        "higher",
        0.0,
        "truth",
        "sklearn.metrics.average_precision_score",
        maps.average_precision,
    ),
    Metric(
        "region_error_mm",
        "Region localization error (mm)",
        "lower",
        MISSING_MM,
        "truth",
        "mne.simulation.metrics.region_localization_error",
        maps.region_error,
    ),
    Metric(
        "dispersion_mm",
        "Spatial dispersion (mm)",
        "lower",
        MISSING_MM,
        "truth",
        _MOLINS,
        maps.spatial_dispersion,
    ),
    Metric(
        "emd_mm",
        "Earth mover's distance (mm)",
        "lower",
        MISSING_MM,
        "truth",
        "Haufe et al. (2008), NeuroImage 42:726; by POT: Flamary et al. (2021), JMLR 22:78",
        maps.earth_movers_distance,
    ),
    Metric(
        "explained_variance",
        "Explained variance (%)",
        "",
        0.0,
        "field",
        "Share of the whitened power",
        fit.explained_variance,
    ),
    Metric(
        "residual_whiteness",
        "Residual whiteness",
        "",
        _NAN,
        "field",
        "Johnstone (2001), Ann. Stat. 29:295",
        fit.residual_whiteness,
    ),
    Metric("seconds", "Time (s)", "lower", _NAN, "run", "Wall-clock time", None),
    Metric(
        "cpu_seconds", "Processor time (s)", "lower", _NAN, "run", "Of all threads together", None
    ),
    Metric("memory_mb", "Peak memory (MB)", "lower", _NAN, "run", "Resident set, by psutil", None),
)

#: The scores by name, in the order of tables.
METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}


def score(scored: Scored) -> dict[str, float]:
    """Apply every metric that can be applied.

    Parameters
    ----------
    scored : Scored
        The estimate, the data and the truth.

    Returns
    -------
    scores : dict of float
        Values by name; those that do not apply are left out.
    """
    known = scored.truth is not None and len(scored.truth.places) > 0
    can = {
        "truth": known,
        "extents": known and scored.extents_mm is not None,
        "peaks": scored.truth is not None,
        "field": scored.field is not None,
        "run": False,
    }
    return {
        name: metric.compute(scored)
        for name, metric in METRICS.items()
        if can[metric.needs] and metric.compute is not None
    }
