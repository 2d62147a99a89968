"""The table of sources: where each is, how strong, and what speaks for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mne
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import chi2

from meg_vae.meg.estimates import HEMISPHERES, Positions
from meg_vae.meg.extent import Extent
from meg_vae.meg.spans import Spans

COLUMNS = [
    "hemi",
    "vertno",
    "x_mm",
    "y_mm",
    "z_mm",
    "label",
    "peak_nAm",
    "peak_s",
    "sd_nAm",
    "log_evidence",
    "radius_mm",
    "extent_mm",
    "extent_low_mm",
    "extent_high_mm",
    "density_pAm_mm2",
    "on_wall",
    "cluster",
    "onset_s",
    "onset_low_s",
    "onset_high_s",
    "offset_s",
    "offset_low_s",
    "offset_high_s",
]
RADIUS = chi2.ppf(0.95, 3) ** 0.5  # standard deviations to the 95 % ellipsoid of a place

Spread = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True)
class Strength:
    """How strong each source is.

    Attributes
    ----------
    amplitude : ndarray, shape (n_active,)
        In A·m: at its peak in time, or its standard deviation where there is no time.
    time : ndarray, shape (n_active,)
        When the peak is, in s; NaN where there is no time.
    sd : ndarray, shape (n_active,)
        Posterior standard deviation of the amplitude, A·m.
    """

    amplitude: NDArray[np.float64]
    time: NDArray[np.float64]
    sd: NDArray[np.float64]


def peak_strength(U: NDArray[np.float64], times: NDArray[np.float64], spread: Spread) -> Strength:
    """Measure sources at their peaks in time.

    Parameters
    ----------
    U : ndarray, shape (n_active, n_orient, n_times)
        Activity in A·m.
    times : ndarray, shape (n_times,)
        Times in s.
    spread : callable
        ``spread(axis)`` gives the standard deviation along an axis of each source, shape
        (n_active, n_times), in A·m.

    Returns
    -------
    strength : Strength
        Along the direction at the peak.
    """
    course, axis, peak = main_axis(U)
    rows = np.arange(len(U))
    return Strength(course[rows, peak], times[peak], spread(axis)[rows, peak])


def power_strength(power: NDArray[np.float64], spread: NDArray[np.float64]) -> Strength:
    """Measure sources by their power.

    Parameters
    ----------
    power : ndarray, shape (n_active, n_orient, n_orient)
        Covariance of the dipoles of each source, (A·m)².
    spread : ndarray, shape (n_active, n_orient, n_orient)
        Covariance of their error in (A·m)².

    Returns
    -------
    strength : Strength
        Along the direction of the largest power: the standard deviation of the amplitude, without
        a time.
    """
    value, axes = np.linalg.eigh(power)
    axis = axes[..., -1]
    return Strength(
        amplitude=np.sqrt(np.maximum(value[..., -1], 0.0)),
        time=np.full(len(power), np.nan),
        sd=np.sqrt(np.einsum("ga,gab,gb->g", axis, spread, axis)),
    )


def strongest(runs: list[Strength]) -> Strength:
    """Take each source in the run in which it is strongest.

    Parameters
    ----------
    runs : list of Strength
        How strong the sources are in each run.

    Returns
    -------
    strength : Strength
        Of each source in that run.
    """
    amplitude, time, sd = (
        np.array([getattr(one, name) for one in runs]) for name in ("amplitude", "time", "sd")
    )
    rows = np.abs(amplitude).argmax(0), np.arange(amplitude.shape[1])
    return Strength(amplitude[rows], time[rows], sd[rows])


def main_axis(
    U: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Project the activity of each source on its direction at the peak.

    Parameters
    ----------
    U : ndarray, shape (n_active, n_orient, n_times)
        Activity in A·m.

    Returns
    -------
    course : ndarray, shape (n_active, n_times)
        Signed time course; positive at its peak where the orientation is free.
    axis : ndarray, shape (n_active, n_orient)
        The direction.
    peak : ndarray of int, shape (n_active,)
        Index of the peak.
    """
    peak = np.square(U).sum(1).argmax(1) if len(U) else np.zeros(0, dtype=int)
    axis = np.ones((len(U), 1))
    if U.shape[1] > 1:
        moment = np.take_along_axis(U, peak[:, None, None], 2)[..., 0]
        size = np.linalg.norm(moment, axis=1, keepdims=True)
        axis = moment / np.where(size > 0, size, 1.0)
    return np.einsum("ga,gat->gt", axis, U), axis, peak


