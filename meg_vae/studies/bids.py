"""Who takes part in a study, from a BIDS dataset and its derivatives."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd

from meg_vae.studies.members import Member, Run

SUFFIXES = {"evoked": "ave", "forward": "fwd", "noise_cov": "cov"}  # as MNE-BIDS-Pipeline has them


def members_of_bids(
    root: Path,
    task: str | None = None,
    session: str | None = None,
    derivatives: str | None = None,
) -> list[Member]:
    """Find averages, covariances and forward solutions of each subject.

    Parameters
    ----------
    root : Path
        The dataset, or one of its derivatives.
    task, session : str | None
        Which recordings; None takes those that there are, one of each subject or its runs.
    derivatives : str | None
        Folder in ``derivatives`` that holds the files; None looks in all of them, and in the
        dataset itself.

    Returns
    -------
    members : list of Member
        By name, each of the group that ``participants.tsv`` says.

    Raises
    ------
    ModuleNotFoundError
        If mne-bids is not installed.
    ValueError
        If nothing is found, or some subjects lack a file or have several: all in one list.
    """
    try:
        import mne_bids
    except ImportError as error:
        raise ModuleNotFoundError(
            "a BIDS dataset needs mne-bids, which is not installed; pip install 'meg_vae[study]'."
        ) from error
    roots = _roots(root, derivatives)
    entities = {"task": task, "session": session}
    found: dict[str, dict[str, list[mne_bids.BIDSPath]]] = {}
    for name, suffix in SUFFIXES.items():
        for place in roots:
            paths = mne_bids.find_matching_paths(
                place,
                tasks=task,
                sessions=session,
                suffixes=[suffix],
                extensions=[".fif"],
                check=False,
            )
            for path in paths:
                own = found.setdefault(path.subject, {}).setdefault(name, [])
                # The dataset holds derivatives; some versions of mne-bids list those as its own.
                if path.fpath.exists() and path.fpath not in [one.fpath for one in own]:
                    own.append(path)
    told = ", ".join(f"{key} {value}" for key, value in entities.items() if value) or "any task"
    groups = _groups(root)
    members, problems = [], []
    for subject in sorted(found):
        own = found[subject]
        missing = [name for name in SUFFIXES if name not in own]
        if missing:
            problems.append(f"sub-{subject}: no {' and no '.join(missing)} ({_names(missing)})")
            continue
        try:
            runs = [_run(run, own) for run in _by_run(own["evoked"])]
        except ValueError as error:
            problems.append(f"sub-{subject}: {error}")
            continue
        label = f"sub-{subject}"
        members.append(Member(label, tuple(runs), group=groups.get(label)))
    if problems:
        lines = "".join(f"\n  {one}" for one in problems)
        raise ValueError(f"{root} cannot be used for {told}:{lines}")
    if not members:
        raise ValueError(
            f"{root} holds no averages (*_ave.fif) with covariance (*_cov.fif) and forward "
            f"solution (*_fwd.fif) for {told}; they are looked for in it and in its derivatives."
        )
    return members


def _groups(root: Path) -> dict[str, str]:
    """Read which group each participant is in, where ``participants.tsv`` has such a column."""
    path = root / "participants.tsv"
    if not path.is_file():
        return {}
    table = pd.read_csv(path, sep="\t", dtype=str, na_values=["n/a"])
    if not {"participant_id", "group"} <= set(table.columns):
        return {}
    known = table.dropna(subset=["participant_id", "group"])
    return dict(zip(known["participant_id"], known["group"], strict=True))


def _roots(root: Path, derivatives: str | None) -> list[Path]:
    """List where files may be: in the dataset, and in its derivatives."""
    folder = root / "derivatives"
    if derivatives is not None:
        if not (folder / derivatives).is_dir():
            raise FileNotFoundError(f"there is no folder {folder / derivatives} in this dataset.")
        return [folder / derivatives]
    more = sorted(one for one in folder.glob("*") if one.is_dir()) if folder.is_dir() else []
    return [root, *more]


def _by_run(paths: list) -> list[list]:
    """Put averages of one run together."""
    ordered = sorted(paths, key=lambda path: (path.run or "", path.basename))
    return [list(own) for _, own in groupby(ordered, key=lambda path: path.run)]


def _run(averages: list, own: dict[str, list]) -> Run:
    """Find the files of one run: with its label, else those that all runs share."""
    evoked = _only(averages, "evoked")
    files = {"evoked": evoked.fpath}
    for name in ("forward", "noise_cov"):
        same = [path for path in own.get(name, []) if path.run == evoked.run]
        options = same or [path for path in own.get(name, []) if path.run is None]
        if options:
            files[name] = _only(options, name).fpath
        else:
            raise ValueError(f"run {evoked.run} has no {name}")
    return Run(**files)


def _only(paths: list, name: str) -> Any:
    """Take the one path, or say which there are."""
    if len(paths) > 1:
        names = ", ".join(sorted(path.basename for path in paths))
        raise ValueError(
            f"{len(paths)} files hold its {name} ({names}); name task, session or derivatives"
        )
    return paths[0]


def _names(missing: list[str]) -> str:
    """Give the names by which missing files are looked for."""
    return ", ".join(f"*_{SUFFIXES[name]}.fif" for name in missing)
