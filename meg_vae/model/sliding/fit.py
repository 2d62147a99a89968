"""Fit: what is left of the data's explanation by sources at their own places."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from meg_vae.model.exact.rounds import FLOOR, Solution
from meg_vae.model.exact.threads import few_threads
from meg_vae.model.noise import Noise
from meg_vae.model.selection import residual
from meg_vae.model.sliding.descent import FIRM, settle, stationarity
from meg_vae.model.sliding.field import Field
from meg_vae.model.sliding.growth import Grid
from meg_vae.model.sliding.laplace import Spread, spread
from meg_vae.model.sliding.prior import PlacePrior
from meg_vae.model.sliding.recorded import Recorded
from meg_vae.model.sliding.slide import Settled, Start, refine, slide
from meg_vae.model.sliding.sources import Data, Run, Sources, whiten
from meg_vae.model.solve import data_factor

HIDDEN = 1e-3  # of the noise: power of the data in directions that are left out as noise alone
AGAIN = 3  # times that the noise is learnt anew from what the sources leave


@dataclass(frozen=True)
class Fit:
    """Sources at their own places.

    ``places`` (m, q); ``shift`` (m, e), the weights of the field's errors there; ``factors``
    (m, o, o); ``noise_variance`` (d,); ``energy`` J without the prior of places; ``stationarity``,
    the largest derivative left; ``offer``, what a further source at any place could be worth in
    nats, evidence and prior weight together; ``log_evidence`` (m,) and ``on_wall`` (m,);
    ``spread``, how sure all is; ``inverse_map`` (m, o, d) from data to activity, in each run by the
    columns of its channels; ``n_effective`` samples of each run, and its ``noises``, how they go on
    in time; ``start_energy`` J of the minimum on the grid in the same samples, NaN where there was
    none.
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
    n_effective: list[float]
    noises: list[Noise]
    start_energy: float = math.nan

    def ordered(self, order: Tensor) -> Fit:
        """Put the sources in another order, shape (m,)."""
        own = ("places", "shift", "factors", "log_evidence", "on_wall", "inverse_map")
        parts = {name: getattr(self, name)[order] for name in own}
        sure = Spread(**{name: value[order] for name, value in vars(self.spread).items()})
        return replace(self, **parts, spread=sure)


@dataclass(frozen=True)
class _RunView:
    """One run in the directions that are worth looking at.

    ``basis`` (d, p); ``variance`` (d,), the noise that λ is a factor on; ``scale`` (d,), that the
    channels were divided by; ``columns`` (p, n, o) of the grid in these directions.
    """

    run: Run
    basis: Tensor
    variance: Tensor
    scale: Tensor
    columns: Tensor

    @property
    def directions(self) -> Tensor:
        """The directions among the channels as they are, (d, p)."""
        return self.basis / self.scale[:, None]

    @property
    def log_volume(self) -> Tensor:
        """What the energy lost by that division, in the channels that λ counts."""
        return 2 * self.scale.log().mean() * self.run.size


@dataclass(frozen=True)
class _View:
    """Data, field and grid in the directions that are worth looking at; λ to start from."""

    data: Data
    field: Field
    grid: Grid
    runs: list[_RunView]
    noise: Tensor

    def energy(self, sources: Sources) -> float:
        """J in the channels as they are, without the prior of places."""
        volume = self.data.over_runs(one.log_volume for one in self.runs)
        return float(whiten(replace(self.data, prior=None), sources).energy + volume)


def fit_places(
    field: Field,
    places: Tensor,
    recorded: Sequence[Recorded],
    solutions: Sequence[Solution],
    *,
    learn: bool,
    least: float,
    prior: PlacePrior | None = None,
) -> Fit:
    """Let the sources of minima on a grid find their places, the same in all runs.

    The grid has the positions ``places`` (n, q), and the minima, one of each run, one variance for
    the columns of a position. Sources are worth ``least`` nats or more, with the weights of places
    in ``prior``. In stretches of consecutive samples it is learnt how the noise goes on, and
    independent samples count.
    """
    pairs = list(zip(recorded, solutions, strict=True))
    variances = [solution.noise_variance / one.inflation for one, solution in pairs]
    runs = [_learnt_on_grid(*pair) for pair in pairs]
    view = _view(field, places, runs, variances, learn, prior)
    start = _united(view, places, runs, solutions)
    with few_threads(batch=1):
        settled = slide(view.data, start, view.field, view.grid, least)
        for _ in range(AGAIN):
            again = _learnt_anew(view, settled.sources, runs)
            if all(new.noise.alike(old.noise) for new, old in zip(again, runs, strict=True)):
                break
            runs = again
            view = _view(field, places, runs, variances, learn, prior)
            found = settled.sources
            sources = Sources.at(view.field, found.places, found.factors, found.noise)
            settled = refine(view.data, sources, view.field, view.grid, least)
        on_grid = Sources.at(view.field, start.places, start.factors, view.noise)
        return replace(_result(view, settled, runs), start_energy=view.energy(on_grid))


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
) -> Fit:
    """Let sources with places (m, q) and factors (m, o, o) settle in other data of the field."""
    given = torch.tensor(variance, dtype=recorded[0].X.dtype)
    view = _view(field, grid, recorded, [given] * len(recorded), learn, prior)
    r, A = (torch.as_tensor(np.array(x, dtype=np.float64)) for x in (places, factors))
    with few_threads(batch=1):
        start = Sources.at(view.field, r, A, view.noise)
        sources = settle(view.data, start, view.field, FIRM)
        settled = refine(view.data, sources, view.field, view.grid, least)
        return _result(view, settled, recorded)


