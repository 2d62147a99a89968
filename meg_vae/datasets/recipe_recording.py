"""A recipe and a seed to a recording: known sources in the template head, hard where it is hard."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import mne
import numpy as np
from mne.utils import use_log_level
from numpy.typing import NDArray

from meg_vae.datasets import Recording, Template, template
from meg_vae.datasets.fields import displaced, fields_of
from meg_vae.datasets.helmet import helmet_info
from meg_vae.datasets.noise import noise_covariance
from meg_vae.datasets.places import Places, cortex_places, draw_sources
from meg_vae.datasets.real_noise import baseline_noise, real_covariance
from meg_vae.datasets.recipes import Recipe
from meg_vae.datasets.simulation import event_related, fixed_dipole, record
from meg_vae.datasets.template import cortex_vertices
from meg_vae.datasets.time_courses import correlate

SFREQ = 200.0  # Hz
FINEST = "oct6"  # the grid of sources that lie off the one that is inverted


@dataclass(frozen=True, eq=False)
class _Head:
    """A template and what of it every simulation needs."""

    template: Template
    places: Places  # of the grid of the sources
    brain_noise: mne.Covariance


def simulate_recording(recipe: Recipe, seed: int) -> Recording:
    """Simulate a recording in the template head.

    Parameters
    ----------
    recipe : Recipe
        What to simulate.
    seed : int
        Seed of places, orientations, time courses, movement of the head and noise.

    Returns
    -------
    recording : Recording
        Data of the window alone, the forward model to invert, the noise covariance of single
        trials, and the truth: a dipole per source (at the centre of its patch), head coordinates.

    Raises
    ------
    ValueError
        If there are fewer places than sources, or they cannot be placed so far apart.
    FileNotFoundError
        If real noise is asked for and there is none.

    Notes
    -----
    The signal-to-noise ratio is defined in `Recipe`. The same seed gives the same places,
    orientations and time courses at any signal-to-noise ratio and noise.
    """
    places_rng, course_rng, head_rng, noise_rng = map(
        np.random.default_rng, np.random.SeedSequence(seed).spawn(4)
    )
    head = _head(recipe.spacing, recipe.grid)
    sources = draw_sources(head.places, recipe, places_rng, head.template)
    info = helmet_info(SFREQ)
    times = np.arange(round(recipe.tmax * SFREQ) + 1) / SFREQ
    courses = event_related(times, recipe.n_sources, course_rng)
    if recipe.correlation is not None:
        courses = correlate(courses, recipe.correlation)
    noise_cov = _noise_covariance(recipe, head, info)
    noise = None
    if recipe.noise == "baseline":
        noise = baseline_noise(info, len(times), recipe.nave, noise_rng, recipe.noise_file)
    with use_log_level("error"):
        moved = displaced(info, head.places.rr, recipe.coregistration_mm, head_rng)
        gain = fields_of(sources, moved, recipe.conductor, head.template)
        evoked, amplitude = record(
            gain,
            courses,
            info,
            noise_cov,
            snr_db=recipe.snr_db,
            nave=recipe.nave,
            noise=noise,
            random_state=noise_rng,
        )
    evoked.info["bads"] = [name for name in noise_cov["bads"] if name in info.ch_names]
    truth = [
        fixed_dipole(evoked.times, one.centre, one.direction, course)
        for one, course in zip(sources, amplitude, strict=True)
    ]
    return Recording(
        evoked=evoked,
        forward=head.template.forward,
        noise_cov=noise_cov,
        truth=truth,
        subjects_dir=head.template.subjects_dir,
        subject=head.template.subject,
        trans=head.template.trans,
        bem=head.template.bem,
    )


def check_recipe(recipe: Recipe, seeds: NDArray[np.int64] | list[int]) -> None:
    """Find out before anything runs whether a recipe can be followed.

    Parameters
    ----------
    recipe : Recipe
        What to simulate.
    seeds : array of int
        The seeds.

    Raises
    ------
    ValueError
        If there are fewer places than sources, or they cannot be placed so far apart.
    FileNotFoundError
        If real noise is asked for and there is none.
    """
    head = _head(recipe.spacing, recipe.grid)
    for seed in seeds:
        rng = np.random.default_rng(np.random.SeedSequence(int(seed)).spawn(4)[0])
        draw_sources(head.places, recipe, rng, head.template)
    info = helmet_info(SFREQ)
    _noise_covariance(recipe, head, info)
    if recipe.noise == "baseline":
        n_times = round(recipe.tmax * SFREQ) + 1
        baseline_noise(info, n_times, 1, np.random.default_rng(0), recipe.noise_file)


@lru_cache(maxsize=2)
def _head(spacing: str, grid: str) -> _Head:
    """Load a template; kept, because a benchmark asks for the same one again and again."""
    inverted = template(spacing, verbose="error")
    finer = grid == "finer"
    fine = template(FINEST, verbose="error") if finer and spacing != FINEST else inverted
    cortex = cortex_vertices(inverted.subjects_dir)
    with use_log_level("error"):
        places = cortex_places(fine, cortex, without=inverted.src if finer else None)
        brain_noise = noise_covariance(inverted.forward, inverted.info, cortex)
    return _Head(inverted, places, brain_noise)


def _noise_covariance(recipe: Recipe, head: _Head, info: mne.Info) -> mne.Covariance:
    """Noise covariance of single trials: what the noise is drawn from, or what it is told to be."""
    if recipe.noise in ("brain", "none"):
        return head.brain_noise.copy()
    if recipe.noise == "white":
        return mne.make_ad_hoc_cov(info, verbose="error")
    return real_covariance(info, recipe.noise_cov_file)
