"""No bad local minima: where many random starts end, for the VAE and for its deterministic twin."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from talk_common import (
    JOBS,
    LOOKS,
    OUT,
    Jobs,
    Out,
    Problem,
    Quick,
    Seed,
    check_sizes,
    collect,
    recovered,
    run,
    sparse_problem,
    write,
)

from meg_vae import SparseAutoencoder
from meg_vae.model.encoders import optimal_encoder
from meg_vae.model.exact.dictionary import Dictionary
from meg_vae.model.exact.rounds import minimise
from meg_vae.model.misfit import EXACT
from meg_vae.model.noise_variance import Held
from meg_vae.model.priors import ISOTROPIC
from meg_vae.model.solve import data_factor

NOISE = 1e-8  # λ, relative to the data's mean power; the same for all
SPREAD = 2.0  # standard deviation of log γ in a random start
SAME = 1e-3  # energies closer than this are one minimum, nats × 2 per sample


@dataclass(frozen=True)
class Regime:
    """Sizes of a problem, as fractions of d, how far its row norms spread, and what is promised."""

    name: str
    active: float
    samples: float
    decades: float
    inside: bool

    def sizes(self, n_channels: int) -> tuple[int, int]:
        """Give ρ0 and n for a number of channels d."""
        return int(self.active * n_channels), max(1, int(self.samples * n_channels))


REGIMES = (
    Regime("spread norms\nρ₀ = ⅔d, n = d", 2 / 3, 1, 2, True),
    Regime("spread norms\nρ₀ = d−1, n = d", 0.999, 1, 2, True),
    Regime("equal norms\nρ₀ = d−1, n = d", 0.999, 1, 0, False),
    Regime("spread norms\nρ₀ = d, n = d", 1, 1, 2, False),
    Regime("equal norms\nρ₀ = ⅔d, n = d/5", 2 / 3, 0.2, 0, False),
    Regime("spread norms\nρ₀ = ⅔d, n = 1", 2 / 3, 0, 2, False),
)
TWINS = {
    "autoencoder, ℓ2,p": {"penalty": "lp", "decoder_penalty": "bounded", "anneal": False},
    "autoencoder, log": {"penalty": "log", "anneal": False},
    "autoencoder, log, annealed": {"penalty": "log", "noise_variance": "anneal"},
}


class End(NamedTuple):
    """Where a descent ended.

    Attributes
    ----------
    energy : float
        Per sample.
    recovered : bool
        Whether U was recovered.
    certificate : float
        How far from a stationary point it stopped: its largest relative gradient.
    """

    energy: float
    recovered: bool
    certificate: float


def vae_from(problem: Problem, seed: int) -> End:
    """Descend the VAE's energy at fixed λ from a random γ.

    Parameters
    ----------
    problem : Problem
        The problem.
    seed : int
        Seed of the start.

    Returns
    -------
    end : End
        With the certificate over all positions.
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
        prior=ISOTROPIC,
        variance=Held(NOISE),
        tol=1e-5,
        max_iter=3000,
        certainty=EXACT,
    )
    w_x = found.everywhere(found.factor)[0, :, 0, 0]
    active = w_x > 0
    U = np.zeros_like(problem.U)
    encoder = optimal_encoder(dictionary.Phi[:, active] * w_x[active], noise[0])
    U[active.numpy()] = (w_x[active, None] * (encoder.W_z @ X)).numpy()
    return End(float(found.energy[0]), recovered(U, problem.U), float(found.certificate[0]))


