"""What the scripts on evidence and uncertainty share: heads, recordings and options."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Annotated

import mne
import numpy as np
import typer
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from talk_common import HERE

from meg_vae import datasets
from meg_vae.datasets.helmet import helmet_info
from meg_vae.datasets.noise import noise_covariance
from meg_vae.datasets.simulation import event_related, place_sources, simulate
from meg_vae.datasets.template import cortex_vertices
from meg_vae.meg.field import ContinuousField
from meg_vae.meg.leadfield import LeadField, make_leadfield
from meg_vae.meg.samples import noise_samples
from meg_vae.model.exact.dictionary import Dictionary

Jobs = Annotated[int, typer.Option(help="Processes; -1 takes all processors.")]
OUT = HERE.parent / "data" / "evidence"
CONDITIONS = ("Left Auditory", "Right Auditory", "Left visual", "Right visual")


@dataclass(frozen=True)
class SampleHead:
    """Whitened lead field of MNE's sample subject, and the baselines of its four averages.

    ``dictionary`` is Φ of free orientation at the positions, ``field`` the lead field between them;
    ``baselines`` (n_conditions, rank, n_samples) are whitened, sampled at ``sfreq`` Hz, by a
    covariance of ``n_noise`` samples.
    """

    dictionary: Dictionary
    field: ContinuousField
    places: np.ndarray
    sfreq: float
    n_noise: float
    baselines: list[np.ndarray]

    @property
    def rank(self) -> int:
        """Channels of the whitened data."""
        return self.dictionary.n_channels


@cache
def sample_head() -> SampleHead:
    """Read the sample subject; the forward model is computed once, and kept."""
    baselines = []
    for condition in CONDITIONS:
        case = datasets.sample(condition, tmax=0.0, verbose="error")
        nave, info = case.evoked.nave, case.evoked.info
        leadfield = make_leadfield(case.forward, info, case.noise_cov, nave=nave, loose=1.0)
        baselines.append(leadfield.whiten(case.evoked))
    return SampleHead(
        dictionary=Dictionary(leadfield.Phi, leadfield.n_orient),
        field=ContinuousField(leadfield, info),
        places=leadfield.forward["source_rr"],
        sfreq=info["sfreq"],
        n_noise=noise_samples(case.noise_cov),
        baselines=baselines,
    )


@dataclass(frozen=True)
class Simulated:
    """A recording of known sources.

    Attributes
    ----------
    evoked, noise_cov, truth : mne.Evoked, mne.Covariance, list of mne.Dipole
        The data, single-trial covariance, and the sources.
    """

    evoked: mne.Evoked
    noise_cov: mne.Covariance
    truth: list[mne.Dipole]


@cache
def template(spacing: str) -> datasets.Template:
    """Load the template head, once a process."""
    return datasets.template(spacing, verbose="error")


@cache
def _cortex(spacing: str) -> tuple[np.ndarray, mne.Covariance]:
    head = template(spacing)
    vertices = cortex_vertices(head.subjects_dir)
    inside = [np.isin(s["vertno"], v) for s, v in zip(head.src, vertices, strict=True)]
    cov = noise_covariance(head.forward, head.info, vertices)
    return np.flatnonzero(np.concatenate(inside)), cov


def simulated(spacing: str, n_sources: int, snr_db: float, seed: int) -> Simulated:
    """Record sources at positions of one spacing, as `meg_vae.datasets.template_recording` does.

    Inverted at another spacing they lie off the grid. The noise does not depend on where they
    are sought: its covariance has background activity at the positions of this spacing.
    """
    head = template(spacing)
    rng = np.random.default_rng([seed, n_sources])
    candidates, cov = _cortex(spacing)
    places = place_sources(head.forward["source_rr"][candidates], n_sources, 0.04, rng)
    times = np.arange(-20, 81) / 200.0
    evoked, truth = simulate(
        head.forward,
        helmet_info(200.0),
        cov,
        candidates[places],
        event_related(times, n_sources, rng),
        tmin=times[0],
        snr_db=snr_db,
        nave=100,
        random_state=rng,
    )
    return Simulated(evoked, cov, truth)


# What is kept for the next call stands in this file: processes import it, and know it again.


@cache
def sphere_forward(spacing: str) -> mne.Forward:
    """Forward model of a sphere fitted to the template's inner skull."""
    head = template(spacing)
    inner = head.bem["surfs"][0]["rr"]  # MRI coordinates, m
    points = mne.transforms.apply_trans(mne.transforms.invert_transform(head.trans), inner)
    A = np.column_stack([2 * points, np.ones(len(points))])
    centre = np.linalg.lstsq(A, np.sum(points**2, axis=1), rcond=None)[0][:3]
    sphere = mne.make_sphere_model(centre, head_radius=None, verbose="error")
    return mne.make_forward_solution(
        head.info, head.trans, head.src, sphere, eeg=False, mindist=0.0, verbose="error"
    )


@cache
def prepared(true: str, sought: str) -> tuple[Dictionary, LeadField]:
    """Dictionary and lead field of one spacing, for all recordings of another."""
    case = simulated(true, 1, 0.0, 0)
    forward = template(sought).forward
    leadfield = make_leadfield(forward, case.evoked.info, case.noise_cov, nave=case.evoked.nave)
    return Dictionary(leadfield.Phi, leadfield.n_orient), leadfield


def matched(found: np.ndarray, true: np.ndarray, reach: float) -> list[tuple[int, int, float]]:
    """Pair estimates with true sources (both in m), one to one, where they are within reach.

    Returns triples of estimate, true source and distance in m; no estimate gives no pair.
    """
    gaps = cdist(found.reshape(-1, 3), true)
    pairs = zip(*linear_sum_assignment(np.minimum(gaps, 10 * reach)), strict=True)
    return [(int(i), int(k), gaps[i, k]) for i, k in pairs if gaps[i, k] <= reach]
