"""The command line: `meg-vae demo`, `forward`, `localize` and `compare`."""

from __future__ import annotations

from meg_vae.cli.shell import main

__all__ = ["main"]
