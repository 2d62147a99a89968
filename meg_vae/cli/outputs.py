"""The folder that a command leaves behind: whole, or not there."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meg_vae.report import versions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

RECORD = "run.json"


@contextmanager
def new_folder(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give a temporary folder to write in, and move it to its place when all went well.

    A folder that is there must be empty, or hold an earlier run alone that is to be replaced.
    """
    path = path.expanduser().resolve()
    _check_free(path, overwrite=overwrite)
    missing = [parent for parent in path.parents if not parent.exists()]  # innermost first
    try:
        with _beside(path) as temporary:
            folder = temporary / path.name
            folder.mkdir()
            yield folder
            _check_free(path, overwrite=overwrite)  # others may have written there meanwhile
            _move_in(folder, path, temporary / "old")
    except BaseException:
        with suppress(OSError):  # not there, or others use it by now
            for parent in missing:
                parent.rmdir()
        raise


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Make a temporary folder on the file system of the folder wanted."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    except OSError as error:
        raise OSError(
            f"the output folder {path} cannot be written ({error.strerror}); name another."
        ) from error
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _move_in(new: Path, path: Path, old: Path) -> None:
    """Put the new folder in the place of the old one, which stays if that fails."""
    try:
        if path.exists():
            os.replace(path, old)
        os.replace(new, path)
    except BaseException:
        if old.exists() and not path.exists():
            os.replace(old, path)
        raise


def _check_free(path: Path, *, overwrite: bool) -> None:
    """Raise an error unless the folder is empty, or holds an earlier run alone to be replaced."""
    if Path.cwd().is_relative_to(path):
        raise FileExistsError("the output folder is the current one; name another.")
    if not path.exists():
        return
    if not path.is_dir():
        raise FileExistsError(f"the output folder {path} is a file; name another.")
    there = {file.relative_to(path).as_posix() for file in path.rglob("*")}
    if not there:
        return
    if not overwrite:
        raise FileExistsError(
            f"the output folder {path} is not empty; name another, or give --overwrite."
        )
    foreign = sorted(there - _recorded(path))
    if foreign:
        raise FileExistsError(
            f"the output folder {path} holds what meg-vae did not write ({foreign[0]}), so it is "
            "left alone; name another."
        )


def _recorded(path: Path) -> set[str]:
    """Files that the run whose record lies in a folder wrote there."""
    try:
        return set(json.loads((path / RECORD).read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def describe_files(files: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """Tell which files were read, so that others can check that theirs are the same.

    For each its absolute path, its size in bytes and its SHA-256 digest.
    """
    return {
        what: {
            "path": str(path.resolve()),
            "bytes": path.stat().st_size,
            "sha256": _digest(path),
        }
        for what, path in files.items()
    }


def write_record(
    folder: Path,
    *,
    command: str,
    inputs: Mapping[str, object],
    options: Mapping[str, object],
    figures: Mapping[str, object],
) -> None:
    """Write ``run.json``, the last file of a run: what ran on what, and what came out."""
    files = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*"))
    record = {
        "command": command,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "inputs": inputs,
        "options": options,
        "figures": figures,
        "files": [*files, RECORD],
    }
    text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False, default=str)
    (folder / RECORD).write_text(text + "\n", encoding="utf-8")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
