"""What is drawn on and around the cortex, whatever draws it and from wherever it is seen."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from . import marks
from .layers import TRUE, ColourScale, Key, Layer, cortex_layer
from .paint import outline_layers, read_labels
from .style import GLASS
from .surfaces import HEMIS, Hemisphere, load_cortex, load_shell, true_places

if TYPE_CHECKING:
    from os import PathLike

    import mne
    import pandas as pd
    import pyvista

    from .layers import Categories
    from .look import Look


@dataclass(frozen=True, eq=False)
class Ground:
    """What is drawn whatever the sources are.

    Attributes
    ----------
    look : Look
        How it looks, with nothing left open.
    head : dict
        ``subject`` and ``subjects_dir``.
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

    look: Look
    head: dict[str, Any]
    cortex: dict[str, Hemisphere]
    meshes: dict[str, pyvista.PolyData]
    layers: dict[str, list[Layer]]
    around: list[Layer]
    diamonds: dict[str, np.ndarray]
    legend: list[Key]


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything to draw.

    Attributes
    ----------
    ground : Ground
        The cortex and what belongs to it.
    scale : ColourScale | Categories
        Colours of the sources.
    scale_title : str
        What they mean, with the unit.
    layers : dict of list of Layer
        The sources, by hemisphere.
    legend : list of Key
        What their marks mean.
    empty : bool
        Whether there is no source.
    title : str | None
        Title of the picture.
    """

    ground: Ground
    scale: ColourScale | Categories
    scale_title: str
    layers: dict[str, list[Layer]] = field(default_factory=lambda: {hemi: [] for hemi in HEMIS})
    legend: list[Key] = field(default_factory=list)
    empty: bool = False
    title: str | None = None

    def drawn(self, hemi: str) -> list[Layer]:
        """Return what is drawn with a hemisphere, the cortex itself first."""
        return self.ground.layers[hemi] + self.layers[hemi]

    @property
    def keys(self) -> list[Key]:
        """What the legend says."""
        return self.legend + self.ground.legend


def read_ground(
    look: Look,
    *,
    subject: str,
    subjects_dir: str | PathLike,
    truth: pd.DataFrame | list[mne.Dipole] | None = None,
    trans: mne.Transform | None = None,
) -> Ground:
    """Read what a picture stands on: the cortex, the shell, borders and true sources."""
    glass = look.surface == "glass"
    head: dict[str, Any] = {"subject": subject, "subjects_dir": subjects_dir}
    cortex = load_cortex(surface=look.surface, **head)
    true = true_places(truth, cortex, trans=trans, on_cortex=not glass, **head)
    cortex, around = _with_shell(cortex, look.shell, **head)
    meshes = {hemi: marks.cortex_mesh(part) for hemi, part in cortex.items()}
    borders, named = outline_layers(read_labels(look.labels, **head), meshes)
    diamonds = marks.true_centres(true, look.source_size, cortex, meshes, look.surface)
    return Ground(
        look=look,
        head=head,
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
