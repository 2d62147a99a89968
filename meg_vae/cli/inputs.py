"""Files to MNE objects, prepared for an inverse; each bad file is told by its name."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import mne
import numpy as np
from mne.utils import warn

from meg_vae.cli.preparation import (
    CONTENT,
    DataOptions,
    correct_baseline,
    crop,
    prepare,
    regularize,
)
from meg_vae.cli.responses import (
    RECORDING,
    check_events,
    choose,
    read_recording,
    read_responses,
    responses_to,
    tagged,
)
from meg_vae.meg.arguments import as_covariance, as_forward
from meg_vae.meg.weights import Weights

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")


@dataclass(frozen=True)
class Inputs:
    """What an inverse takes.

    Attributes
    ----------
    evoked : mne.Evoked
        The data, prepared and cropped to the window of interest.
    forward : mne.Forward
        The forward model.
    noise_cov : mne.Covariance
        The noise covariance of single trials.
    epochs : mne.Epochs | None
        The epochs of the response, prepared as it is.
    raw : mne.io.BaseRaw | None
        The recording, where the file holds one; what does not count is annotated as bad.
    good : mne.Evoked | None
        Its good samples as a response.
    bem : mne.bem.ConductorModel | None
        The BEM solution of the forward model.
    trans : mne.Transform | None
        The transform of the forward model.
    weights : ndarray | SourceEstimate | None
        The prior weights of its positions.
    events : list of mne.Evoked
        The response to each event, where there are any; ``evoked`` is their average.
    """

    evoked: mne.Evoked
    forward: mne.Forward
    noise_cov: mne.Covariance
    epochs: mne.BaseEpochs | None = None
    raw: mne.io.BaseRaw | None = None
    good: mne.Evoked | None = None
    bem: mne.bem.ConductorModel | None = None
    trans: mne.Transform | None = None
    weights: Weights = None
    events: Sequence[mne.Evoked] = ()

    @property
    def fitted(self) -> mne.Evoked | mne.io.BaseRaw | list[mne.Evoked]:
        """What an inverse is fitted to: events, a recording as it is, else the response."""
        if self.events:
            return list(self.events)
        return self.evoked if self.raw is None else self.raw

    @property
    def compared(self) -> mne.Evoked:
        """What methods are compared on, all of which take a response."""
        return self.evoked if self.good is None else self.good


def read(path: Path, what: str, reader: Callable[[Path], T]) -> T:
    """Read a file, and name it and what it should hold where it cannot be read."""
    _check_there(path, what)
    try:
        # At a lower level MNE also prints, and warns of the file's name before it looks inside.
        with mne.utils.use_log_level("critical"):
            return reader(path)
    except PermissionError:
        raise
    except Exception as error:  # whatever a parser meets in foreign bytes, the file is at fault
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise ValueError(
            f"{path} does not hold {what}, or is damaged or cut short ({reason})."
        ) from error


def _check_there(path: Path, what: str) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}, which should hold {what}.")


def read_inputs(options: DataOptions) -> Inputs:
    """Read and prepare what an inverse takes."""
    for name, path in options.files.items():  # all of them before the first is read
        _check_there(path, CONTENT[name])
    check_events(options, recorded=options.evoked.name.endswith(RECORDING))
    recording = None
    if options.evoked.name.endswith(RECORDING):
        recording = read(options.evoked, "a recording", read_recording)
        evokeds = [recording.response]
    else:
        reader = partial(read_responses, condition=options.condition)
        evokeds = read(options.evoked, CONTENT["evoked"], reader)
    evoked = choose(evokeds, options.condition, options.evoked)
    noise_cov = read(options.noise_cov, CONTENT["noise_cov"], as_covariance)
    forward = read(options.forward, CONTENT["forward"], as_forward)
    known = forward["sol"]["row_names"]
    prepare(evoked if recording is None else recording.raw, options, known)
    events: list[mne.Evoked] = []
    if recording is not None and options.events is not None:
        times = read(options.events, CONTENT["events"], mne.read_events)
        evoked, events = responses_to(recording, times, options)
        recording = None
    if recording is not None:
        evoked = recording.response
    if options.baseline is not None and not events:
        correct_baseline(evoked, *options.baseline, recorded=recording is not None)
    if not events:
        crop(evoked, options.tmin, options.tmax)
    raw, good = (None, None) if recording is None else recording.in_window(evoked)
    if good is not None and len(good.times) < len(evoked.times):
        warn(
            f"{len(evoked.times) - len(good.times)} of {len(evoked.times)} samples of "
            f"{options.evoked.name} are annotated as bad and left out; pictures show 0 there."
        )
    if options.reg:
        noise_cov = regularize(noise_cov, evoked.info, options.reg, known)
    bem = _optional(options.bem, "bem", mne.read_bem_solution)
    trans = _optional(options.trans, "trans", mne.read_trans)
    weights = _optional(options.weights, "weights", read_weights)
    own = _epochs(options), raw, good, bem, trans, weights, events
    return Inputs(evoked, forward, noise_cov, *own)


def read_weights(path: Path) -> Weights:
    """Read prior weights: an array of NumPy (``.npy``), or a source estimate of MNE."""
    if path.suffix == ".npy":
        return np.load(path, allow_pickle=False)
    return mne.read_source_estimate(str(path))


def _optional(path: Path | None, name: str, reader: Callable[[Path], T]) -> T | None:
    """Read a file that need not be given."""
    return None if path is None else read(path, CONTENT[name], reader)


def _epochs(options: DataOptions) -> mne.BaseEpochs | None:
    """Read the epochs and prepare them as their average was; `compare` takes their window."""
    if options.epochs is None:
        return None
    epochs = read(options.epochs, CONTENT["epochs"], mne.read_epochs)
    epochs.load_data()
    condition = options.condition
    if condition in epochs.event_id or condition and tagged(condition, epochs.event_id):
        epochs = epochs[options.condition]
    if options.lowpass is not None:
        epochs.filter(None, options.lowpass)
    if options.baseline is not None:
        epochs.apply_baseline(options.baseline)
    return epochs
