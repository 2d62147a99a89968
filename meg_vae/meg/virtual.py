"""Virtual channels: the sources of a fit as channels of MNE, for whatever takes these."""

from __future__ import annotations

import mne
import numpy as np
import pandas as pd
from mne.time_frequency import AverageTFR, AverageTFRArray, EpochsTFR, EpochsTFRArray
from mne.utils import ProgressBar, use_log_level
from numpy.typing import NDArray

from meg_vae.meg.arguments import check_kind
from meg_vae.meg.filter import SourceFilter
from meg_vae.meg.fitted import FittedInverse
from meg_vae.meg.inputs import no_epochs
from meg_vae.meg.source_raw import SourceRaw
from meg_vae.meg.spectral import check_complex
from meg_vae.meg.unmixing import resolution, unmixing

Array = NDArray[np.float64]


def channel_info(filter_: SourceFilter, labels: list[str], info: mne.Info) -> mne.Info:
    """Describe virtual channels.

    Parameters
    ----------
    filter_ : SourceFilter
        The filter of a fit.
    labels : list of str
        Region of each source, "" where it is not known.
    info : mne.Info
        That of the data.

    Returns
    -------
    info : mne.Info
        Dipoles in A·m at the places of the sources, head coordinates; filters and the subject are
        those of the data.
    """
    names = [f"S{k:03d}" + f" {label}" * bool(label) for k, label in enumerate(labels, 1)]
    new = mne.create_info(names, info["sfreq"], "dipole", verbose="error")
    for channel, place in zip(new["chs"], filter_.positions.rr_head, strict=True):
        channel["loc"][:3] = place
    with new._unlock():
        for key in ("lowpass", "highpass", "line_freq", "subject_info", "dev_head_t"):
            new[key] = info[key]
    new.set_meas_date(info["meas_date"])
    new["description"] = "virtual channels of meg_vae"
    return new


