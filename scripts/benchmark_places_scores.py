"""Scores of one recording: how near the sources are found, how many, and how sure."""

from __future__ import annotations

import time
import warnings

import mne
import numpy as np
import pandas as pd
from benchmark_places_heads import CONDITIONS, Recorded, head, recorded
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from scipy.stats import chi2

from meg_vae import VAEInverse

FALSE = 0.010  # m: a source farther than that from every true one is false
REACH = 0.015  # m, half the least distance of two true sources: a source nearer is that one
LOST = 0.050  # m: the error of a true source that is not found, and the largest that counts
INSIDE_PLACE, INSIDE_LINE = chi2.ppf(0.95, 3), 1.959964  # of the 95 % ellipsoid and interval


def row_of(name: str, condition: str, seed: int, exact: bool = False) -> dict:
    """Fit one recording on the grid and at free places, and score both."""
    case = recorded(name, CONDITIONS[condition], seed)
    grid, grid_seconds = fitted(name, case.evoked, positions="grid")
    free, free_seconds = fitted(name, case.evoked, exact)
    row = {
        "head": name,
        "condition": condition,
        "seed": seed,
        "n_true": len(case.truth),
        "n_grid": len(grid.sources_),
        "n_free": len(free.sources_),
        "false_grid": n_false(grid, case),
        "false_free": n_false(free, case),
        "grid_error_mm": listed(1e3 * errors(grid, case)),
        "free_error_mm": listed(1e3 * errors(free, case)),
    }
    return row | sureness(free, case) | particulars(free, case, grid_seconds, free_seconds)


