"""One source estimate on the cortex: spheres where it is sparse, paint where it is a map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from . import marks
from .drawing import Stage
from .ground import Extras, Ground, read_ground
from .layout import ALL_VIEWS, arrange, check_views, sheet
from .places import check_places
from .scale import ColourScale
from .scene import ESTIMATE, Layer, Scene
from .spreading import paint
from .surfaces import HEMIS

if TYPE_CHECKING:
    from os import PathLike

    import mne
    import pandas as pd
    import pyvista

    from .flat import FlatPicture
    from .layout import View

FEW = 300  # as many active positions are drawn as spheres; more are painted on the surface
UNITS = {
    "percent": ("Magnitude (% of the largest)", None),
    "nAm": ("Magnitude (nAm)", 1e9),
    "dimensionless": ("Magnitude (dimensionless)", 1.0),
}


def plot_estimate(
    stc: mne.SourceEstimate,
    *,
    subject: str,
    subjects_dir: str | PathLike,
    time: float | None = None,
    unit: str = "percent",
    threshold: float = 50.0,
    surface: str = "inflated",
    shell: str | None = None,
    views: tuple[View, ...] | View = ALL_VIEWS,
    labels: str | list[mne.Label] | None = None,
    truth: pd.DataFrame | list[mne.Dipole] | None = None,
    trans: mne.Transform | None = None,
    source_size: float = 5.0,
    title: str | None = None,
    background: str = "white",
    window_size: tuple[int, int] | None = None,
    off_screen: bool | None = None,
) -> pyvista.Plotter | FlatPicture:
    """Draw a source estimate, sparse or dense, on both hemispheres.

    Up to 300 active positions are drawn as spheres, whose area follows the magnitude; a denser
    estimate is painted on the surface where it exceeds a threshold.

    Parameters
    ----------
    stc : mne.SourceEstimate | mne.VectorSourceEstimate
        The estimate.
    subject : str
        Name of the subject's folder.
    subjects_dir : path-like
        The FreeSurfer folder that holds it.
    time : float | None
        The time to draw (s); ``None`` takes the largest magnitude over time at each place.
    unit : "percent" | "nAm" | "dimensionless"
        Of the colour scale: percent of the estimate's largest magnitude, nAm for an estimate in
        A·m, or the values as they are, for dSPM and sLORETA.
    threshold : float
        A map is painted above this (percent of its largest magnitude over all times).
    surface, shell, views, labels, truth, trans : optional
        As in `plot_cortex`.
    source_size : float
        Radius of the largest sphere (mm).
    title : str | None
        Title of the picture.
    background : color
        Colour behind the brains.
    window_size : tuple of int | None
        Width and height (pixels); ``None`` fits the views.
    off_screen : bool | None
        Whether to draw without a window, as for `pyvista.Plotter`.

    Returns
    -------
    plotter : pyvista.Plotter | FlatPicture
        As `plot_cortex` returns it.

    Raises
    ------
    ValueError
        If the estimate is of another subject or not finite, or an option is not valid.
    TypeError
        If the estimate is not one on the cortex.
    """
    rows = sheet(check_views(views))
    check_estimate(stc, "stc", subject)
    values = magnitudes(stc, "stc")
    largest = values.max(initial=0.0)
    shown = values.max(axis=1) if time is None else values[:, sample_at(stc, time)]
    ground = read_ground(
        Extras(shell, labels, truth, trans),
        subject=subject,
        subjects_dir=subjects_dir,
        surface=surface,
        source_size=source_size,
    )
    scale, factor = unit_scale(unit, largest)
    check_threshold(threshold)
    layers, kind = value_layers(
        estimate_table(stc, shown * factor),
        ground,
        scale,
        "stc",
        threshold=threshold / 100 * largest * factor,
        source_size=source_size,
    )
    note = f"; shown above {threshold:g} % of the largest" if kind == "paint" else ""
    scene = Scene(
        cortex=ground.cortex,
        layers={hemi: ground.layers[hemi] + layers[hemi] for hemi in HEMIS},
        diamonds=ground.diamonds,
        source_size=source_size,
        scale=scale,
        scale_title=UNITS[unit][0] + note,
        legend=[*([ESTIMATE] if kind == "spheres" else []), *ground.legend],
        empty=not shown.any(),
        title=title,
        background=background,
        around=ground.around,
    )
    page = arrange(rows, scene.cortex, window_size=window_size, title=title is not None)
    stage = Stage(page, background=background, off_screen=off_screen)
    stage.draw_scene(scene, rows)
    stage.plotter.scene = scene
    return stage.plotter


def check_estimate(stc: Any, name: str, subject: str) -> None:
    """Raise an error unless this is an estimate on the cortex of the subject."""
    import mne

    if not isinstance(stc, (mne.SourceEstimate, mne.VectorSourceEstimate)):
        raise TypeError(
            f"{name} must be an mne.SourceEstimate on the cortex; got {type(stc).__name__}. "
            "plot_slices draws estimates in a volume."
        )
    if None not in (stc.subject, subject) and stc.subject != subject:
        raise ValueError(
            f"{name} is an estimate of {stc.subject!r}, but subject is {subject!r}. Give "
            f"subject={stc.subject!r}, or carry it over with mne.compute_source_morph."
        )


def check_threshold(threshold: float) -> None:
    """Raise a ValueError unless a threshold is a share of the largest magnitude."""
    if not 0 <= threshold < 100:
        raise ValueError(f"threshold must be from 0 to below 100 percent; got {threshold!r}.")


def magnitudes(stc: mne.SourceEstimate, name: str) -> np.ndarray:
    """Return the magnitude at each position and time, or raise an error if it is not finite."""
    data = np.abs(stc.data) if stc.data.ndim == 2 else np.linalg.norm(stc.data, axis=1)
    if not np.isfinite(data).all():
        raise ValueError(f"{name} has values that are not finite.")
    return data


def sample_at(stc: mne.SourceEstimate, time: float) -> int:
    """Return the sample nearest to a time, or raise an error if the estimate does not reach it."""
    first, last = stc.times[[0, -1]]
    if not first - stc.tstep / 2 <= time <= last + stc.tstep / 2:
        raise ValueError(f"time={time!r} must be from {first:g} to {last:g} s, as stc is.")
    return int(np.abs(stc.times - time).argmin())


def unit_scale(unit: str, largest: float) -> tuple[ColourScale, float]:
    """Return the colour scale from zero to the largest magnitude, and what to multiply by."""
    if unit not in UNITS:
        raise ValueError(f"unit must be one of {', '.join(UNITS)}; got {unit!r}.")
    factor = UNITS[unit][1]
    if factor is None:
        factor = 100 / largest if largest > 0 else 1.0
    scale = ColourScale.around(np.array([largest * factor]), from_zero=True)
    return scale, factor


def estimate_table(stc: mne.SourceEstimate, values: np.ndarray) -> pd.DataFrame:
    """Return where the positions of an estimate are, with a value each."""
    import pandas as pd

    return pd.DataFrame(
        {
            "hemi": np.repeat(HEMIS, [len(vertno) for vertno in stc.vertices]),
            "vertno": np.concatenate(stc.vertices),
            "value": values,
        }
    )


def value_layers(
    table: pd.DataFrame,
    ground: Ground,
    scale: ColourScale,
    name: str,
    *,
    threshold: float,
    source_size: float,
) -> tuple[dict[str, list[Layer]], str]:
    """Return an estimate's values as spheres or as paint, and which of the two."""
    check_places(table, ground.cortex, name)
    active = table[table["value"] > 0].reset_index(drop=True)
    kind = "spheres" if len(active) <= FEW else "paint"
    if kind == "spheres":
        drawn = marks.spheres(
            active, "value", source_size, ground.cortex, ground.meshes, ground.surface
        )
    else:
        drawn = paint(table, "value", threshold, ground.cortex, ground.meshes)
    colours = scale.table()
    layers = {hemi: [Layer(drawn[hemi], table=colours)] if hemi in drawn else [] for hemi in HEMIS}
    return layers, kind if len(active) else "nothing"