class VirtualChannels(FittedInverse):
    """A fitted inverse that gives its sources as channels."""

    def _channels(self, info: mne.Info, name: str) -> tuple[SourceFilter, Array, mne.Info]:
        """Give the filter that suits data, that of the virtual channels, and their info."""
        filter_ = self._filter(info, name)
        labels = self.sources_["label"].fillna("").tolist()
        return filter_, unmixing(filter_), channel_info(filter_, labels, info)

    def leakage(self) -> pd.DataFrame:
        """Measure how much of each source the estimates of `apply` hold of the others.

        Returns
        -------
        leakage : pandas.DataFrame, shape (n_sources, n_sources)
            Part of the activity (columns) that goes into each estimate (rows), along the axes in
            which the sources are strongest: 1 and 0 would be perfect. It is taken out of the
            virtual channels. Of several runs that of the first.

        Raises
        ------
        RuntimeError
            If the inverse is not fitted.
        """
        R = resolution(self._fitted())[1]
        return pd.DataFrame(R, index=self.sources_.index, columns=self.sources_.index)

    def to_evoked(self, evoked: mne.Evoked) -> mne.Evoked:
        """Give the sources in an evoked response as channels.

        Parameters
        ----------
        evoked : mne.Evoked
            Data of the same sensors.

        Returns
        -------
        sources : mne.Evoked
            A channel per source, in the order of ``sources_``: its moment along the axis in which
            it is strongest (A·m, of type "dipole"; positive out of the cortex), without what leaks
            from the other sources. Its name is its number and region, its ``loc`` its place in head
            coordinates.

        Raises
        ------
        RuntimeError
            If the inverse is not fitted.
        TypeError
            If the data are of another type.
        ValueError
            If there is no source, two of them cannot be told apart, or the data were not recorded
            like those of the fit.

        Examples
        --------
        >>> from meg_vae import VAEInverse, datasets
        >>> case = datasets.template_recording(n_sources=2, spacing="ico3", verbose="error")
        >>> inverse = VAEInverse(verbose="error").fit(case.evoked, case.forward, case.noise_cov)
        >>> inverse.to_evoked(case.evoked).get_channel_types()
        ['dipole', 'dipole']
        """
        self._fitted()
        check_kind(evoked, mne.Evoked, "evoked", "to_evoked")
        filter_, W, info = self._channels(evoked.info, "evoked")
        return mne.EvokedArray(
            W @ filter_.data(evoked),
            info,
            evoked.times[0],
            evoked.comment,
            evoked.nave,
            baseline=evoked.baseline,
            verbose="error",
        )

    def to_epochs(self, epochs: mne.BaseEpochs) -> mne.EpochsArray:
        """Give the sources in single trials as channels.

        Parameters
        ----------
        epochs : mne.Epochs
            Data of the same sensors.

        Returns
        -------
        sources : mne.EpochsArray
            Channels as of `to_evoked`; events, metadata, annotations and times are those of the
            epochs.

        Raises
        ------
        RuntimeError, TypeError, ValueError
            As of `to_evoked`; or if there is no epoch.
        """
        self._fitted()
        check_kind(epochs, mne.BaseEpochs, "epochs", "to_epochs")
        filter_, W, info = self._channels(epochs.info, "epochs")
        picks = filter_.sensors.pick(epochs.info, "epochs")
        epochs = epochs.copy().drop_bad(verbose="error")
        if len(epochs) == 0:
            raise no_epochs()
        with use_log_level(self.verbose):
            trials = ProgressBar(iter(epochs), mesg="Epochs", max_value=len(epochs))
            parts = [W @ filter_.sensors.check_values(one[picks], "epochs") for one in trials]
        sources = mne.EpochsArray(
            np.array(parts),
            info,
            events=epochs.events,
            tmin=epochs.tmin,
            event_id=epochs.event_id,
            baseline=epochs.baseline,
            metadata=epochs.metadata,
            verbose="error",
        )
        return sources.set_annotations(epochs.annotations)

    def to_raw(self, raw: mne.io.BaseRaw) -> mne.io.BaseRaw:
        """Give the sources in a continuous recording as channels.

        Where the recording is in memory, so are its sources. Else they are computed when they are
        read, as the recording is, so that neither need fit in memory: ``to_raw(raw).save(...)``
        goes through a recording of any length.

        Parameters
        ----------
        raw : mne.io.Raw
            Data of the same sensors.

        Returns
        -------
        sources : mne.io.BaseRaw
            Channels as of `to_evoked`; annotations and times are those of the recording.

        Raises
        ------
        RuntimeError, TypeError, ValueError
            As of `to_evoked`; about values that are not finite where they are read.
        """
        self._fitted()
        check_kind(raw, mne.io.BaseRaw, "raw", "to_raw")
        filter_, W, info = self._channels(raw.info, "raw")
        sources = SourceRaw(raw, W, filter_.sensors, info)
        annotations = raw.annotations.copy()
        if annotations.orig_time is None:  # MNE then counts onsets from the first sample
            annotations.onset -= raw.first_time
        return sources.set_annotations(annotations, verbose="error")

    def apply_tfr(self, tfr: EpochsTFR | AverageTFR) -> EpochsTFR | AverageTFR:
        """Give the sources in a time-frequency decomposition as channels.

        Parameters
        ----------
        tfr : EpochsTFR | AverageTFR
            Complex decomposition of data of the same sensors (``output="complex"``).

        Returns
        -------
        sources : EpochsTFR | AverageTFR
            Of the same kind, complex: channels as of `to_evoked`. The square of the magnitude is
            the power of a source ((A·m)²), the angle its phase.

        Raises
        ------
        RuntimeError, TypeError, ValueError
            As of `to_evoked`; or if the decomposition holds power alone.
        """
        self._fitted()
        check_kind(tfr, (EpochsTFR, AverageTFR), "tfr", "apply_tfr")
        check_complex(tfr, "tfr")
        filter_, W, info = self._channels(tfr.info, "tfr")
        picks = filter_.sensors.pick(tfr.info, "tfr")
        epochs = isinstance(tfr, EpochsTFR)
        axis = 1 if epochs else 0
        data = np.moveaxis(np.tensordot(W, np.take(tfr.data, picks, axis), (1, axis)), 0, axis)
        own = {"times": tfr.times, "freqs": tfr.freqs, "method": tfr.method}
        if not epochs:
            return AverageTFRArray(info, data, nave=tfr.nave, comment=tfr.comment, **own)
        return EpochsTFRArray(
            info,
            data,
            events=tfr.events,
            event_id=tfr.event_id,
            selection=tfr.selection,
            drop_log=tfr.drop_log,
            metadata=tfr.metadata,
            weights=tfr.weights if data.ndim == 5 else None,
            **own,
        )
