"""Prior weights: what they decide, what they leave alone, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_sliding import GRID, STEP, T, bump, spikes

from meg_vae import SlidingVAE, SparseVAE
from meg_vae.model.sliding.data import Data, Run
from meg_vae.model.sliding.field import Field
from meg_vae.model.sliding.prior import PlacePrior, place_prior, weights_at
from meg_vae.model.sliding.slopes import slopes
from meg_vae.model.sliding.sources import Sources, whiten
from meg_vae.model.weights import counted

PHI = bump(GRID)[0][:, :, 0].T


def scattered(seed=0, n=60, q=3):
    """Positions in a cube, their weights and their spacing."""
    rng = np.random.default_rng(seed)
    return rng.uniform(size=(n, q)), 4 * rng.standard_normal(n), 0.15


def test_between_positions_a_weight_is_a_mean_of_the_neighbours():
    positions, weights, spacing = scattered(n=300)
    prior = PlacePrior(positions, weights, spacing)
    at = prior.at(torch.as_tensor(positions)).numpy()
    np.testing.assert_allclose(at, weights, atol=1e-6)
    places = np.random.default_rng(1).uniform(size=(200, 3))
    between = prior.at(torch.as_tensor(places)).numpy()
    near = np.linalg.norm(places[:, None] - positions, axis=2) < 2 * spacing
    assert (between <= np.where(near, weights, -np.inf).max(1) + 1e-9).all()
    assert (between >= np.where(near, weights, np.inf).min(1) - 1e-9).all()
    way = np.linspace(positions[0], positions[1], 20001)
    assert np.abs(np.diff(prior.at(torch.as_tensor(way)).numpy())).max() < 0.05  # no jump
    far = torch.as_tensor([[9.0, 9.0, 9.0]])
    nearest = np.linalg.norm(positions - far.numpy(), axis=1).argmin()
    assert float(prior.at(far)) == weights[nearest]
    same = PlacePrior(positions, np.full(300, 2.5), spacing).at(torch.as_tensor(places)).numpy()
    np.testing.assert_allclose(same, 2.5, rtol=1e-12)


def test_derivatives_of_weights():
    positions, weights, spacing = scattered(q=2)
    prior = PlacePrior(positions, weights, spacing)
    places = torch.as_tensor(np.random.default_rng(1).uniform(0.2, 0.8, (5, 2)))
    gradient, curvature = prior.derivatives(places)
    for k, step in enumerate(1e-6 * torch.eye(2, dtype=torch.float64)):
        slope = (prior.at(places + step) - prior.at(places - step)) / 2e-6
        torch.testing.assert_close(gradient[:, k], slope, rtol=1e-3, atol=1e-2)
        ahead, behind = (prior.derivatives(places + s * 100 * step)[0] for s in (1, -1))
        bend = (ahead - behind) / 2e-4
        torch.testing.assert_close(curvature[:, k], bend, rtol=0.02, atol=1.0)


def test_the_energy_has_the_weights_and_their_slope():
    X, _ = spikes([0.3, 0.7], n=20, noise=0.5)
    weights = 3 * np.random.default_rng(0).standard_normal(len(GRID))
    prior, _ = place_prior(GRID, weights, STEP, 13.0)
    field = Field(bump, STEP)
    bare = Data((Run(torch.as_tensor(X / 20**0.5), n=17.0),))
    places = torch.tensor([[0.3113], [0.7071]], dtype=torch.float64)
    noise = torch.tensor(0.25, dtype=torch.float64)

    def sources(r):
        return Sources.at(field, r, torch.ones(2, 1, 1, dtype=torch.float64), noise)

    data = replace(bare, prior=prior)
    here = sources(places)
    expected = whiten(bare, here).energy - 2 / 17 * prior.at(places).sum()
    torch.testing.assert_close(whiten(data, here).energy, expected)
    at = slopes(data, here, STEP)
    for k in range(2):  # of the parameters of each source its place is the first
        step = torch.zeros_like(places)
        step[k] = 1e-5 * STEP
        up, down = (whiten(data, sources(places + s * step)).energy for s in (1, -1))
        assert float(at.gradient[2 * k]) == pytest.approx(float(up - down) / 2e-5, rel=1e-3)


def test_a_place_leaves_what_is_excluded_by_the_shortest_way_in():
    positions, weights, spacing = scattered(n=300)
    weights[np.random.default_rng(2).random(300) < 0.5] = -np.inf
    prior = PlacePrior(positions, weights, spacing)
    places = np.random.default_rng(3).uniform(-0.2, 1.2, (200, 3))
    inside = prior.inside(places)
    nearest = np.linalg.norm(inside[:, None] - positions, axis=2).argmin(1)
    assert np.isfinite(weights[nearest]).all()
    before = np.linalg.norm(places[:, None] - positions, axis=2).argmin(1)
    stays = np.isfinite(weights[before])
    assert 50 < stays.sum() < 150
    np.testing.assert_array_equal(inside[stays], places[stays])
    # A little less far, and it is excluded still.
    short = inside + 1e-4 * (places - inside)
    nearest = np.linalg.norm(short[:, None] - positions, axis=2).argmin(1)
    assert np.isinf(weights[nearest][~stays]).all()


def on_grid(X, weights=None, **options):
    return SparseVAE(**{"min_log_evidence": 13.0, **options}).fit(PHI, X, weights=weights)


def free(X, weights=None, **options):
    return SlidingVAE(**options).fit(bump, GRID, X, weights=weights)


def same(one, other):
    """Two fits are the same in every bit."""
    names = "U_ energy_ noise_variance_ n_effective_ history_ certificate_".split()
    names += ["places_", "log_evidence_", "growth_"] if hasattr(one, "places_") else ["gamma_"]
    return all(np.array_equal(getattr(one, x), getattr(other, x)) for x in names)


@pytest.mark.parametrize("fit", [on_grid, free])
def test_the_same_weight_everywhere_only_shifts_what_is_asked_for(fit):
    X, _ = spikes([0.3137, 0.6412], n=8, noise=0.8)
    n = len(GRID)
    assert same(fit(X), fit(X, np.zeros(n)))
    counts = []
    for c in (4.5, -4.5, -40.0, 11.5, 30.0):
        least = max(13.0 - c, 1.0)
        shifted = fit(X, np.full(n, c))
        assert same(shifted, fit(X, min_log_evidence=least)), c
        counts.append(len(shifted.U_) if fit is free else shifted.active_.sum())
    assert counts[2] < counts[0]
    few = fit(X, min_log_evidence=0.0)
    assert same(few, fit(X, np.zeros(n), min_log_evidence=0.0))
    assert same(few, fit(X, np.full(n, 7.0), min_log_evidence=0.0))


@pytest.mark.parametrize("fit", [on_grid, free])
def test_weights_and_noise(fit):
    for seed in range(5):
        X = np.random.default_rng(seed).standard_normal((len(T), 60))
        assert not np.any(fit(X, np.zeros(len(GRID))).U_)
        weights = -3 * np.random.default_rng(seed).random(len(GRID))
        assert not np.any(fit(X, weights).U_)


def evidence(model):
    return getattr(model, "source_log_evidence_", getattr(model, "log_evidence_", None)).max()


@pytest.mark.parametrize("fit", [on_grid, free])
def test_weight_and_evidence_together_are_what_is_asked_for(fit):
    X, _ = spikes([0.3], n=6, noise=1.2)  # at a position
    nats = evidence(fit(X, min_log_evidence=5.0))
    assert 5 < nats < 13
    at = np.abs(GRID[:, 0] - 0.3).argmin()
    near = np.abs(GRID[:, 0] - 0.3) < 0.1
    elsewhere = np.where(near, 0.0, 3.0)
    assert not np.any(fit(X, elsewhere).U_)
    enough, little = (np.where(near, 13 - nats + x, 0.0) for x in (0.5, -0.5))
    found = fit(X, enough)
    assert evidence(found) == pytest.approx(nats, abs=0.2)  # the data's own
    assert not np.any(fit(X, little).U_)
    less, more = (np.where(near, x - nats, 0.0) for x in (5.0 + 0.5, 5.0 - 0.5))
    assert np.any(fit(X, less, min_log_evidence=5.0).U_)
    assert not np.any(fit(X, more, min_log_evidence=5.0).U_)
    assert at in np.flatnonzero(near)


# Two banks: places r and 1 + r have nearly the same field.

BANKS = np.concatenate([GRID, 1.5 + GRID])
WRINKLE = 0.08


def two_banks(r):
    """The field of a line, and nearly the same once more on a second line."""
    second = r > 1.25
    values, gradient = bump(np.where(second, r - 1.5, r))
    extra = WRINKLE * np.sin(40 * T) * second
    return values + extra[:, :, None], gradient


def bank(fit, weights, X):
    """On which of the two lines the sources are, and what speaks for them."""
    if fit is on_grid:
        model = SparseVAE(min_log_evidence=13.0)
        model.fit(two_banks(BANKS)[0][:, :, 0].T, X, weights=weights)
        places, nats = BANKS[model.active_, 0], model.cluster_log_evidence_.max()
    else:
        model = SlidingVAE().fit(two_banks, BANKS, X, weights=weights)
        places, nats = model.places_[:, 0], model.log_evidence_.max()
    assert len(places)
    lines = set((places > 1.25).tolist())
    assert len(lines) == 1
    return lines.pop(), nats, model.energy_


@pytest.mark.parametrize("fit", [on_grid, free])
@pytest.mark.parametrize("seed", [0, 2, 5, 6])
def test_of_two_banks_the_weights_decide_up_to_the_difference_of_evidence(fit, seed):
    rng = np.random.default_rng(seed)
    n, place = 12, 0.5 if fit is on_grid else 0.5113
    X = two_banks(np.array([[place]]))[0][0] * 2 * rng.standard_normal(n)
    X += 1.0 * rng.standard_normal(X.shape)
    second = (BANKS[:, 0] > 1.25).astype(float)
    own, _, energy = bank(fit, None, X)
    forbidden = np.where(second == own, -np.inf, 0.0)
    other, _, above = bank(fit, forbidden, X)
    assert other != own
    difference = n / 2 * (above - energy)
    assert 1 < difference < 11  # less than a weight may count
    favour = 1 - second if own else second
    assert bank(fit, (difference - 0.5) * favour, X)[0] == own
    moved = bank(fit, (difference + 0.5) * favour, X)
    assert moved[0] == other
    assert n / 2 * moved[2] == pytest.approx(n / 2 * above, abs=0.5)  # the data's own
    assert bank(fit, -(difference + 0.5) * (1 - favour), X)[0] == other


def test_wrong_weights_leave_a_certain_place_alone():
    X, _ = spikes([0.3137, 0.6412], n=60, noise=0.1)
    bare = free(X)
    sd = np.sqrt(bare.place_covariance_[:, 0, 0])
    for seed in range(5):
        weights = 3 * np.random.default_rng(seed).standard_normal(len(GRID))
        model = free(X, weights)
        assert len(model.places_) == 2
        assert model.stationarity_ < 1e-3
        order, bare_order = model.places_[:, 0].argsort(), bare.places_[:, 0].argsort()
        moved = model.places_[order, 0] - bare.places_[bare_order, 0]
        assert (np.abs(moved) < 0.5 * sd[bare_order]).all()
        expected = weights_at(model.places_, GRID, weights, STEP)
        np.testing.assert_allclose(model.weights_, expected)


def test_a_weight_draws_an_uncertain_place_by_its_slope_times_the_covariance():
    X, _ = spikes([0.5], n=10, noise=1.0)
    bare = free(X)
    slope = 60.0  # nats per unit of length
    model = free(X, slope * (GRID[:, 0] - 0.5))
    drawn = float(model.places_[0, 0] - bare.places_[0, 0])
    local = float(bare.place_covariance_[0, 0, 0]) * slope
    assert local > 0.1 * STEP
    assert 0.3 * local < drawn < 3 * local
    assert model.energy_ > bare.energy_  # the data's own energy is lowest without weights
    assert model.stationarity_ < 1e-3


@pytest.mark.parametrize("fit", [on_grid, free])
def test_excluded_positions_hold_no_source(fit):
    X, _ = spikes([0.3137, 0.6412], n=30, noise=0.3)
    weights = np.where(np.abs(GRID[:, 0] - 0.3137) < 0.06, -np.inf, 0.0)
    model = fit(X, weights)
    where = model.places_ if fit is free else GRID[model.active_]
    nearest = np.abs(where - GRID[:, 0]).argmin(1)
    assert np.isfinite(weights[nearest]).all()
    assert np.abs(where - 0.6412).min() < STEP
    if fit is on_grid:
        only = SparseVAE(min_log_evidence=13.0).fit(PHI[:, np.isfinite(weights)], X)
        assert model.certificate_ == pytest.approx(only.certificate_)
        assert len(model.gamma_) == len(GRID)
        assert model.history_[-1] == pytest.approx(only.history_[-1])


@pytest.mark.parametrize("solver", ["exact", "gradient"])
@pytest.mark.parametrize("orientation", ["shared", "full"])
def test_twin_positions_of_two_dipoles(solver, orientation):
    rng = np.random.default_rng(0)
    Phi = rng.standard_normal((30, 20, 2))
    Phi[:, 7] = Phi[:, 3] + 0.05 * rng.standard_normal((30, 2))  # a twin of position 3
    X = np.outer(Phi[:, 3] @ [1.0, 0.7], rng.standard_normal(20))
    X += rng.standard_normal((30, 20))
    options = {"solver": solver, "orientation": orientation, "min_log_evidence": 13.0}

    def found(weights):
        model = SparseVAE(2, **options).fit(Phi.reshape(30, -1), X, weights=weights)
        return np.flatnonzero(model.active_).tolist()

    one = np.eye(20)
    assert found(8 * one[3]) == [3]
    assert found(8 * one[7]) == [7]
    assert found(-8 * one[3]) == [7]
    assert found(np.where(one[7], -np.inf, 0.0)) == [3]


def test_weights_count_up_to_one_nat_below_what_is_asked_for():
    weights, least = counted(np.array([-3.0, 0.0, 20.0, -np.inf]), 13.0)
    assert weights.tolist() == [-3.0, 0.0, 12.0, -np.inf]
    assert least == 13.0
    assert counted(np.full(3, 20.0), 13.0) == (None, 1.0)
    assert counted(np.full(3, -2.0), 13.0) == (None, 15.0)
    assert counted(np.full(3, 2.0), 0.0) == (None, 0.0)
    assert counted(None, 13.0) == (None, 13.0)


REFUSED = {
    "too few": (np.zeros(40), "weights has 40 entries, and there are 41 positions"),
    "a matrix": (np.zeros((41, 2)), r"weights has shape \(41, 2\), and there are 41 positions"),
    "a number": (1.0, r"weights has shape \(\), and there are 41 positions"),
    "NaN": (np.where(np.arange(41) < 3, np.nan, 0), "weights has NaN at 3 of 41 positions; give 0"),
    "+inf": (np.where(np.arange(41) < 3, np.inf, 0), r"weights has \+inf, and no prior"),
    "nothing left": (np.full(41, -np.inf), "weights is -inf at all positions"),
    "words": (["a"] * 41, "weights must be real numbers of nats"),
    "complex": (np.zeros(41, complex), "weights must be real numbers of nats"),
}


@pytest.mark.parametrize("row", REFUSED)
@pytest.mark.parametrize("fit", [on_grid, free])
def test_refused_weights(row, fit):
    weights, said = REFUSED[row]
    with pytest.raises(ValueError, match=said):
        fit(np.ones((len(T), 2)), weights)
