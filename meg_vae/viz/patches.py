"""Sources that are patches of cortex, painted on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .labels import source_labels
from .scene import Layer
from .spreading import LIFT_MM
from .surfaces import HEMIS

if TYPE_CHECKING:
    from os import PathLike

    import pandas as pd
    import pyvista

    from .scale import Categories, ColourScale


def are_patches(sources: pd.DataFrame) -> np.ndarray:
    """Tell which sources are patches.

    Parameters
    ----------
    sources : pandas.DataFrame
        The sources; patches have an ``extent_mm``, and places on the cortex.

    Returns
    -------
    patches : ndarray of bool, shape (n_sources,)
        Which of them.
    """
    if not {"extent_mm", "x_mm", "y_mm", "z_mm"} <= set(sources):
        return np.zeros(len(sources), bool)
    large = sources["extent_mm"].fillna(0.0) > 0
    return np.asarray(large & sources["hemi"].isin(HEMIS), bool)


def patch_layers(
    sources: pd.DataFrame,
    values: np.ndarray,
    scale: ColourScale | Categories,
    meshes: dict[str, pyvista.PolyData],
    *,
    subject: str,
    subjects_dir: str | PathLike,
) -> dict[str, list[Layer]]:
    """Paint patches on the cortex.

    Parameters
    ----------
    sources : pandas.DataFrame
        The patches.
    values : ndarray, shape (n_patches,)
        What colours them.
    scale : ColourScale | Categories
        The colours.
    meshes : dict of pyvista.PolyData
        The hemispheres, with normals.
    subject, subjects_dir : str, path-like
        The cortex.

    Returns
    -------
    layers : dict of list of Layer
        A layer per patch on each hemisphere.
    """
    layers: dict[str, list[Layer]] = {hemi: [] for hemi in HEMIS}
    if sources.empty:
        return layers
    labels = source_labels(sources, subject, subjects_dir)
    for label, value in zip(labels, values, strict=True):
        coat = meshes[label.hemi].copy()
        coat.points = coat.points + LIFT_MM * coat["Normals"]
        inside = np.zeros(coat.n_points)
        inside[label.vertices] = 1.0
        coat["inside"] = inside
        painted = coat.clip_scalar(scalars="inside", value=0.5, invert=False)
        painted["value"] = np.full(painted.n_points, value)
        layers[label.hemi].append(Layer(painted, table=scale.table()))
    return layers
