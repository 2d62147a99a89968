"""The exact minimiser of the linear VAE's energy, certified over all positions.

Sweeps over every position find a dense start; a second-order descent settles the strongest of them;
the certificate looks at all positions again, those that want to grow join the candidates, and so on
until none does.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from meg_vae.model.exact.certificate import growth
from meg_vae.model.exact.descent import Trace, descend, let_in
from meg_vae.model.exact.dictionary import Dictionary
from meg_vae.model.exact.point import Candidates, Point, evaluate
from meg_vae.model.exact.sweeps import sweep

SWEEPS = 12  # over all positions, before the descent
CANDIDATES = 256  # positions settled together
NEARLY = -0.02  # growth above which a position may soon want to enter
ROUGH, SHARPEN = 0.1, 0.1  # tolerance of the first round; of the next, relative to what is left
FLOOR = 1e-10  # smallest noise variance, relative to the data's mean power
LEARN = {
    "learn": "scalar",
    "per_channel": "per_channel",
}  # options of the noise variance that leave it free
START_NOISE = 0.3  # where a learnt noise variance starts, relative to the data's mean power
ANNEAL_STEPS, ANNEAL_SWEEPS = 30, 5  # from START_NOISE to FLOOR
BATCH_BYTES = 2**28  # memory for one chunk of a batch


@dataclass(frozen=True)
class Solution:
    """A minimum of the energy.

    Leading dimensions are those of the data: none for (n_channels, n_samples).

    Attributes
    ----------
    factor : Tensor, shape (..., n_groups, n_orient, n_orient)
        R_g, with R_g R_gᵀ the prior covariance of the position g; zero for inactive positions.
    noise_variance : Tensor, shape (...,) or (..., n_channels)
        λ, for the whole array or for each channel.
    energy : Tensor, shape (...,)
        The profile J at the solution.
    history : Tensor, shape (n_steps, ...)
        J after every accepted step, never rising.
    certificate : Tensor, shape (...,)
        The largest violation of stationarity: q_g / s_g − 1 over the inactive positions, |γ_g(s_g −
        q_g)| over the active, and |λ(tr Σ⁻¹ − tr Σ⁻¹CΣ⁻¹)| where the noise is learnt.
    timings : dict of str: float
        Seconds spent in the sweeps, the descent and the certificate.
    """

    factor: Tensor
    noise_variance: Tensor
    energy: Tensor
    history: Tensor
    certificate: Tensor
    timings: dict[str, float]

    @property
    def gamma(self) -> Tensor:
        """Prior variance per position, tr(Γ_g) / n_orient, shape (..., n_groups)."""
        return self.factor.square().sum((-2, -1)) / self.factor.shape[-1]


def data_factor(X: Tensor) -> Tensor:
    """Reduce data to a factor of their covariance with at most as many columns as channels.

    Parameters
    ----------
    X : Tensor, shape (..., n_channels, n_samples)
        Data.

    Returns
    -------
    F : Tensor, shape (..., n_channels, min(n_channels, n_samples))
        F Fᵀ = X Xᵀ / n_samples.
    """
    d, n = X.shape[-2:]
    return (X if n <= d else torch.linalg.qr(X.mT, mode="r").R.mT) / n**0.5


def in_range(dictionary: Dictionary, F: Tensor) -> tuple[Dictionary, Tensor]:
    """Leave out directions that neither Φ nor the data reach.

    They would teach that there is no noise.

    Parameters
    ----------
    dictionary : Dictionary
        The dictionary.
    F : Tensor, shape (batch, n_channels, k)
        Factor of the data covariance.

    Returns
    -------
    dictionary : Dictionary
        The same, in the coordinates of the directions reached.
    F : Tensor, shape (batch, rank, k)
        The same, in those coordinates.
    """
    reached = dictionary.eigenvalues > 1e-12 * dictionary.eigenvalues[0]
    if reached.all():
        return dictionary, F
    unseen = dictionary.basis[:, ~reached].T @ F
    if float(unseen.square().sum()) > 1e-12 * float(F.square().sum()):
        return dictionary, F
    return dictionary.restricted(int(reached.sum())), dictionary.basis[:, reached].T @ F


def solve(
    dictionary: Dictionary,
    X: Tensor,
    *,
    noise_variance: float | str = "learn",
    orientation: str = "shared",
    tol: float = 1e-3,
    max_iter: int = 2000,
) -> Solution:
    """Find row-sparse activity that explains data, by minimising the profile J of the linear VAE.

    Parameters
    ----------
    dictionary : Dictionary
        Φ, prepared.
    X : Tensor, shape (n_channels, n_samples) or (batch, n_channels, n_samples)
        Whitened data, dimensionless; a leading dimension holds many right-hand sides.
    noise_variance : float | "learn" | "per_channel" | "anneal"
        λ: held at a number, learnt for all channels together or for each, or lowered step by step
        towards zero for data without noise.
    orientation : "shared" | "full"
        One variance for the dipoles of a position, or a full covariance among them.
    tol : float
        Target of the certificate.
    max_iter : int
        Most accepted steps of the descent.

    Returns
    -------
    solution : Solution
        The minimum, in the units of X and Φ.

    Warns
    -----
    RuntimeWarning
        If ``max_iter`` ended the descent before the certificate reached ``tol``, or if the data are
        zero.
    """
    items = X if X.ndim == 3 else X[None]
    learn = LEARN.get(str(noise_variance), "none")
    F = data_factor(items)
    if learn == "scalar":
        dictionary, F = in_range(dictionary, F)
    scale = (F.square().sum((1, 2)) / F.shape[1]).sqrt()
    silent = scale == 0
    if silent.any():
        warnings.warn(
            "the data are zero, so there is no source to find", RuntimeWarning, stacklevel=2
        )
        white = torch.eye(*F.shape[1:], dtype=F.dtype, device=F.device)
        F, scale = torch.where(silent[:, None, None], white, F), scale.masked_fill(silent, 1.0)
    per_item = (
        8
        * F.shape[1]
        * (6 * F.shape[1] + 6 * CANDIDATES * dictionary.n_orient + dictionary.Phi.shape[1])
    )
    chunk = max(1, BATCH_BYTES // per_item)
    parts = [
        _solve_chunk(
            dictionary,
            f / a[:, None, None],
            a,
            noise_variance,
            learn,
            orientation == "full",
            tol,
            max_iter,
        )
        for f, a in zip(F.split(chunk), scale.split(chunk), strict=True)
    ]
    solution = _silence(_join(parts), silent, noise_variance)
    solution = solution if X.ndim == 3 else _first(solution)
    worst = float(solution.certificate.max())
    if worst > tol:
        warnings.warn(
            f"stopped at a certificate of {worst:.2g}, above tol={tol:.2g}; "
            f"raise max_iter={max_iter}, or tol where rounding is the limit",
            RuntimeWarning,
            stacklevel=2,
        )
    return solution


def _solve_chunk(
    dictionary: Dictionary,
    F: Tensor,
    scale: Tensor,
    noise_variance: float | str,
    learn: str,
    full: bool,
    tol: float,
    max_iter: int,
) -> Solution:
    """Solve items of a batch whose data have unit mean power, and go back to their units."""
    started = time.perf_counter()
    d = dictionary.n_channels
    gamma = torch.ones(len(F), dictionary.n_groups, dtype=F.dtype, device=F.device) * (
        d / dictionary.n_groups
    )
    gamma = gamma * (~dictionary.silent)
    if isinstance(noise_variance, str):
        noise = torch.full_like(scale, START_NOISE)
    else:
        noise = noise_variance / scale**2
    if noise_variance == "anneal":
        schedule = torch.logspace(
            torch.tensor(START_NOISE).log10(),
            torch.tensor(FLOOR).log10(),
            ANNEAL_STEPS,
            dtype=F.dtype,
        )
        for level in schedule:
            noise = torch.full_like(scale, float(level))
            gamma, noise = sweep(
                dictionary, F, gamma, noise, n_sweeps=ANNEAL_SWEEPS, learn=False, prune=0.0
            )
    else:
        gamma, noise = sweep(dictionary, F, gamma, noise, n_sweeps=SWEEPS, learn=learn != "none")
    seconds = time.perf_counter() - started
    noise = noise[:, None].expand(len(F), d).contiguous()
    found = minimise(
        dictionary, F, gamma, noise, learn=learn, full=full, tol=tol, max_iter=max_iter
    )
    volume = 2 * d * scale.log()  # of the change of units
    noise = found.noise_variance * scale[:, None] ** 2
    return Solution(
        factor=found.factor * (scale[:, None] / dictionary.norms)[..., None, None],
        noise_variance=noise if learn == "per_channel" else noise[:, 0],
        energy=found.energy + volume,
        history=found.history + volume,
        certificate=found.certificate,
        timings={"sweeps": seconds} | found.timings,
    )


def _join(parts: list[Solution]) -> Solution:
    """Put the chunks of a batch together; a history that ended early stays at its last energy."""
    longest = max(len(part.history) for part in parts)
    histories = [
        torch.cat([p.history, p.history[-1:].expand(longest - len(p.history), -1)]) for p in parts
    ]
    return Solution(
        factor=torch.cat([p.factor for p in parts]),
        noise_variance=torch.cat([p.noise_variance for p in parts]),
        energy=torch.cat([p.energy for p in parts]),
        history=torch.cat(histories, 1),
        certificate=torch.cat([p.certificate for p in parts]),
        timings={k: sum(p.timings[k] for p in parts) for k in parts[0].timings},
    )


def _silence(solution: Solution, silent: Tensor, noise_variance: float | str) -> Solution:
    """Give items whose data are zero no source, and the noise held or the smallest there is."""
    if not silent.any():
        return solution
    noise = FLOOR if isinstance(noise_variance, str) else noise_variance
    return replace(
        solution,
        factor=solution.factor.masked_fill(silent[:, None, None, None], 0.0),
        noise_variance=torch.where(
            silent.reshape(-1, *[1] * (solution.noise_variance.ndim - 1)),
            noise,
            solution.noise_variance,
        ),
    )


def _first(batch: Solution) -> Solution:
    return Solution(
        batch.factor[0],
        batch.noise_variance[0],
        batch.energy[0],
        batch.history[:, 0],
        batch.certificate[0],
        batch.timings,
    )


def minimise(
    dictionary: Dictionary,
    F: Tensor,
    gamma: Tensor,
    noise: Tensor,
    *,
    learn: str,
    full: bool,
    tol: float,
    max_iter: int,
) -> Solution:
    """Descend from a dense start until the certificate over all positions is below ``tol``.

    Parameters
    ----------
    dictionary : Dictionary
        All positions.
    F : Tensor, shape (batch, n_channels, k)
        Factor of the data covariance.
    gamma : Tensor, shape (batch, n_groups)
        Start.
    noise : Tensor, shape (batch, n_channels)
        Noise variances to start from.
    learn : str
        "none", "scalar" or "per_channel".
    full : bool
        Learn a full prior covariance per position.
    tol : float
        Target of the certificate.
    max_iter : int
        Most accepted steps.

    Returns
    -------
    solution : Solution
        In the units of the normalised dictionary.
    """
    clock = _Clock()
    o = dictionary.n_orient
    eye = torch.eye(o, dtype=torch.float64, device=F.device)
    chosen = _strongest(gamma, gamma > 0)
    candidates = Candidates(dictionary.columns(chosen), F, full and o > 1, learn)
    point = evaluate(candidates, gamma[:, chosen, None, None].sqrt() * eye, noise)
    trace = Trace([point.J], max_iter)
    floor = FLOOR * float(F.square().sum() / F.shape[0] / F.shape[1])
    dtype, aim = torch.float32, ROUGH
    while True:
        point, steepest, entered = _settle(candidates, point, tol=aim, floor=floor, trace=trace)
        clock.lap("descent")
        wish = growth(dictionary, point, full=candidates.full, dtype=dtype)
        wish[:, chosen] = torch.where(point.active, -1.0, wish[:, chosen])
        clock.lap("certificate")
        largest = float(wish.max())
        done = trace.left <= 0 or (largest <= tol and aim <= tol)
        stuck = (
            aim <= tol and dtype == torch.float64 and not entered
        )  # rounding hides what is left to gain
        if stuck or (done and dtype == torch.float64):
            break
        dtype = torch.float64 if done or not entered else torch.float32
        aim = max(tol, min(aim, SHARPEN * largest))
        if largest <= tol:
            continue
        factor = _scatter(point.R, chosen, dictionary.n_groups)
        active = factor.flatten(2).any(2).any(0)
        eager = _strongest(wish, wish > NEARLY)
        chosen = torch.cat([active.nonzero()[:, 0], eager[~active[eager]]])
        candidates = Candidates(dictionary.columns(chosen), F, candidates.full, learn)
        point = evaluate(candidates, factor[:, chosen], point.noise)
    certificate = torch.maximum(wish.amax(1).clamp_min(0.0), steepest)
    return Solution(
        factor=_scatter(point.R, chosen, dictionary.n_groups),
        noise_variance=point.noise,
        energy=point.J,
        history=torch.stack(trace.energies),
        certificate=certificate,
        timings=clock.laps,
    )


def _settle(
    candidates: Candidates, point: Point, *, tol: float, floor: float, trace: Trace
) -> tuple[Point, Tensor, bool]:
    """Descend among the candidates until none of them wants to enter."""
    any_entered = False
    while True:
        point, steepest = descend(candidates, point, tol=tol / 10, floor=floor, trace=trace)
        if trace.left <= 0:
            return point, steepest, any_entered
        point, entered = let_in(candidates, point, tol=tol)
        if not entered.any():
            return point, steepest, any_entered
        any_entered = True
        trace.add(point)


def _strongest(score: Tensor, eligible: Tensor) -> Tensor:
    """Give the union over the batch of each item's strongest eligible positions."""
    score = torch.where(eligible, score, -torch.inf)
    most = min(CANDIDATES, score.shape[1])
    best, where = score.topk(most, 1)
    return where[best > -torch.inf].unique()


def _scatter(R: Tensor, groups: Tensor, n_groups: int) -> Tensor:
    out = R.new_zeros(len(R), n_groups, *R.shape[2:])
    out[:, groups] = R
    return out


class _Clock:
    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._since = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = self.laps.get(name, 0.0) + now - self._since
        self._since = now
