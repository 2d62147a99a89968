"""Rounds of descent on the strongest candidates, until the certificate over all positions holds."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from meg_vae.model.exact.certificate import growth
from meg_vae.model.exact.descent import Trace, descend
from meg_vae.model.exact.dictionary import Dictionary
from meg_vae.model.exact.entry import let_in
from meg_vae.model.exact.point import Candidates, Point, evaluate
from meg_vae.model.exact.threads import few_threads
from meg_vae.model.misfit import Certainty

START = 128  # strongest positions after the sweeps, settled first
CANDIDATES = 256  # positions that may enter in one round
NEARLY = -0.02  # growth above which a position may soon want to enter
ROUGH, SHARPEN = 0.1, 0.02  # tolerance of the first round; of the next, relative to what is left
ROUGHLY, PRECISELY = 1.0, 10.0  # by how much the descent is finer than the entries, and at the end
FLOOR = 1e-10  # smallest noise variance, relative to the data's mean power


@dataclass(frozen=True)
class Solution:
    """A minimum of the energy.

    Leading dimensions are those of the data: none for (n_channels, n_samples).

    Attributes
    ----------
    factor : Tensor, shape (..., n_groups, n_orient, n_orient)
        R_g, with R_g R_gᵀ the prior covariance of the position g; zero for inactive positions.
    noise_variance : Tensor, shape (...,) or (..., n_channels)
        λ, for the whole array or for each channel.
    energy : Tensor, shape (...,)
        The profile J at the solution.
    history : Tensor, shape (n_steps, ...)
        J after every accepted step, never rising.
    certificate : Tensor, shape (...,)
        The largest violation of stationarity: q_g / s_g − 1 over the inactive positions, |γ_g(s_g −
        q_g)| over the active, and |λ(tr Σ⁻¹ − tr Σ⁻¹CΣ⁻¹)| where the noise is learnt.
    timings : dict of str: float
        Seconds spent in the sweeps, the descent and the certificate.
    """

    factor: Tensor
    noise_variance: Tensor
    energy: Tensor
    history: Tensor
    certificate: Tensor
    timings: dict[str, float]

    @property
    def gamma(self) -> Tensor:
        """Prior variance per position, tr(Γ_g) / n_orient, shape (..., n_groups)."""
        return self.factor.square().sum((-2, -1)) / self.factor.shape[-1]


def minimise(
    dictionary: Dictionary,
    F: Tensor,
    gamma: Tensor,
    noise: Tensor,
    *,
    learn: str,
    full: bool,
    tol: float,
    max_iter: int,
    certainty: Certainty,
) -> Solution:
    """Descend from a dense start until the certificate over all positions is below ``tol``.

    Parameters
    ----------
    dictionary : Dictionary
        All positions.
    F : Tensor, shape (batch, n_channels, k)
        Factor of the data covariance.
    gamma : Tensor, shape (batch, n_groups)
        Start.
    noise : Tensor, shape (batch, n_channels)
        Noise variances to start from.
    learn : str
        "none", "scalar" or "per_channel".
    full : bool
        Learn a full prior covariance per position.
    tol : float
        Target of the certificate.
    max_iter : int
        Most accepted steps.
    certainty : Certainty
        How far the covariance of the noise is known.

    Returns
    -------
    solution : Solution
        In the units of the normalised dictionary.
    """
    clock = _Clock()
    o = dictionary.n_orient
    eye = torch.eye(o, dtype=torch.float64, device=F.device)
    chosen = _strongest(gamma, gamma > 0, START)
    columns = dictionary.columns(chosen)
    candidates = Candidates.of(columns, F, full and o > 1, learn, certainty)
    point = evaluate(candidates, gamma[:, chosen, None, None].sqrt() * eye, noise)
    trace = Trace([point.J], max_iter)
    floor = FLOOR * float(F.square().sum() / F.shape[0] / F.shape[1])
    aim = ROUGH
    while True:
        settled = aim / (ROUGHLY if aim > tol else PRECISELY)
        with few_threads(len(F)):
            point, steepest, entered = _settle(
                candidates, point, tol=aim, settled=settled, floor=floor, trace=trace
            )
        clock.lap("descent")
        wish = growth(dictionary, point, chosen, full=candidates.full)
        clock.lap("certificate")
        largest = float(wish.max())
        # Where only candidates still want to enter and none could, rounding hides the gain.
        known = not bool((wish > tol).index_fill(1, chosen, False).any())
        if trace.left <= 0 or (aim <= tol and (largest <= tol or (known and not entered))):
            break
        aim = max(tol, min(aim, SHARPEN * largest))
        if largest <= tol:
            continue
        chosen, candidates, point = _next_round(dictionary, candidates, point, chosen, wish)
    certificate = torch.maximum(wish.amax(1).clamp_min(0.0), steepest)
    return Solution(
        factor=_scatter(point.R, chosen, dictionary.n_groups),
        noise_variance=point.noise,
        energy=point.J,
        history=torch.stack(trace.energies),
        certificate=certificate,
        timings=clock.laps,
    )


def _next_round(
    dictionary: Dictionary, candidates: Candidates, point: Point, chosen: Tensor, wish: Tensor
) -> tuple[Tensor, Candidates, Point]:
    """Choose the active positions and those that most want to enter for candidates."""
    factor = _scatter(point.R, chosen, dictionary.n_groups)
    active = factor.flatten(2).any(2).any(0)
    eager = _strongest(wish, wish > NEARLY, CANDIDATES)
    chosen = torch.cat([active.nonzero()[:, 0], eager[~active[eager]]])
    candidates = replace(candidates, Phi=dictionary.columns(chosen))
    return chosen, candidates, evaluate(candidates, factor[:, chosen], point.noise)


def _settle(
    candidates: Candidates,
    point: Point,
    *,
    tol: float,
    settled: float,
    floor: float,
    trace: Trace,
) -> tuple[Point, Tensor, bool]:
    """Descend among the candidates until none of them wants to enter."""
    any_entered = False
    while True:
        point, steepest = descend(candidates, point, tol=settled, floor=floor, trace=trace)
        if trace.left <= 0:
            return point, steepest, any_entered
        before = point
        point, entered = let_in(candidates, point, tol=tol)
        if not entered.any():
            return point, steepest, any_entered
        any_entered = True
        trace.add(before, point)


def _strongest(score: Tensor, eligible: Tensor, most: int) -> Tensor:
    """Give the union over the batch of each item's strongest eligible positions."""
    score = torch.where(eligible, score, -torch.inf)
    most = min(most, score.shape[1])
    best, where = score.topk(most, 1)
    return where[best > -torch.inf].unique()


def _scatter(R: Tensor, groups: Tensor, n_groups: int) -> Tensor:
    out = R.new_zeros(len(R), n_groups, *R.shape[2:])
    out[:, groups] = R
    return out


class _Clock:
    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._since = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = self.laps.get(name, 0.0) + now - self._since
        self._since = now
