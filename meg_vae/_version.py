"""The version, as the installation says; the installation has it from git's tag."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("meg_vae")
except PackageNotFoundError:  # files that nobody installed
    __version__ = "0.0"
