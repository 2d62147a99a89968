"""The same pages drawn by matplotlib, for machines without OpenGL.

Triangles are projected, shaded by how they face the eye, and painted from back to front.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .marks import diamond_mesh

if TYPE_CHECKING:
    import pyvista
    from matplotlib.figure import Figure

    from .layers import ColourScale, Layer
    from .layout import Box
    from .scene import Scene

DPI = 100
AMBIENT, DIFFUSE = 0.35, 0.65  # as in the other canvas
FONT = 0.72  # points per pixel of a letter's height, at this resolution


class FlatPicture:
    """A still picture of the cortex, drawn without OpenGL; it cannot be turned.

    Attributes
    ----------
    figure : matplotlib.figure.Figure
        The page.
    scene : Scene | None
        What it draws.
    """

    def __init__(self, figure: Figure) -> None:
        self.figure: Figure | None = figure
        self.scene: Scene | None = None

    def still(self) -> np.ndarray:
        """Return the picture: uint8, (height, width, 3)."""
        if self.figure is None:
            raise RuntimeError("plotter is closed; draw the cortex again.")
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        canvas = FigureCanvasAgg(self.figure)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()

    def screenshot(self, *_: object, **__: object) -> np.ndarray:
        """Return the picture, as a `pyvista.Plotter` does."""
        return self.still()

    def show(self, **_: object) -> None:
        """Say that there is no window to open."""
        raise RuntimeError(
            "without OpenGL no window can be opened; write the picture with viz.save_picture."
        )

    def close(self) -> None:
        """Let the picture go."""
        self.figure = None

    def _repr_png_(self) -> bytes:
        return png_of(self.still())


def png_of(image: np.ndarray) -> bytes:
    """Return an image as the bytes of a PNG."""
    import io

    from matplotlib.image import imsave

    buffer = io.BytesIO()
    imsave(buffer, image, format="png")
    return buffer.getvalue()


class FlatCanvas:
    """Panels of a matplotlib figure."""

    def __init__(
        self, window: tuple[int, int], views: list[Box], *, background: str, ink: str
    ) -> None:
        from matplotlib.figure import Figure

        self.ink, self.window = ink, window
        figure = Figure(figsize=np.divide(window, DPI), dpi=DPI, facecolor=background)
        self.views = views
        self.axes = [figure.add_axes(np.divide(view, window * 2)) for view in views]
        for ax, (_, _, width, height) in zip(self.axes, views, strict=True):
            ax.set_axis_off()
            ax.set(xlim=(0, width), ylim=(0, height))
        self.plotter = FlatPicture(figure)

    def turn_to(self, index: int) -> None:
        """Draw in a panel from now on."""
        self.ax, self.view = self.axes[index], self.views[index]

    def look_at(
        self, focus: np.ndarray, towards: np.ndarray, up: np.ndarray, height: float
    ) -> None:
        """Aim the active camera, and fit what is ``height`` high."""
        self.eye = np.array([np.cross(up, towards), up, towards], float)
        self.focus, self.zoom = np.asarray(focus, float), self.view[3] / height

    def draw(self, layer: Layer) -> None:
        """Draw a mesh in the active panel."""
        mesh = layer.mesh.triangulate()
        triangles = mesh.regular_faces
        corners = self._project(mesh.points)[triangles]
        edges = corners[:, 1:, :2] - corners[:, :1, :2]
        winding = edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0]
        seen = winding < 0 if layer.opacity < 1 else winding > 0
        if _inside_out(mesh):
            seen = ~seen
        colours = _colours(layer, mesh, triangles)
        colours[:, :3] *= (AMBIENT + DIFFUSE * np.abs(self._facing(mesh)))[triangles].mean(axis=1)[
            :, np.newaxis
        ]
        self._paint(corners[seen], colours[seen])

    def draw_diamonds(self, centres: np.ndarray, radius: float) -> None:
        """Draw open diamonds in the active panel, which face the eye and mark true sources."""
        mesh = diamond_mesh().triangulate(pass_verts=False)
        triangles = mesh.regular_faces
        for centre in self._project(centres):
            corners = (np.asarray(mesh.points) * radius * self.zoom + centre)[triangles]
            rgb = np.asarray(mesh.cell_data["rgb"]) / 255
            self._paint(corners, np.column_stack([rgb, np.ones(len(rgb))]))

    def write(self, text: str, x: float, y: float, *, size: int, align: str) -> None:
        """Write a line in the active panel."""
        _, _, width, height = self.view
        self.ax.text(
            x * width,
            y * height,
            text,
            color=self.ink,
            fontsize=FONT * size,
            ha=align,
            va="center",
            clip_on=False,
            zorder=9,
        )

    def name_points(self, points: np.ndarray, names: list[str], size: int) -> None:
        """Write names at places in the active panel."""
        for (x, y, _), name in zip(self._project(points), names, strict=True):
            self.ax.text(x, y, name, color=self.ink, fontsize=FONT * size, weight="bold", zorder=9)

    def colour_bar(self, scale: ColourScale, em: float) -> None:
        """Draw the colour bar in the middle of the foot of the page."""
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize

        width, height = self.window
        box = (0.3, 1.9 * em / height, 0.4, 1.2 * em / height)
        figure = self.ax.figure
        bar = figure.colorbar(
            ScalarMappable(Normalize(scale.ticks[0], scale.ticks[-1]), scale.cmap),
            cax=figure.add_axes(box),
            orientation="horizontal",
            ticks=scale.ticks,
            format="%g",
        )
        bar.ax.tick_params(labelsize=FONT * em, colors=self.ink)
        bar.outline.set_visible(False)

    def _project(self, points: np.ndarray) -> np.ndarray:
        """Return places in the panel (pixels), and how near they are to the eye."""
        _, _, width, height = self.view
        middle = np.array([width / 2, height / 2, 0.0])
        return (np.asarray(points, float) - self.focus) @ self.eye.T * self.zoom + middle

    def _facing(self, mesh: pyvista.PolyData) -> np.ndarray:
        """Return how much each vertex faces the eye, from -1 to 1."""
        normals = mesh.point_normals if "Normals" not in mesh.point_data else mesh["Normals"]
        return np.asarray(normals, float) @ self.eye[2]

    def _paint(self, corners: np.ndarray, colours: np.ndarray) -> None:
        """Add triangles to those of the panel, and order all by their depth."""
        from matplotlib.collections import PolyCollection

        if not len(corners):
            return
        old = getattr(self.ax, "painted", None)
        if old is not None:
            collection, before, tints = old
            collection.remove()
            corners, colours = np.vstack([before, corners]), np.vstack([tints, colours])
        order = np.argsort(corners[..., 2].mean(axis=1), kind="stable")
        corners, colours = corners[order], np.clip(colours[order], 0, 1)
        rims = colours * np.array([1, 1, 1, 0]) + np.outer(colours[:, 3] == 1, [0, 0, 0, 1])
        collection = PolyCollection(
            corners[..., :2], facecolors=colours, edgecolors=rims, linewidths=0.5
        )
        self.ax.add_collection(collection, autolim=False)
        self.ax.painted = (collection, corners, colours)


def _inside_out(mesh: pyvista.PolyData) -> bool:
    """Whether the triangles are wound so that they face inwards."""
    corners = np.asarray(mesh.points, float)[mesh.regular_faces]
    corners = corners - corners.mean(axis=(0, 1))
    return float(np.sum(np.linalg.det(corners))) < 0


def _colours(layer: Layer, mesh: pyvista.PolyData, triangles: np.ndarray) -> np.ndarray:
    """Return the colour of each triangle, not shaded yet."""
    from matplotlib.colors import to_rgba

    if layer.colour is not None:
        return np.tile(np.array(to_rgba(layer.colour, layer.opacity)), (len(triangles), 1))
    table: Any = layer.table
    low, high = table.scalar_range
    values = np.asarray(mesh.point_data[layer.scalars], float)[triangles].mean(axis=1)
    row = np.clip((values - low) / (high - low) * len(table.values), 0, len(table.values) - 1)
    return np.asarray(table.values, float)[row.astype(int)] / 255
