"""Events in a recording, such as spikes: each a response of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mne
import numpy as np
from mne.utils import warn
from numpy.typing import NDArray

if TYPE_CHECKING:
    from meg_vae.cli.data_options import DataOptions
    from meg_vae.cli.recordings import Recording


def check_events(options: DataOptions, *, recorded: bool) -> None:
    """Refuse events without a recording or a window, and what goes with events alone.

    Parameters
    ----------
    options : DataOptions
        The options.
    recorded : bool
        Whether the data are a recording.

    Raises
    ------
    ValueError
        If they do not fit together.
    """
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
    """Cut the response to each event out of a recording.

    Parameters
    ----------
    recording : Recording
        The recording, prepared.
    events : ndarray of int, shape (n_events, 3)
        As `mne.read_events` gives them, by the samples of the recording's file.
    options : DataOptions
        Which events, the window about them and the baseline.

    Returns
    -------
    average : mne.Evoked
        The average of all.
    responses : list of mne.Evoked
        The response to each, of one trial, named by its time in the recording.

    Raises
    ------
    ValueError
        If there is no such event, or two are nearer than the window.

    Warns
    -----
    RuntimeWarning
        If events are left out that are too near to the ends or annotated as bad.
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
