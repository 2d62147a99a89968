"""Where a page is drawn: in PyVista, or by matplotlib where this machine has no OpenGL."""

from __future__ import annotations

import ctypes
import functools
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from .flat import FlatCanvas
from .marks import diamond_mesh
from .style import INK

if TYPE_CHECKING:
    from .layers import ColourScale, Layer
    from .layout import Box
    from .look import Look

# What VTK opens on Linux: with a display, without one, and in software.
LIBRARIES = ("libGL.so.1", "libEGL.so.1", "libOSMesa.so.8", "libOSMesa.so")
HINT = (
    "this machine has no OpenGL, so the cortex is drawn flat by matplotlib. For the full picture "
    "install it: on Debian or Ubuntu `apt install libegl1 libgl1`, with conda `conda install -c "
    "conda-forge mesalib libegl libgl`."
)


def open_canvas(window: tuple[int, int], boxes: list[Box], look: Look) -> Canvas | FlatCanvas:
    """Open a canvas with the whole page as its first panel, and one for each box (pixels).

    Where the look asks for that, or there is no OpenGL (a warning tells), it is matplotlib's.
    """
    from matplotlib.colors import to_rgb

    views = [(0.0, 0.0, *map(float, window)), *boxes]
    ink = INK if np.mean(to_rgb(look.background)) > 0.5 else "white"
    if look.backend == "matplotlib" or (look.backend is None and _warn_without_opengl()):
        return FlatCanvas(window, views, background=look.background, ink=ink)
    if not has_opengl():
        raise RuntimeError(f"backend='pyvista': {HINT}")
    return Canvas(window, views, look, ink)


class Canvas:
    """Panels of a PyVista plotter."""

    def __init__(
        self,
        window: tuple[int, int],
        views: list[Box],
        look: Look,
        ink: str,
    ) -> None:
        import pyvista as pv

        from .plotter import CortexPlotter

        self.ink, self._height = ink, window[1]
        with pv.vtk_verbosity("error"):  # without a display VTK warns, then takes another way
            self.plotter = CortexPlotter(
                shape=(1, len(views)),
                border=False,
                window_size=list(window),
                off_screen=look.off_screen,
                lighting=None,
            )
        self.plotter.set_background(look.background, all_renderers=True)
        for renderer, box in zip(self.plotter.renderers, views, strict=True):
            left, bottom, width, height = box
            corners = (left, bottom, left + width, bottom + height)
            renderer.viewport = tuple(np.divide(corners, window * 2))
            renderer.enable_parallel_projection()
            renderer.add_light(pv.Light(light_type="headlight"))
            renderer.enable_anti_aliasing("ssaa")
        self.plotter.renderers[0].SetInteractive(False)

    def turn_to(self, index: int) -> None:
        """Draw in a panel from now on."""
        self.plotter.subplot(0, index)

    def look_at(
        self, focus: np.ndarray, towards: np.ndarray, up: np.ndarray, height: float
    ) -> None:
        """Aim the active camera, and fit what is ``height`` high."""
        camera = self.plotter.camera
        camera.focal_point, camera.position, camera.up = focus, focus + 500 * towards, up
        camera.parallel_scale = height / 2

    def draw(self, layer: Layer) -> Any:
        """Draw a mesh in the active panel, and return the actor."""
        return self.plotter.add_mesh(layer.mesh, **layer.options())

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

    def write(self, text: str, x: float, y: float, *, size: int, align: str) -> Any:
        """Write a line in the active panel, and return the actor."""
        actor = self.plotter.add_text(
            text, position=(x, y), viewport=True, color=self.ink, font_size=1, render=False
        )
        actor.prop.font_size = size
        actor.prop.justification_horizontal = align
        actor.prop.justification_vertical = "center"
        return actor

    def name_points(self, points: np.ndarray, names: list[str], size: int) -> None:
        """Write names at places in the active panel."""
        self.plotter.add_point_labels(
            points,
            names,
            font_size=size,
            text_color=self.ink,
            shape=None,
            show_points=False,
            always_visible=True,
            reset_camera=False,
            render=False,
        )

    def colour_bar(self, scale: ColourScale, em: float) -> None:
        """Draw the colour bar in the middle of the foot of the page."""
        import pyvista as pv

        mapper = pv.DataSetMapper()
        mapper.lookup_table = scale.table()
        self.plotter.add_scalar_bar(
            title="",
            mapper=mapper,
            n_labels=len(scale.ticks),
            fmt="%g",
            color=self.ink,
            width=0.4,
            height=3 * em / self._height,
            position_x=0.3,
            position_y=0.7 * em / self._height,
            label_font_size=round(em),
            vertical=False,
            interactive=False,
        )


@functools.cache
def has_opengl() -> bool:
    """Tell whether VTK finds an OpenGL library; only Linux machines come without one."""
    if not sys.platform.startswith("linux"):
        return True
    return any(map(_opens, LIBRARIES))


def _warn_without_opengl() -> bool:
    """Tell whether there is no OpenGL, and say so the first time."""
    missing = not has_opengl()
    if missing:
        _warn()
    return missing


@functools.cache
def _warn() -> None:
    import mne

    mne.utils.warn(HINT, RuntimeWarning)


def _opens(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
