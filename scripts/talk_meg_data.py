"""Neuromagnetic data of known sources, and how far an estimate is from them."""

from __future__ import annotations

from dataclasses import dataclass

import mne
import numpy as np
from talk_common import check_sizes

from meg_vae import datasets
from meg_vae.comparison.metrics.pairing import match, peak_radius, peaks
from meg_vae.datasets.simulation import place_sources, simulate
from meg_vae.meg.leadfield import LeadField, make_leadfield

SPACING = "ico3"
APART_MM = 20.0  # smallest distance between two sources
SAMPLES = 40
ORIENTATIONS = ("known", "unknown")


@dataclass(frozen=True)
class Case:
    """Data of known sources and what every method is given.

    Attributes
    ----------
    evoked : mne.Evoked
        Magnetometers, of one trial.
    forward : mne.Forward
        Forward model: of the cortical normal where the orientation is known, else free.
    noise_cov : mne.Covariance
        Noise covariance.
    leadfield : LeadField
        The forward model, whitened.
    X : ndarray, shape (rank, n_samples)
        Whitened data.
    truth : ndarray of int, shape (n_sources,)
        Positions of the sources.
    noiseless : bool
        Whether the data have no noise.
    """

    evoked: mne.Evoked
    forward: mne.Forward
    noise_cov: mne.Covariance
    leadfield: LeadField
    X: np.ndarray
    truth: np.ndarray
    noiseless: bool

    @property
    def points_mm(self) -> np.ndarray:
        """Every position, shape (n_positions, 3)."""
        return 1e3 * self.forward["source_rr"]


def make_case(n_sources: int, snr_db: float, seed: int, orientation: str = "known") -> Case:
    """Record sources along the cortical normal with the template's magnetometers.

    Their time courses are white, and all have the same whitened power.

    Parameters
    ----------
    n_sources : int
        ρ0.
    snr_db : float
        Whitened power of the sources over that of the noise, in dB; infinity for no noise.
    seed : int
        Seed.
    orientation : "known" | "unknown"
        Whether the methods are told that the sources point along the normal.

    Returns
    -------
    case : Case
        The data.

    Raises
    ------
    ValueError
        If a size is impossible.
    """
    empty = datasets.template_recording(0, snr_db=0, spacing=SPACING, nave=1, verbose="error")
    info = empty.evoked.copy().pick("mag").info
    free = mne.pick_channels_forward(empty.forward, info.ch_names, ordered=True, verbose="error")
    check_sizes(len(info.ch_names), free["nsource"], n_sources, SAMPLES)
    rng = np.random.default_rng(seed)
    truth = np.sort(place_sources(free["source_rr"], n_sources, APART_MM / 1000, rng))
    evoked, _ = simulate(
        free,
        info,
        empty.noise_cov,
        truth,
        rng.standard_normal((n_sources, SAMPLES)),
        snr_db=snr_db,
        random_state=rng,
    )
    forward = mne.convert_forward_solution(
        free, surf_ori=True, force_fixed=orientation == "known", use_cps=True, verbose="error"
    )
    loose = 0 if orientation == "known" else 1
    leadfield = make_leadfield(forward, evoked.info, empty.noise_cov, loose=loose)
    X = leadfield.whiten(evoked)
    return Case(evoked, forward, empty.noise_cov, leadfield, X, truth, bool(np.isinf(snr_db)))


def score(case: Case, power: np.ndarray) -> dict[str, float]:
    """Compare the strongest peaks of an estimate, as many as there are sources, with the truth.

    Parameters
    ----------
    case : Case
        The data and the truth.
    power : ndarray, shape (n_positions,)
        Norm over time of the estimate at every position.

    Returns
    -------
    score : dict of str: float
        Share of sources found at the very position, and mean distance in mm of a source to the
        peak it is matched with; a source that no peak is left for counts with 100 mm.
    """
    points = case.points_mm
    true = points[case.truth]
    top = peaks(power, points, len(true), peak_radius(true))
    distance = match(true, points[top])
    return {"found": float((distance < 1e-6).mean()), "error_mm": float(distance.mean())}
