"""What a fit may be given, checked and brought into one shape."""

from __future__ import annotations

import mne
from mne.time_frequency import AverageTFR, CrossSpectralDensity, EpochsTFR

from meg_vae.meg.arguments import kinds
from meg_vae.meg.channels import check_real, known_channels
from meg_vae.meg.data import CovarianceData, EvokedData, FitData, RawData
from meg_vae.meg.recording import recording_covariance

Instance = (
    mne.Evoked
    | list[mne.Evoked]
    | mne.BaseEpochs
    | mne.io.BaseRaw
    | mne.Covariance
    | CrossSpectralDensity
    | EpochsTFR
    | AverageTFR
)


def fit_data(data: Instance, info: mne.Info | None) -> FitData:
    """Check the data of a fit.

    Parameters
    ----------
    data : mne.Evoked | list of mne.Evoked | mne.Epochs | mne.io.Raw | mne.Covariance
        The data.
    info : mne.Info | None
        Measurement info of a covariance; None for all others, which bring theirs.

    Returns
    -------
    data : FitData
        Ready to be whitened.

    Raises
    ------
    TypeError
        If the data are of another type.
    ValueError
        If they are empty, or do not fit together.
    """
    if isinstance(data, mne.Covariance):
        return _covariance(data, info)
    if info is not None:
        raise ValueError(
            "info goes with a covariance alone; evoked, epochs and raw have their own."
        )
    if isinstance(data, mne.io.BaseRaw):
        return RawData(recording_covariance(data), data.info, data)
    if isinstance(data, mne.BaseEpochs):
        return EvokedData([average(data)])
    return EvokedData([one.copy() for one in _responses(data)])


def average(epochs: mne.BaseEpochs) -> mne.Evoked:
    """Average epochs, of which there must be one.

    Parameters
    ----------
    epochs : mne.Epochs
        Single trials.

    Returns
    -------
    evoked : mne.Evoked
        All channels; its ``nave`` is the number of epochs.

    Raises
    ------
    ValueError
        If there is no epoch.
    """
    try:
        n_epochs = len(epochs)
    except RuntimeError:  # bad ones are not dropped yet, and how many are good is not known
        epochs = epochs.copy().drop_bad(verbose="error")
        n_epochs = len(epochs)
    if n_epochs == 0:
        raise no_epochs()
    return epochs.average(picks="all")


def no_epochs() -> ValueError:
    """Tell that there is no epoch.

    Returns
    -------
    error : ValueError
        To be raised.
    """
    return ValueError(
        "epochs is empty: no trial was kept. Check the events, and why epochs were dropped "
        "(epochs.plot_drop_log)."
    )


def _covariance(cov: mne.Covariance, info: mne.Info | None) -> CovarianceData:
    if info is None:
        raise ValueError(
            "info is needed with a covariance, which does not know its sensors: give that of the "
            "recording, as fit(cov, forward, noise_cov, info=raw.info)."
        )
    if cov["nfree"] <= 0:
        raise ValueError(
            f"data covariance has nfree={cov['nfree']}, and should say from how many samples it "
            "was computed; set cov['nfree']."
        )
    check_real(cov.data, "data covariance")
    return CovarianceData(cov, known_channels(cov.ch_names, cov["bads"], info, "data covariance"))


def _responses(data: mne.Evoked | list[mne.Evoked]) -> list[mne.Evoked]:
    """Check evoked responses and give them as a list."""
    responses = list(data) if isinstance(data, (list, tuple)) else [data]
    if not responses or not all(isinstance(one, mne.Evoked) for one in responses):
        raise TypeError(
            "data must be an mne.Evoked, a list of them, mne.Epochs, mne.io.Raw, an "
            "mne.Covariance, a CrossSpectralDensity or a complex EpochsTFR or AverageTFR, got "
            f"{kinds(data)}."
        )
    first = responses[0]
    for one in responses:
        if not one.nave >= 1:
            raise ValueError(
                f"evoked.nave={one.nave} of {one.comment!r} must be at least 1; "
                "set it to the number of averages."
            )
        if one.kind != "average":
            raise ValueError(
                f"evoked {one.comment!r} is a {one.kind.replace('_', ' ')}, and an average is "
                "needed; choose another response of the file."
            )
        check_real(one.data, f"evoked {one.comment!r}")
        if len(one.times) == 0:
            raise ValueError(f"evoked {one.comment!r} has no time point; widen the time window.")
        if one.ch_names != first.ch_names or one.info["bads"] != first.info["bads"]:
            raise ValueError(
                f"evoked {one.comment!r} has other channels, bad channels or another order than "
                f"{first.comment!r}; make them equal (mne.equalize_channels, info['bads'])."
            )
    return responses
