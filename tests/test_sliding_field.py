"""The field that `SlidingVAE` is given: its shapes, units and errors, and its columns."""

from __future__ import annotations

import numpy as np
import pytest

from meg_vae import SlidingVAE

SENSORS = np.linspace(0, 1, 31)
GRID = np.linspace(0, 1, 41)[:, None]
SPACING, WIDTH, NOISE = 1 / 40, 0.06, 0.05


def bump(places, width=WIDTH):
    """Bumps at places (m,), and their derivatives, each (m, sensors)."""
    away = SENSORS - np.reshape(places, (-1, 1))
    value = np.exp(-(away**2) / (2 * width**2))
    return value, value * away / width**2


def field(r):
    value, slope = bump(r[:, 0])
    return value[:, :, None], slope[:, :, None, None]


def two_columns(r):
    """Two dipoles at a place, each seen by sensors of its own."""
    value, slope = np.zeros((len(r), 2 * len(SENSORS), 2)), np.zeros((len(r), 2 * len(SENSORS), 2))
    for k, width in enumerate((WIDTH, 1.5 * WIDTH)):
        own = slice(k * len(SENSORS), (k + 1) * len(SENSORS))
        value[:, own, k], slope[:, own, k] = bump(r[:, 0], width)
    return value, slope[..., None]


def between(rng, n, apart=0.2):
    """Places well apart, none of them within a fifth of the spacing from the grid."""
    steps = np.round(np.linspace(0.5 - apart * (n - 1) / 2, 0.5 + apart * (n - 1) / 2, n) / SPACING)
    return (steps + rng.choice([-1, 1], n) * rng.uniform(0.2, 0.5, n)) * SPACING


def recording(places, U, rng, noise=NOISE):
    X = bump(places)[0].T @ U
    return X + noise * rng.standard_normal(X.shape)


def alike(rng, n, n_samples=20, correlation=0.9):
    """Time courses that share most of their course."""
    own, common = rng.standard_normal((n, n_samples)), rng.standard_normal(n_samples)
    return np.sqrt(correlation) * common + np.sqrt(1 - correlation) * own


@pytest.fixture(scope="module")
def three():
    rng = np.random.default_rng(0)
    places = between(rng, 3)
    X = recording(places, alike(rng, 3), rng)
    return places, X, SlidingVAE().fit(field, GRID, X)


def test_units_and_order_do_not_matter(three):
    _, X, model = three

    def small(r):
        value, slope = field(r / 1e3)
        return 1e-9 * value, 1e-12 * slope

    other = SlidingVAE().fit(small, 1e3 * GRID[::-1], 1e-12 * X)
    np.testing.assert_allclose(other.places_, 1e3 * model.places_, atol=1e3 * 1e-3 * SPACING)
    np.testing.assert_allclose(other.log_evidence_, model.log_evidence_, rtol=1e-3)
    np.testing.assert_allclose(other.U_, 1e-3 * model.U_, atol=1e-5)


def nowhere(r):
    value, slope = field(r)
    return np.where(np.isin(r, GRID), 1, np.nan)[:, :, None] * value, slope


WRONG = {
    "field": ({"field": lambda r: [x[:, :, 0] for x in field(r)]}, r"field\(r\) must have"),
    "places": ({"field": lambda r: field(r[1:])}, r"field\(r\) must have shape \(41, any, any\)"),
    "gradient": ({"field": lambda r: (field(r)[0], field(r)[0])}, "the gradient of field"),
    "errors": ({"errors": lambda r: np.zeros((len(r), 2, 30, 1))}, r"errors\(r\) must have"),
    "confine": ({"confine": lambda r: r[:, 0]}, r"confine\(r\) must have shape \(., 1\)"),
    "NaN between": ({"field": nowhere}, "the field is NaN or infinite at one of the places"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_field_of_the_wrong_shape_is_refused(three, name):
    changed, message = WRONG[name]
    given = {"field": field, "grid": GRID, "X": three[1]} | changed
    with pytest.raises(ValueError, match=message):
        SlidingVAE().fit(**given)


def test_read_only_and_reversed_arrays_are_taken(three):
    _, X, model = three

    def awkward(r):
        value, slope = field(r)
        value.flags.writeable = False
        return value, slope[::-1].copy()[::-1]

    again = SlidingVAE().fit(awkward, GRID.tolist(), X.tolist())
    np.testing.assert_array_equal(again.places_, model.places_)


def test_a_field_that_is_known_only_roughly(three):
    """Errors of the field are learnt with the places, and make them less sure."""
    truth, X, sure = three
    wobble = np.stack([0.05 * np.cos(k * np.pi * SENSORS) for k in (3, 6)])

    def errors(r):
        return np.broadcast_to(wobble[None, :, :, None], (len(r), *wobble.shape, 1))

    model = SlidingVAE().fit(field, GRID, X, errors=errors)
    np.testing.assert_allclose(np.sort(model.places_[:, 0]), truth, atol=0.2 * SPACING)
    assert (model.place_covariance_ > sure.place_covariance_).any()
    crooked = X + wobble[0][:, None] * 2 * sure.transform(X)[:, 0].sum(0)
    helped = SlidingVAE().fit(field, GRID, crooked, errors=errors)
    misled = SlidingVAE().fit(field, GRID, crooked)
    assert helped.energy_ < misled.energy_
    assert len(helped.places_) <= len(misled.places_)


def ranks(model):
    """Directions that carry a hundredth of a source's variance or more."""
    variance = model.fit_.factors.square().sum(1)
    return (variance > 0.01 * variance[:, :1]).sum(1).tolist()


def test_one_turning_dipole_is_one_source():
    rng = np.random.default_rng(2)
    here, there = two_columns(np.array([[0.4137], [0.6411]]))[0]
    U = rng.standard_normal((2, 30))
    noise = NOISE * rng.standard_normal((len(here), 30))
    turning = SlidingVAE().fit(two_columns, GRID, here @ U + noise)
    assert ranks(turning) == [2]
    assert turning.places_[0, 0] == pytest.approx(0.4137, abs=0.1 * SPACING)
    fixed = np.outer([0.6, 0.8], U[0])
    still = SlidingVAE().fit(two_columns, GRID, here @ fixed + noise)
    assert ranks(still) == [1]
    axis = still.fit_.factors[0, :, 0].numpy()
    assert abs(axis @ [0.6, 0.8]) / np.linalg.norm(axis) > 0.999
    apart = here[:, :1] @ U[:1] + there[:, 1:] @ U[1:]
    two = SlidingVAE().fit(two_columns, GRID, apart + noise)
    assert ranks(two) == [1, 1]
    np.testing.assert_allclose(np.sort(two.places_[:, 0]), [0.4137, 0.6411], atol=0.1 * SPACING)
