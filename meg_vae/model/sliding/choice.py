"""Which sources stay: weak and spare ones go, and what grows enters.

They are judged by their log evidence and the prior weight of their place together.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from meg_vae.model.misfit import removal_change
from meg_vae.model.sliding.data import Data, Term
from meg_vae.model.sliding.descent import FIRM, ROUGH, Effort, settle
from meg_vae.model.sliding.field import Field
from meg_vae.model.sliding.growth import Grid, best_prior, highest, pull
from meg_vae.model.sliding.mistaken import mistakable
from meg_vae.model.sliding.sources import Sources, principal_axes, whiten

ALIKE = 0.7  # squared correlation of two sources' fields, above which one may stand for both
SURE = 3.0  # times the evidence asked for, above which a source unlike all others is not tried
WIDER = 1.0  # nats by which a further direction of a prior must raise the evidence
BETTER = 0.1  # nats by which another place must be better for a source to move there


def log_evidence(data: Data, sources: Sources) -> Tensor:
    """Evidence in nats that each source carries, the others held: half the change of n J."""
    m, o = sources.live.shape

    def change(term: Term, P: Tensor) -> Tensor:
        A = torch.linalg.solve_triangular(term.L, P, upper=False)
        A = A.reshape(len(A), m, o).permute(1, 2, 0)
        seen = A @ term.weighted(term.B)
        return removal_change(A @ A.mT, seen @ seen.mT, term.share)

    columns = data.parts(sources.patterns, sources.columns_on)
    parts = zip(whiten(data, sources).runs, columns, strict=True)
    lost = data.over_runs(change(term, P) for term, P in parts)
    return data.n / 2 * lost - sources.shift.square().sum(1) / 2


def worth(data: Data, sources: Sources) -> Tensor:
    """Log evidence and prior weight of each source together, less what it costs, in nats."""
    return log_evidence(data, sources) + data.weight(sources.places) - data.cost(sources.on)


def without_weak(
    data: Data, sources: Sources, field: Field, least: float, effort: Effort
) -> Sources:
    """Take out sources that are worth less than ``least`` nats, half of them at a time."""
    while len(sources):
        evidence = worth(data, sources)
        beyond = evidence - mistakable(data, sources, field.wrong)
        weak = (beyond < least).nonzero()[:, 0]
        if not len(weak):
            break
        keep = torch.ones(len(sources), dtype=torch.bool)
        keep[weak[beyond[weak].argsort()][: (len(weak) + 1) // 2]] = False
        sources = settle(data, sources.only(keep), field, effort)
    return sources


def without_spare(data: Data, sources: Sources, field: Field, least: float) -> Sources:
    """Take out sources that the others make up for, once they have settled without them."""
    while len(sources) > 1:
        evidence, energy = worth(data, sources), whiten(data, sources).energy
        asked = least + data.cost(sources.on) + mistakable(data, sources, field.wrong)
        alone = (likeness(sources) <= ALIKE).all(1) & (evidence > SURE * least)
        for k in evidence.argsort().tolist():
            if alone[k]:
                continue
            keep = torch.ones(len(sources), dtype=torch.bool)
            keep[k] = False
            fewer = settle(data, sources.only(keep), field, FIRM)
            if data.n / 2 * float(whiten(data, fewer).energy - energy) < asked[k]:
                sources = fewer
                break
        else:
            break
    return sources


def likeness(sources: Sources) -> Tensor:
    """Largest squared correlation between the fields of each two sources, 0 with itself, (m, m)."""
    m, o = sources.live.shape
    patterns = (sources.fields @ sources.factors) / sources.factors.flatten(1).norm(dim=1)[
        :, None, None
    ]
    size = torch.linalg.vector_norm(patterns, dim=1, keepdim=True)
    unit = (patterns / size.clamp_min(1e-3 * size.amax(2, keepdim=True))).movedim(1, 0).flatten(1)
    squared = (unit.T @ unit).square().reshape(m, o, m, o).amax((1, 3))
    together = (sources.on @ sources.on.T > 0).to(squared)  # in some piece of time
    return (squared * together).fill_diagonal_(0.0)


def widened(data: Data, sources: Sources, field: Field) -> Sources:
    """Give priors the further directions that the data ask for at their places."""
    if not len(sources) or sources.live.all():
        return sources
    rise, factor = best_prior(pull(data, sources), sources.fields, n_directions=1)
    gain = data.n / 2 * rise.masked_fill(sources.live.all(1), 0.0)
    if not (gain > WIDER).any():
        return sources
    new = factor[:, :, 0] * (gain > WIDER)[:, None]
    slot = (~sources.live).to(torch.int8).argmax(1)
    factors = sources.factors.clone()
    factors[torch.arange(len(sources)), :, slot] += new
    wider = replace(sources, factors=principal_axes(factors)).seen()
    if not whiten(data, wider).energy < whiten(data, sources).energy:
        return sources
    return settle(data, wider, field, FIRM)


def with_growing(
    data: Data, sources: Sources, field: Field, grid: Grid, least: float
) -> tuple[Sources, float, Tensor]:
    """Let in a source where it is worth most, if ``least`` nats or more.

    Gives the sources, what the best place has to offer in nats, and that place (1, q).
    """
    here = field.moved(sources.motion)
    place, height, factor = highest(pull(data, sources), here, grid)
    offer = data.n / 2 * float(height)
    if offer < least:
        return sources, offer, place
    new = sources.join(Sources.at(here, place, factor, sources.noise))
    more = settle(data, new, field, FIRM)
    return (more if gain_of_entry(data, sources, more, field) >= least else sources), offer, place


def gain_of_entry(data: Data, before: Sources, after: Sources, field: Field) -> float:
    """Nats that the last source brings, beyond what a wrong field of another could."""
    gain = data.n / 2 * float(whiten(data, before).energy - whiten(data, after).energy)
    if len(after) > len(before):
        gain -= float(mistakable(data, after, field.wrong)[-1])
    return gain


def with_better_places(data: Data, sources: Sources, field: Field, grid: Grid) -> Sources:
    """Move a source to a place, however far, where evidence and prior weight together are larger.

    Without weights there is none that a descent and a growing source would not find.
    """
    if data.prior is None:
        return sources
    own, energy = worth(data, sources), whiten(data, sources).energy
    here = field.moved(sources.motion)
    for k in own.argsort().tolist():
        rest, on = sources.only(torch.arange(len(sources)) != k), sources.on[[k]]
        at = pull(data, rest).during(on[0])
        place, height, factor = highest(at, here, grid)
        if not at.n / 2 * float(height) - data.cost(sources.on)[k] > own[k] + BETTER:
            continue
        new = rest.join(Sources.at(here, place, factor, sources.noise, on))
        other = settle(data, new, field, FIRM)
        if data.n / 2 * float(energy - whiten(data, other).energy) > BETTER:
            return other
    return sources


def rough_start(data: Data, sources: Sources, field: Field, least: float) -> Sources:
    """Take out what has no evidence while the rest is only roughly settled."""
    sources = settle(data, sources, field, ROUGH)
    return without_weak(data, sources, field, least, ROUGH)
