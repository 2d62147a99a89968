"""Recorded noise on the channels of the model helmet, which has the names of a real one."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import mne
import numpy as np

from .sample import sample_files


def real_covariance(info: mne.Info, fname: str | Path | None = None) -> mne.Covariance:
    """Read a real noise covariance for some channels.

    Parameters
    ----------
    info : mne.Info
        Info of the channels.
    fname : path-like | None
        Noise covariance of single trials; None takes that of the sample dataset.

    Returns
    -------
    noise_cov : mne.Covariance
        Of these channels in this order, each type regularized by 0.05 on the good channels.

    Raises
    ------
    FileNotFoundError
        If there is no such file, or no sample dataset.
    ValueError
        If it lacks a channel.
    """
    path = sample_files()["noise_cov"] if fname is None else Path(fname).expanduser()
    noise_cov = mne.read_cov(path, verbose="error")
    missing = [name for name in info.ch_names if name not in noise_cov.ch_names]
    if missing:
        raise ValueError(f"{path} lacks {len(missing)} channels ({', '.join(missing[:3])}, ...).")
    noise_cov = noise_cov.pick_channels(info.ch_names, ordered=True, verbose="error")
    noise_cov["projs"] = [
        proj for proj in noise_cov["projs"] if set(proj["data"]["col_names"]) <= set(info.ch_names)
    ]
    return mne.cov.regularize(noise_cov, info, mag=0.05, grad=0.05, verbose="error")


def baseline_noise(
    info: mne.Info,
    n_times: int,
    nave: int,
    rng: np.random.Generator,
    fname: str | Path | None = None,
) -> np.ndarray:
    """Cut recorded noise to length.

    Stretches of noise (baselines, or the whole of a raw recording) are joined in random order and
    with random signs, and a random piece is taken. At a seam the noise may jump.

    Parameters
    ----------
    info : mne.Info
        Info of the channels; its sampling frequency is the one wanted.
    n_times : int
        Number of samples.
    nave : int
        Number of averages whose noise is wanted.
    rng : numpy.random.Generator
        Source of randomness.
    fname : path-like | None
        File of averages (``-ave``), epochs (``-epo``) or raw data; None takes the averages of the
        sample dataset.

    Returns
    -------
    noise : array, shape (n_channels, n_times)
        In the units of MNE, without its mean over time.

    Raises
    ------
    FileNotFoundError
        If there is no such file, or no sample dataset.
    ValueError
        If it is too short or lacks a channel.
    """
    path = sample_files()["evoked"] if fname is None else Path(fname).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}, which should hold recorded noise.")
    pieces = _pieces(path, tuple(info.ch_names), info["sfreq"])
    order = rng.permutation(len(pieces))
    joined = np.concatenate([rng.choice([-1, 1]) * pieces[k] for k in order], axis=1)
    if joined.shape[1] < n_times:
        raise ValueError(
            f"{path} has {joined.shape[1]} samples of noise at {info['sfreq']:g} Hz, but "
            f"{n_times} are needed; shorten the window."
        )
    start = rng.integers(joined.shape[1] - n_times + 1)
    noise = joined[:, start : start + n_times] / np.sqrt(nave)
    return noise - noise.mean(axis=1, keepdims=True)


@lru_cache(maxsize=2)
def _pieces(path: Path, ch_names: tuple[str, ...], sfreq: float) -> list[np.ndarray]:
    """Read stretches of noise, each as if of one trial, resampled."""
    name = path.name.removesuffix(".gz").removesuffix(".fif")
    with mne.utils.use_log_level("error"):
        if name.endswith("ave"):
            parts = [(one, one.nave) for one in mne.read_evokeds(path)]
        elif name.endswith("epo"):
            parts = [(one, 1) for one in mne.read_epochs(path).iter_evoked()]
        else:
            parts = [(mne.io.read_raw_fif(path, preload=True), 1)]
        return [_stretch(one, count, list(ch_names), sfreq, path) for one, count in parts]


def _stretch(
    data: mne.Evoked | mne.io.BaseRaw, nave: int, ch_names: list[str], sfreq: float, path: Path
) -> np.ndarray:
    missing = [name for name in ch_names if name not in data.ch_names]
    if missing:
        raise ValueError(f"{path} lacks {len(missing)} channels ({', '.join(missing[:3])}, ...).")
    data = data.pick(ch_names, exclude=()).reorder_channels(ch_names)
    if isinstance(data, mne.Evoked):
        if data.times[0] >= 0:
            raise ValueError(f"{path} has no data before time zero to take noise from.")
        data = data.crop(None, 0.0)
    noise = data.resample(sfreq).get_data() * np.sqrt(nave)
    return noise - noise.mean(axis=1, keepdims=True)
