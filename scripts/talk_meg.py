"""Neuromagnetic sources: the VAE, its twin and MNE's methods on the template's lead field."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import matplotlib.pyplot as plt
import mne
import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment
from talk_common import LOOKS, OUT, Out, Quick, Seed, check_sizes, run, write
from tqdm.auto import tqdm

from meg_vae import SparseAutoencoder, SparseVAE, datasets
from meg_vae.meg.leadfield import LeadField, make_leadfield, whiten
from meg_vae.viz.style import PALETTE

SPACING = "ico3"
APART_MM = 20.0  # smallest distance between two sources, and between two peaks of an estimate
SAMPLES = 40
NOISELESS = "no noise"
LOOK = {
    "VAE": LOOKS["VAE"],
    "autoencoder": LOOKS["autoencoder, log"],
    "MxNE": {"color": PALETTE[2], "marker": "^"},
    "irMxNE": {"color": PALETTE[3], "marker": "v"},
    "gamma-MAP": {"color": PALETTE[5], "marker": "s", "linestyle": "--", "zorder": 4},
    "sLORETA": {"color": "#666666", "marker": "x", "linestyle": ":"},
}


@dataclass(frozen=True)
class Case:
    """Data of known sources and what every method is given."""

    evoked: mne.Evoked
    forward: mne.Forward
    noise_cov: mne.Covariance
    leadfield: LeadField
    X: np.ndarray
    positions_mm: np.ndarray
    truth: np.ndarray
    noiseless: bool


def make_case(n_sources: int, snr_db: float, seed: int) -> Case:
    """Record sources of equal sensor power with the template's magnetometers, orientation fixed.

    Parameters
    ----------
    n_sources : int
        ρ0.
    snr_db : float
        Whitened power of the sources over that of the noise, in dB; infinity for no noise.
    seed : int
        Seed.

    Returns
    -------
    case : Case
        The data.
    """
    recording = datasets.template_recording(
        0, snr_db=0, spacing=SPACING, random_state=seed, nave=1, verbose="error"
    )
    info = recording.evoked.copy().pick("mag").info
    forward = mne.convert_forward_solution(
        recording.forward, surf_ori=True, force_fixed=True, use_cps=True, verbose="error"
    )
    leadfield = make_leadfield(forward, info, recording.noise_cov, loose=0)
    d, K = leadfield.Phi.shape
    check_sizes(d, K, n_sources, SAMPLES)
    rng = np.random.default_rng(seed)
    positions = leadfield.forward["source_rr"] * 1000
    truth = _apart(rng.permutation(K), positions, n_sources)
    U = rng.standard_normal((n_sources, SAMPLES))
    U /= np.linalg.norm(leadfield.Phi[:, truth], axis=0)[:, None]
    level = 10 if np.isinf(snr_db) else snr_db  # without noise any level will do
    signal = leadfield.Phi[:, truth] @ U
    U *= 10 ** (level / 20) / np.sqrt(np.mean(signal**2))
    data = leadfield.forward["sol"]["data"][:, truth] @ U
    if not np.isinf(snr_db):
        # coloured by the noise covariance, which the whitener takes to the identity
        white = rng.standard_normal((d, SAMPLES))
        data = data + np.linalg.pinv(leadfield.whitener) @ white
    names = leadfield.ch_names
    evoked = mne.EvokedArray(
        data,
        mne.pick_info(info, [info["ch_names"].index(c) for c in names]),
        nave=1,
        verbose="error",
    )
    X = whiten(evoked, leadfield.whitener, names, 1)
    return Case(
        evoked,
        leadfield.forward,
        recording.noise_cov,
        leadfield,
        X,
        positions,
        truth,
        bool(np.isinf(snr_db)),
    )


def _apart(order: np.ndarray, positions: np.ndarray, n: int) -> np.ndarray:
    """Take the first positions of an order that lie far enough from those before them."""
    chosen: list[int] = []
    for k in order:
        if len(chosen) == n:
            break
        if all(np.linalg.norm(positions[k] - positions[c]) >= APART_MM for c in chosen):
            chosen.append(int(k))
    return np.array(chosen, int)


def vae(case: Case) -> np.ndarray:
    """Fit the VAE: λ learnt, or annealed where there is no noise."""
    model = SparseVAE(noise_variance="anneal" if case.noiseless else "learn")
    return np.linalg.norm(model.fit(case.leadfield.Phi, case.X).U_, axis=1)


def twin(case: Case) -> np.ndarray:
    """Fit the autoencoder, which is told the noise; of three penalties the best, by the truth."""
    noise = "anneal" if case.noiseless else 1.0
    kinds = (
        {"penalty": "l21", "decoder_penalty": "bounded"},
        {"penalty": "lp"},
        {"penalty": "log"},
    )
    fits = [
        SparseAutoencoder(noise_variance=noise, n_starts=2, tol=1e-5, max_iter=3000, **kind).fit(
            case.leadfield.Phi, case.X
        )
        for kind in kinds
    ]
    powers = [np.linalg.norm(fit.U_, axis=1) for fit in fits]
    return min(powers, key=lambda power: score(case, power)["error_mm"])


def sloreta(case: Case) -> np.ndarray:
    """Apply MNE's sLORETA at the true SNR."""
    operator = mne.minimum_norm.make_inverse_operator(
        case.evoked.info,
        case.forward,
        case.noise_cov,
        loose=0,
        fixed=True,
        depth=None,
        verbose="error",
    )
    lambda2 = 1e-6 if case.noiseless else 1 / max(1.0, np.mean(case.X**2) - 1)
    stc = mne.minimum_norm.apply_inverse(case.evoked, operator, lambda2, "sLORETA", verbose="error")
    return np.linalg.norm(stc.data, axis=1)


