"""A fitted inverse in a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5io
import numpy as np
import pandas as pd

from meg_vae.meg.estimates import COLUMNS, Positions
from meg_vae.meg.filter import SourceFilter

if TYPE_CHECKING:
    from meg_vae.meg.inverse import VAEInverse

TITLE = "meg_vae"
VERSION = 1  # of the format
OPTIONS = (
    "loose",
    "noise_variance",
    "orientation",
    "min_log_evidence",
    "tol",
    "max_iter",
    "subject",
)
RESULTS = ("noise_variance_", "energy_", "history_", "certificate_", "n_effective_")


def write_vae_inverse(fname: str | Path, inverse: VAEInverse, *, overwrite: bool = False) -> Path:
    """Write a fitted inverse; the file is whole or not there.

    Parameters
    ----------
    fname : path-like
        Name of the file, ending with ``.h5``.
    inverse : VAEInverse
        The fitted inverse.
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
    state = {
        "version": VERSION,
        "options": {name: getattr(inverse, name) for name in OPTIONS},
        "results": {name: getattr(inverse, name) for name in RESULTS},
        "sources": {name: inverse.sources_[name].tolist() for name in COLUMNS},
        "order": inverse._order,
        "filter": {**vars(inverse.filter_), "positions": vars(inverse.filter_.positions)},
    }
    temporary = path.with_name(f".{path.stem}-{os.getpid()}.h5")
    try:
        h5io.write_hdf5(str(temporary), state, overwrite=True, title=TITLE)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def read_vae_inverse(fname: str | Path) -> VAEInverse:
    """Read a fitted inverse.

    Parameters
    ----------
    fname : path-like
        A file that `VAEInverse.save` wrote.

    Returns
    -------
    inverse : VAEInverse
        Ready to apply; it does not hold the data of its fit.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not a saved inverse, or of a newer version.
    """
    from meg_vae.meg.inverse import VAEInverse

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
    inverse = VAEInverse(**state["options"])
    for name, value in state["results"].items():
        setattr(inverse, name, value)
    inverse.sources_ = pd.DataFrame(state["sources"], columns=COLUMNS)
    inverse.filter_ = SourceFilter(
        **{**state["filter"], "positions": Positions(**state["filter"]["positions"])}
    )
    inverse._order = np.asarray(state["order"])
    inverse._responses = []
    return inverse
