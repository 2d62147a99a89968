"""No bad local minima: where many random starts end, for the VAE and for its deterministic twin."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from talk_common import LOOKS, OUT, Out, Problem, Quick, Seed, recovered, run, sparse_problem, write
from tqdm.auto import tqdm

from meg_vae import SparseAutoencoder
from meg_vae.model.encoders import optimal_encoder
from meg_vae.model.exact.dictionary import Dictionary
from meg_vae.model.exact.rounds import minimise
from meg_vae.model.solve import data_factor

NOISE = 1e-8  # λ, relative to the data's mean power; the same for all
SPREAD = 2.0  # standard deviation of log γ in a random start
SAME = 1e-3  # energies closer than this are one minimum, nats × 2 per sample


@dataclass(frozen=True)
class Regime:
    """Sizes of a problem, as fractions of d, and how far its row norms spread."""

    name: str
    active: float
    samples: float
    decades: float


REGIMES = (
    Regime("spread norms\nρ₀ = ⅔d, n = d", 2 / 3, 1, 2),
    Regime("spread norms\nρ₀ = d−1, n = d", 0.999, 1, 2),
    Regime("equal norms\nρ₀ = d−1, n = d", 0.999, 1, 0),
    Regime("spread norms\nρ₀ = d, n = d", 1, 1, 2),
    Regime("equal norms\nρ₀ = ⅔d, n = 3", 2 / 3, 0.2, 0),
    Regime("spread norms\nρ₀ = ⅔d, n = 1", 2 / 3, 0, 2),
)
TWINS = {
    "autoencoder, ℓ2,p": {"penalty": "lp", "decoder_penalty": "bounded", "anneal": False},
    "autoencoder, log": {"penalty": "log", "anneal": False},
    "autoencoder, log, annealed": {"penalty": "log", "noise_variance": "anneal"},
}


def vae_from(problem: Problem, seed: int) -> tuple[float, bool]:
    """Descend the VAE's energy at fixed λ from a random γ.

    Parameters
    ----------
    problem : Problem
        The problem.
    seed : int
        Seed of the start.

    Returns
    -------
    energy : float
        J at the end.
    success : bool
        Whether U was recovered.
    """
    d, K = problem.Phi.shape
    dictionary = Dictionary(problem.Phi)
    X = torch.as_tensor(problem.X)
    scale = X.square().mean().sqrt()
    logs = SPREAD * np.random.default_rng(seed).standard_normal((1, K))
    noise = torch.full((1, d), NOISE, dtype=torch.float64)
    found = minimise(
        dictionary,
        data_factor(X / scale)[None],
        torch.as_tensor(np.exp(logs)),
        noise,
        learn="none",
        full=False,
        tol=1e-5,
        max_iter=3000,
    )
    w_x = found.factor[0, :, 0, 0]
    active = w_x > 0
    U = np.zeros_like(problem.U)
    encoder = optimal_encoder(dictionary.Phi[:, active] * w_x[active], noise[0])
    U[active.numpy()] = (w_x[active, None] * (encoder.W_z @ X)).numpy()
    return float(found.energy[0]), recovered(U, problem.U)


def twin_from(problem: Problem, seed: int, **options: object) -> tuple[float, bool]:
    """Descend the autoencoder's energy from one random start.

    Parameters
    ----------
    problem : Problem
        The problem.
    seed : int
        Seed of the start.
    **options : object
        Options of `SparseAutoencoder`.

    Returns
    -------
    energy : float
        Its energy at the end.
    success : bool
        Whether U was recovered.
    """
    options = {"noise_variance": NOISE * float(np.mean(problem.X**2))} | options
    model = SparseAutoencoder(
        n_starts=1, random_start=True, random_state=seed, max_iter=2000, **options
    )
    with warnings.catch_warnings():
        # a start that creeps is counted where it is
        warnings.filterwarnings("ignore", "stopped by max_iter", RuntimeWarning)
        model.fit(problem.Phi, problem.X)
    return model.energy_, recovered(model.U_, problem.U)


def n_minima(energies: pd.Series) -> int:
    """Count the minima that energies tell apart.

    Parameters
    ----------
    energies : Series
        Energies that starts ended with.

    Returns
    -------
    n : int
        One more than the gaps between them.
    """
    return 1 + int((np.diff(np.sort(energies)) > SAME).sum())


def experiment(
    n_channels: int,
    n_dipoles: int,
    regimes: tuple[Regime, ...],
    n_starts: int,
    n_problems: int,
    seed: int,
) -> pd.DataFrame:
    """Start every method at random on every problem.

    Parameters
    ----------
    n_channels, n_dipoles : int
        d and K.
    regimes : tuple of Regime
        Kinds of problems.
    n_starts, n_problems : int
        Starts per problem, and problems per regime.
    seed : int
        First seed.

    Returns
    -------
    table : DataFrame
        A row per start.
    """
    rows = []
    cells = [(r, k) for r in regimes for k in range(n_problems)]
    for regime, k in tqdm(cells, desc="minima", unit="problem"):
        rho = int(regime.active * n_channels)
        n = max(1, int(regime.samples * n_channels))
        problem = sparse_problem(
            n_channels, n_dipoles, rho, n, decades=regime.decades, seed=seed + k
        )
        for start in range(n_starts):
            ends = {"VAE": vae_from(problem, start)}
            ends |= {name: twin_from(problem, start, **o) for name, o in TWINS.items()}
            rows += [
                {
                    "regime": regime.name.replace("\n", ", "),
                    "n_channels": n_channels,
                    "n_dipoles": n_dipoles,
                    "n_active": rho,
                    "n_samples": n,
                    "problem": seed + k,
                    "start": start,
                    "method": name,
                    "energy": energy,
                    "recovered": success,
                }
                for name, (energy, success) in ends.items()
            ]
    return pd.DataFrame(rows)


def draw(table: pd.DataFrame) -> plt.Figure:
    """Draw the energy of every start above the lowest of its problem.

    Parameters
    ----------
    table : DataFrame
        Of `experiment`.

    Returns
    -------
    figure : Figure
        The figure.
    """
    methods = list(table["method"].unique())
    regimes = list(table["regime"].unique())
    key = ["regime", "problem", "method"]
    table = table.assign(excess=table["energy"] - table.groupby(key)["energy"].transform("min"))
    figure, axes = plt.subplots(
        len(methods), 1, figsize=(8.6, 7.4), sharex=True, layout="constrained"
    )
    for ax, name in zip(axes, methods, strict=True):
        color = LOOKS[name.removesuffix(", annealed")]["color"]
        for x, regime in enumerate(regimes):
            cell = table[(table["method"] == name) & (table["regime"] == regime)]
            shift = (cell["start"] / cell["start"].max() - 0.5) * 0.5 + x
            good = cell["recovered"].to_numpy(bool)
            ax.scatter(shift[good], cell["excess"][good], s=11, color=color)
            ax.scatter(shift[~good], cell["excess"][~good], s=11, facecolor="none", edgecolor=color)
            minima = cell.groupby("problem")["energy"].agg(n_minima).mean()
            ax.text(
                x,
                0.97,
                f"{minima:.3g} minim{'um' if minima == 1 else 'a'}\n{100 * good.mean():.0f}% right",
                ha="center",
                va="top",
                transform=ax.get_xaxis_transform(),
                fontsize=8,
            )
        ax.set_yscale("symlog", linthresh=1e-3)
        top = table[table["method"] == name]["excess"].max()
        ax.set_ylim(-5e-4, max(300 * top, 1e3))
        ax.set_yticks([0, 1e-2, 1, 1e2])
        ax.minorticks_off()
        ax.set_title(name, loc="left", fontsize=9.5, color=color, fontweight="bold")
    axes[-1].set_xticks(range(len(regimes)), [r.replace(", ρ", "\nρ") for r in regimes])
    figure.supylabel("energy above the lowest found (nats × 2 per sample)", fontsize=9)
    first = table.iloc[0]
    n_starts = table["start"].nunique()
    figure.suptitle(
        f"{n_starts} random starts a problem, Φ {first['n_channels']} × {first['n_dipoles']}; "
        "filled: U recovered, open: not",
        fontsize=10,
    )
    return figure


def main(
    quick: Quick = False, out: Out = OUT, seed: Seed = 0, n_channels: int = 15, n_dipoles: int = 40
) -> None:
    """Count the minima that random starts end in."""
    if quick:
        some = (REGIMES[0], REGIMES[2], REGIMES[5])
        table = experiment(n_channels, n_dipoles, some, 6, 1, seed)
    else:
        table = experiment(n_channels, n_dipoles, REGIMES, 16, 2, seed)
    write("talk_minima", table, draw, out)


if __name__ == "__main__":
    run(main)
