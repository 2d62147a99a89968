"""Sources in the depth, on slices of the MRI."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .cortex import check_measure, colour_scale
from .estimate import finite_magnitudes, sample_at, unit_scale
from .figures import in_style, open_figure, show_figure
from .look import Look, filled
from .style import MEASURES, SEQUENTIAL, TRUTH, UNITS
from .surfaces import OWN_PLACE, true_places

if TYPE_CHECKING:
    from os import PathLike

    import mne
    import pandas as pd
    from matplotlib.figure import Figure
    from nibabel import Nifti1Image

    from .layers import ColourScale

MOST_ROWS = 6  # sources with slices of their own
TEMPLATES = ("fsaverage", "fsaverage5")
# From fsaverage's coordinates (MNI305) to those of nilearn's MNI152: FreeSurfer's documentation,
# "CoordinateSystems", section 8b.
MNI305_TO_MNI152 = np.array(
    [
        [0.9975, -0.0073, 0.0176, -0.0429],
        [0.0146, 1.0009, -0.0024, 1.5496],
        [-0.0130, -0.0093, 0.9971, 1.1840],
        [0.0, 0.0, 0.0, 1.0],
    ]
)


def plot_slices(
    sources: pd.DataFrame | mne.VolSourceEstimate,
    *,
    subject: str,
    subjects_dir: str | PathLike,
    src: mne.SourceSpaces | None = None,
    time: float | None = None,
    truth: pd.DataFrame | list[mne.Dipole] | None = None,
    trans: mne.Transform | None = None,
    color_by: str = "peak_nAm",
    title: str | None = None,
    look: Look | None = None,
    show: bool | None = None,
) -> Figure:
    """Draw sources, or an estimate in a volume, on three slices of the MRI.

    Parameters
    ----------
    sources : pandas.DataFrame | mne.VolSourceEstimate
        A table with ``x_mm``, ``y_mm``, ``z_mm`` (MRI surface RAS) and the column of ``color_by``,
        of which the first six sources get a row each; or an estimate, cut at its largest
        magnitude.
    subject : str
        Name of the subject's folder.
    subjects_dir : path-like
        The FreeSurfer folder that holds it. Where the template subjects "fsaverage" and
        "fsaverage5" have no ``mri/T1.mgz``, nilearn's MNI152 is drawn in its place.
    src : mne.SourceSpaces | None
        The volume source space, which an estimate needs.
    time : float | None
        The time of an estimate (s); ``None`` takes the largest magnitude over time at each place.
    truth : pandas.DataFrame | list of mne.Dipole | None
        True sources to mark: a table with ``x_mm``, ``y_mm``, ``z_mm``, or dipoles in head
        coordinates.
    trans : mne.Transform | None
        The transform between head and MRI coordinates, which dipoles need.
    color_by : "peak_nAm" | "sd_nAm" | "log_evidence" | "peak_s"
        The column that colours the sources of a table.
    title : str | None
        Title of the picture.
    look : Look | None
        How it looks: colours, and the unit and the threshold of an estimate.
    show : bool | None
        Whether to show the figure; ``None`` does so where it does not show itself.

    Returns
    -------
    fig : matplotlib.figure.Figure
        Coronal, sagittal and axial slices.

    Raises
    ------
    ValueError
        If the sources or an option is not valid.
    FileNotFoundError
        If the subject has no MRI.
    """
    import pandas as pd

    look = filled(look)
    head: dict[str, Any] = {"subject": subject, "subjects_dir": subjects_dir}
    places = true_places(truth, {}, trans=trans, on_cortex=False, **head)
    if isinstance(sources, pd.DataFrame):
        check_measure("color_by", color_by, sources)
        if color_by in ("method", "group_source"):
            raise ValueError(f"{color_by=} is for plot_cortex; slices have a colour bar.")
    image, to_image = _mri(**head)
    true = _own_places(places, to_image, "truth")
    if isinstance(sources, pd.DataFrame):
        fig = _table_slices(sources, image, to_image, true, color_by, title, look)
    else:
        fig = _volume_slices(sources, src, time, image, to_image, true, title, look)
    return show_figure(fig, show)


def _table_slices(
    sources: pd.DataFrame,
    image: Nifti1Image,
    to_image: np.ndarray,
    true: np.ndarray,
    color_by: str,
    title: str | None,
    look: Look,
) -> Figure:
    """Draw a row of slices through each source."""
    from nilearn import plotting

    points = _own_places(sources, to_image, "sources")
    scale, values = colour_scale(sources, color_by, look)
    cuts = points[:MOST_ROWS] if len(points) else np.zeros((1, 3))
    with in_style(**{"axes.grid": False}):
        fig = open_figure((7.5, 2.5 * len(cuts) + 0.9), layout="none")
        top = 1 - 0.45 / fig.get_figheight() if title else 1.0
        height = (top - 0.75 / fig.get_figheight()) / len(cuts)
        for row, cut in enumerate(cuts):
            box = fig.add_axes((0.02, top - (row + 1) * height, 0.96, 0.95 * height))
            display = plotting.plot_anat(
                image, cut_coords=tuple(cut), axes=box, dim=-0.3, colorbar=False
            )
            _mark(display, cut, points, true, [scale.colour(value) for value in values])
        _finish(fig, scale, MEASURES[color_by], title, empty=sources.empty)
    return fig


def _mark(
    display: Any, cut: np.ndarray, points: np.ndarray, true: np.ndarray, colours: list[str]
) -> None:
    """Mark the sources near the slices, and the true ones."""
    near = np.abs(points - cut).max(axis=1) < 1e-6 if len(points) else np.zeros(0, bool)
    if near.any():
        chosen = [colour for colour, keep in zip(colours, near, strict=True) if keep]
        display.add_markers(points[near], chosen, 60, edgecolors="black", linewidths=0.8)
    if len(true):
        display.add_markers(true, "none", 90, marker="D", edgecolors=TRUTH, linewidths=1.6)


def _volume_slices(
    stc: mne.VolSourceEstimate,
    src: mne.SourceSpaces | None,
    time: float | None,
    image: Nifti1Image,
    to_image: np.ndarray,
    true: np.ndarray,
    title: str | None,
    look: Look,
) -> Figure:
    """Draw an estimate in a volume, cut at its largest magnitude."""
    import mne
    from nilearn import plotting

    if not isinstance(stc, (mne.VolSourceEstimate, mne.VolVectorSourceEstimate)):
        raise TypeError(
            "sources must be a pandas.DataFrame or an mne.VolSourceEstimate; "
            f"got {type(stc).__name__}."
        )
    if src is None:
        raise ValueError("src is needed: the volume source space of the estimate.")
    values = finite_magnitudes(stc, "sources")
    largest = values.max(initial=0.0)
    shown = values.max(axis=1) if time is None else values[:, sample_at(stc, time)]
    scale, factor = unit_scale(look, largest)
    volume = _grid_image(src, stc.vertices, shown * factor, to_image)
    highest = np.unravel_index(volume.get_fdata().argmax(), volume.shape)
    peak = volume.affine[:3] @ [*highest, 1]
    with in_style(**{"axes.grid": False}):
        fig = open_figure((7.5, 3.6), layout="none")
        box = fig.add_axes((0.02, 0.24, 0.96, 0.62 if title else 0.74))
        display = plotting.plot_stat_map(
            volume,
            bg_img=image,
            cut_coords=tuple(peak),
            threshold=max(look.threshold / 100 * largest * factor, 1e-30),
            vmin=float(scale.ticks[0]),
            vmax=float(scale.ticks[-1]),
            cmap=SEQUENTIAL,
            colorbar=False,
            symmetric_cbar=False,
            axes=box,
            dim=-0.3,
        )
        _mark(display, peak, np.zeros((0, 3)), true, [])
        note = f"; shown above {look.threshold:g} % of the largest"
        _finish(fig, scale, UNITS[look.unit][0] + note, title, empty=not shown.any())
    return fig


def _finish(fig: Figure, scale: ColourScale, label: str, title: str | None, *, empty: bool) -> None:
    """Add title and colour bar, or say that there is no source."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    inch = 1 / fig.get_figheight()
    if title:
        fig.suptitle(title, y=1 - 0.12 * inch, va="top", fontsize=12)
    if empty:
        fig.text(0.5, 0.3 * inch, "no source", ha="center")
        return
    bar = fig.colorbar(
        ScalarMappable(Normalize(scale.ticks[0], scale.ticks[-1]), scale.cmap),
        cax=fig.add_axes((0.3, 0.5 * inch, 0.4, 0.12 * inch)),
        orientation="horizontal",
        ticks=scale.ticks,
        format="%g",
    )
    bar.set_label(label)
    bar.outline.set_visible(False)


