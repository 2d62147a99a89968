"""Log evidence of whole models: against a shift of the co-registration, and between head models.

Recordings of five sources in the template head (10 dB, 306 channels) are made at positions of the
oct6 spacing with the true head position, and inverted at those of oct5, so that the sources lie
off the grid whatever the shift. The head is moved along an axis of the MRI by -10 to 10 mm, the
forward model computed anew, and the log evidence of the fit noted. The same recordings are also
inverted with other orientation constraints, with a sphere for the head, and at other spacings.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import warnings
from typing import Annotated

import matplotlib.pyplot as plt
import mne
import pandas as pd
import torch
import typer
from evidence_common import OUT, Jobs, simulated, sphere_forward, template
from joblib import Parallel, delayed
from talk_common import Out, Quick, Seed, run, write
from tqdm import tqdm

from meg_vae import VAEInverse
from meg_vae.viz.style import PALETTE

TRUE, SOUGHT = "oct6", "oct5"
N_SOURCES, SNR_DB = 5, 10.0
SHIFTS_MM = (-10.0, -6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 6.0, 10.0)
AXES = {"x": "to the right", "y": "forwards", "z": "upwards"}
MODELS = {  # what is compared: the models, each by spacing, head and options of VAEInverse
    "orientation": {
        "fixed": (SOUGHT, "BEM", {"loose": 0.0}),
        "loose 0.2": (SOUGHT, "BEM", {}),
        "free": (SOUGHT, "BEM", {"loose": 1.0}),
        "free, learnt": (SOUGHT, "BEM", {"loose": 1.0, "orientation": "full"}),
    },
    "head": {"BEM": (SOUGHT, "BEM", {}), "sphere": (SOUGHT, "sphere", {})},
    "spacing": {
        "ico3 (9.9 mm)": ("ico3", "BEM", {}),
        "oct5 (7.0 mm)": ("oct5", "BEM", {}),
        "ico4 (4.9 mm)": ("ico4", "BEM", {}),
    },
}

Recordings = Annotated[int, typer.Option(help="Recordings.")]


def evidence(forward: mne.Forward, seed: int, options: dict) -> dict:
    """Fit one recording, and note what the evidence of the model is made of."""
    case = simulated(TRUE, N_SOURCES, SNR_DB, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        inverse = VAEInverse(registration=None, verbose="error", **options)
        inverse.fit(case.evoked, forward, case.noise_cov)
    return {
        "seed": seed,
        "log_evidence": inverse.log_evidence_,
        "n_sources": len(inverse.sources_),
        "noise_variance": inverse.noise_variance_,
    }


def shifted(axis: str, shift_mm: float, seeds: list[int]) -> list[dict]:
    """Rows of all recordings with the head moved along one axis."""
    torch.set_num_threads(1)
    head = template(SOUGHT)
    trans = head.trans.copy()
    trans["trans"][list(AXES).index(axis), 3] += 1e-3 * shift_mm
    forward = mne.make_forward_solution(
        head.info, trans, head.src, head.bem, eeg=False, mindist=0.0, verbose="error"
    )
    rows = [evidence(forward, seed, {}) for seed in seeds]
    return [{"axis": axis, "shift_mm": shift_mm, **row} for row in rows]


def modelled(question: str, name: str, seeds: list[int]) -> list[dict]:
    """Rows of all recordings with one of the models."""
    torch.set_num_threads(1)
    spacing, head, options = MODELS[question][name]
    forward = sphere_forward(spacing) if head == "sphere" else template(spacing).forward
    rows = [evidence(forward, seed, options) for seed in seeds]
    return [{"question": question, "model": name, **row} for row in rows]


def draw_shifts(table: pd.DataFrame) -> plt.Figure:
    """Draw the log evidence against the shift, a panel per axis and a curve per recording."""
    axes_shown = [axis for axis in AXES if axis in set(table["axis"])]
    figure, panels = plt.subplots(
        1, len(axes_shown), figsize=(3.1 * len(axes_shown) + 0.4, 3.3), sharey=True, squeeze=False
    )
    for ax, axis in zip(panels[0], axes_shown, strict=True):
        for k, (seed, part) in enumerate(table[table["axis"] == axis].groupby("seed")):
            part = part.sort_values("shift_mm")
            lost = part["log_evidence"] - part["log_evidence"].max()
            style = {"color": PALETTE[k % len(PALETTE)], "marker": "osv^Dx+"[k % 7]}
            ax.plot(part["shift_mm"], lost, label=f"recording {seed + 1}", markersize=4, **style)
        ax.axvline(0, color="black", linestyle=":")
        ax.set(title=f"{axis}, {AXES[axis]}", xlabel="shift of the head (mm)")
    panels[0, 0].set_ylabel("log evidence below the best (nats)")
    panels[0, 0].legend(fontsize=8)
    figure.set_layout_engine("constrained")
    return figure


def draw_models(table: pd.DataFrame) -> plt.Figure:
    """Draw how far each model is below the best of its question, a dot per recording."""
    figure, panels = plt.subplots(1, len(MODELS), figsize=(9.0, 3.2))
    for ax, (question, models) in zip(panels, MODELS.items(), strict=True):
        part = table[table["question"] == question]
        best = part.groupby("seed")["log_evidence"].transform("max")
        for x, name in enumerate(models):
            lost = (part["log_evidence"] - best)[part["model"] == name]
            ax.plot([x] * len(lost), lost, "o", color=PALETTE[0], alpha=0.7)
            ax.plot([x - 0.25, x + 0.25], [lost.mean()] * 2, color=PALETTE[1], linewidth=2)
        ax.set(title=question, xticks=range(len(models)), xlim=(-0.5, len(models) - 0.5))
        ax.set_xticklabels(models, rotation=20, ha="right")
    panels[0].set_ylabel("log evidence below\nthe best (nats); bar: mean")
    figure.set_layout_engine("constrained")
    return figure


def main(
    recordings: Recordings = 4,
    quick: Quick = False,
    out: Out = OUT,
    seed: Seed = 0,
    n_jobs: Jobs = 2,
) -> None:
    """Compare forward models by their log evidence."""
    seeds = [seed + k for k in range(1 if quick else recordings)]
    shifts = (-10.0, 0.0, 10.0) if quick else SHIFTS_MM
    work = [delayed(shifted)(axis, mm, seeds) for axis in AXES for mm in shifts]
    work += [
        delayed(modelled)(question, name, seeds) for question in MODELS for name in MODELS[question]
    ]
    for spacing in ("oct5", "oct6", "ico3", "ico4"):
        template(spacing)  # computed before the workers need it
    results = Parallel(n_jobs=n_jobs, return_as="generator")(work)
    rows = [row for rows in tqdm(results, total=len(work), unit="model") for row in rows]
    table = pd.DataFrame([row for row in rows if "axis" in row])
    write("coregistration", table, draw_shifts, out)
    write("model_evidence", pd.DataFrame([r for r in rows if "axis" not in r]), draw_models, out)
    best = table.loc[table.groupby(["axis", "seed"])["log_evidence"].idxmax()]
    near = (best["shift_mm"].abs() <= 2).sum()
    typer.echo(f"the best shift is within 2 mm of the truth in {near} of {len(best)} curves")


if __name__ == "__main__":
    run(main)
