"""MNI coordinates of the sources, where the subject allows."""

from __future__ import annotations

from pathlib import Path

import mne
import numpy as np
import pandas as pd
from mne.utils import warn

AXES = ["x_mm", "y_mm", "z_mm"]
COLUMNS = [f"mni_{axis}" for axis in AXES]
STANDARD = "fsaverage"  # FreeSurfer's average: its coordinates are MNI's


def with_mni(
    sources: pd.DataFrame, subject: str | None, subjects_dir: str | Path | None
) -> pd.DataFrame:
    """Add MNI coordinates (MNI305) to a table of sources.

    Parameters
    ----------
    sources : pandas.DataFrame
        With places in MRI surface RAS coordinates, mm.
    subject : str | None
        The subject.
    subjects_dir : path-like | None
        FreeSurfer folder; None takes MNE's setting.

    Returns
    -------
    sources : pandas.DataFrame
        With three columns more, ``mni_x_mm, mni_y_mm, mni_z_mm``, where the subject is fsaverage or
        has a Talairach transform; else the same.
    """
    trans = _to_mni(subject, subjects_dir)
    if trans is None:
        return sources
    places = mne.transforms.apply_trans(trans, sources[AXES].to_numpy(float) / 1e3)
    return sources.assign(**dict(zip(COLUMNS, 1e3 * places.T, strict=True)))


def _to_mni(subject: str | None, subjects_dir: str | Path | None) -> np.ndarray | None:
    """Find the transform from MRI surface RAS to MNI; None where there is none."""
    if subject is None:
        return None
    folder = mne.utils.get_subjects_dir(subjects_dir, raise_error=False)
    file = None if folder is None else Path(folder) / subject / "mri/transforms/talairach.xfm"
    if file is not None and file.is_file():
        try:
            return mne.read_talxfm(subject, folder, verbose="error")["trans"]
        except (OSError, ValueError, IndexError, RuntimeError) as error:
            warn(f"no MNI coordinates: {file} cannot be used ({error}).")
            return None
    return np.eye(4) if subject == STANDARD else None
