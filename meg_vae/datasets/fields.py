"""Fields of simulated sources, also where the forward model to invert is wrong."""

from __future__ import annotations

import mne
import numpy as np
from mne.transforms import apply_trans, invert_transform, rotation
from numpy.typing import NDArray

from meg_vae.datasets import Template
from meg_vae.datasets.places import Source


def displaced(
    info: mne.Info, rr: NDArray[np.float64], error_mm: float, rng: np.random.Generator
) -> mne.Info | None:
    """Move the head under the helmet, in a random direction.

    Parameters
    ----------
    info : mne.Info
        Measurement info as the forward model to invert knows it.
    rr : ndarray, shape (n_places, 3)
        Places of the cortex in head coordinates, m.
    error_mm : float
        Root mean square displacement of those places in mm.
    rng : numpy.random.Generator
        Source of randomness; as much of it is used whatever the error is.

    Returns
    -------
    moved : mne.Info | None
        The info after the movement; None if there is none.
    """
    shift, axis = rng.standard_normal((2, 3))
    if error_mm == 0:
        return None
    centre = rr.mean(axis=0)
    arms = np.cross(axis, rr - centre)
    half = 1e-3 * error_mm / np.sqrt(2)
    shift *= half / np.linalg.norm(shift)
    angles = axis * half / np.sqrt(np.square(arms).sum(axis=1).mean())  # small: radians
    move = np.eye(4)
    move[:3, :3] = rotation(*angles)[:3, :3]
    move[:3, 3] = centre + shift - move[:3, :3] @ centre
    moved = info.copy()
    to_head = move @ info["dev_head_t"]["trans"]
    moved["dev_head_t"] = mne.Transform("meg", "head", to_head)
    return moved


def fields_of(
    sources: list[Source], moved: mne.Info | None, conductor: str, head: Template
) -> NDArray[np.float64]:
    """Compute the field of each source.

    Parameters
    ----------
    sources : list of Source
        The sources.
    moved : mne.Info | None
        Where the sensors are, if not where the forward model has them.
    conductor : "bem" | "sphere"
        The head model; the sphere is fitted to the inner skull.
    head : Template
        The head.

    Returns
    -------
    gain : ndarray, shape (n_channels, n_sources)
        Field of each source in T or T/m per A·m.
    """
    if not sources:
        return np.zeros((len(head.info.ch_names), 0))
    if moved is None and conductor == "bem":
        return np.stack([one.gain for one in sources], axis=1)
    rr = np.concatenate([one.rr for one in sources])
    model = _sphere(head) if conductor == "sphere" else head.bem
    src = mne.setup_volume_source_space(
        pos={"rr": apply_trans(head.trans, rr), "nn": np.tile([0.0, 0, 1], (len(rr), 1))},
        sphere=(0.0, 0.0, 0.0, 1.0),
        sphere_units="m",
        verbose="error",
    )
    forward = mne.make_forward_solution(
        moved or head.info,
        head.trans,
        src,
        model,
        eeg=False,
        mindist=0.0,
        on_inside="ignore",  # of the sphere, see below
        verbose="error",
    )
    if forward["nsource"] != len(rr):
        raise ValueError(f"{len(rr) - forward['nsource']} places of sources lie outside the head.")
    every = forward["sol"]["data"].reshape(len(head.info.ch_names), -1, 3)
    moments = np.concatenate([one.moments for one in sources])
    start = np.cumsum([0] + [len(one.rr) for one in sources])[:-1]
    return np.add.reduceat(np.einsum("dpk,pk->dp", every, moments), start, axis=1)


def _sphere(head: Template) -> mne.bem.ConductorModel:
    """Fit a sphere to the inner skull, by least squares, in head coordinates."""
    rr = apply_trans(invert_transform(head.trans), head.bem["surfs"][0]["rr"])
    ones = np.ones((len(rr), 1))
    fit = np.linalg.lstsq(np.hstack([2 * rr, ones]), np.square(rr).sum(axis=1), rcond=None)[0]
    # The field outside a sphere does not depend on its radius, only on its centre: one that holds
    # every source, and some sensors, gives the same.
    radius = 1.2 * np.linalg.norm(rr - fit[:3], axis=1).max()
    return mne.make_sphere_model(tuple(fit[:3]), radius, verbose="error")
