"""Two ways to localize whitened data: at positions of the grid, or at places of their own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from mne.utils import warn
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from meg_vae.meg.discs import Discs
from meg_vae.meg.estimates import free_positions
from meg_vae.meg.extent import Extent, ball_radius, cover_of, discs_of
from meg_vae.meg.field import ContinuousField
from meg_vae.meg.field_of_runs import FieldOfRuns
from meg_vae.meg.filter import SourceFilter, source_filter
from meg_vae.meg.known_directions import fit_in_known_directions, samples, whitened
from meg_vae.meg.leadfield import LeadField
from meg_vae.meg.orientation import check_free
from meg_vae.meg.registration import (
    AS_GIVEN,
    AUTO,
    Registration,
    found_registration,
    motion_prior,
    tell_of_motion,
)
from meg_vae.meg.runs import FitRun, naming_run
from meg_vae.meg.table import RADIUS

if TYPE_CHECKING:
    from meg_vae.model.noise import Noise

VAGUE = 0.1  # relative error of the lead field at a source, from which on it is told


@dataclass(frozen=True)
class Localization:
    """What was found: the sources, in the order of the table, and what speaks for them.

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


def on_grid(
    run: FitRun, options: dict[str, Any], weights: NDArray[np.float64] | None = None
) -> Localization:
    """Find the sources among the positions of a forward model."""
    from meg_vae.model.sparse_vae import SparseVAE

    names = ("noise_variance", "orientation", "min_log_evidence", "tol", "max_iter")
    white = options["noise_autocorrelation"] == "white"
    known = samples(run, white=white) | {"white": white}

    def fit(leadfields: list[LeadField]) -> tuple[SparseVAE, list[Noise]]:
        (own,) = leadfields
        model = SparseVAE(own.n_orient, **{name: options[name] for name in names})
        model.fit(own.Phi, run.data.whiten(own), **known, weights=weights)
        return model, [model.noise_]

    leadfield = whitened(run, options["loose"], options["rank"])
    (leadfield,), model = fit_in_known_directions(fit, [leadfield], [known["n_noise"]])
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
        filters=[_unbiased(kept.ordered(order), model.noise_)],
        noise_variance=model.noise_variance_,
        energy=model.energy_,
        history=model.history_,
        certificate=model.certificate_,
        log_evidence=model.log_evidence_,
        n_effective=model.n_effective_,
        noises=[model.noise_],
        evidence=joint[order],
        cluster=_renumbered(model.cluster_[active][order]),
        place_covariance=np.full((len(order), 3, 3), np.nan),
        field_covariance=np.full((len(order), 3, 3), np.nan),
        extent=Extent.of_points(len(order)),
        on_wall=np.zeros(len(order), bool),
        spans=np.tile([-np.inf, np.inf], (len(order), 1)),
        active=np.ones((len(order), len(run.data.responses)), bool),
        response_evidence=np.full((len(order), len(run.data.responses)), np.nan),
        field_error=np.zeros(len(order)),
        weight=_largest(weights, active, model.cluster_[active])[order],
    )


def at_places(
    runs: list[FitRun],
    options: dict[str, Any],
    bem: Any,
    trans: Any,
    weights: NDArray[np.float64] | None = None,
) -> Localization:
    """Find the sources wherever they are, in and between the positions of the forward models."""
    from meg_vae.model.evidence import model_log_evidence
    from meg_vae.model.exact.dictionary import Dictionary
    from meg_vae.model.sliding_vae import SlidingVAE

    names = ("noise_variance", "min_log_evidence", "tol", "max_iter")
    white = options["noise_autocorrelation"] == "white"
    known = [samples(run, white=white) for run in runs]
    of_runs = {name: [one[name] for one in known] for name in known[0]}
    rr, registration = runs[0].forward["source_rr"], options["registration"]
    if registration == "auto" and any(run.data.stretches is None for run in runs):
        registration = None  # correlated sources look like a motion in recordings and covariances
    motion = motion_prior(registration, runs[0].forward)
    extent = options["extent"]
    if extent == "learn" and options["min_log_evidence"] == 0 and weights is None:
        extent = "point"  # there is no evidence to judge by

    def fit(leadfields: list[LeadField]) -> tuple[tuple[Any, ...], list[Noise]]:
        fields = []
        for k, (run, own) in enumerate(zip(runs, leadfields, strict=True)):
            with naming_run(k, len(runs)):
                fields.append(ContinuousField(own, run.data.info, bem, trans, motion))
        field = FieldOfRuns(fields)
        discs = discs_of(extent, runs[0].forward, field)
        model = SlidingVAE(**{name: options[name] for name in names}).fit(
            field,
            rr,
            [run.data.whiten(own) for run, own in zip(runs, leadfields, strict=True)],
            dictionary=[Dictionary(own.Phi, own.n_orient) for own in leadfields],
            errors=None if field.is_exact else field.errors,
            confine=field.confine,
            **of_runs,
            white=white,
            weights=weights,
            swing=() if motion is None else motion.swing,
            min_motion_evidence=AUTO if registration == "auto" else -np.inf,
            extended=discs,
            switching=options["spans"] == "learn" and _at_the_same_times(runs),
            field_error=options["lead_field_error"],
        )
        return (field, discs, model), model.noises_

    leadfields = []
    for k, run in enumerate(runs):
        with naming_run(k, len(runs)):
            check_free(run.forward, options["loose"])
            leadfields.append(whitened(run, 1.0, options["rank"]))
    leadfields, (field, discs, model) = fit_in_known_directions(fit, leadfields, of_runs["n_noise"])
    ranks = [len(own.Phi) for own in leadfields]
    error = field.relative_error(model.places_)
    _tell_of_errors(error)
    sizes = model.places_, model.extents_, model.extent_intervals_
    size = Extent.of(discs, ball_radius(extent, runs[0].forward), *sizes)
    found = found_registration(motion, model)
    tell_of_motion(found, registration)
    return Localization(
        filters=[
            _unbiased(own, noise)
            for own, noise in zip(
                _place_filters(leadfields, field, discs, size, model), model.noises_, strict=True
            )
        ],
        noise_variance=model.noise_variance_,
        energy=model.energy_,
        history=model.history_,
        certificate=model.certificate_,
        log_evidence=model_log_evidence(
            model.energy_,
            sum(
                noise.log_constant(n, d, run.data.stretches)
                for noise, n, d, run in zip(
                    model.noises_, model.fit_.n_effective, ranks, runs, strict=True
                )
            ),
            n_effective=model.n_effective_,
            n_groups=leadfields[0].n_positions if weights is None else np.isfinite(weights).sum(),
            n_active=len(model.places_),
            n_free=9,  # place and prior
        )
        - float(model.fit_.choice_cost.sum()),
        n_effective=model.n_effective_,
        noises=model.noises_,
        evidence=model.log_evidence_,
        cluster=_overlapping(model.places_, model.place_covariance_),
        place_covariance=model.place_covariance_,
        field_covariance=model.fit_.spread.field.numpy(),
        extent=size,
        on_wall=model.fit_.on_wall.numpy(),
        spans=model.spans_,
        active=model.active_,
        response_evidence=model.stretch_evidence_,
        field_error=error,
        weight=model.weights_,
        growth=model.growth_,
        stationarity=model.stationarity_,
        registration=found,
    )


