"""Compare the exact solver on a CUDA device with itself on the processor beside it.

Needs neither MNE nor the template head, only a file with one whitened problem in float32, made
where MNE is installed: 306 channels of the template head, oct6, three sources at 10 dB.

    python scripts/benchmark_solver_cuda.py --problem problem.npz --make
    python scripts/benchmark_solver_cuda.py --problem problem.npz --out out

Writes ``solver_cuda.csv``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from benchmark_solver_common import (
    SEED,
    TOL,
    bootstrap_samples,
    fit,
    problem,
    support_reduced,
    versions,
)

from meg_vae.model.exact.dictionary import Dictionary
from meg_vae.model.fit import Fit
from meg_vae.model.solve import solve

WINDOW, STRIDE = 21, 5  # samples of a time window, and from one to the next


def make(path: Path) -> None:
    """Write the problem file."""
    arrays = {}
    for name, loose in (("free", 1.0), ("fixed", 0.0)):
        arrays[name], X, _ = problem("3 sources, 10 dB", loose, "oct6")
    arrays = {name: array.astype(np.float32) for name, array in (arrays | {"X": X}).items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)


class Table:
    """The rows found so far, kept on disk."""

    def __init__(self, out: Path, device: str) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self.path, self.rows = out / "solver_cuda.csv", []
        self.stamp = versions() | {"threads": torch.get_num_threads(), "seed": SEED}
        if device != "cpu":
            self.stamp["cuda"] = torch.cuda.get_device_name()

    def add(self, **row: object) -> None:
        print(row, flush=True)
        self.rows.append(row)
        table = pd.DataFrame(self.rows).assign(conditions=json.dumps(self.stamp))
        table.to_csv(self.path, index=False)


def measured(work: Callable[[str], Fit], device: str, repeats: int) -> tuple[Fit, dict]:
    """The solution, and the median time after one run to warm up, with the device's memory."""
    cuda, seconds = device != "cpu", []
    if repeats > 1:
        work(device)
    for _ in range(repeats):
        if cuda:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        since = time.perf_counter()
        solution = work(device)
        if cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - since)
    row = {"device": device, "seconds": float(np.median(seconds)), "repeats": repeats}
    row |= {"certificate": float(solution.certificate.max())}
    return solution, row | ({"peak_bytes": torch.cuda.max_memory_allocated()} if cuda else {})


def compared(
    table: Table, work: Callable[[str], Fit], device: str, repeats: int, **sizes: object
) -> None:
    """A row for the processor and one for the device, with how far their answers differ."""
    reference, row = measured(work, "cpu", repeats)
    table.add(**sizes, **row)
    solution, row = measured(work, device, repeats)
    row["energy_difference"] = float((solution.energy.cpu() - reference.energy).abs().max())
    change = (solution.gamma.cpu() - reference.gamma).abs().amax(-1)
    row["gamma_difference"] = float((change / reference.gamma.amax(-1)).max())
    table.add(**sizes, **row)


def many(Phi: np.ndarray, samples: np.ndarray, n_orient: int, device: str) -> Fit:
    """Many right-hand sides on one lead field, in one call."""
    dictionary = Dictionary(Phi, n_orient, device=device)
    return solve(dictionary, torch.as_tensor(samples), noise_variance=1.0, tol=TOL)


def options_given() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--problem", type=Path, required=True)
    parser.add_argument("--make", action="store_true", help="write the problem file and stop")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, default=Path("."))
    parser.add_argument("--batch", type=int, default=1000, help="bootstrap samples on the device")
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args()


def main() -> None:
    """Run every comparison."""
    options = options_given()
    if options.make:
        return make(options.problem)
    torch.set_num_threads(1)
    device, table = options.device, Table(options.out, options.device)
    data = {name: array.astype(float) for name, array in np.load(options.problem).items()}
    free, X = data["free"], data["X"]
    for name, o in (("free", 3), ("fixed", 1)):
        work = partial(fit, data[name], X, o)
        sizes = {"orientation": name, "columns": data[name].shape[1], "items": 1}
        compared(table, work, device, options.repeats, task="one fit", **sizes)
    small = support_reduced(free, X, 3)
    samples = bootstrap_samples(X, options.batch)
    sizes = {"task": "bootstrap samples", "orientation": "free", "columns": small.shape[1]}
    compared(table, partial(many, small, samples[:50], 3), device, 1, items=50, **sizes)
    _, row = measured(partial(many, small, samples, 3), device, 1)
    table.add(items=len(samples), **sizes, **row)
    starts = range(0, X.shape[1] - WINDOW + 1, STRIDE)
    windows = np.stack([X[:, a : a + WINDOW] for a in starts])
    sizes = {"orientation": "free", "columns": free.shape[1], "items": len(windows)}
    compared(table, partial(many, free, windows, 3), device, 1, task="time windows", **sizes)


if __name__ == "__main__":
    main()
