"""Sensor noise and background brain activity as one noise covariance."""

from __future__ import annotations

import mne
import numpy as np
from mne.preprocessing import compute_proj_hfc


def noise_covariance(
    forward: mne.Forward, info: mne.Info, vertices: list[np.ndarray]
) -> mne.Covariance:
    """Model the noise of one trial: sensors, background brain activity, and projection.

    Sensor noise is white, 5 fT/cm in gradiometers and 20 fT in magnetometers (MNE's ad hoc
    values). Background activity is as strong again in the gradiometers, or in all channels where
    there are none: independent currents of equal variance along the cortical normal, one at each
    position. Three projectors then remove homogeneous fields from the magnetometers, as for
    recordings in a shielded room.

    Parameters
    ----------
    forward : mne.Forward
        Forward solution of the channels in ``info``.
    info : mne.Info
        Measurement info.
    vertices : list of array
        Vertex numbers of the background activity in the left and the right hemisphere;
        those that are no position of ``forward`` are ignored.

    Returns
    -------
    noise_cov : mne.Covariance
        Covariance of single trials in T² and (T/m)², projected, with the projectors in it. Its
        rank is three below the number of channels.
    """
    sensors = mne.make_ad_hoc_cov(info, verbose="warning")["data"]
    fixed = mne.convert_forward_solution(forward, force_fixed=True, verbose="warning")
    active = [np.isin(s["vertno"], v) for s, v in zip(fixed["src"], vertices, strict=True)]
    gain = fixed["sol"]["data"][:, np.concatenate(active)]
    brain = gain @ gain.T
    grads = mne.pick_types(info, meg="grad")
    heard = grads if len(grads) else np.arange(len(sensors))
    brain *= sensors[heard].mean() / brain.diagonal()[heard].mean()
    projs = compute_proj_hfc(info, picks="mag", verbose="warning")
    projector = _projector(projs, info.ch_names)
    data = projector @ (np.diag(sensors) + brain) @ projector
    return mne.Covariance((data + data.T) / 2, info.ch_names, [], projs, nfree=0)


def symmetric_roots(
    noise_cov: mne.Covariance, info: mne.Info
) -> tuple[np.ndarray, np.ndarray, int]:
    """Take the roots of a noise covariance that are the same on every machine.

    Noise that is drawn along eigenvectors has their signs, which depend on the processor; a
    symmetric root has none.

    Parameters
    ----------
    noise_cov : mne.Covariance
        Covariance of single trials.
    info : mne.Info
        Measurement info of all its channels, with the projectors of the data.

    Returns
    -------
    whitener, colorer : array, shape (n_channels, n_channels)
        Roots of the inverse, and of the covariance.
    rank : int
        Their rank.
    """
    whitener, _, rank, colorer = mne.cov.compute_whitener(
        noise_cov,
        info,
        picks=np.arange(len(info.ch_names)),
        pca=False,
        return_rank=True,
        return_colorer=True,
        verbose="warning",
    )
    return whitener, colorer, int(rank)


def _projector(projs: list[mne.Projection], ch_names: list[str]) -> np.ndarray:
    """Make the matrix that takes the projectors' fields out of all channels."""
    fields = np.zeros((len(ch_names), len(projs)))
    for field, proj in zip(fields.T, projs, strict=True):
        field[[ch_names.index(name) for name in proj["data"]["col_names"]]] = proj["data"]["data"]
    basis, _ = np.linalg.qr(fields)
    return np.eye(len(ch_names)) - basis @ basis.T
