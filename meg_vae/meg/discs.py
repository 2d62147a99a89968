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
from meg_vae.meg.densities import Densities, Density
from meg_vae.meg.field import ContinuousField
from meg_vae.meg.grid_discs import GridDiscs
from meg_vae.meg.interpolation import Vertices

SMALLEST, LARGEST = 0.004, 0.030  # m, radius of a disc: what is smaller is a point
MARGIN = 1.0  # nats by which a disc must be better than a point, the simpler answer
VAGUE = 0.05  # part of a radius to which it is known at best: distances along edges are too long
BLUNT = 0.002  # m, how well a centre and a radius are known at best, most of an edge
TURN = 0.2**0.5  # of a normal dipole: standard deviation of tangential ones, as MNE's loose=0.2
CANDIDATES = 18  # centres tried about a place
SCALES = (0.005, 0.008, 0.012, 0.017, 0.023, 0.030)  # m, radii tried at each

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
        self.densities = Densities(cortex)
        self._remember()

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
        densities, fields = self._of_each(places)
        free = self.smallest < self.largest
        axes = np.array([_axes(one.across, free=free) for one in densities])
        found, turns = [], []
        for field, own in zip(self.fields, fields, strict=True):
            if delta is not None:
                slopes = field.turned(own[..., :1], delta)[1]
                turns.append(field.whiten(slopes)[..., 0])
                own = field.carried(own, delta)
            found.append(field.whiten(own))
        stacked = np.concatenate(found, 1).reshape(len(places), -1, 1 + self.n_patterns, 5)
        patterns = stacked[:, :, 1:].swapaxes(1, 2)
        mean = self._mean(places, densities)
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
        near, even, uneven = self.densities.of_many(places)
        self._look_up(near)
        nn, m = self.cortex.nn[near], len(places)
        found = []
        for field, kept in zip(self.fields, self._kept, strict=True):
            normal, full = kept.normal[near], kept.full[near].reshape(len(near), -1)
            bent = (uneven.reshape(-1, len(near)) @ normal).reshape(m, -1, field.n_channels)
            turned = (even @ full).reshape(m, -1, 3).swapaxes(1, 2)
            turned = turned - np.stack([(even * x) @ normal for x in nn.T], 1)
            own = np.concatenate([(even @ normal)[:, None], bent, TURN * turned], 1)
            found.append(field.whiten(field.carried(own.swapaxes(1, 2), delta)))
        stacked = np.concatenate(found, 1)
        return stacked[..., 0], stacked[..., 1:].swapaxes(1, 2)

    def everywhere(self, rr: Array, columns: Array) -> tuple[Array, Array]:
        """Give discs of all sizes all over the cortex, as positions show them.

        Parameters
        ----------
        rr : ndarray, shape (n, 3)
            The positions in head coordinates, m.
        columns : ndarray, shape (d, n, 3)
            Fields of dipoles there.

        Returns
        -------
        places : ndarray, shape (m, 4)
            Centres in head coordinates and radii, m.
        columns : ndarray, shape (d, m)
            Their fields.
        """
        discs = GridDiscs.of(rr, self.cortex, self.smallest, self.largest)
        return discs.places, np.asarray(discs.moments @ columns.reshape(len(columns), -1).T).T

    def _of_each(self, places: Array) -> tuple[list[Density], list[Array]]:
        """Give the densities of discs, and the fields of these and their patterns in each run.

        Of each the value and its four derivatives, (m, n_channels, 5 (1 + n_patterns)).
        """
        densities = [self.densities.of(place) for place in places]
        self._look_up(np.unique(np.concatenate([one.nodes for one in densities])))
        fields = []
        for kept in self._kept:
            own = [self._of_one(one, kept).T for one in densities]
            fields.append(np.array(own))
        return densities, fields

    def _of_one(self, density: Density, kept: Vertices) -> Array:
        """Field of a disc and its patterns from those of the vertices, as rows."""
        near, even = density.nodes, density.even
        normal, full = kept.normal[near], kept.full[near].reshape(len(near), -1)
        rows = np.concatenate([even[None], density.uneven]).reshape(-1, len(near))
        turned = np.moveaxis((even @ full).reshape(5, -1, 3), 2, 0).reshape(15, -1)
        turned -= (self.cortex.nn[near].T[:, None] * even).reshape(15, -1) @ normal
        return np.r_[rows @ normal, TURN * turned]

    def _look_up(self, nodes: Index) -> None:
        """Compute the lead field at vertices where it is not known, also along their normals."""
        for field, kept in zip(self.fields, self._kept, strict=True):
            new = nodes[~kept.known[nodes]]
            if len(new):
                kept.full[new] = field.gain(self.cortex.rr[new])
                along = np.einsum("uda,ua->ud", kept.full[new], self.cortex.nn[new])
                kept.normal[new], kept.known[new] = along, True

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

        densities, fields = self._of_each(places)
        mean = self._mean(places, densities)
        first, last = self.n_patterns, shift.shape[1] - len(delta)
        own, errors, moves = np.split(shift, [first, last], 1)
        out = []
        for field, values, missed in zip(self.fields, fields, unsure, strict=True):
            gain, slopes = field.turned(values[..., ::5], delta)
            total = gain[..., 0] + np.einsum("me,mde->md", own, gain[..., 1:])
            total += np.einsum("me,meda,ma->md", errors[:, : missed.shape[1]], missed, mean)
            out.append(total + MOVED * np.einsum("mg,gmd->md", moves, slopes[..., 0]))
        return out

    def turns(self, places: Array, extents: Array) -> Array:
        """Turn activity as the model has it, a disc's in its first component, to the head's axes.

        Parameters
        ----------
        places : ndarray, shape (m, 3)
            Places of points and discs in head coordinates, m.
        extents : ndarray, shape (m,)
            Radii, m; zero for points.

        Returns
        -------
        turns : ndarray, shape (m, 3, 3)
            To the left of the activity. That of a disc points along its mean normal.
        """
        turns = np.tile(np.eye(3), (len(places), 1, 1))
        for k in np.flatnonzero(extents):
            direction = self.densities.of(np.r_[places[k], extents[k]]).direction
            turns[k] = direction[:, None] * np.eye(3)[0]
        return turns

    def _mean(self, places: Array, densities: list[Density]) -> Array:
        """Tell what the errors of a dipole at the centre do to a disc, (m, 3)."""
        rooms = 1 + np.pi * np.square(places[:, 3] / self.fields[0].spacing)
        return np.array([one.normal for one in densities]) / np.sqrt(rooms)[:, None]

    def __getstate__(self) -> dict[str, Any]:
        """Leave the fields at the vertices behind: they are computed anew where they are needed."""
        return {name: value for name, value in vars(self).items() if name != "_kept"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Come back without the fields at the vertices."""
        vars(self).update(state)
        self._remember()

    def _remember(self) -> None:
        self._kept = [one.vertices(len(self.cortex.rr)) for one in self.fields]

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
        far = 2 * np.linalg.norm(gap, axis=1, keepdims=True) / self.cortex.spacing
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


def _axes(normal: Array, *, free: bool) -> Array:
    """Directions (4, 4) in which a disc can go: two across a normal, and its radius if free."""
    axes = np.zeros((4, 4))
    axes[:3, :2] = np.linalg.svd(normal[None])[2][1:].T
    axes[3, 3] = float(free)
    return axes
