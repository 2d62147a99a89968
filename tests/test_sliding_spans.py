"""Sources that are active in a part of the time: their spans, energy, evidence and growth."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from test_sliding import GRID, STEP, T, bump
from test_sliding_energy import (
    CASES,
    UNIT,
    energy_along,
    smooth_field,
    some_data,
    some_sources,
)

from meg_vae import SlidingVAE
from meg_vae.model.exact.dictionary import Dictionary
from meg_vae.model.noise import Noise
from meg_vae.model.sliding.choice import log_evidence, worth
from meg_vae.model.sliding.field import Field
from meg_vae.model.sliding.growth import best_prior, pull
from meg_vae.model.sliding.recorded import Recorded
from meg_vae.model.sliding.slopes import slopes
from meg_vae.model.sliding.sources import Data, Sources, whiten
from meg_vae.model.sliding.spans import (
    _best_spans,
    _growing,
    _ladder,
    _Spanned,
    cut_at,
    in_numbers,
    in_pieces,
    in_spans,
    spans_of,
    with_cost,
)
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


def views(X, cuts):
    """The view of data in pieces, with the field on a line."""
    recorded = Recorded(
        Dictionary(bump(GRID)[0][:, :, 0].T.copy(), 1),
        torch.as_tensor(X),
        float(X.shape[1]),
        Noise(),
        [X.shape[1]],
    )
    recorded = in_pieces([recorded])
    field = Field(bump, STEP, None, lambda r: r.clip(0, 1))
    noise = torch.tensor(NOISE**2, dtype=torch.float64)
    view = view_of(field, torch.as_tensor(GRID), recorded, [noise], False, None, cuts)
    return replace(view, noise=noise), recorded


def some(view, places=(0.3137, 0.6412)):
    """Sources of unit variance."""
    r = torch.tensor(places, dtype=torch.float64)[:, None]
    return Sources.at(view.field, r, torch.ones(len(r), 1, 1, dtype=torch.float64), view.noise)


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
    at = slopes(data, sources, UNIT)
    zero = torch.zeros(len(at.gradient), dtype=torch.float64, requires_grad=True)
    energy = energy_along(data, sources, at.directions, zero)
    gradient = torch.autograd.grad(energy, zero)[0]
    curvature = torch.autograd.functional.hessian(
        lambda theta: energy_along(data, sources, at.directions, theta), zero.detach()
    )
    assert float(whiten(data, sources).energy) == pytest.approx(energy.item(), abs=1e-10)
    assert gradient.abs().min() > 1e-7
    torch.testing.assert_close(at.gradient, gradient, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(at.curvature, curvature, rtol=1e-9, atol=1e-9)
    always = replace(sources, on=torch.ones_like(on))
    assert (slopes(data, always, UNIT).gradient - at.gradient).abs().max() > 1e-3


def test_the_energy_is_that_of_each_piece_by_itself():
    X = switching()
    view, recorded = views(X, (0, 3, 10, 24))
    edges = recorded[0].edges
    assert len(edges) == 25
    P = bump(np.array([[0.3137], [0.6412]]))[0][:, :, 0].T

    def by_hand(spans):
        J = 0.0
        for piece, (a, b) in enumerate(pairwise(edges)):
            active = [first <= piece < last for first, last in spans]
            part, own = X[:, a:b], P[:, active]
            Sigma = NOISE**2 * np.eye(len(T)) + own @ own.T
            J += (b - a) * np.linalg.slogdet(Sigma)[1] + np.sum(part * np.linalg.solve(Sigma, part))
        return J

    spans, always = [(3, 10), (0, 10)], [(0, 24), (0, 24)]
    sources = in_spans(view, some(view), spans)
    assert spans_of(view, sources) == spans
    gain = view.energy(in_spans(view, some(view), always)) - view.energy(sources)
    assert 200 * gain == pytest.approx(by_hand(always) - by_hand(spans), rel=1e-3)
    assert 200 * gain > 100
    # as few runs as there are changes tell as much as one of each piece
    fine, _ = views(X, range(25))
    assert fine.energy(in_spans(fine, some(fine), spans)) == pytest.approx(view.energy(sources))


def test_the_best_span_is_the_best_of_all():
    X = switching()
    fine, _ = views(X, range(25))
    whole = [(0, 24), (0, 24)]
    sources = in_spans(fine, some(fine), whole)
    cost = np.log(200)
    best = _best_spans(fine, sources, whole, cost)

    def height(k, span):
        own = [span if j == k else (0, 24) for j in range(2)]
        energy = whiten(fine.data, in_spans(fine, sources, own)).energy
        return -100 * float(energy) - cost * (span != (0, 24))

    for k in range(2):
        assert best[k] == max(combinations(range(25), 2), key=lambda span: height(k, span))
        assert best[k] != (0, 24)
    assert _best_spans(fine, in_spans(fine, sources, best), best, cost) == best
    steady = X + bump(np.array([[0.3137]]))[0][0, :, 0][:, None] * np.random.default_rng(
        3
    ).standard_normal(200)
    fine, _ = views(steady, range(25))
    assert _best_spans(fine, in_spans(fine, some(fine), whole), whole, cost)[0] == (0, 24)


def test_growth_in_a_span_is_growth_of_the_data_in_it():
    X = switching({0.6412: (100, 120)}, size=0.3)
    fine, recorded = views(X, range(25))
    view, _ = views(X, (0, 24))
    none = some(view).only(torch.zeros(2, dtype=torch.bool))
    found = _growing(fine, _Spanned(view, none), 0.0)
    edges = recorded[0].edges
    first, last = (edges[k] for k in found.span)
    assert 90 <= first <= 104
    assert 116 <= last <= 135
    assert float(found.place) == pytest.approx(0.6412, abs=0.4 * STEP)
    n_pieces = len(views(X[:, first:last], (0, 1))[1][0].edges) - 1
    alone, _ = views(X[:, first:last], (0, n_pieces))
    at = pull(alone.data, some(alone).only(torch.zeros(2, dtype=torch.bool)))
    rise, _ = best_prior(at, alone.field.expand(found.place).values)
    assert found.offer == pytest.approx((last - first) / 2 * float(rise), rel=1e-3)
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


def test_noise_alone_has_no_spans():
    for seed in range(6):
        X = np.random.default_rng(seed).standard_normal((len(T), 150))
        model = SlidingVAE().fit(bump, GRID, X, stretches=[150], switching=True)
        assert not len(model.places_)
        assert model.spans_.shape == (0, 2)
        assert model.growth_ < model.min_log_evidence


def test_a_span_costs_what_choosing_it_does():
    view, _ = views(switching(), (0, 3, 10, 24))
    view = with_cost(view)
    sources = in_spans(view, some(view), [(3, 10), (0, 24)])
    paid = log_evidence(view.data, sources) - worth(view.data, sources)
    np.testing.assert_allclose(paid, [np.log(200), 0])


def test_pieces():
    _, (one,) = views(switching(), (0, 1))
    assert one.edges[0] == 0
    assert one.edges[-1] == 200
    assert min(np.diff(one.edges)) >= 5
    whole = replace(one, edges=())
    assert sum(n for _, n in one.independent()) == sum(n for _, n in whole.independent())
    two = replace(whole, X=torch.cat([whole.X, whole.X], 1), n=400.0, stretches=[200, 200])
    cut = in_pieces([two])[0]
    assert cut.edges == one.edges  # in common
    assert cut.independent()[2][0].shape[1] == 2 * one.independent()[2][0].shape[1]
    uneven = replace(two, stretches=[150, 250])
    assert in_pieces([uneven]) == [uneven]
    assert in_pieces([replace(whole, stretches=None)])[0].edges == ()
    short = replace(whole, X=whole.X[:, :9], n=9.0, stretches=[9])
    assert in_pieces([short])[0].edges == ()
    assert cut_at([whole], None) == [whole]
    assert cut_at([whole], [[-np.inf, np.inf]]) == [whole]
    (again,) = cut_at([whole], [[40.0, 80.0], [-np.inf, np.inf]])
    assert again.edges == (0, 40, 80, 200)
    assert in_numbers(again.edges, (40, 80)) == (1, 2)
    assert in_numbers(again.edges, (-np.inf, np.inf)) == (0, 3)


def test_the_ladder_covers_the_window():
    spans = _ladder(24)
    assert len(spans) == len(set(spans))
    for length in (1, 2, 4, 8, 16):
        own = [span for span in spans if span[1] - span[0] == length]
        assert own[0][0] == 0
        assert own[-1][1] == 24
        gaps = np.diff([a for a, _ in own])
        assert gaps.max() <= max(length // 2, 1)
