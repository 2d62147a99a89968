"""One subject of a study: from its files to its sources on fsaverage, written whole."""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mne
import numpy as np
from mne.utils import use_log_level
from threadpoolctl import threadpool_limits

from meg_vae.files import whole_file
from meg_vae.meg.arguments import as_covariance, as_forward
from meg_vae.meg.inverse import VAEInverse
from meg_vae.model.group import GroupSource, group_weights
from meg_vae.studies.members import Member
from meg_vae.studies.plan import Plan, responses
from meg_vae.studies.space import Warp, volume_of, warp_of

STEP = 0.1  # mm, of differences that give the gradient of the group's prior
AXES = ("x_mm", "y_mm", "z_mm")


@dataclass(frozen=True)
class Prior:
    """What a group says of the places of its subjects."""

    group: tuple[GroupSource, ...]
    volume: float

    @property
    def digest(self) -> str:
        """Tell it from any other prior."""
        whole = hashlib.sha256(np.float64(self.volume).tobytes())
        for one in self.group:
            for part in (one.members, one.share, one.centres, one.covariances):
                whole.update(np.ascontiguousarray(part).tobytes())
        return whole.hexdigest()[:16]

    def weights(self, x: np.ndarray, unsure: np.ndarray) -> np.ndarray:
        """Log prior odds in nats at places (m, 3) on fsaverage, known to a covariance."""
        return group_weights(self.group, x, unsure, self.volume)

    def pull(self, x: np.ndarray, unsure: np.ndarray) -> np.ndarray:
        """Gradient of that, nats/mm (m, 3)."""
        rows = []
        for axis in STEP * np.eye(3):
            rise = self.weights(x + axis, unsure) - self.weights(x - axis, unsure)
            rows.append(rise / (2 * STEP))
        return np.stack(rows, 1)


def run_task(plan: Plan, member: Member, folder: Path, prior: Prior | None) -> dict[str, Any]:
    """Find the sources of one subject, and write them; a failure is told in the row.

    Parameters
    ----------
    plan : Plan
        The study.
    member : Member
        The subject.
    folder : Path
        Where to write ``<subject>-vae.h5`` and, last of all, ``<subject>.json``.
    prior : Prior | None
        What the group says of its places.

    Returns
    -------
    row : dict
        What the JSON file holds.

    Raises
    ------
    OSError
        If the results cannot be written.
    """
    since = time.perf_counter()
    row: dict[str, Any] = {"subject": member.subject, "inputs": stamp(member)}
    row["prior"] = None if prior is None else prior.digest
    with threadpool_limits(1), use_log_level("error"), warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            inverse, own = localize(plan, member, prior)
        except Exception as error:  # noqa: BLE001 (the study goes on, and says why)
            inverse = None
            row |= {"status": "failed", "reason": " ".join(str(error).split()) or repr(error)}
        else:
            row |= own | {"status": "ok", "reason": ""}
    row["warnings"] = _said(told)
    row["seconds"] = time.perf_counter() - since
    if inverse is not None:
        inverse.save(folder / f"{member.subject}-vae.h5", overwrite=True)
    with whole_file(folder / f"{member.subject}.json") as part:
        part.write_text(json.dumps(row, ensure_ascii=False), encoding="utf-8")
    return row


def _said(told: list[warnings.WarningMessage]) -> list[str]:
    """List what a fit warned of, each once; what libraries tell their developers is left out."""
    own = [one for one in told if issubclass(one.category, RuntimeWarning)]
    return list(dict.fromkeys(" ".join(str(one.message).split()) for one in own))


def stamp(member: Member) -> list[list[float]]:
    """Tell the files of a subject from others of the same names."""
    files = [path.stat() if path.is_file() else None for path in member.files]
    return [[0, 0] if one is None else [one.st_size, one.st_mtime_ns] for one in files]


def read_task(member: Member, folder: Path, prior: Prior | None) -> dict[str, Any] | None:
    """Give the row of a finished task; None if it is to be done.

    It is done anew where its files have changed or, in the others, the group that it was done with.
    """
    path = folder / f"{member.subject}.json"
    if not path.is_file():
        return None
    row: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    same = row["inputs"] == stamp(member) and row["prior"] == (prior and prior.digest)
    return row if row["status"] == "ok" and same else None


