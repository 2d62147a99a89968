"""Those of MNE's tests that have no dipole to find: a real response, and arrays without places."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from itertools import product
from typing import Any

import mne
import numpy as np
from benchmark_mne_tests_cases import auditory, subject, volume
from benchmark_mne_tests_methods import GRID, VAE
from mne.beamformer import rap_music, trap_music
from mne.inverse_sparse import mixed_norm, tf_mixed_norm
from mne.inverse_sparse.mxne_inverse import _compute_mxne_sure
from mne.inverse_sparse.mxne_optim import norm_l2inf
from mne.minimum_norm import apply_inverse, make_inverse_operator
from tqdm import tqdm

from meg_vae import SparseVAE, VAEInverse
from meg_vae.comparison.metrics.pairing import dipole_places
from meg_vae.model.checks import MIN_LOG_EVIDENCE

SIZES = ((10, 15, 7), (20, 60, 20))  # sensors, dipoles, samples
CORRELATION, SNR = 0.75, 4
DSPM = 12.0  # above which a position may have a source: the tests' way to make them short


def problem(
    size: tuple[int, int, int], n_true: int, n_orient: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Make a gain whose neighbours are correlated, data, the support, and the noise's SD."""
    n_sensors, n_dipoles, n_times = size
    n_positions, rng = n_dipoles // n_orient, np.random.default_rng([seed, *size])
    columns = [rng.standard_normal(n_sensors)]
    for _ in range(1, n_positions):
        new = np.sqrt(1 - CORRELATION**2) * rng.standard_normal(n_sensors)
        columns.append(CORRELATION * columns[-1] + new)
    G = np.repeat(np.array(columns).T, n_orient, axis=1)  # components alike, as in the test
    support = np.sort(rng.choice(n_positions, n_true, replace=False))
    U = np.zeros((n_positions, n_orient, n_times))
    U[support] = rng.standard_normal((n_true, n_orient, n_times))
    M, noise = G @ U.reshape(n_dipoles, n_times), rng.standard_normal((n_sensors, n_times))
    sigma = np.linalg.norm(M) / SNR / np.linalg.norm(noise)
    return np.asfortranarray(G), M + sigma * noise, support, float(sigma)


