"""What a fit finds: the sources, in the order of the table, and what speaks for them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from meg_vae.meg.extent import Extent
from meg_vae.meg.filter import SourceFilter
from meg_vae.meg.registration import AS_GIVEN, Registration

if TYPE_CHECKING:
    from meg_vae.model.noise import Noise


@dataclass(frozen=True)
class Localization:
    """What was found.

    ``filters``, one of each run; ``noise_variance`` λ; ``energy`` J, ``history`` and
    ``certificate`` of the minimum on the grid; ``log_evidence`` of the whole model, ``n_effective``
    samples, ``noises`` as they were learnt, one of each run; per source ``evidence`` (nats),
    ``cluster`` (its number), ``extent`` (how large it is), ``place_covariance`` (m²),
    ``field_covariance`` (its part from the lead field's error), ``on_wall``, ``spans`` (samples
    from the first in which it is active to the one behind the last), ``active`` (in each response),
    ``response_evidence`` (what each says for that, nats), ``field_error``
    (relative error of the lead field) and ``weight`` (nats, in no evidence). ``growth`` and
    ``stationarity`` are NaN on the grid. ``registration``, where the sensors were found to be.
    """

    filters: list[SourceFilter]
    noise_variance: Any
    energy: float
    history: NDArray[np.float64]
    certificate: float
    log_evidence: float
    n_effective: float
    noises: list[Noise]
    evidence: NDArray[np.float64]
    cluster: NDArray[np.int64]
    place_covariance: NDArray[np.float64]
    field_covariance: NDArray[np.float64]
    extent: Extent
    on_wall: NDArray[np.bool_]
    spans: NDArray[np.float64]
    active: NDArray[np.bool_]
    response_evidence: NDArray[np.float64]
    field_error: NDArray[np.float64]
    weight: NDArray[np.float64]
    growth: float = np.nan
    stationarity: float = np.nan
    registration: Registration = AS_GIVEN


def unbiased(filter_: SourceFilter, noise: Noise) -> SourceFilter:
    """Whiten by the covariance whose inverse is unbiased, to which the noise variance refers.

    Parameters
    ----------
    filter_ : SourceFilter
        Of the covariance as it was given.
    noise : Noise
        What is known of it.

    Returns
    -------
    filter_ : SourceFilter
        With a whitener that is smaller the fewer the samples behind the covariance are.
    """
    size = noise.inflation(len(filter_.whitener)) ** 0.5
    return replace(filter_, whitener=filter_.whitener / size)


def renumbered(cluster: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count clusters in the order of their first member.

    Parameters
    ----------
    cluster : ndarray of int, shape (n_sources,)
        A number for each, alike within a cluster.

    Returns
    -------
    cluster : ndarray of int, shape (n_sources,)
        From 0 on.
    """
    return pd.factorize(cluster)[0]
