"""What a user hands over in the place of a forward model or a covariance, checked and read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mne

from meg_vae.meg.orientation import own_gain

ORDER = "the order is (evoked, forward, noise_cov)"
OTHERS = {  # by how the names of methods begin
    "ap": "apply is for evoked responses, apply_epochs, apply_raw, apply_cov, apply_csd and "
    "apply_tfr for the others",
    "to": "to_evoked, to_epochs and to_raw are for these, apply_tfr for a complex TFR",
}
RUNS = "VAEInverse().fit([run1, run2], [forward1, forward2], noise_cov)"


def as_forward(forward: Any) -> mne.Forward:
    """Take a forward model, or read it.

    Parameters
    ----------
    forward : mne.Forward | path-like
        The forward model, or a file that holds one.

    Returns
    -------
    forward : mne.Forward
        The forward model, with the gain that is in ``forward["sol"]``.

    Raises
    ------
    TypeError
        If it is anything else.
    ValueError
        If its gain has another shape than its channels and positions.
    """
    if isinstance(forward, (str, Path)):
        forward = _read(forward, "forward", mne.read_forward_solution)
    if isinstance(forward, mne.Forward):
        return own_gain(forward)
    hint = ORDER
    if isinstance(forward, mne.minimum_norm.InverseOperator):
        hint = "give the forward model that this operator was made of"
    elif isinstance(forward, (list, tuple)):
        hint = f"one is needed here; for runs of several head positions it is {RUNS}"
    raise TypeError(
        f"forward must be an mne.Forward or the name of its file, got {_kind(forward)}; {hint}."
    )


def as_covariance(cov: Any, name: str = "noise_cov") -> mne.Covariance:
    """Take a covariance, or read it.

    Parameters
    ----------
    cov : mne.Covariance | path-like
        The covariance, or a file that holds one.
    name : str
        What to call it in an error.

    Returns
    -------
    cov : mne.Covariance
        The covariance.

    Raises
    ------
    TypeError
        If it is anything else.
    """
    if isinstance(cov, (str, Path)):
        cov = _read(cov, name, mne.read_cov)
    if isinstance(cov, mne.Covariance):
        if not cov.data.dtype.isnative:  # a diagonal one from a file, which MNE cannot whiten by
            cov = cov.copy()
            cov["data"] = cov.data.astype(cov.data.dtype.newbyteorder("="))
        return cov
    hint = ORDER
    if isinstance(cov, (list, tuple)):
        hint = (
            "choose one: of those that compute_covariance gives with return_estimators=True the "
            "first is the best"
        )
    raise TypeError(
        f"{name} must be one mne.Covariance or the name of its file, got {_kind(cov)}; {hint}."
    )


def kinds(data: Any) -> str:
    """Say of what type an argument is, with a hint of what to do.

    Parameters
    ----------
    data : object
        What was given in the place of data.

    Returns
    -------
    text : str
        Such as "list of EpochsArray".
    """
    if isinstance(data, (str, Path)):
        return f"{_kind(data)} ({str(data)!r}; read it with mne.read_evokeds, read_epochs or io)"
    if isinstance(data, (mne.Forward, mne.minimum_norm.InverseOperator)):
        return f"{_kind(data)}; {ORDER}"
    return _kind(data)


def check_kind(data: Any, kind: type | tuple[type, ...], name: str, verb: str) -> None:
    """Refuse data that another verb takes.

    Parameters
    ----------
    data : object
        What was given.
    kind : type | tuple of type
        What it must be.
    name : str
        Name of the argument.
    verb : str
        Name of the method.

    Raises
    ------
    TypeError
        If it is anything else.
    """
    if not isinstance(data, kind):
        every = kind if isinstance(kind, tuple) else (kind,)
        named = " or ".join(f"mne.{one.__name__.removeprefix('Base')}" for one in every)
        raise TypeError(
            f"{verb} takes {name}, an {named}, and got {type(data).__name__}; {OTHERS[verb[:2]]}."
        )


def _kind(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        inside = ", ".join(sorted({type(one).__name__ for one in value})) or "nothing"
        return f"a list of {inside}"
    return type(value).__name__


def _read(fname: str | Path, name: str, reader: Callable[..., Any]) -> Any:
    path = Path(fname).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"{name}={str(fname)!r}: there is no such file.")
    return reader(path)
