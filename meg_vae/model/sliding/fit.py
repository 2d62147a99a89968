"""Fit: what is left of the data's explanation by sources at their own places."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from meg_vae.model.exact.dictionary import Dictionary
from meg_vae.model.exact.rounds import FLOOR, Solution
from meg_vae.model.exact.threads import few_threads
from meg_vae.model.noise import Noise
from meg_vae.model.selection import residual
from meg_vae.model.sliding.descent import FIRM, settle, stationarity
from meg_vae.model.sliding.field import Field
from meg_vae.model.sliding.growth import Grid
from meg_vae.model.sliding.laplace import Spread, spread
from meg_vae.model.sliding.prior import PlacePrior
from meg_vae.model.sliding.slide import Settled, Start, refine, slide
from meg_vae.model.sliding.sources import Data, Sources, whiten
from meg_vae.model.solve import data_factor

HIDDEN = 1e-3  # of the noise: power of the data in directions that are left out as noise alone
AGAIN = 3  # times that the noise is learnt anew from what the sources leave


@dataclass(frozen=True)
class Fit:
    """Sources at their own places.

    ``places`` (m, q); ``shift`` (m, e), the weights of the field's errors there; ``factors``
    (m, o, o); ``noise_variance`` (d,); ``energy`` J without the prior of places; ``stationarity``,
    the largest derivative left; ``offer``, what a further source at any place could be worth in
    nats, evidence and prior weight together; ``log_evidence``
    (m,) and ``on_wall`` (m,); ``spread``, how sure all is; ``inverse_map`` (m, o, d) from data to
    activity; ``n_effective`` samples; ``noise``, how it goes on in time; ``start_energy`` J of the
    minimum on the grid in the same samples, NaN where there was none.
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
    noise: Noise
    start_energy: float = math.nan

    def ordered(self, order: Tensor) -> Fit:
        """Put the sources in another order, shape (m,)."""
        own = ("places", "shift", "factors", "log_evidence", "on_wall", "inverse_map")
        parts = {name: getattr(self, name)[order] for name in own}
        sure = Spread(**{name: value[order] for name, value in vars(self.spread).items()})
        return replace(self, **parts, spread=sure)


@dataclass(frozen=True)
class _View:
    """Data, field and grid in the directions that are worth looking at."""

    data: Data
    field: Field
    grid: Grid
    basis: Tensor  # (d, p)
    scale: Tensor  # (d,), square root of the noise that the data were divided by
    start: Tensor  # noise variance to start from
    noise: Noise
    inflation: float  # of the covariance of the noise, which λ is relative to

    def onto(self, other: _View, sources: Sources) -> Sources:
        """Take sources over to another view, whose directions may be others."""
        noise = sources.noise * other.inflation / self.inflation
        return Sources.at(other.field, sources.places, sources.factors, noise)


def fit_places(
    field: Field,
    places: Tensor,
    dictionary: Dictionary,
    X: Tensor,
    solution: Solution,
    *,
    learn: bool,
    least: float,
    n_effective: float,
    noise: Noise,
    stretches: Sequence[int] | None = None,
    prior: PlacePrior | None = None,
) -> Fit:
    """Let the sources of a minimum on a grid find their places.

    ``dictionary`` holds the field at ``places`` (n, q), X (d, n_samples) the data, ``solution`` the
    minimum with one variance for the columns of a position. Sources are worth ``least`` nats or
    more, with the weights of places in ``prior``. Where ``stretches`` of consecutive samples are
    given, it is learnt how the noise goes on in them, and independent samples count.
    """
    found = solution.gamma.nonzero()[:, 0]
    factor, variance = solution.factor[found], solution.noise_variance
    variance = variance / noise.inflation(len(X))
    if stretches is not None:
        left = residual(dictionary, found, factor, solution.noise_variance, X)
        noise = noise.learnt(left, stretches, dictionary)

    def viewed(noise: Noise) -> _View:
        data = noise.independent(X, stretches)
        n = min(n_effective, data.shape[1]) if stretches is not None else n_effective
        return _view(field, places, dictionary, data, variance, n, learn, noise, prior)

    view = viewed(noise)
    columns = dictionary.columns(found) * dictionary.norms[found, None] / view.scale[:, None, None]
    columns = torch.einsum("dp,dmo->pmo", view.basis, columns)
    with few_threads(batch=1):
        start = Start(places[found], columns, factor, view.start)
        settled = slide(view.data, start, view.field, view.grid, least)
        for _ in range(AGAIN):
            if stretches is None:
                break
            left = _residual(view, settled.sources, X)
            again = noise.learnt(left, stretches, dictionary)
            if again.alike(noise):
                break
            noise = again
            before, view = view, viewed(noise)
            sources = before.onto(view, settled.sources)
            settled = refine(view.data, sources, view.field, view.grid, least)
        on_grid = Sources.at(view.field, places[found], factor, view.start)
        start_energy = whiten(replace(view.data, prior=None), on_grid).energy
        return replace(_result(view, settled), start_energy=float(start_energy))


