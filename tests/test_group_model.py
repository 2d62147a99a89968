"""What subjects have in common: evidence, members, and what noise and chance give."""

import numpy as np
import pytest
from scipy import integrate, stats
from scipy.special import betaln

from meg_vae.model.group import (
    SPREADS,
    Places,
    evidence,
    find_group,
    group_weights,
    volume_of_one,
)

VOLUME = 8e5  # mm³
SIDE = VOLUME ** (1 / 3)
LEAST, ASKED = 13.0, 3.0


def subjects(n, spread, rng, *, presence=1.0, others=2, centres=((40.0, 30.0, 50.0),), sd=1.5):
    """Sources of each subject: about the centres, and anywhere; and which centres each has."""
    out, has = [], []
    for _ in range(n):
        present = rng.random(len(centres)) < presence
        own = np.array(centres)[present] + spread * rng.standard_normal((present.sum(), 3))
        x = np.concatenate([own, rng.uniform(0, SIDE, (others, 3))])
        x += sd * rng.standard_normal(x.shape)
        out.append(Places(x, np.tile(sd**2 * np.eye(3), (len(x), 1, 1)), np.full(len(x), 90.0)))
        has.append(present)
    return out, np.array(has)


def found(data):
    return find_group(data, volume_of_one(VOLUME, data), LEAST, ASKED)


def test_evidence_is_the_integral_that_it_says():
    """Along one line: two places, by numerical integration over the centre and each spread."""
    x = np.array([[0.0, 0.0, 0.0], [4.0, 0.0, 0.0]])
    C = np.tile(4.0 * np.eye(3), (2, 1, 1))
    each = []
    for spread in SPREADS:
        sd = np.hypot(spread, 2.0)
        along = integrate.quad(
            lambda m, sd=sd: stats.norm.pdf(0, m, sd) * stats.norm.pdf(4, m, sd), -150, 150
        )[0]
        across = integrate.quad(lambda m, sd=sd: stats.norm.pdf(0, m, sd) ** 2, -150, 150)[0]
        each.append(along * across**2)
    expected = betaln(3, 9) + np.log(VOLUME) + np.log(np.mean(each))
    assert evidence(x, C, np.zeros(2), 10, VOLUME) == pytest.approx(expected, rel=1e-6)


def test_a_common_source_is_found_with_its_centre_its_spread_and_its_members():
    rng = np.random.default_rng(0)
    centres = ((40.0, 30.0, 50.0), (70.0, 60.0, 20.0))
    data, has = subjects(16, 5.0, rng, presence=0.75, centres=centres)
    group = found(data)
    assert len(group) == 2
    for one in group:
        k = int(np.linalg.norm(np.array(centres) - one.centre, axis=1).argmin())
        gap = one.centre - centres[k]
        assert gap @ np.linalg.solve(one.covariance, gap) < stats.chi2.ppf(0.999, 3)
        low, high = one.spread_interval
        assert low < 5.0 < high
        # a member may be another source by chance; nobody else's place is that near
        assert np.mean((one.members >= 0) == has[:, k]) >= 0.9
        assert abs(one.rate - has[:, k].mean()) < 0.15
    assert group[0].log_evidence >= group[1].log_evidence > 5


@pytest.mark.parametrize(("n", "others"), [(2, 3), (4, 8), (12, 3), (12, 10), (40, 4)])
def test_chance_gives_nothing(n, others):
    """Sources anywhere, as many as they may be: the null control of all that is found above."""
    rng = np.random.default_rng(n + others)
    studies = [subjects(n, 0.0, rng, others=others, centres=np.zeros((0, 3)))[0] for _ in range(10)]
    assert sum(len(found(data)) for data in studies) <= 1


def test_a_clear_group_needs_three_subjects_and_two_that_agree_are_not_enough_of_twelve():
    rng = np.random.default_rng(3)
    data, _ = subjects(3, 2.0, rng, others=0)
    assert [one.n_present for one in found(data)] == [3]
    nobody, _ = subjects(9, 2.0, rng, others=2, centres=np.zeros((0, 3)))
    pair, _ = subjects(2, 6.0, rng, others=2)
    assert found([*pair, *nobody]) == []


def test_the_more_a_subject_is_unsure_the_less_it_says():
    rng = np.random.default_rng(4)
    data, _ = subjects(6, 3.0, rng, others=0)
    clear = evidence_of(data)
    vague = [Places(one.x, 400 * one.covariance, one.log_evidence) for one in data]
    weak = [Places(one.x, one.covariance, np.full(len(one.x), 8.0)) for one in data]
    assert clear > evidence_of(weak) > clear - 6 * 5.1  # each lacks 5 nats of what is asked
    assert clear > evidence_of(vague)


def evidence_of(data):
    x = np.concatenate([one.x for one in data])
    C = np.concatenate([one.covariance for one in data])
    e = np.concatenate([one.log_evidence for one in data])
    doubt = -np.log1p(np.exp(LEAST - e))
    return evidence(x, C, doubt, len(data), VOLUME)


def test_it_does_not_matter_where_the_axes_point_nor_who_comes_first():
    rng = np.random.default_rng(5)
    data, _ = subjects(8, 4.0, rng)
    turn = stats.special_ortho_group.rvs(3, random_state=1)
    turned = [
        Places(one.x @ turn.T + 9, turn @ one.covariance @ turn.T, one.log_evidence) for one in data
    ]
    (one,), (other,) = found(data), found(turned[::-1])
    assert other.log_evidence == pytest.approx(one.log_evidence, rel=1e-9)
    np.testing.assert_allclose(other.centre, one.centre @ turn.T + 9, atol=1e-6)
    np.testing.assert_array_equal(other.members[::-1] >= 0, one.members >= 0)


def test_the_prior_of_a_subject_is_the_groups_density_and_nothing_far_away():
    rng = np.random.default_rng(6)
    data, _ = subjects(12, 5.0, rng, others=0)
    (one,) = found(data)
    exact = np.zeros((2, 3, 3))
    near, far = group_weights([one], np.array([one.centre, one.centre + 90]), exact, VOLUME)
    assert far == pytest.approx(0.0, abs=1e-6)
    # N(0; τ² + centre's covariance) at its centre, τ about 5 mm, times the volume
    rough = np.log(VOLUME * one.rate) - 1.5 * np.log(2 * np.pi * one.spread**2)
    assert near == pytest.approx(rough, abs=1.0)
    unsure = group_weights([one], one.centre[None], 100 * np.eye(3)[None], VOLUME)[0]
    assert unsure < near
    # as a density it holds one source: its integral is the probability that there is one
    draws = one.centre + rng.uniform(-60, 60, (40_000, 3))
    density = np.exp(one.log_density(draws, np.zeros((len(draws), 3, 3))))
    assert density.mean() * 120**3 == pytest.approx(1.0, abs=0.05)


def test_nobody_has_anything():
    nothing = [Places(np.zeros((0, 3)), np.zeros((0, 3, 3)), np.zeros(0))] * 4
    assert found(nothing) == []
    data, _ = subjects(5, 3.0, np.random.default_rng(7), others=0)
    (one,) = found([*data, *nothing])
    assert one.n_present == 5
    assert one.n_asked == 9
    spread = one.among(np.array([True] * 5 + [False] + [True] * 4))
    assert len(spread.members) == 10
    assert spread.rate == one.rate
