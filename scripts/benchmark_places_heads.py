"""Recordings of sources that lie off the grid, in three heads.

The truth is at vertices of the cortex between the positions of the forward model, along the
cortical normal, and its field is the full forward model's there: the BEM at that very place. A
second real head wears the model helmet; its forward model is kept in the cache folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import mne
import numpy as np
from mne.transforms import apply_trans
from scipy.spatial import cKDTree

from meg_vae import datasets
from meg_vae.datasets.cache import cache_dir, cached_folder
from meg_vae.datasets.helmet import helmet_info
from meg_vae.datasets.noise import noise_covariance
from meg_vae.datasets.sample import sample_files
from meg_vae.datasets.simulation import event_related, fixed_dipole, place_sources, record
from meg_vae.datasets.template import cortex_vertices
from meg_vae.datasets.time_courses import correlate
from meg_vae.meg.conductor import Conductor, bem_conductor

TEMPLATE, SAMPLE, SECOND = "template, ", "sample head", "second head"
HEADS = (f"{TEMPLATE}oct5", f"{TEMPLATE}oct6", SAMPLE, SECOND)
SFREQ, TMAX, NAVE = 200.0, 0.3, 100
APART = 0.030  # m, least distance between two true sources
BETWEEN = (0.0005, 0.008)  # m, of a true source from the nearest position
INSIDE = 0.005  # m, of a true source from the inner skull: MNE's own default for positions
SUBJECT = "sample_ecog"
BACKGROUND = "oct5"  # positions of the background activity, or fewer where the head has fewer
SPACINGS = ("ico3", "oct5", "ico4", "oct6")


@dataclass(frozen=True)
class Head:
    """A head, its sensors, and where its sources may be.

    Attributes
    ----------
    forward, info, noise_cov, bem, trans : mne.Forward, mne.Info, mne.Covariance, ...
        What a user has. The noise covariance is that of single trials.
    rr, nn : ndarray, shape (n_vertices, 3)
        Vertices of the cortex between the positions, and the normals there; head coordinates, m.
    depth : ndarray, shape (n_vertices,)
        Their distance from the inner skull, m.
    exact : Conductor
        The full forward model at any place.
    """

    forward: mne.Forward
    info: mne.Info
    noise_cov: mne.Covariance
    bem: mne.bem.ConductorModel
    trans: mne.Transform
    rr: np.ndarray
    nn: np.ndarray
    depth: np.ndarray
    exact: Conductor


@dataclass(frozen=True)
class Condition:
    """What is recorded."""

    n_sources: int
    snr_db: float = 10.0
    correlation: float | None = None


CONDITIONS = {
    "1 source, 5 dB": Condition(1, 5.0),
    "2 sources, 5 dB, correlation 0.99": Condition(2, 5.0, 0.99),
    "3 sources, -10 dB": Condition(3, -10.0),
    "3 sources, 0 dB": Condition(3, 0.0),
    "3 sources, 5 dB": Condition(3, 5.0),
    "3 sources, 10 dB": Condition(3, 10.0),
    "3 sources, 20 dB": Condition(3, 20.0),
    "3 sources, 10 dB, correlation 0.99": Condition(3, 10.0, 0.99),
    "5 sources, 10 dB, correlation 0.9": Condition(5, 10.0, 0.9),
    "10 sources, 10 dB": Condition(10, 10.0),
    "noise alone": Condition(0),
}


@dataclass(frozen=True)
class Recorded:
    """A recording, its sources, and their distances from the inner skull in m."""

    evoked: mne.Evoked
    truth: list[mne.Dipole]
    depth: np.ndarray

    @property
    def rr(self) -> np.ndarray:
        """Places of the sources, head coordinates, m."""
        return np.array([dipole.pos[0] for dipole in self.truth]).reshape(-1, 3)


@cache
def head(name: str) -> Head:
    """Load a head, once a process."""
    if name.startswith(TEMPLATE):
        return _template_head(name.removeprefix(TEMPLATE))
    return _sample_head() if name == SAMPLE else _second_head()


def skull(bem: mne.bem.ConductorModel, trans: mne.Transform) -> np.ndarray:
    """Give the vertices of the inner skull in head coordinates, m."""
    to_head = mne.transforms._ensure_trans(trans, "mri", "head")
    return apply_trans(to_head, bem["surfs"][0]["rr"])


def missing(name: str) -> str:
    """Say why a head cannot be had; nothing where it can."""
    if name == SAMPLE:
        try:
            sample_files()
        except FileNotFoundError as error:
            return str(error)
    if name == SECOND and not (heads_folder() / SUBJECT / "surf").is_dir():
        return f"MEG_VAE_HEADS names no folder that holds the subject {SUBJECT}."
    return ""


def recorded(name: str, condition: Condition, seed: int) -> Recorded:
    """Record sources off the grid; the noise is white in time."""
    here = head(name)
    n, which = condition.n_sources, HEADS.index(name) if name in HEADS else len(HEADS)
    rng = np.random.default_rng([seed, n, which])  # the same sources at every level
    chosen = place_sources(here.rr, n, APART, rng)
    times = np.arange(round(TMAX * SFREQ) + 1) / SFREQ
    courses = event_related(times, n, rng)
    if condition.correlation is not None:
        courses = correlate(courses, condition.correlation)
    gain = np.einsum("kda,ka->dk", here.exact(here.rr[chosen]), here.nn[chosen])
    evoked, amplitude = record(
        gain,
        courses,
        here.info,
        here.noise_cov,
        snr_db=condition.snr_db,
        nave=NAVE,
        random_state=rng,
    )
    sources = zip(here.rr[chosen], here.nn[chosen], amplitude, strict=True)
    truth = [fixed_dipole(evoked.times, *source) for source in sources]
    return Recorded(evoked, truth, here.depth[chosen])


def _template_head(spacing: str) -> Head:
    made = datasets.template(spacing, verbose="error")
    folder, vertices = made.subjects_dir / made.subject, cortex_vertices(made.subjects_dir)
    noise = _noise(min(spacing, BACKGROUND, key=SPACINGS.index))
    return _with_cortex(made.forward, made.bem, made.trans, _helmet(), noise, folder, vertices)


def _sample_head() -> Head:
    case = datasets.sample("Left Auditory", verbose="error")
    evoked = case.evoked.copy().pick("meg", exclude="bads", verbose="error")
    info = evoked.info
    with info._unlock():
        info["sfreq"], info["lowpass"], info["highpass"] = SFREQ, SFREQ / 2, 0.0
    cov = case.noise_cov.copy().pick_channels(info.ch_names, ordered=True, verbose="error")
    forward = mne.pick_channels_forward(case.forward, info.ch_names, ordered=True, verbose="error")
    folder = case.subjects_dir / case.subject
    return _with_cortex(forward, case.bem, case.trans, info, cov, folder)


def _second_head() -> Head:
    key = f"1-mne-{mne.__version__}"
    folder = cached_folder(cache_dir() / f"benchmark-places-{key}", key, _write_second_head)
    forward = mne.read_forward_solution(folder / "second-fwd.fif", verbose="error")
    bem = mne.read_bem_solution(folder / "second-bem-sol.fif", verbose="error")
    trans = mne.read_trans(folder / "second-trans.fif", verbose="error")
    return _with_cortex(forward, bem, trans, _helmet(), _noise(), heads_folder() / SUBJECT)


def _write_second_head(folder: Path) -> None:
    """Put the second head where the template's is in the helmet, by their inner skulls."""
    own = mne.read_surface(heads_folder() / SUBJECT / "bem" / "inner_skull.surf")[0] / 1e3
    template = datasets.template("oct5", verbose="error")
    place = skull(template.bem, template.trans).mean(0)
    shift = np.eye(4)
    shift[:3, 3] = own.mean(0) - place
    trans = mne.Transform("head", "mri", shift)
    where = {"subjects_dir": heads_folder(), "verbose": "error"}
    model = mne.make_bem_model(SUBJECT, ico=4, conductivity=(0.3,), **where)
    bem = mne.make_bem_solution(model, verbose="error")
    src = mne.setup_source_space(SUBJECT, "oct6", add_dist=False, **where)
    forward = mne.make_forward_solution(
        _helmet(), trans, src, bem, eeg=False, mindist=1e3 * INSIDE, verbose="error"
    )
    mne.write_trans(folder / "second-trans.fif", trans)
    mne.write_bem_solution(folder / "second-bem-sol.fif", bem, verbose="error")
    mne.write_forward_solution(folder / "second-fwd.fif", forward, verbose="error")


