"""A file of a fitted inverse: written whole or not at all, and checked when read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5io
import h5py

from meg_vae.files import whole_file

TITLE = "meg_vae"
VERSION, OLDEST = 8, 2  # of the format: what is written, and the oldest that is read
# What h5io may find in the file. It can also rebuild objects of any class and evaluate text, which
# a file from elsewhere must not make it do.
PLAIN = {"dict", "list", "tuple", "ndarray", "int", "float", "unicode", "None"}


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
    path = Path(fname).expanduser()
    if path.suffix != ".h5":
        raise ValueError(f"fname={str(path)!r} must end with .h5.")
    with whole_file(path, overwrite=overwrite) as temporary:
        h5io.write_hdf5(str(temporary), {"version": VERSION, **state}, overwrite=True, title=TITLE)
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
    path = Path(fname).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}.")
    try:
        with h5py.File(path, "r") as file:
            _check_plain(file)
        state: dict[str, Any] = h5io.read_hdf5(str(path), title=TITLE)
        version = state["version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not an inverse saved by meg_vae: {error}") from error
    if version not in range(OLDEST, VERSION + 1):
        newer = isinstance(version, int) and version > VERSION
        raise ValueError(
            f"{path} has format version {version}, and this meg_vae reads versions {OLDEST} to "
            f"{VERSION}; "
            + ("update meg_vae." if newer else "read it with the meg_vae that wrote it.")
        )
    return state


def _check_plain(file: h5py.File) -> None:
    """Refuse what is neither a number, a string, an array nor a collection of these."""
    if TITLE not in file:
        raise ValueError(f"it has no part named {TITLE}")

    def check(name: str, node: h5py.Group | h5py.Dataset) -> None:
        kind = node.attrs.get("TITLE", "nothing")
        kind = kind.decode() if isinstance(kind, bytes) else str(kind)
        plain = kind in PLAIN or kind.startswith("np_")
        if not plain or (isinstance(node, h5py.Dataset) and node.dtype.kind == "O"):
            raise ValueError(f"{name} holds {kind}, which is no plain number, text or array")

    file.visititems(check)
