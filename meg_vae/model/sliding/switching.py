r"""When sources are active: each adds to the data in some of their pieces, and is silent in others.

A source that is active in a part of the data is diluted in them: its prior is a mean over all
samples. Given all else, what piece s says for the activity of a source with prior AAᵀ is

.. math:: g_s = \tfrac{n_s}{2} (J_s^\text{silent} - J_s^\text{active}),

so that the best choice of pieces is that with the largest sum, less what choosing costs. A further
source is looked for in choices of a few pieces: with S = LᵀΣ⁻¹L and Q = LᵀΣ⁻¹CΣ⁻¹L summed over them
it grows as in `meg_vae.model.sliding.growth`. Pieces in which the same sources are active are one
run of the data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from meg_vae.model.misfit import growth
from meg_vae.model.sliding.choice import BETTER, log_evidence
from meg_vae.model.sliding.descent import FIRM, Effort, settle
from meg_vae.model.sliding.growth import climb, excess, pull
from meg_vae.model.sliding.pieces import Choice
from meg_vae.model.sliding.slide import MOST, Settled, refine
from meg_vae.model.sliding.sources import Sources, whiten
from meg_vae.model.sliding.view import View

LOOKED_AT = 2500  # positions of the grid at which a search begins
PEAKS = 2  # choices that are climbed from
CHUNK = 512  # positions at a time


@dataclass(frozen=True)
class Look:
    """Recordings in pieces: ``at(groups)`` views the pieces of each group as one run."""

    at: Callable[[Sequence[Sequence[int]]], View]
    choice: Choice

    @property
    def n_pieces(self) -> int:
        """Number of pieces."""
        return self.choice.n_pieces

    def finest(self) -> View:
        """View every piece as a run."""
        return self.at([[k] for k in range(self.n_pieces)])

    def put(self, sources: Sources, active: Tensor, *others: Tensor) -> Switched:
        """Look at sources, active in pieces (m, N), in as few runs as these and others ask for."""
        patterns = torch.cat([active, *others, active.new_ones(1, self.n_pieces)])
        number = torch.unique(patterns, dim=1, return_inverse=True)[1].tolist()
        number = [sorted(set(number), key=number.index).index(g) for g in number]  # as they come
        groups = [[k for k, g in enumerate(number) if g == own] for own in range(max(number) + 1)]
        view = self.at(groups)
        view = replace(view, data=replace(view.data, choice=self.choice, members=tuple(number)))
        return Switched.in_view(view, sources, active)


@dataclass(frozen=True)
class Switched:
    """Sources in a view in which those pieces are one run in which the same of them are active."""

    view: View
    sources: Sources

    @classmethod
    def in_view(cls, view: View, sources: Sources, active: Tensor) -> Switched:
        """Put sources, active in pieces (m, N), into a view whose runs tell these apart."""
        first = [view.data.members.index(run) for run in range(view.data.n_pieces)]
        return cls(view, sources.put(view.field.moved(sources.motion), active[:, first]))

    @property
    def active(self) -> Tensor:
        """How active each source is in each piece, (m, N): roots of relative variances."""
        return self.view.data.in_pieces(self.sources.on)


@dataclass(frozen=True)
class _Further:
    """A further source: place (1, q), factor (1, o, o), pieces (1, N), and offer less the cost."""

    place: Tensor
    factor: Tensor
    active: Tensor
    offer: float


def with_switching(look: Look, whole: View, settled: Settled, least: float) -> tuple[View, Settled]:
    """Choose the pieces of each source, and let in those that are active in a part of the data.

    They have settled in the view of the ``whole`` data. Gives the view in which they settle, of as
    few runs as their pieces ask for. Points and patches stay what they are.
    """
    fine = look.finest()
    sources = settled.sources
    now = look.put(sources, sources.places.new_ones(len(sources), look.n_pieces))
    offer = settled.offer
    for _ in range(MOST):
        better = _with_better_pieces(look, fine, now)
        if better is not now:
            now = better
            continue
        more, left = _with_further(look, now, _growing(look, fine, now), least)
        offer = max(settled.offer, left)
        if more is now:
            break
        now = more
    view = now.view
    if view.data.n_pieces == 1:
        return whole, replace(settled, offer=offer)
    found = refine(view.data, now.sources, view.field, view.grid, least, kinds=False)
    offer = max(found.offer, offer)
    last = _with_better_pieces(look, fine, Switched(view, found.sources))
    if last.sources is found.sources:
        return view, replace(found, offer=offer)
    view = last.view
    sources = settle(view.data, last.sources, view.field, Effort())
    return view, Settled(sources, log_evidence(view.data, sources), offer)


def gains(fine: View, sources: Sources, active: Tensor, levels: Sequence[float] = (1.0,)) -> Tensor:
    """Tell what each piece says for the activity of each source, all else given, in nats.

    At each of some variances relative to those of the sources, (m, levels, N).
    """
    own = sources.put(fine.field.moved(sources.motion), active)
    each = active.new_zeros(len(sources), len(levels), active.shape[1])
    for k in range(len(sources)):
        silent = _energies(fine, own, k, 0.0)
        for j, level in enumerate(levels):
            gain = silent - _energies(fine, own, k, level**0.5)
            each[k, j] = gain.unflatten(0, (-1, fine.data.n_pieces)).sum(0)
    return each


def with_flanks(fine: View, sources: Sources, levels: Sequence[float]) -> Tensor:
    """How active sources are in pieces (m, N): where they are silent, as weakly as the data say."""
    if (sources.on > 0).all():
        return sources.on
    weak = sources.on.new_tensor([0.0, *levels[1:]])
    gain = gains(fine, sources, sources.on, levels[1:])
    best = torch.cat([torch.zeros_like(gain[:, :1]), gain], 1).argmax(1)
    return torch.where(sources.on > 0, sources.on, weak.sqrt()[best])


def _energies(fine: View, sources: Sources, k: int, on: float) -> Tensor:
    """Energy n_r J_r / 2 of each run in nats, with source k always active, so strongly."""
    active = sources.on.clone()
    active[k] = on
    terms = whiten(fine.data, replace(sources, on=active)).runs
    return torch.stack(
        [run.n / 2 * term.energy for run, term in zip(fine.data.runs, terms, strict=True)]
    )


def _with_better_pieces(look: Look, fine: View, now: Switched) -> Switched:
    """Choose for each source the pieces that the data ask for."""
    if not len(now.sources):
        return now
    active = now.active
    gain = gains(fine, now.sources, active, look.choice.levels)
    best = torch.stack([look.choice.best(own) for own in gain])
    new, old = (_worth(look.choice, gain, own) for own in (best, active))
    better = new > old + BETTER
    best = torch.where(better[:, None], best, active)
    return _tried(look, now, now.sources, best, BETTER)[0] if better.any() else now


def _worth(choice: Choice, gain: Tensor, active: Tensor) -> Tensor:
    """Sum of the gains of each source's choice, less its cost, (m,)."""
    sums = [choice.worth(one, own) for one, own in zip(gain, active, strict=True)]
    return active.new_tensor(sums) - choice.cost(active)


