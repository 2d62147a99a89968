"""What a study finds: group sources, who has them, and nothing in noise.

Studies of twelve heads, scaled from the template, with two conditions and three group sources that
subjects have with a spread of 5 mm: all subjects at 0 dB; one of them far weaker; and noise alone.
What the first round had found, subject by subject, is told beside it. Writes a row per study and
group source (study.csv), a row per kind (study_summary.csv), and a figure (study.png).

    python scripts/benchmark_study.py --seeds 5 --alone 20 --jobs 2
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import tempfile
import time
import warnings
from pathlib import Path
from typing import Annotated

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import typer
from benchmark_places import OUT
from talk_common import Out, Quick, run, write

from meg_vae import study
from meg_vae.datasets import simulated_study
from meg_vae.files import whole_file
from meg_vae.studies.engine import group_of
from meg_vae.studies.result import assemble
from meg_vae.studies.task import read_task
from meg_vae.viz.style import PALETTE

AXES = ["x_mm", "y_mm", "z_mm"]
NEAR = 15.0  # mm: a group source found nearer than that to a true one is that
KINDS = {"0 dB": 0.0, "one at -10 dB": -10.0, "one at -25 dB": -25.0, "noise alone": -np.inf}
ALL_KINDS = ";".join(KINDS)

Seeds = Annotated[int, typer.Option(help="Studies of each kind with sources.")]
Alone = Annotated[int, typer.Option(help="Studies of noise alone.")]
Subjects = Annotated[int, typer.Option(help="Subjects of each study.")]
Jobs = Annotated[int, typer.Option(help="Subjects at a time; -1 takes all processors.")]
Only = Annotated[str, typer.Option(help="Kinds, divided by semicolons; others are kept.")]


def rows_of(kind: str, seed: int, n_subjects: int, jobs: int) -> list[dict]:
    """Simulate and run one study: a row for each true group source, or one of what noise gave."""
    weak = KINDS[kind]
    levels = [weak] * n_subjects if kind == "noise alone" else [0.0] * (n_subjects - 1) + [weak]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = simulated_study(
            f"{folder}/data", n_subjects, snr_db=levels, random_state=seed, verbose="error"
        )
        since = time.perf_counter()
        found = study(
            made.recordings,
            f"{folder}/out",
            conditions=["standard", "deviant"],
            subjects_dir=made.subjects_dir,
            n_jobs=jobs,
            verbose="error",
        )
        seconds = time.perf_counter() - since
        rounds = Path(folder, "out", "rounds")
        own = {"kind": kind, "seed": seed, "n_subjects": n_subjects, "n_group": len(found.group)}
        told = {"n_rounds": len(list(rounds.iterdir())), "seconds": seconds}
        if kind == "noise alone":
            return [own | {"n_sources": len(found.sources)} | told]
        first = [read_task(one, rounds / "0", None) for one in found.plan.members]
        alone = assemble(found.plan, found.folder, first, group_of(found.plan, first)[0])
        return [
            own
            | {"source": source}
            | _score(found, made, source)
            | {f"{name}_alone": value for name, value in _score(alone, made, source).items()}
            | told
            for source in made.group["source"]
        ]


def _score(result, made, source: int) -> dict:
    """Hold one true group source against those that were found."""
    centre = made.group[AXES].to_numpy(float)[source]
    truth = made.truth[made.truth["source"] == source].set_index("subject")
    places = truth.loc[truth["present"], AXES].to_numpy(float)
    gaps = np.linalg.norm(result.group[AXES].to_numpy(float).reshape(-1, 3) - centre, axis=1)
    if not (gaps < NEAR).any():
        return {"found": False}
    k = int(gaps.argmin())
    row = result.group.iloc[k]
    present = result.presence[result.presence["source"] == k].set_index("subject")["present"]
    right = (present == truth["present"]).to_numpy(bool)
    held = row["spread_low_mm"] <= _spread(places) <= row["spread_high_mm"]
    mean = places.mean(0)
    return {
        "found": True,
        "error_mm": gaps[k],
        "error_to_mean_mm": float(np.linalg.norm(row[AXES].to_numpy(float) - mean)),
        "mean_to_centre_mm": float(np.linalg.norm(mean - centre)),
        "inside_radius": bool(gaps[k] <= row["radius_mm"]),
        "spread_mm": row["spread_mm"],
        "true_spread_mm": _spread(places),
        "spread_held": bool(held),
        "presence_right": float(right.mean()),
        "weak_right": bool(right[-1]),
        "weak_has_it": bool(truth["present"].iloc[-1]),
        "log_evidence": row["log_evidence"],
    }


def _spread(places: np.ndarray) -> float:
    """Standard deviation of places along each axis, mm."""
    away = places - places.mean(0)
    return float(np.sqrt((away**2).sum() / (3 * max(len(places) - 1, 1))))


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Give a row for each kind of study."""
    rows = []
    for kind, own in table.groupby("kind", sort=False):
        studies = own.drop_duplicates("seed")
        row = {"kind": kind, "n_studies": len(studies), "n_group": studies["n_group"].mean()}
        if kind == "noise alone":
            row |= {
                "false_studies": int((own["n_group"] > 0).sum()),
                "n_sources": own["n_sources"].sum(),
            }
        else:
            weak = own[own["weak_has_it"].fillna(False).astype(bool)]
            row |= {
                "found": own["found"].mean(),
                "error_mm": own["error_mm"].mean(),
                "error_to_mean_mm": own["error_to_mean_mm"].mean(),
                "mean_to_centre_mm": own["mean_to_centre_mm"].mean(),
                "inside_radius": own["inside_radius"].mean(),
                "presence_right": own["presence_right"].mean(),
                "presence_right_alone": own["presence_right_alone"].mean(),
                "weak_found": weak["weak_right"].mean(),
                "weak_found_alone": weak["weak_right_alone"].mean(),
            }
        rows.append(row | {"seconds": studies["seconds"].median()})
    return pd.DataFrame(rows)


