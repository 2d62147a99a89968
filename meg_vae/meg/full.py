"""A sparse estimate at every position of its source space, and as an image."""

from __future__ import annotations

from pathlib import Path

import mne
import numpy as np

from meg_vae.files import whole_file
from meg_vae.meg.estimates import Positions


def everywhere(stc: mne.SourceEstimate, positions: Positions) -> mne.SourceEstimate:
    """Give an estimate a row for every position, zero where there is no source.

    Parameters
    ----------
    stc : SourceEstimate
        The sparse estimate.
    positions : Positions
        Where its sources are, and which positions there are.

    Returns
    -------
    stc : SourceEstimate
        Of the same class.

    Raises
    ------
    ValueError
        If the positions are not known.
    """
    if positions.vertices is None:
        raise ValueError(
            "full=True needs all positions of the source space, and this inverse is from a file "
            "of an earlier version, which does not hold them; fit again."
        )
    sparse = stc.vertices if isinstance(stc.vertices, list) else [stc.vertices]
    first, rows = 0, []
    for own, every in zip(sparse, positions.vertices, strict=True):
        rows.append(first + np.searchsorted(every, own))
        first += len(every)
    data = np.zeros((first, *stc.data.shape[1:]))
    data[np.concatenate(rows)] = stc.data
    return type(stc)(data, list(positions.vertices), stc.tmin, stc.tstep, subject=stc.subject)


def write_image(
    stc: mne.SourceEstimate,
    src: mne.SourceSpaces | mne.Forward,
    fname: str | Path,
    *,
    mri_resolution: bool,
    overwrite: bool,
) -> Path:
    """Write the volume part of an estimate as a NIfTI image.

    Parameters
    ----------
    stc : VolSourceEstimate | MixedSourceEstimate
        The estimate at every position.
    src : SourceSpaces | Forward
        The source space of the fit, or the forward model with it.
    fname : path-like
        A name that ends with ``.nii`` or ``.nii.gz``.
    mri_resolution : bool
        Whether to interpolate to the voxels of the MRI.
    overwrite : bool
        Whether to replace a file.

    Returns
    -------
    fname : Path
        The file.

    Raises
    ------
    ValueError
        If the name ends otherwise, or the source space holds no volume or is not that of the fit.
    """
    import nibabel

    path = Path(fname).expanduser()
    if not path.name.endswith((".nii", ".nii.gz")):
        raise ValueError(f"fname={str(path)!r} must end with .nii or .nii.gz.")
    spaces = src["src"] if isinstance(src, mne.Forward) else src
    if not isinstance(spaces, mne.SourceSpaces):
        raise TypeError(f"src must be mne.SourceSpaces or mne.Forward, got {type(src).__name__}.")
    volumes = [space for space in spaces if space["type"] == "vol"]
    if not volumes:
        raise ValueError(
            f"to_nifti needs a volume source space, and this one is {spaces.kind}; save the "
            "estimate (stc.save), or morph it to a volume."
        )
    same = len(stc.vertices) == len(spaces) and all(
        np.array_equal(own, space["vertno"])
        for own, space in zip(stc.vertices, spaces, strict=True)
    )
    if not same:
        raise ValueError("src is not the source space of the fit; give forward['src'].")
    if not isinstance(stc, mne.VolSourceEstimate):
        stc = stc.volume()
    image = stc.as_volume(mne.SourceSpaces(volumes), mri_resolution=mri_resolution)
    with whole_file(path, overwrite=overwrite) as temporary:
        nibabel.save(image, temporary)
    return path
