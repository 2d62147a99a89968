"""A study of known sources: heads of different size, and sources that most of them have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mne
import numpy as np
import pandas as pd
from mne.proj import make_projector
from mne.utils import verbose

from meg_vae.datasets.heads import (
    SFREQ,
    SPACING,
    average_cortex,
    checked_head,
    in_helmet,
    on_head,
    trans_of,
    write_heads,
)
from meg_vae.datasets.noise import noise_covariance
from meg_vae.datasets.simulation import event_related, place_sources, record
from meg_vae.datasets.template import template

TMAX = 0.3
NAVE = 60
CONDITIONS = ("standard", "deviant")


@dataclass(frozen=True)
class SimulatedStudy:
    """Files of a simulated study, and the truth behind them.

    Attributes
    ----------
    recordings : Path
        Table of the recordings, as `meg_vae.study` takes it.
    subjects_dir : Path
        FreeSurfer folder of all heads.
    group : pandas.DataFrame
        ``source, x_mm, y_mm, z_mm`` of the group sources on fsaverage.
    truth : pandas.DataFrame
        ``subject, source, present, x_mm, y_mm, z_mm, snr_db``: where each subject has them, on
        fsaverage.
    """

    recordings: Path
    subjects_dir: Path
    group: pd.DataFrame
    truth: pd.DataFrame


@verbose
def simulated_study(
    folder: str | Path,
    n_subjects: int = 12,
    n_sources: int = 3,
    *,
    spread_mm: float = 5.0,
    presence: float = 0.9,
    snr_db: float | list[float] = 0.0,
    others: Sequence[str | Path] = (),
    random_state: int = 0,
    verbose: bool | str | int | None = None,
) -> SimulatedStudy:
    """Write the recordings of a study, with two conditions and heads of different size.

    The heads are `template`'s, scaled along each axis by up to a tenth with
    `mne.coreg.scale_mri`, each otherwise in the helmet. In the second condition the first source is
    half as strong again, and the last one silent.

    Parameters
    ----------
    folder : path-like
        Where to write; it must not be there.
    n_subjects, n_sources : int
        Subjects, and group sources.
    spread_mm : float
        Standard deviation of a subject's place about that of the group, along each axis, before it
        is put on the subject's cortex.
    presence : float
        Probability that a subject has a group source.
    snr_db : float | list of float
        Signal-to-noise ratio of the first condition, of all subjects or of each; −inf leaves noise
        alone.
    others : sequence of path-like
        Folders of FreeSurfer subjects, which are the heads of the first subjects instead; each
        needs its white surfaces, their spheres (``sphere``, ``sphere.reg``) and its inner skull.
    random_state : int
        Seed.
    verbose : bool | str | int | None
        Level of MNE's logging.

    Returns
    -------
    study : SimulatedStudy
        Names of the files, and the truth.

    Raises
    ------
    FileExistsError
        If the folder is there.
    FileNotFoundError
        If one of ``others`` lacks a surface.
    ValueError
        If a number is none that a study can have, or a list of levels has not one for each subject.
    """
    levels = list(snr_db) if isinstance(snr_db, (list, tuple)) else [snr_db] * n_subjects
    if len(levels) != n_subjects:
        raise ValueError(f"snr_db has {len(levels)} levels, and there are {n_subjects} subjects.")
    folder = Path(folder).expanduser()
    _check(folder, n_subjects, n_sources, spread_mm, presence, levels)
    others = [checked_head(other) for other in others]
    if len(others) > n_subjects:
        raise ValueError(f"others has {len(others)} heads, and there are {n_subjects} subjects.")
    folder.mkdir(parents=True)
    rng = np.random.default_rng(random_state)
    heads = write_heads(folder / "subjects", n_subjects, others, rng)
    average, cortex = average_cortex(heads)
    centres = average[cortex][place_sources(average[cortex] / 1e3, n_sources, 0.04, rng)]
    rows, truth = [], []
    for k, level in enumerate(levels):
        name = f"sub-{k + 1:02d}"
        present = rng.random(n_sources) < presence
        wanted = centres + spread_mm * rng.standard_normal(centres.shape)
        own = cortex[np.linalg.norm(average[cortex] - wanted[:, None], axis=2).argmin(1)]
        here, trans = own[present], template(SPACING).trans
        if k < len(others):
            here, trans = on_head(heads, name, here), trans_of(heads, name)
        files = _record(folder / name, heads, name, here, present, level, trans, rng)
        rows.append({"subject": name, "head": name} | files)
        for source, place in enumerate(average[own]):
            axes = dict(zip(("x_mm", "y_mm", "z_mm"), place, strict=True))
            told = {"subject": name, "source": source, "present": bool(present[source])}
            truth.append(told | axes | {"snr_db": level})
    table = folder / "recordings.csv"
    pd.DataFrame(rows).to_csv(table, index=False)
    group = pd.DataFrame(centres, columns=["x_mm", "y_mm", "z_mm"])
    group.insert(0, "source", range(n_sources))
    return SimulatedStudy(table, heads, group, pd.DataFrame(truth))


def _check(
    folder: Path,
    n_subjects: int,
    n_sources: int,
    spread_mm: float,
    presence: float,
    levels: list[float],
) -> None:
    """Refuse what no study can have, before anything is written."""
    if folder.exists():
        raise FileExistsError(f"folder {folder} is there already; name another.")
    for name, count in (("n_subjects", n_subjects), ("n_sources", n_sources)):
        if count < 1:
            raise ValueError(f"{name}={count!r} must be 1 or more.")
    if not 0 <= spread_mm < np.inf:
        raise ValueError(f"spread_mm={spread_mm!r} must be a number of mm, 0 or more.")
    if not 0 <= presence <= 1:
        raise ValueError(f"presence={presence!r} must be a probability, from 0 to 1.")
    if any(np.isnan(level) or level == np.inf for level in levels):
        raise ValueError(f"snr_db={levels!r} must be numbers of dB, or -inf for noise alone.")


def _record(
    out: Path,
    subjects_dir: Path,
    name: str,
    vertices: np.ndarray,
    present: np.ndarray,
    level: float,
    trans: mne.Transform,
    rng: np.random.Generator,
) -> dict[str, str]:
    """Write one subject's forward solution, covariance and responses; names from the study on."""
    out.mkdir()
    info, src, bem = in_helmet(subjects_dir, name, rng)
    options = {"meg": True, "eeg": False, "verbose": "error"}
    forward = mne.make_forward_solution(info, trans, src, bem, mindist=0.0, **options)
    cov = noise_covariance(forward, info, [one["vertno"] for one in src])
    times = np.arange(round(TMAX * SFREQ) + 1) / SFREQ
    courses = event_related(times, len(present), rng)[present]
    gain = _fields(info, trans, src, bem, vertices)
    if level == -np.inf:
        gain, courses = gain[:, :0], courses[:0]
    options = {"nave": NAVE, "random_state": rng}
    first, amplitude = record(gain, courses, info, cov, snr_db=max(level, -100.0), **options)
    second = record(gain[:, :0], courses[:0], info, cov, **options)[0]
    if len(amplitude):
        project = make_projector(first.info["projs"], first.ch_names)[0]
        second.data += project @ gain @ (_strength(len(present))[present, None] * amplitude)
    first.comment, second.comment = CONDITIONS
    mne.write_evokeds(out / f"{name}-ave.fif", [first, second], verbose="error")
    mne.write_forward_solution(out / f"{name}-fwd.fif", forward, verbose="error")
    mne.write_cov(out / f"{name}-cov.fif", cov, verbose="error")
    ends = {"evoked": "ave", "forward": "fwd", "noise_cov": "cov"}
    return {key: f"{name}/{name}-{end}.fif" for key, end in ends.items()}


def _strength(n_sources: int) -> np.ndarray:
    """How strong each group source is in the second condition, relative to the first."""
    strength = np.ones(n_sources)
    strength[0] = 1.5
    if n_sources > 1:
        strength[-1] = 0.0
    return strength


def _fields(
    info: mne.Info,
    trans: mne.Transform,
    src: mne.SourceSpaces,
    bem: mne.bem.ConductorModel,
    vertices: np.ndarray,
) -> np.ndarray:
    """Fields per A·m of dipoles along the normals at vertices of both hemispheres."""
    if not len(vertices):
        return np.zeros((len(info.ch_names), 0))
    rr, nn = (np.concatenate([one[name] for one in src])[vertices] for name in ("rr", "nn"))
    to_head = mne.transforms.invert_transform(trans)
    places = mne.transforms.apply_trans(to_head, rr)
    normals = mne.transforms.apply_trans(to_head, nn, move=False)
    every = np.ones(len(rr))
    dipoles = mne.Dipole(0 * every, places, every, normals, every, verbose="error")
    forward, _ = mne.make_forward_dipole(dipoles, bem, info, trans, verbose="error")
    return forward["sol"]["data"]
