"""What was recorded: one run, or several that share their sources, each seen by its own sensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from meg_vae.model.checks import check_data, check_positive, check_stretches
from meg_vae.model.exact.dictionary import Dictionary
from meg_vae.model.sliding.field import Field


@dataclass(frozen=True)
class Recorded:
    """What was recorded in one run.

    ``dictionary`` holds the field of its sensors on the grid, ``X`` (d, n_samples) the data; ``n``
    independent samples at most, fewer where ``stretches`` of consecutive ones are not.
    """

    dictionary: Dictionary
    X: Tensor
    n: float
    stretches: Sequence[int] | None = None


def listed(X: Any) -> list[Any]:
    """Give data as a list of runs: one matrix is one run."""
    several = isinstance(X, (list, tuple)) and len(X) > 0 and all(np.ndim(one) == 2 for one in X)
    return list(X) if several else [X]


def recorded_runs(
    field: Field, grid: Tensor, X: Any, dictionary: Any, n_effective: Any, stretches: Any
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
        dictionaries = _dictionaries(field, grid, [np.shape(one)[:1] for one in runs])
    counts, stretches = of_each("n_effective", n_effective), of_each("stretches", stretches)
    out = []
    for one, own, n, parts in zip(runs, dictionaries, counts, stretches, strict=True):
        data = torch.as_tensor(check_data(one, own.n_channels))
        samples = float(data.shape[1] if n is None else n)
        check_positive("n_effective", samples)
        check_stretches(parts, data.shape[1])
        out.append(Recorded(own, data, samples, parts))
    return out


def _dictionaries(field: Field, grid: Tensor, shapes: list[tuple[int, ...]]) -> list[Dictionary]:
    """Evaluate the field on the grid, and take the channels of the runs apart."""
    values = field.exact().expand(grid).values  # (n, d, o)
    d, o = values.shape[1:]
    sizes = [d] if len(shapes) == 1 else [size for shape in shapes for size in shape]
    if sum(sizes) != d:
        raise ValueError(
            f"the runs of X have {' + '.join(map(str, sizes))} channels, and field(r) has {d}; it "
            "must hold those of all runs, one run after the other."
        )
    return [Dictionary(part.movedim(0, 1).flatten(1), o) for part in values.split(sizes, 1)]
