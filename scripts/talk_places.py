"""Places that slide: where random starts end, for the sliding decoder's VAE and for its twin."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from talk_common import JOBS, LOOKS, OUT, Jobs, Out, Quick, Seed, collect, run, write
from talk_places_fits import (
    FINAL,
    Line,
    End,
    make_line,
    on_grid,
    twin_from,
    vae_from,
)

N_CHANNELS, N_SAMPLES = 40, 20
WIDTH, N_SOURCES = 0.06, 4  # of the kernel, relative to the line; what is held while one varies
WIDTHS = (0.01, 0.02, 0.04, 0.06, 0.08, 0.12)
NUMBERS = (1, 2, 3, 4, 6, 8)
EXTRA = 2  # places that a start has, relative to the sources
SAME = 1e-2  # energies closer than this are one minimum, nats × 2 per sample

#: Label, look, and whether there are many starts.
METHODS = {
    "VAE, places free": {**LOOKS["VAE"]},
    "autoencoder, places free": {**LOOKS["autoencoder, log"]},
    "VAE, grid, then free": {**LOOKS["VAE, gradient"]},
    "VAE, grid": {"color": LOOKS["VAE"]["color"], "marker": "x", "linestyle": ":"},
    "autoencoder, grid": {
        "color": LOOKS["autoencoder, log"]["color"],
        "marker": "+",
        "linestyle": ":",
    },
}


def n_minima(energies: pd.Series) -> int:
    """Count the minima that energies tell apart."""
    return 1 + int((np.diff(np.sort(energies)) > SAME).sum())


def try_problem(
    sweep: str, width: float, n_sources: int, seed: int, n_starts: int
) -> list[dict[str, object]]:
    """Start both decoders with free places at random on one problem, and fit both on the grid."""
    line = make_line(width, n_sources, N_CHANNELS, N_SAMPLES, seed=seed)
    what = {"sweep": sweep, "width": width, "n_sources": n_sources, "problem": seed}
    rows = []
    for start in range(n_starts):
        rng = np.random.default_rng([seed, start])
        places = rng.uniform(0, 1, EXTRA * n_sources)
        gamma = np.exp(rng.standard_normal(len(places)))
        for name, fit in (("VAE", vae_from), ("autoencoder", twin_from)):
            end = fit(line, places, gamma)
            rows.append({**what, "start": start, "method": f"{name}, places free", **end._asdict()})
    ends = on_grid(line)
    return rows + [{**what, "start": 0, "method": name, **end._asdict()} for name, end in ends]


if __name__ == "__main__":
    pass
