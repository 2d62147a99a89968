"""Curves of a localisation: sensors, source time courses, energy and evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .style import INK, PALETTE, RC, line

if TYPE_CHECKING:
    from collections.abc import Sequence

    import mne
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

TYPE_NAMES = {"grad": "Gradiometers", "mag": "Magnetometers", "eeg": "EEG"}


def plot_fit(evoked: mne.Evoked, residual: mne.Evoked, *, axes: np.ndarray | None = None) -> Figure:
    """Plot sensor data beside what the sources leave unexplained.

    Parameters
    ----------
    evoked : mne.Evoked
        The data. Bad channels are left out.
    residual : mne.Evoked
        The data less the field of the estimated sources; the same channels and times.
    axes : ndarray of matplotlib.axes.Axes, shape (n_channel_types, 2) | None
        Where to plot; ``None`` opens a figure.

    Returns
    -------
    fig : matplotlib.figure.Figure
        Data on the left and residual on the right, a row per channel type, on one scale a row,
        with the share of variance (sum of squares) that the sources explain.
    """
    if evoked.ch_names != residual.ch_names or len(evoked.times) != len(residual.times):
        raise ValueError("residual must have the channels and the times of evoked.")
    kinds = evoked.get_channel_types(unique=True, only_data_chs=True)
    axes = _axes(axes, (len(kinds), 2), (9.0, 2.6 * len(kinds)), sharex=True, sharey="row")
    for row, kind in zip(axes, kinds, strict=True):
        power = []
        for ax, part, name in zip(row, (evoked, residual), ("data", "residual"), strict=True):
            part = part.copy().pick(kind, exclude="bads")
            power.append(np.sum(part.data**2))
            part.plot(
                axes=ax,
                show=False,
                spatial_colors=False,
                selectable=False,
                time_unit="ms",
                hline=[0.0],
                verbose=False,
            )
            for curve in ax.lines:
                curve.set(color=PALETTE[0], linewidth=0.5, alpha=0.6)
            for text in list(ax.texts):  # the number of averages, which the report states
                text.remove()
            ax.set_title(f"{TYPE_NAMES.get(kind, kind)}: {name}")
            ax.set_xlabel("Time (ms)")
        ax.set_title(f"{ax.get_title()} ({_explained(*power)})")
    for ax in axes[:-1].flat:
        ax.set_xlabel("")
    for ax in axes[:, 1:].flat:
        ax.set_ylabel("")
    return axes.flat[0].figure


def plot_time_courses(
    times: ArrayLike,
    U: ArrayLike,
    sd: ArrayLike | None = None,
    *,
    names: Sequence[str] | None = None,
    ax: Axes | None = None,
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

    Returns
    -------
    fig : matplotlib.figure.Figure
        Activity (nAm) against time (ms).
    """
    times, U = np.asarray(times, float) * 1e3, np.atleast_2d(np.asarray(U, float)) * 1e9
    if times.ndim != 1 or U.ndim != 2 or (U.size and U.shape[1] != len(times)):
        raise ValueError(
            f"U must have the shape (n_sources, n_samples) with {times.size} samples as times has; "
            f"got {U.shape}."
        )
    n_sources = len(U) if U.size else 0
    names = [f"Source {k + 1}" for k in range(n_sources)] if names is None else list(names)
    if len(names) != n_sources:
        raise ValueError(f"names has {len(names)} entries for {n_sources} sources.")
    ax = _axes(ax, (1, 1), (8.0, 3.6))[0, 0]
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
        _say(ax, "no source")
    return ax.figure


def plot_energy(history: ArrayLike, *, label: str | None = None, ax: Axes | None = None) -> Figure:
    """Plot the energy against the iteration.

    Parameters
    ----------
    history : array_like, shape (n_iterations,)
        The energy J after each iteration (dimensionless).
    label : str | None
        Name of the curve in a legend, for several in the same axes.
    ax : matplotlib.axes.Axes | None
        Where to plot; ``None`` opens a figure.

    Returns
    -------
    fig : matplotlib.figure.Figure
        The figure.
    """
    history = np.asarray(history, float)
    if history.ndim != 1 or not len(history):
        raise ValueError(
            f"history must be one energy per iteration, at least one; got shape {history.shape}."
        )
    from matplotlib.ticker import MaxNLocator

    ax = _axes(ax, (1, 1), (5.5, 3.4))[0, 0]
    style = line(len(ax.get_lines()))
    ax.plot(np.arange(1, len(history) + 1), history, marker=".", label=label, **style)
    ax.set(xlabel="Iteration", ylabel="Energy $J$ (dimensionless)")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if label is not None:
        ax.legend(frameon=False)
    return ax.figure


