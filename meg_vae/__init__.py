"""Sparse MEG source localization with a variational autoencoder.

The public names are imported when first used, so that importing the package loads neither torch
nor PyVista.
"""

from __future__ import annotations

import importlib
import os
import sys

_HOMES = {
    "__version__": "_version",
    "VAEInverse": "meg.inverse",
    "vae_inverse": "meg.shortcuts",
    "read_vae_inverse": "meg.shortcuts",
    "SparseVAE": "model.sparse_vae",
    "SlidingVAE": "model.sliding_vae",
    "NonlinearVAE": "model.nonlinear_vae",
    "SparseAutoencoder": "model.sparse_autoencoder",
    "compare": "comparison.comparison",
    "study": "studies.run",
    "sys_info": "versions",
}
_PACKAGES = ("datasets", "viz")
__all__ = [*_HOMES, *_PACKAGES]  # noqa: PLE0604


def __getattr__(name: str) -> object:
    """Import a public name on first use."""
    if name in _HOMES:
        value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    if name in _PACKAGES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _after_fork() -> None:
    """Keep torch to one thread: its others do not survive a fork, and would be waited for."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def __dir__() -> list[str]:
    """List the public names."""
    return list(__all__)