def refit_places(
    field: Field,
    grid: Tensor,
    dictionary: Dictionary,
    X: Tensor,
    *,
    places: ArrayLike,
    factors: ArrayLike,
    variance: float,
    learn: bool,
    least: float,
    n_effective: float,
    noise: Noise,
    stretches: Sequence[int] | None = None,
    prior: PlacePrior | None = None,
) -> Fit:
    """Let sources with places (m, q) and factors (m, o, o) settle in other data of the field."""
    given = torch.tensor(variance, dtype=X.dtype)
    data = noise.independent(X, stretches)
    view = _view(field, grid, dictionary, data, given, n_effective, learn, noise, prior)
    r, A = (torch.as_tensor(np.array(x, dtype=np.float64)) for x in (places, factors))
    with few_threads(batch=1):
        start = Sources.at(view.field, r, A, view.start)
        sources = settle(view.data, start, view.field, FIRM)
        settled = refine(view.data, sources, view.field, view.grid, least)
        return _result(view, settled)


def _view(
    field: Field,
    places: Tensor,
    dictionary: Dictionary,
    X: Tensor,
    variance: Tensor,
    n: float,
    learn: bool,
    noise: Noise,
    prior: PlacePrior | None,
) -> _View:
    """Leave out directions in which the field is lost in the noise, of variance λ."""
    d, o = dictionary.n_channels, dictionary.n_orient
    F = data_factor(X)
    power = float(F.square().sum())
    known = noise.certainty(n, d)
    inflation = noise.inflation(d)
    variance = inflation * variance
    if variance.ndim:  # one a channel: what is learnt further is a factor on all of them
        scale = variance.sqrt()
        data = Data(
            F / scale[:, None], n, learn, FLOOR, -known.spare, share=known.share, prior=prior
        )
        basis = torch.eye(d, dtype=F.dtype)
        columns = (dictionary.Phi / scale[:, None]).float().reshape(d, -1, o)
        own = field.through(torch.diag(1 / scale))
        start = variance.new_ones(())
        return _View(data, own, Grid(places, columns), basis, scale, start, noise, inflation)
    values = dictionary.eigenvalues
    left = values.flip(0).cumsum(0).flip(0) / values.sum()  # share of the field's power
    rank = max(int((left * power > HIDDEN * d * float(variance)).sum()), min(d, o))
    basis = dictionary.basis[:, :rank]
    data = Data(F, n, learn, FLOOR * power / d, -known.spare, share=known.share, prior=prior)
    data = data.in_directions(basis)
    columns = dictionary.projected(rank, torch.float32).reshape(rank, -1, o)
    grid, one = Grid(places, columns), torch.ones_like(F[:, 0])
    return _View(data, field.through(basis), grid, basis, one, variance, noise, inflation)


def _residual(view: _View, sources: Sources, X: Tensor) -> Tensor:
    """Give what the sources leave of the data, (d, n_samples)."""
    P, L = sources.patterns, whiten(view.data, sources).L
    explained = P @ (P.T @ torch.cholesky_solve(view.basis.T @ (X / view.scale[:, None]), L))
    return X - view.scale[:, None] * (view.basis @ explained)


def _result(view: _View, settled: Settled) -> Fit:
    """Describe the sources in all directions of the data."""
    sources, data = settled.sources.seen(), replace(view.data, prior=None)
    at = whiten(data, sources)
    m, o = sources.live.shape
    encoder = torch.cholesky_solve(sources.patterns, at.L).T.unflatten(0, (m, o))
    back = view.basis.T / view.scale  # whitened data to the directions of the view
    own = spread(data, sources, view.field.unit)
    steepest, on_wall = stationarity(view.data, sources, view.field)
    return Fit(
        places=sources.places,
        shift=sources.anchored(view.field, 0.0).shift,  # of the patterns at the places themselves
        factors=sources.factors,
        noise_variance=sources.noise / view.inflation * view.scale.square(),
        energy=float(at.energy + 2 * view.scale.log().sum()),
        stationarity=steepest,
        offer=settled.offer,
        log_evidence=settled.log_evidence,
        on_wall=on_wall,
        inverse_map=(sources.factors @ encoder) @ back,
        spread=replace(own, modes=own.modes @ back),
        n_effective=data.n,
        noise=view.noise,
    )
