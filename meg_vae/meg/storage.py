"""A file of a fitted inverse: written whole or not at all, and checked when read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5io

TITLE = "meg_vae"
VERSION = 1  # of the format


def write_state(fname: str | Path, state: dict[str, Any], *, overwrite: bool) -> Path:
    """Write numbers, strings and arrays.

    Parameters
    ----------
    fname : path-like
        Name of the file, ending with ``.h5``.
    state : dict
        What to write.
    overwrite : bool
        Whether to replace a file.

    Returns
    -------
    fname : Path
        The file.

    Raises
    ------
    ValueError
        If the name does not end with ``.h5``.
    FileExistsError
        If the file is there and ``overwrite`` is False.
    """
    path = Path(fname)
    if path.suffix != ".h5":
        raise ValueError(f"fname={str(path)!r} must end with .h5.")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} is there already; use overwrite=True to replace it.")
    temporary = path.with_name(f".{path.stem}-{os.getpid()}.h5")
    try:
        h5io.write_hdf5(str(temporary), {"version": VERSION, **state}, overwrite=True, title=TITLE)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def read_state(fname: str | Path) -> dict[str, Any]:
    """Read what `write_state` wrote.

    Parameters
    ----------
    fname : path-like
        The file.

    Returns
    -------
    state : dict
        What was written.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is another kind of file, or of another version.
    """
    path = Path(fname)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}.")
    try:
        state: dict[str, Any] = h5io.read_hdf5(str(path), title=TITLE)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{path} is not an inverse saved by meg_vae: {error}") from error
    if state["version"] != VERSION:
        raise ValueError(
            f"{path} has format version {state['version']}, this meg_vae reads version {VERSION}; "
            "use the meg_vae that wrote it."
        )
    return state
