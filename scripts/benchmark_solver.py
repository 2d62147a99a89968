"""Time the exact solver against its own certificate and against its peers.

Every method gets the same whitened problem (template head, 306 channels, covariance divided by
nave), noise variance held at 1, in one process with a stated number of threads. Writes
``solver.csv``, ``solver_growth.csv`` and ``solver.png``.

    python scripts/benchmark_solver.py --threads 1 --out data/benchmarks
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import resource
import subprocess
import sys
import threading
import time
import warnings
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from meg_vae import datasets
from meg_vae.meg.leadfield import make_leadfield, whiten
from meg_vae.model.energy import profile
from meg_vae.model.exact.certificate import growth
from meg_vae.model.exact.dictionary import Dictionary
from meg_vae.model.exact.point import Candidates, evaluate
from meg_vae.model.exact.rounds import Solution
from meg_vae.model.solve import data_factor, solve

TOL = 1e-3
CASES = {  # name: sources, SNR in dB
    "3 sources, 10 dB": (3, 10.0),
    "10 sources, 10 dB": (10, 10.0),
    "3 sources, -10 dB": (3, -10.0),
    "pure noise": (0, 10.0),
}
SEED = 0


def problem(case: str, loose: float, spacing: str) -> tuple[np.ndarray, np.ndarray, int]:
    """Whitened Φ and X of one case, and the dipoles per position."""
    n_sources, snr_db = CASES[case]
    recording = datasets.template_recording(
        n_sources, snr_db, min_distance=0.03, spacing=spacing, random_state=SEED, verbose="error"
    )
    evoked = recording.evoked
    leadfield = make_leadfield(
        recording.forward, evoked.info, recording.noise_cov, nave=evoked.nave, loose=loose
    )
    X = whiten(evoked, leadfield.whitener, leadfield.ch_names, evoked.nave)
    return np.ascontiguousarray(leadfield.Phi), X, leadfield.n_orient


def fit(Phi: np.ndarray, X: np.ndarray, n_orient: int) -> Solution:
    """Everything from the arrays: the preparation of Φ is counted."""
    return solve(Dictionary(Phi, n_orient), torch.as_tensor(X), noise_variance=1.0, tol=TOL)


def certificate_alone(Phi: np.ndarray, X: np.ndarray, n_orient: int, solution: Solution) -> float:
    """Seconds to check a given answer over all positions in float64; Φ is at hand, normalised."""
    dictionary = Dictionary(Phi, n_orient)
    F = data_factor(torch.as_tensor(X))[None]
    active = solution.gamma.nonzero()[:, 0]
    R = solution.factor[None, active] * dictionary.norms[active][None, :, None, None]
    noise = torch.ones(1, len(Phi), dtype=torch.float64)

    def check() -> None:
        candidates = Candidates(dictionary.columns(active), F, full=False, learn="none")
        growth(dictionary, evaluate(candidates, R, noise), full=False, dtype=torch.float64)

    return median_seconds(check, 5)


def median_seconds(work: partial, repeats: int) -> float:
    """Median wall time of some work."""
    times = []
    for _ in range(repeats):
        since = time.perf_counter()
        work()
        times.append(time.perf_counter() - since)
    return float(np.median(times))


def energy(Phi: np.ndarray, X: np.ndarray, n_orient: int, gamma: torch.Tensor) -> float:
    """J of given variances, evaluated in one way for every method."""
    C = torch.as_tensor(X @ X.T / X.shape[1])
    active = gamma.nonzero()[:, 0]
    columns = torch.as_tensor(Phi).reshape(len(Phi), -1, n_orient)[:, active].flatten(1)
    return float(profile(columns, gamma[active], torch.tensor(1.0, dtype=torch.float64), C))


def best_energy_on(Phi: np.ndarray, X: np.ndarray, n_orient: int, groups: np.ndarray) -> float:
    """The lowest J that a method's positions allow: at most the J of its own variances."""
    if not len(groups):
        return energy(Phi, X, n_orient, torch.zeros(Phi.shape[1] // n_orient, dtype=torch.float64))
    columns = Phi.reshape(len(Phi), -1, n_orient)[:, groups].reshape(len(Phi), -1)
    return float(fit(columns, X, n_orient).energy)


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


def peer_gamma_map(Phi: np.ndarray, X: np.ndarray, n_orient: int) -> np.ndarray:
    """MNE's gamma-MAP at its own defaults; the positions it keeps."""
    from mne.inverse_sparse._gamma_map import _gamma_map_opt

    _, active = _gamma_map_opt(X, Phi, 1.0, group_size=n_orient, verbose="error")
    return np.unique(active // n_orient)


def peer_sure(Phi: np.ndarray, X: np.ndarray, n_orient: int, n_mxne_iter: int = 1) -> np.ndarray:
    """MNE's mixed norm with alpha="sure", prepared as `mixed_norm` does; the positions it keeps."""
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
        n_mxne_iter=n_mxne_iter,
        maxit=3000,
        tol=1e-4 * np.sum(M**2),
        n_orient=n_orient,
        active_set_size=10,
        debias=True,
        solver="auto",
        dgap_freq=10,
        verbose="error",
    )
    return np.unique(np.flatnonzero(active) // n_orient)


def peer_champagne(Phi: np.ndarray, X: np.ndarray, n_orient: int, rule: str) -> np.ndarray:
    """invertmeeg's sparse-Bayesian engine; the positions it keeps. Fixed orientation only."""
    from invert.solvers.bayesian.sbl_core import sbl_iterate

    size = np.linalg.norm(Phi, axis=0)
    result = sbl_iterate(Phi / size, X, np.eye(len(X)), update_rule=rule, max_iter=1000)
    return np.asarray(result.active_set)


def peer_skglm(Phi: np.ndarray, X: np.ndarray, n_orient: int) -> np.ndarray:
    """skglm's multi-task lasso at half of the largest alpha; the positions it keeps."""
    from skglm.estimators import MultiTaskLasso

    alpha = 0.5 * np.linalg.norm(Phi.T @ X, axis=1).max() / len(X)
    model = MultiTaskLasso(alpha=alpha, fit_intercept=False).fit(Phi, X)
    return np.flatnonzero(np.abs(model.coef_).sum(0))


PEERS = {  # name: (function, fixed orientation only)
    "gamma_map (MNE)": (peer_gamma_map, False),
    "mixed_norm, SURE (MNE)": (peer_sure, False),
    "Champagne, MacKay (invertmeeg)": (partial(peer_champagne, rule="mackay"), True),
    "Champagne, convexity (invertmeeg)": (partial(peer_champagne, rule="convexity"), True),
    "multi-task lasso (skglm)": (peer_skglm, True),
}


def compare_case(case: str, loose: float, options: argparse.Namespace) -> list[dict]:
    """Rows of one case: ours, its certificate, and the peers."""
    Phi, X, n_orient = problem(case, loose, options.spacing)
    shared = {
        "case": case,
        "orientation": "fixed" if n_orient == 1 else "free",
        "columns": Phi.shape[1],
    }
    solution = fit(Phi, X, n_orient)
    seconds = median_seconds(partial(fit, Phi, X, n_orient), options.repeats)
    check = certificate_alone(Phi, X, n_orient, solution)
    J = energy(Phi, X, n_orient, solution.gamma)
    rows = [
        {
            **shared,
            "method": "meg_vae",
            "seconds": seconds,
            "repeats": options.repeats,
            "over_certificate": seconds / check,
            "energy": J,
            "positions": int((solution.gamma > 0).sum()),
            "certificate": float(solution.certificate),
        },
        {**shared, "method": "certificate alone", "seconds": check, "repeats": 5},
    ]
    if CASES[case][1] < 0 or CASES[case][0] == 0 or options.no_peers:
        return rows
    if options.sweeps:
        since = time.perf_counter()
        gamma = plain_sweeps(Phi, X, n_orient, options.sweeps)
        rows.append(
            {
                **shared,
                "method": f"{options.sweeps} plain sweeps",
                "seconds": time.perf_counter() - since,
                "repeats": 1,
                "energy": energy(Phi, X, n_orient, gamma),
                "positions": int((gamma > 0).sum()),
            }
        )
    for name, (run, fixed_only) in PEERS.items():
        if fixed_only and n_orient > 1:
            continue
        rows.append({**shared, "method": name, **run_peer(run, Phi, X, n_orient)})
    for row in rows:
        row["times_ours"] = row["seconds"] / seconds if row.get("seconds") else None
    return rows


def run_peer(run: partial, Phi: np.ndarray, X: np.ndarray, n_orient: int) -> dict:
    """Time a peer once; why it did not run, where it did not."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            since = time.perf_counter()
            groups = run(Phi, X, n_orient)
            seconds = time.perf_counter() - since
    except ImportError as error:
        return {"note": f"not installed: {error.name}"}
    except Exception as error:  # a peer's failure is a row, not the end of the run
        return {"note": f"{type(error).__name__}: {str(error)[:80]}"}
    found = best_energy_on(Phi, X, n_orient, groups)
    note = "energy: the lowest that its positions allow"
    return {
        "seconds": seconds,
        "repeats": 1,
        "energy": found,
        "positions": len(groups),
        "note": note,
    }


def peak_memory(work: partial) -> int:
    """Bytes of resident memory that some work adds at its peak, looked at every 2 ms."""
    page = resource.getpagesize()
    status = Path("/proc/self/statm")

    def resident() -> int:
        return int(status.read_text().split()[1]) * page

    gc.collect()
    peak = before = resident()
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    work()
    done.set()
    watcher.join()
    return peak - before


def tiled(Phi: np.ndarray, n_columns: int) -> np.ndarray:
    """A lead field of another size: columns of Φ mixed in pairs, so that the spectrum stays."""
    rng = np.random.default_rng(SEED)
    mix = rng.uniform(0, 1, n_columns)
    one, two = (rng.integers(0, Phi.shape[1], n_columns) for _ in range(2))
    return np.ascontiguousarray(mix * Phi[:, one] + (1 - mix) * 0.3 * Phi[:, two])


def growth_figure(figure: str, columns: int, n_samples: int, threads: int, spacing: str) -> float:
    """Time, or memory beside Φ itself, of one size, in this process alone."""
    torch.set_num_threads(threads)
    Phi, X, _ = problem("3 sources, 10 dB", 0.0, spacing)
    Phi = tiled(Phi, columns)
    rng = np.random.default_rng(SEED)
    U = np.zeros((columns, n_samples))
    U[[3, columns // 2, columns - 7]] = rng.standard_normal((3, n_samples))
    signal = Phi[:, [3, columns // 2, columns - 7]] @ U[[3, columns // 2, columns - 7]]
    X = signal * (10 / np.mean(signal**2)) ** 0.5 + rng.standard_normal((len(Phi), n_samples))
    del U, signal
    fit(Phi[:, :1000], X[:, :10], 1)  # libraries loaded
    if figure == "seconds":
        return median_seconds(partial(fit, Phi, X, 1), 3)
    return peak_memory(partial(fit, Phi, X, 1)) / Phi.nbytes


def growth_table(options: argparse.Namespace) -> pd.DataFrame:
    """Every size in a process of its own, so that peak memory is its own."""
    sizes = [(K, 100) for K in (2_000, 8_000, 24_000, 50_000, 100_000)]
    sizes += [(8_000, n) for n in (10, 1_000, 10_000)]
    rows = []
    for columns, n_samples in tqdm(sizes, desc="growth"):
        command = [sys.executable, __file__, "--one-size", f"{columns},{n_samples}"]
        command += ["--threads", str(options.threads), "--spacing", options.spacing]
        row = {"columns": columns, "samples": n_samples}
        for figure, environment in (
            ("seconds", {}),
            # Pages go back when an array is freed: resident memory is then what is used.
            ("memory_over_Phi", {"MALLOC_MMAP_THRESHOLD_": "65536"}),
        ):
            out = subprocess.run(
                [*command, "--figure", figure],
                env=os.environ | environment,
                capture_output=True,
                text=True,
                check=True,
            )
            row[figure] = float(out.stdout.strip().splitlines()[-1])
        rows.append(row)
    return pd.DataFrame(rows)


def batch_row(options: argparse.Namespace, n_batch: int) -> dict:
    """Bootstrap samples on the positions that the data and their neighbours single out."""
    Phi, X, n_orient = problem("3 sources, 10 dB", 1.0, options.spacing)
    dictionary = Dictionary(Phi, n_orient)
    solution = solve(dictionary, torch.as_tensor(X), noise_variance=1.0)
    active = solution.gamma > 0
    columns = dictionary.Phi.reshape(len(Phi), -1, n_orient)
    seen = columns[:, active].flatten(1)
    near = (seen.T @ columns.flatten(1)).abs().amax(0).reshape(-1, n_orient).amax(1)
    near[active] = torch.inf
    chosen = near.topk(150).indices.sort().values
    small = Dictionary(
        torch.as_tensor(Phi).reshape(len(Phi), -1, n_orient)[:, chosen].flatten(1), n_orient
    )
    rng = np.random.default_rng(SEED)
    samples = np.stack([X[:, rng.integers(0, X.shape[1], X.shape[1])] for _ in range(n_batch)])
    since = time.perf_counter()
    many = solve(small, torch.as_tensor(samples), noise_variance=1.0, tol=TOL)
    return {
        "case": f"batch of {n_batch} bootstrap samples, {len(chosen)} positions",
        "orientation": "free",
        "columns": small.Phi.shape[1],
        "method": "meg_vae",
        "seconds": time.perf_counter() - since,
        "repeats": 1,
        "certificate": float(many.certificate.max()),
    }


def draw(table: pd.DataFrame, sizes: pd.DataFrame, path: Path) -> None:
    """A bar per method, and time and memory against size."""
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(
        1, 3, figsize=(14, 4.6), layout="constrained", width_ratios=[2.2, 1, 1]
    )
    timed = table[
        table["seconds"].notna()
        & table["case"].str.contains("10 dB")
        & ~table["case"].str.contains("-10")
    ]
    pivot = timed.assign(run=timed["case"] + ", " + timed["orientation"]).pivot_table(
        index="method", columns="run", values="seconds"
    )
    pivot = pivot.loc[pivot.max(axis=1).sort_values().index]
    pivot.plot.barh(ax=axes[0], logx=True, width=0.8, colormap="viridis")
    axes[0].set(xlabel="Seconds (log scale)", ylabel="", title="One fit, one process")
    axes[0].legend(fontsize=8, loc="lower right")
    by_columns = sizes[sizes["samples"] == 100]
    axes[1].loglog(by_columns["columns"], by_columns["seconds"], "o-", color="#0072B2")
    axes[1].set(xlabel="Columns of Φ", ylabel="Seconds", title="Growth with the dictionary")
    axes[1].yaxis.set_major_formatter("{x:g}")
    axes[1].yaxis.set_minor_formatter("{x:g}")
    by_samples = sizes[sizes["columns"] == 8_000].sort_values("samples")
    axes[2].semilogx(by_samples["samples"], by_samples["seconds"], "o-", color="#D55E00")
    axes[2].set(xlabel="Samples", ylabel="Seconds", title="Growth with the data", ylim=(0, None))
    fig.savefig(path, dpi=110)
    plt.close(fig)


def versions() -> dict[str, str]:
    """What ran."""
    out = {"python": platform.python_version(), "processor": platform.machine()}
    for name in ("meg_vae", "torch", "mne", "numpy", "scipy", "invertmeeg", "skglm"):
        try:
            out[name] = version(name)
        except PackageNotFoundError:
            out[name] = "not installed"
    return out


def methods_table(options: argparse.Namespace) -> pd.DataFrame:
    """Every case by every method, and the batch."""
    rows: list[dict] = []
    cases = [(case, loose) for loose in (1.0, 0.0) for case in CASES]
    for case, loose in tqdm(cases, desc="cases"):
        rows += compare_case(case, loose, options)
    if options.batch:
        rows.append(batch_row(options, options.batch))
    stamp = versions() | {"threads": options.threads, "seed": SEED, "cuda": "not measured"}
    return pd.DataFrame(rows).assign(conditions=json.dumps(stamp))


def main() -> None:
    """Run what the options ask for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("data/benchmarks"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--sweeps", type=int, default=1000, help="plain sweeps to compare with; 0: none"
    )
    parser.add_argument("--batch", type=int, default=1000, help="bootstrap samples; 0: none")
    parser.add_argument("--spacing", default="oct6")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--growth-only", action="store_true", help="keep an earlier run's rest")
    parser.add_argument("--one-size", help=argparse.SUPPRESS)
    parser.add_argument("--figure", default="seconds", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.one_size:
        columns, n_samples = map(int, options.one_size.split(","))
        size = columns, n_samples, options.threads, options.spacing
        print(growth_figure(options.figure, *size))
        return
    options.out.mkdir(parents=True, exist_ok=True)
    if not options.growth_only:
        methods_table(options).to_csv(options.out / "solver.csv", index=False)
    growth_table(options).to_csv(options.out / "solver_growth.csv", index=False)
    table = pd.read_csv(options.out / "solver.csv")
    sizes = pd.read_csv(options.out / "solver_growth.csv")
    draw(table, sizes, options.out / "solver.png")
    print(table.drop(columns=["conditions"]).to_string(float_format="%.3f"))
    print(sizes.to_string(float_format="%.3f"))


if __name__ == "__main__":
    main()
