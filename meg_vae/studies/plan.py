"""What a study does: who takes part, which responses, and how; checked whole before any work."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pandas as pd

from meg_vae.meg.inverse import VAEInverse
from meg_vae.model.checks import check_option
from meg_vae.studies.bids import members_of_bids
from meg_vae.studies.members import Member, members_of_table
from meg_vae.studies.space import SPACES

ASKED = 3.0  # nats that a group source must carry: odds of 20 to 1
ROUNDS = 3
LEFT_OUT = ("subject", "subjects_dir", "verbose")  # options of an inverse that a study gives itself
BIDS = ("task", "session", "derivatives")
SHOWN = 12  # problems listed at most


@dataclass(frozen=True)
class Plan:
    """What a study does.

    Attributes
    ----------
    members : tuple of Member
        The subjects and their files.
    conditions : tuple of str
        Comments of the responses, which share their sources; empty takes the only one of each file.
    tmin, tmax : float | None
        Window of interest in s; None: from the start, to the end.
    subjects_dir : Path | None
        FreeSurfer folder; None takes MNE's setting.
    space : "auto" | "surface" | "affine"
        How places come to fsaverage: by the registered spheres of the cortex, by the Talairach
        transform, or by the first that a subject has.
    rounds : int
        Rounds of subjects and group in turn, at most; 0 fits each subject by itself, and its
        sources are then grouped as they are.
    min_group_evidence : float
        Log evidence that a group source must carry, in nats.
    options : mapping
        Options of `VAEInverse`.
    title : str
        Title of the report.
    """

    members: tuple[Member, ...]
    conditions: tuple[str, ...] = ()
    tmin: float | None = None
    tmax: float | None = None
    subjects_dir: Path | None = None
    space: str = "auto"
    rounds: int = ROUNDS
    min_group_evidence: float = ASKED
    options: Mapping[str, Any] = field(default_factory=dict)
    title: str = "Study"

    def __post_init__(self) -> None:
        """Refuse options that are none."""
        check_option("space", self.space, SPACES)
        if not (isinstance(self.rounds, int) and not isinstance(self.rounds, bool)) or not (
            0 <= self.rounds <= 20
        ):
            raise ValueError(f"rounds={self.rounds!r} must be a whole number from 0 to 20.")
        if not np.isfinite(self.min_group_evidence):
            raise ValueError(
                f"min_group_evidence={self.min_group_evidence!r} must be a number of nats."
            )
        known = [name for name in VAEInverse().get_params() if name not in LEFT_OUT]
        unknown = [name for name in self.options if name not in known]
        if unknown:
            raise ValueError(
                f"options has {unknown[0]!r}, which is no option that a study gives to VAEInverse; "
                f"there are {', '.join(known)}."
            )
        if self.options.get("positions", "free") != "free":
            raise ValueError("options has positions='grid', and a study needs 'free'.")
        VAEInverse(**self.options).check()
        for name in ("tmin", "tmax"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, (int, float)):
                raise ValueError(f"{name}={value!r} must be a number of s.")
        if None not in (self.tmin, self.tmax) and not self.tmin < self.tmax:
            raise ValueError(f"tmin={self.tmin} s must be before tmax={self.tmax} s.")
        names = [one.subject for one in self.members]
        twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        if twice:
            raise ValueError(f"there are two subjects of the name {twice[0]!r}; give another name.")
        if not names:
            raise ValueError("there is no recording in this study.")
        odd = [name for name in names if Path(name).name != name or name.startswith(".")]
        if odd:
            raise ValueError(f"subject {odd[0]!r} must be a name that a file can have.")

    def described(self) -> dict[str, Any]:
        """Give all of it as plain values."""
        own = {name: value for name, value in vars(self).items() if name != "members"}
        runs = {
            one.subject: {
                "runs": [{k: str(path) for k, path in run.files.items()} for run in one.runs],
                "head": one.head,
                "group": one.group,
            }
            for one in self.members
        }
        folder = None if self.subjects_dir is None else str(self.subjects_dir)
        return own | {"subjects_dir": folder, "options": dict(self.options), "members": runs}

    def alone(self, member: Member) -> Plan:
        """Give the plan of one subject, which is all that its task has to know."""
        return replace(self, members=(member,))

    @property
    def digest(self) -> str:
        """Fingerprint of all that decides the result but the content of the files."""
        text = json.dumps(self.described(), sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def check(self) -> None:
        """Look at every file, and list all that is missing or does not fit together.

        Raises
        ------
        ValueError
            With each problem in a line of its own.
        """
        problems = []
        for member in self.members:
            for k, run in enumerate(member.runs):
                where = member.subject + (f", run {k + 1}" if len(member.runs) > 1 else "")
                problems += [
                    f"{where}: there is no file {path} ({name})"
                    for name, path in run.files.items()
                    if not path.is_file()
                ]
        if not problems:
            problems = self._mismatches()
        if problems:
            more = f"\n  ... and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
            lines = "".join(f"\n  {one}" for one in problems[:SHOWN])
            count = "one problem" if len(problems) == 1 else f"{len(problems)} problems"
            raise ValueError(f"the study cannot begin for {count}:{lines}{more}")

    def _mismatches(self) -> list[str]:
        """List responses that are missing, or of another rate or window than the first."""
        problems: list[str] = []
        first: tuple[float, float, float] | None = None
        for member in self.members:
            for run in member.runs:
                try:
                    there = mne.read_evokeds(run.evoked, verbose="error")
                except Exception:  # noqa: BLE001 (a damaged file is a row of its own, not the end)
                    continue
                try:
                    found = chosen(there, run.evoked.name, self)
                except ValueError as error:
                    problems.append(f"{member.subject}: {error}")
                    continue
                own = found[0].info["sfreq"], found[0].times[0], found[0].times[-1]
                first = first or own
                for name, mine, other, unit in zip(
                    ("sampling rate", "start", "end"), own, first, ("Hz", "s", "s"), strict=True
                ):
                    if abs(mine - other) > 0.51 / first[0] * (name != "sampling rate") + 1e-6:
                        problems.append(
                            f"{member.subject}: {run.evoked.name} has a {name} of {mine:g} {unit}, "
                            f"and {self.members[0].subject} of {other:g} {unit}"
                        )
        return problems


def responses(fname: Path, plan: Plan) -> list[mne.Evoked]:
    """Read the responses of a file that a study is about, cropped to its window."""
    return chosen(mne.read_evokeds(fname, verbose="error"), fname.name, plan)


def chosen(found: list[mne.Evoked], name: str, plan: Plan) -> list[mne.Evoked]:
    """Choose the responses of a study among those of a file, and crop them to its window.

    Raises
    ------
    ValueError
        If one is missing, the file holds several and none is named, or the window is not in it.
    """
    comments = [one.comment for one in found]
    if not plan.conditions and len(found) > 1:
        raise ValueError(
            f"{name} holds {len(found)} responses ({', '.join(map(repr, comments))}); name "
            "those of the study in conditions"
        )
    out = []
    for wanted in plan.conditions or comments:
        if comments.count(wanted) != 1:
            several = (
                "holds no" if wanted not in comments else f"holds {comments.count(wanted)} times"
            )
            raise ValueError(f"{name} {several} {wanted!r}, only {', '.join(map(repr, comments))}")
        one = found[comments.index(wanted)]
        step = 0.51 / one.info["sfreq"]
        tmin = one.times[0] if plan.tmin is None else plan.tmin
        tmax = one.times[-1] if plan.tmax is None else plan.tmax
        if tmin < one.times[0] - step or tmax > one.times[-1] + step:
            raise ValueError(
                f"{name} has {one.times[0]:g} to {one.times[-1]:g} s, and the window is "
                f"{tmin:g} to {tmax:g} s"
            )
        out.append(one.crop(max(tmin, one.times[0]), min(tmax, one.times[-1])))
    return out


def make_plan(recordings: Any, **choices: Any) -> Plan:
    """Make a plan of whatever tells the recordings of a study.

    Parameters
    ----------
    recordings : Plan | DataFrame | path-like
        A plan; a table with a row for each recording; or a TOML file of a plan, a CSV file of such
        a table, or the folder of a BIDS dataset.
    **choices
        What else `Plan` has, and for BIDS ``task, session, derivatives``; those that are given
        replace what a file says.

    Returns
    -------
    plan : Plan
        The plan, whose files are not looked at yet.

    Raises
    ------
    TypeError
        If the recordings are anything else.
    FileNotFoundError
        If there is no such file or folder.
    ValueError
        If a choice is none.
    """
    bids = {name: choices.pop(name, None) for name in BIDS}
    bids = {name: value for name, value in bids.items() if value is not None}
    choices = {name: value for name, value in choices.items() if value is not None}
    searched = isinstance(recordings, (str, Path)) and (
        Path(recordings).is_dir() or Path(recordings).suffix == ".toml"
    )
    if bids and not searched:
        name, value = next(iter(bids.items()))
        raise ValueError(f"{name}={value!r} is for a BIDS dataset, and recordings is none.")
    if isinstance(recordings, Plan):
        return Plan(**vars(recordings) | choices)
    if isinstance(recordings, pd.DataFrame):
        return Plan(tuple(members_of_table(recordings, Path())), **_typed(choices, Path()))
    if not isinstance(recordings, (str, Path)):
        raise TypeError(
            "recordings must be a table, or the name of a TOML or CSV file or of a BIDS folder, "
            f"got {type(recordings).__name__}."
        )
    path = Path(recordings).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {path}, which should tell the study.")
    if path.is_dir():
        return Plan(tuple(members_of_bids(path, **bids)), **_typed(choices, Path()))
    if path.suffix == ".toml":
        return _of_toml(path, choices, bids)
    if path.suffix in (".csv", ".tsv"):
        members = _of_file(path)
        return Plan(tuple(members), **_typed(choices, Path()))
    raise ValueError(f"{path} must be a .toml file, a .csv table, or the folder of a BIDS dataset.")


def _of_toml(path: Path, choices: dict[str, Any], bids: dict[str, Any]) -> Plan:
    """Read a plan from a file; paths in it begin at its folder."""
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no TOML file ({error}).") from error
    known = {*Plan.__dataclass_fields__, "recordings", "bids"} - {"members"}
    unknown = [name for name in told if name not in known]
    if unknown:
        raise ValueError(f"{path} has {unknown[0]!r}; a study has {', '.join(sorted(known))}.")
    if ("recordings" in told) == ("bids" in told):
        raise ValueError(f"{path} must have either recordings, the name of a table, or [bids].")
    if "bids" in told:
        own = dict(told.pop("bids")) | bids
        if set(own) - {"root", *BIDS} or "root" not in own:
            raise ValueError(
                f"[bids] in {path} has root and, as needed, task, session, derivatives."
            )
        members = members_of_bids(path.parent / own.pop("root"), **own)
    else:
        members = _of_file(path.parent / told.pop("recordings"))
    return Plan(tuple(members), **_typed(told, path.parent) | _typed(choices, Path()))


def _of_file(path: Path) -> list[Member]:
    """Read a table of recordings; paths in it begin at its folder."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}, which should list the recordings.")
    try:
        table = pd.read_csv(path, sep="\t" if path.suffix == ".tsv" else ",", dtype=str)
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no table of recordings ({error}).") from error
    return members_of_table(table, path.parent)


def _typed(choices: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Bring choices into the types of a plan."""
    own = dict(choices)
    if "conditions" in own:
        given = own["conditions"]
        if not isinstance(given, (str, list, tuple)):
            raise TypeError(f"conditions={given!r} must be a list of the comments of responses.")
        own["conditions"] = (given,) if isinstance(given, str) else tuple(given)
    if own.get("subjects_dir") is not None:
        own["subjects_dir"] = folder / Path(own["subjects_dir"]).expanduser()
    return own
