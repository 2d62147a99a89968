"""Selective smoothing: marginalising removes a bad minimum of the twin and keeps the truth."""

from __future__ import annotations

from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.colors import SymLogNorm
from talk_common import (
    JOBS,
    OUT,
    Jobs,
    Out,
    Problem,
    Quick,
    Seed,
    collect,
    recovered,
    run,
    sparse_problem,
    write,
)

from meg_vae import SparseAutoencoder
from meg_vae.model.energy import profile
from meg_vae.model.penalties import row_penalty
from meg_vae.model.reweighted import twin_energy
from meg_vae.viz.style import PALETTE

LEVELS = (1e-1, 1e-2, 1e-4, 1e-6)  # λ, relative to the data's mean power
PLANE, PLANE_POINTS = 1e-4, 37  # the λ of the plane, and its points each way
WAY = np.concatenate([[0.0], np.logspace(-4, -0.5, 20), np.linspace(0.35, 1, 20)])
TRIES = 50  # starts looked through for a bad minimum
PENALTY = "log"


def bad_minimum(problem: Problem, seed: int) -> np.ndarray:
    """Find a minimum of the autoencoder that fits the data with the wrong rows.

    Parameters
    ----------
    problem : Problem
        The problem.
    seed : int
        First seed of the starts.

    Returns
    -------
    U : ndarray, shape (n_dipoles, n_samples)
        The activity there.

    Raises
    ------
    ValueError
        If every start recovers the truth.
    """
    power = float(np.mean(problem.X**2))
    for k in range(TRIES):
        model = SparseAutoencoder(
            noise_variance=1e-6 * power,
            n_starts=1,
            random_start=True,
            random_state=seed + k,
            anneal=False,
            max_iter=5000,
            penalty=PENALTY,
        )
        U = model.fit(problem.Phi, problem.X).U_
        if not recovered(U, problem.U):
            return U
    raise ValueError(
        f"seed={seed}: all {TRIES} starts of the twin recover the truth, so there is no bad "
        "minimum to look at; choose another seed, or more nonzero rows"
    )


def energies(problem: Problem, U: np.ndarray, level: float) -> tuple[float, float]:
    """Evaluate both energies at one activity, with everything else at its best.

    The VAE is taken at γ = ‖u‖²/n, the prior variance that such an activity calls for. The twin's
    row norms are rounded off at λ, as its annealing does: that smooths all its minima alike.

    Parameters
    ----------
    problem : Problem
        The problem.
    U : ndarray, shape (n_dipoles, n_samples)
        Activity.
    level : float
        λ, relative to the data's mean power.

    Returns
    -------
    twin, vae : float
        Energies per sample.
    """
    noise = level * float(np.mean(problem.X**2))
    n = problem.X.shape[1]
    penalty = row_penalty(PENALTY)
    twin = twin_energy(problem.Phi, problem.X, U, penalty, noise_variance=noise, smoothing=level)
    C = torch.as_tensor(problem.X @ problem.X.T / n)
    gamma = torch.as_tensor((U**2).sum(1) / n)
    vae = profile(torch.as_tensor(problem.Phi), gamma, torch.tensor(noise, dtype=C.dtype), C)
    return twin, float(vae)


def picture(problem: Problem, seed: int, n_points: int) -> list[dict[str, object]]:
    """Evaluate the energies along a line, and over a plane, through a bad minimum and the truth.

    Parameters
    ----------
    problem : Problem
        The problem.
    seed : int
        Seed of the bad minimum.
    n_points : int
        Points of the line.

    Returns
    -------
    rows : list of dict
        A row per point.
    """
    bad = bad_minimum(problem, seed)
    spread = np.linalg.pinv(problem.Phi) @ problem.X  # the solution of least norm: dense
    points = [("line", level, t, 0.0) for level in LEVELS for t in _around(n_points)]
    grid = np.linspace(-0.4, 1.4, PLANE_POINTS)
    points += [("plane", PLANE, t, s) for t in grid for s in np.linspace(-0.4, 0.4, PLANE_POINTS)]
    rows = []
    for part, level, along, across in points:
        middle = (1 - along) * bad + along * problem.U
        twin, vae = energies(problem, middle + across * (spread - (bad + problem.U) / 2), level)
        where = {"part": part, "minimum": seed, "noise_variance": level}
        rows.append({**where, "along": along, "across": across, "autoencoder": twin, "VAE": vae})
    return rows


def barriers(problem: Problem, seed: int) -> list[dict[str, object]]:
    """Measure how far each energy rises on the straight way from a bad minimum to the truth.

    Parameters
    ----------
    problem : Problem
        The problem.
    seed : int
        Seed of the bad minimum.

    Returns
    -------
    rows : list of dict
        A row per λ; the energies are the highest of the way above that of its beginning.
    """
    bad = bad_minimum(problem, seed)
    rows = []
    for level in LEVELS:
        way = np.array([energies(problem, (1 - t) * bad + t * problem.U, level) for t in WAY])
        twin, vae = (way - way[0]).max(0)
        where = {"part": "barrier", "minimum": seed, "noise_variance": level}
        rows.append({**where, "autoencoder": twin, "VAE": vae})
    return rows


