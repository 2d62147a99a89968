"""Run methods on many simulated recordings, by a protocol."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import typer

from meg_vae import report
from meg_vae.cli.progress import bars
from meg_vae.cli.results import PAGE, print_table
from meg_vae.comparison.benchmark import ranking, read_protocol, run_benchmark
from meg_vae.files import check_format, whole_file
from meg_vae.viz.tables import TOLD, benchmark_table

if TYPE_CHECKING:
    from pathlib import Path

COPY = "protocol.toml"


def benchmark(
    protocol_file: Path,
    out: Path,
    *,
    n_jobs: int,
    backend: str,
    scheduler: str | None,
    file_format: str,
    command: str,
) -> None:
    """Run a protocol, and write its tables, figures and page.

    Parameters
    ----------
    protocol_file : Path
        The protocol.
    out : Path
        The folder to write; runs of the same protocol that it holds are kept.
    n_jobs : int
        Number of processes.
    backend : str
        Where they are.
    scheduler : str | None
        Address of the scheduler of a cluster.
    file_format : str
        Format of the tables.
    command : str
        The command.

    Raises
    ------
    ValueError
        If the protocol cannot be run, or the folder holds runs of another one.
    RuntimeError
        If another process writes in the folder.
    """
    protocol = read_protocol(protocol_file)
    check_format(file_format)
    out = out.expanduser()
    _check_folder(out)
    run: dict[str, Any] = {"n_jobs": n_jobs, "backend": backend, "scheduler": scheduler}
    result = run_benchmark(protocol, out, verbose=bars(), **run)
    if protocol_file.resolve() != (out / COPY).resolve():
        with whole_file(out / COPY) as part:
            shutil.copyfile(protocol_file, part)
    result.save(out, file_format)
    pictures = report.benchmark_figures(result, out)
    options = {name: value for name, value in run.items() if value is not None}
    page = report.benchmark_report(result, pictures, options=options, command=command)
    report.save_report(page, out / PAGE, overwrite=True)
    conditions = [one.name for one in protocol.conditions]
    ranked = ranking(result.summary)
    if ranked.empty:
        ranked = ranking(result.summary, conditions[0])
    print_table(f"{protocol.title}: {len(result.table)} runs", benchmark_table(ranked))
    typer.echo(TOLD)
    failed = int((result.table["status"] == "failed").sum())
    if failed:
        typer.echo(f"{failed} runs failed; the reasons are in the table and on the page.")
    typer.echo(f"Report: {out / PAGE}")


def _check_folder(out: Path) -> None:
    """Leave folders alone that hold anything but a benchmark."""
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"the output folder {out} is a file; name another.")
    there = [one.name for one in out.iterdir()] if out.exists() else []
    if there and "rows.jsonl" not in there and set(there) != {COPY}:
        raise FileExistsError(
            f"the output folder {out} is not empty and holds no benchmark; name another."
        )