def _learnt_on_grid(one: Recorded, solution: Solution) -> Recorded:
    """Learn how the noise of a run goes on from what the minimum on the grid leaves."""
    if one.stretches is None:
        return one
    found = solution.gamma.nonzero()[:, 0]
    given = (found, solution.factor[found], solution.noise_variance)
    return one.learnt(residual(one.dictionary, *given, one.X))


def _learnt_anew(view: _View, sources: Sources, recorded: Sequence[Recorded]) -> list[Recorded]:
    """Learn how the noise of each run goes on from what sources leave."""
    learnt = []
    terms = whiten(view.data, sources).runs
    columns = view.data.parts(sources.patterns)
    for one, seen, term, P in zip(recorded, view.runs, terms, columns, strict=True):
        explained = P @ (P.T @ torch.cholesky_solve(seen.directions.T @ one.X, term.L))
        learnt.append(one.learnt(one.X - seen.scale[:, None] * (seen.basis @ explained)))
    return learnt


def _united(
    view: _View, places: Tensor, recorded: Sequence[Recorded], solutions: Sequence[Solution]
) -> Start:
    """Unite the minima of all runs: a position's prior is the mean of those in the runs."""
    found = torch.cat([solution.gamma.nonzero()[:, 0] for solution in solutions]).unique()
    weights = zip(view.data.weights, solutions, strict=True)
    factors = torch.cat([w**0.5 * solution.factor[found] for w, solution in weights], 2)
    columns = []
    for one, seen in zip(recorded, view.runs, strict=True):
        own = one.dictionary.columns(found) * one.dictionary.norms[found, None]
        columns.append(torch.einsum("dp,dmo->pmo", seen.directions, own))
    return Start(places[found], torch.cat(columns), factors, view.noise)


def _view(
    field: Field,
    places: Tensor,
    recorded: Sequence[Recorded],
    variances: Sequence[Tensor],
    learn: bool,
    prior: PlacePrior | None,
) -> _View:
    """Leave out directions in which the field is lost in the noise."""
    views, powers = zip(
        *(_run_view(one, own) for one, own in zip(recorded, variances, strict=True)), strict=True
    )
    data = Data(tuple(one.run for one in views), learn, prior=prior)
    data = replace(data, floor=FLOOR * float(data.over_runs(powers)))
    own_channels = variances[0].ndim > 0  # what is learnt is then a factor on all of them
    noise = variances[0].new_ones(()) if own_channels else data.over_runs(variances)
    directions = torch.block_diag(*(one.directions for one in views))
    norms = [one.dictionary.norms / recorded[0].dictionary.norms for one in recorded]
    columns = [one.columns * k[:, None].float() for one, k in zip(views, norms, strict=True)]
    grid = Grid(places, torch.cat(columns))  # of each position at the scale of the first run's
    return _View(data, field.through(directions), grid, list(views), noise)


def _run_view(one: Recorded, variance: Tensor) -> tuple[_RunView, Tensor]:
    """Leave out directions of one run in which its field is lost; and the power that λ may have.

    The rows are divided by √(ν / L), so that λ is a factor on the covariance whose inverse is
    unbiased, of each run its own; and by the noise of each channel where it has one.
    """
    dictionary = one.dictionary
    d, o = dictionary.n_channels, dictionary.n_orient
    X, n = one.independent()
    known = one.noise.certainty(n, d)
    relative = variance if variance.ndim else torch.ones_like(X[:, 0])
    scale = (one.inflation * relative).sqrt()
    F = data_factor(X) / scale[:, None]
    run = Run(F, n, n_rest=-known.spare, share=known.share)
    if variance.ndim:
        columns = (dictionary.Phi / scale[:, None]).float().reshape(d, -1, o)
        view = _RunView(run, torch.eye(d, dtype=F.dtype), relative, scale, columns)
        return view, variance.new_ones(())
    power, values = F.square().sum(), dictionary.eigenvalues
    left = values.flip(0).cumsum(0).flip(0) / values.sum()  # share of the field's power
    rank = max(int((left * power > HIDDEN * d * variance).sum()), min(d, o))
    basis = dictionary.basis[:, :rank]
    columns = dictionary.projected(rank, torch.float32).reshape(rank, -1, o) / float(scale[0])
    return _RunView(run.in_directions(basis), basis, relative, scale, columns), power / d


def _result(view: _View, settled: Settled, recorded: Sequence[Recorded]) -> Fit:
    """Describe the sources in all directions of the data."""
    sources, data = settled.sources.seen(), replace(view.data, prior=None)
    at = whiten(data, sources)
    m, o = sources.live.shape
    encoders = [
        torch.cholesky_solve(P, term.L).T
        for P, term in zip(data.parts(sources.patterns), at.runs, strict=True)
    ]
    back = torch.block_diag(*(one.directions for one in view.runs)).T
    own = spread(data, sources, view.field.unit)
    steepest, on_wall = stationarity(view.data, sources, view.field)
    return Fit(
        places=sources.places,
        shift=sources.anchored(view.field, 0.0).shift,  # of the patterns at the places themselves
        factors=sources.factors,
        noise_variance=sources.noise * torch.cat([one.variance for one in view.runs]),
        energy=view.energy(sources),
        stationarity=steepest,
        offer=settled.offer,
        log_evidence=settled.log_evidence,
        on_wall=on_wall,
        inverse_map=(sources.factors @ torch.cat(encoders, 1).unflatten(0, (m, o))) @ back,
        spread=replace(own, modes=own.modes @ back),
        n_effective=[run.n for run in data.runs],
        noises=[one.noise for one in recorded],
    )
