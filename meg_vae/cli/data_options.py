"""What a person says of the data of a command: its files, and how to prepare them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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