def experiment(
    n_channels: int,
    n_dipoles: int,
    n_active: int,
    n_points: int,
    n_minima: int,
    seed: int,
    jobs: int = 1,
) -> pd.DataFrame:
    """Compare the energies around one bad minimum, and on the way from several to the truth.

    Parameters
    ----------
    n_channels, n_dipoles, n_active : int
        d, K and ρ0; n = d.
    n_points : int
        Points of the line.
    n_minima : int
        Bad minima.
    seed : int
        Seed.
    jobs : int
        Processes.

    Returns
    -------
    table : DataFrame
        A row per point: ``along`` is 0 at the bad minimum and 1 at the truth; ``across`` leads
        towards the dense solution of X = ΦU.
    """
    problem = sparse_problem(n_channels, n_dipoles, n_active, n_channels, decades=1, seed=seed)
    cells = [(picture, problem, seed, n_points)]
    cells += [(barriers, problem, seed + TRIES * k) for k in range(n_minima)]
    return collect(_call, cells, desc="smoothing", unit="minimum", jobs=jobs)


def _call(work: Callable[..., list[dict[str, object]]], *args: object) -> list[dict[str, object]]:
    return work(*args)


def _around(n: int) -> np.ndarray:
    """Points from -0.4 to 1.4, dense at both solutions where the energies are sharp."""
    fine = np.logspace(-6, np.log10(0.4), n // 4)
    return np.sort(np.concatenate([[0.0, 1.0], -fine, fine, 1 - fine, 1 + fine]))


def draw(table: pd.DataFrame) -> plt.Figure:
    """Draw the two energies along the line and over the plane, and the barriers.

    Parameters
    ----------
    table : DataFrame
        Of `experiment`.

    Returns
    -------
    figure : Figure
        The figure.
    """
    figure, panels = plt.subplot_mosaic(
        [["line 0", "line 1", "barriers"], ["plane 0", "plane 1", "barriers"]],
        figsize=(11.4, 6.4),
        width_ratios=(1, 1, 0.9),
        layout="constrained",
    )
    line, plane = table[table["part"] == "line"], table[table["part"] == "plane"]
    for k, name in enumerate(("autoencoder", "VAE")):
        upper, lower = panels[f"line {k}"], panels[f"plane {k}"]
        _draw_line(upper, line, name)
        _draw_plane(lower, plane, name)
        upper.set_title(f"{name}: along the line", fontsize=9.5)
        lower.set_title(f"{name}: over a plane, λ = {_power(PLANE)}", fontsize=9.5)
        for ax in (upper, lower):
            ax.axvline(0, color=PALETTE[1], lw=0.9, ls="--")
            ax.axvline(1, color=PALETTE[2], lw=0.9, ls="--")
            ax.set_xticks([0, 0.5, 1], ["bad\nminimum", "halfway", "truth"])
    figure.colorbar(
        panels["plane 1"].collections[0],
        ax=panels["plane 1"],
        label="energy above the lowest\n(nats × 2 per sample)",
        ticks=[0, 1, 3, 10, 30, 100],
        format="%g",
    )
    _draw_barriers(panels["barriers"], table[table["part"] == "barrier"])
    return figure


def _power(level: float) -> str:
    return f"10$^{{{np.log10(level):.0f}}}$"


def _draw_line(ax: plt.Axes, line: pd.DataFrame, name: str) -> None:
    for k, (level, part) in enumerate(line.groupby("noise_variance", sort=False)):
        at_truth = part.loc[part["along"].sub(1).abs().idxmin(), name]
        ax.plot(part["along"], part[name] - at_truth, color=PALETTE[k], label=_power(level), lw=1.3)
    ax.set_ylabel("energy above the truth's\n(nats × 2 per sample)")
    ax.set_ylim(None, 1.35 * ax.get_ylim()[1])
    ax.legend(
        title="λ (part of the data's power)",
        ncols=4,
        fontsize=7.5,
        title_fontsize=8,
        columnspacing=0.8,
        handlelength=1.0,
    )


def _draw_plane(ax: plt.Axes, plane: pd.DataFrame, name: str) -> None:
    """Draw levels of the energy, closer together near its lowest, the same for both models."""
    grid = plane.pivot(index="across", columns="along", values=name)
    above = grid - grid.to_numpy().min()
    levels = np.concatenate([[0], np.geomspace(0.5, 250, 22)])
    norm = SymLogNorm(1, vmin=0, vmax=250)
    image = ax.contourf(grid.columns, grid.index, above, levels, cmap="viridis", norm=norm)
    image.set_rasterized(True)
    ax.set_ylabel("towards the dense solution")
    ax.grid(visible=False)


def _draw_barriers(ax: plt.Axes, table: pd.DataFrame) -> None:
    """Draw every barrier; a little to the left those of the twin, to the right the VAE's."""
    for name, color, marker, shift in (
        ("autoencoder", PALETTE[1], "D", 0.75),
        ("VAE", PALETTE[0], "o", 1.33),
    ):
        x = table["noise_variance"] * shift
        ax.plot(x, table[name], marker, color=color, ms=4, mfc="none", label=name)
    ax.set_xscale("log")
    ax.set_yscale("symlog", linthresh=0.1)
    ax.set_ylim(-0.05, 2 * table["autoencoder"].max())
    ax.set(xlabel="λ (part of the data's power)", ylabel="barrier (nats × 2 per sample)")
    n = table["minimum"].nunique()
    ax.set_title(f"highest rise on the way to the truth,\n{n} bad minima", fontsize=9.5)
    ax.legend(loc="upper right")


def main(
    quick: Quick = False,
    out: Out = OUT,
    seed: Seed = 0,
    jobs: Jobs = JOBS,
    n_channels: int = 15,
    n_dipoles: int = 40,
    n_active: int = 10,
) -> None:
    """Compare the two energies between a bad minimum of the twin and the truth."""
    n_points, n_minima = (60, 2) if quick else (160, 20)
    table = experiment(n_channels, n_dipoles, n_active, n_points, n_minima, seed, jobs)
    write("talk_smoothing", table, draw, out)


if __name__ == "__main__":
    run(main)
