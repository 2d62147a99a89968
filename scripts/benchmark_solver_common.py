"""What the benchmarks of the solver share: problems, fits, energies, clocks."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import torch

from meg_vae.model.energy import profile
from meg_vae.model.exact.dictionary import Dictionary
from meg_vae.model.exact.point import Candidates, evaluate
from meg_vae.model.exact.pulls import group_pulls, pulling_rows
from meg_vae.model.fit import Fit
from meg_vae.model.noise_variance import Held
from meg_vae.model.priors import ISOTROPIC
from meg_vae.model.solve import data_factor, solve

TOL = 1e-3
CASES = {  # name: sources, SNR in dB
    "3 sources, 10 dB": (3, 10.0),
    "10 sources, 10 dB": (10, 10.0),
    "3 sources, -10 dB": (3, -10.0),
    "pure noise": (0, 10.0),
}
SEED = 0
SUPPORT = 150  # positions of the support-reduced problem


def problem(case: str, loose: float, spacing: str) -> tuple[np.ndarray, np.ndarray, int]:
    """Whitened Φ and X of one case, and the dipoles per position."""
    from meg_vae import datasets
    from meg_vae.meg.leadfield import make_leadfield

    n_sources, snr_db = CASES[case]
    recording = datasets.template_recording(
        n_sources, snr_db, min_distance=0.03, spacing=spacing, random_state=SEED, verbose="error"
    )
    evoked = recording.evoked
    leadfield = make_leadfield(
        recording.forward, evoked.info, recording.noise_cov, nave=evoked.nave, loose=loose
    )
    X = leadfield.whiten(evoked)
    return np.ascontiguousarray(leadfield.Phi), X, leadfield.n_orient


def fit(Phi: np.ndarray, X: np.ndarray, n_orient: int, device: str = "cpu") -> Fit:
    """Everything from the arrays: the preparation of Φ is counted."""
    dictionary = Dictionary(Phi, n_orient, device=device)
    return solve(dictionary, torch.as_tensor(X), noise_variance=1.0, tol=TOL)


def certificate_of(
    Phi: np.ndarray, X: np.ndarray, n_orient: int, solution: Fit
) -> Callable[[], None]:
    """Check of a given answer over all positions in float64; Φ is at hand, normalised."""
    dictionary = Dictionary(Phi, n_orient)
    F = data_factor(torch.as_tensor(X))[None]
    active = solution.positions
    R = solution.factor[None] * dictionary.norms[active][None, :, None, None]
    noise = torch.ones(1, len(Phi), dtype=torch.float64)

    def check() -> None:
        candidates = Candidates(dictionary.columns(active), F, ISOTROPIC, Held(1.0))
        point = evaluate(candidates, R, noise)
        s, q = group_pulls(*pulling_rows(point.L, point.B), dictionary.Phi, n_orient)
        (q / s).amax()

    return check


def in_turn(*work: Callable[[], object], repeats: int) -> list[tuple[float, object]]:
    """Of each the median run: its processor time in seconds, and what it gave that time.

    One after the other, so that what else runs on the machine is the same for all.
    """
    runs = [[timed(one) for one in work] for _ in range(repeats)]
    return [sorted(own, key=lambda run: run[0])[repeats // 2] for own in zip(*runs, strict=True)]


def timed(work: Callable[[], object]) -> tuple[float, object]:
    """Processor time of some work in seconds, and what it gave."""
    since = time.process_time()
    found = work()
    return time.process_time() - since, found


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    """Median processor time of some work."""
    return in_turn(work, repeats=repeats)[0][0]


def energy(Phi: np.ndarray, X: np.ndarray, n_orient: int, gamma: torch.Tensor) -> float:
    """J of given variances, evaluated in one way for every method."""
    C = torch.as_tensor(X @ X.T / X.shape[1])
    active = gamma.nonzero()[:, 0]
    columns = torch.as_tensor(Phi).reshape(len(Phi), -1, n_orient)[:, active].flatten(1)
    return float(profile(columns, gamma[active], torch.tensor(1.0, dtype=torch.float64), C))


def support_reduced(Phi: np.ndarray, X: np.ndarray, n_orient: int) -> np.ndarray:
    """Columns of the active positions and of those that see most nearly the same."""
    dictionary = Dictionary(Phi, n_orient)
    active = solve(dictionary, torch.as_tensor(X), noise_variance=1.0).gamma > 0
    columns = dictionary.Phi.reshape(len(Phi), -1, n_orient)
    near = (columns[:, active].flatten(1).T @ columns.flatten(1)).abs().amax(0)
    near = near.reshape(-1, n_orient).amax(1)
    near[active] = torch.inf
    chosen = near.topk(SUPPORT).indices.sort().values.numpy()
    return Phi.reshape(len(Phi), -1, n_orient)[:, chosen].reshape(len(Phi), -1)


def bootstrap_samples(X: np.ndarray, n_batch: int) -> np.ndarray:
    """Data with their time points drawn again, shape (n_batch, n_channels, n_samples)."""
    rng = np.random.default_rng(SEED)
    return np.stack([X[:, rng.integers(0, X.shape[1], X.shape[1])] for _ in range(n_batch)])


def versions() -> dict[str, str]:
    """What ran."""
    out = {"python": platform.python_version(), "processor": platform.machine()}
    for name in ("meg_vae", "torch", "mne", "numpy", "scipy", "invertmeeg", "skglm"):
        try:
            out[name] = version(name)
        except PackageNotFoundError:
            out[name] = "not installed"
    return out
