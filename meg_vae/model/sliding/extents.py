r"""Point or patch: sources get an extent where that explains the data better.

A patch is one column ℓ_s(r) + Σ_e c_e E_e of the decoder with c_e ~ N(0, 1), a place and an extent
that move like any place. Among patches about a place, of all sizes, the best to begin with follows
from S = MᵀΣ⁻¹M and Q = MᵀΣ⁻¹CΣ⁻¹M of the columns M = [ℓ, E]: with v = σ(1, c) the energy falls by
the growth of μ = vᵀQv / vᵀSv less ‖c‖²/n, and the prior of c acts like ρ‖v_E‖² in vᵀSv, where
ρ = ℓᵀΣ⁻¹ℓ / n(μ − 1). It then settles beside the other sources.

Either is as likely before the data. A point has two parameters more, how far it is from the surface
and how it turns, so that data which both explain as well would say patch by some nats. But a point
is the simpler answer: a patch must be better by a margin.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from meg_vae.model.misfit import best_variance, growth
from meg_vae.model.sliding.choice import BETTER, gain_of_entry, log_evidence
from meg_vae.model.sliding.data import Data
from meg_vae.model.sliding.descent import FIRM, Effort, settle
from meg_vae.model.sliding.field import Extended, Field
from meg_vae.model.sliding.growth import Grid, grid_growth, highest, pull
from meg_vae.model.sliding.laplace import place_covariance
from meg_vae.model.sliding.sources import Sources, whiten

TRIAL = Effort(tol=0.05, nats=0.1)
GLANCE = Effort(tol=0.1, nats=0.5)  # whether a few nats are lost
HOPELESS = -30.0  # nats that a patch may at first be worse than a point, to be tried
REACH = 0.4  # of the largest extent: how far the centre of a patch may be from its points
TRIES = 4  # of each source, at most
DOUBT = 3.0  # nats less than the other of point and patch that leave it possible (1 in 20)
SMALL = 0.5  # of the largest extent: patches that may be smaller are compared with a point
NORMAL = 1.96  # standard deviations to the 95 % interval


@dataclass(frozen=True)
class _Patch:
    """The best patch found in the place of some sources: all sources with it, and its gain in nats.

    The patch is the last of ``sources``.
    """

    sources: Sources
    gain: float


def with_extents(data: Data, sources: Sources, field: Field, grid: Grid, least: float) -> Sources:
    """Make patches of points, of one or of several together, and better patches or points of those.

    Whatever explains the data best stays.
    """
    tried: set[float] = set()
    most = TRIES * len(sources)
    while len(tried) < most:
        for k in log_evidence(data, sources).argsort(descending=True).tolist():
            mark = float(sources.places[k].sum())
            if mark in tried:
                continue
            tried.add(mark)
            asked = BETTER if sources.places[k, -1] else _extended(field).margin
            found = _best(data, sources, field, k, least, asked)
            if found is not None and found.gain > asked:
                sources = found.sources
                break
        else:
            break
    return _with_points(data, sources, field, grid)


def _with_points(data: Data, sources: Sources, field: Field, grid: Grid) -> Sources:
    """Make points of patches that are not better by the margin.

    A point begins in the centre of a small patch, and where a source grows most without any.
    """
    extended = _extended(field)
    for size in sources.places[:, -1].sort().values.tolist():
        if not size > 0 or extended.margin < 0:
            continue
        k = int((sources.places[:, -1] - size).abs().argmin())
        starts = [_with_point(sources, field, k)] if size < SMALL * extended.largest else []
        starts += _with_growing_point(data, sources, field, grid, k)
        for start in starts:
            new = settle(data, start, field, FIRM)
            gain = data.n / 2 * float(whiten(data, sources).energy - whiten(data, new).energy)
            if gain > -extended.margin:
                sources = new
                break
    return sources


def _with_growing_point(
    data: Data, sources: Sources, field: Field, grid: Grid, k: int
) -> list[Sources]:
    """Put a point where a source grows most in the place of patch k, if it may be as good."""
    rest, on = sources.only(torch.arange(len(sources)) != k), sources.on[[k]]
    here = field.moved(sources.motion)
    at = pull(data, rest).during(on[0])
    place, height, factor = highest(at, here, grid)
    worth = log_evidence(data, sources)[k] + data.weight(sources.places)[k]
    if at.n / 2 * float(height) < float(worth) + HOPELESS:
        return []
    return [rest.join(Sources.at(here, place, factor, sources.noise, on))]


def _best(
    data: Data, sources: Sources, field: Field, k: int, least: float, asked: float
) -> _Patch | None:
    """Find the best patch in the place of source k, alone or with those about it."""
    energy, best = whiten(data, sources).energy, None
    for some in _groups(sources, k, _extended(field).largest):
        rest, on = sources.only(~some), sources.on[some].amax(0)
        patch, fall = best_patch(data, rest, field, sources.places[k], on)
        fewer = least * (len(sources) - len(rest) - 1)
        hope = data.n / 2 * float(energy - whiten(data, rest).energy + fall) + fewer
        slack = 0.0 if sources.places[k, -1] else HOPELESS
        if hope < asked + slack:
            continue
        new, gain = rest.join(patch), 0.0
        for effort in (TRIAL, FIRM):
            new = settle(data, new, field, effort)
            gain = data.n / 2 * float(energy - whiten(data, new).energy)
            gain += least * (len(sources) - len(new))
            if gain < asked - DOUBT:
                break
        if not len(new) or not new.places[-1, -1]:  # the patch has gone
            continue
        if best is None or gain > best.gain:
            best = _Patch(new, gain)
    return best


def _extended(field: Field) -> Extended:
    assert field.extended is not None
    return field.extended


def _groups(sources: Sources, k: int, reach: float) -> list[Tensor]:
    """Masks (m,) of the sources that a patch about source k may stand for."""
    away = torch.linalg.vector_norm(sources.places[:, :-1] - sources.places[k, :-1], dim=1)
    near = [j for j in away.argsort().tolist() if away[j] <= reach]
    masks = []
    for size in sorted({1, min(2, len(near)), len(near)}):
        mask = torch.zeros(len(sources), dtype=torch.bool)
        mask[near[:size]] = True
        masks.append(mask)
    return masks


def best_patch(
    data: Data, rest: Sources, field: Field, place: Tensor, on: Tensor | None = None
) -> tuple[Sources, Tensor]:
    """Find the best patch about a place, beside other sources, and by how much J falls with it.

    It is active in the pieces of time ``on`` (n_pieces,), or in all.
    """
    extended, motion = _extended(field), rest.motion
    near = extended.near(place[:-1].numpy(), REACH * extended.largest)
    if data.prior is not None:
        near = near[(data.prior.inside(near[:, :-1]) == near[:, :-1]).all(1)]
    moved = motion.numpy() if len(motion) else field.motion.numpy()
    values, patterns = (torch.as_tensor(x) for x in extended.columns(near, moved))
    columns = torch.cat([values[..., None], patterns.mT], 2)
    if field.basis is not None:
        columns = field.basis.T @ columns
    at, centres = pull(data, rest).during(on), torch.as_tensor(near)
    S, Q = (at.mean(x) for x in at.blocks(columns))
    fall, v = _best_column(S, Q, at.n, min(at.shares))
    fall = at.n / data.n * fall + 2 / data.n * data.weight(centres)
    k = int(fall.argmax())
    o = field.sizes[1]
    factor = torch.zeros(1, o, o, dtype=S.dtype)
    factor[0, 0, 0] = v[k, 0]
    active = None if on is None else on[None]
    new = Sources.at(field.moved(motion), centres[[k]], factor, rest.noise, active)
    shift = new.shift.clone()
    shift[0, : extended.n_patterns] = v[k, 1:] / v[k, 0].clamp_min(1e-300)
    return replace(new, shift=shift), fall[k]


def _best_column(S: Tensor, Q: Tensor, n: float, share: float) -> tuple[Tensor, Tensor]:
    """Fall of J by the best v = σ(1, c) at each place, (m,), and that, (m, 1 + e)."""
    own = S[:, 0, 0].clamp_min(1e-300)
    ratio = Q[:, 0, 0] / own
    prior = torch.ones(S.shape[-1], dtype=S.dtype)
    prior[0] = 0.0
    for _ in range(3):
        rho = own / (n * (ratio - 1).clamp_min(1.0))
        L = torch.linalg.cholesky(S + rho[:, None, None] * prior.diag())
        half = torch.linalg.solve_triangular(L, Q, upper=False)
        values, vectors = torch.linalg.eigh(torch.linalg.solve_triangular(L, half.mT, upper=False))
        ratio = values[:, -1]
    v = torch.linalg.solve_triangular(L.mT, vectors[..., -1:], upper=True)[..., 0]
    v = v / torch.where(v[:, :1] == 0, 1e-300, v[:, :1])
    size, power = (torch.einsum("mi,mij,mj->m", v, X, v) for X in (S, Q))
    ratio = power / size.clamp_min(1e-300)
    fall = growth(ratio[:, None], share) - v[:, 1:].square().sum(1) / n
    sigma = (best_variance(ratio, share) / size.clamp_min(1e-300)).sqrt()
    return fall, sigma[:, None] * v


def with_growing_patch(
    data: Data, sources: Sources, field: Field, grid: Grid, place: Tensor, least: float
) -> tuple[Sources, float]:
    """Let in the patch that grows most, about a place or anywhere, if it is worth ``least`` nats.

    Gives the sources, and what that patch has to offer in nats.
    """
    offers = [best_patch(data, sources, field, place)]
    larger = _everywhere(grid, _extended(field))
    if len(larger.places):
        at = pull(data, sources)
        highest = larger.places[at.lifted(grid_growth(at, larger), larger.places).argmax()]
        if torch.linalg.vector_norm((highest - place)[:-1]) > REACH * _extended(field).largest:
            offers.append(best_patch(data, sources, field, highest))
    patch, fall = max(offers, key=lambda one: float(one[1]))
    offer = data.n / 2 * float(fall)
    if offer < least:
        return sources, offer
    more = settle(data, sources.join(patch), field, FIRM)
    return (more if gain_of_entry(data, sources, more, field) >= least else sources), offer


def _everywhere(grid: Grid, extended: Extended) -> Grid:
    """Put patches of all sizes all over a grid, roughly."""
    own = grid.columns * grid.norms[:, None].to(grid.columns)
    found = extended.everywhere(grid.places[:, :-1].numpy(), own.numpy())
    places, columns = (torch.as_tensor(np.ascontiguousarray(x)) for x in found)
    return Grid(places, columns[..., None].to(own), torch.ones_like(places[:, 0]))


def extent_intervals(data: Data, sources: Sources, field: Field) -> Tensor:
    """95 % intervals (m, 2) of the extents.

    A patch whose point is not less likely by more than `DOUBT` may be a point, and the other way
    round. Beside the Laplace approximation an extent is known to a part of itself at best.
    """
    interval = torch.zeros(len(sources), 2, dtype=sources.places.dtype)
    extended = field.extended
    if extended is None or not len(sources):
        return interval
    if extended.smallest == extended.largest:  # given
        return sources.places[:, -1:].expand(-1, 2)
    wide = _interval(data, sources, field)
    for k in range(len(sources)):
        if sources.places[k, -1] > 0:
            interval[k] = wide[k]
            if wide[k, 0] < SMALL * extended.largest and _may_be_point(data, sources, field, k):
                interval[k, 0] = 0.0
            continue
        interval[k, 1] = extended.smallest
        new = settle(data, _with_patch(sources, field, k), field, GLANCE)
        lost = data.n / 2 * float(whiten(data, new).energy - whiten(data, sources).energy)
        if lost < DOUBT and len(new) == len(sources) and new.places[-1, -1]:
            interval[k, 1] = _interval(data, new, field)[-1, 1]
    return interval


def _interval(data: Data, sources: Sources, field: Field) -> Tensor:
    """Interval of each extent among patches, (m, 2)."""
    extended, s = _extended(field), sources.places[:, -1]
    variance = place_covariance(data, sources, field.unit)[:, -1, -1]
    variance = variance + (extended.vague * s).square() + extended.blunt**2
    half = NORMAL * variance.sqrt()
    return torch.stack([s - half, s + half], 1).clamp(0.0, extended.largest)


def _may_be_point(data: Data, sources: Sources, field: Field, k: int) -> bool:
    """Whether a point explains nearly as much as patch k."""
    new = settle(data, _with_point(sources, field, k), field, GLANCE)
    lost = data.n / 2 * float(whiten(data, new).energy - whiten(data, sources).energy)
    return lost < DOUBT


def _with_patch(sources: Sources, field: Field, k: int) -> Sources:
    """Put a small patch in the place of point k, with the density most like it; it comes last."""
    extended, at = _extended(field), field.moved(sources.motion)
    place = sources.places[[k]].clone()
    place[:, -1] = 2 * extended.smallest
    factor = torch.eye(field.sizes[1], dtype=place.dtype)[None]
    new = Sources.at(at, field.within(place), factor, sources.noise, sources.on[[k]])
    pattern = (sources.fields @ sources.factors)[k, :, 0]
    columns = torch.cat([new.values[0, :, :1], new.errors[0, ..., 0].T], 1)
    ridge = columns[:, 0].square().sum() * torch.eye(columns.shape[1], dtype=columns.dtype)
    ridge[0] = 0.0  # the prior of the patterns, of a column as strong as the pattern
    v = torch.linalg.solve(columns.T @ columns + 1e-2 * ridge, columns.T @ pattern)
    small = factor.new_zeros(factor.shape)
    small[0, 0, 0] = v[0]
    shift = (v[1:] / torch.where(v[0] == 0, 1.0, v[0])).clamp(-2.0, 2.0)[None]
    rest = sources.only(torch.arange(len(sources)) != k)
    return rest.join(replace(new, factors=small, shift=shift))


def as_points(sources: Sources, field: Field) -> Sources:
    """Put points in the places of all patches, not settled."""
    for _ in range(int((sources.places[:, -1] > 0).sum())):
        sources = _with_point(sources, field, int(sources.places[:, -1].argmax()))
    return sources


def _with_point(sources: Sources, field: Field, k: int) -> Sources:
    """Put a point in the place of patch k, with the dipole that is most like it; it comes last."""
    place = sources.places[[k]].clone()
    place[:, -1] = 0.0
    at = field.moved(sources.motion)
    own = sources.noise, sources.on[[k]]
    here = Sources.at(at, place, torch.eye(field.sizes[1], dtype=place.dtype)[None], *own)
    pattern = (sources.fields @ sources.factors)[k, :, :1]
    dipole = torch.linalg.lstsq(here.fields[0], pattern).solution
    factor = pad(dipole, (0, len(dipole) - 1))[None]
    rest = sources.only(torch.arange(len(sources)) != k)
    return rest.join(Sources.at(at, place, factor, *own))
