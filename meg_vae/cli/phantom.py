"""Score the VAE and MNE's dipole fit on a phantom."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from meg_vae import datasets, report
from meg_vae.cli.outputs import new_folder, write_record
from meg_vae.cli.progress import Steps, bars
from meg_vae.cli.results import PAGE, as_text, print_table
from meg_vae.comparison import score_phantom, summarize_phantom
from meg_vae.datasets.phantoms import phantom_folder
from meg_vae.files import check_format, write_table
from meg_vae.viz.tables import TOLD

if TYPE_CHECKING:
    from pathlib import Path


def phantom(
    kind: str,
    data: Path | None,
    out: Path,
    *,
    n_jobs: int,
    file_format: str,
    overwrite: bool,
    command: str,
) -> None:
    """Localize the dipoles of a phantom, and write table, figure and page.

    Parameters
    ----------
    kind : str
        The phantom, as of `meg_vae.datasets.phantom`.
    data : Path | None
        Where its dataset lies; None asks MNE.
    out : Path
        The folder to write.
    n_jobs : int
        Number of processes.
    file_format : str
        Format of the table.
    overwrite : bool
        Whether to replace the folder of an earlier run.
    command : str
        The command.

    Raises
    ------
    FileNotFoundError
        If the dataset is not there.
    FileExistsError
        If the output folder is not free.
    ValueError
        If there is no such phantom or format, or the files are not those of the dataset.
    """
    check_format(file_format)
    folder_of_data = phantom_folder(kind, data)
    options = {"n_jobs": n_jobs}
    with new_folder(out, overwrite=overwrite) as folder, Steps("Phantom", 4) as steps:
        steps.start("reading")
        case = datasets.phantom(kind, folder_of_data)
        steps.start("localizing")
        table = score_phantom(case, n_jobs=n_jobs, verbose=bars())
        steps.start("drawing")
        picture = report.phantom_figure(table, case.title, folder)
        steps.start("writing")
        write_table(table, folder / f"phantom.{file_format}")
        told = as_text({"dataset": folder_of_data, **options})
        page = report.phantom_report(table, case.title, picture, facts_of=told, command=command)
        report.save_report(page, folder / PAGE)
        summary = summarize_phantom(table)
        figures = {
            "methods": summary.astype(object).where(summary.notna(), None).to_dict("records"),
            "seconds": steps.seconds,
        }
        inputs = {"phantom": kind, "dataset": str(folder_of_data)}
        write_record(folder, command=command, inputs=inputs, options=options, figures=figures)
    print_table(f"{case.title}: {len(case.evokeds)} dipoles", report.phantom_summary(table))
    typer.echo(TOLD)
    failed = int((table["status"] == "failed").sum())
    if failed:
        typer.echo(f"{failed} fits failed; the reasons are in the table and on the page.")
    typer.echo(f"Report: {out / PAGE}")