def _mri(subject: str, subjects_dir: str | PathLike) -> tuple[Nifti1Image, np.ndarray]:
    """Return the anatomy, and the transform from MRI surface RAS (mm) to its coordinates."""
    import nibabel

    file = Path(subjects_dir) / subject / "mri" / "T1.mgz"
    if file.is_file():
        image = nibabel.load(file)
        to_surface = image.header.get_vox2ras_tkr()
        return nibabel.Nifti1Image(image.get_fdata(dtype=np.float32), image.affine), (
            image.affine @ np.linalg.inv(to_surface)
        )
    if subject not in TEMPLATES:
        raise FileNotFoundError(
            f"The MRI of {subject!r} cannot be drawn: no {file}. Draw the sources in the glass "
            "brain instead: plot_cortex(surface='glass')."
        )
    from nilearn.datasets import load_mni152_template

    return load_mni152_template(resolution=2), MNI305_TO_MNI152


def _own_places(table: pd.DataFrame, to_image: np.ndarray, name: str) -> np.ndarray:
    """Return where the rows of a table are in the image's coordinates (mm)."""
    if table.empty:
        return np.zeros((0, 3))
    missing = [column for column in OWN_PLACE if column not in table]
    if missing:
        raise ValueError(f"{name} lacks the column {', '.join(missing)}.")
    return _to_image(table[list(OWN_PLACE)].to_numpy(float), to_image)


def _to_image(points: np.ndarray, to_image: np.ndarray) -> np.ndarray:
    return points @ to_image[:3, :3].T + to_image[:3, 3]


def _grid_image(
    src: mne.SourceSpaces, vertices: list[np.ndarray], values: np.ndarray, to_image: np.ndarray
) -> Nifti1Image:
    """Return values at some positions of a volume source space as an image.

    MNE's ``as_volume`` does the same for estimates that have a value at every position.
    """
    import nibabel

    if any("src_mri_t" not in space for space in src):
        raise ValueError(
            "src must be a volume source space on a grid; give discrete sources as a table."
        )
    shape = src[0]["shape"]
    grid = np.zeros(np.prod(shape))
    for vertno, part in zip(
        vertices, np.split(values, np.cumsum([len(v) for v in vertices])[:-1]), strict=True
    ):
        grid[vertno] = part
    affine = src[0]["src_mri_t"]["trans"].copy()
    affine[:3] *= 1e3
    return nibabel.Nifti1Image(grid.reshape(shape, order="F"), to_image @ affine)