def localize(plan: Plan, member: Member, prior: Prior | None) -> tuple[VAEInverse, dict[str, Any]]:
    """Fit the responses of one subject, which share their sources in all runs and conditions."""
    data = [responses(run.evoked, plan) for run in member.runs]
    forwards = [as_forward(run.forward) for run in member.runs]
    covs = [as_covariance(run.noise_cov) for run in member.runs]
    warp = warp_of(forwards[0], member.head, plan.subjects_dir, plan.space)
    volume, weights = volume_of(warp), None
    if prior is not None and prior.group:
        weights = prior.weights(*warp(warp.positions))
    inverse = VAEInverse(
        **plan.options, subject=member.head, subjects_dir=plan.subjects_dir, verbose="error"
    )
    given = (data, forwards, covs) if len(data) > 1 else (data[0], forwards[0], covs[0])
    head = [run for run in member.runs if run.bem is not None and run.trans is not None]
    known = {"bem": head[0].bem, "trans": head[0].trans} if head else {}
    inverse.fit(*given, weights=weights, **known)
    sources = _on_average(inverse, forwards[0], warp, prior)
    courses = _amplitudes(inverse, data)
    said = np.nan_to_num(inverse.response_evidence_, nan=0.0)
    if inverse.active_.shape[1] == 1:
        said = inverse.sources_["log_evidence"].to_numpy(float)[:, None]
    names = [one.comment or "response" for one in data[0]]
    for k, source in enumerate(sources):
        source["conditions"] = {
            name: {
                "peak_nAm": courses[k, c],
                "log_evidence": float(said[k, c]),
                "active": bool(inverse.active_[k, c]),
            }
            for c, name in enumerate(names)
        }
    facts = {"volume_mm3": volume, "noise_variance": float(np.mean(inverse.noise_variance_))}
    return inverse, facts | {"sources": sources}


def _on_average(
    inverse: VAEInverse, forward: mne.Forward, warp: Warp, prior: Prior | None
) -> list[dict[str, Any]]:
    """Carry the sources to fsaverage, as the data alone put them.

    A prior w draws a place by its covariance times ∇w, which is taken back: the group is to learn
    from the data, and not from itself.
    """
    table = inverse.sources_
    places = table[list(AXES)].to_numpy(float).reshape(-1, 3)
    turn = forward["mri_head_t"]["trans"][:3, :3].T  # from head to MRI
    own = 1e6 * turn @ inverse.position_covariance_ @ turn.T
    x, unsure = warp(places) if len(places) else (places, np.zeros((0, 3, 3)))
    own = warp.covariance(own)
    weight = np.zeros(len(x))
    if prior is not None and prior.group and len(x):
        weight = prior.weights(x, unsure)
        back = np.einsum("mij,mj->mi", own, prior.pull(x, unsure))
        most = 3 * np.sqrt(np.trace(own, axis1=1, axis2=2))
        size = np.linalg.norm(back, axis=1)
        x = x - back * np.minimum(1.0, most / np.maximum(size, 1e-300))[:, None]
    rows = []
    for k, row in enumerate(table.to_dict("records")):
        rows.append(
            {name: _plain(value) for name, value in row.items()}
            | {"x": x[k].tolist(), "covariance": (own + unsure)[k].tolist()}
            | {"weight": float(weight[k])}
        )
    return rows


def _amplitudes(inverse: VAEInverse, data: list[list[mne.Evoked]]) -> np.ndarray:
    """Largest amplitude of each source in each condition, nAm, mean over runs (m, n_conditions)."""
    peaks = [
        [[1e9 * dipole.amplitude.max() for dipole in inverse.dipoles(one)] for one in own]
        for own in data
    ]
    return np.array(peaks).reshape(len(data), len(data[0]), -1).mean(0).T


def _plain(value: Any) -> Any:
    """Turn a number of NumPy into one of Python."""
    return value.item() if isinstance(value, np.generic) else value