def _sparse(solve: Callable[..., mne.SourceEstimate], case: Case, **options: object) -> np.ndarray:
    """Call one of MNE's sparse solvers and put its rows back among all positions."""
    stc = solve(case.evoked, case.forward, case.noise_cov, loose=0, verbose="error", **options)
    vertices = [s["vertno"] for s in case.forward["src"]]
    rows = np.concatenate(
        [
            np.searchsorted(all_, found) + shift
            for all_, found, shift in zip(
                vertices, stc.vertices, (0, len(vertices[0])), strict=True
            )
        ]
    ).astype(int)
    power = np.zeros(len(case.positions_mm))
    power[rows] = np.linalg.norm(stc.data, axis=1)
    return power


def mxne(case: Case, n_mxne_iter: int = 1) -> np.ndarray:
    """Apply MNE's mixed norm at the best of three alphas, by the truth."""
    fits = []
    for alpha in (2.0, 10.0, 30.0) if case.noiseless else (20.0, 40.0, 60.0):
        try:
            fits.append(
                _sparse(
                    mne.inverse_sparse.mixed_norm,
                    case,
                    alpha=alpha,
                    depth=0.8,
                    n_mxne_iter=n_mxne_iter,
                    maxit=1000,
                )
            )
        except Exception as error:  # MNE's plain Exception: no active dipoles
            if "active" not in str(error):
                raise
    fits = fits or [np.zeros(len(case.positions_mm))]
    return min(fits, key=lambda power: score(case, power)["error_mm"])


def irmxne(case: Case) -> np.ndarray:
    """Apply MNE's reweighted mixed norm likewise."""
    return mxne(case, n_mxne_iter=10)


def gamma_map(case: Case) -> np.ndarray:
    """Apply MNE's gamma-MAP with the true noise level."""
    return _sparse(
        mne.inverse_sparse.gamma_map,
        case,
        alpha=1e-3 if case.noiseless else 1.0,
        depth=None,
        xyz_same_gamma=True,
    )


METHODS: dict[str, Callable[[Case], np.ndarray]] = {
    "VAE": vae,
    "autoencoder": twin,
    "MxNE": mxne,
    "irMxNE": irmxne,
    "gamma-MAP": gamma_map,
    "sLORETA": sloreta,
}


