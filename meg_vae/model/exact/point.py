"""Parameters of the linear VAE on a set of candidate positions, and the energy there.

The prior of the position g is Γ_g = R_g R_gᵀ: √γ_g I where one variance is shared by its dipoles,
any 3 × 3 factor where the orientation is learnt. Σ = diag(λ) + Σ_g Φ_g Γ_g Φ_gᵀ. Every tensor has a
leading batch dimension: one item is one right-hand side on the same dictionary.

What the candidates cannot reach is noise alone. With one noise variance, the data and the columns
can therefore be described in the span of the columns, exactly, and the rest of the data enters by
its power only, or by its inner products where the covariance of the noise was estimated.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from meg_vae.model.misfit import Certainty, misfit, weights_root
from meg_vae.model.noise_variance import NoiseVariance
from meg_vae.model.priors import Prior

LONG = 2  # times as many columns as rows: a long factor
NOTHING = 1e-14  # of the largest eigenvalue: where rounding is, there is no data


@dataclass(frozen=True)
class Candidates:
    """What stays fixed during a descent: the data and the candidate columns.

    Attributes
    ----------
    Phi : Tensor, shape (n_channels, m, n_orient)
        Columns of the candidates.
    F : Tensor, shape (batch, n_channels, k)
        A factor of the data covariance, C = F Fᵀ.
    prior : Prior
        What the covariance of each position may be.
    variance : NoiseVariance
        What of the noise variance is learnt.
    n_rest : float
        Directions left out because no candidate reaches them, less those that λ does not count.
    rest : Tensor, shape (), (batch,) or (batch, k, k)
        Power of the data in those directions, or their inner products where ``share`` is not 0.
    share : float
        Share of the data among all samples that tell of the noise, `meg_vae.model.misfit`; 0 where
        its covariance is known.
    """

    Phi: Tensor
    F: Tensor
    prior: Prior
    variance: NoiseVariance
    n_rest: float = 0
    rest: Tensor = torch.zeros(())
    share: float = 0.0

    @classmethod
    def of(
        cls, Phi: Tensor, F: Tensor, prior: Prior, variance: NoiseVariance, certainty: Certainty
    ) -> Candidates:
        """Take all directions of the data, with noise that is known so far."""
        return cls(Phi, F, prior, variance, n_rest=-certainty.spare, share=certainty.share)

    def only(self, keep: Tensor) -> Candidates:
        """Restrict to some of the candidates.

        Parameters
        ----------
        keep : Tensor, shape (m,)
            A mask or indices.

        Returns
        -------
        candidates : Candidates
            The restricted set.
        """
        return replace(self, Phi=self.Phi[:, keep])

    def in_span(self) -> tuple[Tensor, Candidates]:
        """Describe columns and data in the span of the columns.

        Returns
        -------
        basis : Tensor, shape (n_channels, p)
            Orthonormal basis of the span.
        candidates : Candidates
            The same problem in fewer directions, where one noise variance serves all.
        """
        Q = torch.linalg.qr(self.Phi.flatten(1)).Q
        F = Q.mT @ self.F
        left = self.F - Q @ F
        return Q, replace(
            self,
            Phi=(Q.mT @ self.Phi.flatten(1)).unflatten(1, self.Phi.shape[1:]),
            F=F if self.share else compressed(F),
            n_rest=self.n_rest + len(Q) - Q.shape[1],
            rest=self.rest + (left.mT @ left if self.share else left.square().sum((1, 2))),
        )


def compressed(F: Tensor) -> Tensor:
    """Find a factor of the same covariance with no more columns than needed, at most one a row.

    Parameters
    ----------
    F : Tensor, shape (..., d, k)
        A factor, C = F Fᵀ.

    Returns
    -------
    F : Tensor, shape (..., d, min(d, k) or fewer)
        Another.
    """
    d, k = F.shape[-2:]
    if k <= d:
        return F
    if k > LONG * d:  # through C: half the time, no copy, and rounding far below any noise variance
        values, vectors = torch.linalg.eigh(F @ F.mT)
        rank = max(1, int((values > NOTHING * values[..., -1:]).sum(-1).max()))
        return (vectors * values.clamp_min(0.0).sqrt()[..., None, :])[..., -rank:]
    return torch.linalg.qr(F.mT, mode="r").R.mT


@dataclass(frozen=True)
class Point:
    """Parameters with what was computed at them.

    Attributes
    ----------
    R : Tensor, shape (batch, m, n_orient, n_orient)
        Prior factors.
    noise : Tensor, shape (batch, n_channels)
        Noise variance λ of each channel.
    P : Tensor, shape (batch, n_channels, m * n_orient)
        Columns weighted by the prior, ΦR.
    L : Tensor, shape (batch, n_channels, n_channels)
        Cholesky factor of Σ.
    B : Tensor, shape (batch, n_channels, k)
        L⁻¹FR, the data weighted as derivatives want them; R = I where the noise is known.
    J : Tensor, shape (batch,)
        The energy.
    rest : Tensor, shape (batch,)
        Power of the weighted data in the directions left out.
    """

    R: Tensor
    noise: Tensor
    P: Tensor
    L: Tensor
    B: Tensor
    J: Tensor
    rest: Tensor

    @property
    def active(self) -> Tensor:
        """Groups with a non-zero prior, shape (batch, m)."""
        return self.R.flatten(2).any(2)

    def where(self, mask: Tensor, other: Point) -> Point:
        """Take this point for the batch items of a mask and the other for the rest.

        Parameters
        ----------
        mask : Tensor of bool, shape (batch,)
            Which items to take from here.
        other : Point
            A point on the same candidates.

        Returns
        -------
        point : Point
            The mixture.
        """
        if mask.all():
            return self
        pick = {
            name: torch.where(mask.reshape(-1, *[1] * (mine.ndim - 1)), mine, getattr(other, name))
            for name, mine in vars(self).items()
        }
        return Point(**pick)

    def only(self, keep: Tensor) -> Point:
        """Drop candidates whose prior is zero in the whole batch.

        Parameters
        ----------
        keep : Tensor of bool, shape (m,)
            Which to keep.

        Returns
        -------
        point : Point
            The same point on fewer candidates.
        """
        batch, d, _ = self.P.shape
        P = self.P.reshape(batch, d, *self.R.shape[1:3])[:, :, keep].flatten(2)
        return replace(self, R=self.R[:, keep], P=P)


def weighted_columns(Phi: Tensor, R: Tensor) -> Tensor:
    """Weight the columns of every position by a factor of its prior.

    Parameters
    ----------
    Phi : Tensor, shape (n_channels, m, n_orient)
        Columns.
    R : Tensor, shape (batch, m, n_orient, n_orient)
        Factors.

    Returns
    -------
    P : Tensor, shape (batch, n_channels, m * n_orient)
        Φ_g R_g, side by side.
    """
    return torch.einsum("dma,zmab->zdmb", Phi, R).flatten(2)


def evaluate(candidates: Candidates, R: Tensor, noise: Tensor) -> Point:
    """Compute the energy at given parameters.

    Parameters
    ----------
    candidates : Candidates
        Data and columns.
    R : Tensor, shape (batch, m, n_orient, n_orient)
        Prior factors.
    noise : Tensor, shape (batch, n_channels)
        Noise variances.

    Returns
    -------
    point : Point
        The parameters and what belongs to them; J is infinite where Σ is not positive definite.
    """
    P = weighted_columns(candidates.Phi, R)
    L, failed = torch.linalg.cholesky_ex(P @ P.mT + torch.diag_embed(noise))
    B = torch.linalg.solve_triangular(L, candidates.F, upper=False)
    J = 2 * L.diagonal(dim1=1, dim2=2).log().sum(1)
    if candidates.n_rest:
        J = J + candidates.n_rest * noise[:, 0].log()
    rest = candidates.rest.expand(len(J)) if not candidates.share else candidates.rest
    if candidates.share:
        products = B.mT @ B + rest / noise[:, :1, None]
        root = weights_root(products, candidates.share)
        J, B = J + misfit(products, candidates.share), B @ root
        rest = (root * (rest @ root)).sum((1, 2)) if rest.ndim else rest.expand(len(J))
    else:
        J = J + B.square().sum((1, 2)) + rest / noise[:, 0]
    J = J.masked_fill(failed > 0, torch.inf).nan_to_num(nan=torch.inf, posinf=torch.inf)
    return Point(R, noise, P, L, B, J, rest)
