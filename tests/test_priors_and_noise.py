"""A prior or a noise variance is one class: one of each is made here, and solved to a certificate.

Each is chosen such that another route gives the same answer.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import sparse_problem

from meg_vae.model.exact.dictionary import Dictionary
from meg_vae.model.exact.small import step_factor
from meg_vae.model.fit import join
from meg_vae.model.misfit import growth
from meg_vae.model.noise_variance import NoiseVariance, noise_variance_of
from meg_vae.model.priors import Prior, prior_of
from meg_vae.model.selection import select_sources
from meg_vae.model.solve import solve


class Diagonal(Prior):
    """A variance for each dipole of a position, and no covariance between them."""

    def basis(self, n_orient, like):
        """One axis after the other."""
        return torch.diag_embed(torch.eye(n_orient, dtype=like.dtype, device=like.device))

    def _ratio(self, K, M):
        """q / s of each dipole."""
        k, m = (T.diagonal(dim1=-2, dim2=-1) for T in (K, M))
        return m / k.clamp_min(torch.finfo(k.dtype).tiny)

    def pull(self, dictionary, rows, out):
        """The largest over the dipoles."""
        columns = dictionary.Phi.reshape(dictionary.n_channels, -1, dictionary.n_orient)
        return self._ratio(*rows.blocks(columns)).amax(2).masked_fill(out, 0.0)

    def pull_among(self, rows, Phi):
        """The same of candidates."""
        return self._ratio(*rows.blocks(Phi)).amax(2)

    def entries(self, K, M, R):
        """The dipole that wants most, of those without a variance, at its best one."""
        ratio = self._ratio(K, M).masked_fill(R.any(2), 0.0)
        best, which = ratio.max(2)
        k = K.diagonal(dim1=2, dim2=3).gather(2, which[..., None])[..., 0]
        size = ((best - 1).clamp_min(0.0) / k).sqrt()
        return torch.diag_embed(size[..., None] * torch.nn.functional.one_hot(which, K.shape[-1]))

    def best_fall(self, K, M, share):
        """Of the best dipole alone, which is what it begins with."""
        return growth(self._ratio(K, M).amax(1, keepdim=True), share)


class ByKind(NoiseVariance):
    """One λ for each kind of channel, such as gradiometers and magnetometers."""

    uniform = False

    def __init__(self, kinds):
        self.kinds = torch.as_tensor(kinds)

    def n_free(self, n_channels):
        """One of each kind."""
        return int(self.kinds.max()) + 1

    def of_channels(self, values):
        """Sum over the channels of each kind."""
        out = values.new_zeros(len(values), self.n_free(0), *values.shape[2:])
        return out.index_add(1, self.kinds, values)

    def moved(self, noise, step, floor):
        """Multiply those of each kind by their own factor."""
        return (noise * step_factor(step)[:, self.kinds]).clamp_min(floor)

    def given(self, noise):
        """λ of each channel."""
        return noise


def solved(case, n_orient=1, **options):
    """The minimum of a small problem."""
    X = torch.as_tensor(case.X)
    return solve(Dictionary(case.Phi, n_orient), X, tol=1e-6, **options)


@pytest.mark.parametrize("noise", ["learn", 0.05])
def test_a_new_prior_is_one_class(noise):
    """A variance for each dipole is the prior of as many positions of one dipole."""
    case = sparse_problem(n_orient=3, n_groups=12, n=80)
    own = solved(case, 3, noise_variance=noise, orientation=Diagonal())
    each = solved(case, 1, noise_variance=noise)
    assert own.certificate <= 1e-6
    assert float(own.energy) == pytest.approx(float(each.energy), abs=1e-7)
    variances = own.everywhere(own.factor).square().sum(2).flatten()
    scale = float(each.gamma.max())
    np.testing.assert_allclose(variances / scale, each.gamma / scale, atol=1e-4)
    shared = solved(case, 3, noise_variance=noise)  # null control: another prior is another minimum
    assert float(shared.energy) > float(own.energy) + 0.1
    assert Diagonal().n_free(3) == 3
    kept = select_sources(
        Dictionary(case.Phi, 3),
        own,
        torch.as_tensor(case.X),
        noise_variance=noise,
        orientation=Diagonal(),
        n_effective=80,
        min_log_evidence=13.0,
        tol=1e-6,
    )
    assert set(case.active) <= set(kept.positions.tolist())
    assert (kept.cluster_log_evidence >= 13.0).all()


def test_a_new_noise_variance_is_one_class():
    """One kind is one λ, as many kinds as channels one for each; two kinds are told apart."""
    case = sparse_problem(d=15, n_groups=6, n_active=2, n=300, noise=0.0)
    kinds = np.arange(15) // 5 % 2
    sd = np.where(kinds == 0, 1.0, 0.1)
    case.X += sd[:, None] * np.random.default_rng(1).standard_normal(case.X.shape)
    for same, known in ((np.zeros(15, int), "learn"), (np.arange(15), "per_channel")):
        own, other = (solved(case, noise_variance=n) for n in (ByKind(same), known))
        assert own.certificate <= 1e-6
        assert float(own.energy) == pytest.approx(float(other.energy), abs=1e-6)
        torch.testing.assert_close(
            own.noise_variance, other.noise_variance.expand(15), rtol=1e-4, atol=0
        )
    two = solved(case, noise_variance=ByKind(kinds))
    assert two.certificate <= 1e-6
    np.testing.assert_allclose(two.noise_variance.unique(), [0.01, 1.0], rtol=0.3)


def test_options_become_objects_once():
    assert noise_variance_of("learn").learnt
    assert not noise_variance_of(0.5).learnt
    assert noise_variance_of(0.5).scaled(2.0).least() == 1.0
    assert prior_of("full", 1) is prior_of("shared", 3)  # one dipole has no orientation
    toy = Diagonal()
    assert prior_of(toy, 3) is toy
    with pytest.raises(ValueError, match="orientation='loose' is unknown"):
        prior_of("loose", 3)
    with pytest.raises(ValueError, match="noise_variance='low' is unknown"):
        noise_variance_of("low")


def test_a_batch_is_its_items_and_joins_again():
    """Items hold their own sources alone; joined, all of them and nothing else."""
    rng = np.random.default_rng(0)
    case = sparse_problem(n=60)
    many = np.stack([case.X[:, rng.integers(0, 60, 60)] for _ in range(4)])
    batch = solve(Dictionary(case.Phi), torch.as_tensor(many), noise_variance=0.05)
    for k, X in enumerate(many):
        one = batch[k]
        assert (one.factor.flatten(1).any(1)).all()
        torch.testing.assert_close(one.gamma, batch.gamma[k])
        data = torch.as_tensor(X)
        U = one.everywhere(one.inverse_map @ data)[:, 0]
        torch.testing.assert_close(one.residual(data), data - torch.as_tensor(case.Phi) @ U)
        assert len(one.only(one.factor[:, 0, 0] < 0).positions) == 0
    parts = [solve(Dictionary(case.Phi), torch.as_tensor(many[k : k + 2])) for k in (0, 2)]
    both = join(parts)
    torch.testing.assert_close(both.gamma, torch.cat([part.gamma for part in parts]))
    assert (both.positions.diff() > 0).all()
    assert both.history.shape == (max(len(part.history) for part in parts), 4)
