"""Fit: what is left of the data's explanation by sources at their own places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from meg_vae.model.evidence import effective_samples
from meg_vae.model.exact.point import compressed
from meg_vae.model.exact.rounds import FLOOR, Solution
from meg_vae.model.exact.threads import few_threads
from meg_vae.model.selection import independent_samples
from meg_vae.model.sliding.descent import FIRM, settle, stationarity
from meg_vae.model.sliding.field import Field
from meg_vae.model.sliding.growth import Grid
from meg_vae.model.sliding.laplace import Spread, spread
from meg_vae.model.sliding.recorded import Recorded
from meg_vae.model.sliding.slide import Settled, Start, refine, slide
from meg_vae.model.sliding.sources import Data, Run, Sources, whiten
from meg_vae.model.solve import data_factor

HIDDEN = 1e-3  # of the noise: power of the data in directions that are left out as noise alone
AGAIN = 0.98  # the sources are judged anew where the independent samples fall below this part


@dataclass(frozen=True)
class Fit:
    """Sources at their own places.

    ``places`` (m, q); ``shift`` (m, e), the weights of the field's errors there; ``factors``
    (m, o, o); ``noise_variance`` (d,); ``energy`` J; ``stationarity``, the largest derivative left;
    ``offer``, the evidence in nats that a further source at any place could add; ``log_evidence``
    (m,) and ``on_wall`` (m,); ``spread``, how sure all is; ``inverse_map`` (m, o, d) from data to
    activity, in each run by the columns of its channels; ``n_effective`` samples.
    """

    places: Tensor
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
    n_effective: float

    def ordered(self, order: Tensor) -> Fit:
        """Put the sources in another order, shape (m,)."""
        own = ("places", "shift", "factors", "log_evidence", "on_wall", "inverse_map")
        parts = {name: getattr(self, name)[order] for name in own}
        sure = Spread(**{name: value[order] for name, value in vars(self.spread).items()})
        return replace(self, **parts, spread=sure)


@dataclass(frozen=True)
class _RunView:
    """One run in the directions that are worth looking at.

    ``basis`` (d, p); ``scale`` (d,), square root of the noise that the data were divided by;
    ``columns`` (p, n, o) of the grid in these directions.
    """

    run: Run
    basis: Tensor
    scale: Tensor
    columns: Tensor

    @property
    def directions(self) -> Tensor:
        """The directions among the channels as they are, (d, p)."""
        return self.basis / self.scale[:, None]


@dataclass(frozen=True)
class _View:
    """Data, field and grid in the directions that are worth looking at."""

    data: Data
    field: Field
    grid: Grid
    runs: list[_RunView]


def fit_places(
    field: Field,
    places: Tensor,
    recorded: Sequence[Recorded],
    solutions: Sequence[Solution],
    *,
    learn: bool,
    least: float,
) -> Fit:
    """Let the sources of minima on a grid find their places, the same in all runs.

    The grid has the positions ``places`` (n, q), and the minima, one of each run, one variance for
    the columns of a position. Sources carry ``least`` nats or more.
    """
    recorded = [_counted(*both) for both in zip(recorded, solutions, strict=True)]
    noise = [solution.noise_variance for solution in solutions]
    view, start_noise = _view(field, places, recorded, noise, learn)
    with few_threads(batch=1):
        start = _united(view, places, recorded, solutions, start_noise)
        settled = slide(view.data, start, view.field, view.grid, least)
        counted = _counted_anew(view, settled.sources, recorded)
        if sum(counted) < AGAIN * view.data.n:
            runs = zip(view.data.runs, counted, strict=True)
            data = replace(view.data, runs=tuple(replace(run, n=n) for run, n in runs))
            view = replace(view, data=data)
            settled = refine(view.data, settled.sources, view.field, view.grid, least)
        return _result(view, settled)


def refit_places(
    field: Field,
    grid: Tensor,
    recorded: Sequence[Recorded],
    *,
    places: ArrayLike,
    factors: ArrayLike,
    noise: float,
    learn: bool,
    least: float,
) -> Fit:
    """Let sources with places (m, q) and factors (m, o, o) settle in other data of the field."""
    given = torch.tensor(noise, dtype=recorded[0].X.dtype)
    view, start_noise = _view(field, grid, recorded, [given] * len(recorded), learn)
    r, A = (torch.as_tensor(np.array(x, dtype=np.float64)) for x in (places, factors))
    with few_threads(batch=1):
        start = Sources.at(view.field, r, A, start_noise)
        sources = settle(view.data, start, view.field, FIRM)
        settled = refine(view.data, sources, view.field, view.grid, least)
        return _result(view, settled)


def _counted(one: Recorded, solution: Solution) -> Recorded:
    """Count the independent samples in what a minimum on the grid leaves of a run."""
    if one.stretches is None:
        return one
    found = solution.gamma.nonzero()[:, 0]
    given = (found, solution.factor[found], solution.noise_variance)
    n = independent_samples(one.dictionary, *given, one.X, one.stretches)
    return replace(one, n=min(one.n, n))


def _counted_anew(view: _View, sources: Sources, recorded: Sequence[Recorded]) -> list[float]:
    """Count the independent samples in what sources leave of each run."""
    counted = []
    terms = whiten(view.data, sources).runs
    columns = view.data.parts(sources.patterns)
    for one, seen, term, P in zip(recorded, view.runs, terms, columns, strict=True):
        n = one.n
        if one.stretches is not None:
            explained = P @ (P.T @ torch.cholesky_solve(seen.directions.T @ one.X, term.L))
            left = one.X - seen.scale[:, None] * (seen.basis @ explained)
            parts = left.split(list(one.stretches), 1)
            n = min(n, sum(effective_samples(part, one.dictionary) for part in parts))
        counted.append(n)
    return counted


def _united(
    view: _View,
    places: Tensor,
    recorded: Sequence[Recorded],
    solutions: Sequence[Solution],
    noise: Tensor,
) -> Start:
    """Unite the minima of all runs: a position's prior is the mean of those in the runs."""
    found = torch.cat([solution.gamma.nonzero()[:, 0] for solution in solutions]).unique()
    shares = zip(view.data.weights, solutions, strict=True)
    factors = torch.cat([w**0.5 * solution.factor[found] for w, solution in shares], 2)
    columns = []
    for one, seen in zip(recorded, view.runs, strict=True):
        own = one.dictionary.columns(found) * one.dictionary.norms[found, None]
        columns.append(torch.einsum("dp,dmo->pmo", seen.directions, own))
    return Start(places[found], torch.cat(columns), factors, noise)


