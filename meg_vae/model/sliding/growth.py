r"""Where a further source would lower the energy, and by how much.

With S = LᵀΣ⁻¹L and Q = LᵀΣ⁻¹CΣ⁻¹L at a place and μ the eigenvalues of S⁻¹Q, the best full prior
there, entering from nothing, lowers J by Σ_{μ>1} (μ − 1 − log μ) or, where the covariance of the
noise was estimated, by a little less: the growth of the place. It is largest where the data least
agree with the model, so that its maximum over all places is a certificate. Where places have prior
weights w, what counts is its height, growth and (2/n) w(r) together.

Over several runs a prior AAᵀ lowers J by

.. math::
    \sum_r \tfrac{n_r}{n} [\operatorname{tr}((I + A^T S_r A)^{-1} A^T Q_r A) - \log|I + A^T S_r A|],

where in a run of share c > 0 the trace becomes −log|I − c (I + AᵀSA)⁻¹AᵀQA| / c. Its maximum has
no closed form. The means S̄ and Q̄ over the runs tell whether anything grows (some μ > 1) and give
the directions and ratios of A; its scale is the one that lowers the exact sum most.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from meg_vae.model.misfit import best_variance, growth
from meg_vae.model.sliding.data import Data
from meg_vae.model.sliding.field import Field
from meg_vae.model.sliding.prior import PlacePrior
from meg_vae.model.sliding.sources import Sources, whiten

CHUNK = 2048  # positions at a time
PEAKS = 3  # positions that are climbed from
STEPS = (0.6, 0.25, 0.1, 0.03)  # of the field's unit, tried along the gradient
CLIMBS = 6
SCALES = 2.0 ** torch.arange(-4, 4.1, 0.25, dtype=torch.float64)  # tried of a pooled prior


@dataclass(frozen=True)
class Grid:
    """Positions (n, q) at which a search begins, and their columns (d, n, o) at any scale.

    ``norms`` (n,) bring them to their own scale. Each recording has its rows once.
    """

    places: Tensor
    columns: Tensor
    norms: Tensor


@dataclass(frozen=True)
class Pull:
    """What data and model pull at: of each run rows Σ^-½ and RᵀFᵀΣ⁻¹, from which S and Q follow.

    ``weights`` are n_r / n, ``sizes`` the channels of each recording and ``shares`` those of
    `meg_vae.model.misfit`; ``prior`` holds the weights of places, if any, and n counts samples.
    Each recording is cut into ``n_pieces`` runs.
    """

    root: list[Tensor]
    seen: list[Tensor]
    weights: list[float]
    sizes: list[int]
    shares: list[float]
    prior: PlacePrior | None
    n: float
    n_pieces: int = 1

    def during(self, on: Tensor | None) -> Pull:
        """Look for sources that are active in pieces ``on`` (n_pieces,) alone; None is all.

        The samples of these are then all that count.
        """
        if on is None or (on == 1).all():
            return self
        weights = [w * float(on[k % self.n_pieces]) for k, w in enumerate(self.weights)]
        share = sum(weights)
        return replace(self, weights=[w / share for w in weights], n=share * self.n)

    def grid_squares(self, rows: list[Tensor], columns: Tensor) -> Tensor:
        """Squares of rows of each run at positions with the columns (d, n, o), (runs, n, o, o)."""
        _, n, o = columns.shape
        out = []
        for own, part in zip(rows, self.parts(columns, 0), strict=True):
            found = (own.to(part) @ part.reshape(len(part), n * o)).reshape(-1, n, o).movedim(0, 2)
            out.append(found @ found.mT)
        return torch.stack(out)

    def parts(self, stacked: Tensor, dim: int) -> list[Tensor]:
        """Rows of each run, of what holds the channels of all recordings along ``dim``."""
        return [part for part in stacked.split(self.sizes, dim) for _ in range(self.n_pieces)]

    def blocks(self, fields: Tensor) -> tuple[Tensor, Tensor]:
        """S and Q of each run at the fields (m, d, o) of some places, each (runs, m, o, o)."""
        parts = self.parts(fields, 1)
        return self._squares(self.root, parts), self._squares(self.seen, parts)

    def _squares(self, rows: list[Tensor], parts: Sequence[Tensor]) -> Tensor:
        found = [own.to(part) @ part for own, part in zip(rows, parts, strict=True)]
        return torch.stack([x.mT @ x for x in found])

    def each(self, S: Tensor, Q: Tensor) -> Iterator[tuple[Tensor, Tensor, float]]:
        """S, Q and share, run by run."""
        return zip(S, Q, self.shares, strict=True)

    def mean(self, values: Tensor) -> Tensor:
        """Mean over the runs of values (runs, ...)."""
        weights = values.new_tensor(self.weights).reshape(-1, *[1] * (values.ndim - 1))
        return (weights * values).sum(0)

    def lifted(self, growth: Tensor, places: Tensor) -> Tensor:
        """Add to a growth what the weights of its places add."""
        return growth if self.prior is None else growth + 2 / self.n * self.prior.at(places)


def pull(data: Data, sources: Sources) -> Pull:
    """Prepare the search for growth beside some sources."""
    root, seen = [], []
    for term in whiten(data, sources).runs:
        eye = torch.eye(len(term.L), dtype=term.L.dtype)
        root.append(torch.linalg.solve_triangular(term.L, eye, upper=False))
        seen.append(term.weighted(term.B).T @ root[-1])
    shares = [run.share for run in data.runs]
    return Pull(root, seen, data.weights, data.sizes, shares, data.prior, data.n, data.n_pieces)


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


def best_prior(at: Pull, fields: Tensor, n_directions: int | None = None) -> tuple[Tensor, Tensor]:
    """Growth at places with the fields (m, d, o), and the factor of the best prior there.

    Of ``n_directions`` at most, where that is given.
    """
    return _best_of(at, *at.blocks(fields), n_directions)


def _best_of(
    at: Pull, S: Tensor, Q: Tensor, n_directions: int | None = None
) -> tuple[Tensor, Tensor]:
    """Growth (m,) and factor (m, o, o) from S and Q of each run, (runs, m, o, o)."""
    if len(S) == 1:
        values, vectors = (x[..., :n_directions] for x in excess(S[0], Q[0]))
        return growth(values, at.shares[0]), best_factor(values, vectors, at.shares[0])
    values, vectors = (x[..., :n_directions] for x in excess(at.mean(S), at.mean(Q)))
    factor = best_factor(values, vectors, min(at.shares))  # no pooled μ exceeds 1 / c of the least
    A, falls = factor.double(), []
    for s, q, c in at.each(S.double(), Q.double()):  # a difference over a small share
        falls.append(_falls(A.mT @ s @ A, A.mT @ q @ A, c))
    best, which = at.mean(torch.stack(falls)).max(0)
    scale = torch.where(best > 0, SCALES[which], 0.0)
    return best.clamp_min(0.0), factor * scale.sqrt()[..., None, None]


def _falls(S: Tensor, Q: Tensor, share: float) -> Tensor:
    """Fall of J_r by a prior at all its scales t, (scales, m), from AᵀSA and AᵀQA.

    log|I + tS| / c − log|I + t(S − cQ)| / c − log|I + tS| where c > 0.
    """
    t = SCALES[:, None, None]
    size, axes = torch.linalg.eigh(S)  # (m, o)
    size = size.clamp_min(0.0)
    volume = torch.log1p(t * size)
    if not share:
        power = (axes.mT @ Q @ axes).diagonal(dim1=-2, dim2=-1)
        return (t * power / (1 + t * size) - volume).sum(-1)
    left = torch.log1p(t * torch.linalg.eigvalsh(S - share * Q).clamp_min(0.0))
    return (((volume - left) / share) - volume).sum(-1)


def grid_growth(at: Pull, grid: Grid) -> Tensor:
    """Growth at every position of a grid, (n,), in the precision of its columns."""
    parts = []
    for columns in grid.columns.split(CHUNK, 1):
        S, Q = (at.grid_squares(rows, columns) for rows in (at.root, at.seen))
        parts.append(_best_of(at, S, Q)[0])
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
        found = at.lifted(best_prior(at, seen)[0], tries.flatten(0, 1))
        found = found.unflatten(0, tries.shape[:2])
        top, which = found.max(0)
        better = top > best * (1 + 1e-4)
        if not better.any():
            break
        rows = torch.arange(len(places))
        places = torch.where(better[:, None], tries[which, rows], places)
        best, factor, slope = _growth_at(at, field, places)
    return places, best, factor


def _growth_at(at: Pull, field: Field, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Height at places, the factor A of the best prior, and the gradient of the height with it."""
    here = field.exact().expand(places)
    S, Q = at.blocks(here.values)
    rise, A = _best_of(at, S, Q)
    toward = here.gradient.movedim(3, 1) @ A[:, None]  # (m, q, d, o), along which LA moves
    still = (here.values @ A)[:, None]
    eye = torch.eye(S.shape[-1], dtype=S.dtype)
    parts = zip(at.parts(toward, 2), at.parts(still, 2), at.root, at.seen, strict=True)
    slopes = []
    for (moving, own, root, seen), (s, q, c) in zip(parts, at.each(S, Q), strict=True):
        dS, dQ = ((rows @ moving).mT @ (rows @ own) for rows in (root, seen))  # (m, q, o, o)
        size, power = A.mT @ s @ A, A.mT @ q @ A
        T = torch.linalg.inv(eye + size)
        H = torch.linalg.inv(eye + size - c * power)
        change = dQ @ H[:, None] - dS @ (T + H @ power @ T)[:, None]
        slopes.append(2 * change.diagonal(dim1=-2, dim2=-1).sum(-1))
    slope = at.mean(torch.stack(slopes))
    if at.prior is not None:
        lean = at.prior.derivatives(places)[0]
        slope[:, : lean.shape[1]] += 2 / at.n * lean
    return at.lifted(rise, places), A, slope


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
