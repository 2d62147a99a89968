"""A head model made offline: fsaverage5, a single-shell BEM and a forward solution."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import mne
import nibabel
import numpy as np
from mne.utils import verbose

from .cache import cache_dir, cached_folder, run_steps
from .helmet import MNE_DATA, helmet_info

SUBJECT = "fsaverage5"
SPACINGS = ("ico3", "ico4", "oct5", "oct6")

# Raise the number when anything written here changes. MNE's version counts too: its files and
# its forward computation may change with it.
_KEY = f"1-mne-{mne.__version__}"

_BEM_SOLUTION = f"bem/{SUBJECT}-5120-bem-sol.fif"
_TRANS = f"bem/{SUBJECT}-trans.fif"

_N_BETWEEN = 500  # vertices of each hemisphere that sources between the positions are drawn from

# Mean thickness falls to zero across the medial wall, where there is no cortex to measure.
_THINNEST_CORTEX_MM = 1.0


@dataclass(frozen=True, eq=False)
class Template:
    """A head, a helmet and the forward solution between them.

    Attributes
    ----------
    subjects_dir : Path
        Folder that holds the subject folder.
    subject : str
        Name of the subject folder.
    spacing : str
        Spacing of the source space.
    src : mne.SourceSpaces
        Cortical source space in MRI coordinates, with patch statistics.
    bem : mne.bem.ConductorModel
        Single-shell BEM solution (inner skull).
    trans : mne.Transform
        Head to MRI transform.
    info : mne.Info
        The 306-channel model helmet.
    forward : mne.Forward
        Forward solution, free orientation, head coordinates.
    """

    subjects_dir: Path
    subject: str
    spacing: str
    src: mne.SourceSpaces
    bem: mne.bem.ConductorModel
    trans: mne.Transform
    info: mne.Info
    forward: mne.Forward


@verbose
def template(
    spacing: str = "oct6",
    subjects_dir: str | Path | None = None,
    verbose: bool | str | int | None = None,
) -> Template:
    """Make, or load, the template head model.

    The cortex is fsaverage5 as nilearn ships it (10,242 vertices a hemisphere), the head and the
    inner skull are MNE's fsaverage, whose coordinates it shares, and the sensors are a model
    helmet. The first call computes it all and keeps it in the cache folder; later calls load it.

    Parameters
    ----------
    spacing : {"oct6", "ico4", "oct5", "ico3"}
        Source spacing: 8,196, 5,124, 2,052 or 1,284 positions in both hemispheres together.
    subjects_dir : path-like | None
        Folder in which the subject folder "fsaverage5" is written. None: the cache folder, that
        is, the user's cache folder for "meg_vae" or the environment variable ``MEG_VAE_CACHE``.
    verbose : bool | str | int | None
        Level of MNE's logging. The progress bar is shown at "info" and below.

    Returns
    -------
    template : Template
        The head model.

    Raises
    ------
    ValueError
        If the spacing is none of the four.
    FileExistsError
        If ``subjects_dir`` holds an "fsaverage5" that meg_vae did not write.

    Notes
    -----
    The subject folder holds the white, pial, inflated and spherical surfaces, curvature, sulcal
    depth and thickness, and a label of the cortex (mean thickness of at least 1 mm, which leaves
    the medial wall out). nilearn ships no parcellation, so there is no annotation.

    The source space covers whole hemispheres, medial wall included, as MNE's own do. Every
    position lies inside the inner skull, 4 mm from it or more, so none is left out.
    """
    if spacing not in SPACINGS:
        raise ValueError(f"spacing must be one of {', '.join(SPACINGS)}, got {spacing!r}")
    home = cache_dir() / f"template-{_KEY}"
    subjects_dir = home / "subjects" if subjects_dir is None else Path(subjects_dir).expanduser()
    subject_dir = cached_folder(subjects_dir / SUBJECT, _KEY, _write_subject)
    bem = mne.read_bem_solution(subject_dir / _BEM_SOLUTION, verbose="warning")
    trans = mne.read_trans(subject_dir / _TRANS, verbose="warning")
    info = helmet_info()

    def write_forward(folder: Path) -> None:
        _write_forward(folder, spacing, subjects_dir, bem, trans, info)

    folder = cached_folder(home / f"forward-{spacing}", _KEY, write_forward)
    return Template(
        subjects_dir=subjects_dir,
        subject=SUBJECT,
        spacing=spacing,
        src=mne.read_source_spaces(folder / _source_file(spacing), verbose="warning"),
        bem=bem,
        trans=trans,
        info=info,
        forward=mne.read_forward_solution(folder / _forward_file(spacing), verbose="warning"),
    )


def cortex_vertices(subjects_dir: Path) -> list[np.ndarray]:
    """Read which vertices are cortex, not medial wall.

    Parameters
    ----------
    subjects_dir : Path
        Folder that holds the template's subject folder.

    Returns
    -------
    vertices : list of array
        Sorted vertex numbers of the left and the right hemisphere.
    """
    folder = subjects_dir / SUBJECT / "label"
    return [mne.read_label(folder / f"{hemi}.cortex.label").vertices for hemi in ("lh", "rh")]


def forward_between(head: Template) -> mne.Forward:
    """Make, or load, the fields of sources between the positions of a template's source space.

    Parameters
    ----------
    head : Template
        The template.

    Returns
    -------
    forward : mne.Forward
        Forward solution, free orientation, at a thousand vertices of the cortex that are drawn from
        those which the source space leaves out. Kept in the cache folder, as the template is.
    """
    spacing = head.spacing

    def write(folder: Path) -> None:
        steps = {"forward solution": lambda: _write_between(folder / _forward_file(spacing), head)}
        run_steps(f"Sources between the positions ({spacing})", steps)

    folder = cached_folder(cache_dir() / f"template-{_KEY}" / f"between-{spacing}", _KEY, write)
    return mne.read_forward_solution(folder / _forward_file(spacing), verbose="warning")


def _write_between(file: Path, head: Template) -> None:
    """Write the fields of vertices that are cortex and no positions."""
    rng, src = np.random.default_rng(0), head.src.copy()
    for space, cortex in zip(src, cortex_vertices(head.subjects_dir), strict=True):
        left_out = np.setdiff1d(cortex, space["vertno"])
        vertno = np.sort(rng.choice(left_out, _N_BETWEEN, replace=False))
        inuse = np.zeros(space["np"], int)
        inuse[vertno] = 1
        space |= {"vertno": vertno, "inuse": inuse, "nuse": len(vertno), "nuse_tri": 0}
        space |= dict.fromkeys(
            ["use_tris", "nearest", "nearest_dist", "pinfo", "patch_inds", "dist", "dist_limit"]
        )
    forward = mne.make_forward_solution(
        head.info, head.trans, src, head.bem, meg=True, eeg=False, mindist=0.0, verbose="warning"
    )
    mne.write_forward_solution(file, forward, verbose="warning")


def _source_file(spacing: str) -> str:
    return f"{SUBJECT}-{spacing}-src.fif"


def _forward_file(spacing: str) -> str:
    return f"{SUBJECT}-{spacing}-fwd.fif"


def _write_subject(folder: Path) -> None:
    """Write a FreeSurfer-style subject folder with a BEM solution."""
    for name in ("bem", "label", "surf"):
        (folder / name).mkdir()
    _write_head(folder / "bem")
    steps = {
        "cortex": lambda: _write_surfaces(folder),
        "BEM solution": lambda: _write_bem_solution(folder),
    }
    run_steps("Template head", steps)


def _write_surfaces(folder: Path) -> None:
    """Write nilearn's meshes, their maps and the label of the cortex."""
    from nilearn.datasets import fetch_surf_fsaverage  # ships fsaverage5: nothing is fetched
    from nilearn.surface import load_surf_data, load_surf_mesh

    files = fetch_surf_fsaverage(SUBJECT)
    surfaces = {"white": "white", "pial": "pial", "inflated": "infl", "sphere": "sphere"}
    maps = {"curv": "curv", "sulc": "sulc", "thickness": "thick"}
    for hemi, side in (("lh", "left"), ("rh", "right")):
        meshes = {name: load_surf_mesh(files[f"{key}_{side}"]) for name, key in surfaces.items()}
        values = {name: load_surf_data(files[f"{key}_{side}"]) for name, key in maps.items()}
        for name, mesh in meshes.items():
            mne.write_surface(folder / "surf" / f"{hemi}.{name}", mesh.coordinates, mesh.faces)
        for name, value in values.items():
            nibabel.freesurfer.write_morph_data(folder / "surf" / f"{hemi}.{name}", value)
        vertices = np.flatnonzero(values["thickness"] >= _THINNEST_CORTEX_MM)
        positions = meshes["white"].coordinates[vertices] / 1000.0
        label = mne.Label(vertices, positions, hemi=hemi, name="cortex", subject=SUBJECT)
        mne.write_label(folder / "label" / f"{hemi}.cortex.label", label, verbose="warning")


