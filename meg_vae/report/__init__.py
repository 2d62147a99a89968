"""A localization or a comparison as one HTML page that explains itself.

- `localization_report` and `comparison_report`: the page, an `mne.Report`.
- `benchmark_figures` and `benchmark_report`: the figures and the page of a benchmark.
- `save_report`: writes it, whole or not at all.
- `localization_pictures` and `comparison_pictures`: its pictures as PNG files.
"""

from __future__ import annotations

from .benchmark import benchmark_figures, benchmark_report
from .facts import versions
from .pages import comparison_report, localization_report, save_report
from .pictures import comparison_pictures, localization_pictures

__all__ = [
    "benchmark_figures",
    "benchmark_report",
    "comparison_pictures",
    "comparison_report",
    "localization_pictures",
    "localization_report",
    "save_report",
    "versions",
]
