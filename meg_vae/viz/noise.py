"""The noise that a fit learnt, beside what the sources leave of the data and what was given."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .figures import open_axes
from .sensors import type_name
from .style import INK, PALETTE

if TYPE_CHECKING:
    import mne
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

FREQUENCIES = 400  # at which the learnt spectrum is drawn
FLOOR = 1e-3  # of the noise as given: spectra end there


def plot_noise(
    residual: mne.Evoked,
    given_sd: ArrayLike,
    whitened: ArrayLike,
    *,
    noise_variance: float,
    autocorrelation: ArrayLike = (1.0,),
    axes: np.ndarray | None = None,
) -> np.ndarray:
    """Plot the noise in time and in each channel: as given, as learnt and as the data leave it.

    Parameters
    ----------
    residual : mne.Evoked
        What the sources leave of the data. Bad channels are left out.
    given_sd : array_like, shape (n_channels,)
        Standard deviation of the noise of each channel as its covariance says, in the units of
        ``residual``.
    whitened : array_like, shape (rank, n_times)
        The residual, whitened by that covariance, dimensionless.
    noise_variance : float
        Learnt noise variance λ of the whitened data.
    autocorrelation : array_like, shape (n_lags,)
        Learnt autocorrelation of the noise, from 1 at lag 0.
    axes : ndarray of matplotlib.axes.Axes, shape (1, 2) | None
        Where to plot; ``None`` opens a figure.

    Returns
    -------
    axes : ndarray of matplotlib.axes.Axes, shape (1, 2)
        Power of the noise against frequency, and its standard deviation in each channel, both
        relative to what was given.

    Raises
    ------
    ValueError
        If shapes do not fit together.
    """
    given_sd, whitened = np.asarray(given_sd, float), np.atleast_2d(np.asarray(whitened, float))
    if given_sd.shape != (len(residual.ch_names),) or whitened.shape[1] != len(residual.times):
        raise ValueError(
            f"given_sd must have a value for each of {len(residual.ch_names)} channels, and "
            f"whitened the {len(residual.times)} samples of residual; got {given_sd.shape} and "
            f"{whitened.shape}."
        )
    axes = open_axes(axes, (1, 2), (10.0, 3.4))
    _plot_spectrum(axes[0, 0], whitened, residual.info["sfreq"], noise_variance, autocorrelation)
    _plot_channels(axes[0, 1], residual, given_sd, noise_variance)
    return axes


def _plot_spectrum(
    ax: Axes, whitened: np.ndarray, sfreq: float, noise_variance: float, r: ArrayLike
) -> None:
    from scipy.signal import periodogram

    r = np.asarray(r, float)
    if whitened.shape[1] > 1:
        found, power = periodogram(whitened, window="hann", detrend=False, scaling="density")
        ax.plot(
            sfreq * found[1:],
            np.maximum(power.mean(0)[1:] / 2, FLOOR),  # one-sided: 1 where the noise is as given
            color=PALETTE[0],
            label="left by the sources",
        )
    f = np.linspace(0, 0.5, FREQUENCIES)
    lags = np.arange(1, len(r))
    window = 1 - lags / len(r)
    learnt = r[0] + 2 * np.cos(2 * np.pi * f[:, None] * lags) @ (window * r[1:])
    ax.plot(
        sfreq * f,
        np.maximum(noise_variance * learnt, FLOOR),
        color=PALETTE[1],
        label=f"learnt (λ = {noise_variance:.2f})",
    )
    ax.axhline(1.0, color=INK, linestyle="--", linewidth=0.8, label="as given, white")
    ax.set(xlabel="Frequency (Hz)", ylabel="Power of the noise\n(relative to the noise covariance)")
    ax.set(yscale="log", xlim=(0, sfreq / 2))
    low, high = ax.get_ylim()
    ax.set_ylim(min(low, 0.1), max(high, 10.0))  # what is nearly white looks so
    ax.legend(frameon=False, fontsize="small")


def _plot_channels(
    ax: Axes, residual: mne.Evoked, given_sd: np.ndarray, noise_variance: float
) -> None:
    kinds, bads = np.array(residual.get_channel_types()), residual.info["bads"]
    good = ~np.isin(residual.ch_names, bads)
    ratio = np.sqrt(np.mean(np.square(residual.data), 1)) / np.where(given_sd > 0, given_sd, np.nan)
    first = 0
    for k, kind in enumerate(dict.fromkeys(kinds[good])):
        own = ratio[good & (kinds == kind)]
        place = first + np.arange(len(own))
        name = type_name(residual.info, kind)
        ax.plot(place, own, ".", markersize=4, color=PALETTE[2 + k % 4], label=name)
        first += len(own)
    ax.axhline(1.0, color=INK, linestyle="--", linewidth=0.8)
    ax.axhline(noise_variance**0.5, color=PALETTE[1], linewidth=1.2)
    ax.set(xlabel="Channel", ylim=(0, None), xlim=(-1, max(first, 1)))
    ax.set(ylabel="Standard deviation of the noise\n(relative to the noise covariance)")
    ax.legend(frameon=False, fontsize="small", loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
