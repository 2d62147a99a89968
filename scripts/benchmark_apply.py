"""Time a fitted inverse on ten minutes of a recording, and measure the memory that takes.

A recording of 306 channels at 1 kHz is written as a FIF file (single precision, as MNE writes it by
default); a process of its own then reads a saved inverse and applies it, from the file and from
memory, and so does MNE with the same operator, exported. Writes ``apply.csv``. Reading the file
into memory is not timed; the peak of memory counts the whole process, imports and all. Where the
two differ, other processes were using the machine, and ``cpu_seconds`` says more than ``seconds``.

    python scripts/benchmark_apply.py --threads 1 --out data/benchmarks
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import mne
import numpy as np
import pandas as pd
from tqdm import tqdm

from meg_vae import VAEInverse, datasets, read_vae_inverse

SFREQ = 1000.0
CASES = [  # who applies it, where the recording is, what is picked
    ("meg_vae", "file", "amplitude"),
    ("meg_vae", "file", "vector"),
    ("meg_vae", "memory", "amplitude"),
    ("meg_vae", "memory", "vector"),
    ("mne", "file", "amplitude"),
    ("mne", "memory", "amplitude"),
]


def write_inputs(folder: Path, minutes: float, n_sources: int) -> None:
    """Write a recording, an inverse and its export."""
    case = datasets.template_recording(n_sources, spacing="oct6", verbose="error")
    inverse = VAEInverse(verbose="error").fit(case.evoked, case.forward, case.noise_cov)
    inverse.save(folder / "x-vae.h5")
    operator = inverse.to_inverse_operator(case.evoked.info, case.forward)
    mne.minimum_norm.write_inverse_operator(folder / "x-inv.fif", operator, verbose="error")
    info = case.evoked.info.copy()
    with info._unlock():
        info["sfreq"] = SFREQ
    second = 1e-12 * np.random.default_rng(0).standard_normal((306, int(SFREQ)))
    second[mne.pick_types(info, meg="grad")] *= 20
    raw = mne.io.RawArray(np.tile(second, round(60 * minutes)), info, verbose="error")
    raw.save(folder / "x_raw.fif", verbose="error")


def measure(folder: Path, who: str, where: str, picked: str) -> dict[str, float]:
    """Apply once, and say what it took."""
    mne.set_log_level("error")
    raw = mne.io.read_raw_fif(folder / "x_raw.fif", preload=where == "memory")
    pick_ori = "vector" if picked == "vector" else None
    if who == "meg_vae":
        inverse = read_vae_inverse(folder / "x-vae.h5")
    else:
        operator = mne.minimum_norm.read_inverse_operator(folder / "x-inv.fif")
    before = peak()
    start, used = time.perf_counter(), time.process_time()
    if who == "meg_vae":
        stc = inverse.apply_raw(raw, pick_ori=pick_ori)
    else:
        stc = mne.minimum_norm.apply_inverse_raw(
            raw, operator, 1.0, "MNE", pick_ori=pick_ori, buffer_size=10_000
        )
    seconds, used = time.perf_counter() - start, time.process_time() - used
    return {
        "seconds": seconds,
        "cpu_seconds": used,
        "peak_gb": peak(),
        "peak_before_gb": before,
        "result_gb": stc.data.nbytes / 1e9,
        "n_sources": len(stc.data),
        "n_samples": len(stc.times),
    }


def peak() -> float:
    """Largest resident memory of this process so far, 10⁹ bytes."""
    # Linux's own count, since that of getrusage begins at the size of the parent process.
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e9
    raise RuntimeError("no peak of memory in /proc/self/status")


def main() -> None:
    """Run every case in a process of its own."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("data/benchmarks"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--sources", type=int, default=10)
    parser.add_argument("--one", nargs=4, metavar=("FOLDER", "WHO", "WHERE", "PICKED"))
    options = parser.parse_args()
    if options.one:
        folder, *case = options.one
        print(json.dumps(measure(Path(folder), *case)))
        return
    environment = os.environ | {
        name: str(options.threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    }
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        write_inputs(Path(folder), options.minutes, options.sources)
        for case in tqdm(CASES, desc="cases"):
            command = [sys.executable, __file__, "--one", folder, *case]
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=True
            )
            names = dict(zip(("applied_by", "recording_in", "picked"), case, strict=True))
            rows.append(names | json.loads(done.stdout.splitlines()[-1]))
    stamp = {"python": platform.python_version(), "processor": platform.machine()}
    stamp |= {name: version(name) for name in ("meg_vae", "mne", "numpy")}
    stamp |= {"threads": options.threads, "channels": 306, "sfreq_hz": SFREQ}
    table = pd.DataFrame(rows).assign(conditions=json.dumps(stamp))
    options.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(options.out / "apply.csv", index=False)
    print(table.drop(columns="conditions").to_string(float_format="%.3f"))


if __name__ == "__main__":
    main()
