"""Pictures as files, written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from meg_vae.files import whole_file

if TYPE_CHECKING:
    from os import PathLike

    import numpy as np

    from .flat import FlatPicture
    from .plotter import CortexPlotter


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
    from .plotter import png_of

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
    from .interactive import scene_page

    path = check_suffix(path, ".html")
    if plotter.scene is None:
        raise ValueError(
            "plotter shows several estimates, which have no page; draw one with plot_cortex or "
            "plot_estimate."
        )
    page = scene_page(plotter.scene)
    with whole_file(path) as part:
        part.write_text(page, encoding="utf-8")
    return path


def check_suffix(path: str | PathLike, *suffixes: str) -> Path:
    """Return a path that has one of some endings, or raise a ValueError."""
    path = Path(path)
    if path.suffix not in suffixes:
        raise ValueError(f"path must end in {' or '.join(suffixes)}; got {str(path)!r}.")
    return path
