"""A source estimate over time, as a film."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import numpy as np

from meg_vae.files import whole_file

from .drawing import Stage
from .estimate import (
    UNITS,
    check_estimate,
    check_threshold,
    estimate_table,
    magnitudes,
    sample_at,
    unit_scale,
    value_layers,
)
from .files import check_suffix
from .graphics import has_opengl
from .ground import Extras, Ground, read_ground
from .layout import arrange, check_views, sheet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike
    from pathlib import Path

    import mne
    import pandas as pd

    from .layout import View
    from .scale import ColourScale

MOVIE_VIEWS = ("lateral", "medial")


def save_movie(
    stc: mne.SourceEstimate,
    path: str | PathLike,
    *,
    subject: str,
    subjects_dir: str | PathLike,
    tmin: float | None = None,
    tmax: float | None = None,
    decim: int = 1,
    fps: float = 12.0,
    unit: str = "percent",
    threshold: float = 50.0,
    surface: str = "inflated",
    views: tuple[View, ...] | View = MOVIE_VIEWS,
    truth: pd.DataFrame | list[mne.Dipole] | None = None,
    trans: mne.Transform | None = None,
    source_size: float = 5.0,
    title: str | None = None,
    background: str = "white",
    window_size: tuple[int, int] | None = None,
) -> Path:
    """Film a source estimate over time; colours and sizes keep one scale throughout.

    Parameters
    ----------
    stc : mne.SourceEstimate | mne.VectorSourceEstimate
        The estimate.
    path : path-like
        The file to write, ending in ``.mp4`` or ``.gif``. It appears whole or not at all.
    subject : str
        Name of the subject's folder.
    subjects_dir : path-like
        The FreeSurfer folder that holds it.
    tmin, tmax : float | None
        First and last time (s); ``None`` takes those of the estimate.
    decim : int
        Every so many samples are a frame.
    fps : float
        Frames per second.
    unit, threshold : str, float
        As in `plot_estimate`.
    surface, views, truth, trans : optional
        As in `plot_cortex`.
    source_size : float
        Radius of the largest sphere (mm).
    title : str | None
        Title of the picture; the time stands behind it.
    background : color
        Colour behind the brains.
    window_size : tuple of int | None
        Width and height (pixels); ``None`` fits the views.

    Returns
    -------
    path : pathlib.Path
        The file.

    Raises
    ------
    ImportError
        If the file is to be an MP4 and imageio-ffmpeg is not installed.
    RuntimeError
        If there is no OpenGL.
    ValueError
        If the estimate is of another subject or not finite, or an option is not valid.
    """
    path = check_suffix(path, ".mp4", ".gif")
    _check_parts(path)
    rows = sheet(check_views(views))
    check_estimate(stc, "stc", subject)
    check_threshold(threshold)
    values = magnitudes(stc, "stc")
    largest = values.max(initial=0.0)
    scale, factor = unit_scale(unit, largest)
    samples = _samples(stc, tmin, tmax, decim)
    ground = read_ground(
        Extras(truth=truth, trans=trans),
        subject=subject,
        subjects_dir=subjects_dir,
        surface=surface,
        source_size=source_size,
    )
    page = arrange(rows, ground.cortex, window_size=window_size, title=True)
    stage = Stage(page, background=background, off_screen=True)
    for index, panel in enumerate(panel for row in rows for panel in row):
        stage.aim(index, panel, ground.cortex)
        stage.draw_panel(panel, ground.layers, ground.diamonds, source_size)
    title = f"{title}, " if title else ""
    stage.draw_margins(
        title=None,
        scale=scale,
        scale_title=UNITS[unit][0],
        legend=ground.legend,
        empty=largest == 0,
    )
    look = {"threshold": threshold / 100 * largest * factor, "source_size": source_size}
    frames = _frames(stage, rows, ground, scale, stc, values * factor, samples, title, look)
    try:
        with whole_file(path) as part:
            _write(frames, len(samples), part, fps)
    finally:
        stage.plotter.close()
    return path


def _check_parts(path: Path) -> None:
    """Raise an error if this machine cannot write the film."""
    if not has_opengl():
        raise RuntimeError("a movie needs OpenGL, which this machine has not; see plot_cortex.")
    if path.suffix == ".mp4" and importlib.util.find_spec("imageio_ffmpeg") is None:
        raise ImportError(
            "an MP4 needs imageio-ffmpeg: pip install imageio-ffmpeg. Or write a .gif."
        )


def _samples(
    stc: mne.SourceEstimate, tmin: float | None, tmax: float | None, decim: int
) -> np.ndarray:
    """Return the samples to film."""
    first = 0 if tmin is None else sample_at(stc, tmin)
    last = len(stc.times) - 1 if tmax is None else sample_at(stc, tmax)
    if decim != int(decim) or decim < 1 or last < first:
        raise ValueError(
            f"tmin={tmin!r}, tmax={tmax!r}, decim={decim!r} leave no frame; decim must be a whole "
            "number from 1, and tmax not before tmin."
        )
    return np.arange(first, last + 1, int(decim))


def _frames(
    stage: Stage,
    rows: list,
    ground: Ground,
    scale: ColourScale,
    stc: mne.SourceEstimate,
    values: np.ndarray,
    samples: np.ndarray,
    title: str,
    look: dict[str, float],
) -> Iterator[np.ndarray]:
    """Draw frame after frame: what changes is taken away and drawn anew."""
    largest = values.max(initial=0.0)
    width_height = stage.page.header / 2 / stage.page.window[1]
    for sample in samples:
        drawn: list[tuple[int, Any]] = []
        size = look["source_size"] * np.sqrt(values[:, sample].max(initial=0.0) / (largest or 1.0))
        layers, _ = value_layers(
            estimate_table(stc, values[:, sample]),
            ground,
            scale,
            "stc",
            threshold=look["threshold"],
            source_size=float(size),
        )
        for index, panel in enumerate(panel for row in rows for panel in row):
            stage.canvas.turn_to(1 + index)
            new = [layer for hemi in panel.hemis for layer in layers[hemi]]
            drawn += [(1 + index, stage.canvas.draw(layer)) for layer in new]
        stage.canvas.turn_to(0)
        text = f"{title}{1e3 * stc.times[sample]:.0f} ms"
        drawn.append((0, stage.write(text, 0.5, 1 - width_height, size=1.25)))
        yield stage.plotter.still()
        for index, actor in drawn:
            stage.canvas.turn_to(index)
            stage.plotter.remove_actor(actor, reset_camera=False, render=False)


def _write(frames: Iterator[np.ndarray], n_frames: int, part: Path, fps: float) -> None:
    """Write the frames, with a progress bar."""
    from tqdm.auto import tqdm

    frames = iter(tqdm(frames, total=n_frames, desc="Filming", disable=None, leave=False))
    if part.suffix == ".gif":
        from PIL import Image

        images = [Image.fromarray(one).quantize(256) for one in frames]
        images[0].save(part, save_all=True, append_images=images[1:], duration=1000 / fps, loop=0)
        return
    import imageio_ffmpeg

    first = next(frames)
    height, width = (2 * (side // 2) for side in first.shape[:2])  # what the codec can take
    writer = imageio_ffmpeg.write_frames(
        part, (width, height), fps=fps, quality=8, macro_block_size=2, ffmpeg_log_level="error"
    )
    writer.send(None)
    try:
        writer.send(np.ascontiguousarray(first[:height, :width]))
        for one in frames:
            writer.send(np.ascontiguousarray(one[:height, :width]))
    finally:
        writer.close()
