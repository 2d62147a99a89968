"""Pieces of the data, and in which of them a source may be active.

One stretch of time is cut into pieces of time, in a span of which a source is active. Several
stretches, such as responses to several stimuli or single spikes, are a piece each, and a source is
active in any of them. A choice costs nats, as many as there are unlike ones to choose from: for a
span about as many as independent samples, for k of N stretches C(N, k) for each of N numbers k.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from meg_vae.model.sliding.recorded import Recorded

PIECES = 24  # of time, at most
FEWEST = 5.0  # independent samples of a piece of time
VAGUE = 0.05  # share of the data in what tells of the noise, above which spans are not learnt
LEVELS = (1.0, 0.1, 0.01, 1e-3, 1e-4)  # variance of a source relative to that in its span


class Choice(Protocol):
    """In which of N pieces a source may be active, given as roots of variances (N,)."""

    @property
    def n_pieces(self) -> int:
        """N."""

    @property
    def levels(self) -> tuple[float, ...]:
        """Variances at which a source may be active, the first 1."""

    def cost(self, active: Tensor) -> Tensor:
        """Nats that choices (m, N) cost, none where all pieces are chosen."""

    def best(self, gain: Tensor) -> Tensor:
        """Choose what the sum of gains (levels, N) in nats, less the cost, is largest in."""

    def worth(self, gain: Tensor, active: Tensor) -> float:
        """Sum of the gains (levels, N) of a choice (N,)."""

    def tries(self) -> Tensor:
        """List choices (t, N) with which a search for sources begins."""


@dataclass(frozen=True)
class Spans:
    """Pieces of time that follow each other, in a window of ``n`` independent samples.

    About its span a source may be active more weakly, in a wider one.
    """

    n_pieces: int
    n: float
    levels: tuple[float, ...] = LEVELS

    def cost(self, active: Tensor) -> Tensor:
        """Cost of a span, log n, and as much for a wider one."""
        kinds = (active < 1).any(1).to(active) + ((active > 0) & (active < 1)).any(1).to(active)
        return math.log(self.n) * kinds

    def best(self, gain: Tensor) -> Tensor:
        """Take the spans with the largest sum, from the gains (levels, N) at each level."""
        alone = self._best_span(gain[0])
        choices = [torch.ones_like(alone), alone]
        choices += [
            self._with_flanks(gain[0], weak, level**0.5)
            for weak, level in zip(gain[1:], self.levels[1:], strict=True)
        ]
        worth = [self.worth(gain, own) - float(self.cost(own[None])) for own in choices]
        return choices[max(range(len(choices)), key=worth.__getitem__)]

    def worth(self, gain: Tensor, active: Tensor) -> float:
        """Sum of the gains (levels, N) of pieces active (N,) at some of the levels."""
        sizes = gain.new_tensor(self.levels).sqrt()
        near = (active[None] - sizes[:, None]).abs() < 1e-6
        return float((gain * near).sum())

    def _best_span(self, gain: Tensor) -> Tensor:
        total = torch.cat([gain.new_zeros(1), gain.cumsum(0)])
        sums = total - total[:, None]
        behind = torch.ones_like(sums, dtype=torch.bool).tril()  # none is empty
        first, last = divmod(int(sums.masked_fill(behind, -math.inf).argmax()), len(total))
        return self._of(first, last, gain)

    def _with_flanks(self, full: Tensor, weak: Tensor, size: float) -> Tensor:
        """Best span within a wider one: silent, weak, active, weak, silent, in this order."""
        gains = torch.stack([0 * full, weak, full, weak, 0 * full])
        best, came = gains[:, 0].clone(), []
        best[3:] = -math.inf
        for k in range(1, self.n_pieces):
            before = torch.stack([best.roll(j) for j in range(3)])  # stay, or one or two further
            before[1, :1], before[2, :2] = -math.inf, -math.inf
            before[2, 3] = -math.inf  # none is weak alone
            top, step = before.max(0)
            came.append(step)
            best = top + gains[:, k]
        state = 2 + int(best[2:].argmax())
        states = [state]
        for step in reversed(came):
            states.append(states[-1] - int(step[states[-1]]))
        values = full.new_tensor([0.0, size, 1.0, size, 0.0])
        return values[torch.tensor(states[::-1])]

    def tries(self) -> Tensor:
        """Spans of 1, 2, 4, ... pieces, each half a length behind the other."""
        spans, length = [], 1
        while length < self.n_pieces:
            step, end = max(length // 2, 1), self.n_pieces - length
            spans += [(a, a + length) for a in sorted({*range(0, end + 1, step), end})]
            length *= 2
        like = torch.zeros(1, dtype=torch.float64)
        return torch.stack([self._of(*span, like) for span in spans])

    def _of(self, first: int, last: int, like: Tensor) -> Tensor:
        number = torch.arange(self.n_pieces)
        return ((number >= first) & (number < last)).to(like)


@dataclass(frozen=True)
class Subsets:
    """Any of ``n_pieces`` stretches."""

    n_pieces: int
    levels: tuple[float, ...] = (1.0,)

    def cost(self, active: Tensor) -> Tensor:
        """Cost of k of N, log C(N, k) + log N."""
        return self._costs().to(active)[active.sum(1).long()]

    def best(self, gain: Tensor) -> Tensor:
        """Take the largest gains, of which the sum grows by more than the cost."""
        (gain,) = gain
        order = gain.argsort(descending=True)
        heights = gain[order].cumsum(0) - self._costs().to(gain)[1:]
        chosen = torch.zeros_like(gain)
        chosen[order[: int(heights.argmax()) + 1]] = 1.0
        return chosen

    def worth(self, gain: Tensor, active: Tensor) -> float:
        """Sum of the gains (1, N) of those chosen."""
        return float(gain[0] @ active)

    def tries(self) -> Tensor:
        """Each stretch alone."""
        return torch.eye(self.n_pieces, dtype=torch.float64)

    def _costs(self) -> Tensor:
        """Cost of 0, 1, ... N stretches."""
        N, k = float(self.n_pieces), torch.arange(self.n_pieces + 1, dtype=torch.float64)
        costs = math.lgamma(N + 1) - (k + 1).lgamma() - (N - k + 1).lgamma() + math.log(N)
        costs[-1] = 0.0
        return costs


def in_pieces(recorded: Sequence[Recorded]) -> tuple[list[Recorded], Choice | None]:
    """Cut recordings into as many pieces each; uncut, without a choice, where that cannot be.

    Nor where the noise is known from few samples: a short span would then say nearly nothing.
    """
    if any(one.stretches is None for one in recorded):
        return list(recorded), None
    stretches = [list(one.stretches or ()) for one in recorded]
    (number,) = numbers if len(numbers := {len(own) for own in stretches}) == 1 else (0,)
    if number > 1:
        ends = [np.cumsum([0, *own]).tolist() for own in stretches]
        return _cut(recorded, ends), Subsets(number)
    counts = [one.independent()[0][1] for one in recorded]
    lengths = {own[0] for own in stretches}
    n_pieces = min(PIECES, int(min(counts) / FEWEST), *lengths)
    shares = [
        one.noise.certainty(n, one.dictionary.n_channels).share
        for one, n in zip(recorded, counts, strict=True)
    ]
    if number != 1 or len(lengths) > 1 or n_pieces < 2 or max(shares) > VAGUE:
        return list(recorded), None
    edges = [round(k * stretches[0][0] / n_pieces) for k in range(n_pieces + 1)]
    return _cut(recorded, [edges] * len(recorded)), Spans(n_pieces, sum(counts))


def cut_at(recorded: Sequence[Recorded], spans: ArrayLike | None) -> tuple[list[Recorded], Tensor]:
    """Cut recordings of one stretch where spans (m, 2) in samples begin and end.

    Gives also the pieces (m, n_pieces) that are in each span.
    """
    given = np.asarray(np.zeros((0, 2)) if spans is None else spans, dtype=np.float64)
    length = (recorded[0].stretches or [recorded[0].X.shape[1]])[0]
    inside = given.clip(0, length)
    edges = np.unique(np.r_[0, inside.ravel(), length]).astype(int).tolist()
    starts = torch.as_tensor(np.array(edges[:-1]))
    active = [(starts >= first) & (starts < last) for first, last in inside.tolist()]
    cut = _cut(recorded, [edges] * len(recorded)) if len(edges) > 2 else list(recorded)
    none = torch.zeros(0, len(starts), dtype=torch.bool)
    return cut, (torch.stack(active) if active else none).to(torch.float64)


def _cut(recorded: Sequence[Recorded], edges: Sequence[Sequence[int]]) -> list[Recorded]:
    return [replace(one, edges=tuple(own)) for one, own in zip(recorded, edges, strict=True)]


def span_in_samples(active: Tensor, edges: Sequence[int]) -> tuple[float, float]:
    """First sample of pieces (n_pieces,) that follow each other, and the one behind the last."""
    if (active == 1).all():
        return -math.inf, math.inf
    ends = [pair for pair, on in zip(pairwise(edges), active.tolist(), strict=True) if on == 1]
    return float(ends[0][0]), float(ends[-1][1])
