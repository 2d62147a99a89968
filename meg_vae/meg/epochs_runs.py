"""The epochs of a bootstrap, run by run: checked against the fit, and whitened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mne
import numpy as np
from mne.utils import warn
from numpy.typing import NDArray

from meg_vae.meg.arguments import as_covariance, as_forward
from meg_vae.meg.data import EvokedData
from meg_vae.meg.field import ContinuousField
from meg_vae.meg.leadfield import LeadField, make_leadfield
from meg_vae.meg.registration import motion_prior
from meg_vae.meg.runs import naming_run, of_each
from meg_vae.meg.weights import check_same_positions

if TYPE_CHECKING:
    from meg_vae.meg.fitted import FittedInverse


@dataclass(frozen=True)
class EpochsRun:
    """Epochs of one run.

    Attributes
    ----------
    leadfield : LeadField
        The whitened lead field.
    field : ContinuousField | None
        It as a function of place, where places are free.
    times : ndarray, shape (n_times,)
        Of the epochs, s.
    whitened : ndarray, shape (n_epochs, rank, n_times)
        The epochs, for the noise of their average.
    own : ndarray, shape (n_sources, n_orient, n_times)
        Activity of the fit's sources in the average, A·m.
    """

    leadfield: LeadField
    field: ContinuousField | None
    times: NDArray[np.float64]
    whitened: NDArray[np.float64]
    own: NDArray[np.float64]


def epochs_of_runs(
    inverse: FittedInverse, epochs: Any, forward: Any, noise_cov: Any
) -> list[tuple[Any, Any, Any]]:
    """Sort what a bootstrap is given by the runs of the fit, and check the epochs.

    Parameters
    ----------
    inverse : FittedInverse
        The fit.
    epochs, forward, noise_cov : object | list
        As for `VAEInverse.bootstrap`.

    Returns
    -------
    given : list of tuple
        Epochs, forward model and covariance of each run.

    Raises
    ------
    ValueError
        If there are not as many as runs, fewer than two epochs, or other times than in the fit.

    Warns
    -----
    RuntimeWarning
        If the fit averaged another number of epochs.
    """
    n = len(inverse.filters_)
    if n == 1 and not isinstance(epochs, (list, tuple)):
        given = [(epochs, forward, noise_cov)]
    else:
        for name, value in (("epochs", epochs), ("forward", forward)):
            listed = isinstance(value, (list, tuple))
            if not listed or len(value) != n:
                holds = str(len(value)) if listed else f"no list, but {type(value).__name__}"
                raise ValueError(
                    f"this inverse was fitted to {n} run{'s' if n > 1 else ''}, and {name} holds "
                    f"{holds}; give one of each run, as bootstrap([epochs1, epochs2], [forward1, "
                    "forward2], noise_cov)."
                )
        given = list(zip(epochs, forward, of_each("noise_cov", noise_cov, n), strict=True))
    for k, (one, *_) in enumerate(given):
        with naming_run(k, n):
            _check_epochs(one, inverse._responses[k] if inverse._responses else [])
        if inverse.filters_[k].nave != len(one):
            warn(f"the fit averaged {inverse.filters_[k].nave:g} epochs, and these are {len(one)}.")
    return given


def prepare_epochs(
    inverse: FittedInverse,
    run: int,
    epochs: Any,
    forward: Any,
    noise_cov: Any,
    bem: Any,
    trans: Any,
) -> EpochsRun:
    """Check epochs against a run of the fit, and whiten them.

    Parameters
    ----------
    inverse : FittedInverse
        The fit.
    run : int
        Number of the run, from 0.
    epochs, forward, noise_cov, bem, trans : object
        As for `VAEInverse.bootstrap`, of that run.

    Returns
    -------
    run : EpochsRun
        Ready to be resampled.

    Raises
    ------
    ValueError
        If they do not fit together.
    """
    filter_, free = inverse.filters_[run], inverse.positions == "free"
    responses = inverse._responses[run] if inverse._responses else []
    data = epochs.get_data(copy=False)
    own_picks = filter_.sensors.pick(epochs.info, "epochs")
    filter_.sensors.check_values(np.concatenate(data[:, own_picks], 1), "epochs")
    leadfield = make_leadfield(
        as_forward(forward),
        mne.pick_info(epochs.info, own_picks, verbose="error"),
        inverse.background_[run].beside(as_covariance(noise_cov)),
        nave=len(data),
        loose=1.0 if free else inverse.loose,
        rank=inverse.rank,
        data=EvokedData(responses) if responses else None,
    )
    if len(filter_.whitener) < len(leadfield.Phi):
        leadfield = leadfield.reduced(len(filter_.whitener))
    check_same_positions(inverse.position_weights_, leadfield.n_positions)
    picks = [epochs.ch_names.index(name) for name in leadfield.ch_names]
    return EpochsRun(
        leadfield=leadfield,
        field=_field(inverse, leadfield, epochs.info, bem, trans) if free else None,
        times=epochs.times,
        whitened=np.einsum("rd,edt->ert", leadfield.whitener, data[:, picks]),
        own=filter_.activity(epochs.average(picks=leadfield.ch_names)),
    )


def _field(
    inverse: FittedInverse, leadfield: LeadField, info: mne.Info, bem: Any, trans: Any
) -> ContinuousField:
    """Give the field between the positions, which may move where it did in the fit."""
    moved = inverse.registration_covariance_.any()
    motion = motion_prior(inverse.registration, leadfield.forward) if moved else None
    return ContinuousField(leadfield, info, bem, trans, motion)


def _check_epochs(epochs: mne.BaseEpochs, responses: list[mne.Evoked]) -> None:
    """Refuse what cannot be resampled, or was not fitted."""
    if not isinstance(epochs, mne.BaseEpochs):
        raise TypeError(f"epochs must be mne.Epochs, got {type(epochs).__name__}.")
    n = len(epochs.get_data(copy=False))
    if n < 2:
        raise ValueError(
            f"epochs holds {n} epoch{'' if n == 1 else 's'}, and there is nothing "
            "to resample in fewer than two; give the epochs before they are averaged."
        )
    if len(responses) > 1:
        raise ValueError(
            f"this inverse was fitted to {len(responses)} responses; fit the average of epochs."
        )
    if responses:
        times = responses[0].times
        same = len(times) == len(epochs.times) and np.allclose(times, epochs.times, atol=1e-6)
        if not same:
            raise ValueError(
                f"epochs run from {epochs.times[0]:g} to {epochs.times[-1]:g} s "
                f"({len(epochs.times)} samples), and the fit from {times[0]:g} to {times[-1]:g} s "
                f"({len(times)} samples); crop the epochs to the fit."
            )
