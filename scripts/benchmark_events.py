"""Single events told apart, and ten minutes at rest.

In three heads: spikes of three sources off the grid, of which one makes 60 %, one 25 % and one 5 %
of all events, and 10 % are windows without any; each has -10 dB over its 0.2 s in single trials of
white noise. They are fitted as a list, with sources that are active in some events (`learn`), and
in all (`whole`). And ten minutes of a recording with rhythms of 10 and 20 Hz at -10 dB, each found
in its own band, the noise from an empty room of the same length. Writes a row per source
(events.csv, rest.csv) and a figure. MEG_VAE_SAMPLE and MEG_VAE_HEADS name the folders of the real
heads.

    python scripts/benchmark_events.py --seeds 3
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
import warnings
from typing import Annotated

import matplotlib.pyplot as plt
import mne
import numpy as np
import pandas as pd
import torch
import typer
from benchmark_places_heads import SFREQ, head, missing
from benchmark_rhythms import FAR, HALF, OUT, errors
from benchmark_rhythms_data import HEADS, _at_rate, _fields
from joblib import Parallel, delayed
from scipy.spatial.distance import cdist
from talk_common import Out, Quick, run, write
from tqdm import tqdm

from meg_vae import VAEInverse
from meg_vae.datasets.noise import symmetric_roots
from meg_vae.viz.style import PALETTE

SHARES = (0.60, 0.25, 0.05)  # of all events; the rest is nothing
EVENTS = (60, 200)
WINDOW = 40  # samples
MINUTES = 10
FREQUENCIES = (10.0, 20.0)
SPIKE_DB = RHYTHM_DB = -10.0

Seeds = Annotated[int, typer.Option(help="Recordings of each head.")]
Jobs = Annotated[int, typer.Option(help="Processes; -1 takes all processors.")]


def whitening(name: str) -> tuple[np.ndarray, np.ndarray, int, mne.Info]:
    """The whitener of single trials, its inverse, their rank, and an info of 200 Hz."""
    here = head(name)
    return *symmetric_roots(here.noise_cov, here.info), _at_rate(here.info)


def spikes(name: str, n: int, seed: int) -> tuple[list[mne.Evoked], np.ndarray, np.ndarray]:
    """Events, the places of their sources, and which source each has (the last: none)."""
    rng = np.random.default_rng([seed, HEADS.index(name), n])
    whitener, colorer, rank, info = whitening(name)
    places, fields = _fields(name, len(SHARES), rng)
    fields = fields / np.linalg.norm(whitener @ fields, axis=0) * rank**0.5
    counts = np.round(np.multiply(SHARES, n)).astype(int)
    kinds = np.repeat(np.arange(len(SHARES) + 1), [*counts, n - counts.sum()])
    rng.shuffle(kinds)
    t = (np.arange(WINDOW) - WINDOW / 2) / SFREQ
    spike = np.exp(-((t / 0.02) ** 2)) - 0.4 * np.exp(-(((t - 0.05) / 0.03) ** 2))
    spike *= 10 ** (SPIKE_DB / 20) / np.sqrt(np.mean(spike**2))
    out = []
    for kind in kinds:
        data = colorer @ rng.standard_normal((len(whitener), WINDOW))
        if kind < len(SHARES):
            data = data + np.outer(fields[:, kind], rng.uniform(0.7, 1.3) * spike)
        out.append(mne.EvokedArray(data, info, t[0], nave=1, verbose="error"))
    return out, places, kinds


def event_rows(name: str, n: int, seed: int) -> list[dict]:
    """One recording of events, in a process of one thread."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    here = head(name)
    events, places, kinds = spikes(name, n, seed)
    rows = []
    for spans in ("learn", "whole"):
        since = time.perf_counter()
        inverse = VAEInverse(spans=spans, verbose="error")
        inverse.fit(events, here.forward, here.noise_cov)
        seconds = time.perf_counter() - since
        found = inverse.filter_.positions.rr_head
        nearest = cdist(places, found).argmin(0) if len(found) else np.zeros(0, int)
        said = np.r_[nearest, len(SHARES)][inverse.responses_["source"]]
        for k, error in enumerate(errors(places, found)):
            rows.append(
                {
                    "head": name,
                    "n_events": n,
                    "seed": seed,
                    "spans": spans,
                    "share": SHARES[k],
                    "n_found": len(found),
                    "error_mm": error,
                    "assigned": float(np.mean(said == kinds)),
                    "assigned_own": float(np.mean(said[kinds == k] == k)),
                    "nothing_in_nothing": float(np.mean(said[kinds == 3] == 3)),
                    "seconds": seconds,
                }
            )
    return rows


