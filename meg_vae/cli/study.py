"""Find the sources of many subjects, and those that they have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from meg_vae import report
from meg_vae.cli.progress import bars
from meg_vae.cli.results import PAGE, print_table
from meg_vae.report.study import GROUP, group_rows
from meg_vae.studies import make_plan
from meg_vae.studies import study as run_study
from meg_vae.viz.tables import readable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FAILED = 1  # exit status where some subjects could not be fitted


def study(
    recordings: Path,
    out: Path,
    choices: Mapping[str, Any],
    *,
    n_jobs: int,
    scheduler: str | None,
    file_format: str,
    pages: bool,
    command: str,
) -> None:
    """Run a study, and write its tables, figures and pages.

    ``choices`` replace, or add to, the configuration, as for `meg_vae.study`. The exit status is 1
    where some subjects could not be fitted.
    """
    plan = make_plan(recordings, **choices)
    run: dict[str, Any] = {"n_jobs": n_jobs, "scheduler": scheduler, "file_format": file_format}
    result = run_study(plan, out, verbose=bars(), **run)
    pictures = report.study_pictures(result, result.folder)
    page = report.study_report(result, pictures=pictures, command=command)
    report.save_report(page, result.folder / PAGE, overwrite=True)
    if pages:
        report.subject_pages(result)
    title = f"{plan.title}: {len(result.recordings)} subjects"
    print_table(title, readable(group_rows(result.group), GROUP))
    typer.echo(f"Report: {result.folder / PAGE}")
    if (result.recordings["status"] == "failed").any():
        raise typer.Exit(FAILED)
