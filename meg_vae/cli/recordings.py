"""A recording in a file: its good samples in a window, to be fitted, compared and shown."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import mne
import numpy as np
from numpy.typing import NDArray

ENDINGS = ("raw.fif", "raw_sss.fif", "raw_tsss.fif", "_meg.fif", "_eeg.fif")
ENDINGS += tuple(f"{ending}.gz" for ending in ENDINGS)


@dataclass(frozen=True)
class Recording:
    """A continuous recording, and which of its samples count.

    Attributes
    ----------
    raw : mne.io.BaseRaw
        The recording in memory, from time 0 on.
    good : ndarray of bool, shape (n_times,)
        False where a sample is annotated as bad.
    first_samp : int
        Number of its first sample, by which events count.
    """

    raw: mne.io.BaseRaw
    good: NDArray[np.bool_]
    first_samp: int = 0

    @property
    def response(self) -> mne.Evoked:
        """The recording as one trial, less the mean of each channel; 0 where it is bad."""
        data = self.raw.get_data()
        if self.good.any():
            data = data - data[:, self.good].mean(1, keepdims=True)
        data[:, ~self.good] = 0.0
        return mne.EvokedArray(data, self.raw.info, comment="recording", nave=1, verbose="error")

    def in_window(self, shown: mne.Evoked) -> tuple[mne.io.BaseRaw, mne.Evoked]:
        """Leave the good samples of a window.

        Parameters
        ----------
        shown : mne.Evoked
            The recording as a response, cropped to the window.

        Returns
        -------
        raw : mne.io.BaseRaw
            The recording, all else annotated as bad, so that times stay what they are.
        evoked : mne.Evoked
            The good samples one after the other.
        """
        first = int(np.abs(self.raw.times - shown.times[0]).argmin())
        inside = self.good[first : first + len(shown.times)]
        kept = np.zeros_like(self.good)
        kept[first : first + len(inside)] = inside
        edges = np.flatnonzero(np.diff(np.concatenate([[0], ~kept, [0]]).astype(int)))
        starts, stops = edges.reshape(-1, 2).T / self.raw.info["sfreq"]
        raw = self.raw.copy()
        raw.set_annotations(mne.Annotations(starts, stops - starts, "BAD_left_out"))
        data = shown.data[:, inside]
        evoked = mne.EvokedArray(data, shown.info, shown.times[0], shown.comment, verbose="error")
        return raw, evoked


def read_recording(path: Path) -> Recording:
    """Read a recording with its annotations.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    recording : Recording
        All of it.
    """
    raw = mne.io.read_raw_fif(path)
    _, times = raw.get_data([0], reject_by_annotation="omit", return_times=True)
    plain = mne.io.RawArray(raw.get_data(), raw.info.copy())
    return Recording(plain, np.isin(raw.times, times), raw.first_samp)
