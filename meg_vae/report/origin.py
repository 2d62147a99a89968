"""Where a result comes from, as a page tells it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import mne


@dataclass(frozen=True, eq=False)
class Origin:
    """What was put in, and how: all of it optional, and told where it is known.

    Attributes
    ----------
    forward : mne.Forward | None
        The forward model, to describe it.
    noise_cov : mne.Covariance | None
        The noise covariance, to describe it.
    inputs : mapping
        Files or other origins of the data, by what they are.
    options : mapping
        Options of the preparation and of the method, by name.
    command : str | None
        The command that made the page; the Python code is there in any case.
    """

    forward: mne.Forward | None = None
    noise_cov: mne.Covariance | None = None
    inputs: Mapping[str, object] = field(default_factory=dict)
    options: Mapping[str, object] = field(default_factory=dict)
    command: str | None = None