def rest_rows(name: str, seed: int) -> list[dict]:
    """One recording at rest, and one of an empty room, each band by itself."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rng = np.random.default_rng([seed, HEADS.index(name), 9])
    here = head(name)
    whitener, colorer, rank, info = whitening(name)
    places, fields = _fields(name, 2, rng)
    n = round(60 * MINUTES * SFREQ)
    size = np.linalg.norm(whitener @ fields, axis=0) / rank**0.5
    t, noise = np.arange(n) / SFREQ, rng.standard_normal
    drift = np.cumsum(noise((2, n)) * 0.05 / SFREQ**0.5, axis=1)  # rhythms whose phase wanders
    waves = 2**0.5 * np.cos(2 * np.pi * np.array(FREQUENCIES)[:, None] * t + 2 * np.pi * drift)
    waves *= 10 ** (RHYTHM_DB / 20) / size[:, None]
    data = fields @ waves + colorer @ noise((len(whitener), n))
    room = colorer @ noise((len(whitener), n))
    recordings = [mne.io.RawArray(one, info, verbose="error") for one in (data, room)]
    rows = []
    for k, frequency in enumerate(FREQUENCIES):
        since = time.perf_counter()
        band = [
            one.copy().filter(frequency - HALF, frequency + HALF, verbose="error")
            for one in recordings
        ]
        cov = mne.compute_raw_covariance(band[1], method_params=None, verbose="error")
        filtered = time.perf_counter() - since
        since = time.perf_counter()
        inverse = VAEInverse(verbose="error").fit(band[0], here.forward, cov)
        rows.append(
            {
                "head": name,
                "seed": seed,
                "frequency": frequency,
                "n_found": len(inverse.sources_),
                "error_mm": errors(places[[k]], inverse.filter_.positions.rr_head)[0],
                "filtering_s": filtered,
                "seconds": time.perf_counter() - since,
            }
        )
    return rows


def events_figure(table: pd.DataFrame) -> plt.Figure:
    """Errors of common and rare sources, and how many events go to their own."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for k, (spans, own) in enumerate(table.groupby("spans", sort=False)):
        label = {"learn": "active in some events", "whole": "active in all events"}[spans]
        jitter = 0.18 * (k - 0.5) + np.random.default_rng(0).uniform(-0.05, 0.05, len(own))
        row = own["share"].map({share: r for r, share in enumerate(SHARES)}).to_numpy() + jitter
        style = {"s": 14, "alpha": 0.7, "color": PALETTE[k]}
        left.scatter(own["error_mm"].clip(0.05, FAR), row, label=label, **style)
        right.scatter(100 * own["assigned_own"], row, **style)
        none = own[own["share"] == SHARES[0]]  # a row of each recording
        right.scatter(100 * none["nothing_in_nothing"], jitter[: len(none)] + len(SHARES), **style)
    names = [f"{100 * share:.0f} % of events" for share in SHARES] + ["events without a spike"]
    left.set(xscale="log", xlabel=f"Error (mm; {FAR:.0f}: not found)")
    left.set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.5, -0.5))
    left.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    right.set(xlabel="Events told what they are (%)", yticks=[], ylim=left.get_ylim())
    right.set_xlim(-5, 105)
    return fig


def rest_figure(table: pd.DataFrame) -> plt.Figure:
    """Errors and times of the bands."""
    fig, ax = plt.subplots(figsize=(4.6, 3.2), layout="constrained")
    for k, (frequency, own) in enumerate(table.groupby("frequency")):
        ax.scatter(own["seconds"], own["error_mm"], color=PALETTE[k], label=f"{frequency:g} Hz")
    ax.set(xlabel="Time of the fit (s)", ylabel="Error (mm)", xlim=(0, None), ylim=(0, None))
    ax.legend(frameon=False)
    return fig


def main(seeds: Seeds = 3, jobs: Jobs = 1, out: Out = OUT, quick: Quick = False) -> None:
    """Run, draw and summarize."""
    mne.set_log_level("error")
    heads = [name for name in (HEADS[:1] if quick else HEADS) if not missing(name)]
    some = range(1 if quick else seeds)
    numbers = EVENTS[:1] if quick else EVENTS
    cells = [(name, n, seed) for name in heads for n in numbers for seed in some]
    rest = [(name, seed) for name in heads for seed in some]
    for file, work, tasks, draw, keys in (
        ("events", event_rows, cells, events_figure, ["n_events", "spans", "share"]),
        ("rest", rest_rows, rest, rest_figure, ["frequency"]),
    ):
        calls = Parallel(n_jobs=jobs, return_as="generator")(delayed(work)(*cell) for cell in tasks)
        bar = tqdm(calls, desc=file, total=len(tasks))
        table = pd.DataFrame([row for rows in bar for row in rows])
        write(file, table, draw, out)
        shown = table.select_dtypes("number").columns.drop("seed").difference(keys)
        typer.echo(table.groupby(keys, sort=False)[list(shown)].mean().round(3).to_string())


if __name__ == "__main__":
    run(main)
