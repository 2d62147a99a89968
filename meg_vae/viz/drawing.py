"""A page with panels, a title, a legend and a colour bar."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .canvas import open_canvas
from .layout import SIDES, VIEWS
from .marks import ball_mesh
from .scale import Categories
from .scene import Layer
from .style import INK

if TYPE_CHECKING:
    from .layout import Page, Panel
    from .scale import ColourScale
    from .scene import Key, Scene
    from .surfaces import Hemisphere

ROWS = 3  # of a legend's column


class Stage:
    """A page of panels to draw on.

    Parameters
    ----------
    page : Page
        Window and boxes.
    background : color
        Colour behind the brains; text is dark or white after it.
    off_screen : bool | None
        As for `pyvista.Plotter`.

    Attributes
    ----------
    plotter : pyvista.Plotter | FlatPicture
        What is drawn; the second where there is no OpenGL.
    """

    def __init__(self, page: Page, *, background: str, off_screen: bool | None) -> None:
        from matplotlib.colors import to_rgb

        self.page = page
        self.boxes = [box for row in page.boxes for box in row]
        ink = INK if np.mean(to_rgb(background)) > 0.5 else "white"
        self.canvas = open_canvas(
            page.window, self.boxes, background=background, ink=ink, off_screen=off_screen
        )
        self.plotter = self.canvas.plotter

    def aim(
        self, index: int, panel: Panel, cortex: dict[str, Hemisphere], *, caption: bool = True
    ) -> None:
        """Turn to a panel: aim its camera, and name the view and the hemispheres."""
        self.canvas.turn_to(1 + index)
        height = self.boxes[index][3]
        above = self.page.caption / self.page.scale if caption else 0.0
        focus = panel.frame(cortex)[0] + panel.up * above / 2
        self.canvas.look_at(focus, panel.towards, panel.up, height / self.page.scale)
        if caption:
            self.write(panel.caption, 0.5, 1 - 0.5 * self.page.caption / height)
        if len(panel.hemis) == 2 and panel.view in VIEWS:
            self._name_sides(panel, cortex)

    def draw_panel(
        self,
        panel: Panel,
        layers: dict[str, list[Layer]],
        diamonds: dict[str, np.ndarray],
        radius: float,
    ) -> None:
        """Draw the panel's hemispheres, what is drawn on them, and the true sources."""
        for hemi in panel.hemis:
            for layer in layers[hemi]:
                self.canvas.draw(layer)
            if hemi in diamonds:
                self.canvas.draw_diamonds(diamonds[hemi], radius)

    def draw_scene(self, scene: Scene, rows: list[list[Panel]]) -> None:
        """Draw a scene in all panels, and what explains it around them."""
        for index, panel in enumerate(panel for row in rows for panel in row):
            self.aim(index, panel, scene.cortex)
            self.draw_panel(panel, scene.layers, scene.diamonds, scene.source_size)
            for layer in scene.around:
                self.canvas.draw(layer)
        self.draw_margins(
            title=scene.title,
            scale=scene.scale,
            scale_title=scene.scale_title,
            legend=scene.legend,
            empty=scene.empty,
        )

    def draw_margins(
        self,
        *,
        title: str | None,
        scale: ColourScale | Categories,
        scale_title: str,
        legend: list[Key],
        empty: bool,
    ) -> None:
        """Write title, legend and colour bar around the panels, or that there is no source."""
        width, height = self.page.window
        self.canvas.turn_to(0)
        middle = np.array([width / 2, height / 2, 0.0])
        self.canvas.look_at(middle, np.array([0.0, 0, 1]), np.array([0.0, 1, 0]), height)
        if title:
            self.write(title, 0.5, 1 - self.page.header / 2 / height, size=1.25)
        self._legend(legend, scale)
        if empty:
            self.write("no source", 0.5, self.page.footer / 2 / height, size=1.1)
        elif not isinstance(scale, Categories):
            self.write(scale_title, 0.5, 4.4 * self.page.em / height)
            self.canvas.colour_bar(scale, self.page.em)

    def name_rows(self, names: list[str]) -> None:
        """Write a name to the left of each row of panels."""
        width, height = self.page.window
        self.canvas.turn_to(0)
        for row, name in enumerate(names):
            _, bottom, _, box_height = self.page.boxes[row][0]
            above = self.page.caption if row == 0 else 0.0
            y = (bottom + (box_height - above) / 2) / height
            self.write(name, self.page.em / width, y, align="left", size=1.15)

    def write(
        self, text: str, x: float, y: float, *, size: float = 1.0, align: str = "center"
    ) -> Any:
        """Write a line in the active panel, at a place in units of its width and height."""
        return self.canvas.write(text, x, y, size=round(size * self.page.em), align=align)

    def _legend(self, keys: list[Key], scale: ColourScale | Categories) -> None:
        """Explain the marks, in the lower left corner, where a unit is a pixel."""
        em, (width, height) = self.page.em, self.page.window
        rows = min(len(keys), ROWS)
        column = max((len(key.text) for key in keys), default=0) * 0.62 * em + 4 * em
        for k, key in enumerate(keys):
            x, y = k // ROWS * column, self.page.footer * (1 - (k % ROWS + 1) / (rows + 1))
            centre, size = np.array([[x + 2 * em, y, 0.0]]), 0.4 * em
            colour = key.colour or scale.middle()
            if key.kind == "diamond":
                self.canvas.draw_diamonds(centre, size)
            elif key.kind == "ball":
                self.canvas.draw(Layer(ball_mesh(centre, np.array([size])), colour=colour))
            else:
                patch = ball_mesh(centre, np.array([1.5 * size]))
                self.canvas.draw(Layer(patch, colour=colour, opacity=0.5))
            self.write(key.text, (x + 3.4 * em) / width, y / height, align="left")

    def _name_sides(self, panel: Panel, cortex: dict[str, Hemisphere]) -> None:
        """Write L and R at the lower outer corners of a view of both hemispheres."""
        corners = []
        for hemi in panel.hemis:
            points = cortex[hemi].extent
            low, high = points.min(axis=0), points.max(axis=0)
            corner = np.where(panel.up > 0, low, (low + high) / 2)
            corner[0] = low[0] if hemi == "lh" else high[0]
            corners.append(corner)
        names = [SIDES[hemi][0] for hemi in panel.hemis]
        self.canvas.name_points(np.array(corners), names, round(1.1 * self.page.em))
