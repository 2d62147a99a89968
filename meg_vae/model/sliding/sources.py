"""Sources at places of their own: the parameters of the sliding decoder, and its energy.

x | z ~ N(Σ_k L(r_k) A_k z_k, λI) with Γ_k = A_k A_kᵀ. It is linear in z, so that the best encoder
and the profile J = log|Σ| + tr(CΣ⁻¹), Σ = λI + Σ_k P_k P_kᵀ, P_k = L(r_k) A_k, stay in closed form.
The field is kept to first order about an anchor near each place, and evaluated anew when the place
has moved on. Where the field has an error of its own, L = L(r) + Σ_e c_e E_e(r), the prior of c
adds ‖c‖² / n to J; where places have prior weights w, these add −(2/n) Σ_k w(r_k). Where all of
the field may have moved, its motion δ ~ N(0, I), one for all sources, adds ‖δ‖² / n.

Where the covariance of the noise was estimated, tr(CΣ⁻¹) gives way to the misfit of
`meg_vae.model.misfit`.

Several runs, between which the sensors moved, share places, priors, errors and noise, each with the
field L_r of its own sensors: J = Σ_r (n_r / n) J_r. The channels of all of them stand one above the
other in the field, and `Data.parts` takes them apart again. Pieces of time, in which other sources
are active, are runs of the same sensors, and columns of silent sources are zero there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from functools import cached_property

import torch
from torch import Tensor

from meg_vae.model.misfit import misfit, weights_root
from meg_vae.model.sliding.field import Expansion, Field, rotation
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

    def cost(self, sources: Sources) -> Tensor:
        """Nats by which the evidence of each source must exceed what all must carry, (m,)."""
        if self.choice is None:
            return sources.places.new_zeros(len(sources))
        return self.choice.cost(self.in_pieces(sources.on))

    def in_pieces(self, on: Tensor) -> Tensor:
        """Pieces of the data in which sources are active, from the runs of a recording."""
        return on.expand(-1, self.n_pieces)[:, list(self.members)]

    def parts(self, stacked: Tensor, on: Tensor | None = None) -> list[Tensor]:
        """Rows of each run, of what holds the channels of all recordings one above the other.

        ``on`` (Q, n_pieces) tells in which pieces of time each of the columns (d, Q) is there.
        """
        own = [part for part in stacked.split(self.sizes) for _ in range(self.n_pieces)]
        if on is None or on.all():
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


@dataclass(frozen=True)
class Sources:
    """Parameters of m sources, with the field about their anchors.

    ``places`` and ``anchors`` (m, q); ``values`` (m, d, o), ``gradient`` (m, d, o, q), ``errors``
    (m, e, d, o), ``drift`` (m, e, d, o, q) and ``turns`` (m, g, d, o) of the field, ``axes`` (m, q,
    q) in which places can go; ``shift`` c (m, e); ``factors`` A (m, o, o), the columns orthogonal,
    longest first, zero where the prior has no such direction; ``stand`` (m, g), the motion of the
    field at each anchor; ``on`` (m, n_pieces), of ones and zeros, the pieces of time in which each
    is active. For all sources together ``noise`` λ, a scalar, and ``motion`` δ (g,).
    """

    places: Tensor
    anchors: Tensor
    values: Tensor
    gradient: Tensor
    errors: Tensor
    drift: Tensor
    turns: Tensor
    axes: Tensor
    shift: Tensor
    factors: Tensor
    stand: Tensor
    on: Tensor
    noise: Tensor
    motion: Tensor

    @classmethod
    def at(
        cls,
        field: Field,
        places: Tensor,
        factors: Tensor,
        noise: Tensor,
        on: Tensor | None = None,
    ) -> Sources:
        """Put sources at places, in a field that has moved as it says; ``on`` as above, or all."""
        here = field.expand(places)
        on = places.new_ones(len(places), 1) if on is None else on
        shift = places.new_zeros(here.errors.shape[:2])
        stand = field.free.expand(len(places), -1)
        own = {"shift": shift, "factors": principal_axes(factors), "stand": stand, "on": on}
        return cls(places, places, **vars(here), **own, noise=noise, motion=field.free).seen()

    def put(self, field: Field, on: Tensor | None = None) -> Sources:
        """Put them into another view of the field; errors that both have stay as they are.

        Where time is cut otherwise there, ``on`` tells in which pieces each source is active.
        """
        new = Sources.at(
            field, self.places, self.factors, self.noise, self.on if on is None else on
        )
        shift = new.shift.clone()
        e = min(shift.shape[1], self.shift.shape[1])
        shift[:, :e] = self.shift[:, :e]
        return replace(new, shift=shift)

    def seen(self) -> Sources:
        """Leave what has no field out of the priors: no data could tell how large it is."""
        back = torch.linalg.pinv(self.values, rtol=1e-9)
        return replace(self, factors=principal_axes(back @ (self.values @ self.factors)))

    def __len__(self) -> int:
        """Count the sources."""
        return len(self.places)

    @property
    def live(self) -> Tensor:
        """Columns of the factors that are in use, bool (m, o)."""
        return self.factors.any(1)

    @property
    def columns_on(self) -> Tensor:
        """Pieces of time in which each column of the decoder is there, (m o, n_pieces)."""
        return self.on.repeat_interleave(self.factors.shape[2], 0)

    @property
    def fields(self) -> Tensor:
        """Field of each source at its place, (m, d, o)."""
        moved = torch.einsum("mdoq,mq->mdo", self.gradient, self.places - self.anchors)
        error = torch.einsum("medo,me->mdo", self.error_patterns, self.shift)
        turned = torch.einsum("mgdo,mg->mdo", self.turns, self.motion - self.stand)
        return self.values + moved + error + turned

    @property
    def error_patterns(self) -> Tensor:
        """Patterns of the field's error at each place, (m, e, d, o)."""
        away = self.places - self.anchors
        return self.errors + torch.einsum("medoq,mq->medo", self.drift, away)

    @property
    def slope(self) -> Tensor:
        """Gradient of the field of each source, its error's included, (m, d, o, q)."""
        return self.gradient + torch.einsum("medoq,me->mdoq", self.drift, self.shift)

    @property
    def ways(self) -> Tensor:
        """Derivatives of the field of each source along the axes of its place, (m, d, o, q)."""
        return torch.einsum("mdor,mrq->mdoq", self.slope, self.axes)

    @property
    def patterns(self) -> Tensor:
        """Columns of the decoder L(r)A of all sources, (d, m o)."""
        return (self.fields @ self.factors).movedim(1, 0).flatten(1)

    def only(self, keep: Tensor) -> Sources:
        """Keep some sources, by a mask or by index."""
        return replace(self, **{name: own[keep] for name, own in self._each().items()})

    def join(self, other: Sources) -> Sources:
        """Put the sources of another set behind these."""
        if not len(self):
            return replace(other, noise=self.noise, motion=self.motion)
        n_pieces = max(self.on.shape[1], other.on.shape[1])  # those of a source that always is one
        mine, theirs = (
            one._each() | {"on": one.on.expand(len(one), n_pieces)} for one in (self, other)
        )
        both = {name: torch.cat([own, theirs[name]]) for name, own in mine.items()}
        return replace(self, **both)

    def _each(self) -> dict[str, Tensor]:
        """Collect what each source has of its own."""
        names = (f.name for f in fields(self) if f.name not in ("noise", "motion"))
        return {name: getattr(self, name) for name in names}

    def travelled(self, swing: Tensor) -> Tensor:
        """How far each source and the field about it are from its anchor, (m,)."""
        turned = torch.linalg.vector_norm(swing * (self.motion - self.stand), dim=1)
        return torch.linalg.vector_norm(self.places - self.anchors, dim=1) + turned

    def anchored(self, field: Field, farther: float) -> Sources:
        """Evaluate the field anew where a place, or the field, is farther from its anchor.

        The patterns of its error may be others there, and are combined so as to be most nearly the
        same; weights that are N(0, 1) stay as likely as they were. What has no field there leaves
        the priors: it is nothing here, and would be seen from the next anchor.
        """
        moved = self.travelled(field.swing) > farther
        if not moved.any():
            return self
        new: Expansion = field.moved(self.motion).expand(self.places[moved])
        turn = rotation(new.errors, self.error_patterns[moved])
        shift = (turn.mT @ self.shift[moved][..., None])[..., 0]
        stand = self.motion.expand(len(shift), -1)
        parts = {"anchors": self.places[moved], "shift": shift, "stand": stand, **vars(new)}
        changed = {}
        for name, value in parts.items():
            changed[name] = getattr(self, name).clone()
            changed[name][moved] = value
        return replace(self, **changed).seen()


def principal_axes(factors: Tensor) -> Tensor:
    """Rotate factors so that their columns are orthogonal, longest first; A Aᵀ stays the same."""
    U, size, _ = torch.linalg.svd(factors)
    return U * torch.where(size > 1e-7 * size[:, :1], size, 0.0)[:, None, :]


@dataclass(frozen=True)
class Whitened:
    """The energy of some sources, and its term of each run."""

    energy: Tensor
    runs: tuple[Term, ...]


def whiten(data: Data, sources: Sources) -> Whitened:
    """Evaluate the energy; it is infinite where a Σ is not positive definite."""
    parts = zip(data.runs, data.parts(sources.patterns, sources.columns_on), strict=True)
    runs = tuple(run.term(P, sources.noise) for run, P in parts)
    prior = sources.shift.square().sum() + sources.motion.square().sum()
    J = data.over_runs(one.energy for one in runs) + prior / data.n
    if data.prior is not None:
        J = J - 2 / data.n * data.weight(sources.places).sum()
    return Whitened(torch.where(torch.isfinite(J), J, torch.inf), runs)
