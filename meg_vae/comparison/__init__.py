"""Several inverse methods on the same data, side by side.

- `meg_vae.compare`: run them and score what they find; it returns a `Comparison`.
- `METHODS`: the methods, with the settings and the prior knowledge that each is given.
- `meg_vae.comparison.metrics`: what the scores mean.
"""

from __future__ import annotations

from meg_vae.comparison.methods import METHODS, Method
from meg_vae.comparison.result import Comparison

__all__ = ["METHODS", "Comparison", "Method"]
