"""The sources of MNE's sample subject with their evidence: four conditions, 80 to 150 ms.

The averages hold 3 to 6 epochs each, low-passed at 40 Hz. Nothing is tuned: the options are the
defaults of `VAEInverse`.
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


def sources(condition: str) -> pd.DataFrame:
    """Sources of one condition, with what the whole fit says."""
    case = datasets.sample(condition, tmin=0.08, tmax=0.15, verbose="error")
    inverse = VAEInverse(subject=case.subject, subjects_dir=case.subjects_dir, verbose="error")
    inverse.fit(case.evoked, case.forward, case.noise_cov)
    table = inverse.sources_.round({"x_mm": 1, "y_mm": 1, "z_mm": 1})
    table.insert(0, "condition", condition)
    return table.assign(
        n_samples=len(case.evoked.times),
        n_effective=inverse.n_effective_,
        noise_variance=inverse.noise_variance_,
        explained_variance=inverse.explained_variance(),
    )


def draw(table: pd.DataFrame) -> plt.Figure:
    """Draw the evidence of every source, a panel per condition."""
    shown = [condition for condition in CONDITIONS if condition in set(table["condition"])]
    counts = [int((table["condition"] == condition).sum()) for condition in shown]
    figure, axes = plt.subplots(
        len(shown),
        1,
        figsize=(6.4, 0.8 + 0.3 * sum(counts) + 0.5 * len(shown)),
        height_ratios=[count + 0.6 for count in counts],
        sharex=True,
        squeeze=False,
    )
    for ax, condition in zip(axes[:, 0], shown, strict=True):
        part = table[table["condition"] == condition]
        rows = range(len(part))
        ax.hlines(rows, 0, part["log_evidence"], color=PALETTE[0])
        ax.plot(part["log_evidence"], rows, "o", color=PALETTE[0])
        ax.axvline(MIN_LOG_EVIDENCE, color=PALETTE[1], linestyle="--")
        ax.set(yticks=rows, yticklabels=viz.source_names(part), ylim=(len(part) - 0.4, -0.6))
        ax.set_title(condition, loc="left", fontsize=9.5)
    axes[-1, 0].set_xlabel(f"log evidence (nats); dashed: threshold {MIN_LOG_EVIDENCE:g}")
    figure.set_layout_engine("constrained")
    return figure


def main(quick: Quick = False, out: Out = OUT) -> None:
    """Localize the four conditions."""
    conditions = CONDITIONS[2:3] if quick else CONDITIONS
    table = pd.concat([sources(condition) for condition in tqdm(conditions)], ignore_index=True)
    write("sample_sources", table, draw, out)


if __name__ == "__main__":
    run(main)
