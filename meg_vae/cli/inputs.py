"""Files to MNE objects, prepared for an inverse; each bad file is told by its name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import mne
import numpy as np

from meg_vae.cli.responses import choose, read_responses

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

CONTENT = {
    "evoked": "evoked responses",
    "forward": "a forward solution",
    "noise_cov": "a noise covariance",
    "epochs": "epochs",
    "bem": "a BEM solution",
    "trans": "a transform between head and MRI",
}


@dataclass(frozen=True)
class DataOptions:
    """Which files to read, and how to prepare the data.

    Attributes
    ----------
    evoked, forward, noise_cov : Path
        The files; the first may hold epochs or a recording too, as its name says.
    condition : str | None
        Name or number of the response; None takes the only one.
    tmin, tmax : float | None
        Window of interest in s; None: from the start, to the end.
    bads : sequence of str
        Channels to mark bad, besides those marked in the file.
    baseline : tuple of float | None
        Baseline to correct for, in s.
    lowpass : float | None
        Low-pass filter in Hz.
    reg : float
        Regularization of the noise covariance, for every channel type.
    epochs : Path | None
        File of the epochs that the response is the average of.
    bem, trans : Path | None
        Files that the forward solution was computed with.
    """

    evoked: Path
    forward: Path
    noise_cov: Path
    condition: str | None = None
    tmin: float | None = None
    tmax: float | None = None
    bads: Sequence[str] = ()
    baseline: tuple[float, float] | None = None
    lowpass: float | None = None
    reg: float = 0.0
    epochs: Path | None = None
    bem: Path | None = None
    trans: Path | None = None

    @property
    def files(self) -> dict[str, Path]:
        """The files, by what they should hold."""
        named = {name: getattr(self, name) for name in CONTENT}
        return {name: path for name, path in named.items() if path is not None}

    @property
    def preparation(self) -> dict[str, object]:
        """What is done to the data, by option."""
        return {name: value for name, value in vars(self).items() if name not in CONTENT}


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
    bem : mne.bem.ConductorModel | None
        The BEM solution of the forward model.
    trans : mne.Transform | None
        The transform of the forward model.
    """

    evoked: mne.Evoked
    forward: mne.Forward
    noise_cov: mne.Covariance
    epochs: mne.BaseEpochs | None = None
    bem: mne.bem.ConductorModel | None = None
    trans: mne.Transform | None = None


def read(path: Path, what: str, reader: Callable[[Path], T]) -> T:
    """Read a file, and name it where it cannot be read.

    Parameters
    ----------
    path : Path
        The file.
    what : str
        What it should hold.
    reader : callable
        Reads it.

    Returns
    -------
    content : object
        What the reader gives.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged, or holds something else.
    """
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
    """Read and prepare what an inverse takes.

    Parameters
    ----------
    options : DataOptions
        The files, and how to prepare the data.

    Returns
    -------
    inputs : Inputs
        Ready for an inverse.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a file or an option cannot be used.
    """
    for name, path in options.files.items():  # all of them before the first is read
        _check_there(path, CONTENT[name])
    evokeds = read(options.evoked, CONTENT["evoked"], read_responses)
    evoked = choose(evokeds, options.condition, options.evoked)
    unknown = [name for name in options.bads if name not in evoked.ch_names]
    if unknown:
        raise ValueError(f"--bad {unknown[0]!r} is no channel of {options.evoked}.")
    evoked.info["bads"] = list(dict.fromkeys([*evoked.info["bads"], *options.bads]))
    _check_finite(evoked)
    if options.lowpass is not None:
        _filter(evoked, options.lowpass)
    if options.baseline is not None:
        _correct_baseline(evoked, *options.baseline)
    _crop(evoked, options.tmin, options.tmax)
    noise_cov = read(options.noise_cov, CONTENT["noise_cov"], mne.read_cov)
    forward = read(options.forward, CONTENT["forward"], mne.read_forward_solution)
    if options.reg:
        noise_cov = _regularize(noise_cov, evoked.info, options.reg)
    bem = _optional(options.bem, "bem", mne.read_bem_solution)
    trans = _optional(options.trans, "trans", mne.read_trans)
    return Inputs(evoked, forward, noise_cov, _epochs(options), bem, trans)


