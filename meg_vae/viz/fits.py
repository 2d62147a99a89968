"""Curves of a fit: time courses of the sources, its energy, and the noise that it learnt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .figures import open_axes, remark, show_figure
from .sensors import type_name
from .style import INK, PALETTE, line

if TYPE_CHECKING:
    from collections.abc import Sequence

    import mne
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

FREQUENCIES = 400  # at which the learnt spectrum is drawn
FLOOR = 1e-3  # of the noise as given: spectra end there


def plot_time_courses(
    times: ArrayLike,
    U: ArrayLike,
    sd: ArrayLike | None = None,
    *,
    names: Sequence[str] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
) -> Figure:
    """Plot the time courses of the sources, with bands of two posterior standard deviations.

    Parameters
    ----------
    times : array_like, shape (n_samples,)
        Time (s).
    U : array_like, shape (n_sources, n_samples)
        Source activity (A·m).
    sd : array_like, shape (n_sources,) or (n_sources, n_samples) | None
        Posterior standard deviation (A·m).
    names : sequence of str | None
        A name per source; ``None`` counts them.
    ax : matplotlib.axes.Axes | None
        Where to plot; ``None`` opens a figure.
    show : bool | None
        Whether to show the figure; ``None`` does so for a new one, where no notebook does.

    Returns
    -------
    fig : matplotlib.figure.Figure
        Activity (nAm) against time (ms).
    """
    times, U, names = check_courses(times, U, "U", names)
    U, n_sources = 1e9 * U, len(names)
    ax = open_axes(ax, (1, 1), (8.0, 3.6))[0, 0]
    if sd is not None and n_sources:
        half = 2e9 * np.asarray(sd, float)
        half = np.broadcast_to(half[:, np.newaxis] if half.ndim == 1 else half, U.shape)
    for k in range(n_sources):
        if sd is not None:
            low, high = U[k] - half[k], U[k] + half[k]
            ax.fill_between(times, low, high, color=line(k)["color"], alpha=0.2, linewidth=0)
        ax.plot(times, U[k], label=names[k], linewidth=1.6, **line(k))
    ax.axhline(0.0, color=INK, linewidth=0.6)
    ax.set(xlabel="Time (ms)", ylabel="Source amplitude (nAm)")
    if len(times) > 1:
        ax.set_xlim(times[0], times[-1])
    if n_sources:
        title = "± 2 posterior SD" if sd is not None else None
        ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), title=title, frameon=False)
    else:
        remark(ax, "no source")
    return show_figure(ax, show)


def plot_energy(
    history: ArrayLike,
    *,
    certificate: float | None = None,
    tol: float | None = None,
    label: str | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
) -> Figure:
    """Plot the energy against the iteration, and say how certain its minimum is.

    Parameters
    ----------
    history : array_like, shape (n_iterations,)
        The energy J after each iteration (dimensionless).
    certificate : float | None
        How far the end is from a stationary point (dimensionless), to write beside it.
    tol : float | None
        The target of the certificate.
    label : str | None
        Name of the curve in a legend, for several in the same axes.
    ax : matplotlib.axes.Axes | None
        Where to plot; ``None`` opens a figure.
    show : bool | None
        Whether to show the figure; ``None`` does so for a new one, where no notebook does.

    Returns
    -------
    fig : matplotlib.figure.Figure
        The curve.
    """
    history = np.asarray(history, float)
    if history.ndim != 1 or not len(history):
        raise ValueError(
            f"history must be one energy per iteration, at least one; got shape {history.shape}."
        )
    from matplotlib.ticker import MaxNLocator

    ax = open_axes(ax, (1, 1), (5.5, 3.4))[0, 0]
    style = line(len(ax.get_lines()))
    ax.plot(np.arange(1, len(history) + 1), history, marker=".", label=label, **style)
    ax.set(xlabel="Iteration", ylabel="Energy $J$ (dimensionless)")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if certificate is not None:
        target = "" if tol is None else f" (target {tol:.0e})"
        ax.annotate(
            f"certificate {certificate:.1e}{target}",
            (len(history), history[-1]),
            (0.98, 0.9),
            textcoords="axes fraction",
            ha="right",
            arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.7},
        )
    if label is not None:
        ax.legend(frameon=False)
    return show_figure(ax, show)


def plot_noise(
    residual: mne.Evoked,
    given_sd: ArrayLike,
    whitened: ArrayLike,
    *,
    noise_variance: float,
    autocorrelation: ArrayLike = (1.0,),
    axes: np.ndarray | None = None,
    show: bool | None = None,
) -> Figure:
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
    show : bool | None
        Whether to show the figure; ``None`` does so for a new one, where no notebook does.

    Returns
    -------
    fig : matplotlib.figure.Figure
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
    return show_figure(axes, show)


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


def check_courses(
    times: ArrayLike, values: ArrayLike, name: str, names: Sequence[str] | None
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Check courses of sources; times in ms, values (n_sources, n_samples), a name each."""
    times, values = 1e3 * np.asarray(times, float), np.atleast_2d(np.asarray(values, float))
    if times.ndim != 1 or values.ndim != 2 or (values.size and values.shape[1] != len(times)):
        raise ValueError(
            f"{name} must have the shape (n_sources, n_samples) with {times.size} samples as times "
            f"has; got {values.shape}."
        )
    n_sources = len(values) if values.size else 0
    return times, values, check_names(names, n_sources)


def check_names(names: Sequence[str] | None, n_sources: int) -> list[str]:
    """Return a name of each source, those given or counted ones."""
    names = [f"Source {k + 1}" for k in range(n_sources)] if names is None else list(names)
    if len(names) != n_sources:
        raise ValueError(f"names has {len(names)} entries for {n_sources} sources.")
    return names
