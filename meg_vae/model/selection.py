"""Keep the sources that the data speak for: backward elimination by log evidence."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from meg_vae.model.encoders import optimal_encoder
from meg_vae.model.evidence import source_log_evidence
from meg_vae.model.exact.descent import Trace, descend
from meg_vae.model.exact.point import Candidates, Point, evaluate
from meg_vae.model.exact.rounds import FLOOR

COUPLED = (
    0.3  # two sources that share more than this of what they explain are not taken out together
)


@dataclass(frozen=True)
class Selection:
    """The sources that are left.

    Attributes
    ----------
    kept : Tensor of int, shape (n_kept,)
        Which of the given sources.
    factor : Tensor, shape (n_kept, n_orient, n_orient)
        Their prior factors, settled anew.
    noise_variance : Tensor, shape (n_channels,)
        Noise variance, settled anew where it is learnt.
    log_evidence : Tensor, shape (n_kept,)
        Log evidence of each, in nats.
    energy : Tensor, shape ()
        The energy J of this smaller model.
    """

    kept: Tensor
    factor: Tensor
    noise_variance: Tensor
    log_evidence: Tensor
    energy: Tensor


def select(
    candidates: Candidates,
    factor: Tensor,
    noise: Tensor,
    *,
    n_effective: float,
    min_log_evidence: float,
    tol: float,
) -> Selection:
    """Take out the weakest sources, settle the rest, and repeat until all carry enough evidence.

    One source that two neighbouring positions share splits its evidence between them. Taking out
    the weaker of the two hands its share to the other, so such a source is kept, once.

    Parameters
    ----------
    candidates : Candidates
        Data and the columns of the active positions, a batch of one.
    factor : Tensor, shape (n_active, n_orient, n_orient)
        Their prior factors.
    noise : Tensor, shape (n_channels,)
        Noise variance.
    n_effective : float
        Independent samples.
    min_log_evidence : float
        Evidence below which a source goes, in nats.
    tol : float
        To which the rest is settled.

    Returns
    -------
    selection : Selection
        What is left; possibly nothing.
    """
    kept = torch.arange(len(factor), device=factor.device)
    F = candidates.F[0]
    floor = FLOOR * float(F.square().sum() / len(F))
    point = evaluate(candidates, factor[None], noise[None])
    while True:
        evidence, coupling = _judge(candidates, point, n_effective)
        weak = evidence < min_log_evidence
        if not weak.any():
            return Selection(kept, point.R[0], point.noise[0], evidence, point.J[0])
        stay = ~_weakest(evidence, coupling, weak)
        kept, candidates = kept[stay], candidates.only(stay)
        point = evaluate(candidates, point.R[:, stay], point.noise)
        point, _ = descend(candidates, point, tol=tol, floor=floor, trace=Trace([point.J], 200))
        alive = point.active[0]
        if not alive.all():
            kept, candidates, point = kept[alive], candidates.only(alive), point.only(alive)


def _judge(candidates: Candidates, point: Point, n_effective: float) -> tuple[Tensor, Tensor]:
    """Evidence of each source, and how much each two share, from 0 to 1."""
    o = candidates.Phi.shape[2]
    encoder = optimal_encoder(point.P[0], point.noise[0])
    evidence = source_log_evidence(encoder, candidates.F[0], o, n_effective)
    m = len(evidence)
    K = torch.eye(m * o, dtype=point.J.dtype, device=point.J.device) - encoder.covariance
    size = K.reshape(m, o, m, o).square().sum((1, 3)).sqrt()
    own = size.diagonal().sqrt()
    return evidence, size / (own[:, None] * own)


def _weakest(evidence: Tensor, coupling: Tensor, weak: Tensor) -> Tensor:
    """Choose weak sources to take out, weakest first, none coupled to one that goes already."""
    go = torch.zeros_like(weak)
    for g in evidence.argsort().tolist():
        if weak[g] and not (coupling[g] > COUPLED)[go].any():
            go[g] = True
    return go
