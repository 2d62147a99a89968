"""The methods of the neuromagnetic comparison, each from a case to the power at every position."""

from __future__ import annotations

from collections.abc import Callable

import mne
import numpy as np
from meg_vae.comparison.metrics.peaks import positions_of
from mne.inverse_sparse import gamma_map as mne_gamma_map
from mne.inverse_sparse import mixed_norm
from mne.minimum_norm import apply_inverse, make_inverse_operator
from talk_meg_data import Case, score

from meg_vae import SparseAutoencoder, SparseVAE
from meg_vae.meg.estimates import active_positions

MIN_LOG_EVIDENCE = 10.0  # nats, about the logarithm of the number of places, as for any recording
TWINS = (
    {"penalty": "l21", "decoder_penalty": "bounded", "n_starts": 1},  # convex: any start will do
    {"penalty": "lp", "n_starts": 2},
    {"penalty": "log", "n_starts": 2},
)
ALPHAS, ALPHAS_NOISELESS = (20.0, 40.0, 60.0), (2.0, 20.0)  # % of the largest of use


def _power(case: Case, U: np.ndarray) -> np.ndarray:
    """Norm of the whitened field of every position, by which no source stands out unseen."""
    o = case.leadfield.n_orient
    rows = U.reshape(len(case.points_mm), o, -1)
    power = np.zeros(len(rows))
    for g in np.flatnonzero(rows.any(axis=(1, 2))):
        power[g] = np.linalg.norm(case.leadfield.Phi[:, o * g : o * (g + 1)] @ rows[g])
    return power


def _best(case: Case, powers: list[np.ndarray]) -> np.ndarray:
    """Choose by the truth, which is more help than a user would have."""
    return min(powers, key=lambda power: score(case, power)["error_mm"])


def vae(case: Case) -> np.ndarray:
    """Fit the VAE, an unknown orientation learnt along with the noise; it is told nothing."""
    model = SparseVAE(
        case.leadfield.n_orient,
        orientation="full",
        noise_variance="anneal" if case.noiseless else "learn",
        min_log_evidence=0.0 if case.noiseless else MIN_LOG_EVIDENCE,
    )
    return _power(case, model.fit(case.leadfield.Phi, case.X).U_)


def twin(case: Case) -> np.ndarray:
    """Fit the autoencoder, which is told the noise; of three penalties the best, by the truth."""
    fits = [
        SparseAutoencoder(
            case.leadfield.n_orient,
            noise_variance="anneal" if case.noiseless else 1.0,
            tol=1e-3,
            max_iter=200,
            **kind,
        ).fit(case.leadfield.Phi, case.X)
        for kind in TWINS
    ]
    return _best(case, [_power(case, fit.U_) for fit in fits])


def _of_mne(case: Case, solve: Callable[..., mne.SourceEstimate], **options: object) -> np.ndarray:
    """Call one of MNE's sparse solvers and put its rows back among all positions."""
    fixed = case.leadfield.n_orient == 1
    options |= {"loose": 0 if fixed else 1, "pick_ori": None if fixed else "vector"}
    U = np.zeros((len(case.points_mm), case.leadfield.n_orient, case.X.shape[1]))
    try:
        stc = solve(case.evoked, case.forward, case.noise_cov, verbose="error", **options)
    except Exception as error:  # MNE has no class of its own for this
        if "No active dipoles found" not in str(error):
            raise
        return _power(case, U)
    rows = positions_of(stc, case.forward)
    axes = active_positions(case.leadfield.forward, rows).axes
    U[rows] = stc.data[:, None] if fixed else np.einsum("gak,gkt->gat", axes, stc.data)
    return _power(case, U)


def mxne(case: Case, n_mxne_iter: int = 1) -> np.ndarray:
    """Apply MNE's mixed norm at the best of a few alphas, by the truth."""
    alphas = ALPHAS_NOISELESS if case.noiseless else ALPHAS
    options = {"depth": 0.8, "n_mxne_iter": n_mxne_iter, "maxit": 1000}
    return _best(case, [_of_mne(case, mixed_norm, alpha=a, **options) for a in alphas])


def irmxne(case: Case) -> np.ndarray:
    """Apply MNE's reweighted mixed norm likewise."""
    return mxne(case, n_mxne_iter=10)


def gamma_map(case: Case) -> np.ndarray:
    """Apply MNE's gamma-MAP, which is told the noise level."""
    return _of_mne(case, mne_gamma_map, alpha=1e-3 if case.noiseless else 1.0, depth=None)


def sloreta(case: Case) -> np.ndarray:
    """Apply MNE's sLORETA, which is told the SNR."""
    fixed = case.leadfield.n_orient == 1
    operator = make_inverse_operator(
        case.evoked.info,
        case.forward,
        case.noise_cov,
        loose=0 if fixed else 1,
        fixed=fixed,
        depth=None,
        verbose="error",
    )
    lambda2 = 1e-6 if case.noiseless else 1 / max(1.0, np.mean(case.X**2) - 1)
    stc = apply_inverse(case.evoked, operator, lambda2, "sLORETA", verbose="error")
    return np.linalg.norm(stc.data, axis=1)


METHODS: dict[str, Callable[[Case], np.ndarray]] = {
    "VAE": vae,
    "autoencoder": twin,
    "MxNE": mxne,
    "irMxNE": irmxne,
    "gamma-MAP": gamma_map,
    "sLORETA": sloreta,
}
