"""Data of MNE's tests of its sparse solvers and MUSIC scans, made again for many draws.

The head, sensors and covariance are those of MNE's sample subject, as the tests' are; its source
space was made anew and is thinned to the distance that a test's has. Sources lie on positions of
the forward model that is inverted (an inverse crime, as theirs), along the cortical normal on a
surface, and along z in a volume.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import Any

import mne
import numpy as np
from mne.cov import regularize
from mne.simulation import simulate_evoked

from meg_vae import datasets
from meg_vae.datasets.sample import sample_files
from meg_vae.model.spacing import apart

NAVE = 55  # averages of the "Left Auditory" response of MNE's sample dataset
NOISELESS = 10**9  # averages that the tests take for no noise
NEARLY = 100_000  # and for hardly any
OCT6, OCT5, OCT4 = 0.0049, 0.007, 0.0099  # m, between positions
RADIUS = 0.08  # m, of the sphere model
SEEN = 0.5  # least tangential part of a dipole in a sphere, which does not see radial ones


@dataclass(frozen=True, eq=False)
class Case:
    """Data, and what is true of them.

    Attributes
    ----------
    evoked, forward, noise_cov : mne.Evoked, mne.Forward, mne.Covariance
        What every method gets; the forward model is of free orientation.
    index : ndarray of int, shape (n_true,)
        Positions of the sources.
    ori : ndarray, shape (n_true, 3)
        Their orientations, head coordinates.
    sphere : mne.bem.ConductorModel | None
        The sphere model, where it is one.
    """

    evoked: mne.Evoked
    forward: mne.Forward
    noise_cov: mne.Covariance
    index: np.ndarray
    ori: np.ndarray
    sphere: Any = None

    @property
    def rr(self) -> np.ndarray:
        """Places of the sources, m."""
        return self.forward["source_rr"][self.index]

    @cached_property
    def fixed(self) -> mne.Forward:
        """Give the forward model along the normals of the cortical patches."""
        return fixed(self.forward)

    @cached_property
    def fitted(self) -> mne.Dipole:
        """Give MNE's dipole fit, sample by sample."""
        return mne.fit_dipole(self.evoked, self.noise_cov, self.sphere, verbose="error")[0]


def fixed(forward: mne.Forward) -> mne.Forward:
    """Keep the normals alone."""
    options = {"surf_ori": True, "force_fixed": True, "use_cps": True, "verbose": "error"}
    return mne.convert_forward_solution(forward, **options)


@cache
def subject() -> tuple[datasets.Recording, mne.Covariance]:
    """Load the real response, its head, and the covariance that projects nothing out."""
    real = datasets.sample("Left Auditory", verbose="error")
    cov = mne.read_cov(sample_files()["noise_cov"], verbose="error")
    cov = cov.pick_channels(real.evoked.ch_names, ordered=True, verbose="error")
    cov["projs"] = []
    return real, regularize(cov, real.evoked.info, rank="full", proj=False, verbose="error")


def channels(kind: str | bool, step: int = 1) -> mne.Info:
    """Keep every so many good channels of a kind, and no projector."""
    info = subject()[0].evoked.info
    info = mne.pick_info(info, mne.pick_types(info, meg=kind)[::step])
    with info._unlock():
        info["projs"] = []
    return info


@cache
def cortex(distance: float) -> mne.Forward:
    """Thin the sample subject's forward model to positions that lie so far apart, m."""
    forward = subject()[0].forward
    kept = np.sort(apart(forward["source_rr"], distance))
    vertices, n_left = [], forward["src"][0]["nuse"]
    for space, own in zip(
        forward["src"], (kept[kept < n_left], kept[kept >= n_left] - n_left), strict=True
    ):
        vertices.append(space["vertno"][own])
    stc = mne.SourceEstimate(np.zeros((len(kept), 1)), vertices, 0, 1)
    return mne.forward.restrict_forward_to_stc(forward, stc)


@cache
def volume(
    spacing_mm: float, centre: tuple[float, float, float] = (0.0, 0.0, 0.0), radius: float = RADIUS
) -> tuple[mne.Forward, Any]:
    """Make a sphere model, about the origin as in most of the tests, and a grid that fills it."""
    sphere = mne.make_sphere_model(centre, head_radius=RADIUS, verbose="error")
    src = mne.setup_volume_source_space(
        pos=spacing_mm,
        sphere=(*centre, radius),
        mindist=5.0,
        exclude=2.0,
        sphere_units="m",
        verbose="error",
    )
    options = {"trans": None, "src": src, "bem": sphere, "eeg": False, "verbose": "error"}
    return mne.make_forward_solution(channels(True), **options), sphere


def seen_by(forward: mne.Forward, info: mne.Info) -> mne.Forward:
    """Restrict a forward model to some channels."""
    return mne.pick_channels_forward(forward, info.ch_names, ordered=True, verbose="error")


