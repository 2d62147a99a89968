"""Keep the sources that the data speak for: backward elimination by log evidence.

One generator between two positions gives a source to each of them and splits its evidence. Such
neighbours are judged together, by what is lost when all of them are taken out. A prior weight of
their positions counts like evidence, that of a cluster being the largest of its members'.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from meg_vae.model.encoders import optimal_encoder
from meg_vae.model.evidence import (
    cluster_log_evidence,
    likeness,
    source_log_evidence,
)
from meg_vae.model.exact.descent import Trace, descend
from meg_vae.model.exact.dictionary import Dictionary
from meg_vae.model.exact.point import Candidates, Point, evaluate
from meg_vae.model.exact.pulls import active_pulls
from meg_vae.model.exact.threads import few_threads
from meg_vae.model.fit import Fit
from meg_vae.model.noise_variance import FLOOR

COUPLED = 0.3  # sources whose posteriors are tied more than this are not taken out together
AT_ONCE = 0.25  # part of the weak sources that goes in one round
SAME = 0.5  # sources more alike than this, in field and in time course, share one generator


@dataclass(frozen=True)
class Judged:
    """Sources with what speaks for them.

    ``kept`` (m,) of those that were given, with their ``candidates`` and settled at a ``point``;
    log evidence of each, ``own`` (m,), of its ``cluster`` (m,), ``joint`` (m,), in nats; which are
    ``tied`` (m, m), not to be taken out together; ``weights`` of all that were given, in nats.
    """

    kept: Tensor
    candidates: Candidates
    point: Point
    own: Tensor
    cluster: Tensor
    joint: Tensor
    tied: Tensor
    weights: Tensor

    def as_fit(self, whole: Fit, dictionary: Dictionary) -> Fit:
        """Give these sources, ``kept`` being positions of a dictionary, of a fit to all of it."""
        noise = self.point.noise[0]
        return replace(
            whole,
            positions=self.kept,
            columns=dictionary.as_given(self.kept),
            factor=self.point.R[0],
            noise_variance=self.candidates.variance.given(noise),
            n_directions=len(noise),
            energy=self.point.J[0],
            log_evidence=self.own,
            cluster=self.cluster,
            cluster_log_evidence=self.joint,
        )

    @property
    def own_worth(self) -> Tensor:
        """Evidence and weight of each source."""
        return self.own + self.weights[self.kept]

    @property
    def joint_worth(self) -> Tensor:
        """Evidence and largest weight of its cluster."""
        most = self.joint.new_full((len(self.kept),), -torch.inf)
        most.scatter_reduce_(0, self.cluster, self.weights[self.kept], "amax")
        return self.joint + most[self.cluster]


def select(
    candidates: Candidates,
    factor: Tensor,
    noise: Tensor,
    weights: Tensor,
    *,
    n_effective: float,
    min_log_evidence: float,
    tol: float,
) -> Judged:
    """Take out the weakest sources, settle the rest, and repeat until all carry enough evidence.

    A cluster goes where all of it together carries too little. In one that stays, the members
    that carry too little go one by one, each handing its share to the others, as long as the
    cluster keeps enough evidence without it. So a generator between positions is reported once,
    or as a cluster where no single position can explain it, and never lost by being split.

    Parameters
    ----------
    candidates : Candidates
        Data and the columns of the active positions, a batch of one.
    factor : Tensor, shape (n_active, n_orient, n_orient)
        Their prior factors.
    noise : Tensor, shape (n_channels,)
        Noise variance.
    weights : Tensor, shape (n_active,)
        Prior weights in nats; 0 without an opinion.
    n_effective : float
        Independent samples.
    min_log_evidence : float
        Evidence below which a source goes, in nats.
    tol : float
        To which the rest is settled.

    Returns
    -------
    judged : Judged
        What is left; possibly nothing.
    """
    kept = torch.arange(len(factor), device=factor.device)
    point = evaluate(candidates, factor[None], noise[None])
    now = _judge(kept, candidates, point, n_effective, weights)
    spared = torch.zeros_like(kept, dtype=torch.bool)  # of all given
    while True:
        go = _weakest(now, spared[now.kept], min_log_evidence)
        if not go.any():
            return now
        after = _without(now, go, n_effective, tol)
        split = _split(now, go, after, min_log_evidence)
        if split.any():
            spared[now.kept[split]] = True
        else:
            now = after


def _judge(
    kept: Tensor, candidates: Candidates, point: Point, n_effective: float, weights: Tensor
) -> Judged:
    """Find the evidence of each source and of its cluster."""
    o = candidates.Phi.shape[2]
    encoder, F = optimal_encoder(point.P[0], point.noise[0]), candidates.F[0]
    weighted, share = point.L[0] @ point.B[0], candidates.share
    alike = likeness(encoder, point.P[0], F, point.noise[0], o)
    cluster = _connected(alike > SAME)
    m = len(kept)
    K = active_pulls(encoder, weighted)[0]
    size = K.reshape(m, o, m, o).square().sum((1, 3)).sqrt()
    length = size.diagonal().sqrt()
    return Judged(
        kept=kept,
        candidates=candidates,
        point=point,
        own=source_log_evidence(encoder, weighted, o, n_effective, share),
        cluster=cluster,
        joint=cluster_log_evidence(encoder, weighted, o, n_effective, cluster, share),
        tied=(size > COUPLED * length[:, None] * length) | (cluster[:, None] == cluster),
        weights=weights,
    )


def _connected(linked: Tensor) -> Tensor:
    """Count the connected components of a symmetric graph, in the order of their first member."""
    label = torch.arange(len(linked), device=linked.device)
    linked = linked | torch.eye(len(linked), dtype=torch.bool, device=linked.device)
    while len(label):
        lower = torch.where(linked, label, len(label)).amin(1)
        if torch.equal(lower, label):
            break
        label = lower
    return label.unique(return_inverse=True)[1]


def _weakest(now: Judged, spared: Tensor, min_log_evidence: float) -> Tensor:
    """Choose what goes next, weakest first: whole weak clusters, and single weak members."""
    own, joint = now.own_worth, now.joint_worth
    hopeless = joint < min_log_evidence
    weak = hopeless | ((own < min_log_evidence) & ~spared)
    go = torch.zeros_like(weak)
    for g in torch.where(hopeless, joint, own).argsort().tolist():
        members = (now.cluster == now.cluster[g]) if hopeless[g] else _only(g, weak)
        if weak[g] and not go[g] and not now.tied[members][:, go].any():
            go |= members
        if go.sum() >= AT_ONCE * weak.sum():  # the rest may be stronger once these are gone
            break
    return go


def _only(g: int, like: Tensor) -> Tensor:
    mask = torch.zeros_like(like)
    mask[g] = True
    return mask


def _without(now: Judged, go: Tensor, n_effective: float, tol: float) -> Judged:
    """Take out some sources and settle the rest."""
    kept, candidates = now.kept[~go], now.candidates.only(~go)
    point = evaluate(candidates, now.point.R[:, ~go], now.point.noise)
    F = candidates.F[0]
    floor = FLOOR * float(F.square().sum() / len(F))
    with few_threads(batch=1):
        point, _ = descend(candidates, point, tol=tol, floor=floor, trace=Trace([point.J], 200))
    alive = point.active[0]
    if not alive.all():
        kept, candidates, point = kept[alive], candidates.only(alive), point.only(alive)
    return _judge(kept, candidates, point, n_effective, now.weights)


def _split(now: Judged, go: Tensor, after: Judged, min_log_evidence: float) -> Tensor:
    """Find clusters that had enough evidence and lost it with the member that went."""
    joint = torch.full_like(now.joint, -torch.inf)
    joint[torch.isin(now.kept, after.kept)] = after.joint_worth
    lost = torch.zeros_like(go)
    for number in now.cluster[go & (now.joint_worth >= min_log_evidence)].unique():
        members = now.cluster == number
        if joint[members].max() < min_log_evidence:
            lost |= members
    return lost
