"""Whether this machine can draw in three dimensions."""

from __future__ import annotations

import ctypes
import functools
import sys

# What VTK opens on Linux: with a display, without one, and in software.
LIBRARIES = ("libGL.so.1", "libEGL.so.1", "libOSMesa.so.8", "libOSMesa.so")
HINT = (
    "this machine has no OpenGL, so the cortex is drawn flat by matplotlib. For the full picture "
    "install it: on Debian or Ubuntu `apt install libegl1 libgl1`, with conda `conda install -c "
    "conda-forge mesalib libegl libgl`."
)


@functools.cache
def has_opengl() -> bool:
    """Tell whether VTK finds an OpenGL library; only Linux machines come without one."""
    if not sys.platform.startswith("linux"):
        return True
    return any(map(_opens, LIBRARIES))


def warn_without_opengl() -> bool:
    """Tell whether there is no OpenGL, and say so the first time."""
    missing = not has_opengl()
    if missing:
        _warn()
    return missing


@functools.cache
def _warn() -> None:
    import mne

    mne.utils.warn(HINT, RuntimeWarning)


def _opens(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
