"""What is painted on the cortex: maps, sources that are patches, and the borders of labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .layers import Key, Layer
from .style import INK
from .surfaces import HEMIS, OWN_PLACE, load_white

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    import mne
    import pandas as pd
    import pyvista

    from .layers import Categories, ColourScale
    from .surfaces import Hemisphere

LIFT_MM = 0.4  # height of the paint above the surface
WIDTH_MM = 0.5  # half the width of a line
# Colours of labels that are few, none of them in the colour bar; more are drawn in ink.
COLOURS = ("#009E73", "#56B4E9", INK, "#7A4B1E")


def paint(
    table: pd.DataFrame,
    threshold: float,
    cortex: dict[str, Hemisphere],
    meshes: dict[str, pyvista.PolyData],
) -> dict[str, pyvista.PolyData]:
    """Return the parts of the surface where a dense estimate exceeds a threshold.

    ``table`` has a row per vertex of the estimate, with ``hemi``, ``vertno`` and ``value``, which
    is not negative.
    """
    painted = {}
    for hemi, hemisphere in cortex.items():
        part = table[table["hemi"] == hemi]
        if part.empty:
            continue
        values = spread(hemisphere, part["vertno"].to_numpy(int), part["value"].to_numpy(float))
        coat = _coat(meshes[hemi], np.nan_to_num(values, nan=-1.0))
        patch = coat.clip_scalar(scalars="value", value=threshold, invert=False)
        if patch.n_points:
            painted[hemi] = patch
    return painted


def spread(hemisphere: Hemisphere, vertno: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Carry values at some vertices to those around them, along the surface: (n_vertices,).

    At each vertex the mean of its neighbours' values, grown outwards ring by ring; NaN farther from
    the used vertices than twice their spacing (the medial wall, a label's surroundings).
    """
    import mne
    from scipy.spatial import cKDTree

    tree = cKDTree(hemisphere.white[vertno])
    gaps = np.asarray(tree.query(hemisphere.white[vertno], k=2)[0])[:, 1]
    spacing = np.median(gaps) if len(vertno) > 1 else 0.0
    near = np.asarray(tree.query(hemisphere.white)[0]) <= 2 * spacing
    neighbours = mne.spatial_tris_adjacency(hemisphere.triangles, verbose=False).tocsr()
    known = np.zeros(len(near))
    total = np.zeros(len(near))
    known[vertno], total[vertno] = 1.0, values
    while True:
        count = neighbours @ known  # each vertex neighbours itself
        total = np.divide(neighbours @ total, count, out=np.zeros_like(total), where=count > 0)
        grown = (count > 0) & near
        if not (grown & (known == 0)).any():
            break
        known, total = grown.astype(float), np.where(grown, total, 0.0)
    return np.where(grown, total, np.nan)


def are_patches(sources: pd.DataFrame) -> np.ndarray:
    """Tell which sources are patches: those with an ``extent_mm``, and a place on the cortex."""
    if not {"extent_mm", *OWN_PLACE} <= set(sources):
        return np.zeros(len(sources), bool)
    large = sources["extent_mm"].fillna(0.0) > 0
    return np.asarray(large & sources["hemi"].isin(HEMIS), bool)


def patch_layers(
    patches: pd.DataFrame,
    values: np.ndarray,
    scale: ColourScale | Categories,
    meshes: dict[str, pyvista.PolyData],
    **head: str | PathLike,
) -> dict[str, list[Layer]]:
    """Paint sources that are patches, each in the colour of its value; a layer per patch."""
    layers: dict[str, list[Layer]] = {hemi: [] for hemi in HEMIS}
    labels = source_labels(patches, **head) if len(patches) else []
    for label, value in zip(labels, values, strict=True):
        inside = np.zeros(meshes[label.hemi].n_points)
        inside[label.vertices] = 1.0
        coat = _coat(meshes[label.hemi], inside)
        painted = coat.clip_scalar(scalars="value", value=0.5, invert=False)
        painted["value"] = np.full(painted.n_points, value)
        layers[label.hemi].append(Layer(painted, table=scale.table()))
    return layers


def source_labels(
    sources: pd.DataFrame, subject: str, subjects_dir: str | PathLike
) -> list[mne.Label]:
    """Give each source as a label, in the order of the table.

    Its vertices are those of the white surface within ``extent_mm`` of its place, along the
    surface, and the nearest one alone for a point.
    """
    import mne
    from scipy.spatial import cKDTree

    beyond = sorted(set(sources["hemi"]) - set(HEMIS))
    if beyond:
        raise ValueError(
            f"labels are of the cortex, and a source lies in {beyond[0]!r}; use apply for a volume."
        )
    white = load_white(subject, subjects_dir)
    trees = {hemi: cKDTree(rr) for hemi, rr in white.items()}
    labels = []
    for number, one in enumerate(sources.itertuples(), 1):
        seed = int(trees[one.hemi].query([one.x_mm, one.y_mm, one.z_mm])[1])
        (label,) = mne.grow_labels(
            subject,
            seed,
            one.extent_mm,
            HEMIS.index(one.hemi),
            subjects_dir,
            names=f"source {number}-{one.hemi}",
            surface="white",
        )
        label.values = np.ones(len(label.vertices))
        label.pos = 1e-3 * white[one.hemi][label.vertices]  # MNE grows labels in mm
        labels.append(label)
    return labels


def read_labels(
    labels: str | Sequence[mne.Label] | None, subject: str, subjects_dir: str | PathLike
) -> Sequence[mne.Label]:
    """Return labels: those given, or all of an annotation by its name."""
    import mne

    if labels is None or not isinstance(labels, str):
        return labels or ()
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
    labels: Sequence[mne.Label], meshes: dict[str, pyvista.PolyData]
) -> tuple[dict[str, list[Layer]], list[Key]]:
    """Return the borders of labels, and the legend of those that have a colour of their own."""
    layers: dict[str, list[Layer]] = {hemi: [] for hemi in HEMIS}
    few = len(labels) <= len(COLOURS)
    groups = [[label] for label in labels] if few else [labels]
    legend = []
    for k, group in enumerate(groups):
        colour = COLOURS[k] if few else INK
        for hemi in HEMIS:
            lines = [_border(label, meshes[hemi]) for label in group if label.hemi == hemi]
            lines = [line for line in lines if line.n_points]
            if lines:
                layers[hemi].append(Layer(lines[0].append_polydata(*lines[1:]), colour=colour))
        if few:
            legend.append(Key(group[0].name, "patch", colour))
    return layers, legend


def _border(label: mne.Label, mesh: pyvista.PolyData) -> pyvista.PolyData:
    """Return a line halfway between the vertices of a label and those around it."""
    inside = np.zeros(mesh.n_points)
    if len(label.vertices) and label.vertices.max() >= mesh.n_points:
        raise ValueError(
            f"labels: {label.name!r} has the vertex {label.vertices.max()}, but the surface "
            f"only {mesh.n_points}. Is it another subject's?"
        )
    inside[label.vertices] = 1.0
    line = _coat(mesh, inside, 2 * WIDTH_MM).contour([0.5], scalars="value")
    return line.tube(radius=WIDTH_MM, n_sides=4) if line.n_points else line


def _coat(mesh: pyvista.PolyData, values: np.ndarray, height: float = LIFT_MM) -> pyvista.PolyData:
    """Return the surface a little above itself (mm), with a value at each vertex."""
    coat = mesh.copy()
    coat.points = coat.points + height * coat["Normals"]
    coat["value"] = values
    return coat
