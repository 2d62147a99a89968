"""The plotter that the pictures of the cortex come in, and these as files, whole or not there."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyvista as pv

from meg_vae.files import whole_file

from . import interactive
from .flat import png_of

if TYPE_CHECKING:
    from os import PathLike

    from .flat import FlatPicture
    from .scene import Scene

URI = "data:image/png;base64,"


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
        if self.render_window is None:
            return {"text/plain": "<CortexPlotter, closed>"}
        png = base64.b64encode(png_of(self.still())).decode()
        html = f"<img alt='Sources on the cortex' style='max-width:100%' src='{URI}{png}'>"
        if self.scene is not None and interactive.can_turn():
            page = interactive.frame(interactive.scene_page(self.scene))
            html += f"<details><summary>Turn it by hand</summary>{page}</details>"
        elif self.scene is not None:
            html += f"<p><small>{interactive.HINT}</small></p>"
        return {"text/plain": repr(self), "image/png": png, "text/html": html}


def picture(plotter: CortexPlotter | FlatPicture) -> np.ndarray:
    """Render a plotter without a window, and close it.

    Parameters
    ----------
    plotter : CortexPlotter | FlatPicture
        What a function of this package returned, not shown yet.

    Returns
    -------
    image : ndarray of uint8, shape (height, width, 3)
        The picture.
    """
    try:
        return plotter.still()
    finally:
        plotter.close()


def save_picture(plotter: CortexPlotter | FlatPicture, path: str | PathLike) -> Path:
    """Render a plotter without a window, write the picture as a PNG, and close the plotter.

    Parameters
    ----------
    plotter : CortexPlotter | FlatPicture
        What a function of this package returned, not shown yet.
    path : path-like
        The file to write, ending in ``.png``. It appears whole or not at all.

    Returns
    -------
    path : pathlib.Path
        The file.
    """
    path = check_suffix(path, ".png")
    image = picture(plotter)
    with whole_file(path) as part:
        part.write_bytes(png_of(image))
    return path


def save_page(plotter: CortexPlotter, path: str | PathLike) -> Path:
    """Write a page that turns the brain in any browser, without a network.

    Parameters
    ----------
    plotter : CortexPlotter
        What `plot_cortex` or `plot_estimate` returned. It stays open.
    path : path-like
        The file to write, ending in ``.html``. It appears whole or not at all.

    Returns
    -------
    path : pathlib.Path
        The file. It holds both hemispheres with all that is drawn on them, the legend, the colour
        bar, and buttons for the standard views.

    Raises
    ------
    ImportError
        If trame-vtk, which writes the scene, is not installed.
    ValueError
        If the plotter draws several estimates, or was drawn without OpenGL.
    """
    path = check_suffix(path, ".html")
    if plotter.scene is None:
        raise ValueError(
            "plotter shows several estimates, which have no page; draw one with plot_cortex or "
            "plot_estimate."
        )
    page = interactive.scene_page(plotter.scene)
    with whole_file(path) as part:
        part.write_text(page, encoding="utf-8")
    return path


def check_suffix(path: str | PathLike, *suffixes: str) -> Path:
    """Return a path that has one of some endings, or raise a ValueError."""
    path = Path(path)
    if path.suffix not in suffixes:
        raise ValueError(f"path must end in {' or '.join(suffixes)}; got {str(path)!r}.")
    return path
