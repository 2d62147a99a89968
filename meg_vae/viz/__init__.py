"""Pictures of sources: on the cortex (PyVista) and as curves (matplotlib).

The names here are imported when first used, so that importing this package loads neither.
"""

from __future__ import annotations

import importlib

_HOMES = {
    "Look": "look",
    "plot_cortex": "cortex",
    "picture": "plotter",
    "save_picture": "plotter",
    "save_page": "plotter",
    "plot_estimate": "estimate",
    "plot_comparison": "estimate",
    "save_movie": "movie",
    "plot_slices": "slices",
    "plot_brain": "brain",
    "plot_group": "study",
    "plot_presence": "study",
    "plot_amplitudes": "study",
    "plot_error_against_snr": "benchmark",
    "plot_hits_against_false_positives": "benchmark",
    "plot_phantom": "phantom",
    "plot_hit_curves": "benchmark",
    "plot_ranking": "benchmark",
    "plot_time_against_accuracy": "benchmark",
    "dipole_table": "surfaces",
    "plot_fit": "sensors",
    "plot_time_courses": "fits",
    "plot_energy": "fits",
    "plot_noise": "fits",
    "plot_evidence": "evidence",
    "plot_evidence_over_time": "evidence",
    "plot_response_evidence": "evidence",
    "source_names": "tables",
}
__all__ = sorted(_HOMES)  # noqa: PLE0605


def __getattr__(name: str) -> object:
    """Import a public name on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    """List the public names."""
    return list(__all__)