def source_table(
    positions: Positions,
    strength: Strength,
    log_evidence: NDArray[np.float64],
    labels: list[str],
    place_covariance: NDArray[np.float64],
    extent: Extent,
    on_wall: NDArray[np.bool_],
    cluster: NDArray[np.int64],
    spans: Spans,
) -> pd.DataFrame:
    """List the sources.

    Parameters
    ----------
    positions : Positions
        Where they are.
    strength : Strength
        How strong they are.
    log_evidence : ndarray, shape (n_active,)
        In nats.
    labels : list of str
        Name of the region of each.
    place_covariance : ndarray, shape (n_active, 3, 3)
        Covariance of their places, m²; NaN where places are given.
    extent : Extent
        How large they are.
    on_wall : ndarray of bool, shape (n_active,)
        Whether a place is held by the wall around the source space.
    cluster : ndarray of int, shape (n_active,)
        Number of the sources that cannot be told apart.
    spans : Spans
        When they are active.

    Returns
    -------
    table : pandas.DataFrame
        Columns ``hemi, vertno, x_mm, y_mm, z_mm, label, peak_nAm, peak_s, sd_nAm, log_evidence,
        radius_mm, extent_mm, extent_low_mm, extent_high_mm, density_pAm_mm2, on_wall, cluster,
        onset_s, onset_low_s, onset_high_s, offset_s, offset_low_s, offset_high_s``.
    """
    unknown = ~np.isfinite(place_covariance).all((1, 2))
    safe = np.where(unknown[:, None, None], 0.0, place_covariance)
    longest = np.sqrt(np.linalg.eigvalsh(safe)[:, -1].clip(0)) if len(safe) else np.zeros(0)
    x, y, z = 1e3 * positions.rr_mri.T
    values = [
        [positions.names[k] for k in positions.space],
        positions.vertno,
        x,
        y,
        z,
        labels,
        1e9 * strength.amplitude,
        strength.time,
        1e9 * strength.sd,
        log_evidence,
        np.where(unknown, np.nan, 1e3 * RADIUS * longest),
        1e3 * extent.radius,
        *1e3 * extent.interval.T,
        1e6 * np.abs(strength.amplitude) / extent.area,  # pA·m in an A·m, mm² in an m²
        on_wall,
        cluster,
        spans.onset,
        *spans.onset_interval.T,
        spans.offset,
        *spans.offset_interval.T,
    ]
    return pd.DataFrame(dict(zip(COLUMNS, values, strict=True)))


def ellipsoid_table(places: pd.DataFrame, covariance_mm2: NDArray[np.float64]) -> pd.DataFrame:
    """Describe places as `meg_vae.viz.plot_cortex` draws their 95 % ellipsoids.

    Parameters
    ----------
    places : pandas.DataFrame
        ``hemi, x_mm, y_mm, z_mm``.
    covariance_mm2 : ndarray, shape (n_places, 3, 3)
        Covariance of each in mm², along the same axes.

    Returns
    -------
    ellipsoids : pandas.DataFrame
        A row per place that is known, with ``cov_xx, cov_xy, cov_xz, cov_yy, cov_yz, cov_zz``.
    """
    table = places[["hemi", "x_mm", "y_mm", "z_mm"]].copy()
    for i, j in zip(*np.triu_indices(3), strict=True):
        table[f"cov_{'xyz'[i]}{'xyz'[j]}"] = covariance_mm2[:, i, j]
    return table.dropna().reset_index(drop=True)


def region_names(
    positions: Positions, subject: str | None, subjects_dir: str | None, parc: str = "aparc"
) -> list[str]:
    """Name the region of each position: from an annotation of the cortex, or its segment.

    Parameters
    ----------
    positions : Positions
        Where the sources are.
    subject : str | None
        Subject whose annotation to read; None takes the source space's own.
    subjects_dir : path-like | None
        FreeSurfer folder; None takes MNE's setting.
    parc : str
        Name of the annotation.

    Returns
    -------
    names : list of str
        Empty strings where there is no annotation or no region.
    """
    hemispheres = tuple(HEMISPHERES.values())
    own = [positions.names[k] for k in positions.space]
    names = ["" if one in hemispheres or one.startswith("space ") else one for one in own]
    subject = subject or positions.subject
    subjects_dir = mne.utils.get_subjects_dir(subjects_dir, raise_error=False)
    if subject is None or subjects_dir is None or not set(own) & set(hemispheres):
        return names
    folder = Path(subjects_dir) / subject / "label"
    if not all((folder / f"{hemi}.{parc}.annot").is_file() for hemi in hemispheres):
        return names
    for label in mne.read_labels_from_annot(
        subject, parc, subjects_dir=subjects_dir, verbose="error"
    ):
        inside = (np.array(own) == label.hemi) & np.isin(positions.vertno, label.vertices)
        for k in np.flatnonzero(inside):
            names[k] = label.name
    return names
