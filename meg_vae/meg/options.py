"""The options of an inverse, checked before any work, and what its noise says afterwards."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from mne.utils import warn
from numpy.typing import NDArray

from meg_vae.model.checks import check_evidence

NONE = 1e-6  # less is no noise at all: the data are simulated, or zero
FAR = 10.0  # times the noise covariance, or less than this part of it: no recording's noise


def check_options(noise_variance: Any, min_log_evidence: Any) -> None:
    """Refuse options that no recording of a head can have.

    Parameters
    ----------
    noise_variance : float | str
        Noise of the whitened data.
    min_log_evidence : float
        Log evidence below which a source is not reported.

    Raises
    ------
    ValueError
        If one cannot be used.
    """
    if isinstance(noise_variance, str) and noise_variance == "anneal":
        raise ValueError(
            "noise_variance='anneal' lets the noise vanish, so that the noise of a recording "
            "becomes sources; use 'learn', or a small number such as 1e-6 for simulated data "
            "without noise."
        )
    named = isinstance(noise_variance, str) and noise_variance in ("learn", "per_channel")
    if not named and not (_real(noise_variance) and 0 < float(noise_variance) < np.inf):
        raise ValueError(
            f"noise_variance={noise_variance!r} must be 'learn', 'per_channel' or a positive number"
            " (1: as noise_cov says)."
        )
    check_evidence(min_log_evidence)


def _real(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def warn_of_fit(
    empty: bool,
    min_log_evidence: float,
    noise_variance: float | NDArray[np.float64],
    *,
    learnt: bool,
) -> None:
    """Tell of an empty estimate, and of noise that no recording has.

    Parameters
    ----------
    empty : bool
        Whether there is no source.
    min_log_evidence : float
        Log evidence below which a source is not reported, in nats.
    noise_variance : float | ndarray
        λ.
    learnt : bool
        Whether it was learnt from the data.

    Warns
    -----
    RuntimeWarning
        In either case.
    """
    noise = float(np.mean(noise_variance))
    nothing = f"no source carries {min_log_evidence:g} nats of log evidence, so the estimate is"
    if learnt and empty and noise < NONE:  # the model has told why
        warn(f"{nothing} empty.")
    elif learnt and not 1 / FAR <= noise <= FAR:
        causes = (
            "the baseline was not corrected, the units are wrong, noise_cov is of other data or "
            "already divided by nave, or evoked.nave is too large"
            if noise > 1
            else "noise_cov is of other data or in other units, evoked.nave is too small, or the "
            "data were simulated without noise"
        )
        warn(
            f"the noise of the data is {noise:.2g} times what noise_cov says, and no recording's "
            f"is: {causes}." + (f" Hence {nothing} empty." if empty else "")
        )
    elif empty:
        warn(f"{nothing} empty: these data look like noise alone.")