def _view(
    field: Field,
    places: Tensor,
    recorded: Sequence[Recorded],
    noise: Sequence[Tensor],
    learn: bool,
) -> tuple[_View, Tensor]:
    """Leave out directions in which the field is lost in the noise; and the noise to start from."""
    seen = [_run_view(one, own) for one, own in zip(recorded, noise, strict=True)]
    powers = [float(data_factor(one.X).square().sum()) / len(one.X) for one in recorded]
    own_channels = noise[0].ndim > 0  # what is learnt is then a factor on all of them
    data = Data(tuple(one.run for one in seen), learn)
    mean = data.over_runs(torch.tensor(powers, dtype=torch.float64).unbind())
    data = replace(data, floor=FLOOR * (1.0 if own_channels else float(mean)))
    start = noise[0].new_ones(()) if own_channels else data.over_runs(noise)
    directions = torch.block_diag(*(one.directions for one in seen))
    norms = [one.dictionary.norms / recorded[0].dictionary.norms for one in recorded]
    columns = [one.columns * k[:, None].float() for one, k in zip(seen, norms, strict=True)]
    grid = Grid(places, torch.cat(columns))  # of each position at the scale of the first run's
    return _View(data, field.through(directions), grid, seen), start


def _run_view(one: Recorded, noise: Tensor) -> _RunView:
    """Leave out directions of one run in which its field is lost in the noise."""
    dictionary, F = one.dictionary, data_factor(one.X)
    d, o = dictionary.n_channels, dictionary.n_orient
    if noise.ndim:  # one variance a channel
        scale = noise.sqrt()
        columns = (dictionary.Phi / scale[:, None]).float().reshape(d, -1, o)
        run = Run(compressed(F / scale[:, None]), one.n)
        return _RunView(run, torch.eye(d, dtype=F.dtype), scale, columns)
    values = dictionary.eigenvalues
    left = values.flip(0).cumsum(0).flip(0) / values.sum()  # share of the field's power
    seen = left * float(F.square().sum()) > HIDDEN * d * float(noise)
    rank = max(int(seen.sum()), min(d, o))
    basis = dictionary.basis[:, :rank]
    run = Run(F, one.n).in_directions(basis)
    run = replace(run, F=compressed(run.F))
    columns = dictionary.projected(rank, torch.float32).reshape(rank, -1, o)
    return _RunView(run, basis, torch.ones_like(F[:, 0]), columns)


def _result(view: _View, settled: Settled) -> Fit:
    """Describe the sources in all directions of the data."""
    sources, data = settled.sources.seen(), view.data
    at = whiten(data, sources)
    m, o = sources.live.shape
    encoders = [
        torch.cholesky_solve(P, term.L).T
        for P, term in zip(data.parts(sources.patterns), at.runs, strict=True)
    ]
    back = torch.block_diag(*(one.directions for one in view.runs)).T
    own = spread(data, sources, view.field.unit)
    steepest, on_wall = stationarity(data, sources, view.field)
    volume = data.over_runs(2 * one.scale.log().sum() for one in view.runs)
    return Fit(
        places=sources.places,
        shift=sources.anchored(view.field, 0.0).shift,  # of the patterns at the places themselves
        factors=sources.factors,
        noise_variance=sources.noise * torch.cat([one.scale for one in view.runs]).square(),
        energy=float(at.energy + volume),
        stationarity=steepest,
        offer=settled.offer,
        log_evidence=settled.log_evidence,
        on_wall=on_wall,
        inverse_map=(sources.factors @ torch.cat(encoders, 1).unflatten(0, (m, o))) @ back,
        spread=replace(own, modes=own.modes @ back),
        n_effective=data.n,
    )
