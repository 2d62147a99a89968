"""How many independent samples a recording holds."""

from __future__ import annotations

import mne


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
        2 · low-pass / sampling frequency of the time points, and never more than these or, where
        there are any, less than one. Without a low-pass in ``info`` (0 or None) all of them count.
    """
    lowpass = info["lowpass"] or info["sfreq"] / 2
    return min(n_samples, max(1.0, n_samples * min(1.0, 2 * lowpass / info["sfreq"])))
