"""Rhythms beside DICS, coherence between virtual channels, and sources that switch on and off.

In three heads: two rhythms (10 and 20 Hz) at -10 dB in 100 epochs of a second, found in the
cross-spectral density about each; two sources of one rhythm with a coherence of 0.95; the coherence
of 0.6 between two sources, and of one with a place where nothing is, by virtual channels; and four
sources in a window of 1.2 s, each active in its own quarter, or for 50 ms of it, against fits of
that quarter alone. Writes a row per source (rhythms.csv, windows.csv) and figures. MEG_VAE_SAMPLE
and MEG_VAE_HEADS name the folders of the real heads; coherence needs mne-connectivity.
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
from benchmark_places_heads import head, missing
from benchmark_rhythms_data import HEADS, rhythms, switching
from joblib import Parallel, delayed
from mne.beamformer import apply_dics_csd, make_dics
from mne.time_frequency import csd_multitaper
from mne_connectivity import spectral_connectivity_epochs
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from talk_common import HERE, Out, Quick, run, write
from tqdm import tqdm

from meg_vae import VAEInverse
from meg_vae.comparison.metrics import peaks
from meg_vae.viz.style import PALETTE

OUT = HERE.parent / "data" / "benchmarks"
HALF = 1.5  # Hz, half the band about a rhythm
APART_MM = 20.0  # peaks of a map
FAR = 100.0  # mm, the error of a source that is not found
SHARES = {"all of its quarter": 1.0, "50 ms": 0.2}
PARTS = ("two rhythms", "coherence 0.95", "coherence 0.6")

Seeds = Annotated[int, typer.Option(help="Recordings of each head and kind.")]
Jobs = Annotated[int, typer.Option(help="Processes; -1 takes all processors.")]
Only = Annotated[str, typer.Option(help="Which table: rhythms, windows, or both with a semicolon.")]


def densities(epochs: tuple[mne.Epochs, mne.Epochs], frequency: float) -> list:
    """Cross-spectral densities about a frequency."""
    return [
        csd_multitaper(one, frequency - HALF, frequency + HALF, verbose="error").mean()
        for one in epochs
    ]


def errors(true: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Distances (mm) of true sources to found ones, paired; `FAR` where there is none."""
    out = np.full(len(true), FAR)
    distance = 1e3 * cdist(true, found)
    rows, columns = linear_sum_assignment(np.minimum(distance, FAR))
    out[rows] = np.minimum(distance[rows, columns], FAR)
    return out


def by_dics(name: str, csd, noise, info: mne.Info, n: int) -> tuple[np.ndarray, float]:
    """Places (m) of the n strongest peaks of MNE's DICS, and the time.

    By the power of its filters as they come, which is nearest: with unit noise gain, or as a ratio
    to the power of the noise, also by filters common to both, it was often largest far away.
    """
    since = time.perf_counter()
    filters = make_dics(
        info,
        head(name).forward,
        csd,
        noise_csd=noise,
        pick_ori="max-power",
        reduce_rank=True,
        real_filter=True,
        verbose="error",
    )
    power, _ = apply_dics_csd(csd, filters, verbose="error")
    seconds = time.perf_counter() - since
    rr = head(name).forward["source_rr"]
    return rr[peaks(power.data[:, 0], 1e3 * rr, n, APART_MM)], seconds


def by_vae(name: str, csd, noise, info: mne.Info) -> tuple[VAEInverse, float]:
    """Fit a cross-spectral density."""
    since = time.perf_counter()
    inverse = VAEInverse(verbose="error").fit(csd, head(name).forward, noise, info=info)
    return inverse, time.perf_counter() - since


def coherence(epochs: mne.Epochs) -> float:
    """Coherence of the first two channels about 10 Hz."""
    found = spectral_connectivity_epochs(
        epochs, method="coh", fmin=9.0, fmax=11.0, faverage=True, verbose="error"
    )
    return float(found.get_data("dense")[1, 0, 0])


