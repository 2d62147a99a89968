"""A file of evoked responses, of epochs or of a recording and events in it, as responses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import mne
import numpy as np
from mne.utils import warn
from numpy.typing import NDArray

from meg_vae.meg.inputs import average

if TYPE_CHECKING:
    from meg_vae.cli.preparation import DataOptions

EPOCHS = ("-epo.fif", "_epo.fif", "-epo.fif.gz", "_epo.fif.gz")
RECORDING = ("raw.fif", "raw_sss.fif", "raw_tsss.fif", "_meg.fif", "_eeg.fif")
RECORDING += tuple(f"{ending}.gz" for ending in RECORDING)


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
        """Leave the good samples of a window: that of a response cropped from this recording.

        The recording has all else annotated as bad, so that times stay what they are; the response
        has the good samples one after the other.
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
    """Read a recording with its annotations."""
    raw = mne.io.read_raw_fif(path)
    _, times = raw.get_data([0], reject_by_annotation="omit", return_times=True)
    plain = mne.io.RawArray(raw.get_data(), raw.info.copy())
    return Recording(plain, np.isin(raw.times, times), raw.first_samp)


def read_responses(path: Path, condition: str | None = None) -> list[mne.Evoked]:
    """Read what a file holds, by the ending that MNE gives such files, as responses.

    Of epochs they are the average of each kind of event, and of all that have the tags of
    ``condition`` ("left" of "left/standard" and "left/deviant"); a recording is one of one trial.
    """
    if path.name.endswith(EPOCHS):
        epochs = mne.read_epochs(path)
        kinds = [(name, epochs[name]) for name in epochs.event_id if len(epochs[name])]
        if condition is not None and tagged(condition, epochs.event_id):
            kinds.append((condition, epochs[condition]))
        evokeds = [average(trials) for _, trials in kinds]
        for evoked, (name, _) in zip(evokeds, kinds, strict=True):
            evoked.comment = name
        return evokeds
    if path.name.endswith(RECORDING):
        return [read_recording(path).response]
    return mne.read_evokeds(path)


def tagged(condition: str, names: Iterable[str]) -> list[str]:
    """Find the names that have all tags of a condition ("a/b", in any order), but are not it."""
    names = list(names)
    asked = set(condition.split("/"))
    found = [name for name in names if asked <= set(name.split("/"))]
    return [] if condition in names else found


def choose(evokeds: list[mne.Evoked], condition: str | None, path: Path) -> mne.Evoked:
    """Take the response asked for, by name or by number; None takes the only one."""
    evokeds = [one for one in evokeds if one.kind == "average"]
    named = [one for one in evokeds if one.comment == condition]
    if condition is not None and not named:
        names = tagged(condition, [one.comment or "" for one in evokeds])
        named = [one for one in evokeds if one.comment in names]
    if condition is None and len(evokeds) == 1:
        return evokeds[0]
    if len(named) == 1:
        return named[0]
    if condition is not None and not named and condition.isdigit():
        if int(condition) < len(evokeds):
            return evokeds[int(condition)]
    there = ", ".join(f"{k}: {one.comment!r}" for k, one in enumerate(evokeds))
    asked = "no --condition was given" if condition is None else f"--condition {condition!r}"
    problem = "is there more than once" if named else "is not there"
    if condition is None:
        problem = "and there are several"
    raise ValueError(f"{asked} {problem} in {path}; choose one of {there or 'none'}.")


def check_events(options: DataOptions, *, recorded: bool) -> None:
    """Refuse events without a recording or a window, and what goes with events alone."""
    if options.events is None:
        if options.event_id is not None:
            raise ValueError(f"--event-id {options.event_id} goes with --events, a file of events.")
        return
    if not recorded:
        raise ValueError(
            f"--events are times in a recording, and {options.evoked} is none by its name; give "
            "the recording, or leave --events out."
        )
    if options.tmin is None or options.tmax is None or not options.tmin < options.tmax:
        raise ValueError(
            "--events need the window about each, as --tmin -0.05 --tmax 0.05 (s, --tmin first)."
        )
    if options.fmin is not None or options.fmax is not None:
        raise ValueError("--fmin and --fmax are for rhythms, and --events for responses; give one.")


def responses_to(
    recording: Recording, events: NDArray[np.int64], options: DataOptions
) -> tuple[mne.Evoked, list[mne.Evoked]]:
    """Cut the response to each event out of a recording: the average, and each of one trial.

    ``events`` are as `mne.read_events` gives them, by the samples of the recording's file. Those
    too near to the ends, or annotated as bad, are left out with a warning.
    """
    raw, good = recording.raw, recording.good
    chosen = events if options.event_id is None else events[events[:, 2] == options.event_id]
    if not len(chosen):
        there = ", ".join(map(str, np.unique(events[:, 2]))) or "none"
        raise ValueError(
            f"{options.events} holds no event with --event-id {options.event_id}; it has {there}."
        )
    sfreq, tmin, tmax = raw.info["sfreq"], float(options.tmin or 0), float(options.tmax or 0)
    samples = np.sort(chosen[:, 0]) - recording.first_samp
    nearest = np.diff(samples).min(initial=len(raw.times)) / sfreq
    if nearest < tmax - tmin:
        raise ValueError(
            f"two events of {options.events} are {1e3 * nearest:.0f} ms apart, and the window from "
            f"--tmin {tmin:g} to --tmax {tmax:g} s is longer, so that one response would count "
            "twice; give a shorter window, or choose events with --event-id."
        )
    rows = np.c_[samples, np.zeros_like(samples), np.ones_like(samples)]
    bad = np.flatnonzero(np.diff(np.r_[0, ~good, 0].astype(int)))
    starts, stops = bad.reshape(-1, 2).T / sfreq
    raw = raw.copy().set_annotations(mne.Annotations(starts, stops - starts, "BAD_left_out"))
    epochs = mne.Epochs(
        raw, rows, tmin=tmin, tmax=tmax, baseline=options.baseline, preload=True, verbose="error"
    )
    if len(epochs) < len(samples):
        warn(
            f"{len(samples) - len(epochs)} of {len(samples)} events are left out: they are too near"
            " to an end of the recording, or within what is annotated as bad."
        )
    if not len(epochs):
        raise ValueError(f"no event of {options.events} has its window within {options.evoked}.")
    responses = list(epochs.iter_evoked())
    for one, sample in zip(responses, epochs.events[:, 0], strict=True):
        one.comment = f"{sample / sfreq:.3f} s"
    average = epochs.average()
    average.comment = f"{len(epochs)} events"
    return average, responses
