"""A VAE with a free linear decoder and a learnt λ is probabilistic PCA."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from scipy.linalg import subspace_angles
from sklearn.decomposition import PCA
from talk_common import JOBS, OUT, Jobs, Out, Quick, Seed, collect, run, write

from meg_vae.model.decoders import FreeDecoder
from meg_vae.model.train import train
from meg_vae.viz.style import PALETTE

CHANNELS, SAMPLES, RANK = 20, 400, 5
NOISE_SD = 0.3
ACTIVE = 0.5  # posterior variance below which a latent carries anything; the prior's is 1


def low_rank_data(
    n_channels: int, n_samples: int, rank: int, noise_sd: float, seed: int
) -> np.ndarray:
    """Draw centred Gaussian data around a subspace.

    Parameters
    ----------
    n_channels, n_samples, rank : int
        Sizes.
    noise_sd : float
        Standard deviation of the noise; the weakest direction of the signal has about 1.
    seed : int
        Seed.

    Returns
    -------
    X : ndarray, shape (n_channels, n_samples)
        Data, every channel of zero mean.

    Raises
    ------
    ValueError
        If the rank exceeds the channels.
    """
    if not 0 <= rank <= n_channels:
        raise ValueError(f"rank={rank} must lie between 0 and the {n_channels} channels")
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((n_channels, n_channels)))[0][:, :rank]
    signal = (basis * np.linspace(3, 1, rank)) @ rng.standard_normal((rank, n_samples))
    X = signal + noise_sd * rng.standard_normal((n_channels, n_samples))
    return X - X.mean(1, keepdims=True)


def fit(X: np.ndarray, n_latents: int, seed: int) -> dict[str, np.ndarray | float]:
    """Train the VAE and compare it with PCA and probabilistic PCA.

    Parameters
    ----------
    X : ndarray, shape (n_channels, n_samples)
        Centred data.
    n_latents : int
        Latent dimension.
    seed : int
        Seed of the start.

    Returns
    -------
    result : dict
        λ, the mean of the discarded eigenvalues, scikit-learn's noise variance, the largest angle
        to the principal subspace (rad), and the posterior variance along every latent direction.
    """
    d, n = X.shape
    decoder = FreeDecoder(d, n_latents, random_state=seed)
    # learnt from noiseless data, λ falls to its floor before the last latents have gone
    noise = "learn" if n_latents < d else "anneal"
    result = train(decoder, torch.as_tensor(X), noise_variance=noise, max_iter=5000)
    values, vectors = np.linalg.eigh(X @ X.T / n)
    W = decoder.matrix().detach().numpy()
    variances = np.linalg.eigvalsh(result.encoder.covariance.numpy())
    n_active = int((variances < ACTIVE).sum())
    strongest = np.linalg.svd(W)[0][:, :n_active]
    angle = subspace_angles(strongest, vectors[:, d - n_active :]).max() if n_active else 0.0
    # scikit-learn divides by n - 1
    ppca = PCA(n_latents).fit(X.T * np.sqrt((n - 1) / n)) if n_latents < d else None
    return {
        "noise_variance": float(result.noise_variance),
        "discarded": float(values[: d - n_latents].mean()) if n_latents < d else 0.0,
        "sklearn": float(ppca.noise_variance_) if ppca else 0.0,
        "angle": float(angle),
        "n_active": n_active,
        "variances": variances,
    }


def measure(data: str, n_latents: int, noise_sd: float, seed: int) -> list[dict[str, object]]:
    """Fit one data set.

    Parameters
    ----------
    data : str
        What the data are called.
    n_latents : int
        Latent dimension.
    noise_sd : float
        Standard deviation of the noise.
    seed : int
        Seed of the data and of the start.

    Returns
    -------
    rows : list of dict
        A row per latent direction.
    """
    result = fit(low_rank_data(CHANNELS, SAMPLES, RANK, noise_sd, seed), n_latents, seed)
    what = {
        "data": data,
        "n_latents": n_latents,
        "rank": RANK,
        "seed": seed,
        "noise_variance": result["noise_variance"],
        "mean_discarded_eigenvalue": result["discarded"],
        "sklearn_noise_variance": result["sklearn"],
        "angle_rad": result["angle"],
        "n_active": result["n_active"],
    }
    variances = np.atleast_1d(result["variances"])
    return [{**what, "direction": i + 1, "posterior_variance": v} for i, v in enumerate(variances)]


def experiment(latents: list[int], n_seeds: int, seed: int, jobs: int = 1) -> pd.DataFrame:
    """Fit noisy data with few latents, and noiseless data with as many latents as channels.

    Parameters
    ----------
    latents : list of int
        Latent dimensions for the noisy data.
    n_seeds : int
        Data sets.
    seed : int
        First seed.
    jobs : int
        Processes.

    Returns
    -------
    table : DataFrame
        A row per fit and latent direction.
    """
    kinds = [("noisy", q, NOISE_SD) for q in latents] + [("noiseless", CHANNELS, 0.0)]
    cells = [(*kind, seed + k) for kind in kinds for k in range(n_seeds)]
    return collect(measure, cells, desc="PCA", unit="fit", jobs=jobs)


def draw(table: pd.DataFrame) -> plt.Figure:
    """Draw λ, the angle, and the posterior variances.

    Parameters
    ----------
    table : DataFrame
        Of `experiment`.

    Returns
    -------
    figure : Figure
        The figure.
    """
    fits = table.drop_duplicates(["data", "n_latents", "seed"])
    noisy = fits[fits["data"] == "noisy"]
    figure, axes = plt.subplots(1, 3, figsize=(9.6, 3.1), layout="constrained")
    mean = noisy.groupby("n_latents")
    axes[0].plot(mean["noise_variance"].mean(), "o", color=PALETTE[0], label="VAE's λ", ms=7)
    axes[0].plot(
        mean["mean_discarded_eigenvalue"].mean(),
        "-",
        color=PALETTE[1],
        label="mean discarded eigenvalue",
    )
    axes[0].plot(
        mean["sklearn_noise_variance"].mean(), "k+", label="probabilistic PCA (scikit-learn)"
    )
    axes[0].set_yscale("log")
    axes[0].set(xlabel="latent dimensions", ylabel="noise variance (dimensionless)")
    axes[0].legend(fontsize=7.5)
    axes[1].semilogy(noisy["n_latents"], noisy["angle_rad"].clip(lower=1e-9), "o", color=PALETTE[0])
    axes[1].axhline(1e-3, color="0.5", ls=":", lw=1)
    axes[1].set(xlabel="latent dimensions", ylabel="largest angle to PCA's subspace (rad)")
    clean = table[table["data"] == "noiseless"]
    for _, part in clean.groupby("seed"):
        axes[2].semilogy(part["direction"], part["posterior_variance"], ".", color=PALETTE[0])
    axes[2].axvline(RANK + 0.5, color="0.5", ls=":", lw=1)
    axes[2].text(RANK + 0.8, 1e-6, f"true rank {RANK}", color="0.4")
    axes[2].set(xlabel="latent direction", ylabel="posterior variance (prior: 1)")
    for ax, title in zip(
        axes,
        ("noisy data: λ", "noisy data: subspace", f"noiseless data, {CHANNELS} latents"),
        strict=True,
    ):
        ax.set_title(title, fontsize=9.5)
    return figure


def main(quick: Quick = False, out: Out = OUT, seed: Seed = 0, jobs: Jobs = JOBS) -> None:
    """Compare a VAE of free linear decoder with PCA and probabilistic PCA."""
    latents, n_seeds = ([2, 5], 1) if quick else ([1, 2, 3, 4, 5, 6, 8, 10], 10)
    write("talk_pca", experiment(latents, n_seeds, seed, jobs), draw, out)


if __name__ == "__main__":
    run(main)
