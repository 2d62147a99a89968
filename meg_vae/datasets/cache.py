"""The cache: one folder for each result that is slow to make, whole or made again."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import platformdirs
from filelock import FileLock
from mne.utils import logger
from tqdm.auto import tqdm

MANIFEST = "meg_vae_manifest.json"


def cache_dir() -> Path:
    """Return the folder that keeps what is slow to make.

    Returns
    -------
    path : Path
        ``MEG_VAE_CACHE`` where that environment variable is set, else the user's cache folder.
    """
    override = os.environ.get("MEG_VAE_CACHE")
    return Path(override or platformdirs.user_cache_dir("meg_vae", appauthor=False)).expanduser()


def cached_folder(folder: Path, key: str, make: Callable[[Path], None]) -> Path:
    """Return a folder, made first unless it is there, whole and of this key.

    The files are made in a temporary folder beside it and moved in when all of them are done,
    under a lock, so that of several processes one makes them and the others wait for it.

    Parameters
    ----------
    folder : Path
        The folder wanted.
    key : str
        What the contents depend on. Another key than the one stored means: make it again.
    make : callable
        ``make(new_folder)`` writes every file into ``new_folder``, an existing empty folder of
        the same name as ``folder``.

    Returns
    -------
    folder : Path
        The same folder, filled.

    Raises
    ------
    FileExistsError
        If the folder exists and something else wrote it.

    Warns
    -----
    RuntimeWarning
        If files in it were damaged or missing and it was made again.
    """
    if _is_ready(folder, key):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if _is_ready(folder, key):  # another process made it while this one waited
            return folder
        _warn_if_damaged(folder, key)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as parent:
            new = Path(parent) / folder.name
            new.mkdir()
            make(new)
            _write_manifest(new, key)
            _move_in(new, folder)
    return folder


def run_steps(title: str, steps: dict[str, Callable[[], None]]) -> None:
    """Run steps one after the other under a progress bar that names the one under way.

    Parameters
    ----------
    title : str
        What is being made.
    steps : dict of str to callable
        Name of each step and the call that does it. The bar follows MNE's log level: shown at
        "info" and below.
    """
    with tqdm(total=len(steps), desc=title, disable=logger.level > logging.INFO) as bar:
        for name, step in steps.items():
            bar.set_postfix_str(name)
            step()
            bar.update()


def _is_ready(folder: Path, key: str) -> bool:
    if not folder.exists():
        return False
    if not (folder / MANIFEST).exists():
        raise FileExistsError(
            f"{folder} exists but meg_vae did not write it, so it is left alone. Name another "
            "folder, or move this one away."
        )
    manifest = _read_manifest(folder)
    return manifest.get("key") == key and not _damaged_files(folder, manifest)


def _warn_if_damaged(folder: Path, key: str) -> None:
    """Warn about damage; a key that merely changed is no damage."""
    if not folder.exists():
        return
    manifest = _read_manifest(folder)
    damaged = _damaged_files(folder, manifest)
    if damaged:
        names = ", ".join(damaged)
        warnings.warn(
            f"damaged or missing in {folder}: {names}. Making it again.",
            RuntimeWarning,
            stacklevel=2,
        )
    elif manifest["key"] != key:
        logger.info("%s is of another version; making it again.", folder)


def _read_manifest(folder: Path) -> dict:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return {"key": manifest["key"], "sha256": dict(manifest["sha256"])}
    except (ValueError, KeyError, TypeError):
        return {"key": None, "sha256": {MANIFEST: "unreadable"}}


def _write_manifest(folder: Path, key: str) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    digests = {path.relative_to(folder).as_posix(): _digest(path) for path in files}
    text = json.dumps({"key": key, "sha256": digests}, indent=1)
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def _damaged_files(folder: Path, manifest: dict) -> list[str]:
    return [
        name
        for name, digest in manifest["sha256"].items()
        if not (folder / name).is_file() or _digest(folder / name) != digest
    ]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _move_in(new: Path, folder: Path) -> None:
    """Move a finished folder to its place, keeping what others added to an older one."""
    if not folder.exists():
        os.replace(new, folder)
        return
    manifest = _read_manifest(new)
    for name in [*manifest["sha256"], MANIFEST]:  # the manifest last: it vouches for the rest
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(new / name, folder / name)
