"""A file that is whole or not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path, *, overwrite: bool = True) -> Iterator[Path]:
    """Give a temporary name to write to, and put the file in its place when all went well.

    Parameters
    ----------
    path : Path
        The file wanted.
    overwrite : bool
        Whether to replace a file.

    Yields
    ------
    temporary : Path
        A name in the same folder with the same ending.

    Raises
    ------
    FileExistsError
        If the file is there and ``overwrite`` is False.
    FileNotFoundError
        If there is no such folder.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} to write {path.name} in.")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} is there already; use overwrite=True to replace it.")
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
