"""Where the views of a cortex go on a page: numbers only, nothing is drawn here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .surfaces import HEMIS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .surfaces import Hemisphere

# From the brain towards the eye, for the left and the right hemisphere, then what points up.
# Axes are MRI surface RAS: x to the right, y to the front, z to the top.
VIEWS = {
    "lateral": ((-1, 0, 0), (1, 0, 0), (0, 0, 1)),
    "medial": ((1, 0, 0), (-1, 0, 0), (0, 0, 1)),
    "dorsal": ((0, 0, 1), (0, 0, 1), (0, 1, 0)),
    "ventral": ((0, 0, -1), (0, 0, -1), (0, 1, 0)),
    "rostral": ((0, 1, 0), (0, 1, 0), (0, 0, 1)),
    "caudal": ((0, -1, 0), (0, -1, 0), (0, 0, 1)),
}
View = str | tuple[float, float]
Box = tuple[float, float, float, float]  # left, bottom, width and height (pixels)
ALL_VIEWS = ("lateral", "medial", "dorsal", "ventral")
SIDES = {"lh": "Left", "rh": "Right"}
PAD_MM = 13.0  # around a brain: room for a mark on its rim


@dataclass(frozen=True)
class Panel:
    """One view of one or both hemispheres: a standard one, or a camera's azimuth and elevation."""

    view: View
    hemis: tuple[str, ...]

    @property
    def towards(self) -> np.ndarray:
        """Direction from the brain to the eye."""
        if isinstance(self.view, str):
            return np.array(VIEWS[self.view][HEMIS.index(self.hemis[0])], float)
        azimuth, elevation = np.deg2rad(self.view)
        aside = np.sin(elevation)
        return np.array([aside * np.cos(azimuth), aside * np.sin(azimuth), np.cos(elevation)])

    @property
    def up(self) -> np.ndarray:
        """Direction that points up in the picture."""
        if isinstance(self.view, str):
            return np.array(VIEWS[self.view][2], float)
        from_pole = abs(np.sin(np.deg2rad(self.view[1])))
        up = np.array([0.0, 0.0, 1.0] if from_pole > 0.05 else [0.0, 1.0, 0.0])
        up -= (up @ self.towards) * self.towards
        return up / np.linalg.norm(up)

    @property
    def caption(self) -> str:
        """Name of the view, with its side where it shows one hemisphere."""
        if not isinstance(self.view, str):
            return f"From {self.view[0]:g}°, {self.view[1]:g}°"
        if len(self.hemis) == 2:
            return self.view.capitalize()
        return f"{SIDES[self.hemis[0]]} {self.view}"

    def frame(self, cortex: dict[str, Hemisphere]) -> tuple[np.ndarray, float, float]:
        """Return centre (mm), width and height (mm) of what the panel shows."""
        axes = np.array([np.cross(self.up, self.towards), self.up, self.towards])
        shown = np.vstack([cortex[hemi].extent for hemi in self.hemis]) @ axes.T
        low, high = shown.min(axis=0), shown.max(axis=0)
        width, height, _ = high - low + 2 * PAD_MM
        return axes.T @ (low + high) / 2, float(width), float(height)


@dataclass(frozen=True)
class Page:
    """A window and the boxes of its panels.

    Attributes
    ----------
    window : tuple of int
        Width and height (pixels).
    boxes : list of list of tuple
        Left, bottom, width and height (pixels) of each panel, row by row.
    scale : float
        Pixels per mm, the same in all panels.
    em : float
        Font size (pixels).
    caption, header, footer : float
        Heights (pixels) of a caption, of the title's strip and of the strip with the colour bar.
    """

    window: tuple[int, int]
    boxes: list[list[Box]]
    scale: float
    em: float
    caption: float
    header: float
    footer: float


