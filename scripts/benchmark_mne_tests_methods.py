"""MNE's tests as comparisons: what each is called with, and what passes.

Functions of MNE get the arguments that its tests give them. The VAE is `VAEInverse()`, told nothing
of positions, number or orientation; on the grid it has the positions, and the orientation of the
test. It passes where what MNE asks of its own estimate holds of the position nearest to a source.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import mne
import numpy as np
from benchmark_mne_tests_cases import (
    NAVE,
    NEARLY,
    Case,
    one_in_sphere,
    one_on_cortex,
    two_auditory,
    two_for_music,
)
from mne.beamformer import rap_music, trap_music
from mne.inverse_sparse import gamma_map, mixed_norm
from scipy.spatial import cKDTree

from meg_vae import VAEInverse
from meg_vae.comparison.metrics.pairing import dipole_places

VAE, GRID = "VAE", "VAE (grid)"
ALIGNED = 0.99  # cosine of an orientation with the true one
RESIDUAL = 0.02  # of the data, where there is hardly any noise
NEAR = 0.004  # m, of a dipole fit


@dataclass(frozen=True)
class Found:
    """Sources of an estimate, and what they leave, where a test asks for it."""

    dipoles: list[mne.Dipole]
    residual: mne.Evoked | None = None

    @property
    def strongest(self) -> list[mne.Dipole]:
        """The sources by their power, strongest first."""
        return sorted(self.dipoles, key=lambda one: -power(one))


Method = Callable[[Case], Found]


def power(dipole: mne.Dipole) -> float:
    """Sum the squares of an amplitude over time."""
    return float(np.square(dipole.amplitude).sum())


def nearest(case: Case, dipoles: list[mne.Dipole]) -> np.ndarray:
    """Look up the positions nearest to dipoles."""
    return cKDTree(case.forward["source_rr"]).query(dipole_places(dipoles))[1]


def at_peak(dipole: mne.Dipole) -> np.ndarray:
    """Give the orientation at the largest amplitude."""
    return dipole.ori[np.abs(dipole.amplitude).argmax()]


def exact(case: Case, found: Found) -> bool:
    """Say whether as many strongest sources as there are lie nearest to the true positions."""
    top = found.strongest[: len(case.index)]
    return set(nearest(case, top)) == set(case.index) if top else False


@lru_cache(4)  # tests share data, and nothing of theirs is told
def ours(case: Case) -> Found:
    """Fit with the defaults."""
    inverse = VAEInverse(verbose="error").fit(case.evoked, case.forward, case.noise_cov)
    return Found(inverse.dipoles(), inverse.filter_.residual(case.evoked))


def on_grid(loose: float) -> Method:
    """Make a fit on the positions, of the orientation that a test has."""

    def run(case: Case) -> Found:
        inverse = VAEInverse(positions="grid", loose=loose, verbose="error")
        inverse.fit(case.evoked, case.forward, case.noise_cov)
        return Found(inverse.dipoles(), inverse.filter_.residual(case.evoked))

    return run


def sparse(solver: Callable[..., Any], **options: Any) -> Method:
    """Make a call of a sparse solver of MNE."""

    def run(case: Case) -> Found:
        options_ = {"return_as_dipoles": True, "verbose": "error"} | options
        try:
            return Found(list(solver(case.evoked, case.forward, case.noise_cov, **options_)))
        except Exception as error:  # MNE has no class of its own for this
            if "No active dipoles found" not in str(error):
                raise
            return Found([])

    return run


def music(scan: Callable[..., Any], along_normals: bool) -> Method:
    """Make a call of a MUSIC scan of MNE, which is told the number of sources."""

    def run(case: Case) -> Found:
        forward = case.fixed if along_normals else case.forward
        n = len(case.index)
        options = {"n_dipoles": n, "return_residual": True, "verbose": "error"}
        return Found(*scan(case.evoked, forward, case.noise_cov, **options))

    return run


def fit(case: Case) -> Found:
    """Give MNE's dipole fit."""
    return Found([case.fitted])


def stands_out(ratio: float) -> Callable[[Case, Found], bool]:
    """Make the test of one source: at its position, and so many times the power of the next."""

    def passes(case: Case, found: Found) -> bool:
        sizes = [power(one) for one in found.strongest]
        return exact(case, found) and (len(sizes) == 1 or sizes[0] > ratio * sizes[1])

    return passes


