"""What a bootstrap tells of each source: how often it is found, where, and how strong."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mne
import numpy as np
import pandas as pd
from joblib import Parallel
from mne.utils import ProgressBar
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from meg_vae.meg.filter import SourceFilter
from meg_vae.meg.table import RADIUS, main_axis

if TYPE_CHECKING:
    from meg_vae.meg.fitted import FittedInverse
    from meg_vae.model.noise import Noise

COLUMNS = [
    "probability",
    "x_mm",
    "y_mm",
    "z_mm",
    "semi_1_mm",
    "semi_2_mm",
    "semi_3_mm",
    "amplitude_nAm",
    "amplitude_sd_nAm",
]
CHUNK = 10  # samples in one task of a process
REACH_MM = 30.0  # farthest that a sample's source is still taken for the same as the fit's


def learnt_noises(inverse: FittedInverse) -> list[Noise]:
    """Give the noise of each run as a fit learnt it."""
    import torch

    from meg_vae.model.in_time import LONGEST
    from meg_vae.model.noise import Noise

    r = np.zeros((len(inverse.noise_samples_), LONGEST))
    known = inverse.noise_autocorrelation_
    r[:, : known.shape[1]] = known
    samples = inverse.noise_samples_.tolist()
    return [Noise(n, torch.as_tensor(own)) for n, own in zip(samples, r, strict=True)]


def tasks_of(n_bootstrap: int) -> list[slice]:
    """Divide the samples into tasks of a process."""
    return [slice(k, k + CHUNK) for k in range(0, n_bootstrap, CHUNK)]


def fitted_samples(work: Iterable[Any], n_tasks: int, n_jobs: int | None) -> list[Any]:
    """Do delayed tasks, which give what they find in each of their samples, with a progress bar."""
    found: list[Any] = []
    bar = ProgressBar(n_tasks, mesg="Bootstrap")
    for part in Parallel(n_jobs=n_jobs, return_as="generator", mmap_mode="c")(work):
        found += part
        bar.update_with_increment_value(1)
    return found


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """The sources of a fit, sought again in averages of resampled epochs.

    Attributes
    ----------
    sources : pandas.DataFrame
        A row per source of the fit, in its order: ``hemi, vertno, label``, the share of samples
        in which it was found (``probability``), the mean of where (``x_mm, y_mm, z_mm``, MRI
        surface RAS), the semi-axes of the 95 % ellipsoid (``semi_1_mm, semi_2_mm, semi_3_mm``,
        longest first), and mean and standard deviation of the amplitude along the fit's direction
        at the fit's peak (``amplitude_nAm, amplitude_sd_nAm``). NaN where it was never found.
    covariance_mm2 : ndarray, shape (n_sources, 3, 3)
        Covariance of the position in mm².
    selection_probability : SourceEstimate
        For every position the share of samples in which it is among the sources, or the nearest to
        one of them; of the class that matches the source space, with one time point.
    n_bootstrap : int
        Number of samples.
    n_positions : int
        Positions at which the samples were fitted: on the grid the few that the pilots chose, all
        where places are free.
    missed_log_evidence : ndarray, shape (n_checked,)
        The most log evidence, in nats, that any other position could have added; on the grid for a
        random part of the samples.
    """

    sources: pd.DataFrame
    covariance_mm2: NDArray[np.float64]
    selection_probability: mne.SourceEstimate
    n_bootstrap: int
    n_positions: int
    missed_log_evidence: NDArray[np.float64]

    def ellipsoids(self) -> pd.DataFrame:
        """Give what `meg_vae.viz.plot_cortex` draws as 95 % ellipsoids.

        Returns
        -------
        ellipsoids : pandas.DataFrame
            A row per source that was found: ``hemi``, the mean position ``x_mm, y_mm, z_mm`` and
            its covariance ``cov_xx, cov_xy, cov_xz, cov_yy, cov_yz, cov_zz`` in mm².
        """
        table = self.sources[["hemi", "x_mm", "y_mm", "z_mm"]].copy()
        for i, j in zip(*np.triu_indices(3), strict=True):
            table[f"cov_{'xyz'[i]}{'xyz'[j]}"] = self.covariance_mm2[:, i, j]
        return table[table["x_mm"].notna()].reset_index(drop=True)


def follow_sources(
    sources: pd.DataFrame,
    rr_mm: NDArray[np.float64],
    axis: NDArray[np.float64],
    replicates: list[tuple[NDArray[np.float64], NDArray[np.float64]]],
    beside: NDArray[np.float64],
) -> tuple[pd.DataFrame, NDArray[np.float64]]:
    """Follow each source of a fit through the samples.

    Parameters
    ----------
    sources : pandas.DataFrame
        The sources of the fit.
    rr_mm : ndarray, shape (n_sources, 3)
        Their places, MRI surface RAS, mm.
    axis : ndarray, shape (n_sources, 3)
        Their directions in head coordinates, along which amplitudes are measured.
    replicates : list of (ndarray, shape (n_found, 3), ndarray, shape (n_found, 3, n_sources))
        Of each sample the places of its sources, and their moments in head coordinates (A·m) at the
        peak of each source of the fit.
    beside : ndarray, shape (n_sources, 3, 3)
        Covariance in mm² that the samples do not show: of a place within the cell of its position,
        or from the error of the lead field.

    Returns
    -------
    table : pandas.DataFrame
        As `Bootstrap.sources`.
    covariance : ndarray, shape (n_sources, 3, 3)
        Of the position in mm².
    """
    where = [[] for _ in rr_mm]
    amplitude = [[] for _ in rr_mm]
    for places, moments in replicates:
        for j, k in _pairs(rr_mm, places):
            where[j].append(places[k])
            amplitude[j].append(1e9 * axis[j] @ moments[k, :, j])
    covariance = np.full((len(rr_mm), 3, 3), np.nan)
    rows = []
    for j in range(len(rr_mm)):
        row = dict.fromkeys(COLUMNS, np.nan)
        row["probability"] = len(where[j]) / len(replicates)
        if where[j]:
            mean = np.mean(where[j], axis=0)
            offset = np.asarray(where[j]) - mean
            covariance[j] = offset.T @ offset / len(where[j]) + beside[j]
            row.update(zip(("x_mm", "y_mm", "z_mm"), mean, strict=True))
            variance = np.linalg.eigvalsh(covariance[j])[::-1]
            semi = RADIUS * np.sqrt(variance.clip(0))
            row.update(zip(("semi_1_mm", "semi_2_mm", "semi_3_mm"), semi, strict=True))
            row["amplitude_nAm"] = np.mean(amplitude[j])
            row["amplitude_sd_nAm"] = np.std(amplitude[j])
        rows.append(row)
    table = sources[["hemi", "vertno", "label"]].join(pd.DataFrame(rows, columns=COLUMNS))
    return table, covariance


def directions(
    filter_: SourceFilter, U: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Give the direction of each source at its peak, and when that is.

    Parameters
    ----------
    filter_ : SourceFilter
        The filter of the fit.
    U : ndarray, shape (n_sources, n_orient, n_times)
        Activity of its sources, A·m.

    Returns
    -------
    axis : ndarray, shape (n_sources, 3)
        Unit vectors in head coordinates.
    peak : ndarray of int, shape (n_sources,)
        Index of the peak.
    """
    peak = main_axis(U)[2]
    moment = np.take_along_axis(U, peak[:, None, None], 2)[..., 0]
    axis = np.einsum("gak,ga->gk", filter_.positions.axes, moment)
    size = np.linalg.norm(axis, axis=1, keepdims=True)
    return axis / np.where(size > 0, size, 1.0), peak


def _pairs(sources: NDArray[np.float64], found: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Pair the fit's sources with a sample's, one to one, nearest together and within reach."""
    distance = cdist(sources, found)
    pairs = zip(*linear_sum_assignment(np.minimum(distance, 10 * REACH_MM)), strict=True)
    return [(int(j), int(k)) for j, k in pairs if distance[j, k] <= REACH_MM]
