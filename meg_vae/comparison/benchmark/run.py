"""Run a protocol, on this machine or on a cluster, and gather its rows."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from mne.utils import logger, use_log_level, verbose
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from meg_vae.comparison.benchmark.journal import Journal
from meg_vae.comparison.benchmark.protocol import Condition, Protocol
from meg_vae.comparison.benchmark.summary import summarize
from meg_vae.comparison.inputs import Inputs, prepare, true_sources
from meg_vae.comparison.methods import METHODS, Method
from meg_vae.comparison.running import describe, run_method
from meg_vae.datasets.recipe_recording import check_recipe, simulate_recording
from meg_vae.datasets.recipes import Recipe
from meg_vae.files import check_format, write_table
from meg_vae.parallel import check_backend, workers

KEY = ["condition", "seed", "method"]
FIRST = [*KEY, "title", "family", "status", "true_sources", "snr_db", "n_sources"]


@dataclass(frozen=True, eq=False)
class Benchmark:
    """The result of a protocol.

    Attributes
    ----------
    protocol : Protocol
        What was run.
    table : pandas.DataFrame
        A row per run, in the order of the protocol: ``condition, seed, method, title, family,
        status, true_sources, snr_db, n_sources`` (found; missing for a map), the scores, ``note``.
    summary : pandas.DataFrame
        As ``meg_vae.comparison.benchmark.summarize`` gives it.
    """

    protocol: Protocol
    table: pd.DataFrame
    summary: pd.DataFrame

    def save(self, folder: str | Path, file_format: str = "csv") -> list[Path]:
        """Write both tables; each file is whole or not there.

        Parameters
        ----------
        folder : path-like
            An existing folder.
        file_format : "csv" | "parquet"
            Parquet needs pyarrow.

        Returns
        -------
        fnames : list of Path
            ``results`` and ``summary``.
        """
        check_format(file_format)
        return [
            write_table(table, Path(folder) / f"{name}.{file_format}")
            for name, table in (("results", self.table), ("summary", self.summary))
        ]


@verbose
def run_benchmark(
    protocol: Protocol,
    folder: str | Path,
    *,
    n_jobs: int = 1,
    backend: str = "loky",
    scheduler: str | None = None,
    verbose: bool | str | int | None = None,
) -> Benchmark:
    """Run every method of a protocol on every recording.

    Parameters
    ----------
    protocol : Protocol
        What to run.
    folder : path-like
        Where finished runs are kept (``rows.jsonl``). If it holds some of the same protocol, only
        those that are missing are run.
    n_jobs : int
        Number of processes on this machine, each with one thread; -1 takes all cores. A cluster
        uses what it has.
    backend : "loky" | "dask"
        Processes of this machine, or a dask.distributed cluster, which needs meg_vae on its
        workers.
    scheduler : str | None
        Address of the cluster's scheduler.
    verbose : bool | str | int | None
        Level of MNE's logging. The progress bar, with the time that remains, is shown at "info"
        and below.

    Returns
    -------
    benchmark : Benchmark
        The runs and their summary. A method that fails is a row with its error; one whose package
        is not installed is a row with the reason.

    Raises
    ------
    ValueError
        If the folder holds runs of another protocol, or a recipe cannot be followed.
    RuntimeError
        If another process is writing there.
    ModuleNotFoundError
        If dask.distributed is asked for and not installed.
    """
    check_backend(backend, scheduler)
    for condition in protocol.conditions:
        _check(condition, protocol.seeds)
    with workers(scheduler, n_jobs) as parallel:
        journal = Journal(Path(folder), protocol.digest)
        with journal.opened():
            done = {tuple(row[name] for name in KEY) for row in journal.rows}
            tasks = [task for task in protocol.tasks if task not in done]
            # All conditions of a seed before the next: what is there early is balanced.
            tasks.sort(key=lambda task: protocol.seeds.index(task[1]))
            recipes = {one.name: one.recipe for one in protocol.conditions}
            calls = (
                joblib.delayed(_one)(name, recipes[name], seed, METHODS[method], protocol.loose)
                for name, seed, method in tasks
            )
            hidden = logger.level > logging.INFO
            with tqdm(
                total=len(protocol.tasks),
                initial=len(done),
                desc="Benchmark",
                unit="run",
                smoothing=0.02,
                disable=hidden,
            ) as bar:
                for row in parallel(calls):
                    journal.add(row)
                    bar.update()
        table = _table(journal.rows, protocol)
    return Benchmark(protocol, table, summarize(table, protocol))


def _check(condition: Condition, seeds: tuple[int, ...]) -> None:
    try:
        check_recipe(condition.recipe, list(seeds))
    except ValueError as error:
        raise ValueError(f"condition {condition.name!r}: {error}") from error


def _one(
    condition: str, recipe: Recipe, seed: int, method: Method, loose: float | str
) -> dict[str, Any]:
    """Run one method on one recording: plain values by name."""
    with threadpool_limits(1), use_log_level("warning"):
        inputs = _inputs(recipe, seed, loose)
        row = describe(run_method(method, inputs), inputs)
    own = {"condition": condition, "seed": seed, "family": method.family}
    told = {"true_sources": inputs.n_sources, "snr_db": recipe.snr_db}
    return {name: _plain(value) for name, value in (own | told | row).items()}


@lru_cache(maxsize=1)
def _inputs(recipe: Recipe, seed: int, loose: float | str) -> Inputs:
    """Simulate and prepare; kept, because the methods of one recording run one after the other."""
    case = simulate_recording(recipe, seed)
    truth = true_sources(case.truth, recipe.hit_radius_mm, recipe.extent_mm)
    return prepare(case.evoked, case.forward, case.noise_cov, truth, loose=loose, rank=None)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    return (
        str(value)
        if isinstance(value, float) and np.isinf(value)
        else (None if isinstance(value, float) and np.isnan(value) else value)
    )


def _table(rows: list[dict[str, Any]], protocol: Protocol) -> pd.DataFrame:
    """Put rows in the order of the protocol, so that the table does not tell how it was made."""
    order = {task: k for k, task in enumerate(protocol.tasks)}
    rows = sorted(rows, key=lambda row: order[tuple(row[name] for name in KEY)])
    table = pd.DataFrame(rows, columns=[*FIRST, *protocol.metrics, "note"])
    numbers = ["snr_db", *protocol.metrics]
    table[numbers] = table[numbers].astype(float)
    return table.astype({"n_sources": "Int64"})