def like_a_fit(case: Case, found: Found) -> bool:
    """Test that the strongest is at its position, and points as a dipole fit does."""
    if not found.dipoles:
        return False
    cosine = abs(at_peak(found.strongest[0]) @ at_peak(case.fitted))
    return exact(case, found) and cosine > ALIGNED


def near_a_fit(case: Case, found: Found) -> bool:
    """Test that it is also within 4 mm of the dipole fit."""
    if not like_a_fit(case, found):
        return False
    places = dipole_places([found.strongest[0], case.fitted])
    return float(np.linalg.norm(np.diff(places, axis=0))) < NEAR


def no_other(case: Case, found: Found) -> bool:
    """Test that the positions found are the true ones, and no other."""
    return bool(found.dipoles) and sorted(nearest(case, found.dipoles)) == sorted(case.index)


def aligned(case: Case, found: Found) -> bool:
    """Test that as many sources as there are lie at their positions and point as they do."""
    if not exact(case, found):
        return False
    top = found.strongest[: len(case.index)]
    cosines = np.abs([at_peak(one) for one in top] @ case.ori.T)
    return bool((cosines.max(1) > ALIGNED).all())


def leaves_nothing(case: Case, found: Found) -> bool:
    """Test that they also leave less than 2 % of the data, in each kind of channel."""
    shares = []
    for kind in ("grad", "mag"):
        picks = mne.pick_types(case.evoked.info, meg=kind)
        size = [np.linalg.norm(one.data[picks]) for one in (found.residual, case.evoked)]
        shares.append(size[0] / size[1])
    return aligned(case, found) and max(shares) < RESIDUAL


@dataclass(frozen=True)
class Test:
    """A test: data of a seed, the methods by their titles, and what passes."""

    make: Callable[[int], Case]
    methods: dict[str, Method]
    passes: Callable[[Case, Found], bool]


def _gamma(**options: Any) -> dict[str, Method]:
    loose = options.get("loose", 1.0)
    told = {"alpha": 0.5, "tol": 1e-4, "loose": loose} | options
    return {"gamma-MAP": sparse(gamma_map, **told), VAE: ours, GRID: on_grid(loose)}


def _music(along_normals: bool) -> dict[str, Method]:
    scans = {"RAP-MUSIC": rap_music, "TRAP-MUSIC": trap_music}
    scans = {title: music(scan, along_normals) for title, scan in scans.items()}
    return scans | {VAE: ours, GRID: on_grid(0.0 if along_normals else 1.0)}


_MIXED = {"alpha": 80, "n_mxne_iter": 1, "maxit": 30, "tol": 1e-8, "active_set_size": 10}
_SURE = {"loose": 0.9, "n_mxne_iter": 5, "depth": 0.9, "random_state": 0}
_FITS = {"dipole fit": fit, VAE: ours, GRID: on_grid(1.0)}
TESTS = {
    "gamma_map, free, one gamma a position": Test(
        one_on_cortex, _gamma(xyz_same_gamma=True, update_mode=1), stands_out(50)
    ),
    "gamma_map, free, a gamma a component": Test(
        one_on_cortex, _gamma(xyz_same_gamma=False, update_mode=1), stands_out(50)
    ),
    "gamma_map, fixed": Test(
        one_on_cortex, _gamma(xyz_same_gamma=False, update_mode=2, loose=0.0), stands_out(20)
    ),
    "gamma_map, volume in a sphere": Test(
        one_in_sphere(30.0, 50.0, 0.1),
        {"gamma-MAP": sparse(gamma_map, alpha=0.1)} | _FITS,
        like_a_fit,
    ),
    "mixed_norm, volume in a sphere": Test(
        one_in_sphere(15.0, 600.0, 0.081),
        {"MxNE": sparse(mixed_norm, **_MIXED)} | _FITS,
        near_a_fit,
    ),
    "mixed_norm, SURE, two auditory": Test(
        two_auditory,
        {"irMxNE (SURE)": sparse(mixed_norm, **_SURE), VAE: ours, GRID: on_grid(0.9)},
        no_other,
    ),
    "rap_music, fixed, 55 averages": Test(two_for_music(NAVE), _music(True), aligned),
    "rap_music, fixed, hardly any noise": Test(two_for_music(NEARLY), _music(True), leaves_nothing),
    "rap_music, free, hardly any noise": Test(two_for_music(NEARLY), _music(False), leaves_nothing),
}
