"""The figures and the page of a benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import mne
import pandas as pd

from meg_vae import viz
from meg_vae.comparison.benchmark import ranking
from meg_vae.comparison.benchmark.summary import ALL
from meg_vae.comparison.methods import METHODS
from meg_vae.comparison.metrics import METRICS
from meg_vae.viz.tables import TOLD, benchmark_table, facts_table, html_table, mark_told

from . import facts, text
from .pages import INPUT, RESULT, Page
from .pictures import save_figure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure

    from meg_vae.comparison import Benchmark


def benchmark_figures(benchmark: Benchmark, folder: str | Path) -> dict[str, Path]:
    """Draw a benchmark.

    Parameters
    ----------
    benchmark : Benchmark
        The result.
    folder : path-like
        An existing folder for the files.

    Returns
    -------
    pictures : dict of Path
        The PNG files "error_against_snr", "hits", "time" and "ranking", each where the protocol has
        what it shows.
    """
    summary = _marked(benchmark.summary)
    drawn = {
        "error_against_snr": _error_against_snr(benchmark, summary),
        "hits": _hits(summary),
        "time": _time(summary),
        "ranking": _ranking(summary),
    }
    pictures = {}
    for name, figure in drawn.items():
        if figure is not None:
            figure.text(0.995, 0.005, TOLD, ha="right", va="bottom", fontsize=8)
            pictures[name] = save_figure(figure, Path(folder) / f"{name}.png")
    return pictures


def benchmark_report(
    benchmark: Benchmark,
    pictures: Mapping[str, Path],
    *,
    options: Mapping[str, object] | None = None,
    command: str | None = None,
) -> mne.Report:
    """Tell a benchmark on one page.

    Parameters
    ----------
    benchmark : Benchmark
        The result.
    pictures : mapping of Path
        As `benchmark_figures` gives them.
    options : mapping | None
        How it was run.
    command : str | None
        The command that made it.

    Returns
    -------
    report : mne.Report
        The page.
    """
    protocol = benchmark.protocol
    page = Page(protocol.title, None)
    page.write("All conditions", _overall(benchmark), RESULT)
    page.show(pictures, text.BENCHMARK_PICTURES, RESULT)
    for condition in protocol.conditions:
        table = html_table(benchmark_table(ranking(benchmark.summary, condition.name)))
        recipe = facts_table(condition.recipe.changed())
        page.report.add_html(
            f"{table}{recipe}", condition.name, section="Conditions", tags=("condition",)
        )
    page.write("How it was done", _how(benchmark, options), INPUT)
    page.tell_how(command)
    return page.report


def _overall(benchmark: Benchmark) -> str:
    parts = [text.BENCHMARK, html_table(benchmark_table(ranking(benchmark.summary)))]
    if benchmark.protocol.left_out:
        left_out = {
            METHODS[name].title: reason for name, reason in benchmark.protocol.left_out.items()
        }
        parts += ["<h5>Not run everywhere</h5>", facts_table(left_out)]
    failed = benchmark.table[benchmark.table["status"].isin(["failed", "skipped"])]
    if len(failed):
        notes = failed.groupby("title")["note"].agg(lambda one: f"{len(one)} runs: {one.iloc[0]}")
        parts += ["<h5>Failed or skipped</h5>", facts_table(notes.to_dict())]
    return "\n".join(parts)


def _how(benchmark: Benchmark, options: Mapping[str, object] | None) -> str:
    scores = {METRICS[name].title: METRICS[name].reference for name in benchmark.protocol.metrics}
    run = dict(options or {})
    run["seeds"] = ", ".join(map(str, benchmark.protocol.seeds))
    return "\n".join(
        [
            facts_table(run),
            "<h5>Settings and references of the methods</h5>",
            facts_table(facts.method_facts(benchmark.protocol.methods)),
            "<h5>Scores</h5>",
            facts_table(scores),
        ]
    )


def _marked(summary: pd.DataFrame) -> pd.DataFrame:
    """Mark the methods that are told something of the truth, and order all as `METHODS` does."""
    place = {name: k for k, name in enumerate(METHODS)}
    ordered = summary.sort_values("method", key=lambda one: one.map(place), kind="stable")
    told = ordered["method"].map({name: one.oracle for name, one in METHODS.items()})
    return ordered.assign(title=mark_told(ordered["title"], told))


def _error_against_snr(benchmark: Benchmark, summary: pd.DataFrame) -> Figure | None:
    """Conditions that differ in nothing but their ratio are one curve; the longest is drawn."""
    groups: dict[str, list[tuple[str, float]]] = {}
    for one in benchmark.protocol.conditions:
        rest = {key: value for key, value in one.recipe.changed().items() if key != "snr_db"}
        if one.recipe.n_sources:
            groups.setdefault(str(rest), []).append((one.name, one.recipe.snr_db))
    longest = max(groups.values(), key=len, default=[])
    chosen = summary[
        (summary["metric"] == "localization_error_mm")
        & summary["condition"].isin([name for name, _ in longest])
    ]
    real = chosen.loc[chosen["family"] != "Null", "method"]
    if len(longest) < 2 or not real.duplicated().any():
        return None
    return viz.plot_error_against_snr(
        chosen.assign(snr_db=chosen["condition"].map(dict(longest))),
        value=METRICS["localization_error_mm"].title,
        show=False,
    )


def _wide(summary: pd.DataFrame, metrics: list[str]) -> pd.DataFrame:
    """Put metrics side by side, each with its interval; rows that lack one are left out."""
    about = ["condition", "title", "family"]
    wide = summary[about].drop_duplicates()
    for metric in metrics:
        part = summary.loc[summary["metric"] == metric, [*about, "mean", "low", "high"]]
        names = {"mean": metric, "low": f"{metric}_low", "high": f"{metric}_high"}
        wide = wide.merge(part.rename(columns=names), on=about)
    return wide


def _hits(summary: pd.DataFrame) -> Figure | None:
    wide = _wide(summary, ["hit_rate", "false_positives"])
    wide = wide[wide["condition"] != ALL]
    return (
        None if wide.empty else viz.plot_hits_against_false_positives(wide, columns=4, show=False)
    )


def _time(summary: pd.DataFrame) -> Figure | None:
    """Of the condition in which most methods ran."""
    wide = _wide(summary, ["cpu_seconds", "f1"])
    wide = wide[(wide["condition"] != ALL) & (wide["family"] != "Null")]
    if wide.empty:
        return None
    fullest = wide["condition"].value_counts().index[0]
    chosen = wide[wide["condition"] == fullest]
    return viz.plot_time_against_accuracy(chosen, title=fullest, show=False)


def _ranking(summary: pd.DataFrame) -> Figure | None:
    """Methods that ran everywhere first, then those that ran less often; the null ones last."""
    chosen = summary[summary["metric"] == "f1"]
    if chosen.empty:
        return None
    grid = chosen.pivot_table(index="title", columns="condition", values="mean", sort=False)
    conditions = [one for one in dict.fromkeys(summary["condition"]) if one in grid]
    grid = grid[conditions].rename(columns={ALL: "All"})
    null = chosen.groupby("title")["family"].first()[grid.index] == "Null"
    order = pd.DataFrame({"null": null, "ran": -grid.notna().sum(axis=1), "f1": -grid.mean(axis=1)})
    return viz.plot_ranking(grid.loc[order.sort_values(["null", "ran", "f1"]).index], show=False)