def _with_further(
    look: Look, now: Switched, further: _Further, least: float
) -> tuple[Switched, float]:
    """Let in a source that is active in some pieces, if it is worth ``least`` nats or more.

    Gives also what it has to offer, once that is known.
    """
    if further.offer < least:
        return now, further.offer
    field = now.view.field.moved(now.sources.motion)
    new = Sources.at(field, further.place, further.factor, now.sources.noise)
    active = torch.cat([now.active, further.active])
    return _tried(look, now, now.sources.join(new), active, least)


def _tried(
    look: Look, now: Switched, new: Sources, active: Tensor, asked: float
) -> tuple[Switched, float]:
    """Take new sources, once settled in their pieces, if they are worth ``asked`` nats more.

    Both are looked at in the same runs, in which noise that goes on is known better than in many
    pieces. Gives also by how much they are better.
    """
    before = now.active
    there = look.put(new, active, before)
    data, field = there.view.data, there.view.field
    old = Switched.in_view(there.view, now.sources, before).sources
    trial = settle(data, there.sources, field, FIRM)
    gain = data.n / 2 * float(whiten(data, old).energy - whiten(data, trial).energy)
    gain -= float(data.cost(trial.on).sum() - data.cost(old.on).sum())
    if gain < asked:
        return now, gain
    return look.put(trial, Switched(there.view, trial).active), gain


def _growing(look: Look, fine: View, now: Switched) -> _Further:
    """Find where, and in which pieces, a further source would grow most."""
    tries, sources = look.choice.tries(), now.sources
    sources = sources.put(fine.field.moved(sources.motion), now.active)
    at = pull(fine.data, sources)
    step = -(-len(fine.grid.places) // LOOKED_AT)
    n = torch.tensor([run.n for run in fine.data.runs]).unflatten(0, (-1, look.n_pieces))
    chosen = tries.float()
    samples = (n.sum(0) @ chosen.T)[:, None]
    best = []
    for part in fine.grid.columns[:, ::step].split(CHUNK, 1):
        sums = []
        for rows in (at.root, at.seen):
            squares = at.grid_squares(rows, part).unflatten(0, n.shape)
            weighted = (n[..., None, None, None] * squares).sum(0)
            sums.append((chosen @ weighted.flatten(1)).unflatten(1, weighted.shape[1:]))
        rise = torch.stack(
            [growth(excess(*own)[0], min(at.shares)) for own in zip(*sums, strict=True)]
        )
        best.append(samples / 2 * rise)
    top, where = torch.cat(best, 1).double().max(1)
    here = fine.field.moved(sources.motion)
    offers = []
    for k in top.argsort(descending=True)[:PEAKS].tolist():
        start = fine.grid.places[[int(where[k]) * step]]
        some = at.during(tries[k])
        place, height, factor = climb(some, here, start)
        offer = some.n / 2 * float(height) - float(look.choice.cost(tries[[k]]))
        offers.append(_Further(place, factor, tries[[k]], offer))
    return _in_more_pieces(look, fine, sources, max(offers, key=lambda one: one.offer))


def _in_more_pieces(look: Look, fine: View, sources: Sources, further: _Further) -> _Further:
    """Choose more pieces for a further source, or fewer, with the prior that it has."""
    field = fine.field.moved(sources.motion)
    new = Sources.at(field, further.place, further.factor, sources.noise)
    active = torch.cat([sources.on, further.active])
    gain = gains(fine, sources.join(new), active, look.choice.levels)[-1:]
    best = look.choice.best(gain[0])[None]
    offer = float(_worth(look.choice, gain, best))
    return replace(further, active=best, offer=offer) if offer > further.offer else further
