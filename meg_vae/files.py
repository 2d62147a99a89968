"""A file that is whole or not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

if TYPE_CHECKING:
    import pandas as pd

FORMATS = ("csv", "parquet")


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


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Keep every other process from writing in a folder.

    Parameters
    ----------
    path : Path
        A file in the folder, beside which the lock lies.
    what : str
        What writes there.

    Raises
    ------
    RuntimeError
        If another process is writing.
    """
    lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise RuntimeError(
            f"another {what} is writing in {path.parent}; wait for it, or name another folder."
        ) from error
    try:
        yield
    finally:
        lock.release()


def needed(module: str) -> Any:
    """Import what an extra installs.

    Parameters
    ----------
    module : str
        Name of the module.

    Returns
    -------
    module : module
        The module.

    Raises
    ------
    ModuleNotFoundError
        If it is not installed.
    """
    try:
        return __import__(module)
    except ImportError as error:
        raise ModuleNotFoundError(
            f"{module} is not installed; pip install 'meg_vae[cluster]'."
        ) from error


def check_format(file_format: str) -> None:
    """Check a format of tables before anything runs.

    Parameters
    ----------
    file_format : "csv" | "parquet"
        Name of the format.

    Raises
    ------
    ValueError
        If it is not known.
    ModuleNotFoundError
        If it needs what is not installed.
    """
    if file_format not in FORMATS:
        raise ValueError(f"file_format={file_format!r} must be one of {', '.join(FORMATS)}.")
    if file_format == "parquet":
        needed("pyarrow")


def write_table(table: pd.DataFrame, path: Path) -> Path:
    """Write a table, whole or not at all.

    Parameters
    ----------
    table : pandas.DataFrame
        The table.
    path : Path
        The file; its ending, ``.csv`` or ``.parquet``, is its format.

    Returns
    -------
    path : Path
        The file.
    """
    with whole_file(path) as part:
        if path.suffix == ".parquet":
            table.to_parquet(part, index=False)
        else:
            table.to_csv(part, index=False, float_format="%.6g")
    return path
