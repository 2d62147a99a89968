"""Tables of benchmarks: of long runs that can go on, and of scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import typer
from joblib import Parallel, delayed
from tqdm.auto import tqdm

from meg_vae.files import whole_file


def resumed(
    work: Callable[..., list[dict[str, Any]]],
    cells: Sequence[tuple[Any, ...]],
    done: pd.DataFrame,
    path: Path,
    *,
    jobs: int = 1,
    every: int = 1,
    desc: str = "recordings",
    float_format: str = "%.6g",
) -> pd.DataFrame:
    """Do pieces of work, and write their table on the way: a run that is cut short can go on.

    Parameters
    ----------
    work : callable
        Turns the arguments of one piece into rows of the table.
    cells : sequence of tuple
        Arguments of every piece that is still to be done.
    done : DataFrame
        The rows that there are.
    path : Path
        The table.
    jobs : int
        Processes; -1 takes all processors.
    every : int
        Pieces after which the table is written.
    desc : str
        What the progress bar says.
    float_format : str
        Of the table.

    Returns
    -------
    table : DataFrame
        Rows that there were, and those of the cells behind them.
    """
    rows: list[dict[str, Any]] = []
    parts = Parallel(n_jobs=jobs, return_as="generator")(delayed(work)(*cell) for cell in cells)
    for k, part in enumerate(tqdm(parts, desc=desc, total=len(cells)), 1):
        rows += part
        if k % every == 0 or k == len(cells):
            table = pd.concat([done, pd.DataFrame(rows)], ignore_index=True)
            with whole_file(path) as file:
                table.to_csv(file, index=False, float_format=float_format)
    return table if len(cells) else done


def write_scores(
    name: str, scores: pd.DataFrame, out: Path, shown: pd.DataFrame | None = None
) -> None:
    """Write scores as ``name.csv`` and print them, or the part of them that is ``shown``.

    Parameters
    ----------
    name : str
        Name of the file.
    scores : DataFrame
        What is written, to four digits.
    out : Path
        Folder.
    shown : DataFrame | None
        What is printed.
    """
    with whole_file(out / f"{name}.csv") as part:
        scores.to_csv(part, index=False, float_format="%.4g")
    shown = scores if shown is None else shown
    typer.echo(shown.to_string(index=False, float_format="%.3g"))
