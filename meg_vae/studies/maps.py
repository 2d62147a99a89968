"""Maps of where subjects have sources, on fsaverage, and where they differ."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import mne
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from meg_vae.studies.space import average_surfaces

if TYPE_CHECKING:
    import pandas as pd

    from meg_vae.studies.plan import Plan

SPACING = "ico4"  # 2,562 positions in each hemisphere
LEAST_VARIANCE = 1e-3  # of the largest over all positions ("hat" of MNE)
FAR = 4.0  # standard deviations, beyond which a source is nowhere


class Study(Protocol):
    """What maps are made of: `meg_vae.studies.result.Study` has it."""

    plan: Plan
    recordings: pd.DataFrame
    sources: pd.DataFrame


def occurrence(
    study: Study, condition: str | None, *, sigma_mm: float, each: bool
) -> mne.SourceEstimate:
    """Map the share of subjects with a source nearby, as `Study.occurrence` says."""
    maps = _maps(study, condition, sigma_mm)
    data = maps.T if each else maps.sum(0)[:, None] / max(len(maps), 1)
    return _estimate(study, data)


def cluster_test(
    study: Study,
    first: str,
    second: str,
    *,
    sigma_mm: float,
    threshold: float | None,
    n_permutations: int,
    random_state: int,
) -> tuple[mne.SourceEstimate, list[tuple[NDArray[np.int64], float]]]:
    """Test where two conditions or groups differ, as `Study.cluster_test` says."""
    src = average_positions(study.plan)[1]
    options: dict[str, Any] = {
        "threshold": threshold,
        "n_permutations": n_permutations,
        "adjacency": mne.spatial_src_adjacency(src, verbose="error"),
        "seed": random_state,
        "out_type": "indices",
        "buffer_size": None,  # the least variance is that of all positions
        "verbose": "error",
    }
    groups = _fitted(study)["group"].to_numpy(object)
    conditions = study.plan.conditions
    if first != second and {first, second} <= set(conditions):
        gap = _maps(study, first, sigma_mm) - _maps(study, second, sigma_mm)
        found = mne.stats.permutation_cluster_1samp_test(gap, stat_fun=_t, **options)
    elif first != second and {first, second} <= set(groups):
        maps = _maps(study, None, sigma_mm)
        parts = [maps[groups == name] for name in (first, second)]
        found = mne.stats.permutation_cluster_test(parts, stat_fun=_F, **options)
    else:
        known = ", ".join([*conditions, *dict.fromkeys(one for one in groups if one is not None)])
        raise ValueError(
            f"first={first!r} and second={second!r} must be two conditions or two groups of this "
            f"study: {known}."
        )
    values, clusters, p, _ = found
    return _estimate(study, values[:, None]), [
        (cluster[0], float(own)) for cluster, own in zip(clusters, p, strict=True)
    ]


def _t(gap: NDArray[np.float64]) -> NDArray[np.float64]:
    """Student's t, its variance kept off zero where no subject, or every one, has a source."""
    t: NDArray[np.float64] = mne.stats.ttest_1samp_no_p(gap, sigma=LEAST_VARIANCE)
    return np.nan_to_num(t)


def _F(*maps: NDArray[np.float64]) -> NDArray[np.float64]:  # noqa: N802 (the statistic's name)
    """F over groups; where no subject has a source, nothing differs."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.nan_to_num(mne.stats.f_oneway(*maps), posinf=0.0)


def _fitted(study: Study) -> Any:
    """Give the rows of the subjects that could be fitted."""
    return study.recordings[study.recordings["status"] == "ok"].reset_index(drop=True)


def _maps(study: Study, condition: str | None, sigma_mm: float) -> NDArray[np.float64]:
    """Map of each subject, (n_subjects, n_vertices): 1 at a source, falling off as a normal."""
    if not sigma_mm > 0:
        raise ValueError(f"sigma_mm={sigma_mm!r} must be a number of mm above 0.")
    conditions = study.plan.conditions
    if condition is not None and condition not in conditions:
        raise ValueError(
            f"condition={condition!r} is none of this study's: {', '.join(conditions)}."
        )
    src = average_positions(study.plan)[1]
    rr = 1e3 * np.concatenate([one["rr"][one["vertno"]] for one in src])
    tree, maps = cKDTree(rr), []
    for subject in _fitted(study)["subject"]:
        own = study.sources[study.sources["subject"] == subject] if len(study.sources) else []
        if condition is not None and len(own):
            own = own[own[f"active_{condition}"].astype(bool)]
        missing = np.ones(len(rr))
        places = own[["fs_x_mm", "fs_y_mm", "fs_z_mm"]].to_numpy(float) if len(own) else []
        for place in places:
            near = tree.query_ball_point(place, FAR * sigma_mm)
            gap = np.square(tree.data[near] - place).sum(1)
            missing[near] *= 1 - np.exp(-gap / (2 * sigma_mm**2))
        maps.append(1 - missing)
    return np.array(maps).reshape(-1, len(rr))


def _estimate(study: Study, data: NDArray[np.float64]) -> mne.SourceEstimate:
    """Put values at the positions on fsaverage."""
    subject, src = average_positions(study.plan)
    vertices = [one["vertno"] for one in src]
    return mne.SourceEstimate(data, vertices, tmin=0.0, tstep=1.0, subject=subject)


def average_positions(plan: Plan) -> tuple[str, mne.SourceSpaces]:
    """Give fsaverage's name, and the positions on it that maps have."""
    return _positions(*average_surfaces(plan.subjects_dir))


@lru_cache(maxsize=2)
def _positions(subject: str, folder: Path) -> tuple[str, mne.SourceSpaces]:
    """Lay positions on fsaverage's white surface."""
    options = {"subjects_dir": folder, "add_dist": False, "verbose": "error"}
    return subject, mne.setup_source_space(subject, SPACING, **options)
