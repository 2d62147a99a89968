"""Row-sparse recovery: the VAE against its deterministic twin, the lasso and matching pursuit."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import MultiTaskLasso
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
    refit,
    run,
    sparse_problem,
    write,
)

from meg_vae import SparseAutoencoder, SparseVAE

DECADES = {"norms over two decades": 2.0, "equal norms": 0.0}
LASSO_ALPHAS = (1e-2, 1e-3, 1e-4)  # of the largest alpha that is of use


def vae(problem: Problem) -> np.ndarray:
    """Solve by the exact minimiser, λ annealed to zero."""
    return SparseVAE(noise_variance="anneal").fit(problem.Phi, problem.X).U_


def vae_gradient(problem: Problem) -> np.ndarray:
    """Solve by gradient training of the same energy."""
    model = SparseVAE(noise_variance="anneal", solver="gradient", max_iter=2000)
    return model.fit(problem.Phi, problem.X).U_


def twin(*options: dict[str, object]) -> Callable[[Problem], np.ndarray]:
    """Make a solver of the autoencoder: of some settings, each of five starts, the best by truth.

    Of the starts the one of lowest energy counts, which needs no truth.
    """

    def solve(problem: Problem) -> np.ndarray:
        fits = [SparseAutoencoder(**o).fit(problem.Phi, problem.X).U_ for o in options]
        return min(fits, key=lambda U: np.linalg.norm(U - problem.U, axis=1).max())

    return solve


def lasso(problem: Problem) -> np.ndarray:
    """Take scikit-learn's multi-task lasso at the best of three small alphas, refitted."""
    largest = np.linalg.norm(problem.Phi.T @ problem.X, axis=1).max() / len(problem.X)
    fits = []
    for part in LASSO_ALPHAS:
        model = MultiTaskLasso(alpha=part * largest, fit_intercept=False, max_iter=500, tol=1e-4)
        fits.append(refit(problem, model.fit(problem.Phi, problem.X).coef_.T))
    return min(fits, key=lambda U: np.linalg.norm(U - problem.U, axis=1).max())


def matching_pursuit(problem: Problem) -> np.ndarray:
    """Pick one row after another by the residual of all samples together, as many as there are."""
    rows: list[int] = []
    residual = problem.X
    for _ in range(int(problem.U.any(axis=1).sum())):
        gain = np.linalg.norm(problem.Phi.T @ residual, axis=1)
        gain[rows] = -1
        rows.append(int(gain.argmax()))
        fit = np.linalg.lstsq(problem.Phi[:, rows], problem.X, rcond=None)[0]
        residual = problem.X - problem.Phi[:, rows] @ fit
    U = np.zeros_like(problem.U)
    U[rows] = fit
    return U


METHODS: dict[str, Callable[[Problem], np.ndarray]] = {
    "VAE": vae,
    "VAE, gradient": vae_gradient,
    # what is left of the two decoder penalties is an exponent of 1 or 2/3, and of 1/2 or 2/5;
    # with the logarithm they make no difference
    "autoencoder, ℓ2,1": twin(
        {"penalty": "l21", "decoder_penalty": "bounded"},
        {"penalty": "l21", "decoder_penalty": "squared"},
    ),
    "autoencoder, ℓ2,p": twin(
        {"penalty": "lp", "p": 0.5, "decoder_penalty": "bounded"},
        {"penalty": "lp", "p": 0.5, "decoder_penalty": "squared"},
    ),
    "autoencoder, log": twin({"penalty": "log"}),
    "multi-task lasso": lasso,
    "matching pursuit": matching_pursuit,
}


