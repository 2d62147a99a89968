"""Who takes part in a study, and which files hold their recordings."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

NEEDED = ("subject", "evoked", "forward", "noise_cov")
MORE = ("run", "head", "group", "bem", "trans")
SHARED = ("head", "group")  # the same in all runs of a subject
FILES = ("evoked", "forward", "noise_cov", "bem", "trans")


@dataclass(frozen=True)
class Run:
    """Files of one recording.

    Attributes
    ----------
    evoked, forward, noise_cov : Path
        Responses, the forward solution of their head position, and the noise covariance.
    bem, trans : Path | None
        What the forward solution was computed with, where it is known.
    """

    evoked: Path
    forward: Path
    noise_cov: Path
    bem: Path | None = None
    trans: Path | None = None

    @property
    def files(self) -> dict[str, Path]:
        """Those that are given, by what they hold."""
        named = {name: getattr(self, name) for name in FILES}
        return {name: path for name, path in named.items() if path is not None}


@dataclass(frozen=True)
class Member:
    """One subject of a study.

    Attributes
    ----------
    subject : str
        Name in the study.
    runs : tuple of Run
        Recordings that share their sources.
    head : str | None
        Name of the FreeSurfer subject; None takes the one that the source space names.
    group : str | None
        Of several groups of subjects, which.
    """

    subject: str
    runs: tuple[Run, ...]
    head: str | None = None
    group: str | None = None

    @property
    def files(self) -> list[Path]:
        """All of its files."""
        return [path for run in self.runs for path in run.files.values()]


def members_of_table(table: pd.DataFrame, folder: Path) -> list[Member]:
    """Read who takes part from a table with a row for each recording.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``subject, evoked, forward, noise_cov`` and, where they are needed, ``run, head,
        group, bem, trans``. Rows of one subject are its runs.
    folder : Path
        Where paths begin that are not absolute.

    Returns
    -------
    members : list of Member
        In the order of the table.

    Raises
    ------
    ValueError
        If a column is missing or unknown, an entry is empty, or a subject stands twice.
    """
    missing = [name for name in NEEDED if name not in table.columns]
    unknown = [name for name in table.columns if name not in (*NEEDED, *MORE)]
    if missing or unknown:
        told = f"lacks the column {missing[0]!r}" if missing else f"has a column {unknown[0]!r}"
        raise ValueError(
            f"the table of recordings {told}; it has {', '.join(NEEDED)} and, where they are "
            f"needed, {', '.join(MORE)}."
        )
    if table.empty:
        raise ValueError("the table of recordings has no row.")
    rows = [
        (line, {name: None if pd.isna(value) else value for name, value in row.items()})
        for line, row in enumerate(table.to_dict("records"), start=2)
    ]
    for line, row in rows:
        empty = [name for name in NEEDED if row[name] in (None, "")]
        if empty:
            raise ValueError(f"line {line} of the table of recordings has no {empty[0]}.")
    members = []
    for subject in dict.fromkeys(str(row["subject"]) for _, row in rows):
        own = [(line, row) for line, row in rows if str(row["subject"]) == subject]
        _check_runs(subject, own)
        runs = tuple(_run(row, folder) for _, row in own)
        shared = {
            name: _one(name, subject, (row.get(name) for _, row in own)) for name in MORE[1:3]
        }
        members.append(Member(subject, runs, **shared))
    return members


def _check_runs(subject: str, rows: list[tuple[int, dict[Hashable, Any]]]) -> None:
    """Refuse rows of one name that are no runs of one subject."""
    if len(rows) == 1:
        return
    lines = " and ".join(str(line) for line, _ in rows[:2])
    runs = [row.get("run") for _, row in rows]
    if None in runs or len(set(runs)) < len(runs):
        raise ValueError(
            f"subject {subject!r} stands in lines {lines} of the table of recordings; give another "
            "name, or a column 'run' that tells the runs of one subject apart."
        )


def _run(row: dict[Hashable, Any], folder: Path) -> Run:
    """Take the files of a row, from a folder on."""
    paths = {name: row.get(name) for name in FILES}
    return Run(
        **{
            name: None if path in (None, "") else folder / Path(str(path)).expanduser()
            for name, path in paths.items()
        }
    )


def _one(name: str, subject: str, values: Iterable[Any]) -> str | None:
    """Take what is the same in all rows of a subject."""
    given = {None if value in (None, "") else str(value) for value in values}
    if len(given) > 1:
        raise ValueError(f"subject {subject!r} has more than one {name} in its runs.")
    return given.pop()
