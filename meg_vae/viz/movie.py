"""A source estimate over time, as a film."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import numpy as np

from meg_vae.files import whole_file

from .canvas import has_opengl
from .drawing import Stage
from .estimate import estimate_scene, magnitudes, sample_at, unit_scale
from .layout import sheet
from .look import Look, filled
from .plotter import check_suffix
from .scene import Scene, read_ground
from .style import UNITS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike
    from pathlib import Path

    import mne
    import pandas as pd
    from numpy.typing import ArrayLike

MOVIE_VIEWS = ("lateral", "medial")


def save_movie(
    stc: mne.SourceEstimate,
    path: str | PathLike,
    *,
    subject: str,
    subjects_dir: str | PathLike,
    times: ArrayLike | None = None,
    fps: float = 12.0,
    truth: pd.DataFrame | list[mne.Dipole] | None = None,
    trans: mne.Transform | None = None,
    title: str | None = None,
    look: Look | None = None,
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
    times : array_like, shape (n_frames,) | None
        Times of the frames (s), as ``stc.times[::5]``; ``None`` takes every sample.
    fps : float
        Frames per second.
    truth, trans : pandas.DataFrame | list of mne.Dipole | None, mne.Transform | None
        True sources to mark, as in `plot_cortex`.
    title : str | None
        Title of the picture; the time stands behind it.
    look : Look | None
        How it looks; where it says nothing of views, they are the lateral and the medial one.

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
    look = filled(look, views=MOVIE_VIEWS)
    values = magnitudes(stc, "stc", subject)
    samples = _samples(stc, times)
    ground = read_ground(look, subject=subject, subjects_dir=subjects_dir, truth=truth, trans=trans)
    largest = values.max(initial=0.0)
    scale, factor = unit_scale(look, largest)
    bare = Scene(ground, scale, UNITS[look.unit][0], empty=largest == 0)
    stage = Stage(sheet(look.views), bare, title=True)
    stage.draw([bare] * len(stage.rows))
    stage.draw_margins(bare)
    frames = _frames(stage, bare, stc, values * factor, samples, f"{title}, " if title else "")
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


def _samples(stc: mne.SourceEstimate, times: ArrayLike | None) -> np.ndarray:
    """Return the samples to film."""
    times = np.atleast_1d(np.asarray(stc.times if times is None else times, float))
    if times.ndim != 1 or not len(times) or (np.diff(times) < 0).any():
        raise ValueError(f"times must be one time or more (s), none before the last; got {times}.")
    return np.array([sample_at(stc, float(time)) for time in times])


def _frames(
    stage: Stage,
    bare: Scene,
    stc: mne.SourceEstimate,
    values: np.ndarray,
    samples: np.ndarray,
    title: str,
) -> Iterator[np.ndarray]:
    """Draw frame after frame: what changes is taken away and drawn anew."""
    ground, largest = bare.ground, values.max(initial=0.0)
    threshold = ground.look.threshold / 100 * largest
    for sample in samples:
        now = values[:, sample]
        size = float(ground.look.source_size * np.sqrt(now.max(initial=0.0) / (largest or 1.0)))
        scene = estimate_scene(stc, now, threshold, ground, bare.scale, size=size)
        drawn: list[tuple[int, Any]] = []
        for number, _, panel in stage.panels():
            stage.canvas.turn_to(number)
            new = [layer for hemi in panel.hemis for layer in scene.layers[hemi]]
            drawn += [(number, stage.canvas.draw(layer)) for layer in new]
        drawn.append((0, stage.write_title(f"{title}{1e3 * stc.times[sample]:.0f} ms")))
        yield stage.plotter.still()
        for number, actor in drawn:
            stage.canvas.turn_to(number)
            stage.plotter.remove_actor(actor, reset_camera=False, render=False)


def _write(frames: Iterator[np.ndarray], n_frames: int, part: Path, fps: float) -> None:
    """Write the frames, with a progress bar.

    PyVista's own writers need imageio beside these two, of which the first comes with matplotlib.
    """
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
