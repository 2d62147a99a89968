"""The data, the field and the grid in the directions that are worth looking at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from meg_vae.model.exact.rounds import FLOOR
from meg_vae.model.sliding.field import Field
from meg_vae.model.sliding.growth import Grid
from meg_vae.model.sliding.prior import PlacePrior
from meg_vae.model.sliding.recorded import Recorded
from meg_vae.model.sliding.sources import Data, Run, Sources, whiten
from meg_vae.model.solve import data_factor

HIDDEN = 1e-3  # of the noise: power of the data in directions that are left out as noise alone


@dataclass(frozen=True)
class RunView:
    """One run in the directions that are worth looking at.

    ``basis`` (d, p); ``variance`` (d,), the noise that λ is a factor on; ``scale`` (d,), that the
    channels were divided by; ``columns`` (p, n, o) of the grid in these directions.
    """

    run: Run
    basis: Tensor
    variance: Tensor
    scale: Tensor
    columns: Tensor

    @property
    def directions(self) -> Tensor:
        """The directions among the channels as they are, (d, p)."""
        return self.basis / self.scale[:, None]

    @property
    def log_volume(self) -> Tensor:
        """What the energy lost by that division, in the channels that λ counts."""
        return 2 * self.scale.log().mean() * self.run.size


@dataclass(frozen=True)
class View:
    """Data, field and grid in the directions that are worth looking at; λ to start from."""

    data: Data
    field: Field
    grid: Grid
    runs: list[RunView]
    noise: Tensor

    def energy(self, sources: Sources) -> float:
        """J in the channels as they are, without the prior of places."""
        volume = self.data.over_runs(one.log_volume for one in self.runs)
        return float(whiten(replace(self.data, prior=None), sources).energy + volume)


def view_of(
    field: Field,
    places: Tensor,
    recorded: Sequence[Recorded],
    variances: Sequence[Tensor],
    learn: bool,
    prior: PlacePrior | None,
) -> View:
    """Leave out directions in which the field is lost in the noise."""
    views, powers = zip(
        *(_of_run(one, own) for one, own in zip(recorded, variances, strict=True)), strict=True
    )
    data = Data(tuple(one.run for one in views), learn, prior=prior)
    data = replace(data, floor=FLOOR * float(data.over_runs(powers)))
    own_channels = variances[0].ndim > 0  # what is learnt is then a factor on all of them
    noise = variances[0].new_ones(()) if own_channels else data.over_runs(variances)
    directions = torch.block_diag(*(one.directions for one in views))
    norms = [one.dictionary.norms / recorded[0].dictionary.norms for one in recorded]
    columns = [one.columns * k[:, None].float() for one, k in zip(views, norms, strict=True)]
    # of each position at the scale of the first run's
    grid = Grid(places, torch.cat(columns), recorded[0].dictionary.norms)
    return View(data, field.through(directions), grid, list(views), noise)


def _of_run(one: Recorded, variance: Tensor) -> tuple[RunView, Tensor]:
    """Leave out directions of one run in which its field is lost; and the power that λ may have.

    The rows are divided by √(ν / L), so that λ is a factor on the covariance whose inverse is
    unbiased, of each run its own; and by the noise of each channel where it has one.
    """
    dictionary = one.dictionary
    d, o = dictionary.n_channels, dictionary.n_orient
    X, n = one.independent()
    known = one.noise.certainty(n, d)
    relative = variance if variance.ndim else torch.ones_like(X[:, 0])
    scale = (one.inflation * relative).sqrt()
    F = data_factor(X) / scale[:, None]
    run = Run(F, n, n_rest=-known.spare, share=known.share)
    if variance.ndim:
        columns = (dictionary.Phi / scale[:, None]).float().reshape(d, -1, o)
        view = RunView(run, torch.eye(d, dtype=F.dtype), relative, scale, columns)
        return view, variance.new_ones(())
    power, values = F.square().sum(), dictionary.eigenvalues
    left = values.flip(0).cumsum(0).flip(0) / values.sum()  # share of the field's power
    rank = max(int((left * power > HIDDEN * d * variance).sum()), min(d, o))
    basis = dictionary.basis[:, :rank]
    columns = dictionary.projected(rank, torch.float32).reshape(rank, -1, o) / float(scale[0])
    return RunView(run.in_directions(basis), basis, relative, scale, columns), power / d
