"""How strongly the data speak for each source."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .figures import open_axes, remark
from .style import PALETTE

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def plot_evidence(
    sources: pd.DataFrame, *, threshold: float | None = None, ax: Axes | None = None
) -> Axes:
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
    ax : matplotlib.axes.Axes
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
    return ax


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
