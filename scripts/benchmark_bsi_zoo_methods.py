"""Array methods of the grid of BSI-Zoo, each (Φ, X, n_orient, n_true, rng) -> U.

A list of U is of one method with several settings, of which the one that scores best counts.
Φ and X are whitened. Those of MNE get the columns weighted as its own functions do (depth 0.8);
the VAE and sLORETA have no use for weights.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from mne.inverse_sparse._gamma_map import _gamma_map_opt
from mne.inverse_sparse.mxne_optim import iterative_mixed_norm_solver, norm_l2inf

from meg_vae import SparseVAE
from meg_vae.comparison.methods.sparse import ALPHA, DEPTH, NOISE_VARIANCE
from meg_vae.model.checks import MIN_LOG_EVIDENCE

Array = np.ndarray
LAMBDA2 = 1 / 9  # of sLORETA, MNE's default
GRID = (55.0, 30.0, 15.0, 5.0, 1.5)  # percent; of the mixed norm whose alpha the truth chooses
LOWEST = 0.5  # of its alphas, of the norm that noise is expected to have on a position
MAXIT = 300  # steps of the mixed norms, as in MNE's tests: low alphas of noise take ever so many
TOL = 1e-4  # of the mixed norms, MNE's default, times the power of the data


def blocks(A: Array, n_orient: int) -> Array:
    """View rows or columns by position: (n_positions, n_orient, ...)."""
    return A.reshape(-1, n_orient, A.shape[-1])


def vae(Phi: Array, X: Array, n_orient: int, n_true: int, rng: np.random.Generator) -> Array:
    """Ours, with the evidence that `VAEInverse` asks for; the noise variance is learnt."""
    return SparseVAE(n_orient, min_log_evidence=MIN_LOG_EVIDENCE).fit(Phi, X).U_


def vae_all(Phi: Array, X: Array, n_orient: int, n_true: int, rng: np.random.Generator) -> Array:
    """Ours, with all sources of the minimum, however little evidence they have."""
    return SparseVAE(n_orient).fit(Phi, X).U_


def gamma_map(Phi: Array, X: Array, n_orient: int, n_true: int, rng: np.random.Generator) -> Array:
    """Run MNE's gamma-MAP, which is told the noise variance."""
    gain, weights = weighted(Phi, n_orient)
    options = {"group_size": n_orient, "verbose": "error"}
    try:
        found, active = _gamma_map_opt(X, gain, NOISE_VARIANCE, **options)
    except Exception as error:  # MNE has no class of its own for this
        if "No active dipoles found" not in str(error):
            raise
        return np.zeros((Phi.shape[1], X.shape[1]))
    return put(found, active, weights)


def irmxne(Phi: Array, X: Array, n_orient: int, n_true: int, rng: np.random.Generator) -> Array:
    """Run MNE's reweighted mixed norm at the alpha of the registry."""
    return irmxne_at(Phi, X, n_orient, ALPHA)


def irmxne_best(
    Phi: Array, X: Array, n_orient: int, n_true: int, rng: np.random.Generator
) -> list[Array]:
    """Run it at several alphas, none far below what noise reaches; the truth chooses."""
    gain, _ = weighted(Phi, n_orient)
    noise = np.linalg.norm(blocks(gain.T, n_orient), axis=(1, 2)).max() * X.shape[1] ** 0.5
    least = 100 * LOWEST * noise / norm_l2inf(gain.T @ X, n_orient, copy=False)
    return [irmxne_at(Phi, X, n_orient, one) for one in GRID if one >= min(least, GRID[0])]


def irmxne_at(Phi: Array, X: Array, n_orient: int, alpha: float) -> Array:
    """Run it at an alpha in percent of the smallest that finds nothing."""
    gain, weights = scaled(Phi, X, n_orient)
    options = {"tol": TOL * np.square(X).sum(), "maxit": MAXIT, "n_orient": n_orient}
    found, active, _ = iterative_mixed_norm_solver(X, gain, alpha, 10, verbose="error", **options)
    return put(found, active, weights)


def sloreta(Phi: Array, X: Array, n_orient: int, n_true: int, rng: np.random.Generator) -> Array:
    """Standardize the minimum norm by its resolution, at each position."""
    values, vectors = np.linalg.eigh(Phi @ Phi.T)
    noise = LAMBDA2 * values.mean()
    along = (vectors.T @ Phi) / np.sqrt(np.maximum(values, 0) + noise)[:, None]
    data = (vectors.T @ X) / np.sqrt(np.maximum(values, 0) + noise)[:, None]
    own = blocks(along.T, n_orient)
    resolution = own @ own.mT
    power, axes = np.linalg.eigh(resolution)
    root = np.where(power > 1e-9 * power[:, -1:], 1 / np.sqrt(np.maximum(power, 1e-300)), 0)
    standard = (axes * root[:, None]) @ axes.mT
    return (standard @ (own @ data)).reshape(Phi.shape[1], -1)


def zeros(Phi: Array, X: Array, n_orient: int, n_true: int, rng: np.random.Generator) -> Array:
    """Find nothing."""
    return np.zeros((Phi.shape[1], X.shape[1]))


def random(Phi: Array, X: Array, n_orient: int, n_true: int, rng: np.random.Generator) -> Array:
    """Name as many positions as there are sources, at random."""
    U = np.zeros((Phi.shape[1] // n_orient, n_orient, X.shape[1]))
    chosen = rng.choice(len(U), n_true, replace=False)
    U[chosen] = rng.standard_normal((n_true, *U.shape[1:]))
    return U.reshape(Phi.shape[1], -1)


def weighted(Phi: Array, n_orient: int) -> tuple[Array, Array]:
    """Weigh columns against depth; the weights of the positions once for each column."""
    size = np.linalg.norm(blocks(Phi.T, n_orient), axis=(1, 2))
    weights = np.repeat((size / size.max()) ** -DEPTH, n_orient)
    return Phi * weights, weights


def scaled(Phi: Array, X: Array, n_orient: int) -> tuple[Array, Array]:
    """Weigh columns, and scale them so that an alpha of 100 finds nothing."""
    gain, weights = weighted(Phi, n_orient)
    most = 0.01 * norm_l2inf(gain.T @ X, n_orient, copy=False)
    return gain / most, weights / most


def put(found: Array, active: Array, weights: Array) -> Array:
    """Put the activity of some columns among all, in their own unit."""
    U = np.zeros((len(weights), found.shape[1]))
    U[active] = found * weights[active][:, None]
    return U


Method = Callable[[Array, Array, int, int, np.random.Generator], Array | list[Array]]
METHODS: dict[str, tuple[str, Method]] = {
    "vae": ("VAE", vae),
    "vae_all": ("VAE, all evidence", vae_all),
    "gamma_map": ("gamma-MAP", gamma_map),
    "irmxne": ("irMxNE", irmxne),
    "irmxne_best": ("irMxNE, best alpha", irmxne_best),
    "sloreta": ("sLORETA", sloreta),
    "random": ("Random (null)", random),
    "zeros": ("Zeros (null)", zeros),
}
