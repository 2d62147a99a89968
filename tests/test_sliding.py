"""What `SlidingVAE` makes of spikes on a line."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import binom

from meg_vae import SlidingVAE, SparseVAE

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
        assert model.history_[-1] == pytest.approx(model.grid_energy_, rel=1e-3)
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
        ({}, {"swing": [0.1, 0.0]}, "swing=.* a positive length for each parameter"),
        ({}, {"swing": [[0.1]]}, "swing=.* a positive length for each parameter"),
        ({}, {"swing": [np.nan]}, "swing=.* a positive length for each parameter"),
        ({}, {"field": lambda r: (bump(r)[0] * np.nan, bump(r)[1])}, "field is NaN or infinite"),
        ({}, {"field": lambda r: (bump(r)[0], bump(r)[1] / 0)}, "field is NaN or infinite"),
    ],
)
def test_bad_input_is_refused(options, changed, message):
    given = {"field": bump, "grid": GRID, "X": spikes([0.4], n=9)[0]}
    SlidingVAE().fit(**given)
    with np.errstate(all="ignore"), pytest.raises(ValueError, match=message):
        SlidingVAE(**options).fit(**{**given, **changed})
