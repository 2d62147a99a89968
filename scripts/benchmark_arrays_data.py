"""Recordings of the committed benchmark's conditions by seven kinds of arrays in three heads."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import mne
import numpy as np
from benchmark_extents_data import disc, surface
from benchmark_places_heads import SFREQ, head, skull
from scipy.spatial import cKDTree

from meg_vae import datasets
from meg_vae.comparison.benchmark.protocol import read_protocol
from meg_vae.datasets.arrays import array_info
from meg_vae.datasets.fields import displaced
from meg_vae.datasets.noise import noise_covariance
from meg_vae.datasets.recipes import Recipe
from meg_vae.datasets.simulation import event_related, fixed_dipole, place_sources, record
from meg_vae.datasets.time_courses import correlate
from meg_vae.meg.conductor import bem_conductor

PROTOCOL = Path(__file__).parents[1] / "data" / "benchmarks" / "protocol.toml"
CONDITIONS = {one.name: one.recipe for one in read_protocol(PROTOCOL).conditions}


@dataclass(frozen=True)
class Recorded:
    """A recording, what inverts it, and its sources: dipoles, and radii in mm."""

    evoked: mne.Evoked
    forward: mne.Forward
    noise_cov: mne.Covariance
    truth: list[mne.Dipole]
    extent_mm: float


@lru_cache(2)
def seen_by(name: str, array: str) -> tuple[mne.Info, mne.Forward, mne.Covariance]:
    """Put an array around a head: its info, forward model and noise, once a process."""
    here = head(name)
    info = array_info(array, SFREQ)
    made = datasets.template("oct5", verbose="error")
    shift = skull(here.bem, here.trans).mean(0) - skull(made.bem, made.trans).mean(0)
    moved = mne.transforms.translation(*shift) @ info["dev_head_t"]["trans"]
    info["dev_head_t"] = mne.Transform("meg", "head", moved)
    options = {"meg": True, "eeg": False, "mindist": 5.0, "verbose": "error"}
    forward = mne.make_forward_solution(info, here.trans, here.forward["src"], here.bem, **options)
    cov = noise_covariance(forward, info, [one["vertno"] for one in forward["src"]])
    return info, forward, cov


def places(name: str, forward: mne.Forward, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """Give where sources may be, and the cortical normals there (head coordinates, m)."""
    here = head(name)
    rr, nn, depth = here.rr, here.nn, here.depth
    if recipe.grid == "same":
        fixed = mne.convert_forward_solution(forward, force_fixed=True, verbose="error")
        rr, nn = fixed["source_rr"], fixed["source_nn"]
        depth = cKDTree(skull(here.bem, here.trans)).query(rr)[0]
    low, high = 1e-3 * np.array(recipe.depth_mm)
    kept = (low <= depth) & (depth <= high)
    return rr[kept], nn[kept]


def moments_of(
    name: str, centre: np.ndarray, normal: np.ndarray, radius: float
) -> tuple[np.ndarray, np.ndarray]:
    """Give the places and moments of a source of 1 A m per place's normal: a point or a patch."""
    if radius == 0:
        return centre[None], normal[None]
    rr, nn = surface(name)[:2]
    _, inside, shares = disc(name, centre, radius)
    return rr[inside], nn[inside] * shares[:, None]


def recorded(name: str, array: str, condition: str, seed: int) -> Recorded:
    """Record the sources of a condition; those of a seed are the same for every array."""
    recipe, (info, forward, cov) = CONDITIONS[condition], seen_by(name, array)
    rr, nn = places(name, forward, recipe)
    rng = np.random.default_rng([seed, len(rr), recipe.n_sources])
    chosen = place_sources(rr, recipe.n_sources, 1e-3 * recipe.min_distance_mm, rng)
    times = np.arange(round(recipe.tmax * SFREQ) + 1) / SFREQ
    courses = event_related(times, recipe.n_sources, rng)
    if recipe.correlation is not None:
        courses = correlate(courses, recipe.correlation)
    here, moved = head(name), displaced(info, head(name).rr, recipe.coregistration_mm, rng)
    exact = bem_conductor(moved or info, info.ch_names, here.bem, here.trans)
    parts = [moments_of(name, rr[one], nn[one], recipe.extent_mm) for one in chosen]
    gain = np.array([np.einsum("vda,va->d", exact(at), moments) for at, moments in parts])
    options = {"snr_db": recipe.snr_db, "nave": recipe.nave, "random_state": rng}
    gain = gain.T.reshape(len(info.ch_names), recipe.n_sources)
    evoked, amplitude = record(gain, courses, info, cov, **options)
    truth = [
        fixed_dipole(evoked.times, rr[one], moments.sum(0) / np.linalg.norm(moments.sum(0)), course)
        for one, (_, moments), course in zip(chosen, parts, amplitude, strict=True)
    ]
    return Recorded(evoked, forward, cov, truth, recipe.extent_mm)