def sure(G: np.ndarray, M: np.ndarray, n_orient: int, sigma: float) -> np.ndarray:
    """Call MNE's SURE as its test does, the noise known; the positions that it names."""
    most = norm_l2inf(G.T @ M, n_orient, copy=False)
    _, active, _ = _compute_mxne_sure(
        M,
        G,
        np.geomspace(most, most / 10, num=15),
        sigma=sigma,
        n_mxne_iter=5,
        maxit=3000,
        tol=1e-4,
        n_orient=n_orient,
        active_set_size=10,
        debias=True,
        solver="auto",
        dgap_freq=10,
        rng=np.random.default_rng(0),
        verbose="error",
    )
    return np.unique(np.flatnonzero(active) // n_orient)


def vae(noise: float | str) -> Callable[..., np.ndarray]:
    """Make a fit of the arrays, the noise learnt or known."""

    def run(G: np.ndarray, M: np.ndarray, n_orient: int, sigma: float) -> np.ndarray:
        known = noise if noise == "learn" else 1.0
        model = SparseVAE(n_orient, noise_variance=known, min_log_evidence=MIN_LOG_EVIDENCE)
        return np.flatnonzero(model.fit(G / sigma, M / sigma).active_)

    return run


ARRAYS = {"irMxNE (SURE)": sure, VAE: vae("learn"), f"{VAE}, noise known": vae("known")}


def array_rows(seeds: int) -> list[dict]:
    """Count the positions found in arrays whose neighbours are correlated."""
    cells = list(product(SIZES, (2, 4), (1, 3), range(seeds)))
    rows = []
    for size, n_true, n_orient, seed in tqdm(cells, desc="arrays"):
        G, M, support, sigma = problem(size, n_true, n_orient, seed)
        for title, method in ARRAYS.items():
            found = method(G, M, n_orient, sigma)
            rows.append(
                {"n_sensors": size[0], "n_dipoles": size[1], "n_times": size[2]}
                | {"n_true": n_true, "n_orient": n_orient, "seed": seed, "method": title}
                | {"n_found": len(found), "passed": len(found) == n_true}
                | {"support": np.array_equal(found, support)}
            )
    return rows


def mixed_norms() -> dict[str, dict[str, list[mne.Dipole]]]:
    """Answer the tests on the left auditory response: sources of each method, by test."""
    real, _ = subject()
    long = real.evoked.copy().crop(-0.05, 0.2)
    peak = long.copy().crop(0.081, 0.1)
    forward, cov = real.forward, real.noise_cov
    operator = make_inverse_operator(peak.info, forward, cov, loose=0.0, depth=0.9, fixed=True)
    likely = apply_inverse(peak, operator, 1 / 9, "dSPM")
    likely.data = (np.abs(likely.data) >= DSPM).astype(float)
    told: dict[str, Any] = {"loose": 0.0, "depth": 0.9, "return_as_dipoles": True}
    few = {"weights": likely, "weights_min": 0.5} if likely.data.any() else {}
    exact = {"maxit": 300, "tol": 1e-8, "active_set_size": 10}
    tf = {"tstep": 4, "wsize": 16, "window": 0.1, "alpha": 60.0, "l1_ratio": 0.01, "maxit": 100}
    again = told | exact | {"loose": 0.0001, "n_mxne_iter": 5}
    return {
        "mixed_norm, left auditory, 81 to 100 ms": {
            "MxNE": mixed_norm(peak, forward, cov, 70, **told, **exact, **few),
            "irMxNE": mixed_norm(peak, forward, cov, 70, **again),
        }
        | both(peak, forward, cov),
        "tf_mixed_norm, left auditory, -50 to 200 ms": {
            "TF-MxNE": tf_mixed_norm(long, forward, cov, tol=1e-4, **told, **tf, **few)
        }
        | both(long, forward, cov),
    }


def both(
    evoked: mne.Evoked, forward: mne.Forward, cov: mne.Covariance
) -> dict[str, list[mne.Dipole]]:
    """Fit with the defaults, and on the grid along the normals."""
    free, grid = VAEInverse(), VAEInverse(positions="grid", loose=0.0)
    return {
        title: one.fit(evoked, forward, cov).dipoles() for title, one in ((VAE, free), (GRID, grid))
    }


def scans() -> dict[str, dict[str, list[mne.Dipole]]]:
    """Answer the test of two dipoles in a sphere, from 0 to 0.3 s."""
    real, _ = subject()
    evoked = real.evoked.copy().crop(0.0, 0.3).pick("meg", exclude="bads")
    forward, two = volume(10.0, (0.0, 0.0, 0.04), 0.065)[0], {"n_dipoles": 2}
    return {
        "rap_music, left auditory in a sphere": {
            "RAP-MUSIC": rap_music(evoked, forward, real.noise_cov, **two),
            "TRAP-MUSIC": trap_music(evoked, forward, real.noise_cov, **two),
            VAE: VAEInverse().fit(evoked, forward, real.noise_cov).dipoles(),
        }
    }


def real_rows(seeds: int) -> list[dict]:
    """Answer the tests on the real response, of which there is one, whatever the seeds."""
    with mne.utils.use_log_level("error"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = mixed_norms() | scans()
    return [
        {"test": test, "method": title} | _real(test, dipoles)
        for test, own in made.items()
        for title, dipoles in own.items()
    ]


def _real(test: str, dipoles: list[mne.Dipole]) -> dict:
    """Tell how far the strongest source on each side is from its auditory label, and the test."""
    order = sorted(dipoles, key=lambda one: -np.square(one.amplitude).sum())
    row: dict[str, Any] = {"n_found": len(dipoles)}
    for hemi, side in (("lh", -1), ("rh", 1)):
        own = [one for one in order if side * dipole_places([one])[0, 0] > 0]
        row[f"{hemi}_mm"] = _to_label(hemi, own[0]) if own else np.nan
    top = dipole_places(order[:2])[:, 0]
    sides = bool((top < 0).sum() == (top > 0).sum() == 1)
    in_label = row["rh_mm"] == 0
    return row | {"passed": in_label if "mixed_norm" in test else sides}


def _to_label(hemi: str, dipole: mne.Dipole) -> float:
    """Distance in mm to the label's vertices; 0 where the nearest position is one of them."""
    space = subject()[0].forward["src"][0 if hemi == "lh" else 1]
    place = dipole_places([dipole])[0]
    position = space["vertno"][
        np.linalg.norm(space["rr"][space["vertno"]] - place, axis=1).argmin()
    ]
    if position in auditory(hemi).vertices:
        return 0.0
    off = np.linalg.norm(space["rr"][auditory(hemi).vertices] - place, axis=1)
    return float(1e3 * off.min())
