"""What a wrong field of a strong source could pass for, and what it does to the answer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_sliding import GRID, bump
from test_sliding_energy import ORIENT, D, smooth_field, some_data, some_sources

from meg_vae import SlidingVAE, VAEInverse
from meg_vae.model.sliding.choice import log_evidence
from meg_vae.model.sliding.mistaken import courses, mistakable

PLACE, OTHER = 0.3123, 0.7123


def fields(*places):
    return bump(np.reshape(places, (-1, 1)))[0][:, :, 0].T


def wrong_by(share, others=(), n=60, noise=0.02, seed=0):
    """A strong source whose field is off by a share, and others (place, course), in noise."""
    rng = np.random.default_rng(seed)
    field, course = fields(PLACE), rng.standard_normal((1, n))
    error = fields(*GRID[:, 0]) @ rng.standard_normal((len(GRID), 1))  # as smooth as fields are
    error *= share * np.linalg.norm(field) / np.linalg.norm(error)
    X = (field + error) @ course + noise * rng.standard_normal((len(field), n))
    for place, own in others:
        X += fields(place) @ own(course, rng)
    return X


def found(X, field_error):
    return np.sort(SlidingVAE().fit(bump, GRID, X, field_error=field_error).places_[:, 0])


def same_course(course, rng):
    return 0.03 * course


def own_course(course, rng):
    return 0.03 * rng.standard_normal(course.shape)


def test_a_wrong_field_makes_no_sources():
    X = wrong_by(0.04)
    assert len(found(X, 0.0)) > 1  # null control: taken at its word, the field does
    np.testing.assert_allclose(found(X, 0.05), [PLACE], atol=0.01)


def test_a_weak_source_with_a_course_of_its_own_stays():
    X = wrong_by(0.0, [(OTHER, own_course)])
    for field_error in (0.0, 0.05):
        np.testing.assert_allclose(found(X, field_error), [PLACE, OTHER], atol=0.01)


def test_a_weak_source_with_the_course_of_a_strong_one_is_what_it_costs():
    X = wrong_by(0.0, [(OTHER, same_course)])
    np.testing.assert_allclose(found(X, 0.0), [PLACE, OTHER], atol=0.01)
    np.testing.assert_allclose(found(X, 0.05), [PLACE], atol=0.01)
    np.testing.assert_allclose(found(X, 0.01), [PLACE, OTHER], atol=0.01)


def test_sources_of_one_strength_are_not_mistaken_for_each_other():
    X = wrong_by(0.0, [(OTHER, lambda course, rng: 0.9 * course)])
    np.testing.assert_allclose(found(X, 0.1), [PLACE, OTHER], atol=0.01)


def places_of(share, field_error, n_draws=15):
    """Squared distances of places from the true one, by their variances."""
    rng = np.random.default_rng(2)
    field, squared = fields(PLACE), []
    for _ in range(n_draws):
        error = rng.standard_normal(field.shape)
        error *= share * np.linalg.norm(field) / np.linalg.norm(error)
        X = (field + error) @ rng.standard_normal((1, 60))
        X += 0.002 * rng.standard_normal(X.shape)
        model = SlidingVAE(min_log_evidence=50.0).fit(bump, GRID, X, field_error=field_error)
        k = np.abs(model.places_[:, 0] - PLACE).argmin()
        squared.append((model.places_[k, 0] - PLACE) ** 2 / model.place_covariance_[k, 0, 0])
    return np.array(squared)


def test_places_are_as_sure_as_the_field_is_right():
    """Of fields that are off anywhere; null control: taken at their word they are far too sure."""
    assert 0.5 < places_of(0.05, 0.05).mean() < 2
    assert places_of(0.05, 0.0).mean() > 10


def test_courses_have_the_power_of_the_fields():
    """By the dense inverse; of sources with one direction, for which it is exact."""
    data = some_data()
    sources = some_sources(smooth_field(), ranks=(1, 1, 1))
    P, noise = sources.patterns, sources.noise
    Sigma = P @ P.T + noise * torch.eye(D, dtype=P.dtype)
    z = P.T @ torch.linalg.inv(Sigma) @ data.runs[0].F
    parts = P.reshape(D, 3, ORIENT).movedim(1, 0) @ z.reshape(3, ORIENT, -1)
    power = data.n / noise * parts.square().sum((1, 2))
    torch.testing.assert_close(courses(data, sources).square().sum(1), power)


def test_what_is_mistakable_by_its_definition():
    data, sources = some_data(), some_sources(smooth_field())
    S = courses(data, sources).numpy()
    power = np.square(S).sum(1)
    order = power.argsort()[::-1]
    told = mistakable(data, sources, 0.1).numpy()
    assert told[order[0]] == 0  # none is stronger
    one, two = S[order[0]], S[order[1]]
    alike = (one @ two) ** 2 / (one @ one) / (two @ two)
    assert told[order[1]] == pytest.approx(0.005 * alike * power[order[0]])
    assert told[order[2]] > 0
    np.testing.assert_allclose(mistakable(data, sources, 0.2).numpy(), 4 * told)
    assert not mistakable(data, sources, 0.0).any()
    assert len(mistakable(data, sources.only(torch.tensor([0])), 0.1)) == 1
    assert log_evidence(data, sources).shape == told.shape


@pytest.mark.parametrize("share", [-0.1, 1, True, "5 %", np.nan])
def test_a_share_is_a_share(recording, share):
    with pytest.raises(ValueError, match="lead_field_error=.* must be a share"):
        VAEInverse(lead_field_error=share).fit(
            recording.evoked, recording.forward, recording.noise_cov
        )
    with pytest.raises(ValueError, match="field_error=.* must be a share"):
        SlidingVAE().fit(bump, GRID, np.ones((60, 3)), field_error=share)
