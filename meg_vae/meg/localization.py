"""Two ways to localize whitened data: at positions of the grid, or at places of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mne
import numpy as np
import pandas as pd
from mne.utils import logger, warn
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from meg_vae.meg.data import FitData
from meg_vae.meg.estimates import free_positions
from meg_vae.meg.field import ContinuousField
from meg_vae.meg.filter import SourceFilter, source_filter
from meg_vae.meg.leadfield import LeadField, make_leadfield
from meg_vae.meg.orientation import check_free
from meg_vae.meg.table import RADIUS

VAGUE = 0.1  # relative error of the lead field at a source, from which on it is told


@dataclass(frozen=True)
class Localization:
    """What was found: the sources, in the order of the table, and what speaks for them.

    ``noise_variance`` λ; ``energy`` J, ``history`` and ``certificate`` of the minimum on the grid;
    ``log_evidence`` of the whole model, ``n_effective`` samples; per source ``evidence`` (nats),
    ``cluster`` (its number), ``place_covariance`` (m²), ``field_covariance`` (its part
    from the lead field's error), ``on_wall``, ``field_error`` (relative error of the lead field)
    and ``weight`` (nats, in no evidence). ``growth`` and ``stationarity`` are NaN on the grid.
    """

    filter: SourceFilter
    noise_variance: Any
    energy: float
    history: NDArray[np.float64]
    certificate: float
    log_evidence: float
    n_effective: float
    evidence: NDArray[np.float64]
    cluster: NDArray[np.int64]
    place_covariance: NDArray[np.float64]
    field_covariance: NDArray[np.float64]
    on_wall: NDArray[np.bool_]
    field_error: NDArray[np.float64]
    weight: NDArray[np.float64]
    growth: float = np.nan
    stationarity: float = np.nan


def on_grid(
    data: FitData,
    forward: mne.Forward,
    noise_cov: mne.Covariance,
    options: dict[str, Any],
    weights: NDArray[np.float64] | None = None,
) -> Localization:
    """Find the sources among the positions of a forward model."""
    from meg_vae.model.sparse_vae import SparseVAE

    leadfield = _whitened(data, forward, noise_cov, options["loose"], options["rank"])
    names = ("noise_variance", "orientation", "min_log_evidence", "tol", "max_iter")
    model = SparseVAE(leadfield.n_orient, **{name: options[name] for name in names}).fit(
        leadfield.Phi,
        data.whiten(leadfield),
        n_effective=data.n_independent,
        stretches=data.stretches,
        weights=weights,
    )
    active = model.active_
    own, joint = model.source_log_evidence_[active], model.cluster_log_evidence_[active]
    # Strongest cluster first, then its strongest source.
    order = np.lexsort((-own, model.cluster_[active], -joint))
    kept = source_filter(
        leadfield,
        model.active_dipoles_,
        model.inverse_map_,
        model.prior_covariance(),
        model.posterior_covariance(),
    )
    return Localization(
        filter=kept.ordered(order),
        noise_variance=model.noise_variance_,
        energy=model.energy_,
        history=model.history_,
        certificate=model.certificate_,
        log_evidence=model.log_evidence_,
        n_effective=model.n_effective_,
        evidence=joint[order],
        cluster=_renumbered(model.cluster_[active][order]),
        place_covariance=np.full((len(order), 3, 3), np.nan),
        field_covariance=np.full((len(order), 3, 3), np.nan),
        on_wall=np.zeros(len(order), bool),
        field_error=np.zeros(len(order)),
        weight=_largest(weights, active, model.cluster_[active])[order],
    )


def at_places(
    data: FitData,
    forward: mne.Forward,
    noise_cov: mne.Covariance,
    options: dict[str, Any],
    bem: Any,
    trans: Any,
    weights: NDArray[np.float64] | None = None,
) -> Localization:
    """Find the sources wherever they are, in and between the positions of a forward model."""
    from meg_vae.model.evidence import model_log_evidence
    from meg_vae.model.exact.dictionary import Dictionary
    from meg_vae.model.sliding_vae import SlidingVAE

    check_free(forward, options["loose"])
    leadfield = _whitened(data, forward, noise_cov, 1.0, options["rank"])
    field = ContinuousField(leadfield, data.info, bem, trans)
    names = ("noise_variance", "min_log_evidence", "tol", "max_iter")
    n = data.n_independent
    model = SlidingVAE(**{name: options[name] for name in names}).fit(
        field,
        leadfield.forward["source_rr"],
        data.whiten(leadfield),
        dictionary=Dictionary(leadfield.Phi, leadfield.n_orient),
        errors=None if field.is_exact else field.errors,
        confine=field.confine,
        n_effective=n,
        stretches=data.stretches,
        weights=weights,
    )
    error = field.relative_error(model.places_)
    _tell_of_errors(error)
    return Localization(
        filter=_place_filter(leadfield, field, model),
        noise_variance=model.noise_variance_,
        energy=model.energy_,
        history=model.history_,
        certificate=model.certificate_,
        log_evidence=model_log_evidence(
            model.energy_,
            n_channels=len(leadfield.Phi),
            n_effective=n,
            n_groups=leadfield.n_positions if weights is None else int(np.isfinite(weights).sum()),
            n_active=len(model.places_),
            n_free=9,  # place and prior
        ),
        n_effective=model.n_effective_,
        evidence=model.log_evidence_,
        cluster=_overlapping(model.places_, model.place_covariance_),
        place_covariance=model.place_covariance_,
        field_covariance=model.fit_.spread.field.numpy(),
        on_wall=model.fit_.on_wall.numpy(),
        field_error=error,
        weight=model.weights_,
        growth=model.growth_,
        stationarity=model.stationarity_,
    )


def _whitened(
    data: FitData, forward: mne.Forward, noise_cov: mne.Covariance, loose: Any, rank: Any
) -> LeadField:
    """Whiten the lead field for the data, and say what is fitted to what."""
    leadfield = make_leadfield(
        forward, data.info, noise_cov, nave=data.nave, loose=loose, rank=rank, data=data
    )
    n, rank = data.n_samples, len(leadfield.Phi)
    logger.info(f"Fitting {leadfield.n_positions} positions to {n} samples of rank {rank}")
    return leadfield


def _place_filter(leadfield: LeadField, field: ContinuousField, model: Any) -> SourceFilter:
    """Put a fit of whitened data in the units of the sensors and of the sources."""
    found, whitener = model.fit_, leadfield.whitener
    places = model.places_
    gain = field.gain(places)
    if not field.is_exact and len(places):
        gain = gain + field.moved(places, found.shift.numpy())
    factors = found.factors.numpy()
    return SourceFilter(
        inverse_map=(found.inverse_map.numpy() @ whitener).reshape(-1, whitener.shape[1]),
        gain=np.moveaxis(gain, 0, 1).reshape(whitener.shape[1], -1),
        whitener=whitener,
        prior=factors @ factors.swapaxes(1, 2),
        covariance=found.spread.activity.numpy(),
        modes=found.spread.modes.numpy() @ whitener,
        sensors=leadfield.sensors,
        nave=leadfield.nave,
        positions=free_positions(leadfield.forward, places, field.nearest(places)),
    )


def _tell_of_errors(error: NDArray[np.float64]) -> None:
    """Warn once where the lead field is known badly at a source."""
    vague = error >= VAGUE
    if vague.any():
        warn(
            f"at {vague.sum()} of {len(error)} sources the lead field between the positions of "
            f"forward is known to {error.max():.0%} only (near the inner skull, most often); the "
            "estimate allows for it. Give bem and trans, or a finer BEM, to know it better."
        )


def _largest(
    weights: NDArray[np.float64] | None, active: NDArray[np.bool_], cluster: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Give the largest weight in the cluster of each source on the grid, by which it is judged."""
    if weights is None:
        return np.zeros(len(cluster))
    return pd.Series(weights[active]).groupby(cluster).transform("max").to_numpy(np.float64)


def _renumbered(cluster: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count clusters in the order of their first member."""
    return pd.factorize(cluster)[0]


def _overlapping(places: NDArray[np.float64], covariance: NDArray[np.float64]) -> NDArray[np.int64]:
    """Count the sources, those alike whose 95 % ellipsoid of the difference holds no difference."""
    apart = places[:, None] - places
    both = covariance[:, None] + covariance
    squared = np.einsum("ijk,ijk->ij", apart, np.linalg.solve(both, apart[..., None])[..., 0])
    return _renumbered(connected_components(squared < RADIUS**2, directed=False)[1])