def draw(table: pd.DataFrame) -> plt.Figure:
    """Show how far group sources are off, and who is found to have them."""
    kinds = [one for one in KINDS if one in set(table["kind"]) and one != "noise alone"]
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.6), layout="constrained")
    rng = np.random.default_rng(0)
    for k, kind in enumerate(kinds):
        own = table[table["kind"] == kind]
        jitter = k + rng.uniform(-0.15, 0.15, len(own))
        axes[0].plot(jitter, own["error_mm"], "o", color=PALETTE[k], alpha=0.6)
        axes[0].plot(k, own["error_mm"].mean(), "_", color="0.1", markersize=26)
        shares = [own["presence_right_alone"].mean(), own["presence_right"].mean()]
        axes[1].bar([k - 0.2, k + 0.2], 100 * np.array(shares), 0.38, color=["0.7", PALETTE[k]])
    axes[0].axhline(3.0, color="0.5", linestyle=":")
    axes[0].set(ylabel="Error of the group source (mm)", ylim=(0, None))
    axes[1].axhline(95, color="0.5", linestyle=":")
    axes[1].set(ylabel="Presence told right (%)", ylim=(0, 102))
    axes[1].set_title("grey: subjects by themselves", fontsize=10)
    for ax in axes:
        ax.set_xticks(range(len(kinds)), kinds)
    return figure


def main(
    seeds: Seeds = 5,
    alone: Alone = 20,
    subjects: Subjects = 12,
    jobs: Jobs = 1,
    only: Only = ALL_KINDS,
    quick: Quick = False,
    out: Out = OUT,
) -> None:
    """What a study finds."""
    kinds, path = only.split(";"), out / "study.csv"
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(KINDS)}.")
    if quick:
        seeds, alone, subjects = 1, 1, 3
    rows = []
    for kind in kinds:
        for seed in range(alone if kind == "noise alone" else seeds):
            rows += rows_of(kind, seed, subjects, jobs)
            typer.echo(f"{kind}, study {seed}: {rows[-1]['n_group']} group sources")
    table = pd.DataFrame(rows)
    if path.exists():
        kept = pd.read_csv(path)
        table = pd.concat([kept[~kept["kind"].isin(kinds)], table])
    order = {"key": lambda own: own.map(list(KINDS).index), "kind": "stable"}
    table = table.sort_values("kind", **order)
    scores = summary(table)
    write("study", table, draw, out)
    with whole_file(out / "study_summary.csv") as part:
        scores.to_csv(part, index=False, float_format="%.6g")
    typer.echo(scores.to_string(index=False, float_format="%.3g"))


if __name__ == "__main__":
    run(main)
