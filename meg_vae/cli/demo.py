"""Simulate sources in the template head, find them, and compare."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import typer
from mne.utils import warn

from meg_vae import VAEInverse, compare, datasets
from meg_vae.cli.inputs import Inputs
from meg_vae.cli.outputs import new_folder
from meg_vae.cli.progress import Steps, bars
from meg_vae.cli.results import PAGE, print_table, write_localization
from meg_vae.comparison import METHODS
from meg_vae.comparison.methods.vae import found_by
from meg_vae.comparison.running import FAILED
from meg_vae.report.facts import truth_table
from meg_vae.viz.tables import comparison_table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import mne

    from meg_vae.comparison import Comparison, Sources
    from meg_vae.datasets.recordings import Recording

OTHERS = ("irmxne", "sloreta")  # each takes a second or two
OFF_THE_GRID = (
    "The true sources lie at vertices of the cortex that are no candidate positions, as real ones "
    "do, and point along the cortical normal; their fields are computed with the same BEM."
)


def demo(out: Path, simulation: Mapping[str, Any], *, overwrite: bool, command: str) -> None:
    """Simulate sources, find them, compare, and write all of it.

    ``simulation`` is as for `meg_vae.datasets.template_recording`.
    """
    if math.isinf(simulation["snr_db"]):
        raise ValueError(f"--snr {simulation['snr_db']:g} must be a finite number of dB.")
    if simulation["random_state"] < 0:
        raise ValueError(f"--seed {simulation['random_state']} must be a whole number from 0 on.")
    arguments = ", ".join(f"{name}={value!r}" for name, value in simulation.items())
    with new_folder(out, overwrite=overwrite) as folder, Steps("Demo", 5) as steps:
        steps.start("simulating")
        case = datasets.template_recording(**simulation, verbose=bars())
        inverse, comparison = _found(case, steps)
        print_table("True sources, and sources found", truth_table(case.truth, inverse))
        print_table("Methods compared", comparison_table(comparison.table))
        write_localization(
            folder,
            inverse,
            Inputs(case.evoked, case.forward, case.noise_cov),
            steps,
            title=f"{len(case.truth)} simulated sources at {simulation['snr_db']:g} dB",
            command=command,
            origin={
                "simulation": f"meg_vae.datasets.template_recording({arguments})",
                "note": OFF_THE_GRID,
            },
            options=simulation,
            truth=case.truth,
            comparison=comparison,
        )
    typer.echo(f"Report: {out / PAGE}")


def _found(case: Recording, steps: Steps) -> tuple[VAEInverse, Comparison]:
    """Find the sources, and compare that very fit with other methods."""
    data = (case.evoked, case.forward, case.noise_cov)
    inverse = VAEInverse(subjects_dir=case.subjects_dir)

    def fit(evoked: mne.Evoked, *_: Any, **__: Any) -> Sources:
        inverse.fit(*data)
        steps.start("comparing")
        return found_by(inverse, evoked)

    steps.start("localizing")
    methods = [replace(METHODS["vae"], run=fit), *OTHERS]
    comparison = compare(*data, methods, truth=case.truth, verbose=bars())
    own = comparison.table.iloc[0]
    if own["status"] == FAILED:  # for a comparison a result like any other
        raise RuntimeError(own["note"])
    if own["note"]:
        warn(own["note"])
    return inverse, comparison
