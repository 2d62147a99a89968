"""Noise that goes on in time, as the scripts on evidence and on noise make it."""

from __future__ import annotations

import mne
import numpy as np
from scipy.signal import lfilter


def coloured(
    kind: str, d: int, n: int, sfreq: float, rng: np.random.Generator, margin: int
) -> np.ndarray:
    """Independent rows of unit variance, from the middle of a stretch with a margin on both sides.

    Kinds are "white", "AR a" with its coefficient, "1/f", and "low-pass f Hz" with its frequency.
    """
    E = rng.standard_normal((d, n + 2 * margin))
    name, *value = kind.split()
    if name == "AR":
        a = float(value[0])
        E = lfilter([(1 - a**2) ** 0.5], [1, -a], E, axis=1)
    elif name == "1/f":
        f = np.fft.rfftfreq(E.shape[1], 1 / sfreq)
        E = np.fft.irfft(np.fft.rfft(E) / np.sqrt(np.maximum(f, 1.0)), E.shape[1])
    elif name == "low-pass":
        E = mne.filter.filter_data(E, sfreq, None, float(value[0]), verbose="error")
    E = E[:, margin : margin + n]
    return E if name in ("white", "AR") else E / E.std()