def _at_the_same_times(runs: list[FitRun]) -> bool:
    """Whether runs of one response each, which have their spans in common, have it at one time."""
    alone = [run.data.responses[0] for run in runs if len(run.data.responses) == 1]
    starts, rates = ([one.times[0] for one in alone], [one.info["sfreq"] for one in alone])
    return not alone or bool(np.ptp(starts) < 1 / max(rates) and np.ptp(rates) < 1e-6)


def _unbiased(filter_: SourceFilter, noise: Noise) -> SourceFilter:
    """Whiten by the covariance whose inverse is unbiased, to which the noise variance refers."""
    size = noise.inflation(len(filter_.whitener)) ** 0.5
    return replace(filter_, whitener=filter_.whitener / size)


def _place_filters(
    leadfields: list[LeadField], field: FieldOfRuns, discs: Discs | None, size: Extent, model: Any
) -> list[SourceFilter]:
    """Put a fit of whitened data in the units of the sensors and of the sources, run by run.

    The moment of a disc is that of all of its dipoles, along its mean normal.
    """
    found, places = model.fit_, model.places_
    nearest = field.nearest(places)
    gains, turn = _gains(field, discs, model)
    factors = turn @ found.factors.numpy()
    ends = np.cumsum([len(own.Phi) for own in leadfields])[:-1]
    parts = zip(
        leadfields,
        gains,
        np.split(turn @ found.inverse_map.numpy(), ends, 2),
        np.split(turn[:, None] @ found.spread.modes.numpy(), ends, 3),
        np.moveaxis(turn[:, None] @ found.spread.activity.numpy() @ turn[:, None].mT, 1, 0),
        strict=True,
    )
    filters = []
    for own, gain, inverse_map, modes, activity in parts:
        n_channels = own.whitener.shape[1]
        filters.append(
            SourceFilter(
                inverse_map=(inverse_map @ own.whitener).reshape(-1, n_channels),
                gain=np.moveaxis(gain, 0, 1).reshape(n_channels, -1),
                whitener=own.whitener,
                prior=factors @ factors.swapaxes(1, 2),
                covariance=activity,
                modes=modes @ own.whitener,
                sensors=own.sensors,
                nave=own.nave,
                positions=free_positions(own.forward, places, nearest),
                cover=cover_of(own.forward, discs, places, size.radius, nearest),
            )
        )
    return filters


def _gains(
    field: FieldOfRuns, discs: Discs | None, model: Any
) -> tuple[list[NDArray[np.float64]], NDArray[np.float64]]:
    """Unwhitened lead fields of the sources in each run, (m, n_channels, 3), along head axes.

    And the matrices (m, 3, 3) that turn activity as the model has it to these: that of a disc, its
    first component, points along its mean normal.
    """
    places, shift, delta = model.places_, model.fit_.shift.numpy(), model.motion_
    if discs is None:
        return field.gains(places, shift, delta), np.tile(np.eye(3), (len(places), 1, 1))
    turn = discs.turns(places, model.extents_)
    last = shift.shape[1] - discs.n_patterns
    point = model.extents_ == 0
    if point.all():
        return field.gains(places, shift[:, :last], delta), turn
    some = [np.zeros((len(places), one.n_channels, 3)) for one in field.fields]
    for gain, own in zip(some, field.gains(places[point], shift[point, :last], delta), strict=True):
        gain[point] = own
    larger = np.c_[places, model.extents_][~point]
    columns = discs.gains(larger, shift[~point], delta, field.unsure(places[~point]))
    for gain, own in zip(some, columns, strict=True):
        gain[~point] = own[:, :, None] * turn[~point, None, :, 0]
    return some, turn


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
