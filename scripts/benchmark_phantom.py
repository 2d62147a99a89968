"""Simulated Elekta phantoms: the VAE beside MNE's dipole fit, read and scored as the dataset is.

Recordings of the 32 dipoles of the phantom, 12 trials each, of which 10 are averaged, at 500 Hz and
with noise of sensors and room, are written in the file of MNE's dataset and go through
`meg_vae.datasets.phantom` and `meg_vae.comparison.score_phantom`. Peaks of 10, 100 and 1,000 nAm
(the dataset's 20, 200 and 2,000 nAm from peak to peak), with sensors that are calibrated exactly or
to 1 %; controls are dipoles that lie 10 mm nearer to the centre than they are said to, and no
dipoles at all, with and without the field of the room. Writes a row per dipole and method
(phantom.csv), a row per condition and method (phantom_summary.csv) and the figure of 100 nAm and
1 % (phantom.png).

    python scripts/benchmark_phantom.py
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import typer
from benchmark_phantom_data import write_elekta
from talk_common import Out, Quick, run
from tqdm import tqdm

from meg_vae import datasets
from meg_vae.comparison import score_phantom, summarize_phantom
from meg_vae.files import whole_file
from meg_vae.report import phantom_figure

OUT = Path(__file__).resolve().parent.parent / "data" / "benchmarks"
CONDITIONS = {
    **{
        f"{1e9 * size:.0f} nAm, calibrated to {error:.0%}": {
            "amplitude": size,
            "gain_error": error,
        }
        for size in (10e-9, 100e-9, 1000e-9)
        for error in (0.0, 0.01)
    },
    "100 nAm, 10 mm elsewhere": {"amplitude": 100e-9, "shift": 0.01},
    "no dipole": {"amplitude": 0.0},
    "no dipole, noise of sensors alone": {"amplitude": 0.0, "room": 0.0},
}
DRAWN = "100 nAm, calibrated to 1%"


def scores(options: dict[str, float], seed: int) -> pd.DataFrame:
    """Write, read and score a phantom."""
    with tempfile.TemporaryDirectory() as folder:
        write_elekta(Path(folder), **options, random_state=seed)
        case = datasets.phantom("elekta", folder, verbose="error")
    sizes = np.full(len(case.pos), options["amplitude"])
    return score_phantom(replace(case, amplitude=sizes), verbose="error")


def main(out: Out = OUT, quick: Quick = False) -> None:
    """Simulate, score, and write tables and figure."""
    tables, summaries = [], []
    chosen = [DRAWN] if quick else list(CONDITIONS)
    for seed, name in enumerate(tqdm(chosen, desc="Phantoms")):
        short = {"trials": 3, "sfreq": 250.0} if quick else {}
        table = scores(CONDITIONS[name] | short, seed)
        if name == DRAWN:
            phantom_figure(table, f"Simulated Elekta phantom, {name}", out)
        tables.append(table.assign(condition=name))
        summaries.append(summarize_phantom(table).assign(condition=name))
    for stem, parts in (("phantom", tables), ("phantom_summary", summaries)):
        whole = pd.concat(parts, ignore_index=True)
        whole.insert(0, "condition", whole.pop("condition"))
        with whole_file(out / f"{stem}.csv") as part:
            whole.to_csv(part, index=False, float_format="%.4g")
    typer.echo(whole.drop(columns=["method", "told"]).to_string(index=False, float_format="%.3g"))


if __name__ == "__main__":
    run(main)
