"""A file of evoked responses, of epochs or of a recording, read as evoked responses."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import mne

from meg_vae.cli.recordings import ENDINGS as RECORDING
from meg_vae.cli.recordings import read_recording
from meg_vae.meg.inputs import average

EPOCHS = ("-epo.fif", "_epo.fif", "-epo.fif.gz", "_epo.fif.gz")


def read_responses(path: Path, condition: str | None = None) -> list[mne.Evoked]:
    """Read what a file holds, by the ending that MNE gives such files.

    Parameters
    ----------
    path : Path
        The file.
    condition : str | None
        What will be asked for: tags of events, as "left" of "left/standard" and "left/deviant",
        are one more response of epochs, the average of all that have them.

    Returns
    -------
    evokeds : list of mne.Evoked
        The responses; of epochs the average of each kind of event; a recording as one response of
        one trial, less the mean of each channel, and 0 where it is annotated as bad.
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
    """Find the names that have all tags of a condition, but are not it.

    Parameters
    ----------
    condition : str
        Tags with slashes between, in any order.
    names : iterable of str
        Names, with slashes between their tags.

    Returns
    -------
    names : list of str
        Those that have the tags; none where one is the condition itself.
    """
    names = list(names)
    asked = set(condition.split("/"))
    found = [name for name in names if asked <= set(name.split("/"))]
    return [] if condition in names else found


def choose(evokeds: list[mne.Evoked], condition: str | None, path: Path) -> mne.Evoked:
    """Take the response asked for, by name or by number.

    Parameters
    ----------
    evokeds : list of mne.Evoked
        The responses.
    condition : str | None
        Name or number; None takes the only one.
    path : Path
        The file, for errors.

    Returns
    -------
    evoked : mne.Evoked
        The response.

    Raises
    ------
    ValueError
        If it is not there, or there are several.
    """
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
