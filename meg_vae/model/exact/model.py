"""Where the minimiser stands: some of the candidates, looked at in their span."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from meg_vae.model.exact.point import Candidates, Point, evaluate
from meg_vae.model.exact.pulls import Rows, pulling_rows
from meg_vae.model.misfit import weights_root

SPAN = 0.75  # of the directions: candidates that span less are looked at in their span


@dataclass(frozen=True)
class Model:
    """Some of the candidates, and a point on them; the prior of the others is zero.

    Attributes
    ----------
    whole : Candidates
        All candidates, in all directions.
    index : Tensor of int, shape (m,)
        Which of them are here.
    basis : Tensor, shape (n_channels, p) | None
        Orthonormal basis of their span where they are looked at in it.
    candidates : Candidates
        These, perhaps in this basis.
    point : Point
        A point on them.
    """

    whole: Candidates
    index: Tensor
    basis: Tensor | None
    candidates: Candidates
    point: Point

    @classmethod
    def at(cls, whole: Candidates, index: Tensor, R: Tensor, noise: Tensor) -> Model:
        """Look at some candidates, in their span where this is worth it.

        Parameters
        ----------
        whole : Candidates
            All candidates, in all directions.
        index : Tensor of int, shape (m,)
            Which to look at.
        R : Tensor, shape (batch, m, n_orient, n_orient)
            Their prior factors.
        noise : Tensor, shape (batch, n_channels)
            Noise variances.

        Returns
        -------
        model : Model
            The model.
        """
        basis, candidates = None, whole.only(index)
        d, m, o = candidates.Phi.shape
        if whole.variance.uniform and 0 < m * o < SPAN * d and (noise == noise[:, :1]).all():
            basis, candidates = candidates.in_span()
        point = evaluate(candidates, R, noise[:, : len(candidates.Phi)])
        return cls(whole, index, basis, candidates, point)

    def active(self) -> Model:
        """Leave out candidates whose prior is zero in the whole batch."""
        keep = self.point.active.any(0)
        if keep.all():
            return self
        return Model.at(self.whole, self.index[keep], self.point.R[:, keep], self.noise)

    @property
    def R(self) -> Tensor:
        """Prior factors of all candidates, (batch, n, n_orient, n_orient)."""
        R, n = self.point.R, self.whole.Phi.shape[1]
        return R.new_zeros(len(R), n, *R.shape[2:]).index_copy(1, self.index, R)

    @property
    def noise(self) -> Tensor:
        """Noise variances of all channels, (batch, n_channels)."""
        noise = self.point.noise
        return noise if self.basis is None else noise[:, :1].repeat(1, len(self.basis))

    def rows(self) -> Rows:
        """Find rows that give K = ΦᵀΣ⁻¹Φ and M = ΦᵀΣ⁻¹CΣ⁻¹Φ of any columns.

        In the span of the candidates: Σ⁻¹ is I / λ outside of it, so that this span and the data
        are all that is asked for. On an accelerator, and where they are no fewer than the channels,
        they are the rows of `pulling_rows`.
        """
        point, F, Q = self.point, self.whole.F, self.basis
        if Q is None or Q.shape[1] + F.shape[2] >= len(Q) or F.is_cuda:
            if Q is not None:
                point = evaluate(self.whole.only(self.index), point.R, self.noise)
            return Rows(*pulling_rows(point.L, point.B), torch.zeros_like(point.J))
        noise = point.noise[:, :1]
        size, V = torch.linalg.eigh(point.P @ point.P.mT)
        size, U = size.clamp_min(0.0), Q @ V
        inside = U.mT @ F
        seen = (F - U @ inside) / noise[..., None] + U @ (inside / (noise + size)[..., None])
        if self.whole.share:
            seen = seen @ weights_root(F.mT @ seen, self.whole.share)
        p = Q.shape[1]
        weights = F.new_zeros(len(F), 2, p + seen.shape[2])
        weights[:, 0, :p] = -size / (noise * (noise + size))
        weights[:, 1, p:] = 1.0
        return Rows(torch.cat([U, seen], 2).mT, weights, 1 / noise[:, 0])