def try_all(
    n_channels: int, n_dipoles: int, scales: str, n_samples: int, n_active: int, seed: int
) -> list[dict[str, object]]:
    """Try every method on one problem.

    Gradient training, which takes seconds, is tried where there are as many samples as channels.

    Parameters
    ----------
    n_channels, n_dipoles : int
        d and K.
    scales : str
        A key of `DECADES`.
    n_samples, n_active, seed : int
        n, ρ0 and the seed of the problem.

    Returns
    -------
    rows : list of dict
        A row per method.
    """
    decades = DECADES[scales]
    problem = sparse_problem(n_channels, n_dipoles, n_active, n_samples, decades=decades, seed=seed)
    rows: list[dict[str, object]] = []
    for name, solve in METHODS.items():
        if name == "VAE, gradient" and n_samples != n_channels:
            continue
        started = time.perf_counter()
        with warnings.catch_warnings():
            # a start or an alpha that has not settled counts by what it found
            warnings.simplefilter("ignore", ConvergenceWarning)
            warnings.filterwarnings("ignore", "stopped by max_iter", RuntimeWarning)
            U = solve(problem)
        rows.append(
            {
                "row_norms": scales,
                "n_channels": n_channels,
                "n_dipoles": n_dipoles,
                "n_samples": n_samples,
                "n_active": n_active,
                "seed": seed,
                "method": name,
                "recovered": recovered(U, problem.U),
                "seconds": time.perf_counter() - started,
            }
        )
    return rows


def experiment(
    n_channels: int,
    n_dipoles: int,
    actives: list[int],
    samples: list[int],
    n_seeds: int,
    seed: int,
    jobs: int = 1,
) -> pd.DataFrame:
    """Try every method on every problem.

    Parameters
    ----------
    n_channels, n_dipoles : int
        d and K.
    actives, samples : list of int
        Values of ρ0 and of n.
    n_seeds : int
        Problems per cell.
    seed : int
        First seed.
    jobs : int
        Processes.

    Returns
    -------
    table : DataFrame
        A row per problem and method.
    """
    for rho in actives:
        check_sizes(n_channels, n_dipoles, rho, min(samples))
    cells = [
        (n_channels, n_dipoles, scales, n, rho, seed + k)
        for scales in DECADES
        for n in samples
        for rho in actives
        for k in range(n_seeds)
    ]
    return collect(try_all, cells, desc="recovery", unit="problem", jobs=jobs)


def draw(table: pd.DataFrame) -> plt.Figure:
    """Draw the share recovered against ρ0, a panel per n and kind of row norms.

    Parameters
    ----------
    table : DataFrame
        Of `experiment`.

    Returns
    -------
    figure : Figure
        The figure.
    """
    samples = sorted(table["n_samples"].unique())
    d, K = table[["n_channels", "n_dipoles"]].iloc[0]
    figure, axes = plt.subplots(
        len(DECADES),
        len(samples),
        figsize=(2.5 * len(samples) + 1, 4.8),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for row, scales in zip(axes, DECADES, strict=True):
        for ax, n in zip(row, samples, strict=True):
            cell = table[(table["row_norms"] == scales) & (table["n_samples"] == n)]
            for name, look in LOOKS.items():
                share = cell[cell["method"] == name].groupby("n_active")["recovered"].mean()
                ax.plot(share.index, 100 * share, label=name, markersize=4, **look)
            ax.axvline(d - 1, color="0.5", lw=0.8, ls=(0, (2, 2)))
            ax.set_title(f"n = {n}, {scales}", fontsize=8.5)
    axes[0, 0].annotate(
        "d − 1",
        (d - 1, 50),
        (-3, 0),
        textcoords="offset points",
        ha="right",
        color="0.4",
        rotation=90,
        va="center",
        fontsize=8,
    )
    for ax in axes[:, 0]:
        ax.set_ylabel("recovered (% of problems)")
    for ax in axes[-1]:
        ax.set_xlabel("nonzero rows ρ₀")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.suptitle(f"Row-sparse recovery, Gaussian Φ of {d} × {K}, no noise", fontsize=10)
    return figure


def main(
    quick: Quick = False,
    out: Out = OUT,
    seed: Seed = 0,
    jobs: Jobs = JOBS,
    n_channels: int = 20,
    n_dipoles: int = 60,
) -> None:
    """Measure how often each method recovers a row-sparse U from X = ΦU."""
    d = n_channels
    if quick:
        actives, samples, n_seeds = [d // 3, 5 * d // 6, d - 1], [5, d], 1
    else:
        actives = [d // 3, d // 2, 2 * d // 3, 5 * d // 6, d - 1, d]
        samples, n_seeds = [1, d // 5, d // 2, d], 4
    table = experiment(d, n_dipoles, actives, samples, n_seeds, seed, jobs)
    write("talk_recovery", table, draw, out)


if __name__ == "__main__":
    run(main)
