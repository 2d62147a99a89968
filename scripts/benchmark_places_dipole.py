"""How near a single source is found, beside MNE's own dipole fit.

Both see the same recordings of one source off the grid, with the same covariance divided by nave.
`mne.fit_dipole` has the BEM that made the truth, its most accurate sensors, and is told that there
is one source. It fits one sample at a time: here the one of largest whitened power, as one does by
hand, and, which is kinder, the strongest component of all samples. Ours sees the forward model
alone; a second fit has bem and trans too. Every head has a BEM, for the truth is made with it.
Writes a row per recording (places_dipole.csv) and prints the means.

    python scripts/benchmark_places_dipole.py --seeds 6
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
from typing import Annotated

import mne
import numpy as np
import pandas as pd
import torch
import typer
from benchmark_places import ALL_HEADS, OUT, Heads, heads_at_hand
from benchmark_places_heads import Condition, Recorded, head, recorded
from benchmark_places_scores import errors, fitted
from talk_common import Out, Quick, run
from tqdm import tqdm

from meg_vae.files import whole_file
from meg_vae.meg.leadfield import make_leadfield

LEVELS = (0.0, 10.0)  # dB
OURS, EXACT = "vae_mm", "vae_with_bem_mm"
PEAK, COMPONENT = "fit_dipole_peak_mm", "fit_dipole_component_mm"

Seeds = Annotated[int, typer.Option(help="Recordings of each head and level.")]


def fit_dipole_mm(name: str, case: Recorded) -> tuple[float, float]:
    """Distances in mm of MNE's dipoles: of the sample of most power, and of all in one."""
    here, evoked = head(name), case.evoked
    leadfield = make_leadfield(here.forward, evoked.info, here.noise_cov, nave=evoked.nave)
    X = leadfield.whiten(evoked)
    course = np.linalg.svd(X, full_matrices=False)[2][0]
    weights = np.c_[np.eye(X.shape[1])[np.square(X).sum(0).argmax()], course]
    two = mne.EvokedArray(evoked.data @ weights, evoked.info, nave=evoked.nave, verbose="error")
    cov = here.noise_cov.copy()
    cov["data"] = cov["data"] / evoked.nave
    found, _ = mne.fit_dipole(two, cov, here.bem, here.trans, accuracy="accurate", verbose="error")
    peak, component = 1e3 * np.linalg.norm(found.pos - case.rr[0], axis=1)
    return float(peak), float(component)


def row_of(name: str, level: float, seed: int) -> dict:
    """Errors of all on one recording; a source that is not found counts as in benchmark_places."""
    case = recorded(name, Condition(1, level), seed)
    free, seconds = fitted(name, case.evoked)
    exact, _ = fitted(name, case.evoked, exact=True)
    since = time.perf_counter()
    peak, component = fit_dipole_mm(name, case)
    spent = time.perf_counter() - since
    return {
        "head": name,
        "snr_db": level,
        "seed": seed,
        "true_depth_mm": 1e3 * float(case.depth[0]),
        "n_found": len(free.sources_),
        OURS: 1e3 * float(errors(free, case)[0]),
        EXACT: 1e3 * float(errors(exact, case)[0]),
        PEAK: peak,
        COMPONENT: component,
        "vae_seconds": seconds,
        "fit_dipole_seconds": spent,
    }


def means(table: pd.DataFrame, by: str) -> pd.DataFrame:
    """Mean errors in mm, by head or by level, and in how many recordings ours was nearer."""
    grouped = table.assign(
        nearer_than_peak=table[OURS] <= table[PEAK],
        nearer_than_component=table[OURS] <= table[COMPONENT],
    ).groupby(by, sort=False)
    columns = [OURS, EXACT, PEAK, COMPONENT, "nearer_than_peak", "nearer_than_component"]
    return grouped[columns].mean()


def main(seeds: Seeds = 6, heads: Heads = ALL_HEADS, quick: Quick = False, out: Out = OUT) -> None:
    """How near a single source is found, beside MNE's own dipole fit."""
    torch.set_num_threads(1)
    mne.set_log_level("error")
    names, levels = heads_at_hand(heads.split(";")), LEVELS
    if quick:
        names, levels, seeds = names[:1], (5.0,), 1
    cells = [(name, level, seed) for name in names for level in levels for seed in range(seeds)]
    table = pd.DataFrame([row_of(*cell) for cell in tqdm(cells, desc="recordings")])
    with whole_file(out / "places_dipole.csv") as part:
        table.to_csv(part, index=False, float_format="%.4g")
    for by in ("head", "snr_db"):
        typer.echo(means(table, by).to_string(float_format="%.2f"))


if __name__ == "__main__":
    run(main)
