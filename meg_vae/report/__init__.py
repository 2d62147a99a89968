"""A localization or a comparison as one HTML page that explains itself.

- `localization_report` and `comparison_report`: the page, an `mne.Report`.
- `save_report`: writes it, whole or not at all.
- `localization_pictures` and `comparison_pictures`: its pictures as PNG files.
"""

from __future__ import annotations

from .facts import versions
from .pages import comparison_report, localization_report, save_report
from .pictures import comparison_pictures, localization_pictures

__all__ = [
    "comparison_pictures",
    "comparison_report",
    "localization_pictures",
    "localization_report",
    "save_report",
    "versions",
]
