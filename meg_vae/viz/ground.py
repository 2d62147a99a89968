"""What a picture stands on: the cortex, the shell around it, borders and true sources."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from . import marks
from .outlines import outline_layers, read_labels
from .places import true_places
from .scene import TRUE, Key, Layer, cortex_layer
from .style import GLASS
from .surfaces import HEMIS, Hemisphere, load_cortex, load_shell

if TYPE_CHECKING:
    from os import PathLike

    import mne
    import pandas as pd
    import pyvista
    from numpy.typing import ArrayLike


@dataclass(frozen=True, eq=False)
class Extras:
    """What is drawn beside the sources, as `plot_cortex` has it."""

    shell: str | None = None
    labels: str | list[mne.Label] | None = None
    truth: pd.DataFrame | list[mne.Dipole] | None = None
    trans: mne.Transform | None = None
    orientations: ArrayLike | None = None
    ellipsoids: pd.DataFrame | None = None


@dataclass(frozen=True, eq=False)
class Ground:
    """What is drawn whatever the sources are.

    Attributes
    ----------
    surface : str
        Name of the surface.
    cortex : dict of Hemisphere
        The hemispheres, with room for the shell.
    meshes : dict of pyvista.PolyData
        Their meshes.
    layers : dict of list of Layer
        The hemispheres and the borders on them.
    around : list of Layer
        The shell.
    diamonds : dict of ndarray
        Centres of the true sources (mm).
    legend : list of Key
        What the marks mean.
    """

    surface: str
    cortex: dict[str, Hemisphere]
    meshes: dict[str, pyvista.PolyData]
    layers: dict[str, list[Layer]]
    around: list[Layer]
    diamonds: dict[str, np.ndarray]
    legend: list[Key]


def read_ground(
    extras: Extras,
    *,
    subject: str,
    subjects_dir: str | PathLike,
    surface: str,
    source_size: float,
) -> Ground:
    """Read what a picture stands on.

    Parameters
    ----------
    extras : Extras
        What is drawn beside the sources.
    subject, subjects_dir, surface : str, path-like, str
        The cortex, as in `plot_cortex`.
    source_size : float
        Radius of the marks (mm).

    Returns
    -------
    ground : Ground
        The cortex and what belongs to it.
    """
    glass = surface == "glass"
    head: dict[str, Any] = {"subject": subject, "subjects_dir": subjects_dir}
    cortex = load_cortex(surface=surface, **head)
    true = true_places(extras.truth, cortex, trans=extras.trans, on_cortex=not glass, **head)
    cortex, around = _with_shell(cortex, extras.shell, **head)
    meshes = {hemi: marks.cortex_mesh(part) for hemi, part in cortex.items()}
    borders, named = outline_layers(read_labels(extras.labels, **head), meshes)
    diamonds = marks.true_centres(true, source_size, cortex, meshes, surface)
    return Ground(
        surface=surface,
        cortex=cortex,
        meshes=meshes,
        layers={hemi: [cortex_layer(meshes[hemi], glass=glass), *borders[hemi]] for hemi in HEMIS},
        around=around,
        diamonds=diamonds,
        legend=[TRUE, *named] if diamonds else named,
    )


def _with_shell(
    cortex: dict[str, Hemisphere], shell: str | None, **head: Any
) -> tuple[dict[str, Hemisphere], list[Layer]]:
    """Return the cortex with room for the shell around it, and the shell."""
    import pyvista as pv

    if shell is None:
        return cortex, []
    points, triangles = load_shell(shell=shell, **head)
    room = np.vstack([points, *(part.points for part in cortex.values())])
    mesh = pv.PolyData.from_regular_faces(points, triangles)
    mesh = mesh.compute_normals(cell_normals=False, split_vertices=False)
    spacious = {hemi: replace(part, around=room) for hemi, part in cortex.items()}
    return spacious, [Layer(mesh, colour=GLASS, opacity=0.2)]
