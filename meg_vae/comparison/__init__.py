"""Several inverse methods on the same data, side by side, and over many simulated recordings.

- `meg_vae.compare`: run them on one recording and score what they find; returns a `Comparison`.
- `METHODS`, `register`, `array_method`: the methods, with their settings and what each is told of
  the truth; how one is added.
- `METRICS`: what the scores mean.
- `Recipe`, `read_recipe`, `simulate_recording`: recordings whose sources are known, of `datasets`.
- `Protocol`, `read_protocol`, `run_benchmark`: methods × conditions × seeds, in one table.
- `score_phantom`, `summarize_phantom`: the VAE and MNE's dipole fit on a phantom.
"""

from __future__ import annotations

from meg_vae.comparison.benchmark import Benchmark, Protocol, read_protocol, run_benchmark
from meg_vae.comparison.methods import METHODS, Method, Sources, array_method, register
from meg_vae.comparison.metrics import METRICS
from meg_vae.comparison.phantom import score_phantom, summarize_phantom
from meg_vae.comparison.result import Comparison
from meg_vae.datasets.recipe_recording import simulate_recording
from meg_vae.datasets.recipes import Recipe, read_recipe

__all__ = [
    "METHODS",
    "METRICS",
    "Benchmark",
    "Comparison",
    "Method",
    "Protocol",
    "Recipe",
    "Sources",
    "array_method",
    "read_protocol",
    "read_recipe",
    "register",
    "run_benchmark",
    "score_phantom",
    "simulate_recording",
    "summarize_phantom",
]
