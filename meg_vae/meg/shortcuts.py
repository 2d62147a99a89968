"""Functions that stand beside MNE's: an inverse in one call, and one from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mne

from meg_vae.meg.inverse import VAEInverse
from meg_vae.meg.orientation import Loose
from meg_vae.meg.storage import read_state
from meg_vae.meg.weights import Weights


def vae_inverse(
    evoked: mne.Evoked,
    forward: mne.Forward,
    noise_cov: mne.Covariance,
    *,
    loose: Loose = "auto",
    rank: Any = None,
    weights: Weights = None,
    pick_ori: str | None = None,
    verbose: bool | str | int | None = None,
) -> mne.SourceEstimate:
    """Find the sources of an evoked response in one call.

    Parameters
    ----------
    evoked : mne.Evoked
        The data, cropped to the time of interest.
    forward : mne.Forward | path-like
        Forward model.
    noise_cov : mne.Covariance | path-like
        Noise covariance of single trials; it is divided by ``evoked.nave``.
    loose : float | "auto" | dict
        Weight of the dipoles across the cortical normal.
    rank : None | "info" | "full" | dict | int
        As in `mne.compute_rank`.
    weights : array_like, shape (n_positions,) | list of array_like | SourceEstimate | None
        Prior weights of the positions in nats, as for `VAEInverse.fit`.
    pick_ori : None | "normal" | "vector"
        Amplitudes, the component along the cortical normal, or vectors.
    verbose : bool | str | int | None
        Level of MNE's logging.

    Returns
    -------
    stc : SourceEstimate
        In A·m, sparse. `VAEInverse` gives the evidence, the uncertainty and the certificate too.
    """
    inverse = VAEInverse(loose=loose, rank=rank, verbose=verbose)
    return inverse.fit(evoked, forward, noise_cov, weights=weights).apply(evoked, pick_ori)


def read_vae_inverse(fname: str | Path) -> VAEInverse:
    """Read a fitted inverse.

    Parameters
    ----------
    fname : path-like
        A file that `VAEInverse.save` wrote.

    Returns
    -------
    inverse : VAEInverse
        Ready to apply; it does not hold the data of its fit.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not a saved inverse, or of another version.
    """
    return VAEInverse._from_state(read_state(fname))
