"""Several runs that share their sources, each seen by sensors of its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.signal import lfilter
from test_sliding_energy import CASES, ORIENT, UNIT, Q, check_derivatives, some_sources

from meg_vae import SlidingVAE
from meg_vae.model.sliding.choice import log_evidence
from meg_vae.model.sliding.data import Data, Run
from meg_vae.model.sliding.descent import _moved
from meg_vae.model.sliding.field import Field
from meg_vae.model.sliding.growth import _growth_at, best_prior, climb, pull
from meg_vae.model.sliding.laplace import _no_turn_beyond_all, _root_covariance, spread
from meg_vae.model.sliding.slopes import slopes
from meg_vae.model.sliding.sources import Sources, whiten

SIZES = (12, 9)
D = sum(SIZES)


def smooth_field(errors=0, seed=5, motion=0):
    """Sines and cosines over the plane as two arrays see them, (m, 21, ORIENT)."""
    rng = np.random.default_rng(seed)
    waves, phase = rng.standard_normal((D, ORIENT, Q)), rng.uniform(0, 6, (D, ORIENT))
    size = rng.uniform(0.5, 2, (D, 1))  # one array sees more than the other
    size[: SIZES[0]] *= 2

    turn = np.random.default_rng([seed, motion]).standard_normal((motion, D, ORIENT))

    def at(r, delta=None):
        angle = np.einsum("doq,mq->mdo", waves, r) + phase
        if delta is not None:
            angle = angle + np.tensordot(delta, turn, 1)
        first = size * np.sin(angle), (size * np.cos(angle))[..., None] * waves
        return first if delta is None else (*first, (size * np.cos(angle))[:, None] * turn)

    patterns = 0.4 * rng.standard_normal((errors, D, ORIENT))
    known = None if not errors else (lambda r: np.broadcast_to(patterns, (len(r), *patterns.shape)))
    free = torch.zeros(motion, dtype=torch.float64)
    return Field(at, UNIT, known, swing=free + 0.3, motion=free)


def some_data(learn=True, size=1.0, shares=(0.0, 0.0)):
    """Two runs of 25 and 40 samples, with directions that are noise alone in each."""
    rng, runs = np.random.default_rng(1), []
    for d, n, n_rest, c in zip(SIZES, (25.0, 40.0), (5, 2), shares, strict=True):
        F, E = np.split(rng.standard_normal((d + n_rest, 8)), [d])
        F, E = torch.as_tensor(size * F), torch.as_tensor(0.5 * E)
        runs.append(Run(F, n, n_rest=n_rest - 1.5 * c, rest=E.T @ E, share=c))
    return Data(tuple(runs), learn)


SHARES = [(0.0, 0.0), (0.35, 0.0), (0.15, 0.4)]  # of covariances known and estimated


@pytest.mark.parametrize("shares", SHARES)
@pytest.mark.parametrize(("ranks", "errors", "motion", "learn"), CASES)
def test_derivatives_are_those_of_the_energy_of_all_runs(ranks, errors, motion, learn, shares):
    sources = some_sources(smooth_field(errors, motion=motion), ranks)
    check_derivatives(some_data(learn, shares=shares), sources)


@pytest.mark.parametrize("shares", SHARES)
def test_what_is_lost_is_what_the_energy_rises_by(shares):
    sources, data = some_sources(smooth_field(2)), some_data(shares=shares)
    J = whiten(data, sources).energy
    for k, evidence in enumerate(log_evidence(data, sources)):
        rest = whiten(data, sources.only(torch.arange(3) != k)).energy
        assert float(evidence) == pytest.approx(65 / 2 * float(rest - J), abs=1e-8)
    removal = slopes(data, sources, UNIT).removal
    for column, (k, j) in enumerate([(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2)]):
        factors = sources.factors.clone()
        factors[k, :, j] = 0.0
        less = whiten(data, replace(sources, factors=factors)).energy
        assert float(removal[column]) == pytest.approx(float(less - J), abs=1e-9)


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_a_run_cut_in_two_is_the_run(share):
    """Runs of equal sensors and data: the energy, its slopes and all that follows of one run."""
    field = smooth_field(1)

    def twice(r):
        return tuple(np.concatenate([part, part], 1) for part in field.at(r))

    patterns = field.errors
    double = replace(
        field, at=twice, errors=lambda r: np.concatenate([patterns(r), patterns(r)], 2)
    )
    run = Run(torch.as_tensor(np.random.default_rng(1).standard_normal((D, 8))), 60.0, share=share)
    whole = Data((run,))
    parts = Data((replace(run, n=20.0), replace(run, n=40.0)))
    own, both = (some_sources(f) for f in (field, double))
    one, two = slopes(whole, own, UNIT), slopes(parts, both, UNIT)
    for name in ("energy", "gradient", "curvature", "average", "removal"):
        torch.testing.assert_close(getattr(two, name), getattr(one, name))
    torch.testing.assert_close(log_evidence(parts, both), log_evidence(whole, own))
    none = torch.zeros(3)
    sure, surer = spread(whole, own, UNIT, none), spread(parts, both, UNIT, none)
    torch.testing.assert_close(surer.places, sure.places)
    for k in range(2):
        torch.testing.assert_close(surer.activity[:, k], sure.activity[:, 0])
        rows = slice(k * D, (k + 1) * D)
        power = [x.mT @ x for x in (surer.modes[..., rows].flatten(2), sure.modes.flatten(2))]
        torch.testing.assert_close(power[0], power[1], rtol=1e-4, atol=1e-6)
    place = torch.tensor([[0.3, 0.8]], dtype=torch.float64)
    few = torch.tensor([True, False, False])
    pulls = pull(parts, both.only(few)), pull(whole, own.only(few))
    values = double.exact().expand(place).values, field.exact().expand(place).values
    for a, b in zip(*map(best_prior, pulls, values), strict=True):
        torch.testing.assert_close(a.abs(), b.abs())


@pytest.mark.parametrize("shares", [*SHARES, (1e-7, 0.0)])
def test_growth_over_runs(shares):
    """No prior lowers the energy much more than the one that growth scales, and none is better."""
    data, field = some_data(size=3.0, shares=shares), smooth_field()
    few = some_sources(field, (1,))
    at, J = pull(data, few), float(whiten(data, few).energy)
    places = torch.as_tensor(np.random.default_rng(3).uniform(-1, 1, (3, Q)))
    heights, factors, _ = _growth_at(at, field, places)
    for place, height, factor in zip(places[:, None], heights, factors, strict=True):

        def energy(entries, place=place):
            A = torch.as_tensor(entries).reshape(1, ORIENT, ORIENT)
            more = few.join(Sources.at(field, place, A, few.noise))
            return float(whiten(data, more).energy)

        assert energy(factor.numpy()) == pytest.approx(J - float(height), abs=1e-8)
        best = minimize(energy, factor.numpy().ravel() + 0.01, tol=1e-8).fun
        most = 0.9 if min(shares) == max(shares) or max(shares) < 0.3 else 0.8
        assert most * (J - best) < float(height) <= J - best + 1e-6


@pytest.mark.parametrize("shares", SHARES)
def test_growth_climbs_by_its_gradient(shares):
    data, field = some_data(size=3.0, shares=shares), smooth_field()
    at = pull(data, some_sources(field, (1,)))
    places = torch.tensor([[0.3, 0.8], [0.7, 0.1]], dtype=torch.float64)
    height, factor, slope = _growth_at(at, field, places)
    here = at.blocks(field.expand(places).values)

    def held(r):
        """Growth by the factor of the first place, whose scale is one of a few."""
        S, Q_ = at.blocks(field.expand(r).values)
        out = 0
        eye = torch.eye(ORIENT, dtype=torch.float64)
        for w, c, s, q in zip(at.weights, shares, S, Q_, strict=True):
            inner = eye + factor.mT @ s @ factor
            seen = torch.linalg.solve(inner, factor.mT @ q @ factor)
            gain = -torch.logdet(eye - c * seen) / c if c else seen.diagonal(dim1=1, dim2=2).sum(1)
            out = out + w * (gain - torch.logdet(inner))
        return out

    assert here[0].shape == (2, 2, ORIENT, ORIENT)
    torch.testing.assert_close(held(places), height)
    for axis in torch.eye(2, dtype=torch.float64):
        rise = (held(places + 1e-5 * axis) - held(places - 1e-5 * axis)) / 2e-5
        torch.testing.assert_close(rise, slope @ axis, rtol=1e-4, atol=1e-5)
    assert (climb(at, field, places)[1] > height + 0.01).all()


def test_modes_are_what_the_estimate_of_each_run_moves_by():
    """Its derivative in every parameter, times a root of their covariance."""
    field = smooth_field()
    sources, data = some_sources(field, (3, 3)), some_data(learn=False)
    at = _no_turn_beyond_all(slopes(data, sources, UNIT), sources, data.n)
    root = _root_covariance(at, data.n, torch.ones_like(at.gradient, dtype=torch.bool))
    sure, first = spread(data, sources, UNIT, torch.zeros(len(sources))), 0
    for d in SIZES:
        rows = slice(first, first + d)

        def estimate(step, rows=rows, d=d):
            moved = _moved(data, sources, field, at.directions, step, 10.0)
            P = moved.patterns[rows]
            Sigma = P @ P.T + moved.noise * torch.eye(d, dtype=torch.float64)
            return moved.factors @ torch.linalg.solve(Sigma, P).T.unflatten(0, (2, ORIENT))

        eye = 1e-5 * torch.eye(len(root), dtype=torch.float64)
        moves = torch.stack([(estimate(e) - estimate(-e)) / 2e-5 for e in eye])
        expected = torch.einsum("pb,pmod->mbod", root, moves).flatten(2)
        found = sure.modes[..., rows].flatten(2)
        expected, found = (x.mT @ x for x in (expected, found))
        assert torch.linalg.norm(found - expected) < 1e-3 * torch.linalg.norm(expected)
        first += d


T = np.linspace(0, 1, 60)
GRID = np.linspace(0, 1, 41)[:, None]


def bumps(width, offset=0.0):
    """Bumps about r on an array of sensors, and their derivative."""

    def at(r):
        away = T + offset - r
        values = np.exp(-(away**2) / (2 * width**2))
        return values[:, :, None], (values * away / width**2)[:, :, None, None]

    return at


def stacked(*fields):
    return lambda r: tuple(np.concatenate(parts, 1) for parts in zip(*(f(r) for f in fields)))  # noqa: B905


ONE, TWO = bumps(0.05), bumps(0.06, 0.004)


def recorded(field, places, n, noise, seed):
    rng = np.random.default_rng(seed)
    U = rng.standard_normal((len(places), n))
    X = field(np.reshape(places, (-1, 1)))[0][:, :, 0].T @ U
    return X + noise * rng.standard_normal(X.shape), U


def test_a_list_of_one_run_is_the_run():
    X, _ = recorded(ONE, [0.3137, 0.6412], 30, 0.3, 0)
    alone, listed = SlidingVAE().fit(ONE, GRID, X), SlidingVAE().fit(ONE, GRID, [X])
    np.testing.assert_array_equal(listed.places_, alone.places_)
    np.testing.assert_array_equal(listed.U_, alone.U_)
    assert listed.energy_ == alone.energy_


def test_runs_together_are_surer_and_nearer():
    rng = np.random.default_rng(0)
    error, sure, evidence = [], [], []
    for seed in range(12):
        truth = np.array([0.3, 0.65]) + rng.uniform(-0.05, 0.05, 2)
        X = [
            recorded(field, truth, n, 0.5, 10 * seed + k)[0]
            for k, (field, n) in enumerate([(ONE, 25), (TWO, 40)])
        ]
        fits = [
            SlidingVAE().fit(ONE, GRID, X[0]),
            SlidingVAE().fit(TWO, GRID, X[1]),
            SlidingVAE().fit(stacked(ONE, TWO), GRID, X),
        ]
        assert [len(fit.places_) for fit in fits] == [2, 2, 2]
        order = [fit.places_[:, 0].argsort() for fit in fits]
        found = [fit.places_[k, 0] - truth for fit, k in zip(fits, order, strict=True)]
        error.append(found)
        sure.append([fit.place_covariance_[k, 0, 0] for fit, k in zip(fits, order, strict=True)])
        evidence.append([fit.log_evidence_.sum() for fit in fits])
        joint = fits[2]
        assert joint.stationarity_ < 1e-3
        assert joint.growth_ < joint.min_log_evidence
        assert joint.U_.shape == (2, 1, 65)
        np.testing.assert_array_equal(joint.transform(X), joint.U_)
    rms = np.sqrt(np.square(error).mean((0, 2)))
    assert rms[2] < 0.95 * rms[:2].min()
    one, two, both = np.moveaxis(np.array(sure), 1, 0)
    np.testing.assert_allclose(1 / both, 1 / one + 1 / two, rtol=0.2)  # information adds up
    alone = np.array(evidence)
    np.testing.assert_allclose(alone[:, 2], alone[:, :2].sum(1), rtol=0.15)


def test_weak_in_each_run_and_found_in_both():
    hits = []
    for seed in range(10):
        X = [
            recorded(field, [0.4123], 12, 1.15, 10 * seed + k)[0]
            for k, field in enumerate((ONE, TWO))
        ]
        alone = [SlidingVAE().fit(f, GRID, x) for f, x in zip((ONE, TWO), X, strict=True)]
        both = SlidingVAE().fit(stacked(ONE, TWO), GRID, X)
        hits.append([len(fit.places_) for fit in (*alone, both)])
    found = np.sum(hits, 0)
    assert found[2] >= 9
    assert found[:2].max() <= 6


def test_nothing_in_the_noise_of_two_runs():
    for seed in range(6):
        rng = np.random.default_rng(seed)
        X = [rng.standard_normal((len(T), n)) for n in (40, 60)]
        model = SlidingVAE().fit(stacked(ONE, TWO), GRID, X)
        assert model.places_.shape == (0, 1)
        assert model.U_.shape == (0, 1, 100)
        assert model.noise_variance_ == pytest.approx(1, rel=0.1)


def whitened_by_samples(field, n_noise, rng):
    """Field and noise, whitened by the covariance of so many samples of white noise."""
    E = rng.standard_normal((len(T), n_noise))
    L = np.linalg.cholesky(E @ E.T / n_noise)

    def at(r):
        values, slope = field(r)
        return np.linalg.solve(L, values), np.linalg.solve(L, slope[..., 0])[..., None]

    return at, L


def test_nothing_in_the_noise_of_two_runs_whitened_by_few_samples():
    """Each covariance from other samples, three times its channels and four: told, and not."""
    false = {"told": 0, "not told": 0}
    for seed in range(4):
        rng, fields, X = np.random.default_rng(seed), [], []
        for field, n, n_noise in ((ONE, 40, 180), (TWO, 60, 240)):
            own, L = whitened_by_samples(field, n_noise, rng)
            fields.append(own)
            X.append(np.linalg.solve(L, rng.standard_normal((len(T), n))))
        told = SlidingVAE(min_log_evidence=8.0).fit(stacked(*fields), GRID, X, n_noise=[180, 240])
        false["told"] += len(told.places_)
        assert told.noise_variance_ == pytest.approx(1, rel=0.1)
        if seed == 0:
            untold = SlidingVAE(min_log_evidence=8.0).fit(stacked(*fields), GRID, X)
            false["not told"] = len(untold.places_)
    assert false["told"] == 0 < false["not told"]


def test_sources_of_two_runs_whitened_by_few_samples():
    """Of covariances known to other degrees; and where both runs are one, its places."""
    rng, fields, X, true = np.random.default_rng(5), [], [], [0.3137, 0.6412]
    for field, n, n_noise in ((ONE, 40, 180), (TWO, 60, 2000)):
        own, L = whitened_by_samples(field, n_noise, rng)
        fields.append(own)
        X.append(np.linalg.solve(L, recorded(field, true, n, 1.0, n)[0]))
    model = SlidingVAE(min_log_evidence=8.0).fit(stacked(*fields), GRID, X, n_noise=[180, 2000])
    np.testing.assert_allclose(np.sort(model.places_[:, 0]), true, atol=0.01)
    assert model.noise_variance_ == pytest.approx(1, rel=0.1)
    assert model.stationarity_ < 1e-3
    assert model.growth_ < 8
    held = SlidingVAE(noise_variance=1.0).fit(stacked(*fields), GRID, X, n_noise=[180, 2000])
    assert held.noise_variance_ == pytest.approx(1.0)
    np.testing.assert_allclose(np.sort(held.places_[:, 0]), true, atol=0.01)


def test_the_noise_of_each_run_goes_on_in_its_own_way():
    rng, X, alone = np.random.default_rng(0), [], []
    for field, a, n in ((ONE, 0.97, 60), (TWO, 0.9, 80)):
        slow = lfilter([1], [1, -a], rng.standard_normal((len(T), n + 100)), axis=1)[:, 100:]
        alone.append(slow / slow.std())
        X.append(alone[-1] + recorded(field, [0.4123], n, 0.0, n)[0])
    told = {"n_noise": [5000, 4000], "stretches": [[60], [50, 30]]}
    model = SlidingVAE().fit(stacked(ONE, TWO), GRID, X, **told)
    np.testing.assert_allclose(model.places_, [[0.4123]], atol=0.01)
    assert model.noises_[0].r[1] == pytest.approx(0.97, abs=0.02)
    assert model.noises_[1].r[1] == pytest.approx(0.9, abs=0.03)
    assert model.noise_variance_ == pytest.approx(1, abs=0.25)
    assert len(SlidingVAE().fit(stacked(ONE, TWO), GRID, alone, **told).places_) == 0
    assert len(SlidingVAE().fit(stacked(ONE, TWO), GRID, alone).places_) > 0


def test_noise_of_each_channel_of_each_run():
    size = np.where(np.arange(len(T)) % 2, 0.3, 0.1)[:, None]
    rng = np.random.default_rng(5)
    X = [recorded(field, [0.3123, 0.6632], 300, 0.0, k)[0] for k, field in enumerate((ONE, TWO))]
    X = [x + s * rng.standard_normal(x.shape) for x, s in zip(X, (size, size[::-1]), strict=True)]
    model = SlidingVAE(noise_variance="per_channel").fit(stacked(ONE, TWO), GRID, X)
    expected = np.concatenate([size, size[::-1]])[:, 0] ** 2
    np.testing.assert_allclose(model.noise_variance_, expected, rtol=0.5)
    np.testing.assert_allclose(np.sort(model.places_[:, 0]), [0.3123, 0.6632], atol=0.003)


WRONG = {
    "channels": ({"X": [np.ones((60, 9)), np.ones((59, 9))]}, r"60 \+ 59 channels, and field"),
    "n_effective": ({"n_effective": 5.0}, "n_effective must be a list, one for each of the 2 runs"),
    "n_noise": ({"n_noise": [50, 50, 50]}, "n_noise must be a list, one for each of the 2 runs"),
    "no noise": ({"n_noise": [50, 0]}, "n_noise=0 must be a number of samples"),
    "stretches": ({"stretches": [[9]]}, "stretches must be a list, one for each of the 2 runs"),
    "stretch": ({"stretches": [[9], [4]]}, "add up to the 9 samples"),
    "NaN": ({"X": [np.ones((60, 9)), np.full((60, 9), np.nan)]}, "NaN"),
}


@pytest.mark.parametrize("name", WRONG)
def test_runs_that_do_not_fit_together(name):
    changed, message = WRONG[name]
    rng = np.random.default_rng(0)
    given = {"X": [rng.standard_normal((60, 9)) for _ in range(2)]} | changed
    with pytest.raises(ValueError, match=message):
        SlidingVAE().fit(stacked(ONE, TWO), GRID, **given)


def test_as_many_runs_as_in_the_fit():
    X = [recorded(field, [0.4], 20, 0.3, 0)[0] for field in (ONE, TWO)]
    model = SlidingVAE().fit(stacked(ONE, TWO), GRID, X)
    with pytest.raises(ValueError, match="X holds 1 runs, and the fit had 2"):
        model.transform(X[0])
