"""Where the minimiser starts, what it holds all positions against, and how it goes lower."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import sparse_problem

from meg_vae import SparseVAE
from meg_vae.model.exact.dictionary import Dictionary
from meg_vae.model.exact.model import Model
from meg_vae.model.exact.point import Candidates, evaluate
from meg_vae.model.exact.pulls import Rows, pulling_rows
from meg_vae.model.noise_variance import Held
from meg_vae.model.priors import ISOTROPIC
from meg_vae.model.solve import data_factor, solve


def tensor(array):
    """Float64 tensor."""
    return torch.as_tensor(array, dtype=torch.float64)


def folded_field(rng, d=40, groups=400):
    """A smooth field on a line in three parts, each position with a direction of its own.

    As on a folded cortex: neighbours may see the same, or not.
    """
    places, sensors = np.linspace(0, 1, groups), np.linspace(0, 1, d)
    x = (sensors[:, None] - places) / 0.08
    bump = np.exp(-0.5 * x**2)
    direction = rng.standard_normal((3, groups))
    direction /= np.linalg.norm(direction, axis=0)
    return np.einsum("kdg,kg->dg", np.stack([bump, x * bump, (x**2 - 1) * bump]), direction)


@pytest.mark.parametrize("share", [0.0, 0.3])
@pytest.mark.parametrize("n_orient", [1, 3])
def test_few_rows_give_the_same_pulls(n_orient, share):
    """The active columns and the data alone say of every position what all channels say."""
    case = sparse_problem(n_orient=n_orient, n_groups=15, n_active=2, n=5)
    dictionary = Dictionary(case.Phi, n_orient)
    F = data_factor(tensor(case.X))[None]
    candidates = Candidates(dictionary.columns(torch.arange(4)), F, ISOTROPIC, Held(0.3))
    candidates = replace(candidates, share=share)
    eye = torch.eye(n_orient, dtype=torch.float64)
    R = torch.tensor([0.5, 0.0, 2.0, 1.0], dtype=torch.float64)[None, :, None, None] * eye
    noise = torch.full((1, 20), 0.3, dtype=torch.float64)
    rows = Model.at(candidates, torch.arange(4), R, noise).active().rows()
    assert rows.T.shape[1] == 3 * n_orient + 5 < 20
    point = evaluate(candidates, R, noise)
    full = Rows(*pulling_rows(point.L, point.B), torch.zeros(1, dtype=torch.float64))
    columns = dictionary.columns(torch.arange(15))
    for few, all_ in zip(rows.blocks(columns), full.blocks(columns), strict=True):
        torch.testing.assert_close(few, all_)
    for few, all_ in zip(rows.pulls(columns), full.pulls(columns), strict=True):
        torch.testing.assert_close(few, all_)
    K = full.T[0] @ dictionary.Phi
    cosines = torch.nn.functional.normalize(K, dim=0)
    torch.testing.assert_close(rows.overlap(dictionary.Phi[None])[0], cosines.T @ cosines)


def test_a_part_of_the_positions_tells_the_leading_directions():
    """Of a smooth field, not of one whose columns have nothing in common; the answer stays."""
    smooth = Dictionary(folded_field(np.random.default_rng(0), groups=4000))
    values, basis = smooth.leading
    assert not torch.equal(values, smooth.eigenvalues)
    torch.testing.assert_close(values[:10], smooth.eigenvalues[:10], rtol=0.4, atol=0)
    torch.testing.assert_close(basis.T @ basis, torch.eye(40).double())
    lost = 1 - (basis[:, :30].T @ smooth.Phi).square().sum() / smooth.Phi.square().sum()
    assert lost < 1e-3
    rng = np.random.default_rng(0)
    Phi = np.zeros((10, 1000))
    Phi[:5] = rng.standard_normal((5, 1000))
    Phi[:, 7] = np.eye(10)[9]  # a direction that this position alone sees, and no part of them does
    dictionary = Dictionary(Phi)
    assert float((dictionary.leading[0] > 1e-9).sum()) == 5
    X = tensor(5 * Phi[:, [7]] @ rng.standard_normal((1, 30)) + rng.standard_normal((10, 30)))
    solution = solve(dictionary, X, noise_variance=1.0)
    assert solution.certificate <= 1e-3
    assert 7 in solution.positions


def test_restarts_find_lower_minima():
    """Certified, never higher, the same each time, and alone as in a batch."""
    falls = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        Phi, places = folded_field(rng), rng.integers(0, 400, 8)
        X = tensor(5 * Phi[:, places] @ rng.standard_normal((8, 6)) + rng.standard_normal((40, 6)))
        dictionary = Dictionary(Phi)
        first = solve(dictionary, X, noise_variance=1.0)
        more = solve(dictionary, torch.stack([X, X]), noise_variance=1.0, restarts=2)
        assert torch.equal(more.gamma[0], more.gamma[1])
        assert (more.energy <= first.energy).all()
        assert (more.history.diff(dim=0) <= 1e-9).all()
        assert (more.certificate <= 1e-3).all()
        falls.append(float(first.energy - more.energy[0]))
        one = SparseVAE(noise_variance=1.0, restarts=2).fit(Phi, X)
        assert one.energy_ == pytest.approx(float(more.energy[0]), abs=1e-9)
    assert max(falls) > 0.1
    assert min(falls) < 1e-3  # where the first was the lowest it stays
