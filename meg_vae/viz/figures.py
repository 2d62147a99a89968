"""Figures of matplotlib: opened in one style, and shown once."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from .style import RC

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes

IN_NOTEBOOKS = ("inline", "ipympl", "nbagg", "widget")  # backends, in their names


class InlineFigure(Figure):
    """A `matplotlib.figure.Figure` for notebooks that show figures inline.

    Such a notebook shows the value of a cell, and at the end of the cell all that pyplot holds: a
    figure that is both it would show twice.
    """

    def _ipython_display_(self, **kwargs: Any) -> None:
        """Leave pyplot's hands when shown; IPython then goes on as for any figure."""
        import matplotlib.pyplot as plt

        plt.close(self)
        raise NotImplementedError


@contextmanager
def in_style(**more: Any) -> Iterator[None]:
    """Draw in the style of this package, and put back the user's.

    Matplotlib's own context also puts back what a notebook's backend sets when the first figure
    loads it, after which the notebook would show no figure any more.
    """
    import matplotlib as mpl

    style = RC | more
    before = {name: mpl.rcParams[name] for name in style}
    mpl.rcParams.update(style)
    try:
        yield
    finally:
        mpl.rcParams.update(before)


def open_figure(size: tuple[float, float], **kwargs: Any) -> Figure:
    """Open a figure of a size in inches."""
    import matplotlib.pyplot as plt

    with in_style():
        return plt.figure(
            figsize=size, FigureClass=InlineFigure, **({"layout": "constrained"} | kwargs)
        )


def open_axes(
    given: Any, shape: tuple[int, int], size: tuple[float, float], **kwargs: Any
) -> np.ndarray:
    """Return axes in rows and columns: those given, or those of a new figure."""
    if given is None:
        with in_style():
            return open_figure(size).subplots(*shape, squeeze=False, **kwargs)
    given = np.atleast_2d(np.asarray(given, dtype=object))
    if given.shape != shape:
        raise ValueError(f"axes must have the shape {shape}; got {given.shape}.")
    return given


def remark(ax: Axes, text: str) -> None:
    """Write a remark in the middle of empty axes, and take away their meaningless y scale."""
    ax.set_yticks([])
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center")


def show_figure(drawn: Any, show: bool | None) -> Figure:
    """Show a figure as MNE does, and return it: the figure itself, or that of some axes.

    ``show=None`` shows one that was opened here, where no notebook does.
    """
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    fig = drawn if isinstance(drawn, Figure) else np.ravel(drawn)[0].figure
    backend = mpl.get_backend().lower()
    if show is None:
        show = isinstance(fig, InlineFigure) and not any(one in backend for one in IN_NOTEBOOKS)
    if show and backend != "agg":
        plt.show()
    return fig