def fitted(
    name: str, evoked: mne.Evoked, exact: bool = False, **options: str
) -> tuple[VAEInverse, float]:
    """Fit and time it."""
    here = head(name)
    how = {"bem": here.bem, "trans": here.trans} if exact else {}
    inverse = VAEInverse(verbose="error", **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # no source, or a vague field: in the table
        since = time.perf_counter()
        inverse.fit(evoked, here.forward, here.noise_cov, **how)
    return inverse, time.perf_counter() - since


def n_false(inverse: VAEInverse, case: Recorded) -> int:
    """Count the sources that are far from every true one."""
    found = inverse.filter_.positions.rr_head
    if not len(case.rr):
        return len(found)
    return int((cdist(found, case.rr).min(1) > FALSE).sum()) if len(found) else 0


def pairs(inverse: VAEInverse, case: Recorded) -> list[tuple[int, int, float]]:
    """Pair sources with true ones, one to one: triples of source, true source and distance (m)."""
    found = inverse.filter_.positions.rr_head
    if not (len(found) and len(case.rr)):
        return []
    gaps = cdist(found, case.rr)
    chosen = zip(*linear_sum_assignment(np.minimum(gaps, LOST)), strict=True)
    return [(int(i), int(k), float(gaps[i, k])) for i, k in chosen]


def errors(inverse: VAEInverse, case: Recorded) -> np.ndarray:
    """Distance of each true source from the source paired with it, m."""
    out = np.full(len(case.rr), LOST)
    for _, k, gap in pairs(inverse, case):
        out[k] = min(gap, LOST)
    return out


def sureness(inverse: VAEInverse, case: Recorded) -> dict:
    """How often ellipsoids and intervals hold the truth; the null takes another source's.

    ``squared_distance`` is that of a place from the truth in its own covariance; in the null the
    covariance, and the true time course, are those of the next source of the recording.
    """
    near = [(i, k) for i, k, gap in pairs(inverse, case) if gap <= REACH]
    i, k = np.array(near, dtype=int).reshape(-1, 2).T
    off = inverse.filter_.positions.rr_head[i] - case.rr[k]
    covariance = inverse.position_covariance_[i]
    several = len(i) > 1
    null = squared(off, np.roll(covariance, 1, 0)) if several else np.zeros(0)
    course, sd = amplitudes(inverse, case, i, k)
    true = np.array([dipole.amplitude for dipole in case.truth]).reshape(-1, len(case.evoked.times))
    after = case.evoked.times > 0
    held = np.abs(course - true[k]) <= INSIDE_LINE * sd
    wrong = np.abs(course - np.roll(true[k], 1, 0)) <= INSIDE_LINE * sd
    peak = np.abs(course).argmax(1)
    return {
        "n_paired": len(i),
        "squared_distance": listed(squared(off, covariance)),
        "squared_distance_null": listed(null),
        "radius_mm": listed(inverse.sources_["radius_mm"].to_numpy()[i]),
        "amplitude_held": listed(held[:, after].mean(1)),
        "amplitude_held_null": listed(wrong[:, after].mean(1) if several else []),
        "peak_held": listed(np.take_along_axis(held, peak[:, None], 1)[:, 0]),
    }


def squared(off: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Squared distances in covariances."""
    return np.einsum("mi,mi->m", off, np.linalg.solve(covariance, off[..., None])[..., 0])


def amplitudes(
    inverse: VAEInverse, case: Recorded, i: np.ndarray, k: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Time courses of sources i along the orientations of true sources k, and their deviations."""
    filter_ = inverse.filter_
    axes = filter_.positions.axes
    along = np.zeros(axes.shape[:2])
    along[:, 0] = 1.0  # of sources that are paired with none
    if len(k):
        along[i] = np.einsum("gak,gk->ga", axes[i], np.array([case.truth[t].ori[0] for t in k]))
    data = filter_.data(case.evoked)
    course = np.einsum("ga,gat->gt", along, filter_.sources(data))
    return course[i], filter_.spread(data, case.evoked.nave, along)[i]


def particulars(free: VAEInverse, case: Recorded, grid_seconds: float, seconds: float) -> dict:
    """What helps to understand a score, and the time of both fits."""
    return {
        "log_evidence": listed(free.sources_["log_evidence"]),
        "on_wall": int(free.sources_["on_wall"].sum()),
        "field_error": listed(free.field_error_),
        "true_depth_mm": listed(1e3 * case.depth),
        "growth": free.growth_,
        "noise_variance": float(np.mean(free.noise_variance_)),
        "grid_seconds": grid_seconds,
        "free_seconds": seconds,
    }


def listed(values: object) -> str:
    """Several numbers in one cell of a table."""
    return " ".join(f"{float(value):.4g}" for value in values)


def numbers(cells: pd.Series) -> np.ndarray:
    """All numbers in a column of such cells."""
    return np.array([float(word) for cell in cells.dropna() for word in str(cell).split()])


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """A row per head and condition."""
    groups = table.groupby(["head", "condition"], sort=False)
    return pd.DataFrame([summary_row(*key, part) for key, part in groups])


def summary_row(name: str, condition: str, part: pd.DataFrame) -> dict:
    """Scores of all recordings of a head and a condition; shares are between 0 and 1."""
    free, grid = numbers(part["free_error_mm"]), numbers(part["grid_error_mm"])
    return {
        "head": name,
        "condition": condition,
        "n": len(part),
        "n_sources": len(free),
        "mean_error_mm": mean(free),
        "median_error_mm": mean(free, np.median),
        "grid_mean_error_mm": mean(grid),
        "grid_median_error_mm": mean(grid, np.median),
        "right_number": (part["n_free"] == part["n_true"]).mean(),
        "grid_right_number": (part["n_grid"] == part["n_true"]).mean(),
        "false_sources": part["false_free"].mean(),
        "grid_false_sources": part["false_grid"].mean(),
        "n_paired": int(part["n_paired"].sum()),
        "place_coverage": mean(numbers(part["squared_distance"]) <= INSIDE_PLACE),
        "place_coverage_null": mean(numbers(part["squared_distance_null"]) <= INSIDE_PLACE),
        "amplitude_coverage": mean(numbers(part["amplitude_held"])),
        "amplitude_coverage_null": mean(numbers(part["amplitude_held_null"])),
        "peak_coverage": mean(numbers(part["peak_held"])),
        "median_radius_mm": mean(numbers(part["radius_mm"]), np.median),
        "on_wall": int(part["on_wall"].sum()),
        "grid_seconds": part["grid_seconds"].median(),
        "free_seconds": part["free_seconds"].median(),
    }


def coverage(table: pd.DataFrame) -> pd.DataFrame:
    """How often ellipsoids and intervals held the truth, with 95 % bootstrap intervals.

    Recordings of one head and seed share places and noise across levels, so that seeds are drawn
    again, all conditions of a seed together.
    """
    table = table[table["n_true"] > 0]
    shares = {
        "place": ("squared_distance", lambda z: z <= INSIDE_PLACE),
        "amplitude": ("amplitude_held", None),
        "peak": ("peak_held", None),
    }
    rows = []
    for name, part in [("all", table), *table.groupby("head", sort=False)]:
        row = {"head": name, "seeds": part.groupby(["head", "seed"]).ngroups}
        for share, (column, held) in shares.items():
            sums = seed_sums(part, column, held)
            low, high = redrawn(sums)
            value = sums["held"].sum() / sums["n"].sum()
            row |= {"sources": int(sums["n"].sum()), share: value}
            row |= {f"{share}_low": low, f"{share}_high": high}
        rows.append(row)
    return pd.DataFrame(rows)


def seed_sums(part: pd.DataFrame, column: str, held: object) -> pd.DataFrame:
    """Sum of what was held, and of sources, of each head and seed."""
    cells = [numbers(cells) for _, cells in part.groupby(["head", "seed"])[column]]
    keys = [key[0] for key, _ in part.groupby(["head", "seed"])]
    inside = [(held(cell) if held else cell).sum() for cell in cells]
    return pd.DataFrame({"head": keys, "held": inside, "n": [len(cell) for cell in cells]})


def redrawn(sums: pd.DataFrame, n_draws: int = 2000) -> np.ndarray:
    """Middle 95 % of the share when the seeds of each head are drawn again."""
    rng = np.random.default_rng(0)
    total = np.zeros((n_draws, 2))
    for _, own in sums.groupby("head"):
        values = own[["held", "n"]].to_numpy(float)
        total += values[rng.integers(0, len(values), (n_draws, len(values)))].sum(1)
    return np.quantile(total[:, 0] / total[:, 1], [0.025, 0.975])


def mean(values: np.ndarray, of: object = np.mean) -> float:
    """Mean or median, NaN of nothing."""
    return float(of(values)) if len(values) else np.nan
