"""A figure that a notebook shows once."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure


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
