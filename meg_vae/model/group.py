r"""Sources that subjects have in common: the prior of their places, learnt over all subjects.

Each subject's sources are a few places x in a common space, known to a covariance C. Without a
group they lie anywhere, with the density 1/V of all sources of a subject. A group source g is in a
subject with probability π_g, and then N(μ_g, τ_g² I) about its centre. With K of S subjects as
members its log evidence is

.. math::
    \log B(K + 1, S - K + 1) + (K - 1) \log V
    + \log \sum_τ p(τ) \int \prod_k N(x_k; μ, τ² I + C_k) dμ + \sum_k \log σ(e_k - e),

π uniform, μ uniform in V, log τ uniform between a millimetre and two centimetres. The last term
holds sources whose log evidence e_k is below the e asked of one at an unknown place: that they are
there at all is then part of what the group has to explain.

Seen from a subject, the group is a prior of places: log odds log(1 + V Σ_g π_g N(x; μ_g, ·))
relative to the uniform density, which `SlidingVAE.fit` takes as ``weights``. Subjects and group in
turn minimise one energy, that of all subjects with a decoder whose places share their prior.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, log_expit, logsumexp

Array = NDArray[np.float64]

SPREADS = np.geomspace(1.0, 20.0, 13)  # mm, equally likely
START = 8.0  # mm, the spread about a first member
ROUNDS = 30  # of members and centre in turn, at most
FAR = 60.0  # mm from a seed: no member of its set is farther
CELL = 5.0  # mm: seeds are no nearer to each other than about that


@dataclass(frozen=True)
class Places:
    """Sources of one subject in the common space.

    ``x`` (m, 3) in mm, ``covariance`` (m, 3, 3) in mm², and ``log_evidence`` (m,) in nats.
    """

    x: Array
    covariance: Array
    log_evidence: Array


@dataclass(frozen=True)
class GroupSource:
    """One source of a group.

    ``members`` (n_subjects,) says which source of each subject it is, −1 where none; ``share`` (t,)
    is the posterior of each of ``SPREADS``, with ``centres`` (t, 3) and ``covariances`` (t, 3, 3)
    of the centre there; ``n_asked`` subjects could be asked.
    """

    members: NDArray[np.int64]
    n_asked: int
    log_evidence: float
    share: Array
    centres: Array
    covariances: Array

    def among(self, known: NDArray[np.bool_]) -> GroupSource:
        """Count members among all subjects, of whom some could not be asked."""
        members = np.full(len(known), -1)
        members[known] = self.members
        return replace(self, members=members, n_asked=len(self.members))

    @property
    def n_present(self) -> int:
        """Count the subjects that have it."""
        return int((self.members >= 0).sum())

    @property
    def rate(self) -> float:
        """Posterior mean of the probability that a subject has it."""
        return (self.n_present + 1) / (self.n_asked + 2)

    @property
    def centre(self) -> Array:
        """Posterior mean of its centre, mm (3,)."""
        return self.share @ self.centres

    @property
    def covariance(self) -> Array:
        """Covariance of its centre, mm² (3, 3)."""
        away = self.centres - self.centre
        own = self.covariances + away[:, :, None] * away[:, None]
        return np.einsum("t,tij->ij", self.share, own)

    @property
    def spread(self) -> float:
        """Posterior mean of the spread between subjects, mm along each axis."""
        return float(self.share @ SPREADS)

    @property
    def spread_interval(self) -> tuple[float, float]:
        """95 % interval of that."""
        edges = np.interp([0.025, 0.975], np.cumsum(self.share), SPREADS)
        return float(edges[0]), float(edges[1])

    def log_density(self, x: Array, covariance: Array) -> Array:
        """Log density of a member at places x (m, 3) that are known to a covariance, (m,)."""
        spread = SPREADS[:, None, None] ** 2 * np.eye(3)
        wide = covariance[:, None] + self.covariances + spread
        each = _log_normal(x[:, None] - self.centres, wide)
        return logsumexp(each + np.log(self.share), axis=1)


def find_group(
    subjects: Sequence[Places], volume: float, least: float, asked: float
) -> list[GroupSource]:
    """Find the sources that subjects have in common, strongest evidence first.

    Parameters
    ----------
    subjects : sequence of Places
        Sources of each subject.
    volume : float
        Volume V that each subject has one source in, mm³ (`volume_of_one`).
    least : float
        Log evidence that is asked of a source at an unknown place, nats.
    asked : float
        Log evidence that a group source must carry, nats.

    Returns
    -------
    found : list of GroupSource
        Each source of a subject is of one group source at most, and each group source has one
        source of a subject at most.
    """
    x = np.concatenate([one.x for one in subjects])
    C = np.concatenate([one.covariance for one in subjects])
    doubt = log_expit(np.concatenate([one.log_evidence for one in subjects]) - least)
    owner = np.repeat(np.arange(len(subjects)), [len(one.x) for one in subjects])
    left = np.ones(len(x), bool)
    sets: dict[int, tuple[int, ...]] = {}
    values: dict[tuple[int, ...], float] = {}
    found = []
    while True:
        for seed in _seeds(x, left):
            if seed not in sets:
                near = np.flatnonzero(left & (np.linalg.norm(x - x[seed], axis=1) < FAR))
                sets[seed] = _grown(seed, near, x, C, doubt, owner, len(subjects), volume)
        for own in sorted(set(sets.values()) - values.keys()):
            k = list(own)
            values[own] = evidence(x[k], C[k], doubt[k], len(subjects), volume)
        options = [(values[own], own) for own in set(sets.values()) if len(own) > 1]
        if not options or max(options)[0] < asked:
            break
        value, own = max(options)
        found.append(_source(list(own), value, x, C, owner, subjects))
        left[list(own)] = False
        sets = {
            seed: other for seed, other in sets.items() if left[seed] and not set(own) & set(other)
        }
    return sorted(found, key=lambda one: -one.log_evidence)


def volume_of_one(volume: float, subjects: Sequence[Places]) -> float:
    """Share a volume among the sources of a subject.

    Parameters
    ----------
    volume : float
        In which its sources may lie, mm³.
    subjects : sequence of Places
        Sources of each subject.

    Returns
    -------
    volume : float
        That which a subject has one source in on average, mm³.
    """
    return volume / max(1.0, float(np.mean([len(one.x) for one in subjects])))


def _seeds(x: Array, left: NDArray[np.bool_]) -> list[int]:
    """Choose sources to grow sets from: of those nearly at one place, one."""
    rows = np.flatnonzero(left)
    cells = np.unique(np.round(x[rows] / CELL), axis=0, return_index=True)[1]
    return rows[np.sort(cells)].tolist()


def evidence(x: Array, C: Array, doubt: Array, n_subjects: int, volume: float) -> float:
    """Log evidence that places of as many subjects are one group source.

    Parameters
    ----------
    x, C : ndarray, shape (n_members, 3) and (n_members, 3, 3)
        Places in mm, and how well they are known in mm².
    doubt : ndarray, shape (n_members,)
        Log probability in nats that each is there at all.
    n_subjects : int
        Subjects, those that lack it included.
    volume : float
        Volume that each subject has one source in, mm³.

    Returns
    -------
    evidence : float
        In nats.
    """
    K = len(x)
    together = logsumexp(_of_spreads(x, C)[0]) - np.log(len(SPREADS))
    present = float(betaln(K + 1, n_subjects - K + 1))
    return present + (K - 1) * np.log(volume) + float(together) + float(doubt.sum())


def group_weights(
    group: Sequence[GroupSource], x: Array, covariance: Array, volume: float
) -> Array:
    """Give the prior of a subject's places, as its group has it.

    Parameters
    ----------
    group : sequence of GroupSource
        Sources that subjects have in common.
    x, covariance : ndarray, shape (m, 3) and (m, 3, 3)
        Places in mm, and how well they are known in mm².
    volume : float
        Volume that each subject has one source in, mm³.

    Returns
    -------
    weights : ndarray, shape (m,)
        Log prior odds of a source there in nats, relative to a place far from the group.
    """
    rows = [np.log(volume * one.rate) + one.log_density(x, covariance) for one in group]
    return np.logaddexp.reduce([np.zeros(len(x)), *rows])


def _grown(
    seed: int,
    near: NDArray[np.int64],
    x: Array,
    C: Array,
    doubt: Array,
    owner: NDArray[np.int64],
    n_subjects: int,
    volume: float,
) -> tuple[int, ...]:
    """Let members, among the sources ``near``, and centre follow each other, from one source on."""
    centre, spread, rate = x[seed], START, 0.5
    own: tuple[int, ...] = (seed,)
    for _ in range(ROUNDS):
        gain = doubt[near] + np.log(volume * rate / (1 - rate))
        gain = gain + _log_normal(x[near] - centre, C[near] + spread**2 * np.eye(3))
        order = np.lexsort((-gain, owner[near]))  # the best of each subject first
        best = order[np.unique(owner[near][order], return_index=True)[1]]
        members = tuple(near[best[gain[best] > 0]].tolist())
        if not members or members == own:
            break
        own = members
        log_share, centres, _ = _of_spreads(x[list(own)], C[list(own)])
        share = np.exp(log_share - logsumexp(log_share))
        centre, spread = share @ centres, float(share @ SPREADS)
        rate = (len(own) + 1) / (n_subjects + 2)
    return own


def _of_spreads(x: Array, C: Array) -> tuple[Array, Array, Array]:
    """Log of ∫ Π N(x_k; μ, τ² I + C_k) dμ for each spread τ, with mean and covariance of μ."""
    A = C + SPREADS[:, None, None, None] ** 2 * np.eye(3)  # (t, K, 3, 3)
    precision = np.linalg.inv(A)
    covariance = np.linalg.inv(precision.sum(1))
    centre = np.einsum("tij,tkjl,kl->ti", covariance, precision, x)
    away = x - centre[:, None]
    squares = np.einsum("tki,tkij,tkj->t", away, precision, away)
    volume = np.linalg.slogdet(2 * np.pi * covariance)[1]
    return (volume - np.linalg.slogdet(2 * np.pi * A)[1].sum(1) - squares) / 2, centre, covariance


def _source(
    own: list[int],
    value: float,
    x: Array,
    C: Array,
    owner: NDArray[np.int64],
    subjects: Sequence[Places],
) -> GroupSource:
    """Describe the group source of some members."""
    log_share, centres, covariances = _of_spreads(x[own], C[own])
    first = np.cumsum([0, *(len(one.x) for one in subjects)])
    members = np.full(len(subjects), -1)
    members[owner[own]] = np.array(own) - first[owner[own]]
    share = np.exp(log_share - logsumexp(log_share))
    return GroupSource(members, len(subjects), value, share, centres, covariances)


def _log_normal(away: Array, covariance: Array) -> Array:
    """Log density of N(0, covariance) at places (..., 3)."""
    squares = (away * np.linalg.solve(covariance, away[..., None])[..., 0]).sum(-1)
    return -(np.linalg.slogdet(2 * np.pi * covariance)[1] + squares) / 2
