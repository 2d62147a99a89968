"""How many samples a recording holds, and a covariance was computed from."""

from __future__ import annotations

import math

import mne
import numpy as np
from mne.utils import logger


def band_limited_samples(n_samples: int, info: mne.Info) -> float:
    """Count the independent samples that filters leave.

    Parameters
    ----------
    n_samples : int
        Time points.
    info : mne.Info
        Tells the high-pass, the low-pass and the sampling frequency (Hz).

    Returns
    -------
    n : float
        2 · bandwidth / sampling frequency of the time points, and never more than these or, where
        there are any, less than one. Without a low-pass in ``info`` (0 or None) the band ends at
        half the sampling frequency.
    """
    end = min(info["lowpass"] or np.inf, info["sfreq"] / 2)
    band = max(end - (info["highpass"] or 0.0), 0.0)
    return min(n_samples, max(1.0, n_samples * 2 * band / info["sfreq"]))


def noise_samples(noise_cov: mne.Covariance) -> float:
    """Tell from how many samples a noise covariance was estimated.

    Parameters
    ----------
    noise_cov : mne.Covariance
        The noise covariance; its ``nfree`` counts samples at the rate of the data.

    Returns
    -------
    n : float
        Infinity where ``nfree`` does not tell, which is said: an ad hoc covariance comes from no
        sample, and one of a simulation is exact; and for a diagonal one, whose variances are known
        from few samples.
    """
    if noise_cov["diag"]:
        return math.inf
    if noise_cov["nfree"] > 1:
        return float(noise_cov["nfree"])
    logger.info(
        f"noise_cov does not say from how many samples it was computed (nfree="
        f"{noise_cov['nfree']}), and is taken for exact"
    )
    return math.inf
