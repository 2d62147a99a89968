"""Selective smoothing: marginalising removes a bad minimum of the twin and keeps the truth."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from talk_common import OUT, Out, Problem, Quick, Seed, recovered, run, sparse_problem, write
from tqdm.auto import tqdm

from meg_vae import SparseAutoencoder
from meg_vae.model.energy import profile
from meg_vae.model.penalties import row_penalty
from meg_vae.model.reweighted import twin_energy
from meg_vae.viz.style import PALETTE

LEVELS = (1e-1, 1e-2, 1e-4, 1e-6)  # λ, relative to the data's mean power
PLANE, PLANE_POINTS = 1e-4, 37  # the λ of the plane, and its points each way
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
    RuntimeError
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
    raise RuntimeError(f"all {TRIES} starts recover the truth; choose another seed")


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


def experiment(
    n_channels: int, n_dipoles: int, n_active: int, n_points: int, seed: int
) -> pd.DataFrame:
    """Evaluate the energies along a line, and over a plane, through the bad minimum and the truth.

    Parameters
    ----------
    n_channels, n_dipoles, n_active : int
        d, K and ρ0; n = d.
    n_points : int
        Points of the line.
    seed : int
        Seed.

    Returns
    -------
    table : DataFrame
        A row per point: ``along`` is 0 at the bad minimum and 1 at the truth; ``across`` leads
        towards the dense solution of X = ΦU.
    """
    problem = sparse_problem(n_channels, n_dipoles, n_active, n_channels, decades=1, seed=seed)
    bad = bad_minimum(problem, seed)
    spread = np.linalg.pinv(problem.Phi) @ problem.X  # the solution of least norm: dense
    points = [("line", level, t, 0.0) for level in LEVELS for t in _around(n_points)]
    grid = np.linspace(-0.4, 1.4, PLANE_POINTS)
    points += [("plane", PLANE, t, s) for t in grid for s in np.linspace(-0.4, 0.4, PLANE_POINTS)]
    rows = []
    for part, level, along, across in tqdm(points, desc="smoothing", unit="point"):
        middle = (1 - along) * bad + along * problem.U
        U = middle + across * (spread - (bad + problem.U) / 2)
        twin, vae = energies(problem, U, level)
        rows.append(
            {
                "part": part,
                "noise_variance": level,
                "along": along,
                "across": across,
                "autoencoder": twin,
                "VAE": vae,
            }
        )
    return pd.DataFrame(rows)


def _around(n: int) -> np.ndarray:
    """Points from -0.4 to 1.4, dense at both solutions where the energies are sharp."""
    fine = np.logspace(-6, np.log10(0.4), n // 4)
    return np.sort(np.concatenate([[0.0, 1.0], -fine, fine, 1 - fine, 1 + fine]))


def draw(table: pd.DataFrame) -> plt.Figure:
    """Draw the two energies along the line and over the plane.

    Parameters
    ----------
    table : DataFrame
        Of `experiment`.

    Returns
    -------
    figure : Figure
        The figure.
    """
    figure, axes = plt.subplots(2, 2, figsize=(8.8, 6.6), layout="constrained")
    line, plane = table[table["part"] == "line"], table[table["part"] == "plane"]
    for column, name in enumerate(("autoencoder", "VAE")):
        ax = axes[0, column]
        for k, (level, part) in enumerate(line.groupby("noise_variance", sort=False)):
            at_truth = part.loc[part["along"].sub(1).abs().idxmin(), name]
            label = f"10$^{{{np.log10(level):.0f}}}$"
            ax.plot(part["along"], part[name] - at_truth, color=PALETTE[k], label=label, lw=1.3)
        ax.set_title(f"{name}: along the line", fontsize=9.5)
        ax.set_ylabel("energy above the truth's\n(nats × 2 per sample)")
        grid = plane.pivot(index="across", columns="along", values=name)
        depth = np.log10(1 + grid - grid.to_numpy().min())
        image = axes[1, column].contourf(grid.columns, grid.index, depth, 24, cmap="viridis")
        for part in image.get_children():
            part.set_rasterized(True)
        figure.colorbar(image, ax=axes[1, column], label="log₁₀(1 + energy above the lowest)")
        axes[1, column].set_title(
            f"{name}: over a plane, λ = 10$^{{{np.log10(PLANE):.0f}}}$", fontsize=9.5
        )
        axes[1, column].set_ylabel("towards the dense solution")
        axes[1, column].grid(visible=False)
        for panel in axes[:, column]:
            panel.axvline(0, color=PALETTE[1], lw=0.9, ls="--")
            panel.axvline(1, color=PALETTE[2], lw=0.9, ls="--")
        axes[0, column].set_xticks([0, 0.5, 1], ["bad\nminimum", "halfway", "truth"])
        axes[1, column].set_xticks([0, 0.5, 1], ["bad\nminimum", "halfway", "truth"])
    for ax in axes[0]:
        ax.set_ylim(None, 1.3 * ax.get_ylim()[1])
        ax.legend(
            title="λ (part of the data's power)",
            ncols=4,
            fontsize=7.5,
            title_fontsize=8,
            columnspacing=1,
            handlelength=1.2,
        )
    return figure


def main(
    quick: Quick = False,
    out: Out = OUT,
    seed: Seed = 0,
    n_channels: int = 15,
    n_dipoles: int = 40,
    n_active: int = 10,
) -> None:
    """Compare the two energies between a bad minimum of the twin and the truth."""
    table = experiment(n_channels, n_dipoles, n_active, 60 if quick else 160, seed)
    write("talk_smoothing", table, draw, out)


if __name__ == "__main__":
    run(main)
