"""Which source each of several responses speaks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import SymLogNorm
from matplotlib.ticker import MaxNLocator

from .figures import open_axes, remark

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

CLEAR = 3.0  # nats, 20 to 1: the scale is straight up to that, and logarithmic beyond


def plot_response_evidence(
    evidence: ArrayLike,
    active: ArrayLike,
    *,
    names: Sequence[str] | None = None,
    responses: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
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

    Returns
    -------
    ax : matplotlib.axes.Axes
        A row per source and a column per response, counted from 1, red where it speaks for the
        source and blue where against it, on a scale that is logarithmic beyond 3 nats.
    """
    values, on = np.asarray(evidence, float), np.asarray(active, bool)
    if values.ndim != 2 or values.shape != on.shape:
        raise ValueError(
            "evidence and active must have the shape (n_sources, n_responses), got "
            f"{values.shape} and {on.shape}."
        )
    if not np.isfinite(values).all():
        raise ValueError("evidence holds NaN or infinite values; leave those responses out.")
    n_sources, n_responses = values.shape
    names = [f"Source {k + 1}" for k in range(n_sources)] if names is None else list(names)
    if len(names) != n_sources:
        raise ValueError(f"names has {len(names)} entries for {n_sources} sources.")
    if responses is not None and len(responses) != n_responses:
        raise ValueError(f"responses has {len(responses)} entries for {n_responses} responses.")
    width = 3.2 + min(0.3 * n_responses, 7.0)
    ax = open_axes(ax, (1, 1), (width, 1.7 + 0.42 * max(n_sources, 2)))[0, 0]
    ax.set_xlabel("Response")
    ax.grid(visible=False)
    if not values.size:
        remark(ax, "no source" if not n_sources else "no response")
        return ax
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
    return ax
