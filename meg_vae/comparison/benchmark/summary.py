"""Summary of a benchmark: means over seeds with bootstrap confidence intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from meg_vae.comparison.methods import METHODS
from meg_vae.comparison.metrics import METRICS
from meg_vae.comparison.running import FAILED, SKIPPED

if TYPE_CHECKING:
    from meg_vae.comparison.benchmark.protocol import Protocol

ALL = "all"  # the condition that stands for all in which there are sources
N_RESAMPLES = 2000
LEVEL = 0.95
RANK_BY = "f1"


def summarize(table: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """Average the runs of every method in every condition.

    Seeds are resampled, the same ones for all methods, and intervals are percentiles of the means
    (Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 13). A run that failed
    counts as the worst, one that was skipped not at all.

    Parameters
    ----------
    table : pandas.DataFrame
        As `Benchmark.table`.
    protocol : Protocol
        What was run.

    Returns
    -------
    summary : pandas.DataFrame
        ``condition, method, title, family, metric, mean, low, high, n_runs, n_failed``: a row per
        condition, method and metric that applies and that the table has (one made before a score
        was there lacks it). The condition "all" is the mean over those with sources, for the
        methods that ran in each of them.
    """
    with_sources = [one.name for one in protocol.conditions if one.recipe.n_sources]
    n_seeds = len(protocol.seeds)
    draws = np.random.default_rng(0).integers(n_seeds, size=(N_RESAMPLES, n_seeds))
    scores = [name for name in protocol.metrics if name in table]
    values = {name: _values(table, name, protocol) for name in scores}
    rows = []
    for condition in [*(one.name for one in protocol.conditions), ALL]:
        for method in protocol.methods:
            parts = with_sources if condition == ALL else [condition]
            runs = table[(table["method"] == method) & table["condition"].isin(parts)]
            runs = runs[runs["status"] != SKIPPED]
            if len(runs) < n_seeds * len(parts) or not parts:
                continue
            about = {
                "condition": condition,
                "method": method,
                "title": METHODS[method].title,
                "family": METHODS[method].family,
                "n_runs": len(runs),
                "n_failed": int((runs["status"] == FAILED).sum()),
            }
            for metric in scores:
                measured = np.mean([values[metric][part, method] for part in parts], axis=0)
                if np.isfinite(measured).any():
                    rows.append(about | {"metric": metric} | _interval(measured, draws))
    columns = ["condition", "method", "title", "family", "metric", "mean", "low", "high"]
    return pd.DataFrame(rows, columns=[*columns, "n_runs", "n_failed"])


def _values(
    table: pd.DataFrame, metric: str, protocol: Protocol
) -> dict[tuple[str, str], NDArray[np.float64]]:
    """Values over seeds for each condition and method, NaN where a metric does not apply."""
    failed = table["status"] == FAILED
    applies = table.groupby("condition")[metric].transform(lambda one: one.notna().any())
    filled = table[metric].mask(failed & applies, METRICS[metric].worst)
    grid = table.assign(value=filled).pivot_table(
        index=["condition", "method"], columns="seed", values="value", dropna=False, sort=False
    )
    grid = grid.reindex(columns=list(protocol.seeds))
    return {key: row.to_numpy(float) for key, row in grid.iterrows()}


def _interval(values: NDArray[np.float64], draws: NDArray[np.int64]) -> dict[str, float]:
    """Mean and percentile interval; seeds without a value are left out of both."""
    known = np.isfinite(values)
    if not known.all():
        draws = np.flatnonzero(known)[draws % known.sum()]
    means = values[draws].mean(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {"mean": float(values[known].mean()), "low": float(low), "high": float(high)}


def ranking(summary: pd.DataFrame, condition: str = ALL) -> pd.DataFrame:
    """Make a table of the means of one condition, the best method first.

    Parameters
    ----------
    summary : pandas.DataFrame
        As `summarize` gives it.
    condition : str
        The condition; "all" for the mean over those with sources.

    Returns
    -------
    table : pandas.DataFrame
        A row per method, indexed by its name, with its title, its family, what it is told of the
        truth and the mean of every metric; sorted by F1, then by the localization error (where
        there is no source: by false positives). The null methods stand below the others, for
        comparison.
    """
    chosen = summary[summary["condition"] == condition]
    about = chosen.groupby("method", sort=False)[["title", "family"]].first()
    means = chosen.pivot_table(index="method", columns="metric", values="mean", sort=False)
    table = about.join(means)
    table.insert(2, "told", [METHODS[name].oracle for name in table.index])
    table["null"] = table["family"] == "Null"
    scores = {RANK_BY: False, "localization_error_mm": True}
    if RANK_BY not in table:
        scores = {"false_positives": True}
    keys = {"null": True} | {name: up for name, up in scores.items() if name in table}
    table = table.sort_values(list(keys), ascending=list(keys.values()), kind="stable")
    return table.drop(columns="null")
