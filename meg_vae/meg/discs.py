r"""The field of a disc of cortex, as a function of its centre and its radius.

A disc of radius s about r is the mean of dipoles along the normals, weighed by area,

.. math::
    L_s(r) = \sum_u w_u L(u) n_u, \qquad w_u \propto a_u k(d(u, r), s),

over the vertices u of the surface, with a smooth edge k and distances d along the surface: banks of
a sulcus that face each other cancel, as they do in the head. It is one column, per A·m of the
moments of all of its dipoles together.

No activity is so even, and no normal so well known. Patterns, with weights N(0, 1), let the density
lean and all dipoles turn from their normals.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meg_vae.meg.cortex import Cortex
from meg_vae.meg.field import ContinuousField

SMALLEST, LARGEST = 0.004, 0.030  # m, radius of a disc: what is smaller is a point
MARGIN = 1.0  # nats by which a disc must be better than a point, the simpler answer
BLEND = 2.0  # edges of the surface: how far the vertices are that a centre is the mean of
VAGUE = 0.05  # part of a radius to which it is known at best: distances along edges are too long
BLUNT = 0.002  # m, how well a centre and a radius are known at best, most of an edge
TURN = 0.2**0.5  # of a normal dipole: standard deviation of tangential ones, as MNE's loose=0.2
LEAN = 0.5  # change of the density from centre to edge, standard deviation
FAR = 6.0  # edges beyond the radius: what is farther has no part in a disc
CANDIDATES = 30  # centres tried about a place
SCALES = (0.005, 0.008, 0.012, 0.017, 0.023, 0.030)  # m, radii tried at each

# Quadratic forms xᵀQx whose random sums know no direction.
_I, _J = np.triu_indices(3)
FORMS = np.array(
    [
        (np.outer(a, b) + np.outer(b, a)) / 2
        for a, b in zip(np.eye(3)[_I], np.eye(3)[_J], strict=True)
    ]
)
FORMS[_I != _J] *= 2**0.5

Array = NDArray[np.float64]
Index = NDArray[np.int64]


class Discs:
    """The whitened fields of discs of cortex, in all runs together.

    Parameters
    ----------
    cortex : Cortex
        The surfaces.
    fields : list of ContinuousField
        The lead field of each run.
    radius : float | None
        That of all discs, m, where it is known; every source is then a disc.

    Attributes
    ----------
    smallest, largest : float
        Radii of the smallest and the largest disc, m.
    vague, blunt, margin : float
        As of ``meg_vae.model.sliding.field.Extended``.
    """

    n_patterns = 12
    vague, blunt = VAGUE, BLUNT

    def __init__(
        self, cortex: Cortex, fields: Sequence[ContinuousField], radius: float | None = None
    ) -> None:
        self.smallest, self.largest = (SMALLEST, LARGEST) if radius is None else (radius, radius)
        self.margin = MARGIN if radius is None else -np.inf
        self._scales = np.array(SCALES if radius is None else [radius])
        self.cortex = cortex
        self.fields = list(fields)
        self._edge = cortex.spacing
        self._forget()

    def __call__(self, places: Array, delta: Array | None = None) -> tuple[Array, ...]:
        """Whitened values, gradient, patterns and directions of discs.

        Parameters
        ----------
        places : ndarray, shape (m, 4)
            Centres in head coordinates and radii, m.
        delta : ndarray, shape (n_motion,) | None
            Motion of the sensors, by standard deviations.

        Returns
        -------
        values : ndarray, shape (m, rank)
            Per A·m of all dipoles together.
        gradient : ndarray, shape (m, rank, 4)
            Derivatives in centre and radius, per A·m².
        patterns : ndarray, shape (m, n_patterns, rank)
            By which the values may be wrong, with weights N(0, 1).
        drift : ndarray, shape (m, n_patterns, rank, 4)
            Their derivatives.
        mean : ndarray, shape (m, 3)
            What the errors of a dipole at the centre do to a disc: the mean normal, and less the
            more positions have room on it, whose errors average out.
        axes : ndarray, shape (m, 4, 4)
            Directions in which a disc can go: along the surface, and in radius; the others zero.
        turns : ndarray, shape (m, n_motion, rank)
            Where ``delta`` is given, the derivatives in it.
        """
        parts = [self._of_one(place) for place in places]
        axes = np.array([part[-1] for part in parts])
        found, turns = [], []
        for k, field in enumerate(self.fields):
            own = np.array([part[k].T for part in parts])  # (m, n_channels, 5 (1 + n_patterns))
            if delta is not None:
                slopes = field.turned(own[..., :1], delta)[1]
                turns.append(field.whiten(slopes)[..., 0])
                own = field.carried(own, delta)
            found.append(field.whiten(own))
        stacked = np.concatenate(found, 1).reshape(len(places), -1, 1 + self.n_patterns, 5)
        patterns = stacked[:, :, 1:].swapaxes(1, 2)
        mean = self._mean(places, parts)
        value = stacked[:, :, 0]
        out = (value[..., 0], value[..., 1:], patterns[..., 0], patterns[..., 1:], mean, axes)
        return out if delta is None else (*out, np.moveaxis(np.concatenate(turns, 2), 0, 1))

    def columns(self, places: Array, delta: Array) -> tuple[Array, Array]:
        """Whitened values and patterns of many discs that share their centres.

        Parameters
        ----------
        places : ndarray, shape (m, 4)
            Centres in head coordinates and radii, m.
        delta : ndarray, shape (n_motion,)
            Motion of the sensors, by standard deviations; of none it may have no entry.

        Returns
        -------
        values, patterns : ndarray, shape (m, rank) and (m, n_patterns, rank)
            As of a call.
        """
        centres, number = np.unique(places[:, :3], axis=0, return_inverse=True)
        distance = self._distances(centres)
        near = np.flatnonzero((distance < places[:, 3].max() + self._edge).any(0))
        self._look_up(near)
        distance = distance[number.ravel()][:, near]
        weights = self._kernel(distance, places[:, 3:])[0] * self.cortex.area[near]
        weights /= weights.sum(1, keepdims=True)
        rr, nn = self.cortex.rr[near], self.cortex.nn[near]
        x = (rr - places[:, None, :3]) / places[:, 3, None, None]  # (m, n_near, 3)
        F = np.concatenate(
            [np.moveaxis(x, 2, 0), np.einsum("mna,fab,mnb->fmn", x, FORMS, x, optimize=True)]
        )
        uneven = LEAN * weights * (F - (weights * F).sum(2, keepdims=True))
        uneven = uneven.swapaxes(0, 1).reshape(-1, len(near))
        found = []
        for field, (normal, full) in zip(self.fields, self._kept, strict=True):
            normal, full = normal[near], full[near].reshape(len(near), -1)
            value = weights @ normal
            turned = (weights @ full).reshape(len(weights), -1, 3).swapaxes(1, 2)
            turned = turned - np.stack([(weights * x) @ normal for x in nn.T], 1)
            bent = (uneven @ normal).reshape(len(weights), 9, -1)
            own = np.concatenate([value[:, None], bent, TURN * turned], 1)
            found.append(field.whiten(field.carried(own.swapaxes(1, 2), delta)))
        stacked = np.concatenate(found, 1)
        return stacked[..., 0], stacked[..., 1:].swapaxes(1, 2)

    def _of_one(self, place: Array) -> tuple[Array, ...]:
        """Value and patterns of one disc in each run, its mean normal, and its axes.

        Of each the value and its four derivatives are rows, (5 (1 + n_patterns), n_channels).

        Its distances are the mean of those of the vertices about its centre, with weights that
        change smoothly with the centre, so that the field does.
        """
        centre, radius = place[:3], place[3]
        some, share, slope = self._about(centre)
        distance = self.cortex.distances(some, radius + FAR * self._edge)
        near = np.flatnonzero(np.isfinite(distance).all(0))
        near = near[share @ distance[:, near] < radius + self._edge]
        self._look_up(near)
        distance = distance[:, near]
        kernel, bend = self._kernel(share @ distance, radius)
        area = self.cortex.area[near]
        total = area @ kernel
        value = area * kernel / total
        grown = np.r_[-bend * (slope.T @ distance), bend[None]] * area  # the edge moves outwards
        change = (grown - value * grown.sum(1, keepdims=True)) / total
        rr, nn = self.cortex.rr[near], self.cortex.nn[near]
        both = np.r_[value[None], change]  # (5, n_near), and as many rows of each pattern
        uneven = LEAN * _uneven((rr - centre) / radius, both, radius)
        rows = np.concatenate([both[None], uneven]).reshape(-1, len(near))
        out = []
        for normal, full in self._kept:
            normal, full = normal[near], full[near].reshape(len(near), -1)
            turned = np.moveaxis((both @ full).reshape(5, -1, 3), 2, 0).reshape(15, -1)
            turned -= (nn.T[:, None] * both).reshape(15, -1) @ normal
            out.append(np.r_[rows @ normal, TURN * turned])
        axes = _axes(share @ self.cortex.nn[some], free=self.smallest < self.largest)
        return (*out, value @ nn, axes)

    def _distances(self, centres: Array) -> Array:
        """Distances from centres (k, 3) to all vertices, as those of a disc; infinite from afar."""
        about = [self._about(centre)[:2] for centre in centres]
        nodes = np.unique(np.concatenate([some for some, _ in about]))
        share = np.zeros((len(about), len(nodes)))
        for row, (some, own) in zip(share, about, strict=True):
            row[np.searchsorted(nodes, some)] = own
        own = self.cortex.distances(nodes, self.largest + FAR * self._edge)
        near = np.isfinite(own)
        distance = share @ np.where(near, own, 0.0)
        return np.where((share > 0).astype(float) @ ~near > 0, np.inf, distance)

    def _about(self, centre: Array) -> tuple[Index, Array, Array]:
        """Vertices about a centre, on its side of a fold, their weights and these' gradient."""
        nearest = int(self.cortex.tree.query(centre)[1])
        reach = BLEND * self._edge
        found = np.array(self.cortex.tree.query_ball_point(centre, reach), np.int64)
        side = self.cortex.distances(np.array([nearest]), 2 * reach)[0, found]
        some = np.union1d(found[np.isfinite(side)], nearest)
        away = centre - self.cortex.rr[some]
        left = (1 - np.square(away).sum(1) / reach**2).clip(1e-6)
        share = left**2 / np.square(left).sum()
        slope = -4 * left[:, None] * away / reach**2 / np.square(left).sum()
        return some, share, slope - share[:, None] * slope.sum(0)

    def _kernel(self, distance: Array, radius: Array | float) -> tuple[Array, Array]:
        """Density at distances from a centre, 1 inside, and its derivative in the radius."""
        inside = ((radius - distance + self._edge) / (2 * self._edge)).clip(0.0, 1.0)
        return inside**2 * (3 - 2 * inside), 3 * inside * (1 - inside) / self._edge

    def _look_up(self, nodes: Index) -> None:
        """Compute the lead field at vertices where it is not known, also along their normals."""
        new = nodes[~self._known[nodes]]
        if len(new):
            for field, (normal, full) in zip(self.fields, self._kept, strict=True):
                full[new] = field.gain(self.cortex.rr[new])
                normal[new] = np.einsum("uda,ua->ud", full[new], self.cortex.nn[new])
            self._known[new] = True

    def density(self, place: Array) -> tuple[Index, Array, Array]:
        """Give the vertices of a disc, the part of its moment that each has, and its mean normal.

        Parameters
        ----------
        place : ndarray, shape (4,)
            Centre in head coordinates and radius, m.

        Returns
        -------
        nodes : ndarray of int, shape (n,)
            Vertices of the surface.
        weights : ndarray, shape (n,)
            They add up to one.
        normal : ndarray, shape (3,)
            The direction that stands for the disc, a unit vector.
        """
        near, kernel = self._inside(place)
        weights = self.cortex.area[near] * kernel
        weights /= weights.sum()
        normal = weights @ self.cortex.nn[near]
        return near, weights, normal / np.linalg.norm(normal)

    def areas(self, places: Array) -> Array:
        """Give the areas of discs.

        Parameters
        ----------
        places : ndarray, shape (m, 4)
            Centres in head coordinates and radii, m.

        Returns
        -------
        areas : ndarray, shape (m,)
            Along the surface, m².
        """
        inside = [self._inside(place) for place in places]
        return np.array([self.cortex.area[near] @ kernel for near, kernel in inside])

    def _inside(self, place: Array) -> tuple[Index, Array]:
        """Find the vertices (n,) that a disc holds, and the density there, 1 inside."""
        distance = self._distances(place[None, :3])[0]
        kernel = self._kernel(distance, place[3])[0]
        near = np.flatnonzero(kernel)
        return near, kernel[near]

    def gains(self, places: Array, shift: Array, delta: Array, unsure: list[Array]) -> list[Array]:
        """Unwhitened values of discs in each run, with given weights of their patterns.

        Parameters
        ----------
        places : ndarray, shape (m, 4)
            Centres in head coordinates and radii, m.
        shift : ndarray, shape (m, n_patterns + n_errors + n_motion)
            The weights of their patterns, then of the errors of the lead field at their centres,
            then of what the motion does to each.
        delta : ndarray, shape (n_motion,)
            Motion of the sensors, by standard deviations; of none it has no entry.
        unsure : list of ndarray, shape (m, n_errors, n_channels, 3)
            Those errors, in each run.

        Returns
        -------
        gains : list of ndarray, shape (m, n_channels)
            In the units of MNE per A·m.
        """
        from meg_vae.model.sliding.field import MOVED

        parts = [self._of_one(place) for place in places]
        mean = self._mean(places, parts)
        first, last = self.n_patterns, shift.shape[1] - len(delta)
        own, errors, moves = np.split(shift, [first, last], 1)
        out = []
        for k, field in enumerate(self.fields):
            rows = np.array([part[k] for part in parts])[:, ::5]  # (m, 1 + n_patterns, n_channels)
            gain, slopes = field.turned(rows.swapaxes(1, 2), delta)
            total = gain[..., 0] + np.einsum("me,mde->md", own, gain[..., 1:])
            total += np.einsum("me,meda,ma->md", errors[:, : unsure[k].shape[1]], unsure[k], mean)
            out.append(total + MOVED * np.einsum("mg,gmd->md", moves, slopes[..., 0]))
        return out

    def _mean(self, places: Array, parts: list[tuple[Array, ...]]) -> Array:
        """Tell what the errors of a dipole at the centre do to a disc, (m, 3)."""
        rooms = 1 + np.pi * np.square(places[:, 3] / self.fields[0].spacing)
        return np.reshape([part[-2] for part in parts], (-1, 3)) / np.sqrt(rooms)[:, None]

    def __getstate__(self) -> dict[str, Any]:
        """Leave the fields at the vertices behind: they are computed anew where they are needed."""
        return {
            name: value for name, value in vars(self).items() if name not in ("_kept", "_known")
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Come back without the fields at the vertices."""
        vars(self).update(state)
        self._forget()

    def _forget(self) -> None:
        n = len(self.cortex.rr)
        self._known = np.zeros(n, bool)
        self._kept = [  # along the normals, and in full
            (np.zeros((n, one.n_channels)), np.zeros((n, one.n_channels, 3))) for one in self.fields
        ]

    def within(self, places: Array) -> Array:
        """Keep centres near the surface, and radii within the limits.

        Half an edge from the surface is near: put onto it, they would stick to its ridges.

        Parameters
        ----------
        places : ndarray, shape (m, 4)
            Centres in head coordinates and radii, m.

        Returns
        -------
        places : ndarray, shape (m, 4)
            The nearest that can be.
        """
        foot = self.cortex.foot(places[:, :3])
        gap = places[:, :3] - foot
        far = 2 * np.linalg.norm(gap, axis=1, keepdims=True) / self._edge
        return np.c_[
            foot + gap / np.maximum(far, 1.0), places[:, 3].clip(self.smallest, self.largest)
        ]

    def near(self, rr: Array, reach: float) -> Array:
        """List discs about a place, of all sizes.

        Parameters
        ----------
        rr : ndarray, shape (3,)
            The place, m.
        reach : float
            How far their centres may be, m.

        Returns
        -------
        places : ndarray, shape (m, 4)
            Centres and radii.
        """
        some = np.array(self.cortex.tree.query_ball_point(rr, reach), np.int64)
        if not len(some):
            some = np.atleast_1d(self.cortex.tree.query(rr)[1])
        some = some[np.linspace(0, len(some) - 1, min(CANDIDATES, len(some))).astype(int)]
        centres = np.repeat(self.cortex.rr[some], len(self._scales), axis=0)
        return np.c_[centres, np.tile(self._scales, len(some))]


def _uneven(x: Array, both: Array, radius: float) -> Array:
    """Move the weights so that a density leans or bends, with the derivatives of that.

    From vertices x (n, 3) about the centre, by the radius, and the weights with their derivatives
    (5, n): F − F̄ times the weights, for the linear and the quadratic functions F of x, (9, 5, n).
    """
    bent = FORMS @ x.T  # (6, 3, n)
    F = np.r_[x.T, np.einsum("fan,na->fn", bent, x)]
    change = np.zeros((9, 5, len(x)))  # of F: none by itself, then in centre and radius
    change[:3, 1:4] = -np.eye(3)[:, :, None] / radius
    change[3:, 1:4] = -2 * bent / radius
    change[:, 4] = np.einsum("fan,na->fn", change[:, 1:4], x)
    mean = F @ both[0]
    drift = F @ both.T + change @ both[0]  # of the mean, (9, 5)
    moved = both * (F - mean[:, None])[:, None] + both[0] * change
    moved[:, 1:] -= both[0] * drift[:, 1:, None]
    return np.asarray(moved)


def _axes(normal: Array, *, free: bool) -> Array:
    """Directions (4, 4) in which a disc can go: two across a normal, and its radius if free."""
    axes = np.zeros((4, 4))
    axes[:3, :2] = np.linalg.svd(normal[None])[2][1:].T
    axes[3, 3] = float(free)
    return axes
