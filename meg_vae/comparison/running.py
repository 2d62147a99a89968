"""One method on prepared data: an estimate, and what it was like to get it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import mne
import numpy as np
from mne.utils import use_log_level

from meg_vae.comparison.inputs import Inputs
from meg_vae.comparison.methods.registry import AM, Method
from meg_vae.comparison.metrics import Cost, Scored, score
from meg_vae.comparison.metrics.pairing import positions_of
from meg_vae.meg.estimates import active_positions

OK, EMPTY, FAILED, SKIPPED = "ok", "empty", "failed", "skipped"


@dataclass(frozen=True, eq=False)
class Run:
    """What came of a method.

    Attributes
    ----------
    method : Method
        The method.
    status : "ok" | "empty" | "failed" | "skipped"
        Whether it gave an estimate, an empty one, an error, or cannot run here.
    estimate : SourceEstimate | None
        The estimate, if there is one.
    note : str
        Its error and warnings, or the reason why it was skipped.
    cost : Cost
        Time and peak memory; not a number if it was skipped.
    """

    method: Method
    status: str
    estimate: mne.SourceEstimate | None
    note: str
    cost: Cost


def run_method(method: Method, inputs: Inputs) -> Run:
    """Run a method on data that it cannot change for the next one.

    Parameters
    ----------
    method : Method
        The method.
    inputs : Inputs
        The data.

    Returns
    -------
    run : Run
        What came of it; an error of the method is a result too.
    """
    reason = method.missing()
    if reason:
        return Run(method, SKIPPED, None, reason, Cost())
    evoked, noise_cov = inputs.evoked.copy(), inputs.noise_cov.copy()
    options: dict[str, Any] = {"loose": inputs.loose, "rank": dict(inputs.rank)}
    if method.oracle:
        options["n_sources"] = inputs.n_sources
    if method.by_trial:
        options["nave"] = inputs.nave
    estimate, error, cost = None, "", Cost()
    with warnings.catch_warnings(record=True) as caught, use_log_level("warning"):
        warnings.simplefilter("always")
        try:
            with cost:
                estimate = method.run(evoked, inputs.forward, noise_cov, **options)
            _check(estimate, inputs)
        except Exception as problem:  # whatever it is, the other methods go on
            estimate, error = None, f"{type(problem).__name__}: {problem}"
    status = FAILED if estimate is None else OK if np.any(estimate.data) else EMPTY
    return Run(method, status, estimate, _note(error, caught), cost)


def _check(estimate: Any, inputs: Inputs) -> None:
    if not hasattr(estimate, "data") or not hasattr(estimate, "vertices"):
        raise TypeError(f"the method gave {type(estimate).__name__}, not a source estimate")
    if not np.isfinite(estimate.data).all():
        raise ValueError("the estimate has values that are not finite")
    if len(positions_of(estimate, inputs.forward)) != len(estimate.data):
        raise ValueError("the estimate has not one row per vertex")
    if estimate.data.shape[-1] != len(inputs.evoked.times):
        raise ValueError("the estimate has not the samples of the data")


def _note(error: str, caught: list[warnings.WarningMessage]) -> str:
    """Join an error and what was warned about, each thing once."""
    said = [error] + [
        str(one.message)
        for one in caught
        if not issubclass(one.category, (DeprecationWarning, FutureWarning))
    ]
    return "; ".join(dict.fromkeys(" ".join(text.split()) for text in said if text))


def describe(run: Run, inputs: Inputs) -> dict[str, Any]:
    """Measure what a method found; what does not apply is left out.

    Parameters
    ----------
    run : Run
        What came of it.
    inputs : Inputs
        The data and the truth.

    Returns
    -------
    row : dict
        ``method, title, status, note``, cost, number and place of the sources, and every score.
    """
    row: dict[str, Any] = {
        "method": run.method.name,
        "title": run.method.title,
        "status": run.status,
        "note": run.note,
    }
    if run.status != SKIPPED:
        row |= {name: getattr(run.cost, name) for name in ("seconds", "cpu_seconds", "memory_mb")}
    if run.estimate is None:
        return row
    case = scored(run, inputs)
    if len(case.peak_rows):
        strongest = case.index[case.peak_rows[:1]]
        place = 1e3 * active_positions(inputs.forward, strongest).rr_mri[0]
        row |= dict(zip(("x_mm", "y_mm", "z_mm"), place, strict=True))
    if run.method.sparse:
        row["n_sources"] = int((case.magnitude > 0).sum())
    return row | score(case)


def scored(run: Run, inputs: Inputs) -> Scored:
    """Put an estimate beside what its scores need.

    Parameters
    ----------
    run : Run
        A run with an estimate.
    inputs : Inputs
        The data and the truth.

    Returns
    -------
    scored : Scored
        For `meg_vae.comparison.metrics`.
    """
    return Scored(
        estimate=run.estimate,
        sparse=run.method.sparse,
        has_field=run.method.unit == AM,
        evoked=inputs.evoked,
        leadfield=inputs.leadfield,
        forward=inputs.forward,
        truth=inputs.truth,
    )
