"""Sources as labels on the cortex of their subject."""

from __future__ import annotations

from pathlib import Path

import mne
import numpy as np
import pandas as pd
from scipy.spatial import cKDTree


def source_labels(sources: pd.DataFrame, subject: str, subjects_dir: str | Path) -> list[mne.Label]:
    """Give each source as a label.

    Parameters
    ----------
    sources : pandas.DataFrame
        The sources, with ``hemi``, their places ``x_mm, y_mm, z_mm`` and ``extent_mm``.
    subject : str
        Name of the subject's folder.
    subjects_dir : path-like
        FreeSurfer folder.

    Returns
    -------
    labels : list of mne.Label
        In the order of the table: the vertices of the white surface within the extent of the
        source, along the surface, and the nearest one alone for a point.

    Raises
    ------
    ValueError
        If a source is not on the cortex.
    """
    beyond = sorted(set(sources["hemi"]) - {"lh", "rh"})
    if beyond:
        raise ValueError(
            f"labels are of the cortex, and a source lies in {beyond[0]!r}; use apply for a volume."
        )
    folder = Path(subjects_dir) / subject / "surf"
    white = {hemi: mne.read_surface(folder / f"{hemi}.white")[0] for hemi in ("lh", "rh")}
    trees = {hemi: cKDTree(rr) for hemi, rr in white.items()}
    labels = []
    for number, one in enumerate(sources.itertuples(), 1):
        seed = int(trees[one.hemi].query([one.x_mm, one.y_mm, one.z_mm])[1])
        (label,) = mne.grow_labels(
            subject,
            seed,
            one.extent_mm,
            ["lh", "rh"].index(one.hemi),
            subjects_dir,
            names=f"source {number}-{one.hemi}",
            surface="white",
        )
        label.values = np.ones(len(label.vertices))
        label.pos = 1e-3 * white[one.hemi][label.vertices]  # MNE grows labels in mm
        labels.append(label)
    return labels
