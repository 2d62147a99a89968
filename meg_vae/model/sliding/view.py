"""The data, the field and the grid in the directions that are worth looking at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from meg_vae.model.noise_variance import FLOOR
from meg_vae.model.sliding.data import Data, Run
from meg_vae.model.sliding.field import Field
from meg_vae.model.sliding.growth import Grid
from meg_vae.model.sliding.prior import PlacePrior
from meg_vae.model.sliding.recorded import Recorded
from meg_vae.model.sliding.sources import Sources, whiten
from meg_vae.model.solve import data_factor

HIDDEN = 1e-3  # of the noise: power of the data in directions that are left out as noise alone


@dataclass(frozen=True)
class RunView:
    """One recording in the directions that are worth looking at.

    ``runs`` are its pieces of time; ``basis`` (d, p); ``variance`` (d,), the noise that λ is a
    factor on; ``scale`` (d,), that the channels were divided by; ``columns`` (p, n, o) of the grid
    in these directions.
    """

    runs: list[Run]
    basis: Tensor
    variance: Tensor
    scale: Tensor
    columns: Tensor

    @property
    def directions(self) -> Tensor:
        """The directions among the channels as they are, (d, p)."""
        return self.basis / self.scale[:, None]

    @property
    def log_volumes(self) -> list[Tensor]:
        """What the energy lost by that division, in the channels that λ counts, of each piece."""
        return [2 * self.scale.log().mean() * run.size for run in self.runs]


@dataclass(frozen=True)
class View:
    """Data, field and grid in the directions that are worth looking at; λ to start from.

    Each recording has a run for each group of its pieces.
    """

    data: Data
    field: Field
    grid: Grid
    runs: list[RunView]
    noise: Tensor

    def energy(self, sources: Sources) -> float:
        """J in the channels as they are, without the prior of places."""
        volume = self.data.over_runs(own for one in self.runs for own in one.log_volumes)
        return float(whiten(replace(self.data, prior=None), sources).energy + volume)


def view_of(
    field: Field,
    places: Tensor,
    recorded: Sequence[Recorded],
    variances: Sequence[Tensor],
    learn: bool,
    prior: PlacePrior | None,
    groups: Sequence[Sequence[int]] = ((0,),),
) -> View:
    """Leave out directions in which the field is lost in the noise.

    The pieces of each of ``groups`` are one run.
    """
    views, powers = zip(
        *(_of_run(one, own, groups) for one, own in zip(recorded, variances, strict=True)),
        strict=True,
    )
    n_pieces = len(groups)
    data = Data(tuple(r for one in views for r in one.runs), learn, prior=prior, n_pieces=n_pieces)
    weights = variances[0].new_tensor([sum(run.n for run in one.runs) / data.n for one in views])
    data = replace(data, floor=FLOOR * float(weights @ torch.stack(powers)))
    own_channels = variances[0].ndim > 0  # what is learnt is then a factor on all of them
    noise = variances[0].new_ones(()) if own_channels else weights @ torch.stack(list(variances))
    directions = torch.block_diag(*(one.directions for one in views))
    norms = [one.dictionary.norms / recorded[0].dictionary.norms for one in recorded]
    columns = [one.columns * k[:, None].float() for one, k in zip(views, norms, strict=True)]
    # of each position at the scale of the first run's
    grid = Grid(places, torch.cat(columns), recorded[0].dictionary.norms)
    return View(data, field.through(directions), grid, list(views), noise)


def _of_run(
    one: Recorded, variance: Tensor, groups: Sequence[Sequence[int]]
) -> tuple[RunView, Tensor]:
    """Leave out directions of one run in which its field is lost; and the power that λ may have.

    The rows are divided by √(ν / L), so that λ is a factor on the covariance whose inverse is
    unbiased, of each run its own; and by the noise of each channel where it has one.
    """
    dictionary = one.dictionary
    d, o = dictionary.n_channels, dictionary.n_orient
    relative = variance if variance.ndim else torch.ones_like(one.X[:, 0])
    scale = (one.inflation * relative).sqrt()
    runs = []
    parts = one.independent(groups)
    # The covariance is wrong in the same way in all parts, each of which knows only of itself: with
    # c the share of all samples, of n as many count as tell of an error beside those behind it.
    whole = one.noise.certainty(sum(n for _, n in parts), d).share if len(parts) > 1 else 0.0
    for X, n in parts:
        known, F = one.noise.certainty(n, d), data_factor(X) / scale[:, None]
        runs.append(Run(F, (1 - whole) * n, n_rest=-known.spare, share=known.share))
    if variance.ndim:
        columns = (dictionary.Phi / scale[:, None]).float().reshape(d, -1, o)
        view = RunView(runs, torch.eye(d, dtype=variance.dtype), relative, scale, columns)
        return view, variance.new_ones(())
    power = sum((run.n * run.F.square().sum() for run in runs), variance.new_zeros(()))
    power, values = power / sum(run.n for run in runs), dictionary.eigenvalues
    left = values.flip(0).cumsum(0).flip(0) / values.sum()  # share of the field's power
    rank = max(int((left * power > HIDDEN * d * variance).sum()), min(d, o))
    basis = dictionary.basis[:, :rank]
    columns = dictionary.projected(basis, torch.float32).reshape(rank, -1, o) / float(scale[0])
    runs = [run.in_directions(basis) for run in runs]
    return RunView(runs, basis, relative, scale, columns), power / d
