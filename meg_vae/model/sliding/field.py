"""The columns of the decoder as a function of place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

Places = NDArray[np.float64]

STEP = 1e-4  # of the unit: of the differences that tell how errors change
FAINT = 0.005  # of a place's strongest dipole: a fainter field is no more than an error of its own


@dataclass(frozen=True)
class Expansion:
    """The field to first order about some places.

    Shapes: values (m, d, o), gradient (m, d, o, q), errors (m, e, d, o) and their gradient drift
    (m, e, d, o, q), for m places in q dimensions with o columns each and e patterns of error.
    """

    values: Tensor
    gradient: Tensor
    errors: Tensor
    drift: Tensor


@dataclass(frozen=True)
class Field:
    """A field L(r), what is known of its error, and how far it reaches.

    ``at`` gives values and gradient, shapes (m, d, o) and (m, d, o, q), at places of shape (m, q).
    ``errors``, where the field is only known approximately, gives patterns E_e, shape
    (m, e, d, o), with which it is L + Σ_e c_e E_e, c_e ~ N(0, 1). ``confine`` moves places back to
    where the field is known. ``unit`` is a length within which the field is nearly linear.
    ``basis``, shape (d, p), describes all of it in fewer directions.
    """

    at: Callable[[Places], tuple[ArrayLike, ArrayLike]]
    unit: float
    errors: Callable[[Places], ArrayLike] | None = None
    confine: Callable[[Places], Places] | None = None
    basis: Tensor | None = None

    def through(self, basis: Tensor) -> Field:
        """Describe the field in the directions of the columns of ``basis``, shape (d, p)."""
        return replace(self, basis=basis if self.basis is None else self.basis @ basis)

    def exact(self) -> Field:
        """Take the field at its word."""
        return replace(self, errors=None)

    def expand(self, places: Tensor) -> Expansion:
        """Evaluate the field to first order at places of shape (m, q)."""
        r = places.numpy()
        values, gradient = (_tensor(x) for x in self.at(r))
        m, q = places.shape
        _check("field(r)", values, (m, None, None))
        _check("the gradient of field(r)", gradient, (*values.shape, q))
        o = values.shape[2]
        if not (torch.isfinite(values).all() and torch.isfinite(gradient).all()):
            raise ValueError(
                f"the field is NaN or infinite at one of the places {r.round(4).tolist()[:3]}..."
            )
        errors, drift = self._errors(r, values)
        if self.basis is not None:
            values = torch.einsum("dp,mdo->mpo", self.basis, values)
            gradient = torch.einsum("dp,mdx->mpx", self.basis, gradient.flatten(2))
            gradient = gradient.unflatten(2, (o, q))
            errors = torch.einsum("dp,medo->mepo", self.basis, errors)
            drift = torch.einsum("dp,medoq->mepoq", self.basis, drift)
        seen = seen_part(values)
        return Expansion(
            values @ seen,
            torch.einsum("mdaq,mao->mdoq", gradient, seen),
            errors @ seen[:, None],
            torch.einsum("medaq,mao->medoq", drift, seen),
        )

    def _errors(self, r: Places, values: Tensor) -> tuple[Tensor, Tensor]:
        """Patterns of the error at places, and how they change from there."""
        m, q = r.shape
        if self.errors is None or not m:
            none = values.new_zeros(m, 0, *values.shape[1:])
            return none, none[..., None].expand(*none.shape, q)
        beside = STEP * self.unit * np.eye(q)[:, None]
        moved = _tensor(self.errors(np.concatenate([r, *(r + step for step in beside)])))
        _check("errors(r)", moved, ((1 + q) * m, None, *values.shape[1:]))
        here, *there = moved.split(m)
        aligned = [
            (rotation(other, here) @ other.flatten(2)).reshape(here.shape) for other in there
        ]
        return here, (torch.stack(aligned, -1) - here[..., None]) / (STEP * self.unit)

    def within(self, places: Tensor) -> Tensor:
        """Move places back to where the field is known, shape (m, q)."""
        if self.confine is None or not len(places):
            return places
        inside = _tensor(self.confine(places.numpy()))
        _check("confine(r)", inside, tuple(places.shape))
        return inside


def rotation(patterns: Tensor, others: Tensor) -> Tensor:
    """Orthogonal matrices (m, e, e) that turn patterns (m, e, ...) most nearly into others.

    Weights that are N(0, 1) make the same error of any such combinations.
    """
    U, _, Vt = torch.linalg.svd(others.flatten(2) @ patterns.flatten(2).mT)
    return U @ Vt


def _tensor(array: ArrayLike) -> Tensor:
    """Take an array that may be read-only or run backwards, which torch does not."""
    return torch.as_tensor(np.require(array, np.float64, ["C", "W"]))


def _check(name: str, given: Tensor, shape: tuple[int | None, ...]) -> None:
    """Refuse a wrong shape; None stands for any size."""
    if given.ndim != len(shape) or any(
        n is not None and n != size for n, size in zip(shape, given.shape, strict=True)
    ):
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        raise ValueError(f"{name} must have shape ({wanted}), got {tuple(given.shape)}.")


def seen_part(values: Tensor) -> Tensor:
    """Projections (m, o, o) onto the dipoles that are seen: MEG sees no radial one in a sphere.

    A prior along the others would grow without bound for a field that is an error of its own.
    """
    size, axes = torch.linalg.eigh(values.mT @ values)
    kept = axes * (size >= FAINT**2 * size[:, -1:])[:, None, :]
    return kept @ kept.mT
