"""Sources at places of their own: the parameters of the sliding decoder, and its energy.

x | z ~ N(Σ_k L(r_k) A_k z_k, λI) with Γ_k = A_k A_kᵀ. It is linear in z, so that the best encoder
and the profile J = log|Σ| + tr(CΣ⁻¹), Σ = λI + Σ_k P_k P_kᵀ, P_k = L(r_k) A_k, stay in closed form.
The field is kept to first order about an anchor near each place, and evaluated anew when the place
has moved on. Where the field has an error of its own, L = L(r) + Σ_e c_e E_e(r), the prior of c
adds ‖c‖² / n to J; where places have prior weights w, these add −(2/n) Σ_k w(r_k). Where all of
the field may have moved, its motion δ ~ N(0, I), one for all sources, adds ‖δ‖² / n.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property

import torch
from torch import Tensor

from meg_vae.model.sliding.data import Data, Term
from meg_vae.model.sliding.field import Expansion, Field, rotation


@dataclass(frozen=True)
class Sources:
    """Parameters of m sources, with the field about their anchors.

    ``places`` and ``anchors`` (m, q); ``values`` (m, d, o), ``gradient`` (m, d, o, q), ``errors``
    (m, e, d, o), ``drift`` (m, e, d, o, q) and ``turns`` (m, g, d, o) of the field, ``axes`` (m, q,
    q) in which places can go; ``shift`` c (m, e); ``factors`` A (m, o, o), the columns orthogonal,
    longest first, zero where the prior has no such direction; ``stand`` (m, g), the motion of the
    field at each anchor; ``on`` (m, n_pieces), how active each is in each piece of the data: the
    root of its variance there relative to its prior, 0 where it is silent. For all sources together
    ``noise`` λ, a scalar, and ``motion`` δ (g,).
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

        Where data are cut otherwise there, ``on`` tells how active each source is in the pieces.
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

    @cached_property
    def live(self) -> Tensor:
        """Columns of the factors that are in use, bool (m, o)."""
        return self.factors.any(1)

    @cached_property
    def columns_on(self) -> Tensor:
        """How active each column of the decoder is in each piece, (m o, n_pieces)."""
        return self.on.repeat_interleave(self.factors.shape[2], 0)

    @cached_property
    def fields(self) -> Tensor:
        """Field of each source at its place, (m, d, o)."""
        moved = torch.einsum("mdoq,mq->mdo", self.gradient, self.places - self.anchors)
        error = torch.einsum("medo,me->mdo", self.error_patterns, self.shift)
        turned = torch.einsum("mgdo,mg->mdo", self.turns, self.motion - self.stand)
        return self.values + moved + error + turned

    @cached_property
    def error_patterns(self) -> Tensor:
        """Patterns of the field's error at each place, (m, e, d, o)."""
        away = self.places - self.anchors
        return self.errors + torch.einsum("medoq,mq->medo", self.drift, away)

    @cached_property
    def slope(self) -> Tensor:
        """Gradient of the field of each source, its error's included, (m, d, o, q)."""
        return self.gradient + torch.einsum("medoq,me->mdoq", self.drift, self.shift)

    @cached_property
    def ways(self) -> Tensor:
        """Derivatives of the field of each source along the axes of its place, (m, d, o, q)."""
        return torch.einsum("mdor,mrq->mdoq", self.slope, self.axes)

    @cached_property
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
