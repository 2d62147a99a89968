"""Curves of a localization: time courses of the sources, and the energy of the fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .figures import open_axes, remark
from .style import INK, line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike


def plot_time_courses(
    times: ArrayLike,
    U: ArrayLike,
    sd: ArrayLike | None = None,
    *,
    names: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
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

    Returns
    -------
    ax : matplotlib.axes.Axes
        Activity (nAm) against time (ms).
    """
    times, U, names = _courses(times, U, "U", names)
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
    return ax


def plot_evidence_over_time(
    times: ArrayLike,
    evidence: ArrayLike,
    *,
    onsets: ArrayLike | None = None,
    offsets: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Plot how the log evidence of sources adds up over time.

    Parameters
    ----------
    times : array_like, shape (n_samples,)
        Time (s).
    evidence : array_like, shape (n_sources, n_samples)
        Log evidence so far (nats).
    onsets, offsets : array_like, shape (n_sources, 2) | None
        95 % intervals of when each begins and ends (s), shaded.
    names : sequence of str | None
        A name per source; ``None`` counts them.
    ax : matplotlib.axes.Axes | None
        Where to plot; ``None`` opens a figure.

    Returns
    -------
    ax : matplotlib.axes.Axes
        Log evidence (nats) against time (ms).
    """
    times, evidence, names = _courses(times, evidence, "evidence", names)
    ax = open_axes(ax, (1, 1), (8.0, 3.6))[0, 0]
    half = np.median(np.diff(times)) / 2 if len(times) > 1 else 0.5  # an interval can be a sample
    for k, (own, name) in enumerate(zip(evidence, names, strict=True)):
        ax.step(times, own, where="mid", label=name, linewidth=1.6, **line(k))
        for intervals in (onsets, offsets):
            if intervals is not None:
                low, high = 1e3 * np.asarray(intervals, float)[k]
                ax.axvspan(low - half, high + half, color=line(k)["color"], alpha=0.2, linewidth=0)
    ax.set(xlabel="Time (ms)", ylabel="Log evidence so far (nats)", ylim=(0, None))
    if len(times) > 1:
        ax.set_xlim(times[0], times[-1])
    shaded = "onset and offset:\n95 % intervals" if onsets is not None else None
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), title=shaded, frameon=False)
    return ax


def _courses(
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
    names = [f"Source {k + 1}" for k in range(n_sources)] if names is None else list(names)
    if len(names) != n_sources:
        raise ValueError(f"names has {len(names)} entries for {n_sources} sources.")
    return times, values, names


def plot_energy(
    history: ArrayLike,
    *,
    certificate: float | None = None,
    tol: float | None = None,
    label: str | None = None,
    ax: Axes | None = None,
) -> Axes:
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

    Returns
    -------
    ax : matplotlib.axes.Axes
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
    return ax
