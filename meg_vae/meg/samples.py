"""How many independent samples a recording holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import mne

if TYPE_CHECKING:
    from torch import Tensor


def band_limited_samples(n_samples: int, info: mne.Info) -> float:
    """Count the independent samples that a low-pass filter leaves.

    Parameters
    ----------
    n_samples : int
        Time points.
    info : mne.Info
        Tells the low-pass (Hz) and the sampling frequency (Hz).

    Returns
    -------
    n : float
        2 · low-pass / sampling frequency of the time points, and never more than these.
    """
    return n_samples * min(1.0, 2 * info["lowpass"] / info["sfreq"])


def residual_samples(lengths: Sequence[int]) -> Callable[[Tensor], float]:
    """Make the count of independent samples in the residual of responses laid end to end.

    Parameters
    ----------
    lengths : sequence of int
        Time points of each response.

    Returns
    -------
    count : callable
        Takes the residual, shape (n_channels, sum of ``lengths``), and adds up
        `meg_vae.model.evidence.effective_samples` of its responses.
    """
    from meg_vae.model.evidence import effective_samples

    def count(residual: Tensor) -> float:
        return sum(effective_samples(part) for part in residual.split(list(lengths), 1))

    return count
