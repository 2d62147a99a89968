"""How near the VAE and a dipole fit come to the dipoles of a phantom, which are known."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from typing import Any

import joblib
import mne
import numpy as np
import pandas as pd
from mne.utils import logger, use_log_level, verbose
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

import meg_vae.model.sparse_vae  # noqa: F401 (here, so that loading torch is not timed as solving)
from meg_vae.comparison.methods.registry import N_SOURCES
from meg_vae.comparison.metrics import Cost
from meg_vae.comparison.running import EMPTY, FAILED, OK, joined_notes
from meg_vae.datasets import Phantom
from meg_vae.meg.inverse import VAEInverse
from meg_vae.meg.table import RADIUS
from meg_vae.parallel import workers

SPACING = 10.0  # mm, of the positions that the VAE starts from
# Heads and phantoms have one frame: there is no MRI.
HEAD_IS_MRI = mne.Transform("head", "mri", np.eye(4))
TITLES = {"vae": "VAE", "fit_dipole": "Dipole fit of MNE"}
TOLD = {"vae": "", "fit_dipole": N_SOURCES}
COLUMNS = [
    *("dipole", "method", "title", "told", "status", "n_sources"),
    *("position_error_mm", "orientation_error_deg", "amplitude_error_nAm"),
    *("x_mm", "y_mm", "z_mm", "amplitude_nAm", "log_evidence", "radius_mm", "inside"),
    *("seconds", "note"),
]


@dataclass(frozen=True, eq=False)
class _Case:
    """One dipole: its number, data, models, and where it is (m), along what, how strong (A·m)."""

    number: int
    evoked: mne.Evoked
    noise_cov: mne.Covariance
    forward: mne.Forward
    pos: NDArray[np.float64]
    ori: NDArray[np.float64]
    amplitude: float
    sphere: mne.bem.ConductorModel


@dataclass(frozen=True, eq=False)
class _Found:
    """What a method names: how many sources, and the first of them (m, A·m, nats)."""

    n_sources: int
    pos: NDArray[np.float64] | None = None
    moment: NDArray[np.float64] | None = None
    covariance: NDArray[np.float64] | None = None
    log_evidence: float = np.nan


@verbose
def score_phantom(
    phantom: Phantom,
    *,
    n_jobs: int = 1,
    verbose: bool | str | int | None = None,
) -> pd.DataFrame:
    """Localize every dipole of a phantom, and hold what is found against the truth.

    Parameters
    ----------
    phantom : Phantom
        The responses and the truth.
    n_jobs : int
        Number of processes, each with one thread; -1 takes all cores.
    verbose : bool | str | int | None
        Level of MNE's logging. The progress bar is shown at "info" and below.

    Returns
    -------
    table : pandas.DataFrame
        A row per dipole, from 1, and method: ``dipole, method, title, told, status, n_sources``
        (named), errors of place (mm), orientation (degrees, of the line) and amplitude (nAm, found
        less true) of the source named first, its place in head coordinates, its
        ``amplitude_nAm``, ``log_evidence`` and ``radius_mm``, whether the ellipsoid of its place
        (probability 0.95) is around the truth (``inside``; missing for the dipole fit, which gives
        none), seconds, and errors and warnings in ``note``. What was not found, or is not known of
        the phantom, is missing.

    Notes
    -----
    `mne.fit_dipole` is given one sample of one dipole, the noise covariance and the sphere model,
    as in MNE's tutorials. `VAEInverse`, with its defaults, is given the same, in a volume source
    space of the sphere, and is not told that there is one source.
    """
    cases = _cases(phantom)
    calls = (joblib.delayed(_row)(case, method) for case in cases for method in TITLES)
    rows = []
    hidden = logger.level > logging.INFO
    total = len(cases) * len(TITLES)
    with workers(None, n_jobs) as parallel:
        with tqdm(total=total, desc="Phantom", unit="fit", disable=hidden) as bar:
            for row in parallel(calls):
                rows.append(row)
                bar.update()
    table = pd.DataFrame(rows, columns=COLUMNS)
    order = table["method"].map({name: k for k, name in enumerate(TITLES)})
    table = table.assign(order=order).sort_values(["dipole", "order"], ignore_index=True)
    types = {"n_sources": "Int64", "inside": "boolean"}
    return table.drop(columns="order").astype(types)


def _cases(phantom: Phantom) -> list[_Case]:
    """Take a phantom apart; dipoles of the same sensors have one forward model."""
    src = mne.setup_volume_source_space(
        pos=SPACING,
        sphere=phantom.sphere,
        sphere_units="m",
        add_interpolator=False,
        verbose="warning",
    )
    made: dict[bytes, mne.Forward] = {}
    cases = []
    truth = zip(phantom.pos, phantom.ori, phantom.amplitude, strict=True)
    data = zip(phantom.evokeds, phantom.noise_covs, strict=True)
    for (evoked, noise_cov), (pos, ori, amplitude) in zip(data, truth, strict=True):
        info = evoked.info
        sensors = "".join(info.ch_names).encode() + info["dev_head_t"]["trans"].tobytes()
        if sensors not in made:
            # a sensor may be within the sphere, which is larger than phantoms are
            options = {"eeg": False, "on_inside": "ignore", "verbose": "warning"}
            made[sensors] = mne.make_forward_solution(
                info, HEAD_IS_MRI, src, phantom.sphere, **options
            )
        forward, number = made[sensors], len(cases) + 1
        known = {"pos": pos, "ori": ori, "amplitude": amplitude, "sphere": phantom.sphere}
        cases.append(_Case(number, evoked, noise_cov, forward, **known))
    return cases


def _row(case: _Case, method: str) -> dict[str, Any]:
    """Localize one dipole by one method; an error of the method is a result too."""
    locate = {"vae": _by_vae, "fit_dipole": _by_fit_dipole}[method]
    found, error, cost = None, "", Cost()
    with (
        threadpool_limits(1),
        use_log_level("warning"),
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always")
        try:
            with cost:
                found = locate(case)
        except Exception as problem:  # whatever it is, the other dipoles go on
            error = f"{type(problem).__name__}: {problem}"
    row = {
        "dipole": case.number,
        "method": method,
        "title": TITLES[method],
        "told": TOLD[method],
        "status": FAILED if found is None else OK if found.n_sources else EMPTY,
        "seconds": cost.seconds,
        "note": joined_notes(error, caught),
    }
    return row if found is None else row | _scores(found, case)


def _by_vae(case: _Case) -> _Found:
    data = (case.evoked, case.forward, case.noise_cov)
    inverse = VAEInverse().fit(*data, bem=case.sphere, trans=HEAD_IS_MRI)
    dipoles = inverse.dipoles()
    if not dipoles:
        return _Found(0)
    first = dipoles[0]
    return _Found(
        len(dipoles),
        first.pos[0],
        first.amplitude[0] * first.ori[0],
        inverse.position_covariance_[0],
        float(inverse.sources_["log_evidence"].iloc[0]),
    )


def _by_fit_dipole(case: _Case) -> _Found:
    dipole, _ = mne.fit_dipole(case.evoked, case.noise_cov, case.sphere)
    return _Found(1, dipole.pos[0], dipole.amplitude[0] * dipole.ori[0])


def _scores(found: _Found, case: _Case) -> dict[str, Any]:
    """Hold the source named first against the truth; what does not apply is left out."""
    scores: dict[str, Any] = {"n_sources": found.n_sources}
    if found.pos is None or found.moment is None:
        return scores
    off, size = found.pos - case.pos, float(np.linalg.norm(found.moment))
    cosine = abs(found.moment @ case.ori) / size
    scores |= dict(zip(("x_mm", "y_mm", "z_mm"), 1e3 * found.pos, strict=True))
    scores |= {
        "position_error_mm": 1e3 * float(np.linalg.norm(off)),
        "orientation_error_deg": float(np.rad2deg(np.arccos(np.minimum(cosine, 1.0)))),
        "amplitude_error_nAm": 1e9 * (size - case.amplitude),
        "amplitude_nAm": 1e9 * size,
        "log_evidence": found.log_evidence,
    }
    if found.covariance is not None:
        longest = np.linalg.eigvalsh(found.covariance)[-1] ** 0.5
        scores["radius_mm"] = 1e3 * RADIUS * float(longest)
        scores["inside"] = bool(off @ np.linalg.solve(found.covariance, off) <= RADIUS**2)
    return scores


def summarize_phantom(table: pd.DataFrame) -> pd.DataFrame:
    """Average the scores of a phantom over its dipoles.

    Parameters
    ----------
    table : pandas.DataFrame
        As `score_phantom` gives it.

    Returns
    -------
    summary : pandas.DataFrame
        A row per method: ``method, title, told``, how many dipoles there are (``n_dipoles``), were
        found (``n_found``) and found as one source alone (``n_alone``); mean and largest error of
        place, mean error of orientation, mean size of the error of amplitude, mean ``radius_mm``
        and share ``inside`` of the dipoles that were found; mean seconds.
    """
    rows = []
    for (method, title, told), own in table.groupby(["method", "title", "told"], sort=False):
        found = own[own["status"] == OK]
        row = {
            "method": method,
            "title": title,
            "told": told,
            "n_dipoles": len(own),
            "n_found": len(found),
            "n_alone": int((found["n_sources"] == 1).sum()),
            "position_error_mm": found["position_error_mm"].mean(),
            "largest_error_mm": found["position_error_mm"].max(),
            "orientation_error_deg": found["orientation_error_deg"].mean(),
            "amplitude_error_nAm": found["amplitude_error_nAm"].abs().mean(),
            "radius_mm": found["radius_mm"].mean(),
            "inside": found["inside"].astype(float).mean(),
            "seconds": own["seconds"].mean(),
        }
        rows.append(row)
    return pd.DataFrame(rows)
