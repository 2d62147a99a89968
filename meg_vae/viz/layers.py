"""Meshes with their colours, the scale of these, and what the legend says of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .style import DIVERGING, GLASS, GYRUS, PALETTE, SEQUENTIAL, SULCUS

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyvista


@dataclass(frozen=True)
class Key:
    """An entry of the legend: "ball", "diamond" or "patch", and what it stands for."""

    text: str
    kind: str
    colour: str | None = None  # None takes the middle of the colour scale


ESTIMATE, TRUE = Key("estimate", "ball"), Key("true source", "diamond")


@dataclass(frozen=True, eq=False)
class Layer:
    """A mesh and its colours.

    Attributes
    ----------
    mesh : pyvista.PolyData
        Triangles.
    colour : str | None
        One colour for all of it; ``None`` takes the colours of ``table``.
    scalars : str
        The values at the vertices that ``table`` colours.
    table : pyvista.LookupTable | None
        Colours of the values.
    opacity : float
        From 0 to 1. Of what is not opaque the far side alone is drawn, so that the marks in it
        keep the colours of the colour bar.
    """

    mesh: pyvista.PolyData
    colour: str | None = None
    scalars: str = "value"
    table: pyvista.LookupTable | None = None
    opacity: float = 1.0

    def options(self) -> dict[str, Any]:
        """Return how PyVista draws the mesh.

        One white lamp at the eye: greys stay grey, and what faces the eye has its bar's colour.
        """
        colours: dict[str, Any] = {"color": self.colour}
        if self.colour is None:
            colours = {"scalars": self.scalars, "cmap": self.table, "show_scalar_bar": False}
        glass = {} if self.opacity == 1 else {"opacity": self.opacity, "culling": "front"}
        matt = {"smooth_shading": True, "ambient": 0.35, "diffuse": 0.65, "specular": 0.0}
        return colours | glass | matt | {"render": False}


def cortex_layer(mesh: pyvista.PolyData, *, glass: bool = False) -> Layer:
    """Return a cortex to draw: its sulci in dark grey and its gyri in light grey, or as glass."""
    import pyvista as pv

    if glass:
        return Layer(mesh, colour=GLASS, opacity=0.25)
    greys = pv.LookupTable(cmap=[GYRUS, SULCUS], n_values=2, scalar_range=(-1.0, 1.0))
    return Layer(mesh, scalars="curvature", table=greys)


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
            ticks = np.linspace(*map(float, clim), 5)
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
