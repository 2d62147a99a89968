"""Seven kinds of sensor arrays around three heads: where sources are, and how many.

Models of VectorView, TRIUX, CTF, KIT and 4D helmets and of worn OPM sensors (single and triaxial),
made with MNE's coil definitions, around the template head, MNE's sample subject and a second real
head; arrays of other heads than the template are moved with the middle of the inner skull. Three
sources off the grid, or none, in white noise in time with the noise of sensors and brain, 100
averages. The VAE beside TRAP-MUSIC, which is told the number of sources, LCMV and sLORETA; errors
are those of as many strongest sources as there are, and F1 counts all that are named. Writes a row
per recording and method (arrays.csv), a row per array and method (arrays_summary.csv), and a figure
(arrays.png).

    python scripts/benchmark_arrays.py --seeds 10 --jobs 2
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import warnings
from functools import cache
from typing import Annotated

import matplotlib.pyplot as plt
import mne
import numpy as np
import pandas as pd
import torch
import typer
from benchmark_places import OUT, heads_at_hand
from benchmark_places_heads import APART, NAVE, SFREQ, TMAX, Head, head
from joblib import Parallel, delayed
from mne.transforms import apply_trans
from talk_common import Out, Quick, run, write
from tqdm import tqdm

from meg_vae import compare, datasets
from meg_vae.comparison import METHODS as REGISTRY
from meg_vae.datasets.arrays import NAMES, array_info
from meg_vae.datasets.noise import noise_covariance
from meg_vae.datasets.simulation import event_related, fixed_dipole, place_sources, record
from meg_vae.files import whole_file
from meg_vae.meg.conductor import bem_conductor
from meg_vae.viz.style import PALETTE

HEADS = ("template, oct5", "sample head", "second head")
LEVELS = (None, 0.0, 10.0)  # dB; without sources first
METHODS = ("vae", "trap_music", "lcmv", "sloreta")
N_SOURCES = 3
SCORES = {  # name here: column of the comparison
    "error_mm": "localization_error_mm",
    "hits": "hit_rate",
    "false": "false_positives",
    "f1": "f1",
    "seconds": "seconds",
}

Seeds = Annotated[int, typer.Option(help="Recordings of each head, array and level.")]
Jobs = Annotated[int, typer.Option(help="Processes; -1 takes all processors.")]


def middle(here: Head) -> np.ndarray:
    """Give the middle of the inner skull in head coordinates, m."""
    to_head = mne.transforms._ensure_trans(here.trans, "mri", "head")
    return apply_trans(to_head, here.bem["surfs"][0]["rr"]).mean(0)


@cache
def seen_by(name: str, array: str) -> tuple[mne.Info, mne.Forward, mne.Covariance]:
    """Put an array around a head: its info, forward model and noise, once a process."""
    here = head(name)
    info = array_info(array, SFREQ)
    made = datasets.template("oct5", verbose="error")
    to_head = mne.transforms.invert_transform(made.trans)
    shift = middle(here) - apply_trans(to_head, made.bem["surfs"][0]["rr"]).mean(0)
    moved = mne.transforms.translation(*shift) @ info["dev_head_t"]["trans"]
    info["dev_head_t"] = mne.Transform("meg", "head", moved)
    options = {"meg": True, "eeg": False, "mindist": 5.0, "verbose": "error"}
    forward = mne.make_forward_solution(info, here.trans, here.forward["src"], here.bem, **options)
    cov = noise_covariance(forward, info, [one["vertno"] for one in forward["src"]])
    return info, forward, cov


def rows_of(name: str, array: str, level: float | None, seed: int) -> list[dict]:
    """Score all methods on one recording, in a process of one thread."""
    torch.set_num_threads(1)
    here, (info, forward, cov) = head(name), seen_by(name, array)
    n = 0 if level is None else N_SOURCES
    rng = np.random.default_rng([seed, len(here.rr)])  # the same sources for every array
    chosen = place_sources(here.rr, n, APART, rng)
    times = np.arange(round(TMAX * SFREQ) + 1) / SFREQ
    exact = bem_conductor(info, info.ch_names, here.bem, here.trans)
    gain = np.einsum("kda,ka->dk", exact(here.rr[chosen]), here.nn[chosen])
    options = {"snr_db": 10.0 if level is None else level, "nave": NAVE, "random_state": rng}
    evoked, amplitude = record(gain, event_related(times, n, rng), info, cov, **options)
    sources = zip(here.rr[chosen], here.nn[chosen], amplitude, strict=True)
    truth = [fixed_dipole(evoked.times, *source) for source in sources]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        told = {"truth": truth} if truth else {}
        methods = METHODS if truth else METHODS[:1]
        table = compare(evoked, forward, cov, methods, verbose="error", **told).table
    own = {"head": name, "array": array, "n_channels": len(info.ch_names), "snr_db": level}
    return [
        own
        | {"seed": seed, "method": row["method"], "n_true": n, "n_found": row["n_sources"]}
        | {ours: row.get(theirs, np.nan) for ours, theirs in SCORES.items()}
        for _, row in table.iterrows()
    ]


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """A row per array and method: scores over all heads."""
    rows = []
    for (array, method), own in table.groupby(["array", "method"], sort=False):
        alone, some = own[own["n_true"] == 0], own[own["n_true"] > 0]
        row = {"array": array, "method": method, "recordings": len(some)}
        if len(alone):
            row |= {"alone": len(alone), "alone_false": (alone["n_found"] > 0).mean()}
            row["right_number"] = (some["n_found"] == some["n_true"]).mean()
        for level, part in some.groupby("snr_db"):
            row |= {f"error_{level:g}_dB": part["error_mm"].median()}
            row |= {
                f"f1_{level:g}_dB": part["f1"].mean(),
                f"false_{level:g}_dB": part["false"].mean(),
            }
        rows.append(row)
    return pd.DataFrame(rows)


def draw(table: pd.DataFrame) -> plt.Figure:
    """Errors and F1 of each array, by method, at the lower level."""
    scores = summary(table)
    arrays = list(scores["array"].unique())
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained", sharey=True)
    for ax, name in zip(axes, ("error", "f1"), strict=True):
        for k, method in enumerate(METHODS):
            own = scores[scores["method"] == method].set_index("array")
            y = np.arange(len(arrays)) + 0.16 * (k - 1.5)
            style = {"color": PALETTE[k], "linestyle": "none", "markersize": 5}
            ax.plot(
                own.loc[arrays, f"{name}_0_dB"], y, "osD^"[k], label=REGISTRY[method].title, **style
            )
    axes[0].set(xlabel="error of three sources at 0 dB (mm, median)", xlim=(0, None))
    axes[0].set_yticks(range(len(arrays)), arrays)
    axes[0].invert_yaxis()
    axes[1].set(xlabel="F1 of sources at 0 dB", xlim=(None, 1.02))
    axes[1].legend(loc="upper center", bbox_to_anchor=(0.5, 1.16), ncols=4, fontsize=8)
    return figure


def main(seeds: Seeds = 10, jobs: Jobs = 1, quick: Quick = False, out: Out = OUT) -> None:
    """Sources found by seven arrays around three heads."""
    mne.set_log_level("error")
    heads, arrays = heads_at_hand(list(HEADS)), list(NAMES)
    if quick:
        heads, arrays, seeds = heads[:1], ["CTF 275", "OPM 64"], 1
    cells = [
        (name, array, level, seed)
        for name in heads
        for array in arrays
        for level in LEVELS
        for seed in range(seeds)
    ]
    work = Parallel(n_jobs=jobs, return_as="generator")(delayed(rows_of)(*c) for c in cells)
    bar = tqdm(work, desc="recordings", total=len(cells))
    table = pd.DataFrame([row for rows in bar for row in rows])
    order = table["array"].map(list(NAMES).index)
    table = table.assign(_n=order).sort_values("_n", kind="stable").drop(columns="_n")
    write("arrays", table, draw, out)
    scores = summary(table)
    with whole_file(out / "arrays_summary.csv") as part:
        scores.to_csv(part, index=False, float_format="%.4g")
    typer.echo(scores.to_string(index=False, float_format="%.3g"))


if __name__ == "__main__":
    run(main)
