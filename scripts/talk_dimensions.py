"""Optimal sparse representations count dimensions: a nonlinear VAE on known manifolds."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from talk_common import JOBS, OUT, Jobs, Out, Quick, Seed, collect, run, write

from meg_vae.model.networks import NetworkDecoder, NetworkEncoder
from meg_vae.model.train import train
from meg_vae.viz.style import PALETTE

CHANNELS, SAMPLES, LATENTS, HIDDEN = 20, 300, 10, 32
STEPS, LEARNING_RATE = 1500, 1e-2
ACTIVE = 0.5  # mean posterior variance below which a latent is active; the prior's is 1


def manifold(dimension: int, n_channels: int, n_samples: int, seed: int) -> np.ndarray:
    """Draw samples of a smooth curved manifold, without noise.

    Parameters
    ----------
    dimension : int
        Its dimension r.
    n_channels, n_samples : int
        Sizes.
    seed : int
        Seed.

    Returns
    -------
    X : ndarray, shape (n_channels, n_samples)
        Data of unit mean power.

    Raises
    ------
    ValueError
        If r is below 1 or not below d.
    """
    if not 1 <= dimension < n_channels:
        raise ValueError(
            f"r={dimension} must lie between 1 and d - 1 = {n_channels - 1}: "
            "a manifold as large as the space has no dimension to find"
        )
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((dimension, n_samples))
    inner = rng.standard_normal((3 * dimension, dimension)) / dimension**0.5
    bent = np.tanh(inner @ z + 0.5 * rng.standard_normal((3 * dimension, 1)))
    X = rng.standard_normal((n_channels, dimension)) @ z / dimension**0.5
    X += rng.standard_normal((n_channels, 3 * dimension)) @ bent / (3 * dimension) ** 0.5
    X -= X.mean(1, keepdims=True)
    return X / X.std()


def posterior_variances(
    X: np.ndarray, seed: int, n_latents: int = LATENTS, n_steps: int = STEPS
) -> tuple[np.ndarray, float, float]:
    """Train a VAE of networks and read off what its latents carry.

    Parameters
    ----------
    X : ndarray, shape (n_channels, n_samples)
        Data of unit mean power.
    seed : int
        Seed of the weights.
    n_latents : int
        Latent dimension.
    n_steps : int
        Steps of Adam.

    Returns
    -------
    variances : ndarray, shape (n_latents,)
        Mean posterior variance of every latent, smallest first.
    residual : float
        Mean squared error of the reconstruction.
    noise_variance : float
        λ.
    """
    data = torch.as_tensor(X)
    encoder = NetworkEncoder(n_latents, len(X), HIDDEN, random_state=seed)
    decoder = NetworkDecoder(n_latents, len(X), HIDDEN, random_state=seed)
    result = train(
        decoder,
        data,
        encoder=encoder,
        noise_variance="learn",
        optimizer="adam",
        learning_rate=LEARNING_RATE,
        max_iter=n_steps,
        tol=-np.inf,
        n_draws=1,
        random_state=seed,
    )
    with torch.no_grad():
        mean, std = encoder(data)
        residual = float((data - decoder(mean)).square().mean())
        variances = np.sort(std.square().mean(1).numpy())
    return variances, residual, float(result.noise_variance)


def count(dimension: int, seed: int) -> list[dict[str, object]]:
    """Estimate the dimension of one manifold.

    Parameters
    ----------
    dimension : int
        Its dimension r.
    seed : int
        Seed of the manifold and of the weights.

    Returns
    -------
    rows : list of dict
        A row per latent.
    """
    X = manifold(dimension, CHANNELS, SAMPLES, seed)
    variances, residual, noise = posterior_variances(X, seed)
    what = {
        "dimension": dimension,
        "seed": seed,
        "n_active": int((variances < ACTIVE).sum()),
        "residual": residual,
        "noise_variance": noise,
    }
    return [{**what, "latent": i + 1, "posterior_variance": v} for i, v in enumerate(variances)]


def experiment(dimensions: list[int], n_seeds: int, seed: int, jobs: int = 1) -> pd.DataFrame:
    """Estimate the dimension of several manifolds.

    Parameters
    ----------
    dimensions : list of int
        Values of r.
    n_seeds : int
        Manifolds for each.
    seed : int
        First seed.
    jobs : int
        Processes.

    Returns
    -------
    table : DataFrame
        A row per manifold and latent.
    """
    cells = [(r, seed + k) for r in dimensions for k in range(n_seeds)]
    return collect(count, cells, desc="dimensions", unit="manifold", jobs=jobs)


def draw(table: pd.DataFrame) -> plt.Figure:
    """Draw posterior variance per latent, the estimate against r, and the reconstruction error.

    Parameters
    ----------
    table : DataFrame
        Of `experiment`.

    Returns
    -------
    figure : Figure
        The figure.
    """
    figure, axes = plt.subplots(1, 3, figsize=(9.6, 3.2), layout="constrained")
    for k, (r, part) in enumerate(table.groupby("dimension")):
        mean = part.groupby("latent")["posterior_variance"].mean()
        axes[0].semilogy(mean, "o-", ms=4, lw=1.2, color=PALETTE[k], label=f"r = {r}")
    axes[0].axhline(ACTIVE, color="0.5", ls=":", lw=1)
    axes[0].set(xlabel="latent, sorted", ylabel="posterior variance (prior: 1)")
    axes[0].legend(fontsize=8)
    fits = table.drop_duplicates(["dimension", "seed"])
    shift = 0.12 * (fits["seed"] - fits["seed"].mean())
    most = fits["dimension"].max() + 1
    axes[1].plot([0, most], [0, most], color="0.6", lw=1)
    axes[1].plot(fits["dimension"] + shift, fits["n_active"], "o", ms=5, color=PALETTE[0])
    axes[1].set(xlabel="true dimension r", ylabel="active latents", xlim=(0, most), ylim=(0, most))
    axes[2].semilogy(
        fits["dimension"] + shift,
        fits["residual"],
        "o",
        ms=5,
        color=PALETTE[0],
        label="reconstruction error",
    )
    axes[2].semilogy(
        fits["dimension"] + shift, fits["noise_variance"], "x", ms=5, color=PALETTE[1], label="λ"
    )
    axes[2].set(xlabel="true dimension r", ylabel="part of the data's power", ylim=(1e-7, 1))
    axes[2].legend(fontsize=8)
    return figure


def main(quick: Quick = False, out: Out = OUT, seed: Seed = 0, jobs: Jobs = JOBS) -> None:
    """Count the dimensions of manifolds by the active latents of a trained VAE."""
    dimensions, n_seeds = ([2, 5], 1) if quick else ([1, 2, 3, 4, 5, 6, 7], 5)
    write("talk_dimensions", experiment(dimensions, n_seeds, seed, jobs), draw, out)


if __name__ == "__main__":
    run(main)