def simulated(
    forward: mne.Forward,
    info: mne.Info,
    cov: mne.Covariance,
    index: np.ndarray,
    courses: np.ndarray,
    times: np.ndarray,
    nave: int,
    seed: int,
    sphere: Any = None,
) -> Case:
    """Put sources on positions, and the noise of an average of ``nave`` on top, by MNE."""
    forward = seen_by(forward, info)
    order = np.argsort(index)
    vertices, first = [], 0
    for space in forward["src"]:
        own = index[order] - first
        own = own[(own >= 0) & (own < space["nuse"])]
        vertices.append(space["vertno"][own])
        first += space["nuse"]
    kind = mne.VolSourceEstimate if sphere is not None else mne.SourceEstimate
    stc = kind(courses[order], vertices, times[0], times[1] - times[0])
    along = fixed(forward) if sphere is None else forward
    evoked = simulate_evoked(
        along, stc, info, cov, nave=nave, use_cps=True, random_state=seed, verbose="error"
    )
    ori = along["source_nn"] if sphere is None else np.tile([0.0, 0.0, 1.0], (len(index), 1))
    return Case(evoked, forward, cov, index, ori[index] if sphere is None else ori, sphere)


@lru_cache(1)  # of several tests
def one_on_cortex(seed: int) -> Case:
    """Make what gamma-MAP is pinned on: three samples at 50 Hz; a dipole instead of a response."""
    rng = np.random.default_rng(seed)
    forward, info = cortex(OCT5), channels("mag")
    index = rng.choice(forward["nsource"], 1)
    times = 0.1 + np.arange(3) / 50
    course = 50e-9 * np.sin(np.pi * np.arange(1, 4) / 4)[None]
    return simulated(forward, info, subject()[1], index, course, times, NAVE, seed)


def one_in_sphere(spacing_mm: float, sfreq: float, tmin: float) -> Callable[[int], Case]:
    """Make one dipole of four random samples in a volume, without noise."""

    def make(seed: int) -> Case:
        forward, sphere = volume(spacing_mm)
        rr = forward["source_rr"]
        tangential = np.linalg.norm(rr[:, :2], axis=1) / np.linalg.norm(rr, axis=1).clip(1e-9)
        rng = np.random.default_rng(seed)
        index = rng.choice(np.flatnonzero(tangential > SEEN), 1)
        times = tmin + np.arange(4) / sfreq
        course = 50e-9 * rng.standard_normal((1, 4))
        info, cov = channels(True), subject()[1]
        return simulated(forward, info, cov, index, course, times, NOISELESS, seed, sphere)

    return make


def two_auditory(seed: int) -> Case:
    """Make a step of 50 nAm in each auditory label, seen by gradiometers for 10 ms."""
    rng = np.random.default_rng(seed)
    forward, info = cortex(OCT4), channels("grad")
    first, chosen = 0, []
    for hemi, space in zip(("lh", "rh"), forward["src"], strict=True):
        near = np.flatnonzero(np.isin(space["vertno"], auditory(hemi).vertices))
        chosen.append(first + rng.choice(near))
        first += space["nuse"]
    times = np.arange(round(0.010 * info["sfreq"]) + 1) / info["sfreq"]
    courses, cov = np.full((2, len(times)), 50e-9), mne.make_ad_hoc_cov(info, verbose="error")
    return simulated(forward, info, cov, np.array(chosen), courses, times, 30, seed)


@cache
def auditory(hemi: str) -> mne.Label:
    """Read the label of the auditory cortex."""
    real = subject()[0]
    return mne.read_label(real.subjects_dir / real.subject / "label" / f"Aud-{hemi}.label")


@cache
def two_for_music(nave: int) -> Callable[[int], Case]:
    """Make two Gaussian courses, one in each hemisphere, at 50 Hz, seen by 20 channels."""

    @lru_cache(1)  # of several tests
    def make(seed: int) -> Case:
        rng = np.random.default_rng(seed)
        forward, info = cortex(OCT4), channels(True, 16)
        n_left = forward["src"][0]["nuse"]
        index = np.array([rng.integers(n_left), rng.integers(n_left, forward["nsource"])])
        times = np.arange(16) / 50
        courses = np.array(
            [
                sign * np.exp(-((times - mu) ** 2) / (2 * sigma**2)) / (sigma * np.sqrt(2 * np.pi))
                for sign, mu, sigma in ((1, 0.1, 0.005), (-1, 0.075, 0.008))
            ]
        )
        cov = subject()[1].copy().pick_channels(info.ch_names, ordered=True, verbose="error")
        return simulated(forward, info, cov, index, 1e-9 * courses, times, nave, seed)

    return make
