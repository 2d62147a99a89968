"""From recordings of phantoms to what their dipoles evoke, step by step as MNE's tutorials go.

Each function takes recordings as read, and changes them in place. What it gives is one sample long:
the time at which the dipole is strongest.
"""

from __future__ import annotations

import mne
import numpy as np
from mne.transforms import rotation, translation
from numpy.typing import NDArray
from scipy.signal import find_peaks

Responses = tuple[list[mne.Evoked], mne.Covariance]

ELEKTA_BADS = ("MEG1933", "MEG2421")
ELEKTA_DIPOLES = range(1, 33)  # numbers of the events
ELEKTA_BASELINE_END = -0.05  # s
ELEKTA_PEAK = 0.036  # s

KIT_DIPOLES = 49
KIT_FREQUENCY = 11.0  # Hz, of bursts of two cycles
KIT_REFERENCES = ("MISC 001", "MISC 002", "MISC 003")
KIT_DRIVE = "MISC 017"
# Where the phantom was in the helmet; what the file says of it is wrong.
KIT_DEVICE_TO_HEAD = translation(0.01, -0.015, -0.088) @ rotation(*np.deg2rad([5.0, -1.0, -3.0]))

BTI_BADS = ("A173", "A213", "A232")
BTI_PEAK = 0.07  # s

CTF_FREQUENCY = 23.0  # Hz
CTF_DRIVE = "HDAC006-4408"
CTF_THRESHOLD = 0.5
CTF_FILTER = {"origin": (0.0, 0.0, 0.0), "st_duration": 10.0}


def elekta_responses(raw: mne.io.BaseRaw) -> Responses:
    """Average the trials of each of 32 dipoles, without its first and its last."""
    _mark_bad(raw, ELEKTA_BADS)
    events = mne.find_events(raw, "STI201")
    baseline = (None, ELEKTA_BASELINE_END)
    epochs = mne.Epochs(raw, events, list(ELEKTA_DIPOLES), -0.1, 0.8, baseline=baseline)
    evokeds = []
    for number in ELEKTA_DIPOLES:
        own = epochs[str(number)][1:-1]  # these two see the phantom switch between dipoles
        if not len(own.events):
            raise ValueError(f"dipole {number} has fewer than 3 trials in the recording.")
        evokeds.append(_at(own.average(), ELEKTA_PEAK))
    return evokeds, mne.compute_covariance(epochs, tmax=ELEKTA_BASELINE_END)


def kit_responses(raw: mne.io.BaseRaw) -> Responses:
    """Average the bursts of each of 49 dipoles, which take turns in one order."""
    raw.load_data()
    references = list(KIT_REFERENCES)
    meg = [raw.ch_names[k] for k in mne.pick_types(raw.info, meg=True)]
    raw.filter(None, 40.0, picks=[*meg, *references])
    mne.preprocessing.regress_artifact(
        raw, picks="meg", picks_artifact=references, copy=False, proj=False
    )
    onsets = _burst_onsets(raw.get_data(KIT_DRIVE)[0], raw.info["sfreq"])
    events = np.zeros((len(onsets), 3), int)
    events[:, 0] = onsets + raw.first_samp
    events[:, 2] = np.arange(len(onsets)) % KIT_DIPOLES + 1
    tmax = 2 / KIT_FREQUENCY
    tmin = tmax - np.diff(onsets).min() / raw.info["sfreq"]  # from the end of the burst before
    epochs = mne.Epochs(
        raw, events, tmin=tmin, tmax=tmax, baseline=(None, 0), decim=10, picks="data", preload=True
    )
    with epochs.info._unlock():
        epochs.info["dev_head_t"] = mne.Transform("meg", "head", KIT_DEVICE_TO_HEAD)
    peak = 1 / KIT_FREQUENCY / 4
    numbers = range(1, KIT_DIPOLES + 1)
    evokeds = [_at(epochs[str(number)].average(), peak) for number in numbers]
    return evokeds, mne.compute_covariance(epochs, tmax=0, method="empirical")


def _burst_onsets(drive: NDArray[np.float64], sfreq: float) -> NDArray[np.int64]:
    """Find where bursts begin, of which the first deflection is downward; samples."""
    drive = drive.mean() - drive
    height, apart = np.percentile(drive, 90), 0.9 * sfreq / KIT_FREQUENCY
    peaks = find_peaks(drive, height=height, distance=apart)[0][::2]  # the first of two cycles
    if not len(peaks) or len(peaks) % KIT_DIPOLES:
        raise ValueError(
            f"{KIT_DRIVE} has {len(peaks)} bursts, which is no multiple of {KIT_DIPOLES} dipoles; "
            "the recording is not whole."
        )
    return peaks - round(sfreq / KIT_FREQUENCY / 4)


def bti_responses(raw: mne.io.BaseRaw) -> Responses:
    """Average the trials of the one dipole of a recording."""
    _mark_bad(raw, BTI_BADS)
    events = mne.find_events(raw, "TRIGGER", mask=4350, mask_type="not_and")
    epochs = mne.Epochs(raw, events, 8192, -0.2, 0.4, preload=True)
    return [_at(epochs.average(), BTI_PEAK)], mne.compute_covariance(epochs, tmax=0.0)


def ctf_responses(raw: mne.io.BaseRaw, empty_room: mne.io.BaseRaw) -> Responses:
    """Average the cycles of the one dipole of a recording; noise is that of an empty room.

    The drive crosses its threshold once before and once after each peak, and cycles are cut about
    both: their average peaks in the middle, lower than the dipole does.
    """
    drive = raw.get_data(CTF_DRIVE)[0]
    crossings = np.flatnonzero(np.diff(drive > CTF_THRESHOLD)) + raw.first_samp
    if not len(crossings):
        raise ValueError(f"{CTF_DRIVE} never crosses {CTF_THRESHOLD:g}; the dipole was not driven.")
    events = np.c_[crossings, np.zeros_like(crossings), np.ones_like(crossings)]
    raw.load_data().apply_gradient_compensation(0)
    raw = mne.preprocessing.maxwell_filter(raw, **CTF_FILTER)
    half = 0.5 / CTF_FREQUENCY
    evoked = mne.Epochs(raw, events, 1, -half, half, baseline=(None, None)).average()
    empty_room.load_data().apply_gradient_compensation(0)
    empty_room = mne.preprocessing.maxwell_filter(empty_room, coord_frame="meg", **CTF_FILTER)
    return [_at(evoked, 0.0)], mne.compute_raw_covariance(empty_room)


def _mark_bad(raw: mne.io.BaseRaw, names: tuple[str, ...]) -> None:
    """Mark the channels that are known to be bad, whatever the file says."""
    missing = set(names) - set(raw.ch_names)
    if missing:
        raise ValueError(
            f"the recording has no channel {', '.join(sorted(missing))}; it is not that of the "
            "phantom dataset."
        )
    raw.info["bads"] = list(names)


def _at(evoked: mne.Evoked, time: float) -> mne.Evoked:
    """Keep the sample nearest to a time."""
    return evoked.crop(time, time)
