r"""Where a further source would lower the energy, and by how much.

With S = LᵀΣ⁻¹L and Q = LᵀΣ⁻¹CΣ⁻¹L at a place and μ the eigenvalues of S⁻¹Q, the best full prior
there, entering from nothing, lowers J by Σ_{μ>1} (μ − 1 − log μ) or, where the covariance of the
noise was estimated, by a little less: the growth of the place. It is largest where the data least
agree with the model, so that its maximum over all places is a certificate. Where places have prior
weights w, what counts is its height, growth and (2/n) w(r) together.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from meg_vae.model.misfit import best_variance, growth, growth_slope
from meg_vae.model.sliding.field import Field
from meg_vae.model.sliding.prior import PlacePrior
from meg_vae.model.sliding.sources import Data, Sources, whiten

CHUNK = 2048  # positions at a time
PEAKS = 3  # positions that are climbed from
STEPS = (0.6, 0.25, 0.1, 0.03)  # of the field's unit, tried along the gradient
CLIMBS = 6


@dataclass(frozen=True)
class Grid:
    """Positions (n, q) at which a search begins, and their columns (d, n, o) at any scale."""

    places: Tensor
    columns: Tensor


@dataclass(frozen=True)
class Pull:
    """What data and model pull at: rows Σ^-½ and RᵀFᵀΣ⁻¹, which give S and Q; and weights."""

    root: Tensor
    seen: Tensor
    share: float = 0.0
    prior: PlacePrior | None = None
    n: float = 1.0

    def blocks(self, fields: Tensor) -> tuple[Tensor, Tensor]:
        """S and Q at the fields (m, d, o) of some places, each (m, o, o)."""
        volume, power = (rows.to(fields) @ fields for rows in (self.root, self.seen))
        return volume.mT @ volume, power.mT @ power

    def lifted(self, growth: Tensor, places: Tensor) -> Tensor:
        """Add to a growth what the weights of its places add."""
        return growth if self.prior is None else growth + 2 / self.n * self.prior.at(places)


def pull(data: Data, sources: Sources) -> Pull:
    """Prepare the search for growth beside some sources."""
    at = whiten(data, sources)
    eye = torch.eye(len(at.L), dtype=at.L.dtype)
    root = torch.linalg.solve_triangular(at.L, eye, upper=False)
    return Pull(root, (at.B @ at.root).T @ root, data.share, data.prior, data.n)


def excess(S: Tensor, Q: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues of S⁻¹Q (…, o), largest first, and vectors v (…, o, o) with vᵀSv = 1."""
    o = S.shape[-1]
    eye = torch.eye(o, dtype=S.dtype)
    trace = S.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
    small = 10 * torch.finfo(S.dtype).eps * trace + torch.finfo(S.dtype).tiny
    L = torch.linalg.cholesky(S + small * eye)
    half = torch.linalg.solve_triangular(L, Q, upper=False)
    values, vectors = torch.linalg.eigh(torch.linalg.solve_triangular(L, half.mT, upper=False))
    return values.flip(-1), torch.linalg.solve_triangular(L.mT, vectors, upper=True).flip(-1)


def best_factor(values: Tensor, vectors: Tensor, share: float = 0.0) -> Tensor:
    """Factor of the prior that grows most, (…, o, o)."""
    return vectors * best_variance(values, share).sqrt()[..., None, :]


def grid_growth(at: Pull, grid: Grid) -> Tensor:
    """Growth at every position of a grid, (n,), in the precision of its columns."""
    parts = []
    for columns in grid.columns.split(CHUNK, 1):
        d, n, o = columns.shape
        flat = columns.reshape(d, n * o)
        rows = (
            (rows.to(flat) @ flat).reshape(-1, n, o).movedim(0, 2) for rows in (at.root, at.seen)
        )
        S, Q = (x @ x.mT for x in rows)
        parts.append(growth(excess(S, Q)[0], at.share))
    return torch.cat(parts).double()


def climb(at: Pull, field: Field, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Climb from places to maxima of the height between them.

    Gives the places, their height and the factors of the best priors there.
    """
    best, factor, slope = _growth_at(at, field, places)
    for _ in range(CLIMBS if len(places) else 0):
        size = torch.linalg.vector_norm(slope, dim=1, keepdim=True).clamp_min(1e-300)
        tries = torch.stack([field.within(places + s * field.unit * slope / size) for s in STEPS])
        seen = field.exact().expand(tries.flatten(0, 1)).values
        found = growth(excess(*at.blocks(seen))[0], at.share)
        found = at.lifted(found, tries.flatten(0, 1)).unflatten(0, tries.shape[:2])
        top, which = found.max(0)
        better = top > best * (1 + 1e-4)
        if not better.any():
            break
        rows = torch.arange(len(places))
        places = torch.where(better[:, None], tries[which, rows], places)
        best, factor, slope = _growth_at(at, field, places)
    return places, best, factor


def _growth_at(at: Pull, field: Field, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Height at places, the factor of the best prior, and the gradient of the height."""
    here = field.exact().expand(places)
    S, Q = at.blocks(here.values)
    values, vectors = excess(S, Q)
    # ∂μ_i = v_iᵀ(∂Q − μ_i ∂S)v_i, and the growth follows μ_i.
    toward = here.gradient.movedim(3, 1)  # (m, q, d, o)
    weight = growth_slope(values, at.share)[:, None, :]
    moved, still = toward @ vectors[:, None], (here.values @ vectors)[:, None]
    changes = [
        2 * ((rows @ moved) * (rows @ still)).sum(2) for rows in (at.root, at.seen)
    ]  # of vᵀSv and of vᵀQv
    slope = (weight * (changes[1] - values[:, None, :] * changes[0])).sum(2)
    if at.prior is not None:
        slope = slope + 2 / at.n * at.prior.derivatives(places)[0]
    height = at.lifted(growth(values, at.share), places)
    return height, best_factor(values, vectors, at.share), slope


def highest(at: Pull, field: Field, grid: Grid) -> tuple[Tensor, Tensor, Tensor]:
    """Find the place of largest height: on the grid, and climbed from its best positions.

    Gives a place (1, q), its height (1,), and the factor (1, o, o) of the best prior there.
    """
    found = at.lifted(grid_growth(at, grid), grid.places)
    starts = _apart(grid.places, found, 4 * field.unit)
    places, height, factor = climb(at, field, grid.places[starts])
    best = height.argmax(0, keepdim=True)
    return places[best], height[best], factor[best]


def _apart(places: Tensor, height: Tensor, distance: float) -> Tensor:
    """Find the highest positions that are a distance from each other."""
    left: Tensor = height.clone()
    chosen: list[int] = []
    for _ in range(PEAKS):
        k = int(left.argmax())
        if chosen and not left[k] > 0:
            break
        chosen.append(k)
        left[torch.linalg.vector_norm(places - places[k], dim=1) < distance] = -1.0
    return torch.tensor(chosen)
