"""Fits of spikes on a line: places free, and on a grid."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from talk_places_data import Line, score

from meg_vae import SlidingVAE, SparseAutoencoder, SparseVAE
from meg_vae.model.penalties import RowPenalty, row_penalty
from meg_vae.model.sliding.data import Data, Run
from meg_vae.model.sliding.descent import Effort, settle, stationarity
from meg_vae.model.sliding.field import Field
from meg_vae.model.sliding.sources import Sources, whiten
from meg_vae.model.solve import data_factor

START, FINAL, LEVELS = 0.3, 1e-6, 10  # λ, relative to the data's mean power
SPACING = 0.02  # of the grid
EFFORT, LAST_EFFORT = Effort(tol=1e-2, steps=15, rounds=8), Effort(tol=1e-4)
STEPS, LAST = 30, 600  # of the twin at each level, and at the last


class End(NamedTuple):
    """Where a descent ended.

    Attributes
    ----------
    energy : float
        Per sample.
    certificate : float
        Largest derivative left, for the VAE; largest relative change of the last step, for the
        autoencoder.
    n_found : int
        Sources found.
    error : float
        Largest distance between a true place and the one found for it, in widths.
    recovered : bool
        Whether all places are right and there is none beside.
    """

    energy: float
    certificate: float
    n_found: int
    error: float
    recovered: bool


def levels(anneal: bool) -> np.ndarray:
    """Give the λ to go through.

    Parameters
    ----------
    anneal : bool
        Lower it step by step; or hold it at the last, for as many rounds as that takes.

    Returns
    -------
    levels : ndarray
        One λ a round.
    """
    return np.geomspace(START, FINAL, LEVELS) if anneal else np.full(3, FINAL)


def vae_from(line: Line, places: np.ndarray, gamma: np.ndarray, *, anneal: bool = True) -> End:
    """Descend the VAE's energy from places and variances, λ lowered step by step.

    A latent that is switched off comes back at the next level where it was, with variance λ: the
    twin's rounding does not let go of a row either before λ has.

    Parameters
    ----------
    line : Line
        The problem.
    places, gamma : ndarray, shape (m,)
        Places and variances of the start.
    anneal : bool
        Lower λ step by step; or hold it.

    Returns
    -------
    end : End
        Where it ended.
    """
    field = Field(line.field, line.width / 2, confine=lambda r: np.clip(r, 0, 1))
    run = Run(data_factor(torch.as_tensor(line.X)), line.X.shape[1])
    data = Data((run,), learn=False)
    places, gamma = places.copy(), gamma.copy()
    for k, noise in enumerate(ways := levels(anneal)):
        r, A = (torch.as_tensor(x) for x in (places[:, None], np.sqrt(gamma)[:, None, None]))
        start = Sources.at(field, r, A, torch.tensor(noise, dtype=torch.float64))
        sources = settle(data, start, field, LAST_EFFORT if k == len(ways) - 1 else EFFORT)
        now = sources.places[:, 0].numpy()
        kept = linear_sum_assignment(np.abs(now[:, None] - places))[1]
        gamma = np.full(len(places), noise)
        places[kept], gamma[kept] = now, sources.factors[:, 0, 0].square().numpy()
    at = whiten(data, sources)
    encoder = torch.cholesky_solve(sources.patterns, at.runs[0].L).T
    U = (sources.factors[:, 0] * encoder).numpy() @ line.X
    left = stationarity(data, sources, field)[0]
    return End(float(at.energy), left, *score(line, now, U))


def twin_from(line: Line, places: np.ndarray, gamma: np.ndarray, *, anneal: bool = True) -> End:
    """Descend the autoencoder's energy, with its smoothing lowered along with λ.

    Parameters
    ----------
    line : Line
        The problem.
    places, gamma : ndarray, shape (m,)
        Places and variances of the start.
    anneal : bool
        Lower λ step by step; or hold it.

    Returns
    -------
    end : End
        Where it ended.
    """
    penalty = row_penalty("log")
    damping = 1e-3
    for k, noise in enumerate(ways := levels(anneal)):
        for _ in range(LAST if k == len(ways) - 1 else STEPS):
            at = _solved(line, places, gamma, noise)
            before = gamma
            square = np.square(at.U).mean(1)
            gamma = penalty.variance(torch.as_tensor(square + noise)).numpy()
            new, damping = _slid(line, places, gamma, noise, damping)
            change = max(
                np.abs(np.sqrt(gamma) - np.sqrt(before)).max() / np.sqrt(gamma.max()),
                np.abs(new - places)[square > 1e-6].max(initial=0.0) / line.width,
            )
            places = new
            if change < 1e-6:
                break
    at = _solved(line, places, gamma, noise)
    return End(_twin_energy(line, at, noise, penalty), float(change), *score(line, places, at.U))


class _Solution(NamedTuple):
    """Weighted least squares at some places: columns, their slopes, activity, and misfit."""

    L: np.ndarray
    slope: np.ndarray
    U: np.ndarray
    left: np.ndarray
    cost: float


def _solved(line: Line, places: np.ndarray, gamma: np.ndarray, noise: float) -> _Solution:
    """Find the best activity: ‖X − LU‖² / (nλ) + Σ‖u‖² / (nγ) at its least."""
    values, slope = line.field(places[:, None])
    L = values[:, :, 0].T
    Sigma = (L * gamma) @ L.T + noise * np.eye(len(L))
    Y = np.linalg.solve(Sigma, line.X)
    cost = float((line.X * Y).sum() / line.X.shape[1])
    return _Solution(L, slope[:, :, 0, 0].T, gamma[:, None] * (L.T @ Y), noise * Y, cost)


def _slid(
    line: Line, places: np.ndarray, gamma: np.ndarray, noise: float, damping: float
) -> tuple[np.ndarray, float]:
    """Move the places downhill at given weights by a damped Gauss–Newton step."""
    at = _solved(line, places, gamma, noise)
    n = line.X.shape[1]
    gradient = -2 / (n * noise) * ((at.slope.T @ at.left) * at.U).sum(1)
    # What the activity makes up for when a place moves is not misfit (variable projection).
    Sigma = (at.L * gamma) @ at.L.T / noise + np.eye(len(at.L))
    bent = at.slope.T @ np.linalg.solve(Sigma, at.slope)
    H = 2 / (n * noise) * bent * (at.U @ at.U.T)
    for _ in range(10):
        own = damping * H.diagonal() + 1e-12 * H.diagonal().max() + 1e-300
        step = -np.linalg.solve(H + np.diag(own), gradient)
        step = np.clip(step, -line.width / 2, line.width / 2)
        new = np.clip(places + step, 0, 1)
        if _solved(line, new, gamma, noise).cost <= at.cost:
            return new, max(damping / 5, 1e-9)
        damping = min(damping * 10, 1e9)
    return places, damping


def _twin_energy(line: Line, at: _Solution, noise: float, penalty: RowPenalty) -> float:
    """Evaluate the autoencoder's energy per sample."""
    n = line.X.shape[1]
    cost = penalty.value(torch.as_tensor(np.square(at.U).sum(1) / n + noise)).sum()
    return float((at.left**2).sum() / (n * noise) + len(line.X) * np.log(noise) + cost)


def on_grid(line: Line) -> list[tuple[str, End]]:
    """Fit VAE and autoencoder on a grid of places, and let the VAE's slide from there.

    Parameters
    ----------
    line : Line
        The problem.

    Returns
    -------
    ends : list of tuple
        Name of each method and where it ended.
    """
    grid = np.arange(0, 1 + SPACING / 2, SPACING)[:, None]
    Phi = line.field(grid)[0][:, :, 0].T
    ends = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # what creeps is counted where it is
        vae = SparseVAE(noise_variance="anneal").fit(Phi, line.X)
        twin = SparseAutoencoder().fit(Phi, line.X)
        for name, model in (("VAE, on the grid", vae), ("autoencoder, on the grid", twin)):
            kept = np.linalg.norm(model.U_, axis=1) > 0
            found = score(line, grid[kept, 0], model.U_[kept])
            ends.append((name, End(model.energy_, model.certificate_, *found)))
        free = SlidingVAE(noise_variance=1e-6).fit(line.field, grid, line.X)
    found = score(line, free.places_[:, 0], free.U_[:, 0])
    ends.append(
        ("VAE, from the grid's minimum, then free", End(free.energy_, free.stationarity_, *found))
    )
    return ends
