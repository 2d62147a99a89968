"""Descent over all parameters of the sources and the noise; no accepted step raises the energy."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from meg_vae.model.sliding.data import Data
from meg_vae.model.sliding.directions import Directions, pair_index
from meg_vae.model.sliding.field import Field
from meg_vae.model.sliding.slopes import Slopes, slopes
from meg_vae.model.sliding.sources import Sources, principal_axes, whiten
from meg_vae.model.sliding.walls import along, normals

DAMPING = 1e-3  # Levenberg–Marquardt, relative to the average information
TRAVEL = 0.7  # of the field's unit: farthest from an anchor before the field is evaluated anew
FRESH = 0.005  # of the field's unit: anchors are this near to the places at the end
SHRINK = 1.5  # furthest that one step shrinks a variance: e^-1.5
ROUNDING = 1e-12  # of the energy


@dataclass(frozen=True)
class Effort:
    """How far to descend: to derivatives below ``tol``, or until a step brings less than ``nats``.

    At most ``steps`` are made about one anchor, and ``rounds`` evaluations of the field.
    """

    tol: float = 1e-3
    nats: float = 1e-6
    steps: int = 40
    rounds: int = 25

    def gain(self, n: float, energy: Tensor) -> Tensor:
        """Fall of the energy that is worth a further step, for n samples."""
        return torch.clamp(ROUNDING * energy.abs(), min=2 / n * self.nats)


ROUGH = Effort(tol=0.1, nats=0.1, steps=4, rounds=1)
FIRM = Effort(tol=1e-2, nats=0.01)


def settle(data: Data, sources: Sources, field: Field, effort: Effort) -> Sources:
    """Descend to a joint stationary point, with the field evaluated at the places there.

    The field is linear about anchors within a descent, and evaluated anew between descents; where
    the energy of the true field has not fallen, places may travel less far.
    """
    travel, best = TRAVEL * field.unit, sources
    energy = whiten(data, best).energy
    for _ in range(effort.rounds):
        if not len(best):
            return best
        moved = _descend(data, best, field, effort, travel)
        after = moved.anchored(field, FRESH * field.unit)
        new = whiten(data, after).energy
        if new > energy + ROUNDING * energy.abs():
            travel /= 4
            hoped = energy - whiten(data, moved).energy
            if travel < FRESH * field.unit or hoped < effort.gain(data.n, energy):
                break
            continue
        done = after is moved or energy - new < effort.gain(data.n, energy)
        best, energy = after, new
        if done:
            break
    return best


def stationarity(data: Data, sources: Sources, field: Field) -> tuple[float, Tensor]:
    """Largest derivative left, in log variances and in places by the field's unit, and the wall.

    The wall is a mask (m,) of the sources that it keeps from going on downhill; what pushes them
    there does not count.
    """
    stopped = torch.zeros(len(sources), dtype=torch.bool)
    if not len(sources):
        return 0.0, stopped
    at = slopes(data, sources, field.unit)
    out = normals(sources, field, -_uphill(sources, at))
    if out.any():
        sources = replace(sources, axes=along(sources.axes, out))
        at, stopped = slopes(data, sources, field.unit), out.any(1)
    return float(at.gradient.abs().max()), stopped


def _uphill(sources: Sources, at: Slopes) -> Tensor:
    """Gradient in the places of the sources, (m, q)."""
    free = at.directions.free
    full = at.gradient.new_zeros(free.shape)
    full[free] = at.gradient[: at.directions.n_own]
    return _along(sources, full[:, : sources.places.shape[1]])


def _descend(data: Data, sources: Sources, field: Field, effort: Effort, travel: float) -> Sources:
    """Damped Newton steps with the field linear about the anchors."""
    damping, axes, out = DAMPING, sources.axes, torch.zeros_like(sources.places)
    sources = replace(sources, factors=principal_axes(sources.factors))
    for _ in range(effort.steps):
        if out.any():
            out = normals(sources, field, out)
            sources = replace(sources, axes=along(axes, out))
        at = slopes(data, sources, field.unit)
        if (at.removal <= 0).any():
            sources, keep = _without_column(sources, int(at.removal.argmin()))
            axes, out = axes[keep], out[keep]
            if not len(sources):
                break
            continue
        met = normals(sources, field, -_uphill(sources, at)) * ~out.any(1, keepdim=True)
        if met.any():
            out = out + met
            continue
        if not len(at.gradient) or float(at.gradient.abs().max()) < effort.tol:
            break
        moved, energy, damping = _step(data, sources, field, at, damping, travel)
        if moved is sources:
            break
        sources = replace(moved, factors=principal_axes(moved.factors))
        gone = sources.travelled(field.swing).max()
        if float(gone) > travel or at.energy - energy < effort.gain(data.n, energy):
            break
    return replace(sources, axes=axes)


def _without_column(sources: Sources, column: int) -> tuple[Sources, Tensor]:
    """Take out one live column of the priors, and its source with its last; and who stays."""
    where = sources.live.flatten().nonzero()[column, 0]
    o = sources.factors.shape[2]
    factors = sources.factors.clone()
    factors[where // o, :, where % o] = 0.0
    keep = factors.flatten(1).any(1)
    return replace(sources, factors=principal_axes(factors)).only(keep), keep


def _step(
    data: Data, sources: Sources, field: Field, at: Slopes, damping: float, travel: float
) -> tuple[Sources, Tensor, float]:
    """One step downhill, damped until the energy falls; the same sources where it never does."""
    scale = at.average.diagonal().clamp_min(1e-300)
    for _ in range(12):
        L, failed = torch.linalg.cholesky_ex(at.curvature + (damping * scale).diag())
        if failed:  # indefinite: the average information never is
            L = torch.linalg.cholesky_ex(at.average + ((damping + 1e-9) * scale).diag())[0]
        step = -torch.cholesky_solve(at.gradient[:, None], L)[:, 0].nan_to_num()
        trial = _moved(data, sources, field, at.directions, step, travel)
        energy = whiten(data, trial).energy
        if energy <= at.energy:
            return trial, energy, max(damping / 10, 1e-12)
        damping *= 10
    return sources, at.energy, damping


def _moved(
    data: Data,
    sources: Sources,
    field: Field,
    moving: Directions,
    step: Tensor,
    travel: float,
) -> Sources:
    """Move all by their parts of a step, places and the field by ``travel`` at most."""
    q, n_pairs = sources.places.shape[1], moving.pairs.shape[1]
    full = torch.zeros(moving.free.shape, dtype=step.dtype)
    full[moving.free] = step[: moving.n_own]
    places = sources.places + _capped(_along(sources, full[:, :q]) * field.unit, travel)
    turn = (field.swing * step[moving.n_own : moving.n_moved])[None]
    motion = sources.motion + (_capped(turn, travel) / field.swing)[0]
    noise = sources.noise
    if data.learn:
        noise = (noise * _factor(step[-1:])[0]).clamp_min(data.floor)
    return replace(
        sources,
        places=field.within(places),
        factors=_turned(sources, moving.pairs, full[:, q : q + n_pairs]),
        shift=sources.shift + full[:, q + n_pairs :],
        noise=noise,
        motion=motion,
    )


def _along(sources: Sources, step: Tensor) -> Tensor:
    """Give steps of places (m, q) from those along their axes."""
    return torch.einsum("mrq,mq->mr", sources.axes, step)


def _capped(step: Tensor, most: float) -> Tensor:
    size = torch.linalg.vector_norm(step, dim=1, keepdim=True)
    return step * (most / size.clamp_min(most))


def _turned(sources: Sources, pairs: Tensor, step: Tensor) -> Tensor:
    """Stretch factors among their live columns by exp(E/2), and turn them into dead ones."""
    o = sources.factors.shape[2]
    i, j = pair_index(o)
    live = sources.live
    both = (live[:, i] & live[:, j]).to(step)
    stretch = step.new_zeros(len(step), o, o)
    stretch[:, i, j] = both * step
    stretch[:, j, i] = both * step
    size, axes = torch.linalg.eigh(stretch)
    grown = sources.factors @ (axes * _factor(size).sqrt()[:, None, :]) @ axes.mT
    turn = ((1 - both) * step).clamp(-1, 1)
    return (grown + torch.einsum("mp,mpoa->moa", turn, pairs)) * live[:, None, :]


def _factor(step: Tensor) -> Tensor:
    """Factor on a variance: growing adds, shrinking never reaches zero."""
    return torch.where(step > 0, 1 + step, step.clamp(-SHRINK, 0.0).exp())
