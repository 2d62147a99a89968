"""The inverse methods that can be compared.

Each file enters its methods with `register`, a decorator; to add one, write such a file and import
it here, or enter your own function before `meg_vae.compare` or a benchmark runs.
"""

from __future__ import annotations

# In the order of tables and figures.
from meg_vae.comparison.methods import (  # noqa: F401  isort: skip
    vae,
    sparse,
    third_party,
    minimum_norm,
    scanning,
    dipole_fits,
    null,
)
from meg_vae.comparison.methods.arrays import array_method
from meg_vae.comparison.methods.registry import FAMILIES, METHODS, Method, Sources, register

__all__ = ["FAMILIES", "METHODS", "Method", "Sources", "array_method", "register"]
