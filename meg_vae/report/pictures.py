"""The pictures of a report, as files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import mne
import numpy as np
import pandas as pd
from mne.utils import get_subjects_dir, warn

from meg_vae import viz
from meg_vae.viz.interactive import can_turn
from meg_vae.viz.style import PALETTE
from meg_vae.viz.surfaces import HEMIS

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyvista
    from matplotlib.figure import Figure

    from meg_vae.comparison import Comparison
    from meg_vae.meg.inverse import VAEInverse

DPI = 150
MAP = 300  # an estimate at as many positions is a map
ACTIVE = 0.01  # share of the largest magnitude from which a position is active


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
        The PNG files "sources", "time_courses", "residual", "noise", "evidence" and "energy", of
        several responses "responses" too, and the page "cortex" that turns the brain. Without a
        cortex "sources" is on slices or in the glass brain where that can be drawn, else left out.

    Warns
    -----
    RuntimeWarning
        If the cortex cannot be drawn.
    """
    folder = Path(folder)
    look = viz.Look(off_screen=True)
    sources = draw_cortex(
        lambda head: inverse.plot_sources(truth=truth, trans=trans, look=look, **head),
        folder / "sources.png",
        inverse.subject or inverse.filter_.positions.subject,
        inverse.subjects_dir,
        page=folder / "cortex.html",
    )
    if len(inverse.responses_) > 1 and inverse.positions == "free":
        sources["responses"] = save_figure(
            inverse.plot_response_evidence(show=False), folder / "responses.png"
        )
    return sources | {
        "time_courses": save_figure(
            inverse.plot_time_courses(evoked, show=False), folder / "time_courses.png"
        ),
        "residual": save_figure(inverse.plot_residual(evoked, show=False), folder / "residual.png"),
        "noise": save_figure(inverse.plot_noise(evoked, show=False), folder / "noise.png"),
        "evidence": save_figure(inverse.plot_evidence(show=False), folder / "evidence.png"),
        "energy": save_figure(inverse.plot_energy(show=False), folder / "energy.png"),
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
        The PNG file "comparison" and the page "methods", or nothing where the cortex cannot be
        drawn.

    Warns
    -----
    RuntimeWarning
        If the cortex cannot be drawn.
    """
    folder, subject = Path(folder), subject or comparison.subject
    kinds = (mne.SourceEstimate, mne.VectorSourceEstimate)
    if not all(isinstance(stc, kinds) for stc in comparison.estimates.values()):
        _leave_out("comparison.png", "the source space is no cortical surface")
        return {}
    grid = draw_cortex(
        lambda head: comparison.plot(look=viz.Look(off_screen=True), **head),
        folder / "comparison.png",
        subject,
        subjects_dir,
    )
    if not grid:
        return {}
    return grid | draw_cortex(
        lambda head: viz.plot_cortex(
            method_places(comparison),
            color_by="method",
            truth=comparison.truth or None,
            trans=comparison.trans,
            look=viz.Look(off_screen=True),
            **head,
        ),
        None,
        subject,
        subjects_dir,
        page=folder / "methods.html",
    )


def method_places(comparison: Comparison) -> pd.DataFrame:
    """Give ``method``, ``hemi`` and ``vertno`` of where up to seven methods see sources.

    Of a sparse estimate every active position, of a map the strongest one.
    """
    rows = []
    titles = dict(zip(comparison.table["method"], comparison.table["title"], strict=True))
    for name, stc in list(comparison.estimates.items())[: len(PALETTE)]:
        peak = np.abs(stc.data).reshape(len(stc.data), -1).max(axis=1)
        if not peak.any():
            continue
        sparse = np.flatnonzero(peak > ACTIVE * peak.max()) if len(peak) < MAP else [peak.argmax()]
        hemis = np.repeat(HEMIS, [len(vertno) for vertno in stc.vertices])
        vertno = np.concatenate(stc.vertices)
        rows += [(titles[name], hemis[k], vertno[k]) for k in sparse]
    return pd.DataFrame(rows, columns=["method", "hemi", "vertno"])


def draw_cortex(
    draw: Callable[[dict[str, Any]], pyvista.Plotter],
    path: Path | None,
    subject: str | None,
    subjects_dir: str | Path | None,
    *,
    page: Path | None = None,
) -> dict[str, Path]:
    """Draw on the cortex where there is one, else warn and go on: the numbers do not need it.

    ``draw`` is given ``subject`` and ``subjects_dir`` by name; the PNG file and the page that turns
    the brain come back by the stems of their names, where they were written.
    """
    name = (path or page).name
    found = get_subjects_dir(subjects_dir, raise_error=False)
    if subject is None or found is None:
        _leave_out(name, f"{'subject' if subject is None else 'subjects_dir'} is not known")
        return {}
    try:
        plotter = draw({"subject": subject, "subjects_dir": found})
    except (FileNotFoundError, ValueError) as error:
        _leave_out(name, str(error))
        return {}
    files = []
    if page is not None and can_turn():
        files.append(viz.save_page(plotter, page))
    if path is not None:
        files.append(viz.save_picture(plotter, path))
    plotter.close()
    return {file.stem: file for file in files}


def _leave_out(name: str, why: str) -> None:
    warn(f"the cortex is not drawn ({name} is left out): {why.rstrip('.')}.")


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure and close it."""
    from matplotlib import pyplot as plt

    figure.savefig(path, dpi=DPI)
    plt.close(figure)
    return path
