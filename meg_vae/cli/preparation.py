"""What a person says of the data of a command, and how they are prepared by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mne
import numpy as np

from meg_vae.meg.channels import check_covariance

CONTENT = {
    "evoked": "evoked responses",
    "forward": "a forward solution",
    "noise_cov": "a noise covariance",
    "epochs": "epochs",
    "bem": "a BEM solution",
    "trans": "a transform between head and MRI",
    "weights": "prior weights",
    "events": "events",
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
    fmin, fmax : float | None
        Band of a rhythm in a recording, in Hz.
    events : Path | None
        File of events in a recording, each of which is a response.
    event_id : int | None
        Which of them; None takes all.
    reg : float
        Regularization of the noise covariance, for every channel type.
    epochs : Path | None
        File of the epochs that the response is the average of.
    bem, trans : Path | None
        Files that the forward solution was computed with.
    weights : Path | None
        File of the prior weights of the positions.
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
    weights: Path | None = None
    fmin: float | None = None
    fmax: float | None = None
    events: Path | None = None
    event_id: int | None = None

    @property
    def files(self) -> dict[str, Path]:
        """The files, by what they should hold."""
        named = {name: getattr(self, name) for name in CONTENT}
        return {name: path for name, path in named.items() if path is not None}

    @property
    def preparation(self) -> dict[str, object]:
        """What is done to the data, by option."""
        return {name: value for name, value in vars(self).items() if name not in CONTENT}


def prepare(inst: mne.Evoked | mne.io.BaseRaw, options: DataOptions, known: Sequence[str]) -> None:
    """Mark channels bad and filter, in place; ``known`` are the channels of the forward model."""
    unknown = [name for name in options.bads if name not in inst.ch_names]
    if unknown:
        raise ValueError(f"--bad {unknown[0]!r} is no channel of {options.evoked}.")
    inst.info["bads"] = list(dict.fromkeys([*inst.info["bads"], *options.bads]))
    _check_finite(inst, known)
    if options.lowpass is not None:
        _filter(inst, options.lowpass)
    if (options.fmin, options.fmax) != (None, None):
        _band(inst, options)


def correct_baseline(evoked: mne.Evoked, start: float, stop: float, *, recorded: bool) -> None:
    """Subtract the mean of an interval (s) from a response, in place; a recording has none."""
    if recorded:
        raise ValueError(
            "--baseline is for responses; a recording counts without the mean of each channel."
        )
    times, half = evoked.times, 0.5 / evoked.info["sfreq"]
    if not times[0] - half <= start <= stop <= times[-1] + half:
        raise ValueError(
            f"--baseline {start:g} {stop:g} must go forward in time within the data, "
            f"{times[0]:g} to {times[-1]:g} s."
        )
    evoked.apply_baseline((start, stop))


def crop(evoked: mne.Evoked, tmin: float | None, tmax: float | None) -> None:
    """Crop a response to a window (s) that holds at least one sample, in place."""
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


def regularize(
    noise_cov: mne.Covariance, info: mne.Info, reg: float, known: Sequence[str]
) -> mne.Covariance:
    """Regularize on the channels of the data that the forward model knows, each type by itself.

    ``reg`` is a share of the power, from 0 to 1.
    """
    if not 0 <= reg <= 1:
        raise ValueError(f"--reg {reg:g} must be a number from 0 to 1.")
    common = [name for name in info["ch_names"] if name in noise_cov.ch_names and name in known]
    noise_cov = noise_cov.copy().pick_channels(common, ordered=True, verbose="error")
    if noise_cov["diag"]:  # MNE regularizes matrices alone
        noise_cov.update(data=np.diag(noise_cov.data), diag=False)
    check_covariance(noise_cov, [name for name in common if name not in info["bads"]])
    noise_cov["data"] = np.where(np.isfinite(noise_cov.data), noise_cov.data, 0.0)  # of bad ones
    bads = {*noise_cov["bads"], *info["bads"]}  # MNE counts the rank of those in info alone
    noise_cov["bads"] = [name for name in common if name in bads]
    return mne.cov.regularize(noise_cov, info, mag=reg, grad=reg, eeg=reg, verbose="error")


def _check_finite(inst: mne.Evoked | mne.io.BaseRaw, known: Sequence[str]) -> None:
    """Find values that are not numbers, in channels that count, before a filter spreads them."""
    good = [inst.ch_names[k] for k in mne.pick_types(inst.info, meg=True, eeg=True)]
    used = [name for name in good if name in known]
    rows = inst.get_data(used) if used else []
    broken = [name for name, row in zip(used, rows, strict=True) if not np.isfinite(row).all()]
    if broken:
        names = ", ".join(broken[:3]) + (", ..." if len(broken) > 3 else "")
        raise ValueError(
            f"the data have NaN or infinite values in {len(broken)} good channels ({names}); "
            "mark them bad with --bad."
        )


def _band(inst: mne.Evoked | mne.io.BaseRaw, options: DataOptions) -> None:
    """Leave the band of a rhythm in a recording."""
    given = {"--fmin": options.fmin, "--fmax": options.fmax}
    asked = " ".join(f"{name} {value:g}" for name, value in given.items() if value is not None)
    if isinstance(inst, mne.Evoked):
        raise ValueError(
            f"{asked} is for a recording (X_raw.fif): an average holds no rhythm that goes on with "
            "phases of its own."
        )
    if options.lowpass is not None:
        raise ValueError(f"{asked} and --lowpass both say which frequencies to keep; give one.")
    nyquist = inst.info["sfreq"] / 2
    end = min(nyquist, inst.info["lowpass"] or nyquist)
    low, high = options.fmin or 0.0, nyquist if options.fmax is None else options.fmax
    beyond = options.fmax is not None and high >= nyquist
    if not 0 <= low < min(high, end) or beyond:
        raise ValueError(
            f"{asked} must be a band from 0 to below {end:g} Hz, where the recording ends."
        )
    inst.filter(options.fmin, options.fmax)


def _filter(inst: mne.Evoked | mne.io.BaseRaw, lowpass: float) -> None:
    nyquist = inst.info["sfreq"] / 2
    if not 0 < lowpass < nyquist:
        raise ValueError(
            f"--lowpass {lowpass:g} must be above 0 and below {nyquist:g} Hz, half the sampling "
            "frequency."
        )
    inst.filter(None, lowpass)