def score(case: Case, power: np.ndarray) -> dict[str, float]:
    """Compare the strongest peaks of an estimate, as many as there are sources, with the truth.

    Parameters
    ----------
    case : Case
        The data and the truth.
    power : ndarray, shape (n_positions,)
        Norm of every row of the estimate.

    Returns
    -------
    score : dict of str: float
        Share of sources found exactly, and mean distance in mm of a peak to the source it is
        matched with; a source that no peak is left for counts with 100 mm, the radius of the head.
    """
    strongest = np.argsort(-power)[: int((power > 0).sum())]
    peaks = _apart(strongest, case.positions_mm, len(case.truth))
    distance = np.linalg.norm(
        case.positions_mm[case.truth][:, None] - case.positions_mm[peaks], axis=2
    )
    matched = distance[linear_sum_assignment(distance)]
    missing = len(case.truth) - len(matched)
    return {
        "found": float(np.isin(case.truth, peaks).mean()),
        "error_mm": float((matched.sum() + 100.0 * missing) / len(case.truth)),
    }


def experiment(conditions: list[tuple[int, float]], n_seeds: int, seed: int) -> pd.DataFrame:
    """Run every method on every condition.

    Parameters
    ----------
    conditions : list of (int, float)
        Number of sources and SNR in dB.
    n_seeds : int
        Recordings per condition.
    seed : int
        First seed.

    Returns
    -------
    table : DataFrame
        A row per recording and method.
    """
    rows = []
    cells = [(*c, seed + k) for c in conditions for k in range(n_seeds)]
    for n_sources, snr_db, k in tqdm(cells, desc="MEG", unit="recording"):
        case = make_case(n_sources, snr_db, k)
        for name, method in METHODS.items():
            started = time.perf_counter()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # a solver that stops early counts
                power = method(case)
            rows.append(
                {
                    "n_sources": n_sources,
                    "snr_db": snr_db,
                    "seed": k,
                    "method": name,
                    **score(case, power),
                    "seconds": time.perf_counter() - started,
                }
            )
    return pd.DataFrame(rows)


def draw(table: pd.DataFrame) -> plt.Figure:
    """Draw share found and localization error against ρ0, and against the SNR.

    Parameters
    ----------
    table : DataFrame
        Of `experiment`.

    Returns
    -------
    figure : Figure
        The figure.
    """
    levels = [np.inf, 20.0]
    figure, axes = plt.subplots(2, 3, figsize=(9.4, 5.4), sharey="row", layout="constrained")
    some = _common_count(table)
    panels = [
        (
            table[table["snr_db"] == v],
            "n_sources",
            f"{'no noise' if np.isinf(v) else f'{v:.0f} dB'}",
        )
        for v in levels
    ]
    panels.append(
        (
            table[(table["n_sources"] == some) & np.isfinite(table["snr_db"])],
            "snr_db",
            f"{some} sources",
        )
    )
    for column, (part, x, title) in enumerate(panels):
        for ax, measure, factor in zip(
            axes[:, column], ("found", "error_mm"), (100, 1), strict=True
        ):
            for name, look in LOOK.items():
                mean = part[part["method"] == name].groupby(x)[measure].mean()
                ax.plot(mean.index, factor * mean, label=name, markersize=4, **look)
        axes[0, column].set_title(title, fontsize=9.5)
        axes[1, column].set_xlabel("sources ρ₀" if x == "n_sources" else "SNR (dB)")
    axes[0, 0].set_ylabel("sources found at the\nexact position (%)")
    axes[1, 0].set_ylabel("localization error (mm)")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=6)
    return figure


def _common_count(table: pd.DataFrame) -> int:
    """Find the number of sources that was tried at the most SNRs."""
    return int(table.groupby("n_sources")["snr_db"].nunique().idxmax())


def main(quick: Quick = False, out: Out = OUT, seed: Seed = 0) -> None:
    """Localize known sources with magnetometers, at rising numbers and levels of noise."""
    if quick:
        table = experiment([(3, np.inf), (20, np.inf), (3, 20.0), (20, 20.0), (3, 0.0)], 1, seed)
    else:
        counts = [1, 5, 10, 20, 40]
        conditions = [(n, v) for v in (np.inf, 20.0) for n in counts] + [(5, 10.0), (5, 0.0)]
        table = experiment(conditions, 2, seed)
    write("talk_meg", table, draw, out)


if __name__ == "__main__":
    run(main)
