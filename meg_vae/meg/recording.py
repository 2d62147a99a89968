"""A continuous recording, read piece by piece so that it need not fit in memory."""

from __future__ import annotations

from collections.abc import Iterator

import mne
import numpy as np
from numpy.typing import NDArray

from meg_vae.meg.channels import check_real

CHUNK = 10_000  # samples that are read at once: 25 MB of 306 channels


def chunks(
    raw: mne.io.BaseRaw, picks: list[int]
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Read the good samples of a recording.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        The recording.
    picks : list of int
        Which channels.

    Yields
    ------
    times : ndarray, shape (n_times,)
        Times of a piece in s, without those annotated as bad.
    data : ndarray, shape (n_picks, n_times)
        Its data.
    """
    for start in range(0, raw.n_times, CHUNK):
        data, times = raw.get_data(
            picks,
            start,
            min(start + CHUNK, raw.n_times),
            reject_by_annotation="omit",
            return_times=True,
            verbose="error",
        )
        check_real(data, "raw")
        yield times, data


def recording_covariance(raw: mne.io.BaseRaw) -> mne.Covariance:
    """Compute the covariance of the good samples of a recording, about their mean.

    `mne.compute_raw_covariance` leaves out whole segments; this leaves out samples.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        The recording, of at least two good samples.

    Returns
    -------
    cov : mne.Covariance
        Of all MEG and EEG channels.

    Raises
    ------
    ValueError
        If fewer than two samples are good.
    """
    picks = list(mne.pick_types(raw.info, meg=True, eeg=True, ref_meg=False, exclude=[]))
    n, total, square, shift = 0, np.zeros(len(picks)), np.zeros((len(picks), len(picks))), None
    for times, data in chunks(raw, picks):
        if not len(times):
            continue
        if shift is None:  # a large constant field would cost digits
            shift = data.mean(1, keepdims=True)
        moved = data - shift
        n, total = n + len(times), total + moved.sum(1)
        square += moved @ moved.T
    if n < 2:
        raise ValueError(
            f"raw has {n} samples that are not annotated as bad; at least 2 are needed for its "
            "covariance. Crop it less, or mend its annotations."
        )
    data = (square - np.outer(total, total) / n) / (n - 1)
    names = [raw.ch_names[k] for k in picks]
    bads = [name for name in raw.info["bads"] if name in names]
    return mne.Covariance(data, names, bads, raw.info["projs"], nfree=n - 1)
