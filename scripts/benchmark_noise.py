"""What noise as it is does to an answer: coloured in time, and of an estimated covariance.

Three heads hold no source, or three off the grid, in noise that goes on in time; the covariance
that the fit is given comes from a finite stretch of the same noise, and says so by its ``nfree``.
The first kind, white noise of known covariance, is what the others are held against. Writes a row
per recording (noise.csv), a row per kind (noise_summary.csv), and a figure (noise.png).

    python scripts/benchmark_noise.py --seeds 4 --jobs 2
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
from benchmark_places import OUT, heads_at_hand
from benchmark_places_heads import APART, NAVE, SFREQ, TMAX, Head, Recorded, head
from benchmark_places_scores import INSIDE_PLACE, errors, listed, mean, n_false, numbers, sureness
from benchmark_tables import write_scores
from coloured_noise import coloured
from joblib import Parallel, delayed
from talk_common import Out, Quick, run, write
from tqdm import tqdm

from meg_vae import VAEInverse
from meg_vae.datasets.noise import symmetric_roots
from meg_vae.datasets.simulation import event_related, fixed_dipole, place_sources, record
from meg_vae.viz.style import PALETTE

HEADS = ("template, oct5", "sample head", "second head")
LEVELS = (None, 0.0, 5.0, 10.0)  # dB; without sources first
N_SOURCES, MARGIN = 3, 400
HIT = 10.0  # mm: a true source is found where one is nearer than that
KNOWN = "white, known"
# How noise goes on in time, and from how many samples its covariance is estimated.
NOISES = {
    KNOWN: ("white", None),
    "white, 20,000": ("white", 20_000),
    "white, 1,000": ("white", 1_000),
    "white, 500": ("white", 500),
    "white, 200": ("white", 200),
    "AR 0.5, 5,000": ("AR 0.5", 5_000),
    "AR 0.9, 20,000": ("AR 0.9", 20_000),
    "AR 0.9, 6,000": ("AR 0.9", 6_000),
    "AR 0.9, 900": ("AR 0.9", 900),
    "1/f, 5,000": ("1/f", 5_000),
    "low-pass 40 Hz, 5,000": ("low-pass 40 Hz", 5_000),
}
ALL_NOISES = ";".join(NOISES)

Seeds = Annotated[int, typer.Option(help="Recordings of each head, kind and level.")]
Alone = Annotated[int, typer.Option(help="Recordings of each head and kind without a source.")]
Jobs = Annotated[int, typer.Option(help="Processes; -1 takes all processors.")]
Only = Annotated[str, typer.Option(help="Kinds of noise, divided by semicolons; others are kept.")]
Redraw = Annotated[bool, typer.Option(help="Summarize and draw an earlier run.")]


def recording(
    here: Head, noise: str, level: float | None, seed: int
) -> tuple[Recorded, mne.Covariance]:
    """Sources off the grid, or none, in noise of one kind; and its estimated covariance."""
    kind, n_cov = NOISES[noise]
    rng = np.random.default_rng([seed, len(here.rr)])  # the same sources in every noise
    chosen = place_sources(here.rr, N_SOURCES, APART, rng)
    times = np.arange(round(TMAX * SFREQ) + 1) / SFREQ
    courses = event_related(times, N_SOURCES, rng)
    gain = np.einsum("kda,ka->dk", here.exact(here.rr[chosen]), here.nn[chosen])
    options = {"snr_db": np.inf, "nave": NAVE, "random_state": rng}  # amplitudes as for 10 dB
    evoked, amplitude = record(gain, courses, here.info, here.noise_cov, **options)
    colorer = symmetric_roots(here.noise_cov, here.info)[1]
    size = 0.0 if level is None else 10 ** ((level - 10) / 20)
    E = coloured(kind, len(colorer), len(times), SFREQ, rng, MARGIN)
    evoked.data = size * evoked.data + colorer @ E / NAVE**0.5
    if kind.startswith("low-pass"):
        with evoked.info._unlock():
            evoked.info["lowpass"] = 40.0
    cov = here.noise_cov.copy()
    cov["nfree"] = 0  # exact
    if n_cov:
        B = colorer @ coloured(kind, len(colorer), n_cov, SFREQ, rng, MARGIN)
        cov = mne.Covariance(B @ B.T / n_cov, cov.ch_names, [], cov["projs"], nfree=n_cov)
    sources = zip(here.rr[chosen], here.nn[chosen], size * amplitude, strict=True)
    truth = [fixed_dipole(evoked.times, *source) for source in sources] if size else []
    return Recorded(evoked, truth, here.depth[chosen]), cov


def row_of(name: str, noise: str, level: float | None, seed: int) -> dict:
    """Fit one recording, in a process of one thread, and score it."""
    torch.set_num_threads(1)
    here = head(name)
    case, cov = recording(here, noise, level, seed)
    inverse = VAEInverse(verbose="error")
    since = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        inverse.fit(case.evoked, here.forward, cov)
    seconds = time.perf_counter() - since
    sure = sureness(inverse, case)
    return {
        "head": name,
        "noise": noise,
        "snr_db": level,
        "seed": seed,
        "n_true": len(case.truth),
        "n_found": len(inverse.sources_),
        "false": n_false(inverse, case),
        "error_mm": listed(1e3 * errors(inverse, case)),
        **{key: sure[key] for key in ("squared_distance", "amplitude_held", "peak_held")},
        "largest_log_evidence": inverse.sources_["log_evidence"].max(),
        "growth": inverse.growth_,
        "rank": len(inverse.filter_.whitener),
        "n_effective": inverse.n_effective_,
        "noise_variance": inverse.noise_variance_,
        "seconds": seconds,
    }


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """A row per kind of noise: false sources in noise alone, and scores of three sources."""
    rows = []
    for noise, part in table.groupby("noise", sort=False):
        alone, some = part[part["n_true"] == 0], part[part["n_true"] > 0]
        row = {
            "noise": noise,
            "alone": len(alone),
            "with_false_source": (alone["n_found"] > 0).mean(),
            "recordings": len(some),
            "false_sources": some["false"].mean(),
            "right_number": (some["n_found"] == some["n_true"]).mean(),
        }
        for level, own in some.groupby("snr_db"):
            found = numbers(own["error_mm"])
            row |= {f"hits_{level:g}_dB": mean(found < HIT), f"error_{level:g}_dB": mean(found)}
        row["place_coverage"] = mean(numbers(some["squared_distance"]) <= INSIDE_PLACE)
        row["amplitude_coverage"] = mean(numbers(some["amplitude_held"]))
        row["seconds"] = part["seconds"].median()
        rows.append(row)
    return pd.DataFrame(rows)


def draw(table: pd.DataFrame) -> plt.Figure:
    """False sources in noise alone, errors by level, and coverage, each by kind of noise."""
    scores = summary(table)
    figure, axes = plt.subplots(
        1, 3, figsize=(11, 0.36 * len(scores) + 1.6), layout="constrained", sharey=True
    )
    y = np.arange(len(scores))
    axes[0].barh(y, 100 * scores["with_false_source"], color=PALETTE[1])
    axes[0].axvline(5, color="black", linestyle=":", linewidth=1)
    axes[0].text(5.3, -0.6, "1 in 20", va="center", fontsize=8)
    axes[0].set(xlabel="noise alone with a false source (%)", xlim=(0, 25))
    axes[0].set_ylabel("noise in time, and samples behind its covariance")
    axes[0].set_yticks(y, scores["noise"])
    axes[0].invert_yaxis()
    for k, level in enumerate(level for level in LEVELS if level is not None):
        style = {"color": PALETTE[k], "linestyle": "none"}
        axes[1].plot(scores[f"error_{level:g}_dB"], y, "os^"[k], label=f"{level:g} dB", **style)
    axes[1].set(xlabel="mean error of three sources (mm)", xscale="log", xlim=(0.2, 2.2))
    axes[1].set_xticks([0.2, 0.5, 1.0, 2.0], ["0.2", "0.5", "1", "2"])
    axes[1].set_xticks([], minor=True)
    axes[1].legend(loc="upper center", bbox_to_anchor=(0.5, 1.14), ncols=3, fontsize=8)
    for k, name in enumerate(("place", "amplitude")):
        style = {"color": PALETTE[k], "linestyle": "none"}
        axes[2].plot(100 * scores[f"{name}_coverage"], y, "os"[k], label=name, **style)
    axes[2].axvline(95, color="black", linestyle=":", linewidth=1)
    axes[2].set(xlabel="truth held (%), of nominal 95 %", xlim=(50, 102))
    axes[2].legend(loc="upper center", bbox_to_anchor=(0.5, 1.14), ncols=2, fontsize=8)
    return figure


def main(
    seeds: Seeds = 4,
    alone: Alone = 8,
    jobs: Jobs = 1,
    only: Only = ALL_NOISES,
    redraw: Redraw = False,
    quick: Quick = False,
    out: Out = OUT,
) -> None:
    """What noise as it is does to an answer."""
    mne.set_log_level("error")
    heads, noises, path = heads_at_hand(list(HEADS)), only.split(";"), out / "noise.csv"
    unknown = [name for name in noises if name not in NOISES]
    if unknown:
        raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(NOISES)}.")
    if quick:
        heads, noises, seeds, alone = heads[:1], [KNOWN, "AR 0.9, 6,000"], 1, 1
    if not redraw:
        cells = [
            (name, noise, level, seed)
            for seed in range(max(seeds, alone))
            for name in heads
            for noise in noises
            for level in LEVELS
            if seed < (alone if level is None else seeds)
        ]
        work = (delayed(row_of)(*cell) for cell in cells)
        rows = Parallel(n_jobs=jobs, return_as="generator")(work)
        table = pd.DataFrame(list(tqdm(rows, desc="recordings", total=len(cells))))
        if path.exists():
            kept = pd.read_csv(path)
            table = pd.concat([kept[~kept["noise"].isin(noises)], table])
    else:
        table = pd.read_csv(path)
    order = table["noise"].map(list(NOISES).index)
    table = table.assign(_n=order).sort_values(["_n", "snr_db", "head", "seed"], kind="stable")
    table = table.drop(columns="_n")
    write("noise", table, draw, out)
    write_scores("noise_summary", summary(table), out)


if __name__ == "__main__":
    run(main)
