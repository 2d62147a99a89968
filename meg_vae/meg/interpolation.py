"""The lead field at the positions of a forward model, and between them by interpolation.

The difference to the field of a sphere model, which MNE computes anywhere, is interpolated by
moving least squares over the nearest positions. The weights grow without bound towards a position,
so that the lead field there is the forward model's own. Electric channels, for which the sphere
would need the layers of the head, are interpolated as they are.
"""

from __future__ import annotations

from typing import Any

import mne
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.spatial import cKDTree

from meg_vae.meg.channel_maps import ChannelMaps
from meg_vae.meg.conductor import sphere_conductor
from meg_vae.meg.memory import Memory
from meg_vae.meg.moving_least_squares import NEAREST, weights
from meg_vae.meg.orientation import check_free
from meg_vae.model.spacing import typical_spacing

Array = NDArray[np.float64]

PATTERNS = 10  # nearest positions whose errors stand for that of a place
BETWEEN = 0.5  # error between positions over that at one left out, whose gap is twice as wide
KEPT = 2  # forward models whose fields are remembered


class Vertices:
    """The lead field at vertices of a surface, as far as it was asked for.

    ``known`` (n,) says where; ``full`` (n, n_channels, 3) is along the head's axes, ``normal``
    (n, n_channels) along the normals of the surface.
    """

    def __init__(self, n: int, n_channels: int) -> None:
        self.known = np.zeros(n, bool)
        self.full = np.zeros((n, n_channels, 3))
        self.normal = np.zeros((n, n_channels))


class Samples:
    """The lead field at the positions of a forward model, and between them.

    The difference to the sphere's field is computed where it is asked for, and kept.
    """

    def __init__(self, forward: mne.Forward, info: mne.Info, names: list[str]) -> None:
        self.rr = forward["source_rr"]
        axes = forward["source_nn"].reshape(-1, 3, 3)
        gain = forward["sol"]["data"].reshape(len(names), -1, 3)
        gain = np.ascontiguousarray(np.einsum("dna,nak->ndk", gain, axes))  # along the head's axes
        self.gain = gain
        self.tree = cKDTree(self.rr)
        self.spacing = _spacing(self.rr)
        self._sphere = sphere_conductor(info, names, self.rr)
        self._difference = np.zeros_like(gain)
        self._known = np.zeros(len(gain), bool)
        self._left_out: dict[int, Array] = {}
        self._sensors, self._maps = (info, names), None
        self._vertices: Vertices | None = None

    def maps(self, about: Array) -> ChannelMaps:
        """Give what motions of the sensors do to the channels, learnt when first asked for."""
        if self._maps is None:
            self._maps = ChannelMaps.learnt(*self._sensors, self.rr, about)
        return self._maps

    def vertices(self, n: int) -> Vertices:
        """Give what is known at the n vertices of the surfaces of the forward model."""
        if self._vertices is None or len(self._vertices.known) != n:
            self._vertices = Vertices(n, self.gain.shape[1])
        return self._vertices

    def __getstate__(self) -> dict[str, Any]:
        """Leave the fields at the vertices behind: they are computed anew where they are needed."""
        return vars(self) | {"_vertices": None}

    def interpolate(self, rr: Array) -> Array:
        """Values at places, (m, n_channels, 3)."""
        index, weight = self._weights(rr)
        self._look_up(index[weight != 0])
        starts = np.arange(0, index.size + 1, index.shape[1])
        shares = csr_array((weight.ravel(), index.ravel(), starts), shape=(len(rr), len(self.rr)))
        shares.eliminate_zeros()
        found: Array = self._sphere(rr)
        found += (shares @ self._difference.reshape(len(self.rr), -1)).reshape(found.shape)
        return found

    def errors(self, rr: Array) -> Array:
        """Tell what is missed at the nearest positions without them, scaled to places between."""
        n_patterns = min(PATTERNS, len(self.rr) - 1)
        distance, near = self.tree.query(rr, n_patterns + 1)
        distance, near = (x.reshape(len(rr), -1) for x in (distance, near))
        near = near[:, :-1]
        share = (1 - distance[:, :-1] / distance[:, -1:]) ** 2  # none enters or leaves at once
        share = share / share.sum(1, keepdims=True)
        missing = [k for k in np.unique(near) if k not in self._left_out]
        if missing:
            index, weight = self._weights(self.rr[missing], leave_out=True)
            self._look_up(np.append(index[weight != 0], missing))
            for k, others, w in zip(missing, index, weight, strict=True):
                guess = np.tensordot(w[w != 0], self._difference[others[w != 0]], 1)
                self._left_out[k] = self._difference[k] - guess
        shape = (*near.shape, *self.gain.shape[1:])
        patterns = np.array([self._left_out[k] for k in near.ravel()]).reshape(shape)
        return BETWEEN * np.sqrt(share)[:, :, None, None] * patterns

    def _look_up(self, index: NDArray[np.int64]) -> None:
        """Compute the difference to the sphere's field at positions where it is not known."""
        index = np.unique(index)
        new = index[~self._known[index]]
        if len(new):
            self._difference[new] = self.gain[new] - self._sphere(self.rr[new])
            self._known[new] = True

    def _weights(self, rr: Array, leave_out: bool = False) -> tuple[NDArray[np.int64], Array]:
        """Positions around places and their weights, (m, k) each; leave the nearest one out."""
        skip = int(leave_out)
        distance, index = self.tree.query(rr, min(NEAREST, len(self.rr) - skip) + skip)
        distance, index = distance[:, skip:], index[:, skip:]
        return index, weights(self.rr[index] - rr[:, None], distance)


def _spacing(rr: Array) -> float:
    """Typical distance from a position to its nearest neighbour, m; refuse what has none."""
    if len(rr) < 2:
        raise ValueError("forward has a single position; use VAEInverse(positions='grid').")
    spacing = typical_spacing(rr)
    if spacing == 0:
        raise ValueError("forward has most of its positions twice; give each once.")
    return spacing


_memory: Memory[Samples] = Memory(KEPT)


def remembered(forward: mne.Forward, info: mne.Info, names: list[str]) -> Samples:
    """Give the samples of a forward model, those of an earlier fit where they are the same."""
    check_free(forward)
    places = [info["chs"][info["ch_names"].index(name)]["loc"] for name in names]
    turn = info["dev_head_t"]["trans"] if info["dev_head_t"] is not None else np.eye(4)
    field = (forward["sol"]["data"], forward["source_nn"], forward["source_rr"])
    return _memory((*field, places, turn), lambda: Samples(forward, info, names))