def check_views(views: Sequence[View] | View) -> tuple[View, ...]:
    """Return the views as a tuple, or raise a ValueError that lists the valid ones."""
    single = isinstance(views, str) or _is_camera(views) or not np.iterable(views)
    views = (views,) if single else tuple(views)
    unknown = [view for view in views if view not in VIEWS and not _is_camera(view)]
    if unknown or not views or len(set(views)) < len(views):
        raise ValueError(
            f"views must be different ones of {', '.join(VIEWS)} or (azimuth, elevation) of a "
            f"camera in degrees, at least one; got {views!r}."
        )
    return views


def sheet(views: tuple[View, ...]) -> list[list[Panel]]:
    """Return rows of panels: views of single hemispheres left and right, of both in between."""
    single = [view for view in views if _is_sided(view)]
    double = [view for view in views if not _is_sided(view)]
    if not single:
        return [[Panel(view, HEMIS) for view in double]]
    rows = []
    for index in range(max(len(single), len(double))):
        row = [Panel(view, HEMIS) for view in double[index : index + 1]]
        if index < len(single):
            row = [Panel(single[index], ("lh",)), *row, Panel(single[index], ("rh",))]
        rows.append(row)
    return rows


def strip(views: tuple[View, ...]) -> list[Panel]:
    """Return all panels in one row, the left hemisphere's first and the right one's last."""
    single = [view for view in views if _is_sided(view)]
    double = [view for view in views if not _is_sided(view)]
    return [
        *(Panel(view, ("lh",)) for view in single),
        *(Panel(view, HEMIS) for view in double),
        *(Panel(view, ("rh",)) for view in reversed(single)),
    ]


def arrange(
    rows: list[list[Panel]],
    cortex: dict[str, Hemisphere],
    *,
    window_size: tuple[int, int] | None = None,
    title: bool = False,
    margin_chars: int = 0,
    grid: bool = False,
) -> Page:
    """Fit rows of panels on a page at one scale.

    Without a size of the window (pixels) its width suits the panels, and its height fits them;
    ``margin_chars`` is room for names of the rows on the left, in letters. In a ``grid`` all rows
    show the same views, so that captions above the first are enough.
    """
    sizes = [[panel.frame(cortex)[1:] for panel in row] for row in rows]
    wide = max(sum(width for width, _ in row) for row in sizes)
    tall = sum(max(height for _, height in row) for row in sizes)
    width = window_size[0] if window_size else int(np.clip(2 * wide, 720, 1600))
    em = float(np.clip(width / 58, 14, 24))
    caption = 1.9 * em
    header, footer = (2.6 * em if title else 0.6 * em), 5.4 * em
    strips = header + footer + caption * (1 if grid else len(rows))
    margin = 0.75 * em * margin_chars
    scale = (width - margin) / wide
    if window_size:
        scale = min(scale, (window_size[1] - strips) / tall)
        if scale * tall < 50:
            raise ValueError(f"window_size {tuple(window_size)} is too small for these views.")
    height = window_size[1] if window_size else int(np.ceil(tall * scale + strips))
    top = height - header - (height - strips - tall * scale) / 2
    boxes = []
    for index, row in enumerate(sizes):
        above = 0.0 if grid and index > 0 else caption
        room = max(h for _, h in row) * scale + above
        left = margin + (width - margin - sum(w for w, _ in row) * scale) / 2
        line = []
        for w, h in row:
            box_height = room if grid else h * scale + above
            line.append((left, top - room / 2 - box_height / 2, w * scale, box_height))
            left += w * scale
        boxes.append(line)
        top -= room
    return Page((width, height), boxes, scale, em, caption, header, footer)


def _is_sided(view: View) -> bool:
    """Whether a view looks at the two hemispheres from opposite sides."""
    return isinstance(view, str) and VIEWS[view][0] != VIEWS[view][1]


def _is_camera(view: Any) -> bool:
    """Whether a view is the azimuth and the elevation of a camera."""
    return (
        isinstance(view, tuple)
        and len(view) == 2
        and all(isinstance(angle, (int, float)) for angle in view)
    )
