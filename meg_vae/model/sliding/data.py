"""The data of a sliding fit: its recordings, the runs that they are cut into, and their energy.

Where the covariance of the noise was estimated, tr(CΣ⁻¹) gives way to the misfit of
`meg_vae.model.misfit`.

Several recordings, between which the sensors moved, share places, priors, errors and noise, each
with the field L_r of its own sensors: J = Σ_r (n_r / n) J_r. The channels of all of them stand one
above the other in the field, and `Data.parts` takes them apart again. Pieces of time, in which
other sources are active, are runs of the same sensors, and columns of silent sources are zero
there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from meg_vae.model.misfit import misfit, weights_root
from meg_vae.model.sliding.pieces import Choice
from meg_vae.model.sliding.prior import PlacePrior


@dataclass(frozen=True)
class Term:
    """The energy J_r of one run, with Cholesky factor ``L`` of its Σ and ``B`` = L⁻¹F.

    ``products`` G = FᵀΣ⁻¹F (k, k) are of all directions, and ``share`` is that of the run.
    """

    energy: Tensor
    L: Tensor
    B: Tensor
    products: Tensor
    share: float

    @cached_property
    def root(self) -> Tensor:
        """Factor R (k, k) of the weights of the data: derivatives are those for FR."""
        return weights_root(self.products, self.share)

    def weighted(self, rows: Tensor) -> Tensor:
        """Weigh rows of the data, (..., k); a known covariance leaves them as they are."""
        return rows @ self.root if self.share else rows


@dataclass(frozen=True)
class Run:
    """The data of one run, in the directions that the field of its sensors reaches.

    ``F``, shape (d, k), is a factor of C = F Fᵀ; ``n`` counts independent samples; ``n_rest``
    further directions hold noise alone, with the inner products ``rest``, shape (k, k) or zero;
    ``share`` is that of `meg_vae.model.misfit`, 0 where the covariance of the noise is known.
    """

    F: Tensor
    n: float
    n_rest: float = 0.0
    rest: Tensor = torch.zeros(())
    share: float = 0.0

    @property
    def size(self) -> float:
        """Channels that λ counts."""
        return len(self.F) + self.n_rest

    def in_directions(self, basis: Tensor) -> Run:
        """Describe the data in the columns of ``basis``; what it leaves out is noise alone."""
        inside = basis.T @ self.F
        left = self.F - basis @ inside
        n_rest = self.n_rest + basis.shape[0] - basis.shape[1]
        return replace(self, F=inside, n_rest=n_rest, rest=self.rest + left.T @ left)

    def term(self, P: Tensor, noise: Tensor) -> Term:
        """J_r = log|Σ| + misfit, Σ = PPᵀ + λI; infinite where Σ is not positive definite."""
        L, failed = torch.linalg.cholesky_ex(P @ P.T + noise * torch.eye(len(P), dtype=P.dtype))
        B = torch.linalg.solve_triangular(L, self.F, upper=False)
        products = B.T @ B + self.rest / noise
        J = 2 * L.diagonal().log().sum() + self.n_rest * noise.log() + misfit(products, self.share)
        return Term(torch.where(failed > 0, torch.inf, J), L, B, products, self.share)


@dataclass(frozen=True)
class Data:
    """The data of a fit: its runs, and what holds for all of them.

    ``learn`` says whether λ is free, above ``floor``; ``prior`` holds the weights of places, if
    any. Each recording is cut into ``n_pieces`` runs; where sources may be active in some pieces of
    the data alone, ``choice`` tells what that costs, and ``members`` which run each piece is in.
    """

    runs: tuple[Run, ...]
    learn: bool = True
    floor: float = 0.0
    prior: PlacePrior | None = None
    n_pieces: int = 1
    choice: Choice | None = None
    members: tuple[int, ...] = ()

    @property
    def n(self) -> float:
        """Independent samples of all runs together."""
        return sum(run.n for run in self.runs)

    @property
    def sizes(self) -> list[int]:
        """Rows of each recording."""
        return [len(run.F) for run in self.runs[:: self.n_pieces]]

    @property
    def weights(self) -> list[float]:
        """Weight n_r / n of each run."""
        return [run.n / self.n for run in self.runs]

    def weight(self, places: Tensor) -> Tensor:
        """Prior weights in nats at places (m, q)."""
        return places.new_zeros(len(places)) if self.prior is None else self.prior.at(places)

    def cost(self, on: Tensor) -> Tensor:
        """Nats beyond what all must carry, of sources that are ``on`` in some of the runs, (m,)."""
        if self.choice is None:
            return on.new_zeros(len(on))
        return self.choice.cost(self.in_pieces(on))

    def in_pieces(self, on: Tensor) -> Tensor:
        """Pieces of the data in which sources are active, from the runs of a recording."""
        return on.expand(-1, self.n_pieces)[:, list(self.members)]

    def parts(self, stacked: Tensor, on: Tensor | None = None) -> list[Tensor]:
        """Rows of each run, of what holds the channels of all recordings one above the other.

        ``on`` (Q, n_pieces) tells by how much each of the columns (d, Q) counts in each piece.
        """
        own = [part for part in stacked.split(self.sizes) for _ in range(self.n_pieces)]
        if on is None or (on == 1).all():
            return own
        return [part * on[:, k % self.n_pieces] for k, part in enumerate(own)]

    def within(self, on: Tensor) -> Tensor:
        """Part of the samples of each recording, of all samples, that each source has, (m, r)."""
        weights = on.new_tensor(self.weights).unflatten(0, (-1, self.n_pieces))
        return on.expand(-1, self.n_pieces) @ weights.T

    def over_runs(self, values: Iterable[Tensor]) -> Tensor:
        """Mean Σ_r (n_r / n) x_r of a value of each run."""
        terms = [w * value for w, value in zip(self.weights, values, strict=True)]
        return torch.stack(terms).sum(0) if len(terms) > 1 else terms[0]
