"""A localization or a comparison as one HTML page that explains itself.

- `localization_report` and `comparison_report`: the page, an `mne.Report`.
- `Origin`: what was put in, and how, for both.
- `benchmark_figures` and `benchmark_report`: the figures and the page of a benchmark.
- `phantom_figure`, `phantom_summary` and `phantom_report`: those of a phantom.
- `study_pictures`, `study_report` and `subject_pages`: those of a study.
- `save_report`: writes it, whole or not at all.
- `localization_pictures` and `comparison_pictures`: its pictures as files.
"""

from __future__ import annotations

from .benchmark import benchmark_figures, benchmark_report
from .facts import versions
from .pages import Origin, comparison_report, localization_report, save_report
from .phantom import phantom_figure, phantom_report, phantom_summary
from .pictures import comparison_pictures, localization_pictures
from .study import study_pictures, study_report, subject_pages

__all__ = [
    "Origin",
    "benchmark_figures",
    "benchmark_report",
    "comparison_pictures",
    "comparison_report",
    "localization_pictures",
    "localization_report",
    "phantom_figure",
    "phantom_report",
    "phantom_summary",
    "save_report",
    "study_pictures",
    "study_report",
    "subject_pages",
    "versions",
]
