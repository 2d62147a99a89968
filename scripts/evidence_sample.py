"""The sources of MNE's sample subject with their evidence, from a window and from whole epochs.

Four conditions, 80 to 150 ms and all of -0.2 to 0.5 s. The averages hold 3 to 6 epochs each,
low-passed at 40 Hz. Nothing is tuned: the options are the defaults of `VAEInverse`.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import matplotlib.pyplot as plt
import pandas as pd
from evidence_common import CONDITIONS, OUT
from talk_common import Out, Quick, run, write
from tqdm import tqdm

from meg_vae import VAEInverse, datasets, viz
from meg_vae.model.checks import MIN_LOG_EVIDENCE
from meg_vae.viz.style import PALETTE

WINDOWS = {"80 to 150 ms": (0.08, 0.15), "whole epoch": (-0.1995, 0.4985)}  # s


def sources(condition: str, window: str) -> pd.DataFrame:
    """Sources of one condition, with what the whole fit says."""
    tmin, tmax = WINDOWS[window]
    case = datasets.sample(condition, tmin=tmin, tmax=tmax, verbose="error")
    inverse = VAEInverse(subject=case.subject, subjects_dir=case.subjects_dir, verbose="error")
    inverse.fit(case.evoked, case.forward, case.noise_cov)
    table = inverse.sources_.round({"x_mm": 1, "y_mm": 1, "z_mm": 1})
    table.insert(0, "condition", condition)
    table.insert(1, "window", window)
    return table.assign(
        span_from_s=inverse.spans_[:, 0],
        span_to_s=inverse.spans_[:, 1],
        n_samples=len(case.evoked.times),
        n_effective=inverse.n_effective_,
        noise_variance=inverse.noise_variance_,
        explained_variance=inverse.explained_variance(),
    )


def draw(table: pd.DataFrame) -> plt.Figure:
    """Draw the evidence of every source, a panel per condition and window."""
    shown = [condition for condition in CONDITIONS if condition in set(table["condition"])]
    counts = table.groupby(["condition", "window"]).size().groupby("condition").max()
    heights = [counts[condition] + 0.6 for condition in shown]
    figure, axes = plt.subplots(
        len(shown),
        len(WINDOWS),
        figsize=(9.6, 0.8 + 0.3 * sum(heights) + 0.5 * len(shown)),
        height_ratios=heights,
        sharex=True,
        squeeze=False,
    )
    for row, condition in zip(axes, shown, strict=True):
        for ax, window in zip(row, WINDOWS, strict=True):
            part = table[(table["condition"] == condition) & (table["window"] == window)]
            rows = range(len(part))
            ax.hlines(rows, 0, part["log_evidence"], color=PALETTE[0])
            ax.plot(part["log_evidence"], rows, "o", color=PALETTE[0])
            ax.axvline(MIN_LOG_EVIDENCE, color=PALETTE[1], linestyle="--")
            names = [
                f"{name}\n{1e3 * first:.0f} to {1e3 * last:.0f} ms"
                for name, first, last in zip(
                    viz.source_names(part), part["onset_s"], part["offset_s"], strict=True
                )
            ]
            ax.set(yticks=rows, yticklabels=names, ylim=(len(part) - 0.4, -0.6))
            ax.set_title(f"{condition}, {window}", loc="left", fontsize=9.5)
    for ax in axes[-1]:
        ax.set_xlabel(f"log evidence (nats); dashed: threshold {MIN_LOG_EVIDENCE:g}")
    figure.set_layout_engine("constrained")
    return figure


def main(quick: Quick = False, out: Out = OUT) -> None:
    """Localize the four conditions."""
    cells = [(condition, window) for condition in CONDITIONS for window in WINDOWS]
    cells = cells[4:5] if quick else cells
    table = pd.concat([sources(*cell) for cell in tqdm(cells)], ignore_index=True)
    write("sample_sources", table, draw, out)


if __name__ == "__main__":
    run(main)
