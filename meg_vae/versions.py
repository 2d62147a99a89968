"""What is installed: for reports of problems."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from typing import TextIO

import mne

from meg_vae._version import __version__

#: What the package stands on and MNE's own list may leave out, and its optional companions.
BESIDE = ("torch", "pyvista", "POT", "h5io", "typer", "mne-connectivity", "distributed")


def sys_info(
    fid: TextIO | None = None,
    show_paths: bool = False,
    *,
    dependencies: str = "user",
    unicode: bool | str = "auto",
    check_version: bool | float = False,
) -> None:
    """Print the versions of meg_vae and of what it stands on, then what `mne.sys_info` prints.

    Parameters
    ----------
    fid : file-like | None
        Where to write; None is the standard output.
    show_paths : bool
        Whether to print paths for each package, of MNE's.
    dependencies : "user" | "developer"
        Which packages MNE lists.
    unicode : bool | "auto"
        Whether MNE uses signs beyond ASCII.
    check_version : bool | float
        Whether MNE asks the network for its newest version, and for how many seconds.

    Examples
    --------
    >>> import meg_vae
    >>> meg_vae.sys_info()  # doctest: +SKIP
    """
    fid = sys.stdout if fid is None else fid
    rows = [("meg_vae", __version__)]
    for name in BESIDE:
        try:
            rows.append((name, version(name)))
        except PackageNotFoundError:
            rows.append((name, "not installed"))
    width = max(len(name) for name, _ in rows)
    fid.write("".join(f"{name:{width}}  {what}\n" for name, what in rows) + "\n")
    mne.sys_info(
        fid,
        show_paths,
        dependencies=dependencies,
        unicode=unicode,
        check_version=check_version,
    )