def twin_from(problem: Problem, seed: int, **options: object) -> End:
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
    end : End
        With the relative change of the row norms in a last step.
    """
    options = {"noise_variance": NOISE * float(np.mean(problem.X**2))} | options
    model = SparseAutoencoder(
        n_starts=1, random_start=True, random_state=seed, max_iter=2000, **options
    )
    with warnings.catch_warnings():
        # a start that creeps is counted where it is
        warnings.filterwarnings("ignore", "stopped by max_iter", RuntimeWarning)
        model.fit(problem.Phi, problem.X)
    return End(model.energy_, recovered(model.U_, problem.U), model.certificate_)


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


def try_all(
    n_channels: int, n_dipoles: int, regime: Regime, seed: int, start: int
) -> list[dict[str, object]]:
    """Start every method at random on one problem.

    Parameters
    ----------
    n_channels, n_dipoles : int
        d and K.
    regime : Regime
        Kind of problem.
    seed, start : int
        Seeds of the problem and of the start.

    Returns
    -------
    rows : list of dict
        A row per method.
    """
    rho, n = regime.sizes(n_channels)
    problem = sparse_problem(n_channels, n_dipoles, rho, n, decades=regime.decades, seed=seed)
    ends = {"VAE": vae_from(problem, start)}
    ends |= {name: twin_from(problem, start, **options) for name, options in TWINS.items()}
    what = {
        "regime": regime.name.replace("\n", ", "),
        "inside": regime.inside,
        "n_channels": n_channels,
        "n_dipoles": n_dipoles,
        "n_active": rho,
        "n_samples": n,
        "problem": seed,
        "start": start,
    }
    return [{**what, "method": name, **end._asdict()} for name, end in ends.items()]


def experiment(
    n_channels: int,
    n_dipoles: int,
    regimes: tuple[Regime, ...],
    n_starts: int,
    n_problems: int,
    seed: int,
    jobs: int = 1,
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
    jobs : int
        Processes.

    Returns
    -------
    table : DataFrame
        A row per start and method.
    """
    for regime in regimes:
        check_sizes(n_channels, n_dipoles, *regime.sizes(n_channels))
    cells = [
        (n_channels, n_dipoles, regime, seed + k, start)
        for regime in regimes
        for k in range(n_problems)
        for start in range(n_starts)
    ]
    return collect(try_all, cells, desc="minima", unit="start", jobs=jobs)


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
        part = table[table["method"] == name]
        color = LOOKS[name.removesuffix(", annealed")]["color"]
        for x, regime in enumerate(regimes):
            _draw_starts(ax, x, part[part["regime"] == regime], color)
        ax.set_yscale("symlog", linthresh=1e-3)
        ax.set_ylim(-5e-4, max(300 * part["excess"].max(), 1e3))
        ax.set_yticks([0, 1e-2, 1, 1e2])
        ax.minorticks_off()
        ax.set_title(name, loc="left", fontsize=9.5, color=color, fontweight="bold")
    axes[-1].set_xticks(range(len(regimes)), [r.replace(", ρ", "\nρ") for r in regimes])
    figure.supylabel("energy above the lowest found (nats × 2 per sample)", fontsize=9)
    first = table.iloc[0]
    n_starts = table["start"].nunique()
    figure.suptitle(
        f"{n_starts} random starts for each of {table['problem'].nunique()} problems, "
        f"Φ {first['n_channels']} × {first['n_dipoles']}; filled: U recovered, open: not; "
        "shaded: the theorem's regime",
        fontsize=10,
    )
    return figure


def _draw_starts(ax: plt.Axes, x: int, cell: pd.DataFrame, color: str) -> None:
    """Draw the starts of one method in one regime, and say what they came to."""
    if cell["inside"].all():
        ax.axvspan(x - 0.5, x + 0.5, color="0.93", zorder=0)
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


def main(
    quick: Quick = False,
    out: Out = OUT,
    seed: Seed = 0,
    jobs: Jobs = JOBS,
    n_channels: int = 15,
    n_dipoles: int = 40,
) -> None:
    """Count the minima that random starts end in."""
    if quick:
        regimes, n_starts, n_problems = (REGIMES[0], REGIMES[2], REGIMES[5]), 6, 1
    else:
        regimes, n_starts, n_problems = REGIMES, 20, 4
    table = experiment(n_channels, n_dipoles, regimes, n_starts, n_problems, seed, jobs)
    write("talk_minima", table, draw, out)


if __name__ == "__main__":
    run(main)
