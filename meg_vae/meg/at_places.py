"""The sources wherever they are, in and between the positions of the forward models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from mne.utils import warn
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from meg_vae.meg.discs import Discs
from meg_vae.meg.extent import Extent, ball_radius, discs_of
from meg_vae.meg.field import ContinuousField
from meg_vae.meg.field_of_runs import FieldOfRuns
from meg_vae.meg.known_directions import fit_in_known_directions, samples, whitened
from meg_vae.meg.leadfield import LeadField
from meg_vae.meg.localization import Localization, renumbered, unbiased
from meg_vae.meg.orientation import check_free
from meg_vae.meg.place_filters import place_filters
from meg_vae.meg.registration import (
    AUTO,
    Motion,
    found_registration,
    motion_prior,
    tell_of_motion,
)
from meg_vae.meg.runs import FitRun, naming_run
from meg_vae.meg.table import RADIUS

if TYPE_CHECKING:
    from meg_vae.model.noise import Noise
    from meg_vae.model.sliding_vae import SlidingVAE

VAGUE = 0.1  # relative error of the lead field at a source, from which on it is told


@dataclass(frozen=True)
class _Asked:
    """What is asked of the runs: the options, and what those of motion and extent come to here."""

    options: dict[str, Any]
    registration: Any
    motion: Motion | None
    extent: Any
    weights: NDArray[np.float64] | None

    @classmethod
    def of(
        cls, runs: list[FitRun], options: dict[str, Any], weights: NDArray[np.float64] | None
    ) -> _Asked:
        registration, extent = options["registration"], options["extent"]
        if registration == "auto" and any(run.data.stretches is None for run in runs):
            # Correlated sources look like a motion in recordings and covariances.
            registration = None
        if extent == "learn" and options["min_log_evidence"] == 0 and weights is None:
            extent = "point"  # there is no evidence to judge by
        motion = motion_prior(registration, runs[0].forward)
        return cls(options, registration, motion, extent, weights)


@dataclass(frozen=True)
class _Found:
    """A fit: the lead field of all runs, the discs that sources may be, and the model."""

    field: FieldOfRuns
    discs: Discs | None
    model: SlidingVAE


def at_places(
    runs: list[FitRun],
    options: dict[str, Any],
    bem: Any,
    trans: Any,
    weights: NDArray[np.float64] | None = None,
) -> Localization:
    """Find the sources wherever they are, in and between the positions of the forward models."""
    white, asked = options["noise_autocorrelation"] == "white", _Asked.of(runs, options, weights)
    known = [samples(run, white=white) for run in runs]
    of_runs = {name: [one[name] for one in known] for name in known[0]} | {"white": white}

    def fit(leadfields: list[LeadField]) -> tuple[_Found, list[Noise]]:
        found = _fit(runs, leadfields, asked, of_runs, bem, trans)
        return found, found.model.noises_

    leadfields = []
    for k, run in enumerate(runs):
        with naming_run(k, len(runs)):
            check_free(run.forward, options["loose"])
            leadfields.append(whitened(run, 1.0, options["rank"]))
    leadfields, found = fit_in_known_directions(fit, leadfields, of_runs["n_noise"])
    return _told(runs, leadfields, asked, found)


def _fit(
    runs: list[FitRun],
    leadfields: list[LeadField],
    asked: _Asked,
    of_runs: dict[str, Any],
    bem: Any,
    trans: Any,
) -> _Found:
    """Fit the whitened data of all runs, with what is known of their samples."""
    from meg_vae.model.exact.dictionary import Dictionary
    from meg_vae.model.sliding_vae import SlidingVAE

    options, motion, forward = asked.options, asked.motion, runs[0].forward
    fields = []
    for k, (run, own) in enumerate(zip(runs, leadfields, strict=True)):
        with naming_run(k, len(runs)):
            fields.append(ContinuousField(own, run.data.info, bem, trans, motion))
    field = FieldOfRuns(fields)
    discs = discs_of(asked.extent, forward, field)
    names = ("noise_variance", "min_log_evidence", "tol", "max_iter")
    model = SlidingVAE(**{name: options[name] for name in names}).fit(
        field,
        forward["source_rr"],
        [run.data.whiten(own) for run, own in zip(runs, leadfields, strict=True)],
        dictionary=[Dictionary(own.Phi, own.n_orient) for own in leadfields],
        errors=None if field.is_exact else field.errors,
        confine=field.confine,
        **of_runs,
        weights=asked.weights,
        swing=() if motion is None else motion.swing,
        min_motion_evidence=AUTO if asked.registration == "auto" else -np.inf,
        extended=discs,
        switching=options["spans"] == "learn" and _at_the_same_times(runs),
        field_error=options["lead_field_error"],
    )
    return _Found(field, discs, model)


def _told(
    runs: list[FitRun], leadfields: list[LeadField], asked: _Asked, found: _Found
) -> Localization:
    """Tell what was found in the units of the head, with a warning of what to look at."""
    field, discs, model = found.field, found.discs, found.model
    error = field.relative_error(model.places_)
    _tell_of_errors(error)
    sizes = model.places_, model.extents_, model.extent_intervals_
    size = Extent.of(discs, ball_radius(asked.extent, runs[0].forward), *sizes)
    registration = found_registration(asked.motion, model)
    tell_of_motion(registration, asked.registration)
    filters = place_filters(leadfields, field, discs, size, model)
    return Localization(
        filters=[unbiased(*own) for own in zip(filters, model.noises_, strict=True)],
        noise_variance=model.noise_variance_,
        energy=model.energy_,
        history=model.history_,
        certificate=model.certificate_,
        log_evidence=_log_evidence(runs, leadfields, asked.weights, model),
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
        registration=registration,
    )


def _log_evidence(
    runs: list[FitRun],
    leadfields: list[LeadField],
    weights: NDArray[np.float64] | None,
    model: SlidingVAE,
) -> float:
    """Log evidence of the whole model, in nats, less what the choice of spans costs."""
    from meg_vae.model.evidence import model_log_evidence

    parts = zip(model.noises_, model.fit_.n_effective, leadfields, runs, strict=True)
    constant = sum(
        noise.log_constant(n, len(own.Phi), run.data.stretches) for noise, n, own, run in parts
    )
    return model_log_evidence(
        model.energy_,
        constant,
        n_effective=model.n_effective_,
        n_groups=leadfields[0].n_positions if weights is None else np.isfinite(weights).sum(),
        n_active=len(model.places_),
        n_free=9,  # place and prior
    ) - float(model.fit_.choice_cost.sum())


def _at_the_same_times(runs: list[FitRun]) -> bool:
    """Whether runs of one response each, which have their spans in common, have it at one time."""
    alone = [run.data.responses[0] for run in runs if len(run.data.responses) == 1]
    starts, rates = ([one.times[0] for one in alone], [one.info["sfreq"] for one in alone])
    return not alone or bool(np.ptp(starts) < 1 / max(rates) and np.ptp(rates) < 1e-6)


def _tell_of_errors(error: NDArray[np.float64]) -> None:
    """Warn once where the lead field is known badly at a source."""
    vague = error >= VAGUE
    if vague.any():
        warn(
            f"at {vague.sum()} of {len(error)} sources the lead field between the positions of "
            f"forward is known to {error.max():.0%} only (near the inner skull, most often); the "
            "estimate allows for it. Give bem and trans, or a finer BEM, to know it better."
        )


def _overlapping(places: NDArray[np.float64], covariance: NDArray[np.float64]) -> NDArray[np.int64]:
    """Count the sources, those alike whose 95 % ellipsoid of the difference holds no difference."""
    apart = places[:, None] - places
    both = covariance[:, None] + covariance
    squared = np.einsum("ijk,ijk->ij", apart, np.linalg.solve(both, apart[..., None])[..., 0])
    return renumbered(connected_components(squared < RADIUS**2, directed=False)[1])
