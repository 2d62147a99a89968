"""Point or patch: patches of a line with a field of its own, by the model alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import erf

from meg_vae import SlidingVAE
from meg_vae.model.sliding.data import Data, Run
from meg_vae.model.sliding.descent import FIRM, settle
from meg_vae.model.sliding.directions import directions
from meg_vae.model.sliding.extents import _best_column, with_growing_patch
from meg_vae.model.sliding.field import Field
from meg_vae.model.sliding.growth import Grid
from meg_vae.model.sliding.slopes import slopes
from meg_vae.model.sliding.sources import Sources, whiten

T = np.linspace(0, 1, 80)
WIDTH = 0.04
GRID = np.linspace(0, 1, 41)[:, None]


def bump(r):
    """A Gaussian of unit integral at each place, and its derivative."""
    away = T - np.asarray(r)
    value = np.exp(-(away**2) / (2 * WIDTH**2)) / (WIDTH * np.sqrt(2 * np.pi))
    return value[:, :, None], (value * away / WIDTH**2)[:, :, None, None]


def box(r, s):
    """The mean of bumps over a box of half width s about each place r."""
    ends = [(T - r + side * s) / (WIDTH * 2**0.5) for side in (1, -1)]
    return (erf(ends[0]) - erf(ends[1])) / (4 * s)


class Boxes:
    """Boxes on a line, of even density or leaning to a side."""

    n_patterns = 1
    smallest, largest = 0.03, 0.2
    vague, blunt, margin = 0.0, 0.001, 0.0
    lean = 0.1

    def __call__(self, places, delta=None):
        r, s = places[:, :1], places[:, 1:]
        step = 1e-5

        def both(r, s):
            lean = box(r + s / 2, s / 2) - box(r - s / 2, s / 2)
            return np.stack([box(r, s), self.lean * lean], 1)

        here = both(r, s)
        change = [
            (both(r + step, s) - both(r - step, s)) / (2 * step),
            (both(r, s + step) - both(r, s - step)) / (2 * step),
        ]
        change = np.stack(change, -1)
        m = len(places)
        axes = np.tile(np.eye(2), (m, 1, 1))
        return here[:, 0], change[:, 0], here[:, 1:], change[:, 1:], np.ones((m, 1)), axes

    def within(self, places):
        return np.c_[places[:, 0].clip(0, 1), places[:, 1].clip(self.smallest, self.largest)]

    def near(self, rr, reach):
        centres = np.linspace(rr[0] - reach, rr[0] + reach, 11)
        sizes = np.geomspace(self.smallest, self.largest, 6)
        return np.array([[r, s] for r in centres for s in sizes])

    def columns(self, places, delta):
        value, _, patterns, *_ = self(places)
        return value, patterns

    def everywhere(self, grid, columns):
        sizes = np.geomspace(2 * self.smallest, self.largest, 4)
        places = np.array([[r, s] for r in grid[:, 0] for s in sizes])
        near = np.abs(grid[:, 0] - places[:, :1]) <= places[:, 1:]
        return places, columns[:, :, 0] @ (near / near.sum(1, keepdims=True)).T


def line(r, s, *, noise=2.0, n=40, seed=0):
    """Data of boxes, and points where s is 0, with independent time courses."""
    rng = np.random.default_rng(seed)
    columns = [bump([[a]])[0][0, :, 0] if not b else box(a, b) for a, b in zip(r, s, strict=True)]
    columns = np.reshape(columns, (len(r), len(T)))
    return columns.T @ rng.standard_normal((len(r), n)) + noise * rng.standard_normal((len(T), n))


def fit(X, extended=None, **options):
    return SlidingVAE(**options).fit(bump, GRID, X, extended=extended or Boxes())


def test_boxes_and_points_are_told_apart_and_measured():
    r, s = [0.2, 0.5, 0.8], [0.08, 0.0, 0.05]
    model = fit(line(r, s))
    order = model.places_[:, 0].argsort()
    np.testing.assert_allclose(model.places_[order, 0], r, atol=0.005)
    np.testing.assert_allclose(model.extents_[order], s, atol=0.008)
    low, high = model.extent_intervals_[order].T
    assert (low <= s).all()
    assert (s <= high).all()
    assert low[1] == 0 < low[0]
    assert model.stationarity_ < 0.05
    assert model.growth_ < 13


def test_points_alone_take_more_sources_for_a_box():
    X = line([0.4], [0.12])
    patch, points = fit(X), SlidingVAE().fit(bump, GRID, X)
    assert len(patch.places_) == 1
    assert len(points.places_) > 1
    np.testing.assert_array_equal(points.extents_, 0)
    assert np.isnan(points.extent_intervals_).all() or not points.extent_intervals_.any()


@pytest.mark.parametrize("seed", range(3))
def test_points_stay_points_and_keep_their_places(seed):
    X = line([0.3, 0.7], [0, 0], seed=seed)
    model, points = fit(X), SlidingVAE().fit(bump, GRID, X)
    assert (model.extent_intervals_[:, 0] == 0).all()
    np.testing.assert_allclose(
        np.sort(model.places_[:, 0]), np.sort(points.places_[:, 0]), atol=0.004
    )


def test_noise_alone_has_neither():
    model = fit(line([], []))
    assert len(model.places_) == 0
    assert model.extents_.shape == (0,)
    assert model.extent_intervals_.shape == (0, 2)
    assert model.growth_ < 13


def test_what_tells_of_no_extended_sources_is_refused():
    with pytest.raises(TypeError, match="extended='wide' must tell of sources"):
        fit(line([0.4], [0.1]), "wide")


def test_a_known_extent_is_kept():
    class Known(Boxes):
        smallest = largest = 0.06
        margin = -np.inf

        def __call__(self, places, delta=None):
            *rest, axes = super().__call__(places, delta)
            axes = axes.copy()
            axes[:, 1, 1] = 0
            return *rest, axes

        def near(self, rr, reach):
            return np.c_[np.linspace(rr[0] - 0.1, rr[0] + 0.1, 21), np.full(21, 0.06)]

    model = fit(line([0.3, 0.7], [0.06, 0.06]), Known())
    np.testing.assert_array_equal(model.extents_, 0.06)
    np.testing.assert_array_equal(model.extent_intervals_, 0.06)
    np.testing.assert_allclose(np.sort(model.places_[:, 0]), [0.3, 0.7], atol=0.005)


def one_of_each():
    """A box and a point beside each other, not at their best."""
    field = Field(bump, 0.025, swing=torch.zeros(0)).with_extended(Boxes(), GRID[:1])
    X = torch.as_tensor(line([0.3, 0.6], [0.1, 0.0]))
    places = torch.tensor([[0.31, 0.08], [0.59, 0.0]], dtype=torch.float64)
    factors = torch.tensor([[[0.8]], [[1.3]]], dtype=torch.float64)
    sources = Sources.at(field, places, factors, torch.tensor(0.1, dtype=torch.float64))
    shift = torch.tensor([[0.4], [0.0]], dtype=torch.float64)
    run = Run(X / X.shape[1] ** 0.5, float(X.shape[1]))
    return Data((run,)), replace(sources, shift=shift), field


def test_the_derivatives_of_a_patch_are_those_of_its_energy():
    data, sources, field = one_of_each()
    at = slopes(data, sources, field.unit)
    free = directions(data, sources, field.unit).free
    assert free[0, :2].all()
    assert free[1, 0]
    assert not free[1, 1]
    step = 1e-5
    numeric = []
    for k, axis in ((0, 0), (0, 1), (1, 0)):
        moved = []
        for sign in (1, -1):
            places = sources.places.clone()
            places[k, axis] += sign * step * field.unit
            moved.append(whiten(data, replace(sources, places=places)).energy)
        numeric.append(float(moved[0] - moved[1]) / (2 * step))
    rows = [0, 1, int(free[0].sum())]
    np.testing.assert_allclose(at.gradient[rows].numpy(), numeric, rtol=1e-4, atol=1e-6)


def test_the_energy_is_that_of_the_box_wherever_it_is_anchored():
    data, sources, field = one_of_each()
    moved = replace(sources, places=sources.places + torch.tensor([[2e-5, 1e-5], [0.0, 0.0]]))
    again = moved.anchored(field, 0.0)
    assert torch.equal(again.anchors, moved.places)
    np.testing.assert_allclose(whiten(data, again).energy, whiten(data, moved).energy, rtol=1e-7)


def test_the_best_column_falls_as_far_as_the_energy_says():
    rng = np.random.default_rng(0)
    M = torch.as_tensor(rng.standard_normal((30, 3)))
    F = torch.as_tensor(rng.standard_normal((30, 20)) / 20**0.5)
    F = F + 2 * (M @ torch.tensor([1.0, 0.3, -0.2], dtype=M.dtype))[:, None] / 20**0.5
    S, Q = (M.T @ M)[None], (M.T @ F @ F.T @ M)[None]
    n = 20.0
    fall, v = _best_column(S, Q, n, 0.0)

    def energy(v):
        run, column = Run(F, n), (M @ v)[:, None]
        shift = v[1:] / v[0]
        return run.term(column, torch.ones((), dtype=M.dtype)).energy + shift.square().sum() / n

    none = Run(F, n).term(torch.zeros(30, 1, dtype=M.dtype), torch.ones((), dtype=M.dtype)).energy
    np.testing.assert_allclose(float(none - energy(v[0])), float(fall[0]), rtol=1e-9)
    for other in rng.standard_normal((50, 3)):  # nothing nearby is much better
        assert energy(v[0] * (1 + 0.1 * torch.as_tensor(other))) > energy(v[0]) - 0.02 * fall[0]


def test_a_patch_is_let_in_wherever_it_grows():
    X = torch.as_tensor(line([0.2, 0.7], [0.0, 0.12], noise=1.5))
    field = Field(bump, 0.025, swing=torch.zeros(0)).with_extended(Boxes(), GRID[:1])
    run = Run(X / X.shape[1] ** 0.5, float(X.shape[1]))
    data = Data((run,), True)
    places = torch.tensor([[0.2, 0.0]], dtype=torch.float64)
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    sources = settle(data, Sources.at(field, places, one, one[0, 0, 0]), field, FIRM)
    columns = torch.as_tensor(bump(GRID)[0]).movedim(0, 1)
    places = torch.nn.functional.pad(torch.as_tensor(GRID), (0, 1))
    grid = Grid(places, columns, torch.ones(len(GRID)))
    beside = torch.tensor([0.05, 0.0], dtype=torch.float64)  # where nothing is
    more, offer = with_growing_patch(data, sources, field, grid, beside, 13.0)
    assert offer > 13
    assert len(more) == 2
    np.testing.assert_allclose(more.places[-1], [0.7, 0.12], atol=0.02)

    class Blind(Boxes):
        def everywhere(self, grid, columns):
            return np.zeros((0, 2)), np.zeros((len(columns), 0))

    blind = replace(field, extended=Blind())
    same, less = with_growing_patch(data, sources, blind, grid, beside, 13.0)
    assert same is sources
    assert less < 13