def _write_head(bem_folder: Path) -> None:
    """Take over MNE's fsaverage: scalp, fiducials, head to MRI transform, inner skull."""
    source = MNE_DATA / "fsaverage"
    for name in ("head", "fiducials", "trans"):
        shutil.copyfile(source / f"fsaverage-{name}.fif", bem_folder / f"{SUBJECT}-{name}.fif")
    skull = mne.read_bem_surfaces(source / "fsaverage-inner_skull-bem.fif", verbose="warning")[0]
    mne.write_surface(bem_folder / "inner_skull.surf", skull["rr"] * 1000.0, skull["tris"])


def _write_bem_solution(folder: Path) -> None:
    """Solve a single shell, decimated from 10,242 to 2,562 vertices."""
    model = mne.make_bem_model(
        SUBJECT, ico=4, conductivity=(0.3,), subjects_dir=folder.parent, verbose="warning"
    )
    solution = mne.make_bem_solution(model, verbose="warning")
    mne.write_bem_solution(folder / _BEM_SOLUTION, solution, verbose="warning")


def _write_forward(
    folder: Path,
    spacing: str,
    subjects_dir: Path,
    bem: mne.bem.ConductorModel,
    trans: mne.Transform,
    info: mne.Info,
) -> None:
    """Write the source space and the forward solution."""
    src_file, forward_file = folder / _source_file(spacing), folder / _forward_file(spacing)

    def write_source_space() -> None:
        src = mne.setup_source_space(
            SUBJECT, spacing, subjects_dir=subjects_dir, add_dist="patch", verbose="warning"
        )
        mne.write_source_spaces(src_file, src, verbose="warning")

    def write_forward_solution() -> None:
        forward = mne.make_forward_solution(
            info, trans, str(src_file), bem, meg=True, eeg=False, mindist=0.0, verbose="warning"
        )
        mne.write_forward_solution(forward_file, forward, verbose="warning")

    run_steps(
        f"Template forward ({spacing})",
        {"source space": write_source_space, "forward solution": write_forward_solution},
    )
