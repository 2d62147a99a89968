"""Source estimates on the cortex: spheres where they are sparse, paint where they are maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from . import marks
from .drawing import draw_page, draw_rows
from .layers import ESTIMATE, ColourScale, Layer
from .look import Look, filled
from .paint import paint
from .scene import Ground, Scene, read_ground
from .style import SEQUENTIAL, UNITS
from .surfaces import HEMIS, check_places

if TYPE_CHECKING:
    from os import PathLike

    import mne
    import pandas as pd
    import pyvista

    from .flat import FlatPicture

FEW = 300  # as many active positions are drawn as spheres; more are painted on the surface


def plot_estimate(
    stc: mne.SourceEstimate,
    *,
    subject: str,
    subjects_dir: str | PathLike,
    time: float | None = None,
    truth: pd.DataFrame | list[mne.Dipole] | None = None,
    trans: mne.Transform | None = None,
    title: str | None = None,
    look: Look | None = None,
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
    truth, trans : pandas.DataFrame | list of mne.Dipole | None, mne.Transform | None
        True sources to mark, as in `plot_cortex`.
    title : str | None
        Title of the picture.
    look : Look | None
        How it looks: the unit and the threshold of the estimate, surface, views and all else.

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
    look = filled(look)
    values = magnitudes(stc, "stc", subject)
    largest = values.max(initial=0.0)
    shown = values.max(axis=1) if time is None else values[:, sample_at(stc, time)]
    ground = read_ground(look, subject=subject, subjects_dir=subjects_dir, truth=truth, trans=trans)
    scale, factor = unit_scale(look, largest)
    least = look.threshold / 100 * largest * factor
    scene = estimate_scene(stc, shown * factor, least, ground, scale, title=title)
    return draw_page(scene)


def plot_comparison(
    estimates: dict[str, mne.SourceEstimate],
    *,
    subject: str,
    subjects_dir: str | PathLike,
    truth: pd.DataFrame | list[mne.Dipole] | None = None,
    trans: mne.Transform | None = None,
    title: str | None = None,
    look: Look | None = None,
) -> pyvista.Plotter | FlatPicture:
    """Draw the estimates of several methods, a row each, on one relative colour scale.

    Of each estimate the largest magnitude over time is shown, in percent of the method's largest,
    because units differ between methods (nAm, or dimensionless for dSPM and sLORETA). Up to 300
    active positions are drawn as spheres, whose area follows the magnitude; a denser estimate is
    painted on the surface.

    Parameters
    ----------
    estimates : dict of mne.SourceEstimate
        The estimate of each method, by the name to write beside it.
    subject : str
        Name of the subject's folder.
    subjects_dir : path-like
        The FreeSurfer folder that holds it.
    truth, trans : pandas.DataFrame | list of mne.Dipole | None, mne.Transform | None
        True sources to mark, as in `plot_cortex`.
    title : str | None
        Title of the picture.
    look : Look | None
        How it looks: surface, views and all else; the unit is percent.

    Returns
    -------
    plotter : pyvista.Plotter | FlatPicture
        Call its ``show()`` to turn the brains by hand, or `save_picture` to write a PNG.

    Raises
    ------
    ValueError
        If an estimate or an option is not valid.
    TypeError
        If an estimate is not one on the cortex.
    FileNotFoundError
        If the subject lacks a surface.
    """
    if not estimates:
        raise ValueError("estimates is empty; it must hold an estimate per method.")
    look = filled(look, source_size=7.0)
    peaks = {
        name: magnitudes(stc, f"estimates[{name!r}]", subject).max(axis=1)
        for name, stc in estimates.items()
    }
    ground = read_ground(look, subject=subject, subjects_dir=subjects_dir, truth=truth, trans=trans)
    scale = ColourScale(SEQUENTIAL, np.linspace(*(look.clim or (0, 100)), 5))
    scenes = []
    for name, stc in estimates.items():
        share = 100 * peaks[name] / max(peaks[name].max(initial=0.0), np.finfo(float).tiny)
        what = f"estimates[{name!r}]"
        scenes.append(estimate_scene(stc, share, look.threshold, ground, scale, name=what))
    maps = any(not scene.empty and not scene.legend for scene in scenes)
    whole = Scene(
        ground=ground,
        scale=scale,
        scale_title="Peak magnitude (% of each method's largest"
        + (f"; maps shown above {look.threshold:g} %)" if maps else ")"),
        legend=[ESTIMATE] * any(scene.legend for scene in scenes),
        empty=all(scene.empty for scene in scenes),
        title=title,
    )
    said = zip(estimates, scenes, strict=True)
    names = [f"{name}\n(no source)" if scene.empty else name for name, scene in said]
    return draw_rows(scenes, names, whole)


def magnitudes(stc: Any, name: str, subject: str) -> np.ndarray:
    """Return the magnitude at each position and time of an estimate on the subject's cortex."""
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
    return finite_magnitudes(stc, name)


def finite_magnitudes(stc: Any, name: str) -> np.ndarray:
    """Return the magnitude at each position and time, or raise an error if it is not finite."""
    data = np.abs((stc.magnitude() if stc.data.ndim == 3 else stc).data)
    if not np.isfinite(data).all():
        raise ValueError(f"{name} has values that are not finite.")
    return data


def sample_at(stc: mne.SourceEstimate, time: float) -> int:
    """Return the sample nearest to a time, or raise an error if the estimate does not reach it."""
    first, last = stc.times[[0, -1]]
    if not first - stc.tstep / 2 <= time <= last + stc.tstep / 2:
        raise ValueError(f"time={time!r} must be from {first:g} to {last:g} s, as stc is.")
    return int(np.abs(stc.times - time).argmin())


def unit_scale(look: Look, largest: float) -> tuple[ColourScale, float]:
    """Return the colour scale from zero to the largest magnitude, and what to multiply by."""
    factor = UNITS[look.unit][1]
    if factor is None:
        factor = 100 / largest if largest > 0 else 1.0
    scale = ColourScale.around(np.array([largest * factor]), from_zero=True, clim=look.clim)
    return scale, factor


def estimate_scene(
    stc: mne.SourceEstimate,
    values: np.ndarray,
    threshold: float,
    ground: Ground,
    scale: ColourScale,
    *,
    name: str = "stc",
    size: float | None = None,
    title: str | None = None,
) -> Scene:
    """Return an estimate with a value at each position: as spheres, or as paint above a threshold.

    The largest of the spheres has the radius ``size`` (mm), else that of the look.
    """
    import pandas as pd

    look, where = ground.look, (ground.cortex, ground.meshes)
    hemis = np.repeat(HEMIS, [len(vertno) for vertno in stc.vertices])
    table = pd.DataFrame({"hemi": hemis, "vertno": np.concatenate(stc.vertices), "value": values})
    check_places(table, ground.cortex, name)
    active = table[table["value"] > 0].reset_index(drop=True)
    sparse, note = len(active) <= FEW, ""
    if sparse:
        size = look.source_size if size is None else size
        drawn = marks.spheres(active, size, *where, look.surface)
    else:
        drawn = paint(table, threshold, *where)
        note = f"; shown above {look.threshold:g} % of the largest"
    colours = scale.table()
    return Scene(
        ground=ground,
        scale=scale,
        scale_title=UNITS[look.unit][0] + note,
        layers={k: [Layer(drawn[k], table=colours)] if k in drawn else [] for k in HEMIS},
        legend=[ESTIMATE] if sparse and len(active) else [],
        empty=active.empty,
        title=title,
    )
