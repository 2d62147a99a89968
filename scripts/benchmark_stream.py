"""Stream recordings of up to a day through a fitted inverse, and measure time and memory.

A file of 306 channels at 200 Hz (single precision, split as MNE does) is written for each length;
a process of its own reads it piece by piece, turns it into channels of the sources, and writes
these beside it. Writes ``stream.csv``: seconds, and the peak of the memory of the whole process
(10⁹ bytes), imports and all. A day takes 21 GB of disk.

    python scripts/benchmark_stream.py --hours 0.1 --hours 1 --hours 24
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import mne
import numpy as np
import pandas as pd
import typer
from benchmark_apply import peak
from benchmark_tables import write_scores
from talk_common import Out, Quick, run
from tqdm import tqdm

from meg_vae import VAEInverse, datasets, read_vae_inverse

OUT = Path(__file__).parents[1] / "data" / "benchmarks"
SFREQ = 200.0
PART = 360  # s of the piece that is written over and over
COLUMNS = ["hours", "seconds", "peak_gb", "file_gb", "samples", "channels"]

Hours = Annotated[list[float], typer.Option(help="Length of each recording.")]


def write_inputs(folder: Path) -> None:
    """Write an inverse, and a piece of a recording."""
    case = datasets.template_recording(3, spacing="oct5", verbose="error")
    VAEInverse(verbose="error").fit(case.evoked, case.forward, case.noise_cov).save(
        folder / "x-vae.h5"
    )
    info = case.evoked.info.copy()
    with info._unlock():
        info["sfreq"] = SFREQ
    data = case.evoked.data.std() * np.random.default_rng(0).standard_normal((306, 1000))
    raw = mne.io.RawArray(np.tile(data, round(PART * SFREQ / 1000)), info, verbose="error")
    raw.save(folder / "part_raw.fif", verbose="error")


def streamed(folder: Path) -> dict[str, float]:
    """Stream the recording of a folder, in this process."""
    mne.set_log_level("error")
    inverse, raw = read_vae_inverse(folder / "x-vae.h5"), mne.io.read_raw_fif(folder / "x_raw.fif")
    started = time.perf_counter()
    sources = inverse.to_raw(raw)
    sources.save(folder / "sources_raw.fif")
    return {
        "seconds": time.perf_counter() - started,
        "peak_gb": peak(),
        "file_gb": sum(Path(name).stat().st_size for name in raw.filenames) / 1e9,
        "samples": int(sources.n_times),
        "channels": len(sources.ch_names),
    }


def measured(hours: float, inputs: Path) -> dict[str, float]:
    """Write a recording of that length, and stream it in a process of its own."""
    with tempfile.TemporaryDirectory(dir=inputs) as name:
        folder = Path(name)
        (folder / "x-vae.h5").symlink_to(inputs / "x-vae.h5")
        parts = [
            mne.io.read_raw_fif(inputs / "part_raw.fif", verbose="error")
            for _ in range(round(3600 * hours / PART))
        ]
        mne.concatenate_raws(parts, verbose="error").save(folder / "x_raw.fif", verbose="error")
        command = [sys.executable, __file__, "--folder", str(folder)]
        out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return {"hours": hours} | json.loads(out.splitlines()[-1])


def main(
    hours: Hours = [0.1, 1.0, 24.0],  # noqa: B006
    folder: Annotated[Path | None, typer.Option(hidden=True)] = None,
    quick: Quick = False,
    out: Out = OUT,
) -> None:
    """Time and memory of streaming recordings of several lengths."""
    if folder is not None:
        print(json.dumps(streamed(folder)))
        return
    with tempfile.TemporaryDirectory() as inputs:
        write_inputs(Path(inputs))
        lengths = [0.1] if quick else hours
        rows = [measured(one, Path(inputs)) for one in tqdm(lengths, desc="recordings")]
    write_scores("stream", pd.DataFrame(rows, columns=COLUMNS), out)


if __name__ == "__main__":
    run(main)
