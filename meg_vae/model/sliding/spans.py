r"""When sources are active: each has a span of time, in which alone it adds to the data.

A source that is active for a part of a long window is diluted in it: its prior is a mean over all
samples. So the window is cut into pieces, and a source is silent in those outside its span. Given
all else, what piece s says for the activity of a source with prior AAᵀ is

.. math:: g_s = \tfrac{n_s}{2} (J_s^\text{silent} - J_s^\text{active}),

so that its best span is that with the largest sum. A further source is looked for in spans of a
ladder of lengths: with S = LᵀΣ⁻¹L and Q = LᵀΣ⁻¹CΣ⁻¹L summed over the pieces of a span it grows as
in `meg_vae.model.sliding.growth`. A span that is not the whole window costs log(n) nats with n
independent samples in the window, about as many as there are unlike spans to choose from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from meg_vae.model.misfit import growth
from meg_vae.model.sliding.choice import BETTER
from meg_vae.model.sliding.descent import FIRM, settle
from meg_vae.model.sliding.growth import climb, excess, pull
from meg_vae.model.sliding.recorded import Recorded
from meg_vae.model.sliding.slide import MOST, Settled, refine
from meg_vae.model.sliding.sources import Sources, whiten
from meg_vae.model.sliding.view import View

Span = tuple[int, int]  # its first piece, and the one behind its last

PIECES = 24  # at most
FEWEST = 5.0  # independent samples of a piece
LOOKED_AT = 2500  # positions of the grid at which a search for spans begins
PEAKS = 3  # spans that are climbed from
CHUNK = 512  # positions at a time


@dataclass(frozen=True)
class Look:
    """Recordings in ``n_pieces`` of time: ``at(cuts)`` views those between two cuts as one run."""

    at: Callable[[Sequence[int]], View]
    n_pieces: int

    def __call__(self, cuts: Sequence[int]) -> View:
        """View the data with as few runs as the cuts ask for."""
        return self.at(cuts)

    @property
    def finest(self) -> View:
        """View every piece as a run."""
        return self.at(range(self.n_pieces + 1))


@dataclass(frozen=True)
class _Spanned:
    """Sources in a view that is cut where their spans begin and end."""

    view: View
    sources: Sources

    @property
    def spans(self) -> list[Span]:
        """The span of each source."""
        return spans_of(self.view, self.sources)


@dataclass(frozen=True)
class _Short:
    """A further source in a span: place (1, q), factor (1, o, o), and its offer, less the cost."""

    place: Tensor
    factor: Tensor
    span: Span
    offer: float


def in_pieces(recorded: Sequence[Recorded]) -> list[Recorded]:
    """Cut the time of recordings into pieces, the same in all; uncut where that cannot be."""
    if any(one.stretches is None for one in recorded):
        return list(recorded)
    lengths = {n for one in recorded for n in one.stretches or ()}
    length = min(lengths)
    fewest = min(
        sum(n for _, n in one.independent()) / len(one.stretches or ()) for one in recorded
    )
    number = min(PIECES, int(fewest / FEWEST), length)
    if len(lengths) > 1 or number < 2:
        return list(recorded)
    edges = tuple(round(k * length / number) for k in range(number + 1))
    return [replace(one, edges=edges) for one in recorded]


def cut_at(recorded: Sequence[Recorded], spans: ArrayLike | None) -> list[Recorded]:
    """Cut recordings where spans (m, 2) in samples begin and end; uncut where none does."""
    ends = np.unique(np.asarray([] if spans is None else spans))
    ends = ends[np.isfinite(ends)].astype(int).tolist()
    length = (recorded[0].stretches or [0])[0]
    edges = tuple(sorted({0, length, *ends}))
    return [replace(one, edges=edges) if ends else one for one in recorded]


def in_numbers(edges: Sequence[int], span: Sequence[float]) -> Span:
    """Give the numbers of the pieces between edges that are within a span in samples."""
    first, last = np.searchsorted(edges, span).clip(0, len(edges) - 1)
    return int(first), int(last)


def with_cost(view: View) -> View:
    """Let sources that are active in a part of the window cost what their spans do."""
    return replace(view, data=replace(view.data, switching=math.log(view.data.n)))


def with_spans(look: Look, whole: View, settled: Settled, least: float) -> tuple[View, Settled]:
    """Give sources their spans, and let in those that are active in a part of the window.

    They have settled in the view of the ``whole`` window. Gives the view in which they settle, of
    as few runs as their spans ask for.
    """
    fine = look.finest
    now = _put(look, settled.sources, [(0, look.n_pieces)] * len(settled.sources))
    offer = settled.offer
    for _ in range(MOST):
        better = _with_better_spans(look, fine, now)
        short = _growing(fine, better, now.view.data.switching)
        offer = max(settled.offer, short.offer)
        more = _with_short(look, better, short, least)
        if more is now:
            break
        now = more
    if now.view.data.n_pieces == 1:
        return whole, replace(settled, offer=offer)
    view = now.view
    found = refine(view.data, now.sources, view.field, view.grid, least)
    return view, replace(found, offer=max(found.offer, offer))


def _put(look: Look, sources: Sources, spans: list[Span], *others: Span) -> _Spanned:
    """Look at sources in as few runs as their spans, and others, ask for."""
    view = with_cost(look(sorted({0, look.n_pieces}.union(*spans, *others))))
    return _Spanned(view, in_spans(view, sources, spans))


def _with_better_spans(look: Look, fine: View, now: _Spanned) -> _Spanned:
    """Change the spans of sources to what the data ask for."""
    spans = now.spans
    best = _best_spans(fine, in_spans(fine, now.sources, spans), spans, now.view.data.switching)
    return now if best == spans else _tried(look, now, now.sources, best, BETTER)


def _with_short(look: Look, now: _Spanned, short: _Short, least: float) -> _Spanned:
    """Let in a source that is active in a span, if it is worth ``least`` nats or more."""
    if short.offer < least:
        return now
    there = _put(look, now.sources, now.spans, short.span)
    here = there.view.field.moved(there.sources.motion)
    new = Sources.at(here, short.place, short.factor, there.sources.noise)
    return _tried(look, now, there.sources.join(new), [*now.spans, short.span], least)


def _tried(look: Look, now: _Spanned, new: Sources, spans: list[Span], asked: float) -> _Spanned:
    """Take new sources, once settled in their spans, if they are worth ``asked`` nats more."""
    there = _put(look, new, spans, *now.spans)
    data, field = there.view.data, there.view.field
    before = whiten(data, in_spans(there.view, now.sources, now.spans)).energy
    trial = settle(data, there.sources, field, FIRM)
    gain = data.n / 2 * float(before - whiten(data, trial).energy)
    gain -= float(data.cost(trial).sum() - now.view.data.cost(now.sources).sum())
    return _put(look, trial, spans_of(there.view, trial)) if gain >= asked else now


def spans_of(view: View, sources: Sources) -> list[Span]:
    """List the spans of sources in a view."""
    on = sources.on.expand(-1, view.data.n_pieces).to(torch.int8)
    starts, last = on.argmax(1).tolist(), (on.shape[1] - on.flip(1).argmax(1)).tolist()
    return [(view.cuts[a], view.cuts[b]) for a, b in zip(starts, last, strict=True)]


def in_spans(view: View, sources: Sources, spans: list[Span]) -> Sources:
    """Put sources into a view, each active in its span."""
    on = torch.stack([pieces_of(view, span) for span in spans]) if spans else None
    return sources.put(view.field.moved(sources.motion), on)


def pieces_of(view: View, span: Span) -> Tensor:
    """Pieces of a view that are within a span, (n_pieces,), ones and zeros."""
    return view.noise.new_tensor([float(span[0] <= a < span[1]) for a in view.cuts[:-1]])


def _best_spans(fine: View, sources: Sources, spans: list[Span], cost: float) -> list[Span]:
    """Find the span of each source that the data ask for, all else given."""
    best = []
    for k, span in enumerate(spans):
        silent, loud = (
            _energies(fine, replace(sources, on=_switched(sources.on, k, active)))
            for active in (0.0, 1.0)
        )
        gain = (silent - loud).reshape(-1, fine.data.n_pieces).sum(0)
        total = torch.cat([gain.new_zeros(1), gain.cumsum(0)])
        own = float(total[span[1]] - total[span[0]])
        sums = total - total[:, None] - cost
        sums[0, -1] += cost
        n = len(total)
        a, b = divmod(int(sums.triu(1).add(torch.full((n, n), -math.inf).tril()).argmax()), n)
        whole = span == (0, n - 1)
        best.append((a, b) if float(sums[a, b]) > own - cost * (not whole) + BETTER else span)
    return best


def _energies(view: View, sources: Sources) -> Tensor:
    """Energy n_r J_r / 2 of each run, in nats."""
    terms = zip(view.data.runs, whiten(view.data, sources).runs, strict=True)
    return torch.stack([run.n / 2 * term.energy for run, term in terms])


def _switched(on: Tensor, k: int, active: float) -> Tensor:
    """Pieces (m, n_pieces) in which sources are active, source k always or never."""
    changed = on.clone()
    changed[k] = active
    return changed


def _growing(fine: View, now: _Spanned, cost: float) -> _Short:
    """Find where, and in which span, a further source would grow most."""
    n_pieces = fine.data.n_pieces
    spans, sources = _ladder(n_pieces), in_spans(fine, now.sources, now.spans)
    at = pull(fine.data, sources)
    step = -(-len(fine.grid.places) // LOOKED_AT)
    columns = fine.grid.columns[:, ::step]
    n = torch.tensor([run.n for run in fine.data.runs])
    best = []
    for part in columns.split(CHUNK, 1):
        S, Q = (
            (n[:, None, None, None] * at.grid_squares(rows, part))
            .unflatten(0, (-1, n_pieces))
            .sum(0)
            .cumsum(0)
            for rows in (at.root, at.seen)
        )
        S, Q = (torch.cat([x.new_zeros(1, *x.shape[1:]), x]) for x in (S, Q))
        own = []
        for a, b in spans:
            ratio = excess(S[b] - S[a], Q[b] - Q[a])[0]
            size = n.reshape(-1, n_pieces)[:, a:b].sum()
            own.append(size / 2 * growth(ratio, min(at.shares)))
        best.append(torch.stack(own))
    found = torch.cat(best, 1).double()
    top, where = found.max(1)
    here = fine.field.moved(sources.motion)
    offers = []
    for k in top.argsort(descending=True)[:PEAKS].tolist():
        start = fine.grid.places[[int(where[k]) * step]]
        on = pieces_of(fine, spans[k])
        place, height, factor = climb(at.during(on), here, start)
        offer = fine.data.n / 2 * float(height) - cost
        offers.append(_Short(place, factor, spans[k], offer))
    return max(offers, key=lambda one: one.offer)


def _ladder(n: int) -> list[Span]:
    """Spans of 1, 2, 4, ... pieces, each half a length behind the other."""
    spans = []
    length = 1
    while length < n:
        starts = {*range(0, n - length + 1, max(length // 2, 1)), n - length}
        spans += [(a, a + length) for a in sorted(starts)]
        length *= 2
    return spans
