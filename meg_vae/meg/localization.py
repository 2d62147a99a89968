"""Two ways to localize whitened data: at positions of the grid, or at places of their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

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
from meg_vae.meg.samples import noise_samples
from meg_vae.meg.table import RADIUS

if TYPE_CHECKING:
    from meg_vae.model.noise import Noise
    from meg_vae.model.sliding_vae import SlidingVAE
    from meg_vae.model.sparse_vae import SparseVAE

    M = TypeVar("M", SlidingVAE, SparseVAE)

FEWEST = 10  # directions that are looked at in any case
ROUNDS, NEARLY = 3, 0.8  # fits in ever fewer directions, until these are nearly as few as known
VAGUE = 0.1  # relative error of the lead field at a source, from which on it is told


@dataclass(frozen=True)
class Localization:
    """What was found: the sources, in the order of the table, and what speaks for them.

    ``noise_variance`` λ; ``energy`` J, ``history`` and ``certificate`` of the minimum on the grid;
    ``log_evidence`` of the whole model, ``n_effective`` samples, ``noise`` as it was learnt; per
    source ``evidence`` (nats), ``cluster`` (its number), ``place_covariance`` (m²),
    ``field_covariance`` (its part from the lead field's error), ``on_wall``, ``field_error``
    (relative error of the lead field) and ``weight`` (nats, in no evidence). ``growth`` and
    ``stationarity`` are NaN on the grid.
    """

    filter: SourceFilter
    noise_variance: Any
    energy: float
    history: NDArray[np.float64]
    certificate: float
    log_evidence: float
    n_effective: float
    noise: Noise
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

    names = ("noise_variance", "orientation", "min_log_evidence", "tol", "max_iter")

    def fit(leadfield: LeadField) -> SparseVAE:
        return SparseVAE(leadfield.n_orient, **{name: options[name] for name in names}).fit(
            leadfield.Phi, data.whiten(leadfield), **samples, weights=weights
        )

    samples = _samples(data, noise_cov)
    leadfield = _whitened(data, forward, noise_cov, options["loose"], options["rank"])
    leadfield, model = _fitted(fit, leadfield, samples["n_noise"])
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
        filter=_unbiased(kept.ordered(order), model.noise_),
        noise_variance=model.noise_variance_,
        energy=model.energy_,
        history=model.history_,
        certificate=model.certificate_,
        log_evidence=model.log_evidence_,
        n_effective=model.n_effective_,
        noise=model.noise_,
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
    names = ("noise_variance", "min_log_evidence", "tol", "max_iter")

    def fit(leadfield: LeadField) -> SlidingVAE:
        field = ContinuousField(leadfield, data.info, bem, trans)
        return SlidingVAE(**{name: options[name] for name in names}).fit(
            field,
            leadfield.forward["source_rr"],
            data.whiten(leadfield),
            dictionary=Dictionary(leadfield.Phi, leadfield.n_orient),
            errors=None if field.is_exact else field.errors,
            confine=field.confine,
            **samples,
            weights=weights,
        )

    samples = _samples(data, noise_cov)
    leadfield = _whitened(data, forward, noise_cov, 1.0, options["rank"])
    leadfield, model = _fitted(fit, leadfield, samples["n_noise"])
    field = ContinuousField(leadfield, data.info, bem, trans)
    error = field.relative_error(model.places_)
    _tell_of_errors(error)
    return Localization(
        filter=_unbiased(_place_filter(leadfield, field, model), model.noise_),
        noise_variance=model.noise_variance_,
        energy=model.energy_,
        history=model.history_,
        certificate=model.certificate_,
        log_evidence=model_log_evidence(
            model.energy_,
            n_channels=len(leadfield.Phi),
            n_effective=model.n_effective_,
            n_groups=leadfield.n_positions if weights is None else int(np.isfinite(weights).sum()),
            n_active=len(model.places_),
            n_free=9,  # place and prior
            log_volume=model.noise_.log_volume(data.stretches),
        ),
        n_effective=model.n_effective_,
        noise=model.noise_,
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


def _samples(data: FitData, noise_cov: mne.Covariance) -> dict[str, Any]:
    """Count the samples of the data, and those behind the noise covariance."""
    n_noise = noise_samples(noise_cov)
    if data.stretches is not None:  # how the noise goes on is learnt
        return {"n_noise": n_noise, "stretches": data.stretches}
    n = data.n_independent  # nothing tells, but for the low-pass
    return {"n_effective": n, "n_noise": n_noise * n / data.n_samples}


def _fitted(
    fit: Callable[[LeadField], M], leadfield: LeadField, n_noise: float
) -> tuple[LeadField, M]:
    """Fit in as many directions as the noise covariance is known for.

    It takes twice as many independent samples as directions to whiten with a loss of a half (Reed,
    Mallett & Brennan 1974); how many are independent, the first fit learns.
    """
    whole, n_channels = leadfield, len(leadfield.Phi)
    known = rank = min(n_noise / 2, n_channels)
    for _ in range(ROUNDS):
        rank = max(int(known), FEWEST) if known < n_channels else n_channels
        leadfield = whole.reduced(rank) if rank < n_channels else whole
        model = fit(leadfield)
        known = min(known, model.noise_.n_independent / 2)
        if known >= NEARLY * rank or rank <= FEWEST:
            break
    if rank < n_channels:
        warn(
            f"noise_cov was estimated from {n_noise:.0f} samples, of which about "
            f"{model.noise_.n_independent:.0f} are independent, for {n_channels} channels: only "
            f"the {rank} directions that the lead field fills most are looked at. Estimate it "
            f"from {2 * n_channels} independent samples or more."
        )
    return leadfield, model


def _unbiased(filter_: SourceFilter, noise: Noise) -> SourceFilter:
    """Whiten by the covariance whose inverse is unbiased, to which the noise variance refers."""
    size = noise.inflation(len(filter_.whitener)) ** 0.5
    return replace(filter_, whitener=filter_.whitener / size)


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
