"""How the solver's time and memory grow with the columns of Φ and with the samples.

    python scripts/benchmark_solver_growth.py COLUMNS SAMPLES seconds|memory

prints one figure; `growth_table` runs every size so, in a process of its own.
"""

from __future__ import annotations

import gc
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from benchmark_solver_common import SEED, fit, median_seconds, problem
from tqdm import tqdm

COLUMNS = (2_001, 8_001, 24_000, 50_001, 100_002, 250_002, 500_001)  # at 100 samples
SAMPLES = (10, 1_000, 10_000, 100_000)  # at 8,001 columns, beside the 100 above
FEWEST = 10
REPEATS = 5
ORIENT = 3  # columns of a position, with free orientation


def peak_memory(work: Callable[[], object]) -> int:
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


def sized(columns: int, n_samples: int) -> tuple[np.ndarray, np.ndarray]:
    """A lead field of another size, its positions mixed in pairs, and three sources at 10 dB.

    The covariance of the data is the same for any number of samples, and so is the problem.
    """
    Phi, _, o = problem("3 sources, 10 dB", 1.0, "oct6")
    whole, n = Phi.reshape(len(Phi), -1, o), columns // o
    rng = np.random.default_rng(SEED)
    mix = rng.uniform(0, 1, n)
    one, two = (rng.integers(0, whole.shape[1], n) for _ in range(2))
    Phi = np.empty((len(Phi), n, o))
    for k in range(o):
        Phi[..., k] = mix * whole[:, one, k] + (1 - mix) * 0.3 * whole[:, two, k]
    Phi = Phi.reshape(len(Phi), -1)
    rng = np.random.default_rng(SEED)
    signal = Phi[:, [3, columns // 2, columns - 7]] @ rng.standard_normal((3, FEWEST))
    F = signal * (10 / np.mean(signal**2)) ** 0.5 + rng.standard_normal(signal.shape)
    turn = np.linalg.qr(rng.standard_normal((n_samples, FEWEST)))[0].T
    return Phi, F @ turn * (n_samples / FEWEST) ** 0.5


def figure(columns: int, n_samples: int, name: str) -> float:
    """Seconds, or memory beside Φ itself as a multiple of Φ, of one size."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    Phi, X = sized(columns, n_samples)
    fit(Phi[:, :999], X[:, :10], ORIENT)  # libraries loaded
    if name == "seconds":
        return median_seconds(partial(fit, Phi, X, ORIENT), REPEATS)
    return peak_memory(partial(fit, Phi, X, ORIENT)) / Phi.nbytes


def growth_table(threads: int) -> pd.DataFrame:
    """Every size in a process of its own, so that peak memory is its own."""
    sizes = [(K, 100) for K in COLUMNS] + [(8_001, n) for n in SAMPLES]
    rows = []
    for columns, n_samples in tqdm(sizes, desc="growth"):
        row = {"columns": columns, "samples": n_samples}
        for name, environment in (
            ("seconds", {}),
            # Pages go back when an array is freed: resident memory is then what is used.
            ("memory", {"MALLOC_MMAP_THRESHOLD_": "65536"}),
        ):
            out = subprocess.run(
                [sys.executable, __file__, str(columns), str(n_samples), name],
                env=os.environ | {"OMP_NUM_THREADS": str(threads)} | environment,
                capture_output=True,
                text=True,
                check=True,
            )
            key = "seconds" if name == "seconds" else "memory_over_Phi"
            row[key] = float(out.stdout.strip().splitlines()[-1])
        rows.append(row)
    return pd.DataFrame(rows)


if __name__ == "__main__":
    print(figure(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
