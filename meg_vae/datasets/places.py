"""Where simulated sources are: places of the cortex, patches around them, and their directions."""

from __future__ import annotations

from dataclasses import dataclass

import mne
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from meg_vae.datasets import Template
from meg_vae.datasets.recipes import Recipe
from meg_vae.datasets.simulation import place_sources


@dataclass(frozen=True, eq=False)
class Places:
    """Places of a cortex where sources can be.

    Attributes
    ----------
    rr, normals : ndarray, shape (n_places, 3)
        Places (m) and outward normals in head coordinates.
    gain : ndarray, shape (n_channels, n_places, 3)
        Field of a dipole along each axis of head coordinates, per A·m.
    hemi, vertno : ndarray of int, shape (n_places,)
        Hemisphere (0 left, 1 right) and vertex.
    depth : ndarray, shape (n_places,)
        Distance from the inner skull in mm.
    centres : ndarray of bool, shape (n_places,)
        Whether a source can be centred there.
    """

    rr: NDArray[np.float64]
    normals: NDArray[np.float64]
    gain: NDArray[np.float64]
    hemi: NDArray[np.int64]
    vertno: NDArray[np.int64]
    depth: NDArray[np.float64]
    centres: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Source:
    """A source: a point, or a patch of equal currents.

    Attributes
    ----------
    rr, moments : ndarray, shape (n_places, 3)
        Places in head coordinates (m) and their moments, which add up to about one A·m.
    gain : ndarray, shape (n_channels,)
        Their field.
    centre, direction : ndarray, shape (3,)
        Place and direction of the dipole that stands for it.
    """

    rr: NDArray[np.float64]
    moments: NDArray[np.float64]
    gain: NDArray[np.float64]
    centre: NDArray[np.float64]
    direction: NDArray[np.float64]


def cortex_places(
    head: Template, cortex: list[NDArray[np.int64]], without: mne.SourceSpaces | None
) -> Places:
    """List the places of a source grid that are cortex.

    Parameters
    ----------
    head : Template
        The head, with the grid in its forward model.
    cortex : list of ndarray of int
        Vertices of the cortex in each hemisphere.
    without : mne.SourceSpaces | None
        A grid whose own places cannot be centres of sources.

    Returns
    -------
    places : Places
        The places.
    """
    src = head.forward["src"]
    keep = np.concatenate([np.isin(s["vertno"], v) for s, v in zip(src, cortex, strict=True)])
    fixed = mne.convert_forward_solution(head.forward, force_fixed=True, verbose="error")
    rr = fixed["source_rr"][keep]
    skull = head.bem["surfs"][0]
    skull_rr = mne.transforms.apply_trans(mne.transforms.invert_transform(head.trans), skull["rr"])
    taken = [np.zeros(0, int)] * 2 if without is None else [s["vertno"] for s in without]
    free = np.concatenate([~np.isin(s["vertno"], v) for s, v in zip(src, taken, strict=True)])
    gain = head.forward["sol"]["data"].reshape(len(head.info.ch_names), -1, 3)
    return Places(
        rr=rr,
        normals=fixed["source_nn"][keep],
        gain=gain[:, keep],
        hemi=np.repeat([0, 1], [s["nuse"] for s in src])[keep],
        vertno=np.concatenate([s["vertno"] for s in src])[keep],
        depth=1e3 * cKDTree(skull_rr).query(rr)[0],
        centres=free[keep] if free[keep].any() else np.ones(keep.sum(), bool),
    )


def draw_sources(
    places: Places, recipe: Recipe, rng: np.random.Generator, head: Template
) -> list[Source]:
    """Draw the sources of a recipe.

    Parameters
    ----------
    places : Places
        Where they can be.
    recipe : Recipe
        How many, how deep, how large and how tilted.
    rng : numpy.random.Generator
        Source of randomness.
    head : Template
        The head whose surface patches grow on.

    Returns
    -------
    sources : list of Source
        The sources.

    Raises
    ------
    ValueError
        If there are fewer places than sources, or they cannot be placed so far apart.
    """
    low, high = recipe.depth_mm
    candidates = np.flatnonzero(places.centres & (places.depth >= low) & (places.depth <= high))
    if len(candidates) < recipe.n_sources:
        raise ValueError(
            f"n_sources={recipe.n_sources} is more than the {len(candidates)} positions from "
            f"{low:g} to {high:g} mm below the inner skull; ask for fewer sources or another depth."
        )
    apart = recipe.min_distance_mm / 1e3
    chosen = candidates[place_sources(places.rr[candidates], recipe.n_sources, apart, rng)]
    patches = _patches(places, chosen, recipe.extent_mm, head)
    return [
        _source(places, centre, patch, recipe.tilt_deg, rng)
        for centre, patch in zip(chosen, patches, strict=True)
    ]


def _patches(
    places: Places, centres: NDArray[np.int64], extent_mm: float, head: Template
) -> list[NDArray[np.int64]]:
    """Grow patches along the cortex; each holds at least its centre."""
    if extent_mm == 0 or not len(centres):
        return [np.array([k]) for k in centres]
    labels = mne.grow_labels(
        head.subject,
        places.vertno[centres],
        extent_mm,
        places.hemi[centres],
        head.subjects_dir,
        overlap=True,
    )
    return [
        np.union1d(
            np.flatnonzero((places.hemi == places.hemi[k]) & np.isin(places.vertno, one.vertices)),
            k,
        )
        for k, one in zip(centres, labels, strict=True)
    ]


def _source(
    places: Places,
    centre: int,
    patch: NDArray[np.int64],
    tilt_deg: float,
    rng: np.random.Generator,
) -> Source:
    """Put equal currents on a patch, each turned from its normal by the same angle."""
    towards = rng.standard_normal(3)
    directions = _tilt(places.normals[patch], tilt_deg, towards)
    moments = directions / len(patch)
    return Source(
        rr=places.rr[patch],
        moments=moments,
        gain=np.einsum("dpk,pk->d", places.gain[:, patch], moments),
        centre=places.rr[centre],
        direction=_tilt(places.normals[[centre]], tilt_deg, towards)[0],
    )


def _tilt(
    normals: NDArray[np.float64], angle_deg: float, towards: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Turn unit vectors by an angle towards the tangential part of a direction."""
    along = normals @ towards
    tangent = towards - along[:, None] * normals
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    angle = np.deg2rad(angle_deg)
    return np.cos(angle) * normals + np.sin(angle) * tangent