def rhythm_rows(name: str, part: str, seed: int) -> list[dict]:
    """One recording of rhythms, in a process of one thread."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    own = {"head": name, "part": part, "seed": seed}
    shared = None if part == "two rhythms" else float(part.split()[1])
    frequencies = (10.0, 20.0) if shared is None else (10.0, 10.0)
    data, rest, places, z = rhythms(name, seed, frequencies, -10.0, shared)
    rows = []
    for frequency in dict.fromkeys(frequencies):
        true = places[[k for k, f in enumerate(frequencies) if f == frequency]]
        csd, noise = densities((data, rest), frequency)
        inverse, seconds = by_vae(name, csd, noise, data.info)
        theirs, dics_seconds = by_dics(name, csd, noise, data.info, len(true))
        found = inverse.filter_.positions.rr_head
        for method, where, took in (("VAE", found, seconds), ("DICS", theirs, dics_seconds)):
            for error in errors(true, where):
                row = {"method": method, "frequency": frequency, "n_found": len(where)}
                rows.append(own | row | {"error_mm": error, "seconds": took})
    if part != "coherence 0.6" or len(found) != 2:
        return rows
    sources = inverse.to_epochs(data)
    truth = abs(np.mean(z[:, 0] * z[:, 1].conj())) / np.sqrt(np.square(abs(z)).mean(0).prod())
    alone, *_ = rhythms(name, seed, frequencies, -10.0, shared, silent=1)
    more = {"coherence": coherence(sources), "true_coherence": truth}
    more["silent_coherence"] = coherence(inverse.to_epochs(alone))
    return [one | more for one in rows]


def window_rows(name: str, part: str, seed: int) -> list[dict]:
    """One recording of sources that switch on and off."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    evoked, places, spans = switching(name, seed, 5.0, SHARES[part])
    here, since = head(name), time.perf_counter()
    whole = VAEInverse(verbose="error").fit(evoked, here.forward, here.noise_cov)
    seconds = time.perf_counter() - since
    found = whole.filter_.positions.rr_head
    distance = 1e3 * cdist(places, found)
    pairs = dict(zip(*linear_sum_assignment(np.minimum(distance, FAR)), strict=True))
    early = int((whole.sources_["onset_s"] < 0).sum())
    rows = []
    for k, (first, last) in enumerate(spans):
        start, stop = evoked.times[[40 + 50 * k, 40 + 50 * k + 49]]
        quarter = evoked.copy().crop(start, stop)
        alone = VAEInverse(verbose="error").fit(quarter, here.forward, here.noise_cov)
        row = {
            "head": name,
            "part": part,
            "seed": seed,
            "n_found": len(found),
            "before_the_stimulus": early,
            "alone_mm": errors(places[[k]], alone.filter_.positions.rr_head)[0],
            "alone_nats": alone.sources_["log_evidence"].max(),
            "error_mm": FAR,
            "seconds": seconds,
        }
        if k in pairs:
            source = whole.sources_.iloc[pairs[k]]
            row |= {"error_mm": min(distance[k, pairs[k]], FAR), "nats": source["log_evidence"]}
            sfreq = evoked.info["sfreq"]
            for end, true in zip(("onset", "offset"), evoked.times[[first, last]], strict=True):
                low, high = source[[f"{end}_low_s", f"{end}_high_s"]]
                row[f"{end}_samples"] = sfreq * (source[f"{end}_s"] - true)
                row[f"{end}_held"] = float(low - 1e-9 <= true <= high + 1e-9)
        rows.append(row)
    return rows


def rhythms_figure(table: pd.DataFrame) -> plt.Figure:
    """Errors by method, and coherence found against the truth."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for k, method in enumerate(("VAE", "DICS")):
        for row, part in enumerate(PARTS):
            own = table[(table["part"] == part) & (table["method"] == method)]["error_mm"]
            jitter = (
                row + 0.22 * (k - 0.5) + np.random.default_rng(0).uniform(-0.07, 0.07, len(own))
            )
            label = method if row == 0 else None
            left.scatter(own.clip(0.02), jitter, s=12, alpha=0.6, color=PALETTE[k], label=label)
    left.set(yticks=range(len(PARTS)), yticklabels=PARTS, xscale="log", xlabel="Error (mm)")
    left.invert_yaxis()
    left.legend(frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
    cases = table[table["coherence"].notna()].drop_duplicates(["head", "part", "seed"])
    right.scatter(
        cases["true_coherence"], cases["coherence"], color=PALETTE[0], label="two sources"
    )
    right.scatter(
        0 * cases["silent_coherence"],
        cases["silent_coherence"],
        color=PALETTE[1],
        marker="x",
        label="one source, and a place\nwhere nothing is",
    )
    right.plot([0, 1], [0, 1], color="0.5", lw=1)
    right.set(xlabel="True coherence", ylabel="Coherence of virtual channels", ylim=(0, 1))
    right.legend(frameon=False, fontsize=8)
    return fig


def windows_figure(table: pd.DataFrame) -> plt.Figure:
    """Errors of the whole window against its quarters, and of onsets and offsets."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for k, part in enumerate(SHARES):
        own = table[table["part"] == part]
        left.scatter(
            own["alone_mm"], own["error_mm"], s=14, alpha=0.7, color=PALETTE[k], label=part
        )
        for row, name in enumerate(("onset", "offset")):
            value = own[f"{name}_samples"]
            shift = 0.22 * (k - 0.5) + np.random.default_rng(0).uniform(-0.08, 0.08, len(own))
            right.scatter(value, row + shift, s=12, alpha=0.6, color=PALETTE[k])
    top = max(table["alone_mm"].max(), table["error_mm"].max())
    left.plot([0.05, top], [0.05, top], color="0.5", lw=1)
    left.set(xscale="log", yscale="log", xlabel="Error in its own quarter (mm)")
    left.set_ylabel("Error in the whole window (mm)")
    left.legend(title="Active in", frameon=False)
    right.set(yticks=(0, 1), yticklabels=("onset", "offset"), ylim=(1.5, -0.5))
    right.set_xlabel("Found later than true (samples of 5 ms)")
    return fig


def main(
    seeds: Seeds = 6,
    jobs: Jobs = 1,
    only: Only = "rhythms;windows",
    out: Out = OUT,
    quick: Quick = False,
) -> None:
    """Run, draw and summarize."""
    mne.set_log_level("error")
    heads = [name for name in (HEADS[:1] if quick else HEADS) if not missing(name)]
    some = range(1 if quick else seeds)
    tasks = (
        (rhythm_rows, PARTS, "rhythms", rhythms_figure),
        (window_rows, tuple(SHARES), "windows", windows_figure),
    )
    for work, parts, file, draw in (task for task in tasks if task[2] in only.split(";")):
        cells = [(name, part, seed) for name in heads for part in parts for seed in some]
        calls = Parallel(n_jobs=jobs, return_as="generator")(delayed(work)(*cell) for cell in cells)
        bar = tqdm(calls, desc=file, total=len(cells))
        table = pd.DataFrame([row for rows in bar for row in rows])
        write(file, table, draw, out)
        keys = ["part", "method"] if "method" in table else ["part"]
        numbers = table.select_dtypes("number").columns.drop("seed")
        typer.echo(table.groupby(keys, sort=False)[list(numbers)].mean().round(3).to_string())


if __name__ == "__main__":
    run(main)
