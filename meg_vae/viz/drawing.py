"""A window with panels, a title, a legend and a colour bar, drawn by PyVista."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .layout import SIDES
from .marks import ball_mesh, diamond_mesh, ellipsoid_mesh
from .style import CONFIDENCE, GYRUS, INK, SULCUS

if TYPE_CHECKING:
    import pyvista

    from .layout import Page, Panel
    from .scale import ColourScale
    from .surfaces import Hemisphere

ESTIMATE, TRUE, REGION = "estimate", "true source", "confidence ellipsoid"  # the legend
SEE_THROUGH = 0.25  # opacity of a cortex with ellipsoids in it
# One white lamp at the eye: greys stay grey, and what faces the eye has its colour bar's colour.
MATT: dict[str, Any] = {"smooth_shading": True, "ambient": 0.35, "diffuse": 0.65, "specular": 0.0}


class Stage:
    """A plotter with a page of panels.

    Parameters
    ----------
    page : Page
        Window and boxes.
    background : color
        Colour behind the brains; text is dark or white after it.
    off_screen : bool | None
        As for `pyvista.Plotter`.
    """

    def __init__(self, page: Page, *, background: str, off_screen: bool | None) -> None:
        import pyvista as pv

        self.page = page
        self.ink = INK if np.mean(pv.Color(background).float_rgb) > 0.5 else "white"
        self.boxes = [box for row in page.boxes for box in row]
        with pv.vtk_verbosity("error"):  # without a display VTK warns, then takes another way
            self.plotter = pv.Plotter(
                shape=(1, 1 + len(self.boxes)),
                border=False,
                window_size=list(page.window),
                off_screen=off_screen,
                lighting=None,
            )
        self.plotter.set_background(background, all_renderers=True)
        views = [(0, 0, *page.window), *self.boxes]
        for renderer, box in zip(self.plotter.renderers, views, strict=True):
            left, bottom, width, height = box
            corners = (left, bottom, left + width, bottom + height)
            renderer.viewport = tuple(np.divide(corners, page.window * 2))
            renderer.enable_parallel_projection()
            renderer.add_light(pv.Light(light_type="headlight"))
            renderer.enable_anti_aliasing("ssaa")
        self.plotter.renderers[0].SetInteractive(False)

    def aim(
        self, index: int, panel: Panel, cortex: dict[str, Hemisphere], *, caption: bool = True
    ) -> None:
        """Turn to a panel: aim its camera, and name the view and the hemispheres."""
        self.plotter.subplot(0, 1 + index)
        height = self.boxes[index][3]
        above = self.page.caption / self.page.scale if caption else 0.0
        focus = panel.frame(cortex)[0] + panel.up * above / 2
        self._look_at(focus, panel.towards, panel.up, height / self.page.scale)
        if caption:
            self.write(panel.caption, 0.5, 1 - 0.5 * self.page.caption / height)
        if len(panel.hemis) == 2:
            self._name_sides(panel, cortex)

    def draw_panel(
        self,
        panel: Panel,
        meshes: dict[str, pyvista.PolyData],
        drawn: dict[str, pyvista.PolyData],
        scale: ColourScale,
        diamonds: dict[str, np.ndarray],
        radius: float,
        ellipsoids: dict[str, pyvista.PolyData] | None = None,
    ) -> None:
        """Draw the panel's hemispheres, what is drawn on them in colour, and the true sources.

        With ellipsoids, even none, the cortex is drawn see-through.
        """
        if ellipsoids is not None:
            self.plotter.enable_depth_peeling(number_of_peels=8)
        for hemi in panel.hemis:
            self.draw_cortex(meshes[hemi], 1.0 if ellipsoids is None else SEE_THROUGH)
            if ellipsoids and hemi in ellipsoids:
                self.draw_ellipsoids(ellipsoids[hemi])
            if hemi in drawn:
                self.draw_values(drawn[hemi], scale)
            if hemi in diamonds:
                self.draw_diamonds(diamonds[hemi], radius)

    def draw_cortex(self, mesh: pyvista.PolyData, opacity: float = 1.0) -> None:
        """Draw a surface in the active panel, its sulci in dark grey and its gyri in light grey."""
        greys: dict[str, Any] = {"cmap": [GYRUS, SULCUS], "n_colors": 2, "clim": (-1.0, 1.0)}
        self.plotter.add_mesh(
            mesh,
            scalars="curvature",
            opacity=opacity,
            show_scalar_bar=False,
            render=False,
            **greys,
            **MATT,
        )

    def draw_ellipsoids(self, mesh: pyvista.PolyData) -> None:
        """Draw translucent ellipsoids in the active panel."""
        self.plotter.add_mesh(mesh, color=CONFIDENCE, opacity=0.4, render=False, **MATT)

    def draw_values(self, mesh: pyvista.PolyData, scale: ColourScale) -> None:
        """Draw a mesh in the active panel, coloured by its values."""
        self.plotter.add_mesh(
            mesh, scalars="value", cmap=scale.table(), show_scalar_bar=False, render=False, **MATT
        )

    def draw_diamonds(self, centres: np.ndarray, radius: float) -> None:
        """Draw open diamonds in the active panel, which face the eye and mark true sources."""
        import pyvista as pv
        from vtkmodules.vtkRenderingCore import vtkFollower

        for centre in centres:
            mapper = pv.DataSetMapper(diamond_mesh())
            mapper.SetScalarModeToUseCellFieldData()
            mapper.SelectColorArray("rgb")
            follower = vtkFollower()
            follower.SetMapper(mapper)
            follower.SetCamera(self.plotter.camera)
            follower.SetPosition(*centre)
            follower.SetScale(radius)
            follower.GetProperty().LightingOff()
            self.plotter.add_actor(follower, reset_camera=False, pickable=False, render=False)

    def draw_margins(
        self,
        *,
        title: str | None,
        scale: ColourScale,
        scale_title: str,
        legend: list[str],
        empty: bool,
    ) -> None:
        """Write title, legend and colour bar around the panels, or that there is no source."""
        width, height = self.page.window
        self.plotter.subplot(0, 0)
        middle = np.array([width / 2, height / 2, 0.0])
        self._look_at(middle, np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 0.0]), height)
        if title:
            self.write(title, 0.5, 1 - self.page.header / 2 / height, size=1.25)
        self._legend(legend, scale)
        if empty:
            self.write("no source", 0.5, self.page.footer / 2 / height, size=1.1)
        else:
            self._colour_bar(scale, scale_title)

    def name_rows(self, names: list[str]) -> None:
        """Write a name to the left of each row of panels."""
        width, height = self.page.window
        self.plotter.subplot(0, 0)
        for row, name in enumerate(names):
            _, bottom, _, box_height = self.page.boxes[row][0]
            above = self.page.caption if row == 0 else 0.0
            y = (bottom + (box_height - above) / 2) / height
            self.write(name, self.page.em / width, y, align="left", size=1.15)

    def write(
        self, text: str, x: float, y: float, *, size: float = 1.0, align: str = "center"
    ) -> None:
        """Write a line in the active renderer, at a place in units of its width and height."""
        actor = self.plotter.add_text(
            text, position=(x, y), viewport=True, color=self.ink, font_size=1, render=False
        )
        actor.prop.font_size = round(size * self.page.em)
        actor.prop.justification_horizontal = align
        actor.prop.justification_vertical = "center"

    def _look_at(
        self, focus: np.ndarray, towards: np.ndarray, up: np.ndarray, height: float
    ) -> None:
        """Aim the active camera, and fit what is ``height`` high."""
        camera = self.plotter.camera
        camera.focal_point, camera.position, camera.up = focus, focus + 500 * towards, up
        camera.parallel_scale = height / 2

    def _legend(self, texts: list[str], scale: ColourScale) -> None:
        """Explain the marks, in the lower left corner, where a unit is a pixel."""
        em, (width, height) = self.page.em, self.page.window
        step = self.page.footer / (len(texts) + 1)
        for row, text in enumerate(texts, start=1):
            y = self.page.footer - row * step
            centre, size = np.array([[2 * em, y, 0.0]]), 0.4 * em
            if text == ESTIMATE:
                middle = np.array([np.mean(scale.ticks[[0, -1]])])
                self.draw_values(ball_mesh(centre, np.array([size]), middle), scale)
            elif text == REGION:
                self.draw_ellipsoids(ellipsoid_mesh([(centre[0], size * np.diag([1.3, 0.8, 1.0]))]))
            else:
                self.draw_diamonds(centre, size)
            self.write(text, 3.4 * em / width, y / height, align="left")

    def _colour_bar(self, scale: ColourScale, title: str) -> None:
        """Draw the colour bar in the middle of the foot of the page."""
        import pyvista as pv

        em, height = self.page.em, self.page.window[1]
        mapper = pv.DataSetMapper()
        mapper.lookup_table = scale.table()
        self.write(title, 0.5, 4.4 * em / height)
        self.plotter.add_scalar_bar(
            title="",
            mapper=mapper,
            n_labels=len(scale.ticks),
            fmt="%g",
            color=self.ink,
            width=0.4,
            height=3 * em / height,
            position_x=0.3,
            position_y=0.7 * em / height,
            label_font_size=round(em),
            vertical=False,
            interactive=False,
        )

    def _name_sides(self, panel: Panel, cortex: dict[str, Hemisphere]) -> None:
        """Write L and R at the lower outer corners of a view of both hemispheres."""
        corners = []
        for hemi in panel.hemis:
            points = cortex[hemi].points
            low, high = points.min(axis=0), points.max(axis=0)
            corner = np.where(panel.up > 0, low, (low + high) / 2)
            corner[0] = low[0] if hemi == "lh" else high[0]
            corners.append(corner)
        self.plotter.add_point_labels(
            np.array(corners),
            [SIDES[hemi][0] for hemi in panel.hemis],
            font_size=round(1.1 * self.page.em),
            text_color=self.ink,
            shape=None,
            show_points=False,
            always_visible=True,
            reset_camera=False,
            render=False,
        )
