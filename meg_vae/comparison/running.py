"""One method on prepared data: an estimate, and what it was like to get it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import mne
import numpy as np
from mne.utils import use_log_level
from numpy.typing import NDArray

from meg_vae.comparison.inputs import Inputs
from meg_vae.comparison.methods.conversions import at_nearest_positions
from meg_vae.comparison.methods.registry import AM, Method, Sources
from meg_vae.comparison.metrics import Cost, Scored, score
from meg_vae.comparison.metrics.fit import whitened_dipole_field, whitened_field
from meg_vae.comparison.metrics.pairing import positions_of

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
        The estimate, if there is one. Of a method that names places, each source is at the position
        nearest to it.
    note : str
        Its error and warnings, or the reason why it was skipped.
    cost : Cost
        Time and peak memory; not a number if it was skipped.
    dipoles : list of mne.Dipole | None
        The sources at their places, where the method named places.
    extents_mm : ndarray, shape (n_found,) | None
        Their radii, 0 for points, where the method knows larger ones.
    field : ndarray, shape (rank, n_times) | None
        What the sources put on the whitened sensors, from their places; None if they are not in
        A·m.
    """

    method: Method
    status: str
    estimate: mne.SourceEstimate | None
    note: str
    cost: Cost
    dipoles: list[mne.Dipole] | None = None
    extents_mm: NDArray[np.float64] | None = None
    field: NDArray[np.float64] | None = None


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
    if method.weighted and inputs.weights is not None:
        options["weights"] = inputs.weights
    estimate, dipoles, extents, field, error, cost = None, None, None, None, "", Cost()
    with warnings.catch_warnings(record=True) as caught, use_log_level("warning"):
        warnings.simplefilter("always")
        try:
            with cost:
                found = method.run(evoked, inputs.forward, noise_cov, **options)
            if isinstance(found, Sources):
                _check_dipoles(found.dipoles, inputs)
                dipoles, extents = found.dipoles, found.extents_mm
                field = inputs.leadfield.whitener @ found.fitted.data
                found = found.estimate
            elif isinstance(found, list):
                _check_dipoles(found, inputs)
                dipoles, found = found, at_nearest_positions(found, inputs.forward, inputs.evoked)
            _check(found, inputs)
            if method.unit == AM and field is None:
                field = _field(found, dipoles, inputs)
            estimate = found
        except Exception as problem:  # whatever it is, the other methods go on
            dipoles, extents, field = None, None, None
            error = f"{type(problem).__name__}: {problem}"
    status = FAILED if estimate is None else OK if np.any(estimate.data) else EMPTY
    return Run(method, status, estimate, joined_notes(error, caught), cost, dipoles, extents, field)


def _field(
    estimate: mne.SourceEstimate, dipoles: list[mne.Dipole] | None, inputs: Inputs
) -> NDArray[np.float64]:
    """Compute the field of what a method found, where it is."""
    if dipoles is None:
        return whitened_field(estimate, inputs.leadfield, inputs.forward)
    return whitened_dipole_field(dipoles, inputs.leadfield, inputs.forward, inputs.evoked)


def _check_dipoles(dipoles: list[Any], inputs: Inputs) -> None:
    if not all(isinstance(one, mne.Dipole) for one in dipoles):
        raise TypeError("the method gave a list, and not all of it are dipoles")
    for one in dipoles:
        if len(one.times) != len(inputs.evoked.times):
            raise ValueError("the dipoles have not the samples of the data")
        if not all(np.isfinite(part).all() for part in (one.pos, one.amplitude, one.ori)):
            raise ValueError("the dipoles have values that are not finite")


def _check(estimate: Any, inputs: Inputs) -> None:
    if not hasattr(estimate, "data") or not hasattr(estimate, "vertices"):
        kind = type(estimate).__name__
        raise TypeError(f"the method gave {kind}, neither a source estimate nor a list of dipoles")
    if not np.isfinite(estimate.data).all():
        raise ValueError("the estimate has values that are not finite")
    if len(positions_of(estimate, inputs.forward)) != len(estimate.data):
        raise ValueError("the estimate has not one row per vertex")
    if estimate.data.shape[-1] != len(inputs.evoked.times):
        raise ValueError("the estimate has not the samples of the data")


def joined_notes(error: str, caught: list[warnings.WarningMessage]) -> str:
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
        to_mri = mne.transforms.invert_transform(inputs.forward["mri_head_t"])
        strongest = case.found_rr[case.peak_rows[0]] / 1e3
        place = 1e3 * mne.transforms.apply_trans(to_mri, strongest)
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
        field=run.field,
        evoked=inputs.evoked,
        leadfield=inputs.leadfield,
        truth=inputs.truth,
        dipoles=run.dipoles,
        extents_mm=run.extents_mm,
    )
