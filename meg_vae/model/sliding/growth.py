r"""Where a further source would lower the energy, and by how much.

With S = LᵀΣ⁻¹L and Q = LᵀΣ⁻¹CΣ⁻¹L at a place and μ the eigenvalues of S⁻¹Q, the best full prior
there, entering from nothing, lowers J by Σ_{μ>1} (μ − 1 − log μ): the growth of the place. It is
largest where the data least agree with the model, so that its maximum over all places is a
certificate.

Over several runs a prior AAᵀ lowers J by

.. math::
    \sum_r \tfrac{n_r}{n} [\operatorname{tr}((I + A^T S_r A)^{-1} A^T Q_r A) - \log|I + A^T S_r A|],

whose maximum has no closed form. The means S̄ and Q̄ over the runs tell whether anything grows (some
μ > 1) and give the directions and ratios of A; its scale is the one that lowers the exact sum most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from meg_vae.model.sliding.field import Field
from meg_vae.model.sliding.sources import Data, Sources, whiten

CHUNK = 2048  # positions at a time
PEAKS = 3  # positions that are climbed from
STEPS = (0.6, 0.25, 0.1, 0.03)  # of the field's unit, tried along the gradient
CLIMBS = 6
SCALES = 2.0 ** torch.arange(-4, 4.1, 0.25, dtype=torch.float64)  # tried of a pooled prior


@dataclass(frozen=True)
class Grid:
    """Positions (n, q) at which a search begins, and their columns (d, n, o) at any scale."""

    places: Tensor
    columns: Tensor


@dataclass(frozen=True)
class Pull:
    """What data and model pull at: of each run rows Σ^-½ and FᵀΣ⁻¹, from which S and Q follow.

    ``weights`` are the shares n_r / n, ``sizes`` the channels of each run.
    """

    root: list[Tensor]
    seen: list[Tensor]
    weights: list[float]
    sizes: list[int]

    def blocks(self, fields: Tensor) -> tuple[Tensor, Tensor]:
        """S and Q of each run at the fields (m, d, o) of some places, each (runs, m, o, o)."""
        parts = fields.split(self.sizes, 1)
        return self._squares(self.root, parts), self._squares(self.seen, parts)

    def _squares(self, rows: list[Tensor], parts: Sequence[Tensor]) -> Tensor:
        found = [own.to(part) @ part for own, part in zip(rows, parts, strict=True)]
        return torch.stack([x.mT @ x for x in found])

    def shares(self, like: Tensor) -> Tensor:
        """Give the weights in a shape that multiplies a tensor (runs, ...)."""
        return like.new_tensor(self.weights).reshape(-1, *[1] * (like.ndim - 1))


def pull(data: Data, sources: Sources) -> Pull:
    """Prepare the search for growth beside some sources."""
    root, seen = [], []
    for term in whiten(data, sources).runs:
        eye = torch.eye(len(term.L), dtype=term.L.dtype)
        root.append(torch.linalg.solve_triangular(term.L, eye, upper=False))
        seen.append(term.B.T @ root[-1])
    return Pull(root, seen, data.weights, [len(run.F) for run in data.runs])


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


def growth(values: Tensor) -> Tensor:
    """Fall of J by the best full prior, from the eigenvalues μ."""
    above = values.clamp_min(1.0)
    return (above - 1 - above.log()).sum(-1)


def best_factor(values: Tensor, vectors: Tensor) -> Tensor:
    """Factor of that prior, (…, o, o)."""
    return vectors * (values.clamp_min(1.0) - 1).sqrt()[..., None, :]


def best_prior(at: Pull, fields: Tensor, n_directions: int | None = None) -> tuple[Tensor, Tensor]:
    """Growth at places with the fields (m, d, o), and the factor of the best prior there.

    Of ``n_directions`` at most, where that is given.
    """
    return _best_of(at, *at.blocks(fields), n_directions)


def _best_of(
    at: Pull, S: Tensor, Q: Tensor, n_directions: int | None = None
) -> tuple[Tensor, Tensor]:
    """Growth (m,) and factor (m, o, o) from S and Q of each run, (runs, m, o, o)."""
    share = at.shares(S)
    values, vectors = excess((share * S).sum(0), (share * Q).sum(0))
    values, vectors = values[..., :n_directions], vectors[..., :n_directions]
    factor = best_factor(values, vectors)
    if len(S) == 1:
        return growth(values), factor
    size, axes = torch.linalg.eigh(factor.mT @ S @ factor)  # (runs, m, o)
    power = (axes.mT @ (factor.mT @ Q @ factor) @ axes).diagonal(dim1=-2, dim2=-1)
    best, scale = torch.zeros_like(values[..., 0]), torch.zeros_like(values[..., 0])
    for t in SCALES.to(values):
        fall = (t * power / (1 + t * size) - torch.log1p(t * size.clamp_min(0.0))).sum(-1)
        fall = (at.shares(fall) * fall).sum(0)
        best, scale = torch.where(fall > best, fall, best), torch.where(fall > best, t, scale)
    return best, factor * scale.sqrt()[..., None, None]


def grid_growth(at: Pull, grid: Grid) -> Tensor:
    """Growth at every position of a grid, (n,), in the precision of its columns."""
    parts = []
    for columns in grid.columns.split(CHUNK, 1):
        S, Q = (_grid_squares(rows, columns, at.sizes) for rows in (at.root, at.seen))
        parts.append(_best_of(at, S, Q)[0])
    return torch.cat(parts).double()


def _grid_squares(rows: list[Tensor], columns: Tensor, sizes: list[int]) -> Tensor:
    """Squares of each run at positions with the columns (d, n, o), (runs, n, o, o)."""
    _, n, o = columns.shape
    out = []
    for own, part in zip(rows, columns.split(sizes), strict=True):
        found = (own.to(part) @ part.reshape(len(part), n * o)).reshape(-1, n, o).movedim(0, 2)
        out.append(found @ found.mT)
    return torch.stack(out)


def climb(at: Pull, field: Field, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Climb from places to maxima of the growth between them.

    Gives the places, their growth and the factors of the best priors there.
    """
    best, factor, slope = _growth_at(at, field, places)
    for _ in range(CLIMBS if len(places) else 0):
        size = torch.linalg.vector_norm(slope, dim=1, keepdim=True).clamp_min(1e-300)
        tries = torch.stack([field.within(places + s * field.unit * slope / size) for s in STEPS])
        seen = field.exact().expand(tries.flatten(0, 1)).values
        found = best_prior(at, seen)[0].unflatten(0, tries.shape[:2])
        top, which = found.max(0)
        better = top > best * (1 + 1e-4)
        if not better.any():
            break
        rows = torch.arange(len(places))
        places = torch.where(better[:, None], tries[which, rows], places)
        best, factor, slope = _growth_at(at, field, places)
    return places, best, factor


