"""The peers of the solver, each a function (Φ, X, n_orient) -> the positions kept, and their γ."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from benchmark_solver_common import SEED, energy, fit
from tqdm import tqdm


def plain_sweeps(Phi: np.ndarray, X: np.ndarray, n_orient: int, n_sweeps: int) -> torch.Tensor:
    """γ ← γ q/s over all positions in float64, from a flat start; its γ."""
    Phi, X = torch.as_tensor(Phi), torch.as_tensor(X) / X.shape[1] ** 0.5
    gamma = torch.full((Phi.shape[1] // n_orient,), float(X.square().sum() / Phi.square().sum()))
    gamma = gamma.double()
    kept = torch.arange(len(gamma))
    eye = torch.eye(len(Phi), dtype=torch.float64)
    for _ in tqdm(range(n_sweeps), desc="plain sweeps", leave=False):
        L = torch.linalg.cholesky((Phi * gamma.repeat_interleave(n_orient)) @ Phi.T + eye)
        A = torch.linalg.solve_triangular(L, Phi, upper=False)
        Q = A.T @ torch.linalg.solve_triangular(L, X, upper=False)
        s = A.square().sum(0).reshape(-1, n_orient).sum(1)
        gamma = gamma * Q.square().sum(1).reshape(-1, n_orient).sum(1) / s
        alive = gamma > 1e-12 * gamma.max()  # twelve decades below the largest: nothing
        gamma, kept = gamma[alive], kept[alive]
        Phi = Phi[:, alive.repeat_interleave(n_orient)]
    out = torch.zeros(int(kept.max()) + 1, dtype=torch.float64)
    out[kept] = gamma
    return out


def gamma_map(Phi: np.ndarray, X: np.ndarray, n_orient: int) -> tuple[np.ndarray, np.ndarray]:
    """MNE's gamma-MAP at its own defaults; its γ is read as it returns, for it keeps that back."""
    from mne.inverse_sparse._gamma_map import _gamma_map_opt

    last: dict = {}

    def look(frame: object, event: str, _: object) -> None:
        if event == "return" and "M_normalize_constant" in frame.f_locals:
            last.update(frame.f_locals)

    sys.setprofile(look)
    try:
        _, active = _gamma_map_opt(X, Phi, 1.0, group_size=n_orient, verbose="error")
    finally:
        sys.setprofile(None)
    unit = last["M_normalize_constant"] / last["G_normalize_constant"] ** 2
    return np.unique(active // n_orient), unit * last["gammas"][::n_orient]


def sure(Phi: np.ndarray, X: np.ndarray, n_orient: int) -> tuple[np.ndarray, None]:
    """MNE's mixed norm with alpha="sure", prepared as `mixed_norm` does."""
    from mne.inverse_sparse.mxne_inverse import _compute_mxne_sure, norm_l2inf

    U, s, _ = np.linalg.svd(X, full_matrices=False)
    M = U * s
    gain = Phi / (0.01 * norm_l2inf(Phi.T @ M, n_orient, copy=False))
    _, active, _ = _compute_mxne_sure(
        M,
        gain,
        np.geomspace(100, 10, num=15),
        sigma=1,
        rng=np.random.default_rng(SEED),
        n_mxne_iter=1,
        maxit=3000,
        tol=1e-4 * np.sum(M**2),
        n_orient=n_orient,
        active_set_size=10,
        debias=True,
        solver="auto",
        dgap_freq=10,
        verbose="error",
    )
    return np.unique(np.flatnonzero(active) // n_orient), None


def champagne(Phi: np.ndarray, X: np.ndarray, n_orient: int, rule: str) -> tuple[np.ndarray, None]:
    """invertmeeg's sparse-Bayesian engine. Fixed orientation only."""
    from invert.solvers.bayesian.sbl_core import sbl_iterate

    size = np.linalg.norm(Phi, axis=0)
    result = sbl_iterate(Phi / size, X, np.eye(len(X)), update_rule=rule, max_iter=1000)
    return np.asarray(result.active_set), None


def multi_task_lasso(Phi: np.ndarray, X: np.ndarray, n_orient: int) -> tuple[np.ndarray, None]:
    """skglm's multi-task lasso at half of the largest alpha. Fixed orientation only.

    celer's does not run at its current version.
    """
    from skglm.estimators import MultiTaskLasso

    alpha = 0.5 * np.linalg.norm(Phi.T @ X, axis=1).max() / len(X)
    model = MultiTaskLasso(alpha=alpha, fit_intercept=False).fit(Phi, X)
    return np.flatnonzero(np.abs(model.coef_).sum(0)), None


GAMMA_MAP, SURE = "gamma_map (MNE)", "mixed_norm, SURE (MNE)"
PEERS = {  # name: (function, fixed orientation only)
    GAMMA_MAP: (gamma_map, False),
    SURE: (sure, False),
    "Champagne, MacKay (invertmeeg)": (partial(champagne, rule="mackay"), True),
    "Champagne, convexity (invertmeeg)": (partial(champagne, rule="convexity"), True),
    "multi-task lasso (skglm)": (multi_task_lasso, True),
}


def best_energy_on(Phi: np.ndarray, X: np.ndarray, n_orient: int, groups: np.ndarray) -> float:
    """The lowest J that a method's positions allow: at most the J of its own variances."""
    if not len(groups):
        return energy(Phi, X, n_orient, torch.zeros(Phi.shape[1] // n_orient, dtype=torch.float64))
    columns = Phi.reshape(len(Phi), -1, n_orient)[:, groups].reshape(len(Phi), -1)
    return float(fit(columns, X, n_orient).energy)


def run_peer(
    run: Callable[[np.ndarray, np.ndarray, int], tuple[np.ndarray, np.ndarray | None]],
    Phi: np.ndarray,
    X: np.ndarray,
    n_orient: int,
) -> dict:
    """Time a peer once; why it did not run, where it did not."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            since = time.process_time()
            groups, variances = run(Phi, X, n_orient)
            seconds = time.process_time() - since
    except ImportError as error:
        return {"note": f"not installed: {error.name}"}
    except Exception as error:  # a peer's failure is a row, not the end of the run
        return {"note": f"{type(error).__name__}: {str(error)[:80]}"}
    row = {"seconds": seconds, "repeats": 1, "positions": len(groups)}
    row["energy_of_positions"] = best_energy_on(Phi, X, n_orient, groups)
    if variances is not None:
        gamma = torch.zeros(Phi.shape[1] // n_orient, dtype=torch.float64)
        gamma[groups] = torch.as_tensor(variances)
        row["energy"] = energy(Phi, X, n_orient, gamma)
    return row


def run_sweeps(Phi: np.ndarray, X: np.ndarray, n_orient: int, n_sweeps: int) -> dict:
    """Time the plain sweeps once."""
    since = time.process_time()
    gamma = plain_sweeps(Phi, X, n_orient, n_sweeps)
    return {
        "seconds": time.process_time() - since,
        "repeats": 1,
        "energy": energy(Phi, X, n_orient, gamma),
        "positions": int((gamma > 0).sum()),
    }
