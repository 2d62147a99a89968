"""From a certified minimum on the grid to sources at their own places.

Positions of the grid that one generator may have shared start as one source; places, priors and
noise settle together; what lacks evidence goes, what the others make up for goes too, and what
grows, anywhere, enters, until nothing changes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from meg_vae.model.misfit import noise_alone, removal_change
from meg_vae.model.sliding.choice import (
    log_evidence,
    rough_start,
    widened,
    with_better_places,
    with_growing,
    without_spare,
    without_weak,
)
from meg_vae.model.sliding.data import Data, Run
from meg_vae.model.sliding.descent import FIRM, Effort, settle
from meg_vae.model.sliding.extents import with_extents, with_growing_patch
from meg_vae.model.sliding.field import Field
from meg_vae.model.sliding.growth import Grid
from meg_vae.model.sliding.sources import Sources

MERGE = 5.0  # of the field's unit: positions of the grid this near to a stronger one join it
HOPELESS = 0.5  # of the evidence asked for: groups of positions with less do not start
MOST = 40  # sources let in at most


@dataclass(frozen=True)
class Start:
    """A minimum on the grid: active places (m, q), columns (d, m, o), factors (m, o, a), and λ.

    The priors are Γ = A Aᵀ of the factors A.
    """

    places: Tensor
    columns: Tensor
    factors: Tensor
    noise: Tensor


@dataclass(frozen=True)
class Settled:
    """Sources at a joint stationary point, and the evidence that any other place could add."""

    sources: Sources
    log_evidence: Tensor
    offer: float


def slide(data: Data, start: Start, field: Field, grid: Grid, least: float) -> Settled:
    """Find the sources, each worth ``least`` nats or more; without weights none goes at 0."""
    if least > 0 or data.prior is not None:
        # From afar errors of the field would stand for places: those settle without them first.
        known = field.exact()
        begun = settle(data, _begin(data, start, known, least), known, FIRM)
        sources = Sources.at(field, begun.places, begun.factors, begun.noise)
    else:
        sources = Sources.at(field, start.places, start.factors, start.noise)
    return refine(data, settle(data, sources, field, FIRM), field, grid, least)


def refine(
    data: Data, sources: Sources, field: Field, grid: Grid, least: float, *, kinds: bool = True
) -> Settled:
    """Let sources go and enter by their evidence until nothing changes, and settle them.

    Points become patches, and the other way round, only if ``kinds`` says so; without evidence to
    judge by they stay points.
    """
    asked = least if least > 0 else math.inf
    judged = least > 0 or data.prior is not None
    kinds = kinds and field.extended is not None and (judged or field.extended.margin < 0)
    for _ in range(MOST):
        if judged:
            sources = without_weak(data, sources, field, least, FIRM)
        if kinds:
            sources = with_extents(data, sources, field, grid, least)
        if judged:
            sources = without_spare(data, sources, field, least)
        sources = widened(data, sources, field)
        moved = with_better_places(data, sources, field, grid)
        more, offer, place = with_growing(data, moved, field, grid, asked)
        if kinds and more is moved:
            more, larger = with_growing_patch(data, moved, field, grid, place[0], asked)
            offer = max(offer, larger)
        if more is sources:
            break
        sources = more
    sources = settle(data, settle_noise(data, sources), field, Effort())
    if judged:
        sources = without_weak(data, sources, field, least, Effort())
    return Settled(sources, log_evidence(data, sources), offer)


def _begin(data: Data, start: Start, field: Field, least: float) -> Sources:
    """Make sources of the groups of positions that carry some evidence, roughly settled."""
    patterns = start.columns.movedim(1, 0) @ start.factors
    power = patterns.square().sum((1, 2))
    group = _groups(start.places, power, MERGE * field.unit)
    evidence = _group_evidence(data, patterns, start.noise, group)
    member = (group == group.unique()[:, None]).to(power)
    weight = member * power
    places = weight / weight.sum(1, keepdim=True) @ start.places
    some = evidence + data.weight(places) >= HOPELESS * least
    member, places = member[some], places[some]
    if data.prior is not None:
        places = field.within(places)
    prior = torch.einsum("gm,mab,mcb->gac", member, start.factors, start.factors)
    size, axes = torch.linalg.eigh(prior)
    factors = axes * size.clamp_min(0.0).sqrt()[:, None, :]
    return rough_start(data, Sources.at(field, places, factors, start.noise), field, least)


def settle_noise(data: Data, sources: Sources) -> Sources:
    """Learn the noise where there is no source: λ is the mean power of the weighted data."""
    if len(sources):
        return sources
    sources = replace(sources, motion=torch.zeros_like(sources.motion))
    if not data.learn:
        return sources
    products = [run.F.T @ run.F + run.rest for run in data.runs]
    sizes, shares = [run.size for run in data.runs], [run.share for run in data.runs]
    noise = noise_alone(products, sizes, shares, data.weights)
    return replace(sources, noise=noise.clamp_min(max(data.floor, 1e-300)))


def _groups(places: Tensor, power: Tensor, reach: float) -> Tensor:
    """Group the positions: the strongest takes all within reach, and so on."""
    group = torch.full((len(places),), -1)
    for number, k in enumerate(power.argsort(descending=True).tolist()):
        if group[k] < 0:
            near = torch.linalg.vector_norm(places - places[k], dim=1) <= reach
            group[near & (group < 0)] = number
    return group.unique(return_inverse=True)[1] if len(group) else group


def _group_evidence(data: Data, patterns: Tensor, noise: Tensor, group: Tensor) -> Tensor:
    """Evidence in nats that each group of positions carries; patterns are (m, d, o)."""
    if not len(group):
        return patterns.new_zeros(0)
    dipole = group.repeat_interleave(patterns.shape[2])
    members = [dipole == g for g in range(int(group.max()) + 1)]

    def change(run: Run, P: Tensor) -> Tensor:
        term = run.term(P, noise)
        A = torch.linalg.solve_triangular(term.L, P, upper=False)
        seen = A.T @ term.weighted(term.B)
        parts = [
            removal_change(A[:, g].T @ A[:, g], seen[g] @ seen[g].T, run.share) for g in members
        ]
        return torch.stack(parts)

    columns = data.parts(patterns.movedim(0, 1).flatten(1))
    return data.n / 2 * data.over_runs(map(change, data.runs, columns))
