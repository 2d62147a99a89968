"""Run several methods on an evoked response in files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from meg_vae import compare as run_methods
from meg_vae import report
from meg_vae.cli.inputs import read_inputs
from meg_vae.cli.outputs import describe_files, new_folder
from meg_vae.cli.progress import Steps, bars
from meg_vae.cli.results import (
    PAGE,
    origin_of,
    print_table,
    window,
    write_comparison,
    write_page,
)
from meg_vae.comparison import METHODS
from meg_vae.viz.tables import comparison_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from meg_vae.cli.preparation import DataOptions


def compare(
    out: Path,
    data: DataOptions,
    methods: Sequence[str],
    options: Mapping[str, Any],
    head: Mapping[str, Any],
    *,
    overwrite: bool,
    command: str,
) -> None:
    """Run several methods on an evoked response, and write what they find.

    ``options`` are as for `meg_vae.compare`; ``head`` is ``subject`` and ``subjects_dir``.
    """
    _check_methods(methods)
    if options["n_folds"] < 2:
        raise ValueError(f"--folds {options['n_folds']} must be a whole number from 2 on.")
    with new_folder(out, overwrite=overwrite) as folder, Steps("Compare", 4) as steps:
        steps.start("reading")
        inputs = read_inputs(data)
        evoked, forward, noise_cov = inputs.compared, inputs.forward, inputs.noise_cov
        title = f"Methods compared on {window(evoked)}"
        steps.start("running the methods")
        own = {"epochs": inputs.epochs, "weights": inputs.weights}
        data_of_all = {**own, "verbose": bars(), **options}
        comparison = run_methods(evoked, forward, noise_cov, methods, **data_of_all)
        if not comparison.estimates:
            raise RuntimeError(f"every method failed: {'; '.join(comparison.table['note'])}")
        print_table(title, comparison_table(comparison.table))
        steps.start("drawing")
        pictures = report.comparison_pictures(comparison, folder, **head)
        steps.start("writing")
        figures = {"nave": evoked.nave, "methods": write_comparison(comparison, folder)}
        origin = describe_files(data.files)
        asked = data.preparation | dict(options) | {"methods": list(methods)}
        told = origin_of(inputs, origin, asked, command)
        page = report.comparison_report(comparison, evoked, told, title=title, pictures=pictures)
        write_page(folder, page, steps, figures, command=command, inputs=origin, options=asked)
    typer.echo(f"Report: {out / PAGE}")


def _check_methods(methods: Sequence[str]) -> None:
    unknown = [name for name in methods if name not in METHODS]
    if unknown or not methods:
        problem = f"{unknown[0]!r} is no method" if unknown else "--methods names none"
        raise ValueError(f"{problem}; choose from {', '.join(METHODS)}.")