def _optional(path: Path | None, name: str, reader: Callable[[Path], T]) -> T | None:
    """Read a file that need not be given."""
    return None if path is None else read(path, CONTENT[name], reader)


def _epochs(options: DataOptions) -> mne.BaseEpochs | None:
    """Read the epochs and prepare them as their average was; `compare` takes their window."""
    if options.epochs is None:
        return None
    epochs = read(options.epochs, CONTENT["epochs"], mne.read_epochs)
    epochs.load_data()
    if options.condition is not None and options.condition in epochs.event_id:
        epochs = epochs[options.condition]
    if options.lowpass is not None:
        epochs.filter(None, options.lowpass)
    if options.baseline is not None:
        epochs.apply_baseline(options.baseline)
    return epochs


def _check_finite(evoked: mne.Evoked) -> None:
    """Find values that are not numbers before a filter spreads them."""
    good = mne.pick_types(evoked.info, meg=True, eeg=True, ref_meg=False)
    broken = [evoked.ch_names[k] for k in good if not np.isfinite(evoked.data[k]).all()]
    if broken:
        names = ", ".join(broken[:3]) + (", ..." if len(broken) > 3 else "")
        raise ValueError(
            f"the data have NaN or infinite values in {len(broken)} good channels ({names}); "
            "mark them bad with --bad."
        )


def _filter(evoked: mne.Evoked, lowpass: float) -> None:
    nyquist = evoked.info["sfreq"] / 2
    if not 0 < lowpass < nyquist:
        raise ValueError(
            f"--lowpass {lowpass:g} must be above 0 and below {nyquist:g} Hz, half the sampling "
            "frequency."
        )
    evoked.filter(None, lowpass)


def _correct_baseline(evoked: mne.Evoked, start: float, stop: float) -> None:
    times, half = evoked.times, 0.5 / evoked.info["sfreq"]
    if not times[0] - half <= start <= stop <= times[-1] + half:
        raise ValueError(
            f"--baseline {start:g} {stop:g} must go forward in time within the data, "
            f"{times[0]:g} to {times[-1]:g} s."
        )
    evoked.apply_baseline((start, stop))


def _crop(evoked: mne.Evoked, tmin: float | None, tmax: float | None) -> None:
    """Crop to a window that holds at least one sample."""
    times, half = evoked.times, 0.5 / evoked.info["sfreq"]
    first = times[0] if tmin is None else tmin
    last = times[-1] if tmax is None else tmax
    inside = times[(times >= first - half) & (times <= last + half)]
    if first > last or not len(inside):
        raise ValueError(
            f"the window from --tmin {first:g} to --tmax {last:g} s holds no sample; "
            f"{evoked.comment!r} runs from {times[0]:g} to {times[-1]:g} s."
        )
    evoked.crop(inside[0], inside[-1])


def _regularize(noise_cov: mne.Covariance, info: mne.Info, reg: float) -> mne.Covariance:
    """Regularize on the channels of the data, each type by itself."""
    if not 0 <= reg <= 1:
        raise ValueError(f"--reg {reg:g} must be a number from 0 to 1.")
    if not np.isfinite(noise_cov.data).all():
        raise ValueError("the noise covariance has NaN or infinite entries; recompute it.")
    common = [name for name in info["ch_names"] if name in noise_cov.ch_names]
    noise_cov = noise_cov.copy().pick_channels(common, ordered=True, verbose="error")
    return mne.cov.regularize(noise_cov, info, mag=reg, grad=reg, eeg=reg, verbose="error")
