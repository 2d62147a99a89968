"""Rounds of descent on the strongest candidates, until the certificate over all positions holds."""

from __future__ import annotations

import time
from dataclasses import replace

import torch
from torch import Tensor

from meg_vae.model.exact.certificate import growth
from meg_vae.model.exact.descent import Trace, settle
from meg_vae.model.exact.dictionary import Dictionary
from meg_vae.model.exact.entry import enter
from meg_vae.model.exact.model import Model
from meg_vae.model.exact.point import Candidates, evaluate
from meg_vae.model.exact.threads import few_threads
from meg_vae.model.fit import Fit
from meg_vae.model.misfit import Certainty
from meg_vae.model.noise_variance import FLOOR, NoiseVariance
from meg_vae.model.priors import Prior

START = 128  # strongest positions after the sweeps, settled first
CANDIDATES = 256  # positions that may enter in one round
EAGER = -0.02  # growth above which a position may soon want to enter
ROUGH, SHARPEN = 0.1, 0.02  # tolerance of the first round; of the next, relative to what is left
FINER, FINEST = 1.0, 10.0  # by how much the descent is finer than the entries, and at the end


def minimise(
    dictionary: Dictionary,
    F: Tensor,
    gamma: Tensor,
    noise: Tensor,
    *,
    prior: Prior,
    variance: NoiseVariance,
    tol: float,
    max_iter: int,
    certainty: Certainty,
) -> Fit:
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
    prior : Prior
        What the covariance of each position may be.
    variance : NoiseVariance
        What of the noise variance is learnt.
    tol : float
        Target of the certificate.
    max_iter : int
        Most accepted steps.
    certainty : Certainty
        How far the covariance of the noise is known.

    Returns
    -------
    fit : Fit
        In the units of the normalised dictionary; its noise variances are those of the channels.
    """
    clock = _Clock()
    o = dictionary.n_orient
    eye = torch.eye(o, dtype=torch.float64, device=F.device)
    chosen = _strongest(gamma, gamma > 0, START)
    columns = dictionary.columns(chosen)
    candidates = Candidates.of(columns, F, prior, variance, certainty)
    R = gamma[:, chosen, None, None].sqrt() * eye
    model = Model.at(candidates, torch.arange(len(chosen), device=F.device), R, noise)
    trace = Trace([model.point.J], max_iter)
    floor = FLOOR * float(F.square().sum() / F.shape[0] / F.shape[1])
    aim = ROUGH
    while True:
        settled = aim / (FINER if aim > tol else FINEST)
        with few_threads(len(F)):
            model, steepest, entered = _settle(
                model, tol=aim, settled=settled, floor=floor, trace=trace
            )
        clock.lap("descent")
        wish = growth(dictionary, model, chosen)
        clock.lap("certificate")
        largest = float(wish.max())
        # Where only candidates still want to enter and none could, rounding hides the gain.
        known = not bool((wish > tol).index_fill(1, chosen, False).any())
        if trace.left <= 0 or (aim <= tol and (largest <= tol or (known and not entered))):
            break
        aim = max(tol, min(aim, SHARPEN * largest))
        if largest <= tol:
            continue
        chosen, model = _next_round(dictionary, model, chosen, wish)
    certificate = torch.maximum(wish.amax(1).clamp_min(0.0), steepest)
    model = model.active()
    order = chosen[model.index].argsort()
    active = model.index[order]
    return Fit(
        positions=chosen[active],
        n_positions=dictionary.n_groups,
        columns=model.whole.Phi[:, active],
        factor=model.point.R[:, order],
        noise_variance=model.noise,
        n_directions=dictionary.n_channels,
        energy=evaluate(model.whole, model.R, model.noise).J,
        history=torch.stack(trace.energies),
        certificate=certificate,
        timings=clock.laps,
    )


def _next_round(
    dictionary: Dictionary, model: Model, chosen: Tensor, wish: Tensor
) -> tuple[Tensor, Model]:
    """Choose the active positions and those that most want to enter for candidates."""
    active = chosen[model.index]
    eager = _strongest(wish, wish > EAGER, CANDIDATES)
    chosen = torch.cat([active, eager[~torch.isin(eager, active)]])
    whole = replace(model.whole, Phi=dictionary.columns(chosen))
    return chosen, replace(
        model, whole=whole, index=torch.arange(len(active), device=active.device)
    )


def _settle(
    model: Model, *, tol: float, settled: float, floor: float, trace: Trace
) -> tuple[Model, Tensor, bool]:
    """Descend among the candidates until none of them wants to enter."""
    any_entered = False
    while True:
        model, steepest = settle(model, tol=settled, floor=floor, trace=trace)
        if trace.left <= 0:
            return model, steepest, any_entered
        model, entered, change = enter(model, tol=tol)
        if not entered.any():
            return model, steepest, any_entered
        any_entered = True
        trace.add(change)


def _strongest(score: Tensor, eligible: Tensor, most: int) -> Tensor:
    """Give the union over the batch of each item's strongest eligible positions."""
    score = torch.where(eligible, score, -torch.inf)
    most = min(most, score.shape[1])
    best, where = score.topk(most, 1)
    return where[best > -torch.inf].unique()


class _Clock:
    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._since = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = self.laps.get(name, 0.0) + now - self._since
        self._since = now
