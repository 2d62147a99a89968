"""The exact minimiser on a CUDA device: the same answers as on the processor."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import sparse_problem

from meg_vae.model.exact.dictionary import Dictionary
from meg_vae.model.solve import solve

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


def both(case, X, **options):
    """The solution on the processor and on the device."""
    return [
        solve(Dictionary(case.Phi, case.n_orient, device=device), torch.as_tensor(X), **options)
        for device in ("cpu", "cuda")
    ]


@pytest.mark.parametrize("noise", ["learn", "per_channel", "anneal", 0.01])
@pytest.mark.parametrize(("n_orient", "orientation"), [(1, "shared"), (3, "shared"), (3, "full")])
def test_one_fit_agrees(n_orient, orientation, noise):
    case = sparse_problem(n_orient=n_orient, n_groups=30 // n_orient, n=200, noise=0.3)
    X = case.X if noise != "anneal" else case.Phi @ case.U
    cpu, gpu = both(case, X, noise_variance=noise, orientation=orientation, tol=1e-5)
    assert gpu.factor.device.type == "cuda"
    assert float(gpu.energy) == pytest.approx(float(cpu.energy), abs=1e-5, rel=1e-6)
    largest = float(cpu.gamma.max())
    np.testing.assert_allclose(gpu.gamma.cpu(), cpu.gamma, rtol=1e-2, atol=1e-3 * largest)
    assert float((gpu.gamma.cpu() * 2 - cpu.gamma).abs().max()) > 0.5 * largest  # null control


def test_batch_agrees(problem):
    rng = np.random.default_rng(0)
    X = np.stack([problem.X[:, rng.integers(0, 40, 40)] for _ in range(70)])
    cpu, gpu = both(problem, X, noise_variance=0.01, tol=1e-5)
    assert gpu.gamma.shape == (70, 30)
    np.testing.assert_allclose(gpu.energy.cpu(), cpu.energy, atol=1e-4)
