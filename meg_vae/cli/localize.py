"""Find the sources of an evoked response in files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from meg_vae import VAEInverse
from meg_vae.cli.inputs import read_inputs
from meg_vae.cli.outputs import describe_files, new_folder
from meg_vae.cli.progress import Steps
from meg_vae.cli.results import PAGE, print_table, window, write_localization
from meg_vae.viz.tables import responses_by_source, sources_table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from meg_vae.cli.preparation import DataOptions


def localize(
    out: Path, data: DataOptions, options: Mapping[str, Any], *, overwrite: bool, command: str
) -> None:
    """Find the sources of an evoked response, and write them; options are `VAEInverse`'s."""
    with new_folder(out, overwrite=overwrite) as folder, Steps("Localize", 4) as steps:
        steps.start("reading")
        inputs = read_inputs(data)
        steps.start("localizing")
        inverse = VAEInverse(**options).fit(
            inputs.fitted,
            inputs.forward,
            inputs.noise_cov,
            bem=inputs.bem,
            trans=inputs.trans,
            weights=inputs.weights,
        )
        title = f"Sources of {window(inputs.evoked)}"
        _tell(title, inverse)  # the pictures take seconds more
        write_localization(
            folder,
            inverse,
            inputs,
            steps,
            title=title,
            command=command,
            origin=describe_files(data.files),
            options=data.preparation | dict(options),
        )
    typer.echo(f"Report: {out / PAGE}")


def _tell(title: str, inverse: VAEInverse) -> None:
    """Print the sources that were found."""
    print_table(title, sources_table(inverse.sources_))
    if len(inverse.responses_) > 1:
        counts = responses_by_source(inverse.responses_, inverse.active_, inverse.sources_)
        print_table(f"Of {len(inverse.responses_)} responses", counts)
