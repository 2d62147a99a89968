"""Where weights differ, sources on the grid move and enter by evidence and weight together."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from meg_vae.model.evidence import possible_gain
from meg_vae.model.exact.descent import Trace, descend
from meg_vae.model.exact.dictionary import Dictionary
from meg_vae.model.exact.point import Candidates, Point, evaluate
from meg_vae.model.exact.threads import few_threads
from meg_vae.model.fit import Fit
from meg_vae.model.judging import Judged, select
from meg_vae.model.noise_variance import FLOOR
from meg_vae.model.weights import ALONE

MOST = 40  # moves at most
BETTER = 0.1  # nats by which another position must be better for a cluster to move there
START = 0.1  # of the variance of the sources' fields: where a new one starts


@dataclass(frozen=True)
class Weighing:
    """All that the moves look at.

    Attributes
    ----------
    dictionary : Dictionary
        All positions.
    whole : Fit
        The minimum over all positions.
    X : Tensor, shape (n_channels, n_samples)
        Data.
    seen : Dictionary
        The dictionary in the directions that the sources are settled in.
    data : Candidates
        The data there, with the columns of some positions.
    weights : Tensor, shape (n_groups,)
        Weights in nats as they count; −inf excludes.
    n_effective : float
        Independent samples.
    min_log_evidence : float
        Evidence and weight asked of a source, in nats.
    tol : float
        To which sources are settled.
    """

    dictionary: Dictionary
    whole: Fit
    X: Tensor
    seen: Dictionary
    data: Candidates
    weights: Tensor
    n_effective: float
    min_log_evidence: float
    tol: float

    def candidates(self, kept: Tensor) -> Candidates:
        """Columns of some positions, with the data."""
        return replace(self.data, Phi=self.seen.as_given(kept))

    def worth(self, now: Judged, stay: Tensor) -> Tensor:
        """Evidence and weight in nats of each position beside the sources that stay."""
        beside = now.as_fit(self.whole, self.dictionary).only(stay)
        known = {"n_effective": self.n_effective, "share": self.data.share}
        gain = possible_gain(self.dictionary, beside, self.X, prior=self.data.prior, **known)
        return torch.where(gain > 0, gain + self.weights, -torch.inf)

    def with_new(self, now: Judged, stay: Tensor, new: int) -> tuple[Tensor, Point]:
        """Settle the sources that stay together with a new one."""
        kept = torch.cat([now.kept[stay], now.kept.new_tensor([new])])
        candidates = self.candidates(kept)
        o = candidates.Phi.shape[2]
        power = candidates.Phi.square().sum((0, 2))
        mean_power = self.data.F.square().sum() / self.data.F.shape[1]
        size = START * mean_power / power[-1]
        one = size.sqrt() * torch.eye(o, dtype=size.dtype, device=size.device)
        factor = torch.cat([now.point.R[0, stay], one[None]])
        point = evaluate(candidates, factor[None], now.point.noise)
        floor = FLOOR * float(mean_power)
        with few_threads(batch=1):
            point, _ = descend(
                candidates, point, tol=self.tol, floor=floor, trace=Trace([point.J], 200)
            )
        return kept, point

    def judged(self, kept: Tensor, point: Point) -> Judged:
        """Take out what is then worth too little."""
        alive = point.active[0]
        kept, point = kept[alive], point.only(alive)
        order = kept.argsort()
        chosen = select(
            self.candidates(kept[order]),
            point.R[0, order],
            point.noise[0],
            self.weights[kept[order]],
            n_effective=self.n_effective,
            min_log_evidence=self.min_log_evidence,
            tol=self.tol,
        )
        return replace(chosen, kept=kept[order][chosen.kept])

    def fall(self, now: Judged, point: Point) -> float:
        """Log evidence gained, in nats."""
        return self.n_effective / 2 * float(now.point.J[0] - point.J[0])


def weighed(now: Judged, weighing: Weighing) -> Judged:
    """Let sources enter and move until none is worth more elsewhere.

    Parameters
    ----------
    now : Judged
        Sources; ``kept`` are positions of the dictionary.
    weighing : Weighing
        The positions, their weights and the data.

    Returns
    -------
    judged : Judged
        What is left.
    """
    for _ in range(MOST):
        settled = _entered(now, weighing) or _moved(now, weighing)
        if settled is None:
            break
        now = weighing.judged(*settled)
    return now


def _entered(now: Judged, weighing: Weighing) -> tuple[Tensor, Point] | None:
    """Let in the position that is worth most, if that is enough."""
    stay = torch.ones_like(now.kept, dtype=torch.bool)
    worth = weighing.worth(now, stay)
    new = int(worth.argmax())
    enough = max(weighing.min_log_evidence, ALONE)
    if not worth[new] >= enough:
        return None
    kept, point = weighing.with_new(now, stay, new)
    gain = weighing.fall(now, point) + float(weighing.weights[new])
    return (kept, point) if gain >= enough else None


def _moved(now: Judged, weighing: Weighing) -> tuple[Tensor, Point] | None:
    """Put one source in the place of a cluster, the weakest first, where it is worth more."""
    for number in now.cluster[now.joint.argsort()].unique_consecutive():
        stay = now.cluster != number
        own = float(weighing.weights[now.kept[~stay]].max())
        worth = weighing.worth(now, stay)
        new = int(worth.argmax())
        if not worth[new] > float(now.joint[~stay][0]) + own + BETTER:
            continue
        kept, point = weighing.with_new(now, stay, new)
        if weighing.fall(now, point) + float(weighing.weights[new]) - own > BETTER:
            return kept, point
    return None
