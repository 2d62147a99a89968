"""More complex decoders: does a trained VAE still prune to the right rows?"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from talk_common import (
    JOBS,
    OUT,
    Jobs,
    Out,
    Problem,
    Quick,
    Seed,
    check_sizes,
    collect,
    run,
    sparse_problem,
    write,
)
from torch import nn

from meg_vae.model.decoders import RowScaleDecoder
from meg_vae.model.encoders import TrainedEncoder
from meg_vae.model.nonlinear_decoders import HiddenDecoder, WarpedDecoder
from meg_vae.model.train import train
from meg_vae.viz.style import PALETTE

CHANNELS, DIPOLES, SAMPLES = 15, 30, 60
NOISE_DB = 30.0  # power of the signal over that of the noise
STEPS, LEARNING_RATE, DRAWS = 2000, 2e-2, 2
KEPT = 0.05  # part of the strongest row above which a row counts as kept
DECODERS = ("linear, exact encoder", "linear, trained encoder", "warped f(z)", "hidden layer")


def make_problem(n_active: int, bend: float, seed: int) -> Problem:
    """Make X = Φ U plus a little noise, with U = diag(w) sinh(bend z) / bend.

    Parameters
    ----------
    n_active : int
        ρ0.
    bend : float
        How far from Gaussian the rows are; 0 leaves them Gaussian.
    seed : int
        Seed.

    Returns
    -------
    problem : Problem
        The problem, with noise in X.
    """
    clean = sparse_problem(CHANNELS, DIPOLES, n_active, SAMPLES, decades=0, seed=seed)
    U = clean.U * SAMPLES**0.5
    if bend:
        U = np.sinh(bend * U) / bend
    X = clean.Phi @ U
    rng = np.random.default_rng(seed + 1000)
    noise = 10 ** (-NOISE_DB / 20) * np.sqrt(np.mean(X**2)) * rng.standard_normal(X.shape)
    return Problem(clean.Phi, U, X + noise)


def row_norms(problem: Problem, name: str, seed: int) -> np.ndarray:
    """Train a decoder and read off the norm of every row of its activity.

    Parameters
    ----------
    problem : Problem
        The problem.
    name : str
        One of `DECODERS`.
    seed : int
        Seed.

    Returns
    -------
    norms : ndarray, shape (n_dipoles,)
        Norms over the samples.
    """
    Phi, X = torch.as_tensor(problem.Phi), torch.as_tensor(problem.X)
    d, K = Phi.shape
    scale = float((X.square().sum(0).mean() / K).sqrt())
    if name == "linear, exact encoder":
        linear = RowScaleDecoder(Phi, gamma=scale**2)
        return (
            train(linear, X, max_iter=500)
            .encoder.W_z.matmul(X)
            .mul(linear.gamma.sqrt()[:, None])
            .norm(dim=1)
            .detach()
            .numpy()
        )
    decoders: dict[str, nn.Module] = {
        "linear, trained encoder": RowScaleDecoder(Phi, gamma=scale**2),
        "warped f(z)": WarpedDecoder(Phi, scale),
        "hidden layer": HiddenDecoder(Phi, 20, scale, random_state=seed),
    }
    decoder, encoder = decoders[name], TrainedEncoder(K, d, random_state=seed)
    train(
        decoder,
        X,
        encoder=encoder,
        noise_variance="learn",
        optimizer="adam",
        learning_rate=LEARNING_RATE,
        max_iter=STEPS,
        tol=-np.inf,
        n_draws=DRAWS,
        random_state=seed,
    )
    with torch.no_grad():
        z = encoder.W_z @ X
        U = (
            decoder.gamma.sqrt()[:, None] * z
            if isinstance(decoder, RowScaleDecoder)
            else decoder.activity(z)
        )
    return U.norm(dim=1).numpy()


def try_all(n_active: int, bend: float, seed: int) -> list[dict[str, object]]:
    """Train every decoder on one problem.

    Parameters
    ----------
    n_active : int
        ρ0.
    bend : float
        How far from Gaussian the rows are.
    seed : int
        Seed of the problem and of the weights.

    Returns
    -------
    rows : list of dict
        A row per decoder.
    """
    problem = make_problem(n_active, bend, seed)
    true = problem.U.any(axis=1)
    rows: list[dict[str, object]] = []
    for name in DECODERS:
        norms = row_norms(problem, name, seed)
        kept = norms > KEPT * norms.max()
        rows.append(
            {
                "n_active": n_active,
                "bend": bend,
                "seed": seed,
                "decoder": name,
                "n_kept": int(kept.sum()),
                "share_of_true_rows_kept": float(kept[true].mean()),
                "spurious_rows": int((kept & ~true).sum()),
                "right": bool((kept == true).all()),
            }
        )
    return rows


def experiment(
    actives: list[int], bends: list[float], n_seeds: int, seed: int, jobs: int = 1
) -> pd.DataFrame:
    """Train every decoder on every problem.

    Parameters
    ----------
    actives : list of int
        Values of ρ0.
    bends : list of float
        How far from Gaussian the rows are.
    n_seeds : int
        Problems for each.
    seed : int
        First seed.
    jobs : int
        Processes.

    Returns
    -------
    table : DataFrame
        A row per problem and decoder.
    """
    check_sizes(CHANNELS, DIPOLES, max(actives))
    cells = [(rho, bend, seed + k) for rho in actives for bend in bends for k in range(n_seeds)]
    return collect(try_all, cells, desc="decoders", unit="problem", jobs=jobs)


def draw(table: pd.DataFrame) -> plt.Figure:
    """Draw the share of problems with exactly the right rows, and the spurious rows.

    Parameters
    ----------
    table : DataFrame
        Of `experiment`.

    Returns
    -------
    figure : Figure
        The figure.
    """
    bends = sorted(table["bend"].unique())
    figure, axes = plt.subplots(
        2,
        len(bends),
        figsize=(3.6 * len(bends) + 1, 5),
        sharex=True,
        sharey="row",
        squeeze=False,
        layout="constrained",
    )
    for column, bend in enumerate(bends):
        part = table[table["bend"] == bend]
        for k, name in enumerate(DECODERS):
            mean = (
                part[part["decoder"] == name].groupby("n_active")[["right", "spurious_rows"]].mean()
            )
            look = {"color": PALETTE[k], "marker": "os^D"[k], "ms": 5, "lw": 2.4 - 0.4 * k}
            at = mean.index + 0.12 * (k - 1.5)
            axes[0, column].plot(at, 100 * mean["right"], label=name, **look)
            axes[1, column].plot(at, mean["spurious_rows"], **look)
        axes[0, column].set_title(
            "Gaussian rows" if bend == 0 else f"rows bent by sinh({bend:g} z)", fontsize=9.5
        )
        axes[1, column].set_xlabel(f"nonzero rows ρ₀ (d = {CHANNELS}, K = {DIPOLES})")
    axes[0, 0].set_ylim(-5, 105)
    axes[0, 0].set_ylabel("exactly the right rows\n(% of problems)")
    axes[1, 0].set_ylabel("spurious rows kept (mean)")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def main(quick: Quick = False, out: Out = OUT, seed: Seed = 0, jobs: Jobs = JOBS) -> None:
    """Train linear and nonlinear decoders, and count the rows they keep."""
    actives, bends, n_seeds = ([3, 8], [0.0], 1) if quick else ([5, 11, 13, 14], [0.0, 2.0], 2)
    write("talk_decoders", experiment(actives, bends, n_seeds, seed, jobs), draw, out)


if __name__ == "__main__":
    run(main)