def _with_cortex(
    forward: mne.Forward,
    bem: mne.bem.ConductorModel,
    trans: mne.Transform,
    info: mne.Info,
    noise_cov: mne.Covariance,
    folder: Path,
    vertices: Iterable = (slice(None), slice(None)),
) -> Head:
    """Find the vertices of the cortex that lie between the positions and inside the skull."""
    to_head = mne.transforms._ensure_trans(trans, "mri", "head")
    rr, nn = [], []
    for hemi, kept in zip(("lh", "rh"), vertices, strict=True):
        surface = mne.read_surface(folder / "surf" / f"{hemi}.white", return_dict=True)[2]
        surface["rr"] = surface["rr"] / 1e3
        mne.surface.complete_surface_info(surface, copy=False, verbose="error")
        rr.append(apply_trans(to_head, surface["rr"][kept]))
        nn.append(apply_trans(to_head, surface["nn"][kept], move=False))
    rr, nn = np.concatenate(rr), np.concatenate(nn)
    depth = cKDTree(skull(bem, trans)).query(rr)[0]
    away = cKDTree(forward["source_rr"]).query(rr)[0]
    kept = (away > BETWEEN[0]) & (away < BETWEEN[1]) & (depth > INSIDE)
    exact = bem_conductor(info, info.ch_names, bem, trans)
    parts = (rr[kept], nn[kept], depth[kept])
    return Head(forward, info, noise_cov, bem, trans, *parts, exact)


@cache
def _helmet() -> mne.Info:
    return helmet_info(SFREQ)


@cache
def _noise(spacing: str = BACKGROUND) -> mne.Covariance:
    """Sensor noise and background activity of the template, for heads without a recording."""
    made = datasets.template(spacing, verbose="error")
    return noise_covariance(made.forward, _helmet(), cortex_vertices(made.subjects_dir))


def heads_folder() -> Path:
    """Give the folder of further heads, which MEG_VAE_HEADS names."""
    return Path(os.environ.get("MEG_VAE_HEADS") or "no folder is named").expanduser()
