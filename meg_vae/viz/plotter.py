"""The plotter that the pictures of the cortex come in."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np
import pyvista as pv

if TYPE_CHECKING:
    from .scene import Scene


class CortexPlotter(pv.Plotter):
    """A `pyvista.Plotter` that shows itself in a notebook, and can be turned by hand there.

    Attributes
    ----------
    scene : Scene | None
        What it draws, for a page that turns it by hand; ``None`` for several estimates.
    """

    scene: Scene | None = None

    def still(self) -> np.ndarray:
        """Render without a window and leave the plotter open: uint8, (height, width, 3)."""
        if self.render_window is None:
            raise RuntimeError("plotter is closed; draw the cortex again.")
        self.off_screen = True
        self.render_window.SetOffScreenRendering(True)
        self.render()  # what changed since the last picture; nothing before the first
        return np.array(self.screenshot(return_img=True))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """Give a notebook the still picture, and under it the brain to turn by hand."""
        from .interactive import HINT, can_turn, frame, scene_page

        if self.render_window is None:
            return {"text/plain": "<CortexPlotter, closed>"}
        png = data_uri(png_of(self.still()))
        html = f"<img alt='Sources on the cortex' style='max-width:100%' src='{png}'>"
        if self.scene is not None and can_turn():
            page = frame(scene_page(self.scene))
            html += f"<details><summary>Turn it by hand</summary>{page}</details>"
        elif self.scene is not None:
            html += f"<p><small>{HINT}</small></p>"
        return {"text/plain": repr(self), "image/png": png.split(",")[1], "text/html": html}


def png_of(image: np.ndarray) -> bytes:
    """Return an image as the bytes of a PNG."""
    import io

    from matplotlib.image import imsave

    buffer = io.BytesIO()
    imsave(buffer, image, format="png")
    return buffer.getvalue()


def data_uri(png: bytes) -> str:
    """Return a PNG as a URI that holds it."""
    return "data:image/png;base64," + base64.b64encode(png).decode()
