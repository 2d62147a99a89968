"""Fits of sources at places of their own, and what is known of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from meg_vae.model.exact.threads import few_threads
from meg_vae.model.fit import Fit
from meg_vae.model.noise import Noise
from meg_vae.model.sliding.descent import FIRM, settle, stationarity
from meg_vae.model.sliding.extents import extent_intervals
from meg_vae.model.sliding.field import Field
from meg_vae.model.sliding.laplace import Spread, encode, spread
from meg_vae.model.sliding.mistaken import added_noise
from meg_vae.model.sliding.motion import with_motion
from meg_vae.model.sliding.pieces import Spans, cut_at, in_pieces
from meg_vae.model.sliding.prior import PlacePrior
from meg_vae.model.sliding.recorded import Recorded
from meg_vae.model.sliding.slide import Settled, Start, refine, slide
from meg_vae.model.sliding.sources import Sources, whiten
from meg_vae.model.sliding.switching import (
    Look,
    Switched,
    gains,
    with_flanks,
    with_switching,
)
from meg_vae.model.sliding.view import View, view_of

AGAIN = 3  # times that the noise is learnt anew from what the sources leave


@dataclass(frozen=True)
class PlaceFit:
    """Sources at their own places.

    ``places`` (m, q); ``extents`` (m,), zero for points, and their 95 % ``extent_intervals`` (m,
    2), NaN where they were not asked; ``shift`` (m, e), the weights of the field's errors there;
    ``factors`` (m, o, o); ``noise_variance`` (d,); ``energy`` J without the prior of places;
    ``stationarity``, the largest derivative left; ``offer``, what a further source at any place
    could be worth in nats, evidence and prior weight together; ``log_evidence`` (m,) and
    ``on_wall`` (m,); ``spread``, how sure all is; ``motion`` (g,) of the field, and its log
    evidence in nats, NaN where it was not asked; ``inverse_map`` (m, o, d) from data to activity,
    in each run by the columns of its channels, as if all were always active; ``active`` (m, N),
    how active each is in each piece of the data, and ``choice_cost`` (m,) what that costs in nats;
    ``piece_evidence`` (m, N), what each of several stretches says for it in nats, else (m, 1);
    ``edges`` of the pieces in samples; ``n_effective`` samples of each run, and its ``noises``, how
    they go on in time; ``start_energy`` J of the minimum on the grid in the
    same samples, NaN where there was none.
    """

    places: Tensor
    extents: Tensor
    extent_intervals: Tensor
    shift: Tensor
    factors: Tensor
    noise_variance: Tensor
    energy: float
    stationarity: float
    offer: float
    log_evidence: Tensor
    on_wall: Tensor
    inverse_map: Tensor
    spread: Spread
    motion: Tensor
    active: Tensor
    choice_cost: Tensor
    piece_evidence: Tensor
    edges: tuple[int, ...]
    n_effective: list[float]
    noises: list[Noise]
    motion_evidence: float = math.nan
    start_energy: float = math.nan

    def ordered(self, order: Tensor) -> PlaceFit:
        """Put the sources in another order, shape (m,)."""
        own = (
            "places",
            "extents",
            "extent_intervals",
            "shift",
            "factors",
            "log_evidence",
            "on_wall",
            "inverse_map",
            "active",
            "choice_cost",
            "piece_evidence",
        )
        parts = {name: getattr(self, name)[order] for name in own}
        return replace(self, **parts, spread=self.spread.ordered(order))


def fit_places(
    field: Field,
    places: Tensor,
    recorded: Sequence[Recorded],
    solutions: Sequence[Fit],
    *,
    learn: bool,
    least: float,
    prior: PlacePrior | None = None,
    asked: float = -math.inf,
    switching: bool = False,
) -> PlaceFit:
    """Let the sources of minima on a grid find their places, the same in all runs.

    The grid has the positions ``places`` (n, q), and the minima, one of each run, one variance for
    the columns of a position. Sources are worth ``least`` nats or more, with the weights of places
    in ``prior``. In stretches of consecutive samples it is learnt how the noise goes on, and
    independent samples count. A motion of the field must carry ``asked`` nats. With ``switching``
    sources may be active in a part of the time.
    """
    pairs = list(zip(recorded, solutions, strict=True))
    variances = [solution.noise_variance / one.inflation for one, solution in pairs]
    runs = [_learnt_on_grid(*pair) for pair in pairs]
    view = view_of(field, places, runs, variances, learn, prior)
    start = _united(view, places, runs, solutions)
    evidence = math.nan
    with few_threads(batch=1):
        settled = slide(view.data, start, view.field.held(), view.grid, least)
        if len(field.motion):
            own = view.data, settled, view.field, view.grid
            settled, evidence = with_motion(*own, least, asked)
            if not len(settled.sources.motion):
                field, view = field.held(), replace(view, field=view.field.held())
        for _ in range(AGAIN):
            again = _learnt_anew(view, settled.sources, runs)
            if all(new.noise.alike(old.noise) for new, old in zip(again, runs, strict=True)):
                break
            runs = again
            view = view_of(field, places, runs, variances, learn, prior)
            sources = settled.sources.put(view.field.moved(settled.sources.motion))
            settled = refine(view.data, sources, view.field, view.grid, least)
        pieces, choice = in_pieces(runs)

        def look(groups: Sequence[Sequence[int]]) -> View:
            """View the pieces of each group as one run."""
            return view_of(field, places, pieces, variances, learn, prior, groups)

        if choice is not None and switching and least > 0:
            view, settled = with_switching(Look(look, choice), view, settled, least)
            runs = pieces if view.data.n_pieces > 1 else runs
        on_grid = Sources.at(view.field.held(), start.places, start.factors, view.noise)
        found = _result(view, settled, runs)
        if choice is not None:
            found = replace(found, **_by_pieces(Look(look, choice), view, settled, pieces[0]))
        if least > 0 or prior is not None:
            sizes = extent_intervals(view.data, settled.sources, view.field)
            found = replace(found, extent_intervals=sizes)
        return replace(
            found,
            motion_evidence=evidence,
            start_energy=view.energy(on_grid),
        )


def refit_places(
    field: Field,
    grid: Tensor,
    recorded: Sequence[Recorded],
    *,
    places: ArrayLike,
    factors: ArrayLike,
    variance: float,
    learn: bool,
    least: float,
    prior: PlacePrior | None = None,
    spans: ArrayLike | None = None,
) -> PlaceFit:
    """Let sources settle in other data of the field.

    They have places (m, q), which end with an extent where the field has extents, factors
    (m, o, o), and ``spans`` (m, 2) as a fit gives them. Points and patches stay what they are, and
    active when they were, about their spans as weakly as the data say; no intervals of extents are
    found.
    """
    given = torch.tensor(variance, dtype=recorded[0].X.dtype)
    r, A = (torch.as_tensor(np.array(x, dtype=np.float64)) for x in (places, factors))
    recorded, active = cut_at(recorded, spans)
    n_pieces, variances = active.shape[1], [given] * len(recorded)

    def look(groups: Sequence[Sequence[int]]) -> View:
        """View the pieces of each group as one run."""
        return view_of(field, grid, recorded, variances, learn, prior, groups)

    with few_threads(batch=1):
        view = look([[k] for k in range(n_pieces)])
        choice = Spans(n_pieces, view.data.n)
        data = replace(view.data, choice=choice, members=tuple(range(n_pieces)))
        view = replace(view, data=data)
        start = Sources.at(view.field, r, A, view.noise, active if len(active) else None)
        start = replace(start, on=with_flanks(view, start, choice.levels))
        sources = settle(view.data, start, view.field, FIRM)
        settled = refine(view.data, sources, view.field, view.grid, least, kinds=False)
        return _result(view, settled, recorded)


def _learnt_on_grid(one: Recorded, solution: Fit) -> Recorded:
    """Learn how the noise of a run goes on from what the minimum on the grid leaves."""
    if one.stretches is None:
        return one
    return one.learnt(solution.residual(one.X))


def _learnt_anew(view: View, sources: Sources, recorded: Sequence[Recorded]) -> list[Recorded]:
    """Learn how the noise of each run goes on from what sources leave."""
    learnt = []
    terms = whiten(view.data, sources).runs
    columns = view.data.parts(sources.patterns)
    for one, seen, term, P in zip(recorded, view.runs, terms, columns, strict=True):
        explained = P @ (P.T @ torch.cholesky_solve(seen.directions.T @ one.X, term.L))
        learnt.append(one.learnt(one.X - seen.scale[:, None] * (seen.basis @ explained)))
    return learnt


def _united(
    view: View, places: Tensor, recorded: Sequence[Recorded], solutions: Sequence[Fit]
) -> Start:
    """Unite the minima of all runs: a position's prior is the mean of those in the runs."""
    found = torch.cat([solution.positions for solution in solutions]).unique()
    weights = zip(view.data.weights, solutions, strict=True)
    factors = torch.cat([w**0.5 * fit.everywhere(fit.factor)[found] for w, fit in weights], 2)
    columns = []
    for one, seen in zip(recorded, view.runs, strict=True):
        own = one.dictionary.as_given(found)
        columns.append(torch.einsum("dp,dmo->pmo", seen.directions, own))
    return Start(places[found], torch.cat(columns), factors, view.noise)


