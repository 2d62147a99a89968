"""Energy of sources at places of their own, and all its second derivatives, by plain sums."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from meg_vae.model.sliding.choice import likeness, log_evidence
from meg_vae.model.sliding.data import Data, Run
from meg_vae.model.sliding.descent import _moved
from meg_vae.model.sliding.field import Field
from meg_vae.model.sliding.slopes import slopes
from meg_vae.model.sliding.sources import Sources, principal_axes, whiten

D, ORIENT, Q, N = 12, 3, 2, 25
UNIT = 0.7


def smooth_field(errors=0, seed=5, unit=UNIT, motion=0):
    """A field of sines and cosines over the plane, (m, D, ORIENT), with its gradient."""
    rng = np.random.default_rng(seed)
    waves, phase = rng.standard_normal((D, ORIENT, Q)), rng.uniform(0, 6, (D, ORIENT))
    turn = np.random.default_rng([seed, motion]).standard_normal((motion, D, ORIENT))

    def at(r, delta=None):
        angle = np.einsum("doq,mq->mdo", waves, r) + phase
        if delta is not None:
            angle = angle + np.tensordot(delta, turn, 1)
        cos = np.cos(angle)
        first = np.sin(angle), cos[..., None] * waves
        return first if delta is None else (*first, cos[:, None] * turn)

    patterns = 0.4 * rng.standard_normal((errors, D, ORIENT))
    known = None if not errors else (lambda r: np.broadcast_to(patterns, (len(r), *patterns.shape)))
    free = torch.zeros(motion, dtype=torch.float64)
    return Field(at, unit, known, swing=free + 0.3, motion=free)


def some_sources(field, ranks=(1, 2, 3), seed=0):
    """Sources of the given ranks a little away from their anchors, with errors if there are any."""
    rng = np.random.default_rng(seed)
    m = len(ranks)
    factors = torch.as_tensor(rng.standard_normal((m, ORIENT, ORIENT)))
    for k, rank in enumerate(ranks):
        factors[k, :, rank:] = 0.0
    places = torch.as_tensor(rng.uniform(-1, 1, (m, Q)))
    sources = Sources.at(field, places, factors, torch.tensor(0.6, dtype=torch.float64))
    away = torch.as_tensor(0.1 * rng.standard_normal((m, Q)))
    shift = torch.as_tensor(0.5 * rng.standard_normal(sources.shift.shape))
    motion = torch.as_tensor(0.2 * rng.standard_normal(sources.motion.shape))
    return replace(sources, places=places + away, shift=shift, motion=motion)


def some_data(learn=True, share=0.0, seed=1, n=N):
    """Data in D directions, with five more that are noise alone."""
    F, E = np.split(np.random.default_rng(seed).standard_normal((D + 5, 8)), [D])
    F, E = torch.as_tensor(F), torch.as_tensor(0.4 * E)
    return Data((Run(F, n, n_rest=5 - 2.5 * share, rest=E.T @ E, share=share),), learn)


def energy_of(data, fields, factors, shift, noise):
    """J by its definition, run by run, with determinants and inverses."""
    n, first = sum(run.n for run in data.runs), 0
    J = shift.square().sum() / n
    for run in data.runs:
        d, c = len(run.F), run.share
        Sigma = noise * torch.eye(d, dtype=torch.float64)
        for L, A in zip(fields[:, first : first + d], factors, strict=True):
            Sigma = Sigma + L @ A @ A.T @ L.T
        G = run.F.T @ torch.linalg.inv(Sigma) @ run.F + run.rest / noise
        eye = torch.eye(len(G), dtype=G.dtype)
        misfit = torch.logdet(eye + c / (1 - c) * G) / c if c else torch.trace(G)
        J = J + run.n / n * (torch.logdet(Sigma) + run.n_rest * noise.log() + misfit)
        first += d
    return J


def energy_along(data, sources, moving, theta):
    """J where the columns of the decoder moved straight along theta, for autograd."""
    n_pairs = moving.pairs.shape[1]
    noise = sources.noise * theta[-1].exp() if data.learn else sources.noise
    own = theta[: int(moving.free.sum())]
    full = own.new_zeros(moving.free.shape).masked_scatter(moving.free, own)
    places = sources.places + UNIT * full[:, :Q]
    factors = sources.factors + torch.einsum("mp,mpab->mab", full[:, Q : Q + n_pairs], moving.pairs)
    shift = sources.shift + full[:, Q + n_pairs :]
    motion = sources.motion + theta[moving.n_own : moving.n_moved]
    fields = sources.values + torch.einsum(
        "mdoq,mq->mdo", sources.gradient, places - sources.anchors
    )
    fields = fields + torch.einsum("medo,me->mdo", sources.errors, shift)
    fields = fields + torch.einsum("mgdo,mg->mdo", sources.turns, motion - sources.stand)
    fields = torch.cat([fields * own[:, None, None] for own in sources.on.T], 1)
    return energy_of(data, fields, factors, shift, noise) + motion.square().sum() / data.n


def check_derivatives(data, sources):
    """Hold first and second derivatives against autograd; gives the slopes."""
    at = slopes(data, sources, UNIT)
    zero = torch.zeros(len(at.gradient), dtype=torch.float64, requires_grad=True)
    energy = energy_along(data, sources, at.directions, zero)
    gradient = torch.autograd.grad(energy, zero)[0]
    curvature = torch.autograd.functional.hessian(
        lambda theta: energy_along(data, sources, at.directions, theta), zero.detach()
    )
    assert float(whiten(data, sources).energy) == pytest.approx(energy.item(), abs=1e-10)
    assert float(at.energy) == pytest.approx(energy.item(), abs=1e-10)
    assert gradient.abs().min() > 1e-7  # a gradient of zeros would not do
    torch.testing.assert_close(at.gradient, gradient, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(at.curvature, curvature, rtol=1e-9, atol=1e-9)
    assert (at.average - at.curvature).abs().max() > 0.1  # nor would the average information
    assert torch.linalg.eigvalsh(at.average)[0] > -1e-9
    return at


CASES = [  # ranks, errors, motion, learn
    ((1,), 0, 0, True),
    ((2,), 0, 0, False),
    ((3,), 1, 0, True),
    ((1, 2), 2, 0, True),
    ((1, 3), 1, 2, True),
    ((2,), 0, 3, False),
]
known_or_estimated = pytest.mark.parametrize("share", [0.0, 0.3])  # of the noise's covariance


@known_or_estimated
@pytest.mark.parametrize(("ranks", "errors", "motion", "learn"), CASES)
def test_derivatives_are_those_of_the_energy(ranks, errors, motion, learn, share):
    field = smooth_field(errors, motion=motion)
    sources, data = some_sources(field, ranks), some_data(learn, share)
    at = check_derivatives(data, sources)
    free = {1: 3, 2: 5, 3: 6}  # parameters of a prior of that rank in three directions
    own = sum(Q + free[k] + errors + motion for k in ranks)  # each an error in what a motion does
    assert len(at.gradient) == own + motion + learn


@known_or_estimated
@pytest.mark.parametrize(("ranks", "errors", "motion", "learn"), CASES)
def test_derivatives_are_those_of_the_steps_taken(ranks, errors, motion, learn, share):
    field = smooth_field(errors, motion=motion)
    sources, data = some_sources(field, ranks), some_data(learn, share)
    at = slopes(data, sources, UNIT)

    def energy(step):
        return float(whiten(data, _moved(data, sources, field, at.directions, step, UNIT)).energy)

    p, h = len(at.gradient), 1e-4
    eye = h * torch.eye(p, dtype=torch.float64)
    first = [(energy(e) - energy(-e)) / (2 * h) for e in eye]
    # a variance grows by 1 + s and shrinks by exp(s): on average straight in the columns, but λ,
    # which counts in its logarithm, bends by half of that
    expected = at.curvature.clone()
    if learn:
        expected[-1, -1] -= at.gradient[-1] / 2
    second = [
        [
            (energy(a + b) - energy(a - b) - energy(b - a) + energy(-a - b)) / (4 * h * h)
            for b in eye[: k + 1]
        ]
        for k, a in enumerate(eye)
    ]
    torch.testing.assert_close(at.gradient, torch.as_tensor(np.array(first)), rtol=1e-4, atol=2e-4)
    for k, row in enumerate(second):
        torch.testing.assert_close(
            expected[k, : k + 1], torch.as_tensor(np.array(row)), rtol=1e-2, atol=2e-2
        )


def test_an_error_that_cannot_be_seen_is_not_learnt():
    field = smooth_field(2)
    faint = replace(field, errors=lambda r: 1e-4 * field.errors(r))
    data = some_data()
    seen, unseen = (slopes(data, some_sources(f), UNIT).directions.free for f in (field, faint))
    assert seen.sum() - unseen.sum() == 6  # two of each source
    assert unseen[:, :Q].all()


@known_or_estimated
def test_removal_of_a_column_is_the_change_of_the_energy(share):
    sources, data = some_sources(smooth_field(), (1, 3)), some_data(share=share)
    at = slopes(data, sources, UNIT)
    for column, (k, j) in enumerate([(0, 0), (1, 0), (1, 1), (1, 2)]):
        factors = sources.factors.clone()
        factors[k, :, j] = 0.0
        less = whiten(data, replace(sources, factors=factors)).energy
        assert float(at.removal[column]) == pytest.approx(float(less - at.energy), abs=1e-9)


@known_or_estimated
def test_evidence_is_the_energy_lost(share):
    sources, data = some_sources(smooth_field(2)), some_data(share=share)
    for k, evidence in enumerate(log_evidence(data, sources)):
        rest = sources.only(torch.arange(3) != k)
        lost = data.n / 2 * (whiten(data, rest).energy - whiten(data, sources).energy)
        assert float(evidence) == pytest.approx(float(lost), abs=1e-8)


def test_what_leaves_the_energy_as_it_is():
    sources, data = some_sources(smooth_field(2)), some_data()
    J = float(whiten(data, sources).energy)
    rng = np.random.default_rng(4)
    turn = torch.linalg.qr(torch.as_tensor(rng.standard_normal((3, ORIENT, ORIENT))))[0]
    turned = replace(sources, factors=sources.factors @ turn)
    again = replace(turned, factors=principal_axes(turned.factors))
    scale = torch.tensor([1e-9, 3.0, 1e6], dtype=torch.float64)[:, None, None]
    scaled = replace(
        sources,
        values=sources.values * scale,
        gradient=sources.gradient * scale[..., None],
        errors=sources.errors * scale[..., None],
        drift=sources.drift * scale[..., None, None],
        factors=sources.factors / scale,
    )
    for same in (turned, again, scaled, sources.only(torch.tensor([2, 0, 1]))):
        assert float(whiten(data, same).energy) == pytest.approx(J, abs=1e-9)
    gram = again.factors.mT @ again.factors
    assert (gram - torch.diag_embed(gram.diagonal(dim1=1, dim2=2))).abs().max() < 1e-12
    stretched = replace(sources, factors=1.1 * sources.factors)
    assert abs(float(whiten(data, stretched).energy) - J) > 1e-2


def test_a_known_motion_is_no_parameter():
    field = smooth_field(1, motion=2)
    there = field.moved(torch.tensor([0.4, -0.3], dtype=torch.float64))
    known, held = there.known(), there.held()
    places = torch.as_tensor(np.random.default_rng(0).uniform(-1, 1, (3, Q)))
    factors, noise = torch.ones(3, ORIENT, ORIENT, dtype=torch.float64), torch.ones(())
    free, still, none = (
        Sources.at(f, places, factors, noise.double()) for f in (there, known, held)
    )
    torch.testing.assert_close(free.fields, still.fields)
    torch.testing.assert_close(free.fields, none.fields)
    assert (len(free.motion), len(still.motion), len(none.motion)) == (2, 0, 0)
    # What it does to each source may be wrong all the same, unless it is held.
    assert [s.shift.shape[1] for s in (free, still, none)] == [3, 3, 1]
    at_rest = Sources.at(field, places, factors, noise.double())
    assert (at_rest.fields - free.fields).abs().max() > 0.1
    moved = replace(at_rest, motion=there.motion).anchored(field, 0.0)
    torch.testing.assert_close(moved.fields, free.fields)


def test_likeness_is_the_largest_squared_correlation():
    field = smooth_field()
    sources = some_sources(field, (1, 1))
    a, b = (sources.fields @ sources.factors)[:, :, 0]
    expected = float((a @ b) ** 2 / (a @ a) / (b @ b))
    alike = likeness(sources)
    assert float(alike[0, 1]) == pytest.approx(expected, rel=1e-6)
    assert float(alike.diagonal().abs().max()) == 0
    twice = sources.join(sources.only(torch.tensor([0])))
    assert float(likeness(twice)[0, 2]) == pytest.approx(1)
