"""The heads of a simulated study: the template, scaled copies of it, and others."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import mne
import numpy as np
from scipy.spatial import cKDTree

from meg_vae.datasets.helmet import helmet_info
from meg_vae.datasets.template import SUBJECT, cortex_vertices, template

SPACING = "ico3"
SFREQ = 200.0
CHANGE = (0.9, 1.1)  # of the head's size along each axis
MOVED_MM, TURNED_DEG = 4.0, 3.0  # standard deviations of the head in the helmet
HEMIS, SURFACES = ("lh", "rh"), ("white", "sphere", "sphere.reg")
INNER_SKULL = "bem/inner_skull.surf"


def checked_head(folder: str | Path) -> Path:
    """Refuse a head that lacks a surface."""
    folder = Path(folder).expanduser()
    need = [f"surf/{hemi}.{name}" for hemi in HEMIS for name in SURFACES] + [INNER_SKULL]
    missing = [name for name in need if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"others: {folder} has no {missing[0]}; name the folder of a FreeSurfer subject."
        )
    return folder


def write_heads(folder: Path, n: int, others: Sequence[Path], rng: np.random.Generator) -> Path:
    """Write the template, scaled copies of it and other heads as FreeSurfer subjects."""
    head = template(SPACING)
    folder.mkdir()
    shutil.copytree(head.subjects_dir / SUBJECT, folder / SUBJECT)
    own = folder / SUBJECT
    (own / "mri" / "transforms").mkdir(parents=True)
    for hemi in HEMIS:  # the sphere of an average is registered to itself
        shutil.copyfile(own / "surf" / f"{hemi}.sphere", own / "surf" / f"{hemi}.sphere.reg")
    mne.write_source_spaces(own / "bem" / f"{SUBJECT}-{SPACING}-src.fif", head.src, verbose="error")
    for k in range(n):
        scale = tuple(rng.uniform(*CHANGE, 3))
        name = f"sub-{k + 1:02d}"
        if k < len(others):
            _other_head(folder, name, others[k])
            continue
        options = {"labels": False, "annot": False, "subjects_dir": folder}
        mne.coreg.scale_mri(SUBJECT, name, scale, skip_fiducials=True, verbose="error", **options)
    return folder


def _other_head(folder: Path, name: str, head: Path) -> None:
    """Copy what is needed of another head, with positions on its cortex."""
    (folder / name / "mri").mkdir(parents=True)
    shutil.copytree(head / "surf", folder / name / "surf")
    (folder / name / "bem").mkdir()
    shutil.copyfile(head / INNER_SKULL, folder / name / INNER_SKULL)
    if (head / "mri" / "transforms").is_dir():
        shutil.copytree(head / "mri" / "transforms", folder / name / "mri" / "transforms")
    options = {"add_dist": False, "subjects_dir": folder, "verbose": "error"}
    src = mne.setup_source_space(name, SPACING, **options)
    file = folder / name / "bem" / f"{name}-{SPACING}-src.fif"
    mne.write_source_spaces(file, src, verbose="error")


def on_head(subjects_dir: Path, name: str, vertices: np.ndarray) -> np.ndarray:
    """Find the vertices of another head that are nearest to some of fsaverage, by the spheres."""
    out, before, ahead = np.empty_like(vertices), 0, 0
    for hemi in HEMIS:
        average, own = (
            mne.read_surface(subjects_dir / subject / "surf" / f"{hemi}.sphere.reg")[0]
            for subject in (SUBJECT, name)
        )
        here = (vertices >= before) & (vertices < before + len(average))
        out[here] = ahead + cKDTree(own).query(average[vertices[here] - before])[1]
        before, ahead = before + len(average), ahead + len(own)
    return out


def in_helmet(
    subjects_dir: Path, name: str, rng: np.random.Generator
) -> tuple[mne.Info, mne.SourceSpaces, mne.bem.ConductorModel]:
    """Put a head in the helmet, about where the template has it."""
    info = helmet_info(SFREQ)
    shift = MOVED_MM / 1e3 * rng.standard_normal(3)
    turn = np.radians(TURNED_DEG) * rng.standard_normal(3)
    moved = mne.transforms.translation(*shift) @ mne.transforms.rotation(*turn)
    info["dev_head_t"] = mne.Transform("meg", "head", info["dev_head_t"]["trans"] @ moved)
    folder = subjects_dir / name / "bem"
    src = mne.read_source_spaces(folder / f"{name}-{SPACING}-src.fif", verbose="error")
    shell = {"ico": 3, "conductivity": (0.3,), "subjects_dir": subjects_dir, "verbose": "error"}
    bem = mne.make_bem_solution(mne.make_bem_model(name, **shell), verbose="error")
    return info, src, bem


def trans_of(subjects_dir: Path, name: str) -> mne.Transform:
    """Put another head where the template is, by the centres of their inner skulls."""
    head = template(SPACING)
    skull = mne.read_surface(subjects_dir / name / INNER_SKULL)[0].mean(0) / 1e3
    to_head = mne.transforms.invert_transform(head.trans)
    shift = skull - mne.transforms.apply_trans(to_head, head.bem["surfs"][0]["rr"]).mean(0)
    return mne.Transform("head", "mri", mne.transforms.translation(*shift))


def average_cortex(subjects_dir: Path) -> tuple[np.ndarray, np.ndarray]:
    """White surface of fsaverage in mm, both hemispheres, and which vertices are cortex."""
    surf = subjects_dir / SUBJECT / "surf"
    halves = [mne.read_surface(surf / f"{hemi}.white")[0] for hemi in HEMIS]
    first, second = cortex_vertices(subjects_dir)
    return np.concatenate(halves), np.concatenate([first, len(halves[0]) + second])
