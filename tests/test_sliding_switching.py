"""Sources that are active in a part of the time: their spans, energy, evidence and growth."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, combinations_with_replacement, pairwise

import numpy as np
import pytest
import torch
from test_sliding import GRID, STEP, T, bump
from test_sliding_energy import (
    CASES,
    UNIT,
    check_derivatives,
    smooth_field,
    some_data,
    some_sources,
)

from meg_vae import SlidingVAE
from meg_vae.model.exact.dictionary import Dictionary
from meg_vae.model.misfit import certainty, misfit, noise_alone
from meg_vae.model.noise import Noise
from meg_vae.model.sliding import fit as fitting
from meg_vae.model.sliding.choice import log_evidence, worth
from meg_vae.model.sliding.data import Data
from meg_vae.model.sliding.field import Field
from meg_vae.model.sliding.growth import best_prior, pull
from meg_vae.model.sliding.pieces import Spans, Subsets, cut_at, in_pieces, span_in_samples
from meg_vae.model.sliding.recorded import Recorded
from meg_vae.model.sliding.slopes import slopes
from meg_vae.model.sliding.sources import Sources, whiten
from meg_vae.model.sliding.switching import Look, _growing, gains
from meg_vae.model.sliding.view import view_of

NOISE = 0.3
BURSTS = {0.3137: (30, 70), 0.6412: (100, 120), 0.8333: (100, 160)}  # place: samples of 200


def switching(bursts=BURSTS, seed=0, size=1.0, n=200):
    """Bumps on a line, each active for some samples of all."""
    rng = np.random.default_rng(seed)
    X = NOISE * rng.standard_normal((len(T), n))
    for place, (first, last) in bursts.items():
        course = np.zeros(n)
        course[first:last] = size * rng.standard_normal(last - first)
        X += bump(np.array([[place]]))[0][0, :, 0][:, None] * course
    return X


def look_at(X, stretches=None):
    """Data in pieces, with the field on a line."""
    recorded = Recorded(
        Dictionary(bump(GRID)[0][:, :, 0].T.copy(), 1),
        torch.as_tensor(X),
        float(X.shape[1]),
        Noise(),
        stretches or [X.shape[1]],
    )
    pieces, choice = in_pieces([recorded])
    field = Field(bump, STEP, None, lambda r: r.clip(0, 1))
    noise = torch.tensor(NOISE**2, dtype=torch.float64)

    def at(groups):
        view = view_of(field, torch.as_tensor(GRID), pieces, [noise], False, None, groups)
        return replace(view, noise=noise)

    return Look(at, choice), pieces[0].edges


def some(look, places=(0.3137, 0.6412)):
    """Sources of unit variance."""
    r = torch.tensor(places, dtype=torch.float64)[:, None]
    view = look.at([list(range(look.n_pieces))])
    return Sources.at(view.field, r, torch.ones(len(r), 1, 1, dtype=torch.float64), view.noise)


def spans(*ends, n=24):
    return torch.stack([((torch.arange(n) >= a) & (torch.arange(n) < b)).double() for a, b in ends])


@pytest.mark.parametrize("share", [0.0, 0.3])
@pytest.mark.parametrize(("ranks", "errors", "motion", "learn"), CASES)
def test_derivatives_with_silent_sources(ranks, errors, motion, learn, share):
    """One recording in three pieces of time, in which other sources are active."""
    field = smooth_field(errors, motion=motion)
    runs = [run for k in range(3) for run in some_data(learn, share, seed=k, n=10 + 5 * k).runs]
    data = Data(tuple(runs), learn, n_pieces=3)
    sources = some_sources(field, ranks)
    on = torch.tensor([[0.0, 1.0, 1.0], [0.0, 0.0, 1.0]], dtype=torch.float64)[: len(ranks)]
    sources = replace(sources, on=on)
    at = check_derivatives(data, sources)
    always = replace(sources, on=torch.ones_like(on))
    assert (slopes(data, always, UNIT).gradient - at.gradient).abs().max() > 1e-3


def test_the_energy_is_that_of_each_piece_by_itself():
    X = switching()
    look, edges = look_at(X)
    assert len(edges) == 25
    P = bump(np.array([[0.3137], [0.6412]]))[0][:, :, 0].T

    def by_hand(active):
        J = 0.0
        for on, (a, b) in zip(active.T.numpy() > 0, pairwise(edges), strict=True):
            part, own = X[:, a:b], P[:, on]
            Sigma = NOISE**2 * np.eye(len(T)) + own @ own.T
            J += (b - a) * np.linalg.slogdet(Sigma)[1] + np.sum(part * np.linalg.solve(Sigma, part))
        return J

    some_time, always = spans((3, 10), (0, 10)), spans((0, 24), (0, 24))
    now = look.put(some(look), some_time, always)
    assert torch.equal(now.active, some_time)
    assert now.view.data.n_pieces == 3
    gain = now.view.energy(look.put(some(look), always, some_time).sources)
    gain -= now.view.energy(now.sources)
    assert 200 * gain == pytest.approx(by_hand(always) - by_hand(some_time), rel=1e-3)
    assert 200 * gain > 100
    # as few runs as there are changes tell as much as one of each piece
    fine = look.put(some(look), some_time, torch.eye(24, dtype=torch.float64))
    assert fine.view.data.n_pieces == 24
    assert fine.view.energy(fine.sources) == pytest.approx(now.view.energy(now.sources))


def height(look, choice, active):
    """What a choice of pieces is worth, by the energy itself."""
    now = look.put(some(look), active, torch.eye(look.n_pieces, dtype=torch.float64))
    cost = choice.cost(active).sum()
    return float(-now.view.data.n / 2 * whiten(now.view.data, now.sources).energy - cost)


def test_the_best_span_is_the_best_of_all():
    look, _ = look_at(switching())
    assert isinstance(look.choice, Spans)
    always = spans((0, 24), (0, 24))
    gain = gains(look.finest(), some(look), always)
    for k in range(2):
        every = []
        for ends in combinations(range(25), 2):
            active = always.clone()
            active[k] = spans(ends)[0]
            every.append((height(look, look.choice, active), ends))
        best = max(every)[1]
        assert best != (0, 24)
        assert torch.equal(replace(look.choice, levels=(1.0,)).best(gain[k]), spans(best)[0])
    steady = bump(np.array([[0.3137]]))[0][0, :, 0][:, None] * np.ones(200)
    look, _ = look_at(switching() + steady)
    levels = look.choice.levels
    gain = gains(look.finest(), some(look), always, levels)
    assert (look.choice.best(gain[0]) == 1).all()


@pytest.mark.parametrize("seed", range(6))
def test_spans_have_weaker_flanks_where_these_are_worth_it(seed):
    """The best of all choices: a span at full strength within a wider one at one of the levels."""
    rng = np.random.default_rng(seed)
    choice = Spans(7, 40.0, (1.0, 0.1, 0.01))
    gain = torch.as_tensor(8 * rng.standard_normal((3, 7)))
    every = []
    for a, b, c, d in combinations_with_replacement(range(8), 4):
        if b == c:
            continue
        for level in choice.levels[1:]:
            active = torch.zeros(7, dtype=torch.float64)
            active[a:d] = level**0.5
            active[b:c] = 1.0
            every.append(choice.worth(gain, active) - float(choice.cost(active[None])))
    best = choice.best(gain)
    assert choice.worth(gain, best) - float(choice.cost(best[None])) == pytest.approx(max(every))


def test_a_source_that_fades_is_one_source():
    """What is left of it beyond its span is no other source beside it."""
    rng, t = np.random.default_rng(0), np.arange(200)
    course = 100 * np.exp(-(((t - 90) / 14) ** 2)) * rng.standard_normal(200)
    X = bump(np.array([[0.43]]))[0][0, :, 0][:, None] * course
    X = X + NOISE * rng.standard_normal(X.shape)
    model = SlidingVAE().fit(bump, GRID, X, stretches=[200], switching=True)
    assert len(model.places_) == 1
    active = model.fit_.active[0]
    assert ((active > 0) & (active < 1)).any()
    assert (active == 0).any()
    assert abs(model.places_[0, 0] - 0.43) < 0.1 * STEP


def test_a_source_settles_again_with_its_flanks(monkeypatch):
    """Beside a strong span the weak rest of it is no other source."""
    rng = np.random.default_rng(0)
    size = 30 * NOISE
    course = size * rng.standard_normal(200)
    course[:60] *= 0.03
    course[120:] *= 0.03
    X = NOISE * rng.standard_normal((len(T), 200))
    X += bump(np.array([[0.3137]]))[0][0, :, 0][:, None] * course

    def again():
        recorded = Recorded(
            Dictionary(bump(GRID)[0][:, :, 0].T.copy(), 1),
            torch.as_tensor(X),
            200.0,
            Noise(),
            [200],
        )
        return fitting.refit_places(
            Field(bump, STEP, None, lambda r: r.clip(0, 1)),
            torch.as_tensor(GRID),
            [recorded],
            places=[[0.31]],
            factors=[[[size]]],
            variance=NOISE**2,
            learn=False,
            least=12.0,
            spans=[[60, 120]],
        )

    np.testing.assert_allclose(again().places, [[0.3137]], atol=0.01 * STEP)
    monkeypatch.setattr(fitting, "with_flanks", lambda view, sources, levels: sources.on)
    assert len(again().places) > 1


def test_the_best_stretches_are_the_best_of_all():
    look, _ = look_at(switching()[:, 20:180], [20] * 8)
    assert isinstance(look.choice, Subsets)
    always = torch.ones(2, 8, dtype=torch.float64)
    gain = gains(look.finest(), some(look), always)
    for k in range(2):
        every = []
        for number in range(1, 2**8):
            active = always.clone()
            active[k] = torch.tensor([number >> j & 1 for j in range(8)])
            every.append((height(look, look.choice, active), number))
        best = max(every)[1]
        found = look.choice.best(gain[k])
        assert found.tolist() == [best >> j & 1 for j in range(8)]
        assert 0 < found.sum() < 8


def test_growth_in_a_span_is_growth_of_the_data_in_it():
    X = switching({0.6412: (100, 120)}, size=0.3)
    look, edges = look_at(X)
    none = some(look).only(torch.zeros(2, dtype=torch.bool))
    now = look.put(none, torch.ones(0, 24, dtype=torch.float64))
    found = _growing(look, look.finest(), now)
    first, last = (int(end) for end in span_in_samples(found.active[0], edges))
    assert 90 <= first <= 104
    assert 116 <= last <= 135
    assert float(found.place) == pytest.approx(0.6412, abs=0.4 * STEP)
    cost = float(look.choice.cost(found.active))
    assert cost == pytest.approx(np.log(200))
    alone, _ = look_at(X[:, first:last])
    view = alone.at([list(range(alone.n_pieces))])
    at = pull(view.data, none)
    rise, _ = best_prior(at, view.field.expand(found.place).values)
    own = (last - first) / 2 * float(rise) - cost
    assert own - 3 < found.offer <= own * (1 + 1e-3)  # with the prior of the span it grew from
    view = look.at([list(range(24))])
    whole = pull(view.data, none)
    assert 100 * float(best_prior(whole, view.field.expand(found.place).values)[0]) < found.offer


def test_short_sources_are_found_when_they_are_active():
    X = switching(size=0.5)
    whole = SlidingVAE().fit(bump, GRID, X, stretches=[200])
    model = SlidingVAE().fit(bump, GRID, X, stretches=[200], switching=True)
    assert np.isinf(whole.spans_).all()
    assert len(model.places_) == 3
    for place, span in BURSTS.items():
        k = np.abs(model.places_[:, 0] - place).argmin()
        assert abs(model.places_[k, 0] - place) < 0.4 * STEP
        assert np.abs(model.spans_[k] - span).max() <= 17  # two pieces
        # as much evidence as in a window of its own
        first, last = model.spans_[k].astype(int)
        alone = SlidingVAE().fit(bump, GRID, X[:, first:last], stretches=[last - first])
        own = alone.log_evidence_[np.abs(alone.places_[:, 0] - place).argmin()]
        assert model.log_evidence_[k] == pytest.approx(own, rel=0.1)
        j = np.abs(whole.places_[:, 0] - place).argmin()
        if abs(whole.places_[j, 0] - place) < STEP:
            assert model.log_evidence_[k] > whole.log_evidence_[j]
    assert model.energy_ < whole.energy_


def test_the_filter_takes_all_for_active():
    X = switching()
    model = SlidingVAE().fit(bump, GRID, X, stretches=[200], switching=True)
    assert np.isfinite(model.spans_).all()
    P = bump(model.places_)[0][:, :, 0].T * model.fit_.factors.numpy()[:, 0, 0]
    Sigma = P @ P.T + model.noise_variance_ * np.eye(len(T))
    expected = model.fit_.factors.numpy()[:, 0] * (P.T @ np.linalg.inv(Sigma))
    np.testing.assert_allclose(model.fit_.inverse_map.numpy()[:, 0], expected, atol=5e-3)
    np.testing.assert_allclose(model.U_, model.transform(X))


def test_what_is_active_throughout_stays_as_it_is():
    rng = np.random.default_rng(0)
    X = bump(np.array([[0.4321]]))[0][0, :, 0][:, None] * rng.standard_normal(120)
    X = X + 0.2 * rng.standard_normal(X.shape)
    whole, model = (
        SlidingVAE().fit(bump, GRID, X, stretches=[120], switching=s) for s in (False, True)
    )
    np.testing.assert_array_equal(model.places_, whole.places_)
    np.testing.assert_array_equal(model.U_, whole.U_)
    assert model.energy_ == whole.energy_
    assert np.isinf(model.spans_).all()
    assert model.active_.tolist() == [[True]]
    assert model.stretch_evidence_.sum() == pytest.approx(model.log_evidence_[0], rel=0.02)


def test_noise_alone_has_no_spans():
    for seed in range(6):
        X = np.random.default_rng(seed).standard_normal((len(T), 150))
        model = SlidingVAE().fit(bump, GRID, X, stretches=[150], switching=True)
        assert not len(model.places_)
        assert model.spans_.shape == (0, 2)
        assert model.growth_ < model.min_log_evidence


def test_a_span_costs_what_choosing_it_does():
    look, _ = look_at(switching())
    now = look.put(some(look), spans((3, 10), (0, 24)))
    paid = log_evidence(now.view.data, now.sources) - worth(now.view.data, now.sources)
    np.testing.assert_allclose(paid, [np.log(200), 0])
    every = Subsets(5).cost(torch.tensor([[1.0, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 1, 1]]))
    np.testing.assert_allclose(every, [np.log(5 * 5), np.log(10 * 5), 0])


def test_pieces():
    look, edges = look_at(switching())
    assert edges[0] == 0
    assert edges[-1] == 200
    assert min(np.diff(edges)) >= 5
    one = Recorded(
        Dictionary(np.eye(60)), torch.as_tensor(switching()), 200.0, Noise(), [200], edges
    )
    whole = replace(one, edges=())
    assert sum(n for _, n in one.independent()) == sum(n for _, n in whole.independent())
    cut, choice = in_pieces([replace(whole, stretches=[150, 50])])
    assert cut[0].edges == (0, 150, 200)
    assert isinstance(choice, Subsets)
    for uncut in (
        [replace(whole, stretches=None)],
        [replace(whole, X=whole.X[:, :9], n=9.0, stretches=[9])],
        [whole, replace(whole, stretches=[150, 50])],
        [whole, replace(whole, X=whole.X[:, :150], n=150.0, stretches=[150])],
    ):
        assert in_pieces(uncut) == (uncut, None)
    few = replace(whole, noise=Noise(500.0))
    assert in_pieces([few]) == ([few], None)  # a short span would say nearly nothing
    assert in_pieces([replace(whole, noise=Noise(20_000.0))])[1] is not None
    assert cut_at([whole], None)[0] == [whole]
    (again,), active = cut_at([whole], [[40.0, 80.0], [-np.inf, np.inf]])
    assert again.edges == (0, 40, 80, 200)
    assert active.tolist() == [[0, 1, 0], [1, 1, 1]]
    assert span_in_samples(active[0], again.edges) == (40, 80)
    assert span_in_samples(active[1], again.edges) == (-np.inf, np.inf)


def test_spans_that_are_tried_cover_the_window():
    tries = Spans(24, 200.0).tries()
    assert len(torch.unique(tries, dim=0)) == len(tries)
    for length in (1, 2, 4, 8, 16):
        starts = tries[tries.sum(1) == length].argmax(1)
        assert starts[0] == 0
        assert starts[-1] == 24 - length
        assert np.diff(starts).max() <= max(length // 2, 1)


def test_rare_events_are_told_from_the_others():
    """Of 60 spikes 6 are of a second kind, too few to show among all."""
    rng = np.random.default_rng(0)
    X = NOISE * rng.standard_normal((len(T), 60 * 12))
    kind = np.zeros(60, int)
    kind[rng.choice(60, 6, replace=False)] = 1
    for event, own in enumerate(kind):
        some = slice(12 * event, 12 * event + 12)
        X[:, some] += (
            0.6
            * bump(np.array([[0.3, 0.72][own : own + 1]]).T)[0][0]
            * np.sin(np.pi * np.arange(12) / 11)
        )
    together = SlidingVAE().fit(bump, GRID, X, stretches=[12] * 60)
    model = SlidingVAE().fit(bump, GRID, X, stretches=[12] * 60, switching=True)
    assert len(model.places_) == 2
    common, rare = (np.abs(model.places_[:, 0] - place).argmin() for place in (0.3, 0.72))
    assert abs(model.places_[rare, 0] - 0.72) < STEP
    assert (model.active_[common] == (kind == 0)).mean() > 0.9
    assert (model.active_[rare] == (kind == 1)).mean() > 0.95
    assert model.stretch_evidence_[rare][kind == 1].min() > 0
    assert np.median(model.stretch_evidence_[rare][kind == 0]) < 0
    weaker = np.abs(together.places_[:, 0] - 0.72)
    lost = together.log_evidence_[weaker.argmin()] if weaker.min() < STEP else 0.0
    assert model.log_evidence_[rare] > lost + 10
    assert together.active_.all()
    assert np.isinf(model.spans_).all()


@pytest.mark.parametrize("number", [2, 60, 300])
def test_growth_in_one_stretch_of_many_is_its_own(number):
    rng = np.random.default_rng(0)
    X = NOISE * rng.standard_normal((len(T), 8 * number))
    X[:, :8] += bump(np.array([[0.5]]))[0][0, :, 0][:, None] * rng.standard_normal(8)
    look, _ = look_at(X, [8] * number)
    alone, _ = look_at(X[:, :8], [4, 4])
    place = torch.tensor([[0.51]], dtype=torch.float64)
    found = []
    for own, on in ((look, look.choice.tries()[0]), (alone, torch.ones(2, dtype=torch.float64))):
        view = own.finest()
        at = pull(view.data, some(own).only(torch.zeros(2, dtype=torch.bool))).during(on)
        rise, factor = best_prior(at, view.field.expand(place).values)
        found.append((at.n / 2 * float(rise), float(factor.abs())))
    assert found[0][0] == pytest.approx(found[1][0], rel=0.02)  # the scales that are tried
    assert found[0][1] == pytest.approx(found[1][1], rel=0.2)
    assert found[0][0] > 10


@pytest.mark.parametrize("name", ["switching", "white"])
def test_what_is_neither_true_nor_false_is_refused(name):
    with pytest.raises(ValueError, match=f"{name}='maybe'"):
        SlidingVAE().fit(bump, GRID, np.ones((len(T), 30)), **{name: "maybe"})


def test_parts_count_an_error_of_the_covariance_as_the_whole_does():
    """A direction that the covariance has too small earns as much in parts as in the whole."""
    d, n, n_noise, size = 20, 400, 419, 4
    Q = torch.linalg.qr(torch.randn(n, d, dtype=torch.float64, generator=torch.Generator()))[0]
    power = torch.ones(d, dtype=torch.float64).index_fill(0, torch.tensor([0]), 1.25)
    X = n**0.5 * power.sqrt()[:, None] * Q.T  # XXᵀ/n is diagonal
    gammas = torch.linspace(0, 1, 101, dtype=torch.float64)

    def gain(parts, counted):
        """Nats by the best prior of that direction."""
        known = [certainty(own.shape[1], d, n_noise) for own in parts]
        shares = [one.share for one in known]
        products = [own.T @ own / own.shape[1] for own in parts]
        weights = [n_own / sum(counted) for n_own in counted]
        noise = noise_alone(products, [d - one.spare for one in known], shares, weights)
        assert float(noise) == pytest.approx(1.0, abs=0.08)
        each = torch.zeros_like(gammas)
        for own, n_own, share in zip(parts, counted, shares, strict=True):
            for g, gamma in enumerate(gammas):
                rest = own / (noise * (1 + gamma * (torch.arange(d) == 0))).sqrt()[:, None]
                G = rest.T @ rest / own.shape[1]
                each[g] += n_own / 2 * (torch.log1p(gamma) + misfit(G, share))
        return float(each[0] - each.min())

    parts = X.split(size, 1)
    c = certainty(n, d, n_noise).share
    assert c == pytest.approx(0.5)
    whole = gain([X], [n])
    assert gain(parts, [(1 - c) * size] * len(parts)) == pytest.approx(whole, rel=0.2)
    assert gain(parts, [size] * len(parts)) > 1.5 * whole  # null control: each by itself


def test_an_estimated_covariance_leaves_the_noise_as_large_with_spans():
    """White noise of which samples tell: its variance is that of a fit without spans."""
    bursts = {0.3137: (10, 22), 0.8333: (30, 48)}
    N = np.random.default_rng(3).standard_normal((len(T), 1300))
    root = np.linalg.cholesky(N @ N.T / 1300)
    X = np.linalg.solve(root, switching(bursts, size=2.0, n=60) / NOISE)

    def field(r):
        return tuple(np.einsum("ij,mj...->mi...", np.linalg.inv(root), x) for x in bump(r))

    fits = [
        SlidingVAE().fit(field, GRID, X, n_noise=1300, stretches=[60], switching=on)
        for on in (True, False)
    ]
    assert np.isfinite(fits[0].spans_).any()
    for fit in fits:
        assert len(fit.places_) == 2
        assert fit.noise_variance_ == pytest.approx(1.0, rel=0.06)


def test_an_estimated_covariance_leaves_the_noise_as_large_in_many_stretches():
    """As many samples in rare events as behind the covariance: λ stays, and the sources too."""
    N = np.random.default_rng(4).standard_normal((len(T), 1300))
    root = np.linalg.cholesky(N @ N.T / 1300)
    bursts = {0.3137: (0, 200), 0.8333: (400, 440)}  # in ten, and in two of sixty
    X = np.linalg.solve(root, switching(bursts, size=2.0, n=1200) / NOISE)

    def field(r):
        return tuple(np.einsum("ij,mj...->mi...", np.linalg.inv(root), x) for x in bump(r))

    fit = SlidingVAE().fit(field, GRID, X, n_noise=1300, stretches=[20] * 60, switching=True)
    assert fit.noise_variance_ == pytest.approx(1.0, rel=0.06)
    assert sorted(fit.active_.sum(1)) == [2, 10]
