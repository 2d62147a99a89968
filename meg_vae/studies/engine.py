"""Rounds of subjects and group in turn: here or on a cluster, resumable after a kill anywhere."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from mne.utils import logger
from tqdm.auto import tqdm

from meg_vae._version import __version__
from meg_vae.files import locked, whole_file
from meg_vae.model.checks import MIN_LOG_EVIDENCE
from meg_vae.model.group import GroupSource, Places, find_group, volume_of_one
from meg_vae.studies.plan import Plan
from meg_vae.studies.task import Prior, read_task, run_task

STATE = "study.json"
SETTLED = 0.1  # mm: a group whose centres move by less has settled


@contextmanager
def opened(plan: Plan, out: Path) -> Iterator[None]:
    """Take a folder for a study, and keep every other process from writing there.

    Raises
    ------
    FileExistsError
        If the folder holds anything but a study.
    RuntimeError
        If another process is writing.
    ValueError
        If the folder holds a study of another configuration or program.
    """
    state, header = out / STATE, _header(plan)
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"the output folder {out} is a file; name another.")
    if out.exists() and any(out.iterdir()) and not state.is_file():
        raise FileExistsError(
            f"the output folder {out} is not empty and holds no study; name another."
        )
    out.mkdir(parents=True, exist_ok=True)
    with locked(state, "study"):
        if state.is_file():
            there = json.loads(state.read_text(encoding="utf-8"))
            differs = [name for name in header if there.get(name) != header[name]]
            if differs:
                raise ValueError(
                    f"{out} holds a study of another {' and another '.join(differs)}, and the two "
                    "are not mixed; name another folder."
                )
        else:
            with whole_file(state) as part:
                told = header | {"plan": plan.described()}
                part.write_text(json.dumps(told, indent=1, default=str), encoding="utf-8")
        yield


def _header(plan: Plan) -> dict[str, str]:
    """Tell what decides the result of a study."""
    return {"configuration": plan.digest, "meg_vae": __version__, "mne": version("mne")}


def run_rounds(
    plan: Plan, out: Path, parallel: Callable[..., Iterator[dict[str, Any]]]
) -> tuple[list[dict[str, Any]], list[GroupSource], Path]:
    """Fit all subjects, and in turn what they have in common, until neither changes.

    Returns
    -------
    rows : list of dict
        The last round's row of each subject, in the order of the plan.
    group : list of GroupSource
        The sources that they have in common; members count the subjects of ``rows``.
    folder : Path
        That of the last round.
    """
    prior: Prior | None = None
    number = 0
    rows = _round(plan, out, 0, None, parallel)
    group, volume = group_of(plan, rows)
    while group and number < plan.rounds:
        number += 1
        prior = Prior(tuple(group), volume)
        rows = _round(plan, out, number, prior, parallel)
        before = group
        group, volume = group_of(plan, rows)
        if _same(before, group):
            break
    return rows, group, _folder(out, number)


def group_of(plan: Plan, rows: list[dict[str, Any]]) -> tuple[list[GroupSource], float]:
    """Find what the subjects that could be fitted have in common."""
    places = [places_of(row) for row in rows if row["status"] == "ok"]
    if not places:
        return [], 1.0
    whole = float(np.median([row["volume_mm3"] for row in rows if row["status"] == "ok"]))
    volume = volume_of_one(whole, places)
    least = float(plan.options.get("min_log_evidence", MIN_LOG_EVIDENCE))
    found = find_group(places, volume, least, plan.min_group_evidence)
    known = np.array([row["status"] == "ok" for row in rows])
    return [one.among(known) for one in found], volume


def places_of(row: dict[str, Any]) -> Places:
    """Give the sources of one subject in the common space."""
    own = row["sources"]
    return Places(
        np.array([one["x"] for one in own]).reshape(-1, 3),
        np.array([one["covariance"] for one in own]).reshape(-1, 3, 3),
        np.array([one["log_evidence"] for one in own], float),
    )


def _round(
    plan: Plan,
    out: Path,
    number: int,
    prior: Prior | None,
    parallel: Callable[..., Iterator[dict[str, Any]]],
) -> list[dict[str, Any]]:
    """Do what is left of a round, and give the rows of all subjects."""
    folder = _folder(out, number)
    folder.mkdir(parents=True, exist_ok=True)
    done = {one.subject: read_task(one, folder, prior) for one in plan.members}
    left = [one for one in plan.members if done[one.subject] is None]
    calls = (joblib.delayed(run_task)(plan.alone(one), one, folder, prior) for one in left)
    name = "Subjects" if number == 0 else f"Subjects with their group, round {number}"
    with tqdm(
        total=len(plan.members),
        initial=len(plan.members) - len(left),
        desc=name,
        unit="subject",
        smoothing=0.02,
        disable=logger.level > logging.INFO,
    ) as bar:
        try:
            for row in parallel(calls) if left else ():
                done[row["subject"]] = row
                bar.update()
        except OSError as error:
            raise OSError(
                f"the study stopped ({error}); what is done is kept in {out}, and the same command "
                "goes on from there."
            ) from error
    return [done[one.subject] for one in plan.members]


def _folder(out: Path, number: int) -> Path:
    """Name the folder of a round."""
    return out / "rounds" / str(number)


def _same(before: list[GroupSource], after: list[GroupSource]) -> bool:
    """Whether a group has settled."""
    return len(before) == len(after) and all(
        np.array_equal(one.members >= 0, other.members >= 0)
        and np.linalg.norm(one.centre - other.centre) < SETTLED
        for one, other in zip(before, after, strict=True)
    )