def plot_evidence(
    sources: pd.DataFrame, *, threshold: float | None = None, ax: Axes | None = None
) -> Figure:
    """Plot how strongly the data speak for each source.

    Parameters
    ----------
    sources : pandas.DataFrame
        A row per source, with ``log_evidence`` (nats), ``hemi`` and ``vertno``, and ``label`` where
        it is known.
    threshold : float | None
        The log evidence from which a source is reported (nats).
    ax : matplotlib.axes.Axes | None
        Where to plot; ``None`` opens a figure.

    Returns
    -------
    fig : matplotlib.figure.Figure
        Log evidence of each source, the strongest on top; the axis is logarithmic when the
        evidence spans more than a factor of thirty.
    """
    missing = [name for name in ("log_evidence", "hemi", "vertno") if name not in sources]
    if missing:
        raise ValueError(f"sources lacks the column {' and '.join(missing)}.")
    table = sources.sort_values("log_evidence", ascending=False, kind="stable")
    ax = _axes(ax, (1, 1), (6.5, 1.3 + 0.34 * max(len(table), 2)))[0, 0]
    ax.set_xlabel("Log evidence (nats)")
    ax.grid(visible=False, axis="y")
    evidence = table["log_evidence"].to_numpy(float)
    marks = evidence if threshold is None else np.append(evidence, threshold)
    start = min(0.0, marks.min(initial=0.0))
    if len(evidence) and marks.min() > 0 and marks.max() > 30 * marks.min():
        ax.set_xscale("log")
        start = marks.min() / 2
    if len(evidence):
        rows = np.arange(len(evidence))
        ax.hlines(rows, start, evidence, color=PALETTE[0], linewidth=2)
        ax.plot(evidence, rows, "o", color=PALETTE[0])
        ax.set(yticks=rows, yticklabels=source_names(table), ylim=(len(rows) - 0.4, -0.6))
        ax.set_xlim(left=start)
    else:
        ax.set_xlim(0, 1.0 if threshold is None else 1.5 * threshold)
        _say(ax, "no source")
    if threshold is not None:
        ax.axvline(threshold, color=PALETTE[1], linestyle="--", label=f"threshold {threshold:g}")
        ax.legend(loc="lower right", frameon=False)
    return ax.figure


def source_names(sources: pd.DataFrame) -> list[str]:
    """Give each source a short name, for legends.

    Parameters
    ----------
    sources : pandas.DataFrame
        Table with the columns ``hemi``, ``vertno`` and, where known, ``label``.

    Returns
    -------
    names : list of str
        Like "cuneus (left)", or "vertex 123 (left)" where the region is unknown.
    """
    names = []
    labels = sources["label"] if "label" in sources else [None] * len(sources)
    for hemi, vertno, label in zip(sources["hemi"], sources["vertno"], labels, strict=True):
        known = isinstance(label, str) and label
        name = label.removesuffix(f"-{hemi}") if known else f"vertex {vertno}"
        side = {"lh": "left", "rh": "right"}.get(hemi, hemi)
        names.append(f"{name} ({side})")
    return names


def _explained(data: float, residual: float) -> str:
    """Return the explained share of the data's sum of squares, in words."""
    share = 100 * (1 - residual / data) if data > 0 else 0.0
    return f"{share:.0f} % explained"


def _axes(
    given: Any, shape: tuple[int, int], size: tuple[float, float], **kwargs: Any
) -> np.ndarray:
    """Return axes in rows and columns: those given, or those of a new figure."""
    import matplotlib.pyplot as plt

    if given is None:
        with plt.rc_context(RC):
            return plt.subplots(
                *shape, figsize=size, layout="constrained", squeeze=False, **kwargs
            )[1]
    given = np.atleast_2d(np.asarray(given, dtype=object))
    if given.shape != shape:
        raise ValueError(f"axes must have the shape {shape}; got {given.shape}.")
    return given


def _say(ax: Axes, text: str) -> None:
    """Write a remark in the middle of empty axes, and take away their meaningless y scale."""
    ax.set_yticks([])
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center")
