"""Methods of other packages, which run where those are installed."""

from __future__ import annotations

import contextlib
import io
import logging
from functools import partial
from typing import Any

import mne
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from meg_vae.comparison.methods.arrays import whitened
from meg_vae.comparison.methods.conversions import along_normals, from_moments, is_fixed
from meg_vae.comparison.methods.registry import AM, register
from meg_vae.meg.leadfield import LeadField

NAM = 1e-9  # A·m in one nAm: foreign thresholds expect numbers about one
SEED = 0
NEIGHBOURS = 6


def _champagne(
    evoked: mne.Evoked,
    forward: mne.Forward,
    noise_cov: mne.Covariance,
    *,
    loose: float | str,
    rank: Any,
    solver: str,
) -> mne.SourceEstimate:
    """Run a solver of invertmeeg on whitened data, along the cortical normals."""
    from invert import Solver

    leadfield, X = whitened(evoked, forward, noise_cov, loose=0.0, rank=rank)
    data, model, noise = _pseudo_channels(leadfield, X, evoked)
    ratio: float | str = "auto"  # of those that know patches, which choose it themselves
    if not solver.startswith("flex"):
        ratio = float(1 / np.linalg.eigvalsh(np.cov(X))[-1])  # makes the noise variance 1
    with _quiet():
        inverse = Solver(solver, prep_leadfield=False, orientation="fixed")
        inverse.make_inverse_operator(model, data, alpha=ratio, noise_cov=noise)
        stc = NAM * inverse.apply_inverse_operator(data)
    active = np.flatnonzero(stc.data.any(axis=1))
    found = from_moments(leadfield.forward, active, stc.data[active][:, None], evoked)
    return found if is_fixed(forward, loose) else along_normals(found, forward, active, evoked)


def _pseudo_channels(
    leadfield: LeadField, X: NDArray[np.float64], evoked: mne.Evoked
) -> tuple[mne.Evoked, mne.Forward, mne.Covariance]:
    """Call whitened components channels, so that MNE's types can hold them."""
    names = leadfield.ch_names[: len(X)]
    info = mne.pick_info(evoked.info, [evoked.ch_names.index(name) for name in names])
    forward = mne.pick_channels_forward(leadfield.forward, names, ordered=True, verbose="error")
    forward["sol"]["data"] = NAM * leadfield.Phi
    forward["_orig_sol"] = forward["sol"]["data"].copy()
    for one in (info, forward["info"]):
        with one._unlock():
            one["projs"] = []
    data = mne.EvokedArray(X, info, evoked.times[0], verbose="error")
    return data, forward, mne.Covariance(np.eye(len(X)), names, [], [], nfree=1)


@contextlib.contextmanager
def _quiet() -> Any:
    """Keep foreign packages from printing and logging."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(level)


@register(
    "sesame",
    "SESAME",
    family="Dipoles",
    unit=AM,
    sparse=True,
    knobs=(
        "On whitened data of noise variance 1; 100 particles and the rest of the package's "
        f"defaults; seed {SEED}. The number of dipoles is sampled, at most 10."
    ),
    reference="Sommariva & Sorrentino (2014), Inverse Problems 30:114020; sesameeg",
    package="sesameeg",
    module="sesameeg",
)
def _sesame(
    evoked: mne.Evoked,
    forward: mne.Forward,
    noise_cov: mne.Covariance,
    *,
    loose: float | str,
    rank: Any,
) -> mne.SourceEstimate:
    """Run SESAME on whitened data; positions in cm, as it wants them."""
    from sesameeg import Sesame

    fixed = is_fixed(forward, loose)
    own = 0.0 if fixed else 1.0
    leadfield, X = whitened(evoked, forward, noise_cov, loose=own, rank=rank)
    state = np.random.get_state()  # noqa: NPY002 (SESAME draws from numpy's global generator)
    np.random.seed(SEED)  # noqa: NPY002
    try:
        with _quiet():
            places = 100 * leadfield.forward["source_rr"]
            sampler = Sesame(
                places,
                NAM * leadfield.Phi,
                X,
                noise_std=1.0,
                radius=_radius(places),
                fixed_ori=fixed,
            )
            sampler.apply_sesame()
    finally:
        np.random.set_state(state)  # noqa: NPY002
    index, first = np.unique(np.asarray(sampler.est_locs[-1], np.int64), return_inverse=True)
    n_orient, n_times = leadfield.n_orient, len(evoked.times)
    moments = np.zeros((len(index), n_orient, n_times))
    if len(index):
        courses = NAM * np.asarray(sampler.est_dip_moms).T.reshape(-1, n_orient, n_times)
        np.add.at(moments, first, courses)  # a place can be named twice
    return from_moments(leadfield.forward, index, moments, evoked)


def _radius(places: NDArray[np.float64]) -> float:
    """Give every place some neighbours for SESAME to move to, however coarse the grid is."""
    return max(1.0, float(cKDTree(places).query(places, NEIGHBOURS + 1)[0].max()))


_CHAMPAGNE_KNOBS = (
    "On whitened data, along the cortical normals (the package knows no loose orientation), with "
    "the package's defaults but noise variance {}."
)
for _name, _title, _solver, _noise, _reference in (
    (
        "champagne",
        "Champagne (MacKay)",
        "champagne-mackay",
        "1",
        "Wipf & Nagarajan (2009), NeuroImage 44:947",
    ),
    (
        "champagne_convexity",
        "Champagne (convexity)",
        "champagne-convexity",
        "1",
        "Cai et al. (2023), IEEE Trans. Med. Imaging 42:762",
    ),
    (
        "champagne_low_snr",
        "Champagne (low SNR)",
        "champagne-low-snr",
        "1",
        "Cai et al. (2023), IEEE Trans. Med. Imaging 42:762",
    ),
    (
        "nl_champagne",
        "Champagne (noise learnt)",
        "nlchampagne",
        "learnt, one per whitened channel, from 1 on",
        "Cai, Hashemi, Diwakar, Haufe, Sekihara & Nagarajan (2021), NeuroImage 225:117411",
    ),
    (
        "flex_champagne",
        "FlexChampagne",
        "flex-champagne",
        "chosen by the package, and patches of three sizes",
        "L. Hecker (2025), unpublished",
    ),
    (
        "flex_ap",
        "FLEX-AP",
        "flex-ap",
        "chosen by the package, and patches of three sizes",
        "Adler, Wax & Pantazis (2022), ISBI; Hecker et al. (2023), Front. Neurosci. 17:1170862",
    ),
):
    register(
        _name,
        _title,
        family="Bayesian",
        unit=AM,
        sparse=True,
        knobs=_CHAMPAGNE_KNOBS.format(_noise),
        reference=f"{_reference}; invertmeeg",
        package="invertmeeg",
        module="invert",
    )(partial(_champagne, solver=_solver))
