"""How a picture of the cortex looks: one object for all that draws it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from .layout import ALL_VIEWS, check_views
from .style import UNITS
from .surfaces import SHELLS, SURFACES

if TYPE_CHECKING:
    from collections.abc import Sequence

    import mne

    from .layout import View

BACKENDS = ("pyvista", "matplotlib")
OPEN = {"surface": "inflated", "views": ALL_VIEWS, "source_size": 5.0}  # what suits most pictures


@dataclass(frozen=True, kw_only=True)
class Look:
    """How a picture of the cortex looks.

    Every function that draws the cortex takes one, so that pictures that belong together look
    alike; ``dataclasses.replace`` makes another of it.

    Parameters
    ----------
    surface : "inflated" | "white" | "pial" | "glass" | None
        The surface to draw. On the two folded ones a source in a sulcus is drawn at its mouth; in
        the glass brain every source is at its own place, in the depth too. ``None`` is the inflated
        one, where a picture says nothing else.
    shell : "inner_skull" | "head" | None
        What to draw around the brain, as glass.
    views : str | tuple of float | sequence of them | None
        Any of "lateral", "medial", "dorsal", "ventral", "rostral", "caudal", or the azimuth and
        elevation of a camera (degrees), as MNE has them. The first two show each hemisphere by
        itself. ``None`` takes the first four.
    labels : str | mne.Label | sequence of mne.Label | None
        Regions to outline: the name of an annotation, or labels. Up to four have colours.
    source_size : float | None
        Radius of the (largest) sphere (mm); ``None`` takes what suits the picture.
    unit : "percent" | "nAm" | "dimensionless"
        Of the colours of an estimate: percent of its largest magnitude, nAm for an estimate in A·m,
        or the values as they are, for dSPM and sLORETA.
    threshold : float
        A map is painted above this (percent of its largest magnitude over all times).
    clim : tuple of float | None
        Ends of the colour bar, in its unit; ``None`` takes round numbers around the values.
    background : color
        Colour behind the brains; text is dark or white after it.
    window_size : tuple of int | None
        Width and height (pixels); ``None`` fits the views.
    backend : "pyvista" | "matplotlib" | None
        What draws. The second gives a still picture, without OpenGL; ``None`` takes it where there
        is none.
    off_screen : bool | None
        Whether to draw without a window, as for `pyvista.Plotter`.

    Raises
    ------
    ValueError
        If a value is not valid; the message names it.
    TypeError
        If ``labels`` are none.
    """

    surface: str | None = None
    shell: str | None = None
    views: View | Sequence[View] | None = None
    labels: str | mne.Label | Sequence[mne.Label] | None = None
    source_size: float | None = None
    unit: str = "percent"
    threshold: float = 50.0
    clim: tuple[float, float] | None = None
    background: str = "white"
    window_size: tuple[int, int] | None = None
    backend: str | None = None
    off_screen: bool | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        for name, known in (
            ("surface", (*SURFACES, None)),
            ("shell", (*SHELLS, None)),
            ("unit", tuple(UNITS)),
            ("backend", (*BACKENDS, None)),
        ):
            if (value := getattr(self, name)) not in known:
                said = ", ".join(str(one) for one in known if one)
                said += ", or None" if None in known else ""
                raise ValueError(f"{name} must be one of {said}; got {value!r}.")
        self._check_numbers()
        from matplotlib.colors import is_color_like

        if not is_color_like(self.background):
            raise ValueError(f"background must be a colour of matplotlib; got {self.background!r}.")
        if self.views is not None:
            object.__setattr__(self, "views", check_views(self.views))
        if self.labels is not None and not isinstance(self.labels, str):
            object.__setattr__(self, "labels", _as_labels(self.labels))

    def _check_numbers(self) -> None:
        size = self.source_size
        if size is not None and not (isinstance(size, Real) and 0 < size < np.inf):
            raise ValueError(f"source_size must be a number of mm; got {size!r}.")
        if not (isinstance(self.threshold, Real) and 0 <= self.threshold < 100):
            raise ValueError(
                f"threshold must be from 0 to below 100 percent; got {self.threshold!r}."
            )
        if self.clim is not None:
            ends = np.asarray(self.clim, float)
            if ends.shape != (2,) or not np.isfinite(ends).all() or ends[0] >= ends[1]:
                raise ValueError(f"clim must be two rising numbers; got {self.clim!r}.")
        if self.window_size is not None:
            pixels = np.asarray(self.window_size)
            whole = pixels.shape == (2,) and pixels.dtype.kind in "iuf"
            if not whole or (pixels != np.floor(pixels)).any() or (pixels < 1).any():
                raise ValueError(
                    f"window_size must be two numbers of pixels; got {self.window_size!r}."
                )


def filled(look: Look | None, **choices: Any) -> Look:
    """Return a look in which nothing is left open: choices of a picture first, then `OPEN`."""
    look, chosen = _checked(look), OPEN | choices
    return replace(look, **{name: chosen[name] for name in OPEN if getattr(look, name) is None})


def with_choices(look: Look | None, **given: Any) -> Look:
    """Return a look with what a caller said beside it, where that is something."""
    said = {name: value for name, value in given.items() if value is not None}
    return replace(_checked(look), **said)


def _checked(look: Look | None) -> Look:
    if look is not None and not isinstance(look, Look):
        raise TypeError(f"look must be a meg_vae.viz.Look; got {type(look).__name__}.")
    return look or Look()


def _as_labels(labels: Any) -> tuple[mne.Label, ...]:
    """Return labels as a tuple, or raise an error if one is something else."""
    import mne

    labels = (labels,) if isinstance(labels, mne.Label) else tuple(labels)
    wrong = [type(one).__name__ for one in labels if not isinstance(one, mne.Label)]
    if wrong:
        raise TypeError(f"labels must be the name of an annotation or mne.Labels; {wrong[0]}.")
    return labels