def _growth_at(at: Pull, field: Field, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Growth at places, the factor A of the best prior, and the gradient of the growth with it."""
    here = field.exact().expand(places)
    S, Q = at.blocks(here.values)
    height, A = _best_of(at, S, Q)
    toward = here.gradient.movedim(3, 1) @ A[:, None]  # (m, q, d, o), along which LA moves
    still = (here.values @ A)[:, None]
    eye = torch.eye(S.shape[-1], dtype=S.dtype)
    parts = zip(toward.split(at.sizes, 2), still.split(at.sizes, 2), at.root, at.seen, strict=True)
    slopes = []
    for (moving, own, root, seen), s, q in zip(parts, S, Q, strict=True):
        dS, dQ = ((rows @ moving).mT @ (rows @ own) for rows in (root, seen))  # (m, q, o, o)
        T = torch.linalg.inv(eye + A.mT @ s @ A)[:, None]
        change = (dQ - dS - dS @ T @ (A.mT @ q @ A)[:, None]) @ T
        slopes.append(2 * change.diagonal(dim1=-2, dim2=-1).sum(-1))
    slope = torch.stack(slopes)
    return height, A, (at.shares(slope) * slope).sum(0)


def highest(at: Pull, field: Field, grid: Grid) -> tuple[Tensor, Tensor, Tensor]:
    """Find the place of largest growth: on the grid, and climbed from its best positions.

    Gives a place (1, q), its growth (1,), and the factor (1, o, o) of the best prior there.
    """
    found = grid_growth(at, grid)
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
