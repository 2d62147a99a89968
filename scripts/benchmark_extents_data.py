"""Recordings of points and patches of cortex, off the grid, in three heads."""

from __future__ import annotations

from functools import cache

import mne
import numpy as np
from benchmark_places_heads import (
    APART,
    INSIDE,
    NAVE,
    SAMPLE,
    SECOND,
    SFREQ,
    TEMPLATE,
    TMAX,
    head,
    skull,
)
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree

from meg_vae.datasets.simulation import event_related, place_sources, record
from meg_vae.meg.cortex import edge_lengths, vertex_areas

HEADS = (f"{TEMPLATE}oct5", SAMPLE, SECOND)
TILT = np.radians(15)
#: Radii in mm of the true sources, and the signal-to-noise ratio in dB.
CONDITIONS = {
    "3 points, 5 dB": ((0, 0, 0), 5.0),
    "3 patches of 10 mm, 5 dB": ((10, 10, 10), 5.0),
    "3 patches of 20 mm, 5 dB": ((20, 20, 20), 5.0),
    "3 points, 10 and 20 mm, 15 dB": ((0, 0, 0, 10, 20), 15.0),
}


@cache
def surface(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, csr_array]:
    """Vertices, normals, areas and depths (m) of a head's white surface, and its edges."""
    here = head(name)
    spaces = [one for one in here.forward["src"] if one["type"] == "surf"]
    first = np.cumsum([0, *(one["np"] for one in spaces)])
    rr, nn = (np.concatenate([one[key] for one in spaces]) for key in ("rr", "nn"))
    tris = np.concatenate([one["tris"] + k for one, k in zip(spaces, first, strict=False)])
    depth = cKDTree(skull(here.bem, here.trans)).query(rr)[0]
    return rr, nn, vertex_areas(rr, tris), depth, edge_lengths(rr, tris)


def disc(name: str, centre: np.ndarray, radius: float) -> tuple[int, np.ndarray, np.ndarray]:
    """Find the vertices within a radius in mm along the surface: the middle, all, and shares."""
    rr, _, area, depth, edges = surface(name)
    seed = int(cKDTree(rr).query(centre)[1])
    away = dijkstra(edges, indices=seed, limit=1e-3 * radius + 1e-9)
    inside = np.union1d(np.flatnonzero(np.isfinite(away) & (depth > INSIDE)), seed)
    return seed, inside, area[inside] / area[inside].sum()


def true_source(
    name: str, centre: np.ndarray, radius: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Field of a patch of a radius in mm about a place, or of a point, and the vertex it is at."""
    rr, nn = surface(name)[:2]
    seed, inside, shares = disc(name, centre, radius)
    towards = rng.standard_normal(3)
    tangent = towards - (nn[inside] @ towards)[:, None] * nn[inside]
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    moments = (np.cos(TILT) * nn[inside] + np.sin(TILT) * tangent) * shares[:, None]
    return np.einsum("vda,va->d", head(name).exact(rr[inside]), moments), rr[seed]


def recording(
    name: str, condition: str, seed: int
) -> tuple[mne.Evoked, np.ndarray, np.ndarray, np.ndarray]:
    """Data, centres (m) and radii (mm) of the true sources, and their peaks (nAm)."""
    radii, snr_db = CONDITIONS[condition]
    here = head(name)
    rng = np.random.default_rng([seed, HEADS.index(name), *radii])
    places = here.rr[place_sources(here.rr, len(radii), APART, rng)]
    courses = event_related(np.arange(round(TMAX * SFREQ) + 1) / SFREQ, len(radii), rng)
    made = [true_source(name, one, r, rng) for one, r in zip(places, radii, strict=True)]
    gain, centres = (np.array(part) for part in zip(*made, strict=True))
    options = {"snr_db": snr_db, "nave": NAVE, "random_state": rng}
    evoked, amplitude = record(gain.T, courses, here.info, here.noise_cov, **options)
    return evoked, centres, np.array(radii, float), 1e9 * np.abs(amplitude).max(1)
