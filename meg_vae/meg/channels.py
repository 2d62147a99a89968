"""Channels by name: those that data, forward model and noise covariance share, and their data."""

from __future__ import annotations

import mne
import numpy as np
from mne.utils import warn
from numpy.typing import NDArray


def common_channels(forward: mne.Forward, info: mne.Info, noise_cov: mne.Covariance) -> list[str]:
    """Choose the good channels that data, forward model and covariance know.

    Parameters
    ----------
    forward : mne.Forward
        The forward model.
    info : mne.Info
        Measurement info of the data.
    noise_cov : mne.Covariance
        The noise covariance.

    Returns
    -------
    ch_names : list of str
        In the order of the data.

    Raises
    ------
    ValueError
        If there is none, or the covariance lacks one.
    """
    known = forward["sol"]["row_names"]
    data = [
        info["ch_names"][k]
        for k in mne.pick_types(info, meg=True, eeg=True, ref_meg=False, exclude=[])
    ]
    modelled = [name for name in data if name in known]
    if not modelled:
        raise ValueError(
            "forward and evoked have no channel in common "
            f"(evoked: {', '.join(data[:2]) or 'no MEG or EEG'}, ...; "
            f"forward: {', '.join(known[:2])}, ...); compute it from this recording's info."
        )
    good = [name for name in modelled if name not in info["bads"]]
    if not good:
        raise ValueError(
            f"all {len(modelled)} channels that evoked and forward share are marked bad in "
            "evoked.info['bads']."
        )
    covered = [
        name for name in good if name in noise_cov.ch_names and name not in noise_cov["bads"]
    ]
    lost = [name for name in good if name not in noise_cov.ch_names]
    if lost:
        raise ValueError(
            f"noise_cov does not cover {len(lost)} of the {len(good)} good channels "
            f"({few(lost)}); compute it from the same sensors, or mark those channels bad."
        )
    if not covered:
        raise ValueError("all channels of evoked are marked bad in noise_cov['bads'].")
    _warn_of_unmodelled(info, known, covered)
    return covered


def _warn_of_unmodelled(info: mne.Info, known: list[str], covered: list[str]) -> None:
    """Tell of good channels, of the types in use, that the forward model lacks."""
    types = {info.get_channel_types([info["ch_names"].index(n)])[0] for n in covered}
    same_type = mne.pick_types(info, meg=True, eeg="eeg" in types, ref_meg=False)
    unmodelled = [info["ch_names"][k] for k in same_type if info["ch_names"][k] not in known]
    if unmodelled:
        warn(
            f"forward lacks {len(unmodelled)} of the data's good channels "
            f"({few(unmodelled)}); using the {len(covered)} that it has."
        )


def known_channels(names: list[str], bads: list[str], info: mne.Info, name: str) -> mne.Info:
    """Pick from a measurement info the channels of data that do not know their sensors.

    Parameters
    ----------
    names, bads : list of str
        Channels of the data, and those of them that are bad.
    info : mne.Info
        Measurement info of the recording.
    name : str
        What to call the data in an error.

    Returns
    -------
    info : mne.Info
        Of the channels that both have; bad are those that either calls so.

    Raises
    ------
    ValueError
        If there is none.
    """
    known = [k for k, one in enumerate(info["ch_names"]) if one in names]
    if not known:
        raise ValueError(
            f"{name} and info have no channel in common ({name}: {few(names)}); give the info of "
            "the recording that it was computed from."
        )
    info = mne.pick_info(info, known, verbose="error")
    bads = {*info["bads"], *bads}
    info["bads"] = [one for one in info["ch_names"] if one in bads]
    return info


def evoked_data(evoked: mne.Evoked, ch_names: list[str]) -> NDArray[np.float64]:
    """Pick the data of some channels, by name and in order.

    Parameters
    ----------
    evoked : mne.Evoked
        The data.
    ch_names : list of str
        Which channels.

    Returns
    -------
    data : ndarray, shape (n_channels, n_times)
        In the units of MNE (T, T/m, V).

    Raises
    ------
    ValueError
        If a channel is missing or a value is complex or not finite.
    """
    missing = [name for name in ch_names if name not in evoked.ch_names]
    if missing:
        raise ValueError(
            f"evoked lacks {len(missing)} of the {len(ch_names)} channels of the lead field "
            f"({few(missing)}); apply to data of the same sensors."
        )
    data: NDArray[np.float64] = evoked.data[[evoked.ch_names.index(name) for name in ch_names]]
    check_real(data, "evoked")
    check_finite(data, "evoked", ch_names)
    return data


def check_finite(data: NDArray[np.float64], name: str, ch_names: list[str]) -> None:
    """Refuse data that are not finite.

    Parameters
    ----------
    data : ndarray, shape (n_channels, ...)
        The data.
    name : str
        What to call them in an error.
    ch_names : list of str
        Names of the channels.

    Raises
    ------
    ValueError
        If a value is not finite.
    """
    finite = np.isfinite(data).reshape(len(data), -1).all(1)
    if not finite.all():
        broken = [ch_names[k] for k in np.flatnonzero(~finite)]
        raise ValueError(
            f"{name} has NaN or infinite values in {len(broken)} good channels ({few(broken)}); "
            "mark those channels bad."
        )


def check_covariance(noise_cov: mne.Covariance, ch_names: list[str]) -> None:
    """Refuse a noise covariance that is complex, or not finite in the channels that are used.

    Parameters
    ----------
    noise_cov : mne.Covariance
        The noise covariance.
    ch_names : list of str
        Channels that are used.

    Raises
    ------
    ValueError
        If it is complex or not finite.
    """
    check_real(noise_cov.data, "noise_cov")
    picks = [noise_cov.ch_names.index(name) for name in ch_names]
    data = noise_cov.data[picks] if noise_cov["diag"] else noise_cov.data[np.ix_(picks, picks)]
    if not np.isfinite(data).all():
        raise ValueError(
            "noise_cov has NaN or infinite entries in the channels that are used; recompute it "
            "from clean data, or mark those channels bad."
        )


def square(cov: mne.Covariance) -> NDArray[np.float64]:
    """Give a covariance as a square matrix.

    Parameters
    ----------
    cov : mne.Covariance
        Full, or of variances alone.

    Returns
    -------
    data : ndarray, shape (n_channels, n_channels)
        In the order of ``cov.ch_names``, in the square of the units of MNE.
    """
    data: NDArray[np.float64] = np.diag(cov.data) if cov["diag"] else cov.data
    return data


def check_real(data: NDArray[np.generic], name: str) -> None:
    """Refuse complex data, of which the imaginary part would be lost.

    Parameters
    ----------
    data : ndarray
        The data.
    name : str
        What to call them in an error.

    Raises
    ------
    ValueError
        If they are complex.
    """
    if np.iscomplexobj(data):
        raise ValueError(
            f"{name} holds complex values, as of a Hilbert or a Fourier transform, and real ones "
            "are needed: fit the real signal, and transform the time courses that apply gives."
        )


def few(names: list[str]) -> str:
    """Write the first few of some names.

    Parameters
    ----------
    names : list of str
        The names.

    Returns
    -------
    text : str
        At most three of them.
    """
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
