"""Parts of the sliding decoder: derivatives, steps, growth and energy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from meg_vae.model.energy import profile
from meg_vae.model.sliding.data import Data, Run
from meg_vae.model.sliding.descent import FIRM, TRAVEL, _descend, _moved
from meg_vae.model.sliding.field import Field
from meg_vae.model.sliding.growth import _growth_at, best_factor, climb, excess, growth, pull
from meg_vae.model.sliding.slopes import slopes
from meg_vae.model.sliding.sources import Sources, whiten

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
    data = Data((Run(F, 30.0, n_rest=3, rest=1.2),))
    noise = torch.tensor(0.6, dtype=torch.float64)
    sources = Sources.at(field, torch.as_tensor(rng.uniform(0, 1, (3, q))), factors, noise)
    moved = sources.places + 0.02 * torch.as_tensor(rng.standard_normal((3, q)))
    shift = torch.as_tensor(rng.standard_normal(sources.shift.shape))
    return data, field, replace(sources, places=moved, shift=shift)


def other_data(data, F, **changed):
    """The same with another factor of its covariance."""
    return replace(data, runs=(replace(data.runs[0], F=F, **changed),))


@pytest.mark.parametrize("o", [1, 2, 3])
def test_slopes_are_the_derivatives(o):
    data, field, sources = some_sources(o)
    at = slopes(data, sources, UNIT)
    p = len(at.gradient)
    assert p == int(at.directions.free.sum()) + 1

    def energy(k, size):
        step = torch.zeros(p, dtype=torch.float64)
        step[k] = size
        moved = _moved(data, sources, field, at.directions, step, UNIT)
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
        moved = _moved(data, sources, field, at.directions, step, UNIT)
        return slopes(data, moved, UNIT).gradient

    for k in places.tolist():  # a place bends no chart, so that all of its row can be compared
        row = (gradient(k, 1e-5) - gradient(k, -1e-5)) / 2e-5
        own = torch.ones_like(row, dtype=torch.bool)
        own[k + 2 : k + 5] = False  # the factor's own axes turn with it
        torch.testing.assert_close(at.curvature[k][own], row[own], rtol=1e-4, atol=1e-4)
        assert row.abs().max() > 0.1


def test_a_new_anchor_changes_the_energy_to_second_order_only():
    data, field, sources = some_sources()
    away, J = sources.places - sources.anchors, []
    for size in (0.2, 0.1):
        moved = replace(sources, places=sources.anchors + size * away)
        anew = moved.anchored(field, 0.0)
        torch.testing.assert_close(anew.shift.norm(dim=1), moved.shift.norm(dim=1))
        J.append(float(whiten(data, anew).energy - whiten(data, moved).energy))
    assert J[1] != 0
    assert J[0] / J[1] == pytest.approx(4, rel=0.1)


def test_a_descent_travels_no_farther_than_told():
    data, field, sources = some_sources(errors=False)
    one = sources.only(torch.tensor([True, False, False])).anchored(field, 0.0)
    seen = torch.cat([3 * one.patterns, 0.1 * data.runs[0].F], 1)  # as seen from there
    data = other_data(data, seen)
    there = one.places + torch.tensor([[1.2 * UNIT, 0.0]], dtype=torch.float64)
    start = Sources.at(field, there, one.factors, one.noise)
    for travel in (0.01 * UNIT, TRAVEL * UNIT):
        moved = _descend(data, start, field, FIRM, travel)
        gone = float(torch.linalg.vector_norm(moved.places - start.places))
        assert travel < gone <= 2 * travel  # one step beyond the last that was near enough
        assert whiten(data, moved).energy < whiten(data, start).energy - 1e-3


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_growth_is_the_fall_by_the_best_prior(share):
    data, field, sources = some_sources(errors=False)
    few = sources.only(torch.tensor([True, False, False]))
    data = other_data(data, 3 * data.runs[0].F, share=share)
    place = torch.tensor([[0.3, 0.8]], dtype=torch.float64)

    def energy(entries):
        A = torch.as_tensor(entries).reshape(1, 2, 2)
        return float(whiten(data, few.join(Sources.at(field, place, A, few.noise))).energy)

    S, Q = pull(data, few).blocks(field.expand(place).values)
    values, vectors = excess(S[0], Q[0])
    expected = float(whiten(data, few).energy - growth(values, share))
    found = minimize(energy, np.array([1.0, 0.2, -0.1, 0.5]), tol=1e-10)
    assert found.fun == pytest.approx(expected, abs=1e-5)
    assert energy(best_factor(values, vectors, share).numpy()) == pytest.approx(expected, abs=1e-8)
    for size in (0, 0.5, 2):  # no other prior does as well
        assert energy(size * best_factor(values, vectors, share).numpy()) > expected + 0.1


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_growth_climbs_by_its_gradient(share):
    data, field, sources = some_sources(errors=False)
    few = sources.only(torch.tensor([True, False, False]))
    at = pull(other_data(data, 3 * data.runs[0].F, share=share), few)
    place = torch.tensor([[0.3, 0.8], [0.7, 0.1]], dtype=torch.float64)
    height, _, slope = _growth_at(at, field, place)
    for axis in torch.eye(2, dtype=torch.float64):
        rise = [_growth_at(at, field, place + s * axis)[0] for s in (1e-5, -1e-5)]
        torch.testing.assert_close((rise[0] - rise[1]) / 2e-5, slope @ axis, rtol=1e-4, atol=1e-5)
    assert slope.abs().min() > 1e-2
    assert (climb(at, field, place)[1] > height + 0.01).all()


def test_energy_is_that_of_the_grid():
    data, field, sources = some_sources(errors=False)
    data = other_data(data, data.runs[0].F, n_rest=0, rest=0.0)
    gamma = torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64)
    factors = gamma.sqrt()[:, None, None] * torch.eye(2, dtype=torch.float64)
    own = Sources.at(field, sources.places, factors, sources.noise)
    Phi = own.values.movedim(0, 1).flatten(1)
    C = data.runs[0].F @ data.runs[0].F.T
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
