"""Borders of cortical regions, drawn as lines on the surface."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .scene import Key, Layer
from .style import INK
from .surfaces import HEMIS

if TYPE_CHECKING:
    from os import PathLike

    import mne
    import pyvista

WIDTH_MM = 0.5  # half the width of a line
# Colours of labels that are few, none of them in the colour bar; more are drawn in ink.
COLOURS = ("#009E73", "#56B4E9", INK, "#7A4B1E")


def read_labels(
    labels: str | list[mne.Label] | None, subject: str, subjects_dir: str | PathLike
) -> list[mne.Label]:
    """Return labels: those given, or all of a parcellation by its name.

    Parameters
    ----------
    labels : str | list of mne.Label | None
        Name of an annotation, or labels; ``None`` is no label.
    subject : str
        Name of the subject's folder.
    subjects_dir : path-like
        The FreeSurfer folder that holds it.

    Returns
    -------
    labels : list of mne.Label
        The labels.
    """
    import mne

    if labels is None:
        return []
    if not isinstance(labels, str):
        labels = [labels] if isinstance(labels, mne.Label) else list(labels)
        wrong = [type(one).__name__ for one in labels if not isinstance(one, mne.Label)]
        if wrong:
            raise TypeError(f"labels must be the name of an annotation or mne.Labels; {wrong[0]}.")
        return labels
    folder = Path(subjects_dir) / subject / "label"
    files = [folder / f"{hemi}.{labels}.annot" for hemi in HEMIS]
    missing = [str(file) for file in files if not file.is_file()]
    if missing:
        raise FileNotFoundError(
            f"labels={labels!r}: no {', no '.join(missing)}. Give the name of an annotation that "
            f"{subject!r} has, or a list of mne.Label."
        )
    return mne.read_labels_from_annot(subject, labels, subjects_dir=subjects_dir, verbose="error")


def outline_layers(
    labels: list[mne.Label], meshes: dict[str, pyvista.PolyData]
) -> tuple[dict[str, list[Layer]], list[Key]]:
    """Return the borders of labels, and the legend of those that have a colour of their own.

    Parameters
    ----------
    labels : list of mne.Label
        The labels.
    meshes : dict of pyvista.PolyData
        The hemispheres, with normals.

    Returns
    -------
    layers : dict of list of Layer
        The lines on each hemisphere.
    legend : list of Key
        An entry per label if they are few.
    """
    layers: dict[str, list[Layer]] = {hemi: [] for hemi in HEMIS}
    few = len(labels) <= len(COLOURS)
    groups = [[label] for label in labels] if few else [labels]
    legend = []
    for k, group in enumerate(groups):
        colour = COLOURS[k] if few else INK
        for hemi in HEMIS:
            lines = _borders([one for one in group if one.hemi == hemi], meshes[hemi])
            if lines is not None:
                layers[hemi].append(Layer(lines, colour=colour))
        if few:
            legend.append(Key(group[0].name, "patch", colour))
    return layers, legend


def _borders(labels: list[mne.Label], mesh: pyvista.PolyData) -> pyvista.PolyData | None:
    """Return lines between vertices of different labels, or None if there are none."""
    import pyvista as pv

    number = np.zeros(mesh.n_points, int)
    for k, label in enumerate(labels, start=1):
        if len(label.vertices) and label.vertices.max() >= mesh.n_points:
            raise ValueError(
                f"labels: {label.name!r} has the vertex {label.vertices.max()}, but the surface "
                f"only {mesh.n_points}. Is it another subject's?"
            )
        number[label.vertices] = k
    triangles = mesh.regular_faces
    points = np.asarray(mesh.points) + 2 * WIDTH_MM * np.asarray(mesh["Normals"])
    ends = []
    for a, b, c in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        # The line cuts off the corner that differs from both others, or from the first of them.
        corner, left, right = triangles[:, a], triangles[:, b], triangles[:, c]
        cut = (number[corner] != number[left]) & (number[corner] != number[right])
        middle = points[corner[cut]]
        ends.append((middle + points[left[cut]]) / 2)
        ends.append((middle + points[right[cut]]) / 2)
    starts, stops = np.vstack(ends[::2]), np.vstack(ends[1::2])
    if not len(starts):
        return None
    segments = np.empty((2 * len(starts), 3))
    segments[::2], segments[1::2] = starts, stops
    return pv.line_segments_from_points(segments).tube(radius=WIDTH_MM, n_sides=4)