def _result(view: View, settled: Settled, recorded: Sequence[Recorded]) -> PlaceFit:
    """Describe the sources in all directions of the data."""
    sources, data = settled.sources.seen(), replace(view.data, prior=None)
    m, o = sources.live.shape
    encoders = [encode(P, sources.noise)[0] for P in sources.patterns.split(data.sizes)]
    back = torch.block_diag(*(one.directions for one in view.runs)).T
    noise_variance = sources.noise * torch.cat([one.variance for one in view.runs])
    added = added_noise(data, sources, view.field.wrong, len(noise_variance))
    own = spread(data, sources, view.field.unit, added)
    places, extents = sources.places, sources.places.new_zeros(m)
    if view.field.extended is not None:
        places, extents = places[:, :-1], places[:, -1]
        own = replace(own, **_of_places(own, extents, view.field.extended.blunt))
    steepest, on_wall = stationarity(view.data, sources, view.field)
    return PlaceFit(
        places=places,
        extents=extents,
        extent_intervals=extents.new_full((m, 2), math.nan),
        shift=sources.anchored(view.field, 0.0).shift,  # of the patterns at the places themselves
        factors=sources.factors,
        noise_variance=noise_variance,
        energy=view.energy(sources),
        stationarity=steepest,
        offer=settled.offer,
        log_evidence=settled.log_evidence,
        on_wall=on_wall,
        inverse_map=(sources.factors @ torch.cat(encoders, 1).unflatten(0, (m, o))) @ back,
        spread=replace(own, modes=own.modes @ back),
        motion=sources.motion,
        active=places.new_ones(m, 1),
        choice_cost=places.new_zeros(m),
        piece_evidence=settled.log_evidence[:, None],
        edges=(0, recorded[0].X.shape[1]),
        n_effective=[sum(run.n for run in one.runs) for one in view.runs],
        noises=[one.noise for one in recorded],
    )


def _by_pieces(look: Look, view: View, settled: Settled, pieces: Recorded) -> dict[str, Any]:
    """When sources are active and, of several stretches, what each of them says for that."""
    active = Switched(view, settled.sources).active if view.data.members else None
    if active is None:
        active = torch.ones(len(settled.sources), look.n_pieces, dtype=torch.float64)
    found = {"active": active, "choice_cost": look.choice.cost(active), "edges": pieces.edges}
    if len(pieces.stretches or ()) > 1:
        found["piece_evidence"] = gains(look.finest(), settled.sources, active)[:, 0]
    return found


def _of_places(spread: Spread, extents: Tensor, blunt: float) -> dict[str, Tensor]:
    """Covariances of the places alone; those of patches are known to ``blunt`` at best."""
    q = spread.places.shape[1] - 1
    least = (extents > 0).to(extents)[:, None, None] * blunt**2 * torch.eye(q, dtype=extents.dtype)
    return {"places": spread.places[:, :q, :q] + least, "field": spread.field[:, :q, :q]}
