"""A page with panels, a title, a legend and a colour bar."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from .canvas import open_canvas
from .layers import Categories, Key, Layer
from .layout import SIDES, VIEWS, arrange, sheet, strip
from .marks import ball_mesh
from .scene import Scene

if TYPE_CHECKING:
    import pyvista

    from .flat import FlatPicture
    from .layers import ColourScale
    from .layout import Panel
    from .surfaces import Hemisphere

ROWS = 3  # of a legend's column


def draw_page(scene: Scene) -> pyvista.Plotter | FlatPicture:
    """Draw a scene from all its views."""
    rows = sheet(scene.ground.look.views)
    stage = Stage(rows, scene, title=scene.title is not None)
    stage.draw([scene] * len(rows))
    stage.draw_margins(scene)
    stage.plotter.scene = scene
    return stage.plotter


def draw_rows(scenes: list[Scene], names: list[str], whole: Scene) -> pyvista.Plotter | FlatPicture:
    """Draw scenes on one ground, a row each with its name, and around them what explains all."""
    panels = strip(whole.ground.look.views)
    letters = max(len(line) for name in names for line in name.splitlines()) + 2
    stage = Stage([panels] * len(scenes), whole, title=whole.title is not None, letters=letters)
    stage.draw(scenes)
    stage.draw_margins(whole)
    stage.name_rows(names)
    return stage.plotter


class Stage:
    """A page of panels to draw on.

    Parameters
    ----------
    rows : list of list of Panel
        The panels.
    scene : Scene
        What the page is for: its cortex and its look.
    title : bool
        Whether to keep room for a title.
    letters : int
        Room for names of the rows, in letters; rows with names show the same views.

    Attributes
    ----------
    plotter : pyvista.Plotter | FlatPicture
        What is drawn; the second where there is no OpenGL.
    """

    def __init__(
        self, rows: list[list[Panel]], scene: Scene, *, title: bool, letters: int = 0
    ) -> None:
        look = scene.ground.look
        self.rows, self.grid = rows, letters > 0
        self.page = arrange(
            rows,
            scene.ground.cortex,
            window_size=look.window_size,
            title=title,
            margin_chars=letters,
            grid=self.grid,
        )
        self.boxes = [box for row in self.page.boxes for box in row]
        self.canvas = open_canvas(self.page.window, self.boxes, look)
        self.plotter = self.canvas.plotter

    def panels(self) -> Iterator[tuple[int, int, Panel]]:
        """Give each panel with its number on the canvas and its row."""
        number = 0
        for row, panels in enumerate(self.rows):
            for panel in panels:
                number += 1
                yield number, row, panel

    def draw(self, scenes: list[Scene]) -> None:
        """Draw a scene in each row."""
        for number, row, panel in self.panels():
            scene = scenes[row]
            ground = scene.ground
            self._aim(number, panel, ground.cortex, caption=not (self.grid and row))
            for hemi in panel.hemis:
                for layer in scene.drawn(hemi):
                    self.canvas.draw(layer)
                if hemi in ground.diamonds:
                    self.canvas.draw_diamonds(ground.diamonds[hemi], ground.look.source_size)
            for layer in ground.around:
                self.canvas.draw(layer)

    def _aim(
        self, number: int, panel: Panel, cortex: dict[str, Hemisphere], *, caption: bool
    ) -> None:
        """Turn to a panel: aim its camera, and name the view and the hemispheres."""
        self.canvas.turn_to(number)
        height = self.boxes[number - 1][3]
        above = self.page.caption / self.page.scale if caption else 0.0
        focus = panel.frame(cortex)[0] + panel.up * above / 2
        self.canvas.look_at(focus, panel.towards, panel.up, height / self.page.scale)
        if caption:
            self.write(panel.caption, 0.5, 1 - 0.5 * self.page.caption / height)
        if len(panel.hemis) == 2 and panel.view in VIEWS:
            self._name_sides(panel, cortex)

    def draw_margins(self, scene: Scene) -> None:
        """Write title, legend and colour bar around the panels, or that there is no source."""
        width, height = self.page.window
        self.canvas.turn_to(0)
        middle = np.array([width / 2, height / 2, 0.0])
        self.canvas.look_at(middle, np.array([0.0, 0, 1]), np.array([0.0, 1, 0]), height)
        if scene.title:
            self.write_title(scene.title)
        self._legend(scene.keys, scene.scale)
        if scene.empty:
            self.write("no source", 0.5, self.page.footer / 2 / height, size=1.1)
        elif not isinstance(scene.scale, Categories):
            self.write(scene.scale_title, 0.5, 4.4 * self.page.em / height)
            self.canvas.colour_bar(scene.scale, self.page.em)

    def write_title(self, text: str) -> Any:
        """Write a title above the panels, and return the actor."""
        self.canvas.turn_to(0)
        return self.write(text, 0.5, 1 - self.page.header / 2 / self.page.window[1], size=1.25)

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
