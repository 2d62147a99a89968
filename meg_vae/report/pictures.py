"""The pictures of a report, as PNG files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import mne
from mne.utils import get_subjects_dir, warn

from meg_vae import viz

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    import pyvista
    from matplotlib.figure import Figure

    from meg_vae.comparison import Comparison
    from meg_vae.meg.inverse import VAEInverse

DPI = 150


def localization_pictures(
    inverse: VAEInverse,
    evoked: mne.Evoked,
    folder: str | Path,
    *,
    truth: list[mne.Dipole] | pd.DataFrame | None = None,
    trans: mne.Transform | None = None,
) -> dict[str, Path]:
    """Draw a localization.

    Parameters
    ----------
    inverse : VAEInverse
        The fitted inverse.
    evoked : mne.Evoked
        The data of the fit.
    folder : path-like
        An existing folder for the files.
    truth : list of mne.Dipole | pandas.DataFrame | None
        True sources, to mark on the cortex.
    trans : mne.Transform | None
        The transform between head and MRI coordinates, which dipoles need.

    Returns
    -------
    pictures : dict of Path
        The PNG files "sources" (left out where the cortex cannot be drawn), "time_courses",
        "residual", "evidence" and "energy".

    Warns
    -----
    RuntimeWarning
        If the cortex cannot be drawn.
    """
    folder = Path(folder)
    positions = inverse.filter_.positions
    subject = inverse.subject or positions.subject
    sources = _draw_cortex(
        lambda head: viz.plot_cortex(
            inverse.sources_, truth=truth, trans=trans, off_screen=True, **head
        ),
        folder / "sources.png",
        None
        if positions.kind == "surface"
        else f"the source space is {positions.kind}, not a cortical surface",
        subject,
        inverse.subjects_dir,
    )
    threshold = inverse.min_log_evidence
    return sources | {
        "time_courses": save_figure(inverse.plot_time_courses(evoked), folder / "time_courses.png"),
        "residual": save_figure(inverse.plot_residual(evoked), folder / "residual.png"),
        "evidence": save_figure(
            viz.plot_evidence(inverse.sources_, threshold=threshold), folder / "evidence.png"
        ),
        "energy": save_figure(inverse.plot_energy(), folder / "energy.png"),
    }


def comparison_pictures(
    comparison: Comparison,
    folder: str | Path,
    *,
    subject: str | None = None,
    subjects_dir: str | Path | None = None,
) -> dict[str, Path]:
    """Draw a comparison.

    Parameters
    ----------
    comparison : Comparison
        The estimates of several methods.
    folder : path-like
        An existing folder for the file.
    subject : str | None
        Subject in ``subjects_dir``; None takes the one that the source space names.
    subjects_dir : path-like | None
        FreeSurfer folder; None takes MNE's setting.

    Returns
    -------
    pictures : dict of Path
        The PNG file "comparison", or nothing where the cortex cannot be drawn.

    Warns
    -----
    RuntimeWarning
        If the cortex cannot be drawn.
    """
    kinds = (mne.SourceEstimate, mne.VectorSourceEstimate)
    on_cortex = all(isinstance(stc, kinds) for stc in comparison.estimates.values())
    return _draw_cortex(
        lambda head: comparison.plot(off_screen=True, **head),
        Path(folder) / "comparison.png",
        None if on_cortex else "the source space is no cortical surface",
        subject or comparison.subject,
        subjects_dir,
    )


def _draw_cortex(
    draw: Callable[[dict[str, Any]], pyvista.Plotter],
    path: Path,
    obstacle: str | None,
    subject: str | None,
    subjects_dir: str | Path | None,
) -> dict[str, Path]:
    """Draw on the cortex where there is one, else warn and go on: the numbers do not need it."""
    found = get_subjects_dir(subjects_dir, raise_error=False)
    if obstacle is None and (subject is None or found is None):
        missing = "subject" if subject is None else "subjects_dir"
        obstacle = f"{missing} is not known"
    if obstacle is None:
        try:
            viz.save_picture(draw({"subject": subject, "subjects_dir": found}), path)
            return {path.stem: path}
        except (FileNotFoundError, ValueError) as error:
            obstacle = str(error)
    warn(f"the cortex is not drawn ({path.name} is left out): {obstacle.rstrip('.')}.")
    return {}


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure and close it.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        The figure.
    path : Path
        The file.

    Returns
    -------
    path : Path
        The same.
    """
    from matplotlib import pyplot as plt

    figure.savefig(path, dpi=DPI)
    plt.close(figure)
    return path
