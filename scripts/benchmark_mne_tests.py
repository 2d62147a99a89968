"""MNE's own tests of gamma_map, mixed_norm and rap_music, made again as comparisons.

Each test is drawn many times where MNE draws it once, and the VAE answers it beside the function
that it was written for: how far sources are from the truth, and whether the test passes. What
differs from the tests: the sample subject's source space was made anew and has positions 7 mm
(gamma_map) or 9.9 mm apart; gamma_map's answers to a real EEG response, which the tests pin to what
it gave before, are replaced by a dipole that is known, seen by magnetometers; positions, courses
and noise are drawn anew for each seed; TRAP-MUSIC, the fit of a dipole and the VAE are beside.

Writes a row per test, seed and method (mne_tests.csv), a row per test and method
(mne_tests_summary.csv), a figure (mne_tests.png), and the tests that have no dipole to find: SURE
on arrays (mne_tests_arrays.csv), and the left auditory response of MNE's test files, an average of
3 where the tests have 55 (mne_tests_real.csv). MEG_VAE_SAMPLE names the folder of the sample
dataset where MNE has not put it.

    python scripts/benchmark_mne_tests.py --seeds 10
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
import typer
from benchmark_mne_tests_cases import Case
from benchmark_mne_tests_methods import GRID, TESTS, VAE, Found, at_peak, exact
from benchmark_mne_tests_real import array_rows, real_rows
from benchmark_places import OUT
from benchmark_tables import write_scores
from talk_common import Out, Quick, run, write
from tqdm import tqdm

from meg_vae.comparison.metrics import match
from meg_vae.comparison.metrics.pairing import dipole_places
from meg_vae.files import whole_file
from meg_vae.viz.style import PALETTE

LOOKS = {  # colour and marker; functions of MNE share theirs where no test has two of them
    VAE: (PALETTE[0], "o"),
    GRID: (PALETTE[5], "s"),
    "TRAP-MUSIC": (PALETTE[2], "^"),
    "dipole fit": (PALETTE[2], "^"),
}
FLOOR_MM = 0.01  # in the figure, which has a logarithmic axis

Seeds = Annotated[int, typer.Option(help="Draws of each test.")]
Redraw = Annotated[bool, typer.Option(help="Summarize and draw an earlier run.")]


def rows_of(test: str, seed: int) -> list[dict]:
    """Answer one draw of a test by all of its methods."""
    case, rows = TESTS[test].make(seed), []
    for title, method in TESTS[test].methods.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = method(case)
        row = {"test": test, "seed": seed, "method": title} | scores(case, found)
        passed = TESTS[test].passes(case, found)
        rows.append(row | {"passed": passed})
    return rows


def scores(case: Case, found: Found) -> dict:
    """Distance of the true sources to as many strongest ones, and how these point."""
    top = found.strongest[: len(case.index)]
    error = match(1e3 * case.rr, 1e3 * dipole_places(top))
    cosine = np.abs([at_peak(one) for one in top] @ case.ori.T).max(1).min() if top else 0.0
    return {
        "n_true": len(case.index),
        "n_found": len(found.dipoles),
        "error_mm": error.mean(),
        "worst_mm": error.max(),
        "at_position": exact(case, found),
        "cosine": cosine,
    }


def in_order(table: pd.DataFrame) -> pd.DataFrame:
    """Put the draws of a test together."""
    key = table["test"].map(list(TESTS).index)
    return (
        table.assign(_t=key).sort_values("_t", kind="stable", ignore_index=True).drop(columns="_t")
    )


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """A row per test and method."""
    groups = table.groupby(["test", "method"], sort=False)
    return pd.DataFrame(
        {
            "draws": groups.size(),
            "passed": groups["passed"].sum(),
            "at_position": groups["at_position"].sum(),
            "right_number": (table["n_found"] == table["n_true"])
            .groupby([table["test"], table["method"]], sort=False)
            .sum(),
            "error_mm": groups["error_mm"].mean(),
            "median_mm": groups["error_mm"].median(),
            "worst_mm": groups["worst_mm"].max(),
            "cosine": groups["cosine"].median(),
        }
    ).reset_index()


def draw(table: pd.DataFrame) -> plt.Figure:
    """Errors of each draw and their mean, and how often a test passes."""
    tests = list(table["test"].unique())
    figure, axes = plt.subplots(
        1, 2, figsize=(10, 0.55 * len(tests) + 1.4), layout="constrained", sharey=True,
        width_ratios=(2, 1),
    )  # fmt: skip
    for y, test in enumerate(tests):
        own = table[table["test"] == test]
        titles = list(own["method"].unique())
        for k, title in enumerate(titles):
            part = own[own["method"] == title]
            colour, marker = LOOKS.get(title, (PALETTE[1], "D"))
            at = y + 0.18 * (k - (len(titles) - 1) / 2)
            error = part["error_mm"].clip(lower=FLOOR_MM)
            axes[0].plot(error, np.full(len(part), at), ".", color=colour, alpha=0.3, markersize=4)
            for ax, value in zip(
                axes,
                (max(part["error_mm"].mean(), FLOOR_MM), 100 * part["passed"].mean()),
                strict=True,
            ):
                ax.plot(value, at, marker, color=colour, markersize=5)
    for title, (colour, marker) in {
        "the function of the test": (PALETTE[1], "D"),
        "TRAP-MUSIC, or a dipole fit": LOOKS["TRAP-MUSIC"],
        "VAE": LOOKS[VAE],
        "VAE (grid)": LOOKS[GRID],
    }.items():
        axes[0].plot([], [], marker, color=colour, label=title)
    axes[0].set(
        xscale="log",
        xlabel=f"error of a source (mm; {FLOOR_MM:g} and less at the edge): draws and their mean",
    )
    axes[0].set_yticks(range(len(tests)), tests)
    axes[0].invert_yaxis()
    axes[0].xaxis.set_major_formatter("{x:g}")
    axes[1].set(xlabel="draws that pass (%)", xlim=(-4, 104))
    figure.legend(loc="outside upper center", ncols=4, fontsize=8)
    return figure


def main(seeds: Seeds = 10, redraw: Redraw = False, quick: Quick = False, out: Out = OUT) -> None:
    """Answer MNE's own tests beside the functions that they are for."""
    mne.set_log_level("error")
    path = out / "mne_tests.csv"
    if not redraw:
        tests = ["gamma_map, volume in a sphere"] if quick else list(TESTS)
        cells = [(test, seed) for seed in range(1 if quick else seeds) for test in tests]
        rows = [row for cell in tqdm(cells, desc="draws") for row in rows_of(*cell)]
        table = in_order(pd.DataFrame(rows))
        for name, make in (("arrays", array_rows), ("real", real_rows)):
            other = pd.DataFrame(make(1 if quick else seeds))
            with whole_file(out / f"mne_tests_{name}.csv") as part:
                other.to_csv(part, index=False, float_format="%.6g")
    else:
        table = pd.read_csv(path)
    write("mne_tests", table, draw, out)
    write_scores("mne_tests_summary", summary(table), out)


if __name__ == "__main__":
    run(main)
