"""A result as files: pictures, estimates, tables, the page and the record of the run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mne
import numpy as np
import typer
from tqdm import tqdm

from meg_vae import report
from meg_vae.cli.outputs import write_record
from meg_vae.files import whole_file
from meg_vae.meg.table import RADIUS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pandas as pd

    from meg_vae.cli.inputs import Inputs
    from meg_vae.cli.progress import Steps
    from meg_vae.comparison import Comparison
    from meg_vae.meg.inverse import VAEInverse

PAGE = "report.html"


def write_localization(
    folder: Path,
    inverse: VAEInverse,
    inputs: Inputs,
    steps: Steps,
    *,
    title: str,
    command: str,
    origin: Mapping[str, Any],
    options: Mapping[str, Any],
    truth: list[mne.Dipole] | None = None,
    comparison: Comparison | None = None,
) -> None:
    """Write a localization, and a comparison on the same data where there is one.

    ``origin`` says where the data came from; the true sources are told where they are known.
    """
    evoked, trans = inputs.evoked, inputs.forward["mri_head_t"]
    steps.start("drawing")
    pictures = report.localization_pictures(inverse, evoked, folder, truth=truth, trans=trans)
    if comparison is not None:
        head = {"subject": inverse.subject, "subjects_dir": inverse.subjects_dir}
        pictures |= report.comparison_pictures(comparison, folder, **head)
    steps.start("writing")
    inverse.sources_.to_csv(folder / "sources.csv", index=False)
    if len(inverse.responses_) > 1:
        inverse.responses_.to_csv(folder / "responses.csv", index=False)
    write_dipoles(inverse, evoked, folder / "sources.dip")
    inverse.save(folder / "inverse-vae.h5")
    in_volume = inverse.filter_.positions.kind == "volume"  # where MNE draws full ones alone
    write_estimate(inverse.apply(evoked, full=in_volume), folder, "vae")
    figures = _figures(inverse, evoked)
    if comparison is not None:
        figures["comparison"] = write_comparison(comparison, folder)
    page = report.localization_report(
        inverse,
        evoked,
        origin_of(inputs, origin, options, command),
        title=title,
        truth=truth,
        trans=trans,
        comparison=comparison,
        pictures=pictures,
    )
    write_page(folder, page, steps, figures, command=command, inputs=origin, options=options)


def origin_of(
    inputs: Inputs, origin: Mapping[str, Any], options: Mapping[str, Any], command: str
) -> report.Origin:
    """Tell a page where the data came from, and what was asked."""
    given = inputs.forward, inputs.noise_cov
    return report.Origin(*given, as_text(origin), as_text(options), command)


def write_page(
    folder: Path, page: mne.Report, steps: Steps, figures: dict[str, Any], **told: Any
) -> None:
    """Write the page, and last of all the record of the run, with the seconds of its steps."""
    report.save_report(page, folder / PAGE)
    write_record(folder, figures=figures | {"seconds": steps.seconds}, **told)


def write_dipoles(inverse: VAEInverse, evoked: mne.Evoked, path: Path) -> None:
    """Write the sources as MNE's dipole file: each at its peak, in head coordinates.

    Its confidence volume is that of the 95 % ellipsoid; of no source there is no file.
    """
    dipoles = inverse.dipoles(evoked)
    if not dipoles:
        return
    peaks = [int(np.abs(one.amplitude).argmax()) for one in dipoles]
    parts = {
        name: np.array([getattr(one, name)[k] for one, k in zip(dipoles, peaks, strict=True)])
        for name in ("times", "pos", "amplitude", "ori", "gof")
    }
    root = RADIUS**3 * np.sqrt(np.linalg.det(inverse.position_covariance_))
    conf = None if inverse.positions == "grid" else {"vol": 4 / 3 * np.pi * root}
    with whole_file(path) as part:
        mne.Dipole(**parts, name="sources", conf=conf).save(part, verbose="error")


def write_comparison(comparison: Comparison, folder: Path) -> list[dict[str, Any]]:
    """Write the table and the estimates of a comparison, and give the table as plain values."""
    table = comparison.table
    table.to_csv(folder / "comparison.csv", index=False)
    comparison.agreement.to_csv(folder / "agreement.csv", index_label="mm")
    for name, stc in comparison.estimates.items():
        write_estimate(stc, folder, name)
    return table.astype(object).where(table.notna(), None).to_dict("records")


def write_estimate(stc: mne.SourceEstimate, folder: Path, name: str) -> None:
    """Write an estimate: ``NAME-lh.stc`` and ``NAME-rh.stc``, or what suits its class.

    One volume goes to ``NAME-vl.stc``, anything else to ``NAME-stc.h5``.
    """
    one_volume = isinstance(stc, mne.VolSourceEstimate) and len(stc.vertices) == 1
    kind = "stc" if one_volume or isinstance(stc, mne.SourceEstimate) else "h5"
    stc.save(folder / name, ftype=kind, overwrite=True, verbose="error")


def as_text(values: Mapping[str, Any]) -> dict[str, str]:
    """Make values readable, of a file that is described the path; what says nothing is left out."""
    words = {}
    for name, value in values.items():
        if isinstance(value, dict):
            value = f"{value['path']} (SHA-256 {value['sha256'][:12]}…)"
        if isinstance(value, (list, tuple)):
            value = ", ".join(map(str, value))
        if value not in (None, ""):
            words[name] = str(value)
    return words


def window(evoked: mne.Evoked) -> str:
    """Name a response and its window, as "Left visual, 80 to 150 ms"."""
    first, last = 1e3 * evoked.times[[0, -1]]
    return f"{evoked.comment or 'unnamed response'}, {first:.0f} to {last:.0f} ms"


def print_table(title: str, table: pd.DataFrame, nothing: str = "none") -> None:
    """Print a short table under its title, or ``nothing`` in the place of an empty one."""
    text = nothing if table.empty else table.to_string(index=False)
    with tqdm.external_write_mode():  # above a progress bar
        typer.echo(f"{title}\n{text}\n")


def _figures(inverse: VAEInverse, evoked: mne.Evoked) -> dict[str, Any]:
    """Give the figures of a fit as plain values."""
    used, free = inverse.filter_, inverse.positions == "free"
    evidence = inverse.registration_log_evidence_
    between = {
        "growth_nats": float(inverse.growth_),
        "stationarity": float(inverse.stationarity_),
        "radius_mm": inverse.sources_["radius_mm"].tolist(),
        "extent_mm": inverse.sources_["extent_mm"].tolist(),
        "field_error": np.asarray(inverse.field_error_).tolist(),
        "n_on_wall": int(inverse.sources_["on_wall"].sum()),
        "spans_s": [None if np.isinf(a) else [a, b] for a, b in inverse.spans_.tolist()],
        "registration": inverse.registration_["trans"].tolist(),
        "registration_nats": None if np.isnan(evidence) else float(evidence),
    }
    return {
        "positions": inverse.positions,
        **(between if free else {}),
        "n_sources": len(inverse.sources_),
        "explained_variance_percent": inverse.explained_variance(evoked),
        "noise_variance": np.asarray(inverse.noise_variance_).tolist(),
        "energy": float(inverse.energy_),
        "energy_at_minimum": float(inverse.history_[-1]),
        "certificate": float(inverse.certificate_),
        "n_steps": len(inverse.history_),
        "n_effective": float(inverse.n_effective_),
        "nave": evoked.nave,
        "n_samples": len(evoked.times),
        "n_channels": len(used.ch_names),
        "rank": len(used.whitener),
    }
