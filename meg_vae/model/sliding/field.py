"""The columns of the decoder as a function of place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn.functional import pad

Places = NDArray[np.float64]

STEP = 1e-4  # of the unit: of the differences that tell how errors change
MOVED = 0.05  # relative error of what a motion does to the field of each source
FAINT = 0.005  # of a place's strongest dipole: a fainter field is no more than an error of its own


@dataclass(frozen=True)
class Expansion:
    """The field to first order about some places, and about a motion of all of it.

    Shapes: values (m, d, o), gradient (m, d, o, q), errors (m, e, d, o) and their gradient drift
    (m, e, d, o, q), derivatives in the motion turns (m, g, d, o), for m places in q dimensions with
    o columns each, e patterns of error and g parameters of motion. The columns of axes (m, q, q)
    are the directions in which a place can go, zero where there are fewer.
    """

    values: Tensor
    gradient: Tensor
    errors: Tensor
    drift: Tensor
    turns: Tensor
    axes: Tensor


@runtime_checkable
class Extended(Protocol):
    """Sources that are larger than a point: what `meg_vae.meg.discs.Discs` does for a cortex.

    Places (m, q + 1) end with how large a source is. A source is a single column.
    """

    n_patterns: int
    smallest: float
    largest: float
    vague: float  # part of an extent to which it is known at best
    blunt: float  # how well a place and an extent are known at best
    margin: float  # nats by which a patch must be better than a point

    def __call__(self, places: Places, delta: Places | None = None) -> tuple[Places, ...]:
        """Values, gradient, patterns of error, drift of these, mean, axes and, given δ, turns.

        ``mean`` (m, o) tells what an error of the field at a place does to a source there.
        """

    def within(self, places: Places) -> Places:
        """Move places to where sources can be."""

    def near(self, rr: Places, reach: float) -> Places:
        """List places of sources of all sizes about a place (q,)."""

    def columns(self, places: Places, delta: Places) -> tuple[Places, Places]:
        """Values and patterns alone at places that `near` gave."""

    def everywhere(self, grid: Places, columns: Places) -> tuple[Places, Places]:
        """Places (m, q + 1) of sources of all sizes all over, and their columns (d, m).

        Roughly, from the columns (d, n, o) of points at a grid (n, q).
        """


@dataclass(frozen=True)
class Field:
    """A field L(r), what is known of its error, and how far it reaches.

    ``at`` gives values and gradient, shapes (m, d, o) and (m, d, o, q), at places of shape (m, q).
    ``errors``, where the field is only known approximately, gives patterns E_e, shape
    (m, e, d, o), with which it is L + Σ_e c_e E_e, c_e ~ N(0, 1). ``confine`` moves places back to
    where the field is known. ``unit`` is a length within which the field is nearly linear.
    ``basis``, shape (d, p), describes all of it in fewer directions. Where all of it may have moved
    with parameters δ ~ N(0, I), ``at`` takes them too, if any, and then gives the derivatives in
    them, (m, g, d, o), behind the gradient; it is evaluated at ``motion`` (g,), and ``swing`` (g,)
    tells how far one of each takes it. Each source has an error of its own in what a motion does,
    also where the motion itself is known; ``swing`` is then empty.

    With ``extended`` places have one entry more: how large a source is, zero for a point; ``sizes``
    are then the patterns of error and the columns that a point has. All of it may be off by a share
    ``wrong``, in patterns that are not known.
    """

    at: Callable[..., Sequence[ArrayLike]]
    unit: float
    errors: Callable[[Places], ArrayLike] | None = None
    confine: Callable[[Places], Places] | None = None
    basis: Tensor | None = None
    swing: Tensor = torch.zeros(0, dtype=torch.float64)
    motion: Tensor = torch.zeros(0, dtype=torch.float64)
    extended: Extended | None = None
    sizes: tuple[int, int] = (0, 0)
    wrong: float = 0.0

    def through(self, basis: Tensor) -> Field:
        """Describe the field in the directions of the columns of ``basis``, shape (d, p)."""
        return replace(self, basis=basis if self.basis is None else self.basis @ basis)

    def with_extended(self, extended: Extended | None, place: Places) -> Field:
        """Let sources be larger than a point; ``place`` (1, q) is any, without an extent."""
        if extended is None:
            return self
        e = 0 if self.errors is None else np.shape(self.errors(place))[1]
        given = [self.motion.numpy()] if len(self.motion) else []
        o = np.shape(self.at(place, *given)[0])[2]
        return replace(self, extended=extended, sizes=(e, o))

    def exact(self) -> Field:
        """Take the field at its word."""
        return replace(self, errors=None, sizes=(0, self.sizes[1]))

    @property
    def free(self) -> Tensor:
        """Motion as far as it is a parameter, (g,) or (0,)."""
        return self.motion[: len(self.swing)]

    def moved(self, motion: Tensor) -> Field:
        """Evaluate it where it has moved, by parameters (g,), if these are free."""
        return replace(self, motion=motion) if len(self.swing) else self

    def known(self) -> Field:
        """Take its motion for known, though not what it does to each source."""
        return replace(self, swing=self.swing[:0])

    def held(self) -> Field:
        """Take its motion for known, and what it does to each source."""
        if not len(self.motion):
            return self
        own, motion, none = self.at, self.motion.numpy(), torch.zeros(0, dtype=torch.float64)
        at = (lambda r: own(r, motion)[:2]) if motion.any() else own
        return replace(self, at=at, swing=none, motion=none)

    def expand(self, places: Tensor) -> Expansion:
        """Evaluate the field to first order at places of shape (m, q)."""
        large = places[:, -1] > 0
        if self.extended is None:
            found = self._points(places)
        elif not large.any():
            found = self._beside_extended(self._points(places[:, :-1]))
        elif large.all():
            found = self._patches(places)
        else:
            points = self._beside_extended(self._points(places[~large, :-1]))
            found = _merged(large, points, self._patches(places[large]))
        return self._seen(found)

    def _points(self, places: Tensor) -> Expansion:
        """Evaluate it in all directions at places without an extent."""
        r, g = places.numpy(), len(self.motion)
        found = self.at(r, self.motion.numpy()) if g else self.at(r)
        values, gradient, *rest = (_tensor(x) for x in found)
        m, q = places.shape
        turns = rest[0] if g else values.new_zeros(m, 0, *values.shape[1:])
        _check("the derivative of field(r) in its motion", turns, (m, g, *values.shape[1:]))
        _check("field(r)", values, (m, None, None))
        _check("the gradient of field(r)", gradient, (*values.shape, q))
        if not (torch.isfinite(values).all() and torch.isfinite(gradient).all()):
            raise ValueError(
                f"the field is NaN or infinite at one of the places {r.round(4).tolist()[:3]}..."
            )
        errors, drift = self._errors(r, values)
        axes = torch.eye(q, dtype=values.dtype).expand(m, -1, -1)
        return self._with_motion(Expansion(values, gradient, errors, drift, turns, axes))

    @property
    def n_patterns(self) -> int:
        """Patterns of error of each source, where some are extended."""
        assert self.extended is not None
        return self.sizes[0] + self.extended.n_patterns + len(self.motion)

    def _beside_extended(self, points: Expansion) -> Expansion:
        """Give points an extent of zero, which they cannot leave, and as many patterns of error."""
        grown = {
            "gradient": pad(points.gradient, (0, 1)),
            "drift": pad(points.drift, (0, 1)),
            "axes": pad(points.axes, (0, 1, 0, 1)),
        }
        return _with_patterns(replace(points, **grown), self.n_patterns)

    def _patches(self, places: Tensor) -> Expansion:
        """Evaluate it in all directions for sources that have an extent: one column of o."""
        assert self.extended is not None
        r, g = places.numpy(), len(self.motion)
        found = self.extended(r, self.motion.numpy()) if g else self.extended(r)
        column, gradient, patterns, drift, mean, axes, *rest = (_tensor(x) for x in found)
        o = self.sizes[1]
        turns = rest[0] if g else column.new_zeros(len(r), 0, column.shape[1])
        drift = pad(drift[..., None, :], (0, 0, 0, o - 1))
        column, patterns, turns = (pad(x[..., None], (0, o - 1)) for x in (column, patterns, turns))
        gradient = pad(gradient[:, :, None], (0, 0, 0, o - 1))
        errors, change = self._errors(r[:, :-1], column)  # of a dipole at the centre
        errors = pad(torch.einsum("mado,mo->mad", errors, mean)[..., None], (0, o - 1))
        change = torch.einsum("madoq,mo->madq", change, mean)[..., None, :]
        patterns = torch.cat([patterns, errors], 1)
        drift = torch.cat([drift, pad(change, (0, 1, 0, o - 1))], 1)
        own = self._with_motion(Expansion(column, gradient, patterns, drift, turns, axes))
        return _with_patterns(own, self.n_patterns)

    def _with_motion(self, found: Expansion) -> Expansion:
        """Let each source have an error of its own in what a motion does."""
        drift = found.drift.new_zeros(*found.turns.shape, found.drift.shape[-1])
        return replace(
            found,
            errors=torch.cat([found.errors, MOVED * found.turns], 1),
            drift=torch.cat([found.drift, drift], 1),
        )

    def _seen(self, found: Expansion) -> Expansion:
        """Bring it into the directions of the basis, and leave out dipoles that are not seen."""
        values, gradient, errors, drift, turns, axes = vars(found).values()
        if self.basis is not None:
            values = torch.einsum("dp,mdo->mpo", self.basis, values)
            shape = gradient.shape[2:]
            gradient = torch.einsum("dp,mdx->mpx", self.basis, gradient.flatten(2))
            gradient = gradient.unflatten(2, shape)
            errors = torch.einsum("dp,medo->mepo", self.basis, errors)
            drift = torch.einsum("dp,medoq->mepoq", self.basis, drift)
            turns = torch.einsum("dp,mgdo->mgpo", self.basis, turns)
        seen = seen_part(values)
        return Expansion(
            values @ seen,
            torch.einsum("mdaq,mao->mdoq", gradient, seen),
            errors @ seen[:, None],
            torch.einsum("medaq,mao->medoq", drift, seen),
            turns[:, : len(self.free)] @ seen[:, None],
            axes,
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
        if not len(places):
            return places
        if self.extended is None:
            return self._confined(places)
        large = places[:, -1] > 0
        inside = places.clone()
        inside[~large, :-1] = self._confined(places[~large, :-1])
        if large.any():
            inside[large, :-1] = self._confined(places[large, :-1])
            inside[large] = _tensor(self.extended.within(inside[large].numpy()))
        return inside

    def _confined(self, places: Tensor) -> Tensor:
        if self.confine is None or not len(places):
            return places
        inside = _tensor(self.confine(places.numpy()))
        _check("confine(r)", inside, tuple(places.shape))
        return inside


def _with_patterns(found: Expansion, least: int) -> Expansion:
    """Give it ``least`` patterns of error or more; those that are added are none."""
    lacking = max(least - found.errors.shape[1], 0)
    return replace(
        found,
        errors=pad(found.errors, (0, 0, 0, 0, 0, lacking)),
        drift=pad(found.drift, (0, 0, 0, 0, 0, 0, 0, lacking)),
    )


def _merged(large: Tensor, points: Expansion, patches: Expansion) -> Expansion:
    """Put points, and where ``large`` says patches, in the order of the places."""
    merged = {}
    for name, own in vars(points).items():
        merged[name] = own.new_zeros(len(large), *own.shape[1:])
        merged[name][~large], merged[name][large] = own, getattr(patches, name)
    return Expansion(**merged)


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
