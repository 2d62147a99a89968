"""Sources in MNE's own browser of the brain."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

from .cortex import check_measure, colour_scale
from .layers import Categories
from .look import Look, filled
from .style import TRUTH
from .surfaces import check_places, load_cortex, true_places

if TYPE_CHECKING:
    from os import PathLike

    import mne
    import pandas as pd

PARTS = ("pyvistaqt", "qtpy")
BINDINGS = ("PySide6", "PyQt6", "PyQt5", "PySide2")


def missing_qt() -> list[str]:
    """Return what is missing to open windows of Qt, empty if nothing is."""
    missing = [name for name in PARTS if importlib.util.find_spec(name) is None]
    if not any(importlib.util.find_spec(name) for name in BINDINGS):
        missing.append(BINDINGS[0])
    return missing


def plot_brain(
    sources: pd.DataFrame,
    *,
    subject: str,
    subjects_dir: str | PathLike,
    truth: pd.DataFrame | list[mne.Dipole] | None = None,
    trans: mne.Transform | None = None,
    color_by: str = "peak_nAm",
    look: Look | None = None,
    **kwargs: Any,
) -> mne.viz.Brain:
    """Open the sources in an `mne.viz.Brain`, to which all that MNE offers can be added.

    Parameters
    ----------
    sources : pandas.DataFrame
        As in `plot_cortex`.
    subject : str
        Name of the subject's folder.
    subjects_dir : path-like
        The FreeSurfer folder that holds it.
    truth : pandas.DataFrame | list of mne.Dipole | None
        True sources to mark.
    trans : mne.Transform | None
        The transform between head and MRI coordinates, which dipoles need.
    color_by : "peak_nAm" | "sd_nAm" | "log_evidence" | "peak_s" | "method"
        The column that colours the spheres.
    look : Look | None
        How it looks: surface, size of the spheres, colours, background and window.
    **kwargs : dict
        Further arguments of `mne.viz.Brain`.

    Returns
    -------
    brain : mne.viz.Brain
        The window.

    Raises
    ------
    ImportError
        If Qt is not installed.
    ValueError
        If the sources or an option is not valid.
    """
    missing = missing_qt()
    if missing:
        raise ImportError(
            f"mne.viz.Brain needs Qt: pip install {' '.join(missing)}. plot_cortex draws without."
        )
    check_measure("color_by", color_by, sources)
    look = filled(look)
    if look.surface == "glass":
        raise ValueError("surface='glass' is for plot_cortex; use 'inflated', 'white' or 'pial'.")
    head: dict[str, Any] = {"subject": subject, "subjects_dir": subjects_dir}
    cortex = load_cortex(surface=look.surface, **head)
    check_places(sources, cortex, "sources")
    true = true_places(truth, cortex, trans=trans, **head)
    scale, values = colour_scale(sources, color_by, look)
    window: dict[str, Any] = {"background": look.background}
    if look.window_size is not None:
        window["size"] = look.window_size

    from mne.viz import Brain, use_3d_backend

    with use_3d_backend("pyvistaqt"):
        brain = Brain(surf=look.surface, hemi="both", **head, **window | kwargs)
    size = look.source_size / 10  # MNE's unit sphere has a radius of 10 mm
    for hemi, vertno, value in zip(sources["hemi"], sources["vertno"], values, strict=True):
        number = int(value) if isinstance(scale, Categories) else value
        brain.add_foci(
            int(vertno),
            coords_as_verts=True,
            hemi=hemi,
            color=scale.colour(number),
            scale_factor=size,
        )
    for hemi, vertno in zip(true["hemi"], true["vertno"], strict=True):
        brain.add_foci(
            int(vertno),
            coords_as_verts=True,
            hemi=hemi,
            color=TRUTH,
            alpha=0.5,
            scale_factor=1.5 * size,
        )
    return brain
