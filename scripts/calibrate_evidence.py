"""Which log evidence does noise alone reach? The calibration of ``min_log_evidence``.

The largest threshold at which a source is reported is noted in recordings that hold none, of three
families, all with the lead field and the noise covariance of MNE's sample subject (7,501 positions,
and the places between them; the default options of `VAEInverse`):

- *Gaussian*: white noise with the sample's covariance, which is known, 30 to 240 samples.
- *filtered*: the same noise, low-passed at 40 Hz, low-passed at 20 Hz or shaped as 1/f; how it goes
  on is learnt.
- *baseline*: the baselines (-0.2 to 0 s, low-passed at 40 Hz) of the sample's four averages.
  Whitened, they are mixed with random weights of unit norm and random signs, and a window of 0.1
  to 0.2 s is taken at random, backwards in half of the runs. All these runs come from the same four
  stretches of data, so they are less independent than as many recordings.
- *windows*: the baselines as they are, five windows of each condition (five of 0.1 s, which
  overlap), 20 in all.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: many fits beside each other

import warnings
from typing import Annotated

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import typer
from coloured_noise import coloured
from evidence_common import CONDITIONS, OUT, Jobs, sample_head
from joblib import Parallel, delayed
from talk_common import Out, Quick, Seed, run, write
from tqdm import tqdm

from meg_vae.model.checks import MIN_LOG_EVIDENCE
from meg_vae.model.sliding_vae import SlidingVAE
from meg_vae.viz.style import PALETTE

FAMILIES = {
    "Gaussian": "Gaussian, real covariance",
    "filtered": "temporally filtered",
    "baseline": "real baselines, mixed",
    "windows": "real baselines, as they are (20)",
}
FILTERS = ("low-pass 40 Hz", "low-pass 20 Hz", "1/f")
SAMPLES, MARGIN = (30, 60, 120, 240), 600
LOWEST, STEP = 9.0, 0.1  # nats: the first threshold, and how far above a source the next is
STARTS = (-0.2, -0.175, -0.15, -0.125, -0.1)  # s, of the windows of 0.1 s

Runs = Annotated[int, typer.Option(help="Runs of each family.")]


def noise(family: str, number: int, seed: int) -> tuple[np.ndarray, str]:
    """Whitened noise of one run, and its kind."""
    head = sample_head()
    d, sfreq, baselines = head.rank, head.sfreq, head.baselines
    rng = np.random.default_rng([seed, list(FAMILIES).index(family), number])
    n = SAMPLES[number % len(SAMPLES)]
    if family == "Gaussian":
        return rng.standard_normal((d, n)), "white"
    if family == "filtered":
        kind = FILTERS[number // len(SAMPLES) % len(FILTERS)]
        return coloured(kind, d, n, sfreq, rng, MARGIN), kind
    if family == "windows":
        X = baselines[number // len(STARTS)]
        first = round((STARTS[number % len(STARTS)] - STARTS[0]) * sfreq)
        kind = f"{CONDITIONS[number // len(STARTS)]}, from {STARTS[number % len(STARTS)]:g} s"
        return X[:, first : first + round(0.1 * sfreq)], kind
    weights = rng.standard_normal(len(baselines))
    X = np.tensordot(weights / np.linalg.norm(weights), np.array(baselines), 1)
    n = int(rng.integers(round(0.1 * sfreq), X.shape[1] + 1))
    first = int(rng.integers(0, X.shape[1] - n + 1))
    X = X[:, first : first + n]
    return np.ascontiguousarray(X[:, :: rng.choice([-1, 1])]), "mixture"


def largest_evidence(family: str, number: int, seed: int) -> dict:
    """One run: the largest threshold at which a source is still reported."""
    torch.set_num_threads(1)
    head = sample_head()
    X, kind = noise(family, number, seed)
    n, real = X.shape[1], family in ("baseline", "windows")
    known = {"dictionary": head.dictionary, "n_noise": head.n_noise if real else np.inf}
    known |= {"errors": head.field.errors, "confine": head.field.confine, "stretches": [n]}
    known["switching"] = True
    threshold, largest = LOWEST, 0.0
    while True:
        model = SlidingVAE(min_log_evidence=threshold)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            model.fit(head.field, head.places, X, **known)
        if not len(model.places_):
            break
        largest = float((model.log_evidence_ - model.fit_.choice_cost.numpy()).max())
        threshold = largest + STEP
    return {
        "family": family,
        "kind": kind,
        "run": number,
        "n_samples": n,
        "n_effective": model.n_effective_,
        "noise_variance": model.noise_variance_,
        "largest_threshold": largest,
    }


def draw(table: pd.DataFrame) -> plt.Figure:
    """Share of the recordings of noise that show a source, against the threshold."""
    figure, ax = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    thresholds = np.arange(LOWEST, 20.01, 0.25)
    for colour, (family, name) in zip(PALETTE, FAMILIES.items(), strict=False):
        evidence = table.loc[table["family"] == family, "largest_threshold"].to_numpy()
        if len(evidence):
            rate = 100 * (evidence[:, None] >= thresholds).mean(0)
            style = "--" if family == "windows" else "-"
            label = name if family == "windows" else f"{name} ({len(evidence)})"
            ax.step(thresholds, rate, style, where="mid", color=colour, label=label)
    ax.axhline(5, color="#666666", linewidth=0.8)
    ax.text(LOWEST + 0.1, 6, "1 in 20", color="#666666")
    ax.axvline(MIN_LOG_EVIDENCE, color="black", linestyle=":")
    ax.text(MIN_LOG_EVIDENCE + 0.15, 96, f"default {MIN_LOG_EVIDENCE:g} nats", va="top")
    ax.set(
        xlabel="threshold min_log_evidence (nats)",
        ylabel="recordings of noise with a false source (%)",
        xlim=(LOWEST, 20),
        ylim=(0, 100),
    )
    ax.legend(title="noise (recordings)", loc="upper right", bbox_to_anchor=(1.0, 0.86))
    return figure


def main(
    runs: Runs = 100, quick: Quick = False, out: Out = OUT, seed: Seed = 0, n_jobs: Jobs = 2
) -> None:
    """Fit recordings of noise alone, and note the largest evidence of a source in each."""
    runs = 3 if quick else runs
    work = [("windows", k) for k in range(0, 20, 10 if quick else 1)]
    work += [(family, k) for k in range(runs) for family in list(FAMILIES)[:3]]
    sample_head()  # computes the forward model before the workers need it
    results = Parallel(n_jobs=n_jobs, return_as="generator")(
        delayed(largest_evidence)(family, k, seed) for family, k in work
    )
    table = pd.DataFrame(list(tqdm(results, total=len(work), desc="Noise", unit="fit")))
    write("calibration", table, draw, out)
    for family, part in table.groupby("family", sort=False):
        evidence = np.sort(part["largest_threshold"])
        enough = evidence[-1 - int(0.05 * len(part))] if len(part) >= 20 else evidence[-1]
        typer.echo(
            f"{family}, {len(part)} runs: largest {evidence[-1]:.1f}, above {enough:.1f} nats 1 in "
            f"20; with a source at {MIN_LOG_EVIDENCE:g}: {(evidence >= MIN_LOG_EVIDENCE).sum()}"
        )


if __name__ == "__main__":
    run(main)
