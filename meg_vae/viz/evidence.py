"""How strongly the data speak for each source: in all, in each response, and over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .figures import open_axes, remark, show_figure
from .fits import check_courses, check_names
from .style import PALETTE, line
from .tables import source_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

CLEAR = 3.0  # nats, 20 to 1: the scale is straight up to that, and logarithmic beyond


def plot_evidence(
    sources: pd.DataFrame,
    *,
    threshold: float | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
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
    show : bool | None
        Whether to show the figure; ``None`` does so for a new one, where no notebook does.

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
    ax = open_axes(ax, (1, 1), (6.5, 1.3 + 0.34 * max(len(table), 2)))[0, 0]
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
        remark(ax, "no source")
    if threshold is not None:
        ax.axvline(threshold, color=PALETTE[1], linestyle="--", label=f"threshold {threshold:g}")
        ax.legend(loc="lower right", frameon=False)
    return show_figure(ax, show)


def plot_response_evidence(
    evidence: ArrayLike,
    active: ArrayLike,
    *,
    names: Sequence[str] | None = None,
    responses: Sequence[str] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
) -> Figure:
    """Plot what each response says for the activity of each source.

    Parameters
    ----------
    evidence : array_like, shape (n_sources, n_responses)
        Log evidence for each source in each response (nats).
    active : array_like of bool, shape (n_sources, n_responses)
        In which responses each source is active: marked by a dot.
    names : sequence of str | None
        A name per source; ``None`` counts them.
    responses : sequence of str | None
        A name per response; ``None`` counts them.
    ax : matplotlib.axes.Axes | None
        Where to plot; ``None`` opens a figure.
    show : bool | None
        Whether to show the figure; ``None`` does so for a new one, where no notebook does.

    Returns
    -------
    fig : matplotlib.figure.Figure
        A row per source and a column per response, counted from 1, red where it speaks for the
        source and blue where against it, on a scale that is logarithmic beyond 3 nats.
    """
    from matplotlib.colors import SymLogNorm
    from matplotlib.ticker import MaxNLocator

    values, on = np.asarray(evidence, float), np.asarray(active, bool)
    if values.ndim != 2 or values.shape != on.shape:
        raise ValueError(
            "evidence and active must have the shape (n_sources, n_responses), got "
            f"{values.shape} and {on.shape}."
        )
    if not np.isfinite(values).all():
        raise ValueError("evidence holds NaN or infinite values; leave those responses out.")
    n_sources, n_responses = values.shape
    names = check_names(names, n_sources)
    if responses is not None and len(responses) != n_responses:
        raise ValueError(f"responses has {len(responses)} entries for {n_responses} responses.")
    width = 3.2 + min(0.3 * n_responses, 7.0)
    ax = open_axes(ax, (1, 1), (width, 1.7 + 0.42 * max(n_sources, 2)))[0, 0]
    ax.set_xlabel("Response")
    ax.grid(visible=False)
    if not values.size:
        remark(ax, "no source" if not n_sources else "no response")
        return show_figure(ax, show)
    top = max(float(np.abs(values).max()), 2 * CLEAR)
    norm = SymLogNorm(CLEAR, vmin=-top, vmax=top)
    image = ax.imshow(
        values,
        cmap="RdBu_r",
        norm=norm,
        aspect="auto",
        interpolation="nearest",
        extent=(0.5, n_responses + 0.5, n_sources - 0.5, -0.5),
    )
    rows, columns = np.nonzero(on)
    ax.plot(columns + 1, rows, ".", color="0.1", markersize=max(2.0, 6.0 - n_responses / 40))
    ax.set(yticks=range(n_sources), yticklabels=names)
    if responses is not None and n_responses <= 12:
        ax.set_xticks(range(1, n_responses + 1), responses, rotation=30, ha="right")
        ax.set_xlabel("")
    else:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    bar = ax.figure.colorbar(image, ax=ax, label="Log evidence (nats)")
    decades = 10.0 ** np.arange(1, np.floor(np.log10(top)) + 1)
    ticks = [t for t in (*-decades[::-1], -CLEAR, 0, CLEAR, *decades) if abs(t) <= top]
    bar.set_ticks(ticks, labels=[f"{t:g}" for t in ticks])
    bar.minorticks_off()
    return show_figure(ax, show)


def plot_evidence_over_time(
    times: ArrayLike,
    evidence: ArrayLike,
    *,
    onsets: ArrayLike | None = None,
    offsets: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
) -> Figure:
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
    show : bool | None
        Whether to show the figure; ``None`` does so for a new one, where no notebook does.

    Returns
    -------
    fig : matplotlib.figure.Figure
        Log evidence (nats) against time (ms).
    """
    times, evidence, names = check_courses(times, evidence, "evidence", names)
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
    return show_figure(ax, show)
