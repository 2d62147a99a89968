"""What was recorded: one run, or several that share their sources, each seen by its own sensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from meg_vae.model.checks import (
    check_data,
    check_noise_samples,
    check_positive,
    check_stretches,
)
from meg_vae.model.exact.dictionary import Dictionary
from meg_vae.model.fit import Fit
from meg_vae.model.noise import Noise
from meg_vae.model.sliding.field import Field
from meg_vae.model.solve import solve


@dataclass(frozen=True)
class Recorded:
    """What was recorded in one run.

    ``dictionary`` holds the field of its sensors on the grid, ``X`` (d, n_samples) the data, with
    ``n`` independent samples at most; ``noise`` is what is known of the noise, and how it goes on
    is learnt where ``stretches`` of consecutive samples are given. ``edges`` cut the samples into
    pieces, which are then independent.
    """

    dictionary: Dictionary
    X: Tensor
    n: float
    noise: Noise = field(default_factory=Noise)
    stretches: Sequence[int] | None = None
    edges: tuple[int, ...] = ()

    def independent(self, groups: Sequence[Sequence[int]] = ((0,),)) -> list[tuple[Tensor, float]]:
        """Give independent samples, (d, n_independent), and how many count, of groups of pieces.

        Pieces of a group that follow each other are made independent together. Noise goes on from
        one group to the next, so that they are correlated, and count as fewer.
        """
        if self.stretches is None:
            return [(self.X, self.n)]
        whole = self.noise.independent(self.X, self.stretches)
        n = min(self.n, float(whole.shape[1]))
        if not self.edges or len(groups) == 1:
            return [(whole, n)]
        runs = [self._runs(own) for own in groups]
        found = [torch.cat([self._part(*ends) for ends in own], 1) for own in runs]
        size = sum(one.shape[1] for one in found)
        if len(self.stretches) == 1:
            n = min(n, self.noise.n_together(sorted(ends for own in runs for ends in own)))
        return [(one, n * one.shape[1] / size) for one in found]

    def _part(self, first: int, last: int) -> Tensor:
        """Independent samples of those from the first to the one before the last."""
        return self.noise.independent(self.X[:, first:last], [last - first])

    def _runs(self, group: Sequence[int]) -> list[tuple[int, int]]:
        """List the samples of a group of pieces, those together that follow each other."""
        ends: list[tuple[int, int]] = []
        starts = np.cumsum([0, *(self.stretches or ())])
        for k in sorted(group):
            first, last = self.edges[k], self.edges[k + 1]
            if ends and ends[-1][1] == first and first not in starts:
                ends[-1] = (ends[-1][0], last)
            else:
                ends.append((first, last))
        return ends

    @property
    def inflation(self) -> float:
        """Factor on the covariance of the noise, with which its inverse is unbiased."""
        return self.noise.inflation(self.dictionary.n_channels)

    def on_grid(self, noise_variance: float | str, **options: Any) -> Fit:
        """Find the minimum on the grid."""
        return solve(
            self.dictionary,
            self.X,
            noise_variance=self.noise.variance(noise_variance, self.dictionary.n_channels),
            certainty=self.noise.certainty(self.n, self.dictionary.n_channels),
            **options,
        )

    def learnt(self, residual: Tensor) -> Recorded:
        """Learn how the noise goes on from what sources leave of the data."""
        if self.stretches is None:
            return self
        return replace(self, noise=self.noise.learnt(residual, self.stretches, self.dictionary))

    def only(self, positions: Tensor) -> Recorded:
        """Keep some positions of the grid."""
        return replace(self, dictionary=self.dictionary.only(positions))


def listed(X: Any) -> list[Any]:
    """Give data as a list of runs: one matrix is one run."""
    several = isinstance(X, (list, tuple)) and len(X) > 0 and all(np.ndim(one) == 2 for one in X)
    return list(X) if several else [X]


def recorded_runs(
    columns: Field,
    grid: Tensor,
    X: Any,
    dictionary: Any,
    n_effective: Any,
    n_noise: Any,
    stretches: Any,
    noise_variance: float | str,
    white: bool = False,
) -> list[Recorded]:
    """Check the data of `SlidingVAE.fit`, and bring them into one shape."""
    runs = listed(X)
    alone = runs[0] is X

    def of_each(name: str, value: Any) -> list[Any]:
        """Give an argument of each run."""
        if alone or value is None:
            return [value] * len(runs)
        if not isinstance(value, (list, tuple)) or len(value) != len(runs):
            raise ValueError(f"{name} must be a list, one for each of the {len(runs)} runs of X.")
        return list(value)

    dictionaries = of_each("dictionary", dictionary)
    if dictionary is None:
        dictionaries = _dictionaries(columns, grid, [np.shape(one)[:1] for one in runs])
    counts, stretches = of_each("n_effective", n_effective), of_each("stretches", stretches)
    shared = np.ndim(n_noise) == 0
    behind = [n_noise] * len(runs) if shared else of_each("n_noise", n_noise)
    out = []
    for one, own, n, known, parts in zip(
        runs, dictionaries, counts, behind, stretches, strict=True
    ):
        data = torch.as_tensor(check_data(one, own.n_channels))
        samples = float(data.shape[1] if n is None else n)
        check_positive("n_effective", samples)
        check_stretches(parts, data.shape[1])
        check_noise_samples(known, noise_variance)
        out.append(Recorded(own, data, samples, Noise(float(known), held=white), parts))
    return out


def _dictionaries(columns: Field, grid: Tensor, shapes: list[tuple[int, ...]]) -> list[Dictionary]:
    """Evaluate the field on the grid, and take the channels of the runs apart."""
    values = columns.exact().expand(grid).values  # (n, d, o)
    d, o = values.shape[1:]
    sizes = [d] if len(shapes) == 1 else [size for shape in shapes for size in shape]
    if sum(sizes) != d:
        raise ValueError(
            f"the runs of X have {' + '.join(map(str, sizes))} channels, and field(r) has {d}; it "
            "must hold those of all runs, one run after the other."
        )
    return [Dictionary(part.movedim(0, 1).flatten(1), o) for part in values.split(sizes, 1)]
