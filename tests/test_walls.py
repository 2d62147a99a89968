"""Sources that a wall holds: on a plane of bumps, with a round wall."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from meg_vae import SlidingVAE
from meg_vae.model.sliding import descent
from meg_vae.model.sliding.walls import along

SENSORS = np.stack(np.meshgrid(*[np.linspace(-1.2, 1.2, 9)] * 2), -1).reshape(-1, 2)
WIDTH, REACH, STEP = 0.35, 0.8, 0.2
GRID = np.stack(np.meshgrid(*[np.arange(-1, 1.01, STEP)] * 2), -1).reshape(-1, 2)
BEYOND = [[0.75, 0.45], [-0.2, -0.3], [0.4, 0.2]]
GRID = GRID[np.linalg.norm(GRID, axis=1) <= REACH]


def bump(r):
    """Gaussian bumps about places on the plane, and their gradient."""
    away = SENSORS - r[:, None]
    values = np.exp(-np.square(away).sum(2) / (2 * WIDTH**2))
    return values[:, :, None], (values[:, :, None] * away / WIDTH**2)[:, :, None, :]


def inside(r):
    """Move places into the round wall."""
    return r * np.minimum(1, REACH / np.maximum(np.linalg.norm(r, axis=1), 1e-12))[:, None]


def fitted(places, seed=0):
    rng = np.random.default_rng(seed)
    U = rng.standard_normal((len(places), 50))
    X = bump(np.array(places))[0][:, :, 0].T @ U
    X += 0.05 * rng.standard_normal(X.shape)
    return SlidingVAE().fit(bump, GRID, X, confine=inside), X


def test_a_source_beyond_goes_along_the_wall_to_the_best_place_there(monkeypatch):
    looks = []
    slopes = descent.slopes
    monkeypatch.setattr(descent, "slopes", lambda *a: looks.append(0) or slopes(*a))
    model, _ = fitted(BEYOND)
    assert len(model.places_) >= 3
    assert model.fit_.on_wall.any()
    held = model.places_[model.fit_.on_wall.numpy()]
    np.testing.assert_allclose(np.linalg.norm(held, axis=1), REACH, atol=1e-3 * STEP)
    assert model.stationarity_ < 0.05  # along the wall too, and in all other parameters
    patient = len(looks)
    looks.clear()
    monkeypatch.setattr(descent, "normals", lambda sources, *a: torch.zeros_like(sources.places))
    creeping, _ = fitted(BEYOND)
    assert patient < 0.5 * len(looks)
    assert model.energy_ < creeping.energy_


def test_sources_inside_are_not_held():
    model, _ = fitted([[0.31, 0.24], [-0.2, -0.33]])
    np.testing.assert_allclose(
        model.places_[model.places_[:, 0].argsort()[1]], [0.31, 0.24], atol=0.02
    )
    assert not model.fit_.on_wall.any()


@pytest.mark.parametrize("seed", range(3))
def test_axes_along_a_wall_are_orthonormal_and_leave_its_normal_out(seed):
    rng = np.random.default_rng(seed)
    axes = torch.as_tensor(np.linalg.qr(rng.standard_normal((3, 3, 3)))[0])
    axes[2, :, 0] = 0  # a patch on a surface
    out = torch.zeros(3, 3, dtype=torch.float64)
    out[0] = torch.as_tensor(rng.standard_normal(3))
    out[0] /= out[0].norm()
    found = along(axes, out)
    torch.testing.assert_close(found[1:], axes[1:])
    torch.testing.assert_close(out[0] @ found[0], torch.zeros(3, dtype=torch.float64))
    kept = found[0][:, found[0].any(0)]
    assert kept.shape[1] == 2
    torch.testing.assert_close(kept.T @ kept, torch.eye(2, dtype=torch.float64))
    assert along(axes, torch.zeros_like(out)) is axes
