"""Options that several commands share, with their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

EvokedFile = Annotated[
    Path,
    Argument(
        metavar="X-ave.fif",
        help="Evoked responses; X-epo.fif: averages of epochs, X_raw.fif: a recording.",
    ),
]
ForwardFile = Annotated[Path, Argument(metavar="X-fwd.fif", help="Forward solution.")]
CovFile = Annotated[Path, Argument(metavar="X-cov.fif", help="Noise covariance of single trials.")]
Out = Annotated[Path, Option("--out", "-o", help="Folder to write.")]
Overwrite = Annotated[
    bool, Option("--overwrite", help="Replace what an earlier run wrote, once the new is whole.")
]
Condition = Annotated[
    str | None,
    Option(
        metavar="NAME",
        help="Name, tag or number of the response; needed if there are several.",
    ),
]
Tmin = Annotated[float | None, Option(help="Start of the window in s; else that of the data.")]
Tmax = Annotated[float | None, Option(help="End of the window in s; else that of the data.")]
Bad = Annotated[
    list[str] | None,
    Option("--bad", metavar="NAME", help="A channel to mark bad; may be given several times."),
]
Baseline = Annotated[
    tuple[float, float] | None,
    Option(metavar="FROM TO", help="Subtract the mean of this interval, in s."),
]
Lowpass = Annotated[float | None, Option(help="Low-pass filter in Hz.")]
Fmin = Annotated[
    float | None, Option(help="A rhythm of a recording: from this frequency on, in Hz.")
]
Fmax = Annotated[float | None, Option(help="A rhythm of a recording: up to this frequency, in Hz.")]
Reg = Annotated[
    float, Option(help="Regularize the noise covariance by this share of its power, 0 to 1.")
]
Positions = Annotated[
    str, Option(help="Sources lie between the positions too (free), or at these alone (grid).")
]
Bem = Annotated[
    Path | None,
    Option(
        metavar="X-bem-sol.fif",
        help="BEM solution of the forward solution, to compute fields between the positions.",
    ),
]
Trans = Annotated[
    Path | None, Option(metavar="X-trans.fif", help="Head to MRI transform; goes with --bem.")
]
Weights = Annotated[
    Path | None,
    Option(
        metavar="X.npy|X.stc|X.h5",
        help="Prior weights: log odds of a source at each position of the forward solution, "
        "in nats, as an array or an estimate of one time; -inf excludes a position.",
    ),
]
Loose = Annotated[
    str,
    Option(help="Weight of dipoles across the cortical normal: 0 (fixed) to 1 (free), or auto."),
]
Rank = Annotated[
    str | None,
    Option(
        metavar="info|full|NUMBER|KIND=NUMBER,...",
        help="Rank of the data, as 72 or meg=72,eeg=59; else the smallest that all support.",
    ),
]
Extent = Annotated[
    str,
    Option(
        metavar="learn|point|MM",
        help="How large sources are along the cortex: learn it, all points, or a radius for all.",
    ),
]
Events = Annotated[
    Path | None,
    Option(help="Events in a recording, as spikes-eve.fif: each is a response of its own."),
]
EventId = Annotated[int | None, Option(help="Which of the events; all without it.")]
NoiseAutocorrelation = Annotated[
    str,
    Option(
        metavar="learn|white",
        help="How the noise of a response goes on in time: learn it, or take it for white.",
    ),
]
Spans = Annotated[
    str,
    Option(
        metavar="learn|whole",
        help="When sources are active: learn a span of each, or take the whole window for all.",
    ),
]
LeadFieldError = Annotated[
    float,
    Option(
        metavar="SHARE",
        help="Share by which lead fields may be wrong; 0 takes the forward model at its word.",
    ),
]
Registration = Annotated[
    str,
    Option(
        metavar="auto|learn|none|MM,DEGREES",
        help="Whether the head may lie elsewhere in the helmet: learn it, take it as given, learn "
        "it where the data ask for it, or give standard deviations, as 4,3.",
    ),
]
Subject = Annotated[
    str | None, Option(help="Subject to draw on; else the one the source space names.")
]
SubjectsDir = Annotated[
    Path | None,
    Option(
        help="FreeSurfer folder, for pictures and regions; else SUBJECTS_DIR.",
        exists=True,
        file_okay=False,
    ),
]
Verbose = Annotated[bool, Option("--verbose", help="Log what is done; on an error, show where.")]


def number(text: str) -> float | str:
    """Take an option as a number if it is one; words are checked where they are used."""
    try:
        return float(text)
    except ValueError:
        return text


def registration(text: str) -> str | tuple[float, ...] | None:
    """Take a registration as numbers, if it is that; the rest is checked where it is used."""
    if text == "none":
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        return text


def rank(text: str | None) -> str | int | dict[str, int] | None:
    """Take a rank as a number, or as numbers by kind of channel, if it is that."""
    if text is None:
        return None
    pairs = [part.partition("=") for part in text.split(",")]
    try:
        if all(equal for _, equal, _ in pairs):
            return {kind.strip(): int(value) for kind, _, value in pairs}
        return int(text)
    except ValueError:
        return text
