"""The colour scale of a picture of the cortex."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .style import DIVERGING, PALETTE, SEQUENTIAL

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyvista


@dataclass(frozen=True, eq=False)
class ColourScale:
    """A colour map over a range, with round ticks.

    Attributes
    ----------
    cmap : str
        A matplotlib colour map.
    ticks : ndarray
        Evenly spaced values to label; the first and the last are the ends of the range.
    """

    cmap: str
    ticks: np.ndarray

    @classmethod
    def around(
        cls, values: np.ndarray, *, from_zero: bool, clim: tuple[float, float] | None = None
    ) -> ColourScale:
        """Choose the scale for some values; negative ones make it diverge about zero."""
        from matplotlib.ticker import MaxNLocator

        if clim is not None:
            low, high = map(float, clim)
            if not np.isfinite([low, high]).all() or low >= high:
                raise ValueError(f"clim must be two rising numbers; got {clim!r}.")
            ticks = np.linspace(low, high, 5)
        else:
            low, high = (np.min(values), np.max(values)) if len(values) else (0.0, 1.0)
            if from_zero:
                low, high = min(low, 0.0), max(high, 0.0)
            if from_zero and low < 0:
                low, high = -max(-low, high), max(-low, high)
            if low == high:
                low, high = (0.0, 1.0) if low == 0 else (low - abs(low) / 2, high + abs(high) / 2)
            locator = MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10])
            ticks = np.asarray(locator.tick_values(low, high), float)
        diverges = from_zero and ticks[0] < 0
        return cls(DIVERGING if diverges else SEQUENTIAL, ticks)

    def table(self) -> pyvista.LookupTable:
        """Return the scale as VTK's table of colours."""
        import pyvista as pv

        return pv.LookupTable(cmap=self.cmap, scalar_range=(self.ticks[0], self.ticks[-1]))

    def colour(self, value: float) -> str:
        """Return the colour of a value, as "#rrggbb"."""
        from matplotlib import colormaps
        from matplotlib.colors import to_hex

        low, high = self.ticks[0], self.ticks[-1]
        return to_hex(colormaps[self.cmap]((value - low) / (high - low)))

    def middle(self) -> str:
        """Return the colour in the middle, as "#rrggbb"."""
        return self.colour(np.mean(self.ticks[[0, -1]]))


@dataclass(frozen=True)
class Categories:
    """A colour for each of some names; values are their numbers.

    Attributes
    ----------
    names : tuple of str
        The names, at most as many as the palette has colours.
    """

    names: tuple[str, ...]

    @classmethod
    def of(cls, values: Iterable[str]) -> Categories:
        """Give every name a colour, in the order in which they come."""
        names = tuple(dict.fromkeys(map(str, values)))
        if len(names) > len(PALETTE):
            raise ValueError(
                f"sources has {len(names)} names; at most {len(PALETTE)} can be told apart by "
                "colour, so draw fewer."
            )
        return cls(names)

    def numbers(self, values: Iterable[str]) -> np.ndarray:
        """Return the number of each name."""
        return np.array([self.names.index(str(value)) for value in values], float)

    def table(self) -> pyvista.LookupTable:
        """Return the colours as VTK's table."""
        import pyvista as pv

        colours = list(PALETTE[: max(len(self.names), 1)])
        return pv.LookupTable(
            cmap=colours, n_values=len(colours), scalar_range=(-0.5, len(colours) - 0.5)
        )

    def colour(self, value: float) -> str:
        """Return the colour of a number, as "#rrggbb"."""
        return PALETTE[int(value)]

    def middle(self) -> str:
        """Return the first colour, as "#rrggbb"."""
        return PALETTE[0]
