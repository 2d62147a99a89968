"""What is drawn on and around the cortex, whatever draws it and from wherever it is seen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .style import GLASS, GYRUS, SULCUS

if TYPE_CHECKING:
    import numpy as np
    import pyvista

    from .scale import Categories, ColourScale
    from .surfaces import Hemisphere


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

    def look(self) -> dict[str, Any]:
        """Return how PyVista draws the mesh.

        One white lamp at the eye: greys stay grey, and what faces the eye has its bar's colour.
        """
        colours: dict[str, Any] = {"color": self.colour}
        if self.colour is None:
            colours = {"scalars": self.scalars, "cmap": self.table, "show_scalar_bar": False}
        glass = {} if self.opacity == 1 else {"opacity": self.opacity, "culling": "front"}
        matt = {"smooth_shading": True, "ambient": 0.35, "diffuse": 0.65, "specular": 0.0}
        return colours | glass | matt | {"render": False}


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything to draw, by hemisphere.

    Attributes
    ----------
    cortex : dict of Hemisphere
        The hemispheres, for the cameras.
    layers : dict of list of Layer
        What is drawn with each hemisphere, the cortex itself first.
    around : list of Layer
        What is drawn in every view.
    diamonds : dict of ndarray, shape (n_true, 3)
        Centres of the true sources (mm).
    source_size : float
        Radius of the largest mark (mm).
    scale : ColourScale | Categories
        Colours of the sources.
    scale_title : str
        What they mean, with the unit.
    legend : list of Key
        What the marks mean.
    empty : bool
        Whether there is no source.
    title : str | None
        Title of the picture.
    background : color
        Colour behind the brains.
    """

    cortex: dict[str, Hemisphere]
    layers: dict[str, list[Layer]]
    diamonds: dict[str, np.ndarray]
    source_size: float
    scale: ColourScale | Categories
    scale_title: str
    legend: list[Key]
    empty: bool
    title: str | None = None
    background: str = "white"
    around: list[Layer] = field(default_factory=list)


def cortex_layer(mesh: pyvista.PolyData, *, glass: bool = False) -> Layer:
    """Return a cortex to draw: its sulci in dark grey and its gyri in light grey, or as glass."""
    import pyvista as pv

    if glass:
        return Layer(mesh, colour=GLASS, opacity=0.25)
    greys = pv.LookupTable(cmap=[GYRUS, SULCUS], n_values=2, scalar_range=(-1.0, 1.0))
    return Layer(mesh, scalars="curvature", table=greys)
