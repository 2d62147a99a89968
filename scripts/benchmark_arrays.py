"""Seven kinds of sensor arrays around three heads, in all conditions of the committed benchmark.

Models of VectorView, TRIUX, CTF, KIT and 4D helmets and of worn OPM sensors (single and triaxial),
made with MNE's coil definitions, around the template head, MNE's sample subject and a second real
head; arrays of other heads than the template are moved with the middle of the inner skull. The
conditions are those of data/benchmarks/protocol.toml, in the noise of sensors and brain, white in
time. The VAE beside TRAP-MUSIC, which is told the number of sources, LCMV and sLORETA; errors are
those of as many strongest sources as there are, and F1 counts all that are named. Writes a row per
recording and method (arrays.csv, after every recording: the same command goes on where it was), a
row per array, condition and method (arrays_summary.csv), and a figure (arrays.png).

    python scripts/benchmark_arrays.py --seeds 10
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import warnings
from typing import Annotated

import matplotlib.pyplot as plt
import mne
import numpy as np
import pandas as pd
import torch
import typer
from benchmark_arrays_data import CONDITIONS, recorded
from benchmark_places import OUT, heads_at_hand
from benchmark_tables import resumed, write_scores
from talk_common import Out, Quick, run, write

from meg_vae import compare
from meg_vae.comparison import METHODS as REGISTRY
from meg_vae.datasets.arrays import NAMES
from meg_vae.viz.style import PALETTE

HEADS = ("template, oct5", "sample head", "second head")
METHODS = ("vae", "trap_music", "lcmv", "sloreta")
ALL = ";".join(CONDITIONS)
KEY = ["head", "array", "condition", "seed"]
SCORES = {  # name here: column of the comparison
    "error_mm": "localization_error_mm",
    "hits": "hit_rate",
    "false": "false_positives",
    "f1": "f1",
    "seconds": "seconds",
}

Seeds = Annotated[int, typer.Option(help="Recordings of each head, array and condition.")]
Only = Annotated[str, typer.Option(help="Conditions, divided by semicolons; all of them.")]
Jobs = Annotated[int, typer.Option(help="Processes; -1 takes all processors.")]


def rows_of(name: str, array: str, condition: str, seed: int) -> list[dict]:
    """Score all methods on one recording, in a process of one thread."""
    torch.set_num_threads(1)
    mne.set_log_level("error")
    made = recorded(name, array, condition, seed)
    n = len(made.truth)
    told = {"truth": made.truth, "truth_extents_mm": made.extent_mm} if n else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        methods = METHODS if n else METHODS[:1]
        result = compare(made.evoked, made.forward, made.noise_cov, methods, **told)
    own = dict(zip(KEY, (name, array, condition, seed), strict=True))
    return [
        own
        | {"method": row["method"], "n_true": n, "n_found": row["n_sources"]}
        | {ours: row.get(theirs, np.nan) for ours, theirs in SCORES.items()}
        for _, row in result.table.iterrows()
    ]


def in_order(table: pd.DataFrame) -> pd.DataFrame:
    """Sort a table by array, condition, head and seed, as the script names them."""
    ranks = {"array": list(NAMES), "condition": list(CONDITIONS), "head": list(HEADS)}
    keys = {f"_{name}": table[name].map(values.index) for name, values in ranks.items()}
    order = table.assign(**keys).sort_values([*keys, "seed"], kind="stable", ignore_index=True)
    return order.drop(columns=list(keys))


def scores_of(rows: pd.DataFrame) -> dict[str, float]:
    """Scores over some recordings with sources, or the share of those without that named one."""
    scores = {"recordings": len(rows), "named_right": (rows["n_found"] == rows["n_true"]).mean()}
    if (rows["n_true"] > 0).all():
        scores["error_mm"] = rows["error_mm"].median()
        scores |= {name: rows[name].mean() for name in ("hits", "false", "f1")}
    return scores


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """A row per array, condition and method: scores over all heads and seeds."""
    keys = ["array", "condition", "method"]
    groups = table.groupby(keys, sort=False)
    return pd.DataFrame(
        [dict(zip(keys, key, strict=True)) | scores_of(rows) for key, rows in groups]
    )


def draw(table: pd.DataFrame) -> plt.Figure:
    """Errors and F1 by array, over all conditions, and by condition, over all arrays."""
    some = table[table["n_true"] > 0]
    figure, axes = plt.subplots(2, 2, figsize=(9, 7.4), layout="constrained", sharey="row")
    for row, by in zip(axes, ("array", "condition"), strict=True):
        names = list(some[by].unique())
        for ax, score in zip(row, ("error_mm", "f1"), strict=True):
            for k, method in enumerate(METHODS):
                own = some[some["method"] == method].groupby(by)[score]
                x = (own.median() if score == "error_mm" else own.mean()).loc[names]
                y = np.arange(len(names)) + 0.16 * (k - 1.5)
                style = {"color": PALETTE[k], "linestyle": "none", "markersize": 5}
                ax.plot(x, y, "osD^"[k], label=REGISTRY[method].title, **style)
        row[0].set_yticks(range(len(names)), names)
        row[0].invert_yaxis()
        row[0].set(xlabel="error (mm, median)", xlim=(0, None))
        row[1].set(xlabel="F1 of sources (mean)", xlim=(None, 1.02))
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return figure


def main(
    seeds: Seeds = 10,
    only: Only = ALL,
    jobs: Jobs = 1,
    quick: Quick = False,
    out: Out = OUT,
) -> None:
    """Sources found by seven arrays around three heads, in every condition."""
    arrays, conditions = list(NAMES), only.split(";")
    unknown = set(conditions) - set(CONDITIONS)
    if unknown:
        raise ValueError(f"only={unknown.pop()!r} is no condition; use {', '.join(CONDITIONS)}.")
    heads = heads_at_hand(list(HEADS))
    if quick:
        heads, arrays, seeds = heads[:1], ["CTF 275", "OPM 64"], 1
        conditions = ["10 dB", "Noise alone"]
    cells = [  # all of a seed before the next; a process makes few forward models
        (name, array, condition, seed)
        for seed in range(seeds)
        for array in arrays
        for name in heads
        for condition in conditions
    ]
    path = out / "arrays.csv"
    done = pd.read_csv(path) if path.is_file() else pd.DataFrame(columns=KEY)
    there = set(done[KEY].itertuples(index=False, name=None))
    left = [cell for cell in cells if cell not in there]
    table = in_order(resumed(rows_of, left, done, path, jobs=jobs))
    write("arrays", table, draw, out)
    write_scores("arrays_summary", summary(table), out)


if __name__ == "__main__":
    run(main)
