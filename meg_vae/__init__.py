"""Sparse MEG source localization with a variational autoencoder.

The public names are imported when first used, so that importing the package loads neither torch
nor PyVista.
"""

from __future__ import annotations

import importlib

from meg_vae._version import __version__

_HOMES = {
    "VAEInverse": "meg.inverse",
    "vae_inverse": "meg.shortcuts",
    "read_vae_inverse": "meg.shortcuts",
    "SparseVAE": "model.sparse_vae",
    "SlidingVAE": "model.sliding_vae",
    "SparseAutoencoder": "model.sparse_autoencoder",
    "compare": "comparison.comparison",
}
_PACKAGES = ("datasets", "viz")
__all__ = ["__version__", *_HOMES, *_PACKAGES]  # noqa: PLE0604


def __getattr__(name: str) -> object:
    """Import a public name on first use."""
    if name in _HOMES:
        value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    if name in _PACKAGES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names."""
    return list(__all__)
