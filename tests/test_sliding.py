"""The sliding decoder: derivatives, growth and energy, and what `SlidingVAE` makes of spikes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation
from scipy.stats import binom

from meg_vae import SlidingVAE, SparseVAE
from meg_vae.model.energy import profile
from meg_vae.model.sliding.descent import _moved
from meg_vae.model.sliding.field import Field
from meg_vae.model.sliding.growth import _growth_at, best_factor, climb, excess, growth, pull
from meg_vae.model.sliding.slopes import slopes
from meg_vae.model.sliding.sources import Data, Sources, whiten

D, N = 14, 40
UNIT = 0.1


def waves(o, q, seed=0):
    """A smooth field of sines, (m, D, o), with its gradient."""
    rng = np.random.default_rng(seed)
    slope, phase = rng.standard_normal((D, o, q)), rng.uniform(0, 6, (D, o))

    def at(r):
        angle = np.einsum("doq,mq->mdo", slope, r) + phase
        return np.sin(angle), np.cos(angle)[..., None] * slope

    return at


def patterns_of_error(o, seed=9):
    rng = np.random.default_rng(seed)
    patterns = rng.standard_normal((2, D, o)) / 5
    return lambda r: patterns * (1 + np.asarray(r)[:, :1, None, None])


def some_sources(o=2, q=2, *, errors=True, seed=1):
    """Data, a field, and three sources of rank 1 and o, away from their anchors."""
    rng = np.random.default_rng(seed)
    field = Field(waves(o, q), UNIT, patterns_of_error(o) if errors else None)
    factors = torch.as_tensor(rng.standard_normal((3, o, o)))
    factors[1, :, 1:] = 0.0
    F = torch.as_tensor(2 * rng.standard_normal((D, N)) / np.sqrt(N))
    data = Data(F, 30.0, n_rest=3, rest=1.2)
    noise = torch.tensor(0.6, dtype=torch.float64)
    sources = Sources.at(field, torch.as_tensor(rng.uniform(0, 1, (3, q))), factors, noise)
    moved = sources.places + 0.02 * torch.as_tensor(rng.standard_normal((3, q)))
    shift = torch.as_tensor(rng.standard_normal(sources.shift.shape))
    return data, field, replace(sources, places=moved, shift=shift)


@pytest.mark.parametrize("o", [1, 2, 3])
def test_slopes_are_the_derivatives(o):
    data, field, sources = some_sources(o)
    at = slopes(data, sources, UNIT)
    p = len(at.gradient)
    assert p == int(at.directions.free.sum()) + 1

    def energy(k, size):
        step = torch.zeros(p, dtype=torch.float64)
        step[k] = size
        moved = _moved(data, sources, field, at.directions, step)
        if k == p - 1:  # growing adds there: the curvature is that in log λ
            moved = replace(moved, noise=sources.noise * np.exp(size))
        return float(whiten(data, moved).energy)

    here = energy(0, 0.0)
    slope = [(energy(k, 1e-5) - energy(k, -1e-5)) / 2e-5 for k in range(p)]
    bend = [(energy(k, 1e-3) + energy(k, -1e-3) - 2 * here) / 1e-6 for k in range(p)]
    np.testing.assert_allclose(at.gradient, slope, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(at.curvature.diagonal(), bend, rtol=1e-3, atol=1e-3)
    assert np.median(np.abs(slope)) > 0.05  # not zero by chance
    assert float(torch.linalg.eigvalsh(at.average).min()) > -1e-9  # even where J is not convex
    assert float(torch.linalg.eigvalsh(at.curvature).min()) < 0


def test_slopes_between_parameters():
    data, field, sources = some_sources()
    at = slopes(data, sources, UNIT)
    places = at.directions.free.flatten().cumsum(0).reshape(3, -1)[:, 0] - 1

    def gradient(k, size):
        step = torch.zeros_like(at.gradient)
        step[k] = size
        moved = _moved(data, sources, field, at.directions, step)
        return slopes(data, moved, UNIT).gradient

    for k in places.tolist():  # a place bends no chart, so that all of its row can be compared
        row = (gradient(k, 1e-5) - gradient(k, -1e-5)) / 2e-5
        own = torch.ones_like(row, dtype=torch.bool)
        own[k + 2 : k + 5] = False  # the factor's own axes turn with it
        torch.testing.assert_close(at.curvature[k][own], row[own], rtol=1e-4, atol=1e-4)
        assert row.abs().max() > 0.1


def test_growth_is_the_fall_by_the_best_prior():
    data, field, sources = some_sources(errors=False)
    data, few = replace(data, F=3 * data.F), sources.only(torch.tensor([True, False, False]))
    place = torch.tensor([[0.3, 0.8]], dtype=torch.float64)

    def energy(entries):
        A = torch.as_tensor(entries).reshape(1, 2, 2)
        return float(whiten(data, few.join(Sources.at(field, place, A, few.noise))).energy)

    values, vectors = excess(*pull(data, few).blocks(field.expand(place).values))
    expected = float(whiten(data, few).energy - growth(values))
    found = minimize(energy, np.array([1.0, 0.2, -0.1, 0.5]), tol=1e-10)
    assert found.fun == pytest.approx(expected, abs=1e-5)
    assert energy(best_factor(values, vectors).numpy()) == pytest.approx(expected, abs=1e-8)
    for size in (0, 0.5, 2):  # no other prior does as well
        assert energy(size * best_factor(values, vectors).numpy()) > expected + 0.1


def test_growth_climbs_by_its_gradient():
    data, field, sources = some_sources(errors=False)
    at = pull(replace(data, F=3 * data.F), sources.only(torch.tensor([True, False, False])))
    place = torch.tensor([[0.3, 0.8], [0.7, 0.1]], dtype=torch.float64)
    height, _, slope = _growth_at(at, field, place)
    for axis in torch.eye(2, dtype=torch.float64):
        rise = [_growth_at(at, field, place + s * axis)[0] for s in (1e-5, -1e-5)]
        torch.testing.assert_close((rise[0] - rise[1]) / 2e-5, slope @ axis, rtol=1e-4, atol=1e-5)
    assert slope.abs().min() > 1e-2
    assert (climb(at, field, place)[1] > height + 0.01).all()


def test_energy_is_that_of_the_grid():
    data, field, sources = some_sources(errors=False)
    data = replace(data, n_rest=0, rest=0.0)
    gamma = torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64)
    factors = gamma.sqrt()[:, None, None] * torch.eye(2, dtype=torch.float64)
    own = Sources.at(field, sources.places, factors, sources.noise)
    Phi = own.values.movedim(0, 1).flatten(1)
    C = data.F @ data.F.T
    expected = profile(Phi, gamma, own.noise, C)
    torch.testing.assert_close(whiten(data, own).energy, expected)
    assert (whiten(data, own).energy - profile(Phi, 0 * gamma, own.noise, C)).abs() > 1


def test_energy_knows_neither_rotation_nor_order():
    data, _, sources = some_sources(3)
    J = whiten(data, sources).energy
    R = torch.as_tensor(Rotation.random(3, random_state=0).as_matrix())
    turned = replace(sources, factors=sources.factors @ R)
    torch.testing.assert_close(whiten(data, turned).energy, J)
    torch.testing.assert_close(whiten(data, sources.only(torch.tensor([2, 0, 1]))).energy, J)
    other_side = replace(sources, factors=R @ sources.factors)
    assert (whiten(data, other_side).energy - J).abs() > 1e-2


T = np.linspace(0, 1, 60)
WIDTH, STEP = 0.05, 0.025
GRID = np.arange(0, 1 + STEP / 2, STEP)[:, None]


def bump(r):
    """A Gaussian bump about r, and its derivative."""
    values = np.exp(-((T - r) ** 2) / (2 * WIDTH**2))
    return values[:, :, None], (values * (T - r) / WIDTH**2)[:, :, None, None]


def spikes(places, seed=0, *, n=60, noise=0.05, correlation=0.0):
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal(n)
    U = np.sqrt(1 - correlation) * rng.standard_normal((len(places), n))
    U += np.sqrt(correlation) * shared
    X = bump(np.reshape(places, (-1, 1)))[0][:, :, 0].T @ U
    return X + noise * rng.standard_normal((len(T), n)), U


@pytest.mark.parametrize("seed", range(4))
def test_spikes_between_the_positions(seed):
    rng = np.random.default_rng(seed)
    cells = np.array([6, 15, 22, 31]) + rng.integers(-1, 2, 4)
    truth = STEP * (cells + rng.uniform(0.3, 0.7, 4))
    X, U = spikes(truth, seed, noise=0.02, correlation=0.95)
    model = SlidingVAE().fit(bump, GRID, X)
    assert len(model.places_) == 4
    order = model.places_[:, 0].argsort()
    np.testing.assert_allclose(model.places_[order, 0], truth, atol=0.1 * STEP)
    np.testing.assert_allclose(model.U_[order, 0], U, atol=0.15 * U.std())
    assert (np.diff(model.log_evidence_) <= 0).all()
    assert model.growth_ < model.min_log_evidence
    assert model.stationarity_ < 1e-3
    assert model.energy_ < model.grid_energy_ - 1
    Phi = bump(GRID)[0][:, :, 0].T
    on_grid = GRID[SparseVAE(min_log_evidence=12.0).fit(Phi, X).active_, 0]
    assert len(on_grid) > 4
    nearest = np.abs(on_grid[:, None] - truth).min(0)
    assert nearest.min() > 0.25 * STEP  # no position is near


def test_nothing_in_noise():
    for seed in range(5):
        X = np.random.default_rng(seed).standard_normal((len(T), 60))
        model = SlidingVAE().fit(bump, GRID, X)
        assert model.places_.shape == (0, 1)
        assert model.U_.shape == (0, 1, 60)
        assert model.noise_variance_ == pytest.approx(1, rel=0.1)
        assert 0 < model.growth_ < 12
    X += spikes([0.4123], 0)[0]
    assert len(SlidingVAE().fit(bump, GRID, X).places_) == 1


def test_a_spike_beyond_the_edge_is_held_at_the_wall():
    inside = GRID[8:33]  # from 0.2 to 0.8
    X, _ = spikes([0.185, 0.6123], noise=0.4, n=20)
    model = SlidingVAE().fit(bump, inside, X)
    first = model.places_[:, 0].argsort()
    assert model.places_[first[0], 0] == pytest.approx(0.2, abs=1e-9)
    assert model.fit_.on_wall[first].tolist() == [True, False]
    assert model.places_[first[1], 0] == pytest.approx(0.6123, abs=0.01)
    free = SlidingVAE().fit(bump, inside, X, confine=lambda r: r)
    assert free.places_.min() == pytest.approx(0.185, abs=0.01)
    assert not free.fit_.on_wall.any()


def test_without_a_choice_the_energy_only_falls():
    for seed in range(3):
        X, _ = spikes([0.2113, 0.5341, 0.7777], seed)
        model = SlidingVAE(min_log_evidence=0).fit(bump, GRID, X)
        assert model.energy_ <= model.grid_energy_
        assert model.history_[-1] == pytest.approx(model.grid_energy_)
        assert (np.diff(model.history_) <= 1e-9).all()
        assert len(model.places_) >= 3


def test_intervals_of_the_places_hold_the_truth():
    rng = np.random.default_rng(0)
    truths = rng.uniform(0.2, 0.4, 40)[:, None] + [0, 0.35]
    z = np.empty((40, 2))
    shuffled = np.empty((40, 2))
    for seed, truth in enumerate(truths):
        X, _ = spikes(truth, seed, n=30, noise=0.3, correlation=0.5)
        model = SlidingVAE(noise_variance=0.09).fit(bump, GRID, X)
        assert len(model.places_) == 2
        order = model.places_[:, 0].argsort()
        sure = np.sqrt(model.place_covariance_[order, 0, 0])
        z[seed] = (model.places_[order, 0] - truth) / sure
        shuffled[seed] = (model.places_[order, 0] - truths[seed - 1]) / sure
    low, high = binom.interval(0.999, z.size, 0.95)
    assert low <= (np.abs(z) < 1.96).sum() <= high
    assert 0.6 < np.mean(z**2) < 1.5  # nor are they too wide
    assert (np.abs(shuffled) < 1.96).sum() < low / 2


def test_noise_of_each_channel_and_held():
    rng = np.random.default_rng(3)
    truth = np.array([0.3123, 0.6632])
    X, _ = spikes(truth, 3, noise=0.0, n=400)
    size = np.where(np.arange(len(T)) % 2, 0.2, 0.05)
    X += size[:, None] * rng.standard_normal(X.shape)
    own = SlidingVAE(noise_variance="per_channel").fit(bump, GRID, X)
    np.testing.assert_allclose(own.noise_variance_, size**2, rtol=0.4)
    one = SlidingVAE().fit(bump, GRID, X)
    assert one.noise_variance_ == pytest.approx(np.mean(size**2), rel=0.1)
    held = SlidingVAE(noise_variance=0.03).fit(bump, GRID, X)
    assert held.noise_variance_ == pytest.approx(0.03, rel=1e-12)
    for model in (own, one, held):
        np.testing.assert_allclose(np.sort(model.places_[:, 0]), truth, atol=0.1 * STEP)
    assert own.place_covariance_.max() < 0.7 * one.place_covariance_.max()


def rotating(r):
    """Two columns a place: a bump, and one of its own sign on each side."""
    values, gradient = bump(r)
    away = ((T - r) / WIDTH)[:, :, None]
    second = values * away
    slope = gradient * away[..., None] - values[..., None] / WIDTH
    return np.concatenate([values, second], 2), np.concatenate([gradient, slope], 2)


def test_a_rotating_dipole_is_one_source():
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, 80)
    columns = rotating(np.array([[0.4637]]))[0][0]
    for turn, rank in ((angle, 2), (0 * angle + 0.7, 1)):
        U = (1 + rng.uniform(size=80)) * np.array([np.cos(turn), np.sin(turn)])
        X = columns @ U + 0.05 * rng.standard_normal((len(T), 80))
        model = SlidingVAE().fit(rotating, GRID, X)
        assert model.places_.shape == (1, 1)
        assert model.places_[0, 0] == pytest.approx(0.4637, abs=0.05 * STEP)
        assert int(torch.linalg.matrix_rank(model.fit_.factors[0], rtol=0.05)) == rank
        np.testing.assert_allclose(model.U_[0], U, atol=0.15)


@pytest.mark.parametrize(
    ("options", "changed", "message"),
    [
        ({"noise_variance": "anneal"}, {}, "for a fixed dictionary"),
        ({"noise_variance": -1.0}, {}, "noise_variance"),
        ({"min_log_evidence": -1.0}, {}, "number of nats, 0 or more"),
        ({"min_log_evidence": np.nan}, {}, "number of nats, 0 or more"),
        ({}, {"grid": GRID[:, 0]}, r"shape \(n_positions, n_dimensions\)"),
        ({}, {"grid": GRID[:1]}, "two positions or more"),
        ({}, {"grid": np.where(GRID == 0, np.nan, GRID)}, "grid must be finite"),
        ({}, {"grid": np.repeat(GRID, 2, 0)}, "most of its positions twice"),
        ({}, {"X": np.ones((len(T) - 1, 9))}, "channels"),
        ({}, {"X": np.full((len(T), 9), np.nan)}, "NaN"),
        ({}, {"n_effective": 0.0}, "n_effective"),
        ({}, {"stretches": [4, 4]}, "add up to the 9 samples"),
        ({}, {"stretches": [9, 0]}, "must be positive"),
        ({}, {"field": lambda r: (bump(r)[0] * np.nan, bump(r)[1])}, "field is NaN or infinite"),
        ({}, {"field": lambda r: (bump(r)[0], bump(r)[1] / 0)}, "field is NaN or infinite"),
    ],
)
def test_bad_input_is_refused(options, changed, message):
    given = {"field": bump, "grid": GRID, "X": spikes([0.4], n=9)[0]}
    SlidingVAE().fit(**given)
    with np.errstate(all="ignore"), pytest.raises(ValueError, match=message):
        SlidingVAE(**options).fit(**{**given, **changed})
