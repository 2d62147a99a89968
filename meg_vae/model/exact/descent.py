"""Second-order descent on a set of candidates: take out, and move.

No accepted step raises the energy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from meg_vae.model.exact.model import Model
from meg_vae.model.exact.point import Candidates, Point, evaluate, weighted_columns
from meg_vae.model.exact.slopes import Slopes, slopes

SHRINK, GROW = 3.0, 30.0  # furthest that one step changes a variance: e^-3 and 31 times
DAMPING = 1e-3  # Levenberg–Marquardt, relative to the average information


@dataclass
class Trace:
    """The energies of the accepted steps, and how many more may be taken.

    Attributes
    ----------
    energies : list of Tensor, each of shape (batch,)
        Energy at the start and after every accepted step.
    left : int
        Steps still allowed.
    """

    energies: list[Tensor]
    left: int

    def add(self, change: Tensor) -> None:
        """Note an accepted step.

        Parameters
        ----------
        change : Tensor, shape (batch,)
            Of the energy, between two points in the same coordinates: no rounding between
            coordinates enters.
        """
        self.energies.append(self.energies[-1] + change)
        self.left -= 1


def descend(
    candidates: Candidates, point: Point, *, tol: float, floor: float, trace: Trace
) -> tuple[Point, Tensor]:
    """Descend to a point where the energy is stationary in every active variance.

    Parameters
    ----------
    candidates : Candidates
        Data and columns.
    point : Point
        Start.
    tol, floor, trace : float, float, Trace
        As of `settle`.

    Returns
    -------
    point : Point
        The minimum found.
    steepest : Tensor, shape (batch,)
        The largest derivative there.
    """
    everyone = torch.arange(point.R.shape[1], device=point.R.device)
    model = Model.at(candidates, everyone, point.R, point.noise)
    model, steepest = settle(model, tol=tol, floor=floor, trace=trace)
    return evaluate(candidates, model.R, model.noise), steepest


def settle(model: Model, *, tol: float, floor: float, trace: Trace) -> tuple[Model, Tensor]:
    """Descend as `descend` does, from model to model.

    Parameters
    ----------
    model : Model
        Start.
    tol : float
        Largest derivative left in the logarithm of a variance, nats × 2 per sample.
    floor : float
        Smallest noise variance.
    trace : Trace
        Energies so far; added to.

    Returns
    -------
    model : Model
        The minimum found, with its active candidates.
    steepest : Tensor, shape (batch,)
        The largest derivative there.
    """
    damping = torch.full_like(model.point.J, DAMPING)
    stuck = torch.zeros_like(model.point.J, dtype=torch.bool)
    while True:
        model = model.active()
        candidates, point = model.candidates, _aligned(model.candidates, model.point)
        at = slopes(candidates, point)
        removed, any_removed = _remove(candidates, point, at)
        if any_removed.any() and trace.left > 0:
            trace.add(removed.J - point.J)
            model = replace(model, point=removed)
            stuck &= ~any_removed
            continue
        steepest = _largest(_free_gradient(candidates, point, at, floor).abs())
        open_items = (steepest > tol) & ~stuck
        if trace.left <= 0 or not open_items.any():
            return replace(model, point=point), steepest
        moved_to, damping, moved = _move(candidates, point, at, damping, open_items, floor)
        stuck |= open_items & ~moved
        trace.add(moved_to.J - point.J)
        model = replace(model, point=moved_to)


def _largest(values: Tensor) -> Tensor:
    """Give the largest of each row; 0 where there is none."""
    return values.amax(1) if values.shape[1] else values.new_zeros(len(values))


def _free_gradient(candidates: Candidates, point: Point, at: Slopes, floor: float) -> Tensor:
    """Gradient without the noise variances that rest on their floor and want to go below."""
    n_noise = candidates.variance.n_free(point.noise.shape[1])
    if not n_noise:
        return at.gradient
    at_floor = candidates.variance.at_floor(point.noise, floor)
    resting = at_floor & (at.gradient[:, -n_noise:] > 0)
    gradient = at.gradient.clone()
    gradient[:, -n_noise:] *= ~resting
    return gradient


def _aligned(candidates: Candidates, point: Point) -> Point:
    """Give the factors the form that steps start from."""
    R = candidates.prior.aligned(point.R)
    if R is point.R:
        return point
    return replace(point, R=R, P=weighted_columns(candidates.Phi, R))


def _remove(candidates: Candidates, point: Point, at: Slopes) -> tuple[Point, Tensor]:
    """Take out what the energy is better without: all at once, else the worst half, and so on."""
    superfluous = candidates.prior.parts(point.R) & (at.removal <= 0)
    allowed = superfluous.sum(1)
    done = torch.zeros_like(allowed, dtype=torch.bool)
    result = point
    if not superfluous.any():
        return result, done
    order = at.removal.masked_fill(~superfluous, torch.inf).argsort(1).argsort(1)  # rank of each
    while (allowed > 0).any():
        out = superfluous & (order < allowed[:, None])
        out = out.reshape(len(out), point.R.shape[1], -1)[:, :, None]  # a column of R, or all of it
        trial = evaluate(candidates, point.R.masked_fill(out, 0.0), point.noise)
        better = (trial.J <= point.J) & (allowed > 0)
        result = trial.where(better, result)
        done |= better
        allowed = torch.where(better, 0, allowed // 2)
    return result, done


def _move(
    candidates: Candidates,
    point: Point,
    at: Slopes,
    damping: Tensor,
    open_items: Tensor,
    floor: float,
) -> tuple[Point, Tensor, Tensor]:
    """One Newton step in the logarithm of the variances, damped until the energy falls."""
    gradient = _free_gradient(candidates, point, at, floor)
    scale = at.average.diagonal(dim1=1, dim2=2)
    frozen = (scale <= 0) | ((gradient == 0) & (at.gradient != 0))
    scale = scale.masked_fill(frozen, 1.0)
    free = ~(frozen[:, :, None] | frozen[:, None, :])
    waiting = open_items.clone()
    moved = torch.zeros_like(waiting)
    result = point
    for _ in range(12):
        lift = torch.diag_embed(damping[:, None] * scale + frozen.to(scale))
        L, failed = torch.linalg.cholesky_ex(at.curvature * free + lift)
        if failed.any():  # indefinite: the average information never is
            safe = torch.linalg.cholesky_ex(at.average * free + lift)[0]
            L = torch.where((failed > 0)[:, None, None], safe, L)
        step = -torch.cholesky_solve(gradient[..., None], L)[..., 0]
        step = (step.nan_to_num() * waiting[:, None]).clamp(-SHRINK, GROW)
        trial = evaluate(candidates, *_apply(candidates, point, step, floor))
        better = waiting & (trial.J <= point.J)
        result = trial.where(better, result)
        moved |= better
        waiting &= ~better
        damping = torch.where(better, damping / 10, torch.where(waiting, damping * 10, damping))
        if not waiting.any():
            break
    return result, damping.clamp_min(1e-12), moved


def _apply(
    candidates: Candidates, point: Point, step: Tensor, floor: float
) -> tuple[Tensor, Tensor]:
    """Multiply every prior, and the noise, by its part of the step."""
    n_prior = point.R.shape[1] * candidates.prior.n_free(point.R.shape[2])
    R = candidates.prior.moved(point.R, step[:, :n_prior])
    return R, candidates.variance.moved(point.noise, step[:, n_prior:], floor)
