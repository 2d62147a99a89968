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
            f"({some(lost)}); compute it from the same sensors, or mark those channels bad."
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
            f"({some(unmodelled)}); using the {len(covered)} that it has."
        )


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
        If a channel is missing or a value is not finite.
    """
    missing = [name for name in ch_names if name not in evoked.ch_names]
    if missing:
        raise ValueError(
            f"evoked lacks {len(missing)} of the {len(ch_names)} channels of the lead field "
            f"({some(missing)}); apply to data of the same sensors."
        )
    data: NDArray[np.float64] = evoked.data[[evoked.ch_names.index(name) for name in ch_names]]
    check_finite(data, "evoked")
    return data


def check_finite(data: NDArray[np.float64], name: str) -> None:
    """Refuse data that are not finite.

    Parameters
    ----------
    data : ndarray
        The data.
    name : str
        What to call them in an error.

    Raises
    ------
    ValueError
        If a value is not finite.
    """
    if not np.isfinite(data).all():
        raise ValueError(
            f"{name} has NaN or infinite values in its good channels; mark those channels bad."
        )


def some(names: list[str]) -> str:
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
