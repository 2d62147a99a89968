"""A fitted inverse applied to data: evoked responses, epochs, a recording, a covariance."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import mne
import numpy as np
from mne.time_frequency import CrossSpectralDensity
from mne.utils import ProgressBar, use_log_level

from meg_vae.meg import estimates
from meg_vae.meg.arguments import check_kind
from meg_vae.meg.channels import check_finite
from meg_vae.meg.data import covariance_data
from meg_vae.meg.filter import SourceFilter
from meg_vae.meg.fitted import FittedInverse
from meg_vae.meg.full import everywhere, write_image
from meg_vae.meg.inputs import no_epochs
from meg_vae.meg.recording import CHUNK
from meg_vae.meg.spectral import real_part


class SourceEstimation(FittedInverse):
    """What a fitted inverse can say of data."""

    def _filter_of_covariance(self, info: mne.Info | None) -> SourceFilter:
        """Give the filter of a covariance, which does not tell its head position itself."""
        if info is not None:
            filter_ = self._filter(info, "info")
            filter_.sensors.pick(info, "info")
            return filter_
        if len(self.filters_) > 1:
            raise ValueError(
                f"info is needed: this inverse was fitted to {len(self.filters_)} runs of several "
                "head positions, and a covariance does not tell its own; give the info of the "
                "recording, as apply_cov(cov, info=raw.info)."
            )
        return self._fitted()

    def apply(
        self, evoked: mne.Evoked, pick_ori: str | None = None, *, full: bool = False
    ) -> mne.SourceEstimate:
        """Estimate the time courses of the sources in an evoked response.

        Parameters
        ----------
        evoked : mne.Evoked
            Data of the same sensors.
        pick_ori : None | "normal" | "vector"
            None gives the amplitude, signed for a fixed orientation; "normal" the component along
            the cortical normal; "vector" the three components.
        full : bool
            A row for every position of the source space, zero where there is no source. MNE's
            pictures and functions of volume estimates need that.

        Returns
        -------
        stc : SourceEstimate
            In A·m, sparse unless ``full``, of the class that matches the source space.

        Raises
        ------
        ValueError
            If the data are complex or not finite, or were not recorded like those of the fit
            (channels, units, compensation, reference, projections, Maxwell filter, head position).
        """
        estimates.check_orientation(self._fitted().positions, pick_ori)
        check_kind(evoked, mne.Evoked, "evoked", "apply")
        filter_ = self._filter(evoked.info, "evoked").at_positions()
        tmin, tstep = float(evoked.times[0]), 1 / evoked.info["sfreq"]
        U = filter_.activity(evoked)
        stc = estimates.source_estimate(filter_.positions, U, tmin, tstep, pick_ori)
        return everywhere(stc, filter_.positions) if full else stc

    def apply_epochs(
        self,
        epochs: mne.BaseEpochs,
        pick_ori: str | None = None,
        *,
        return_generator: bool = False,
        full: bool = False,
    ) -> list[mne.SourceEstimate] | Iterator[mne.SourceEstimate]:
        """Estimate the time courses of the sources in single trials.

        Parameters
        ----------
        epochs : mne.Epochs
            Data of the same sensors.
        pick_ori : None | "normal" | "vector"
            As for `apply`.
        return_generator : bool
            Give one estimate after the other, as `mne.minimum_norm.apply_inverse_epochs` does,
            rather than a list of all.
        full : bool
            As for `apply`.

        Returns
        -------
        stcs : list of SourceEstimate | generator
            One per epoch, in A·m.

        Raises
        ------
        ValueError
            If there is no epoch, or as for `apply`.
        """
        estimates.check_orientation(self._fitted().positions, pick_ori)
        check_kind(epochs, mne.BaseEpochs, "epochs", "apply_epochs")
        filter_ = self._filter(epochs.info, "epochs").at_positions()
        picks = filter_.sensors.pick(epochs.info, "epochs")
        if len(epochs.events) == 0:
            raise no_epochs()
        stcs = _each_epoch(filter_, epochs, picks, pick_ori, full)
        if return_generator:
            return stcs
        with use_log_level(self.verbose):
            return list(ProgressBar(stcs, mesg="Epochs", max_value=len(epochs.events)))

    def apply_raw(
        self,
        raw: mne.io.BaseRaw,
        start: int | None = None,
        stop: int | None = None,
        pick_ori: str | None = None,
        *,
        full: bool = False,
    ) -> mne.SourceEstimate:
        """Estimate the time courses of the sources in a continuous recording.

        It is read in pieces, so it need not fit in memory.

        Parameters
        ----------
        raw : mne.io.BaseRaw
            Data of the same sensors.
        start, stop : int | None
            First sample, and the one after the last; None: the start, the end.
        pick_ori : None | "normal" | "vector"
            As for `apply`.
        full : bool
            As for `apply`.

        Returns
        -------
        stc : SourceEstimate
            In A·m.

        Raises
        ------
        ValueError
            If there is no sample, or as for `apply`.
        """
        estimates.check_orientation(self._fitted().positions, pick_ori)
        check_kind(raw, mne.io.BaseRaw, "raw", "apply_raw")
        filter_ = self._filter(raw.info, "raw").at_positions()
        positions, sensors = filter_.positions, filter_.sensors
        picks = sensors.pick(raw.info, "raw")
        first, last, _ = slice(start, stop).indices(raw.n_times)
        if first >= last:
            raise ValueError(
                f"start={start} and stop={stop} leave no sample of the {raw.n_times} of raw."
            )
        shape = (len(positions.vertno), *((3,) if pick_ori == "vector" else ()), last - first)
        out = np.empty(shape)
        with use_log_level(self.verbose):
            for k in ProgressBar(range(first, last, CHUNK), mesg="Recording"):
                data = sensors.check_values(raw.get_data(picks, k, min(k + CHUNK, last)), "raw")
                piece = estimates.pick_orientation(positions, filter_.sources(data), pick_ori)
                out[..., k - first : k - first + data.shape[1]] = piece
        stc = estimates.fill_estimate(positions, out, raw.times[first], 1 / raw.info["sfreq"])
        return everywhere(stc, positions) if full else stc

    def apply_cov(
        self,
        cov: mne.Covariance,
        pick_ori: str | None = None,
        *,
        full: bool = False,
        info: mne.Info | None = None,
    ) -> mne.SourceEstimate:
        """Estimate the power of the sources from a covariance of data.

        Parameters
        ----------
        cov : mne.Covariance
            Of the same sensors.
        pick_ori : None | "normal"
            All of the power, or that along the cortical normal.
        full : bool
            As for `apply`.
        info : mne.Info | None
            Measurement info of the data, which tells of which run's head position they are; needed
            where several were fitted.

        Returns
        -------
        stc : SourceEstimate
            Variance of the amplitude in (A·m)², one sample, as of
            `mne.minimum_norm.apply_inverse_cov`.

        Raises
        ------
        ValueError
            As for `apply`.
        """
        estimates.check_orientation(self._fitted().positions, pick_ori)
        check_kind(cov, mne.Covariance, "cov", "apply_cov")
        filter_ = self._filter_of_covariance(info).at_positions()
        power = filter_.power(covariance_data(cov, filter_.sensors))
        data = estimates.pick_power(filter_.positions, power, pick_ori)
        stc = estimates.fill_estimate(filter_.positions, data, 0.0, 1.0)
        return everywhere(stc, filter_.positions) if full else stc

    def apply_csd(
        self,
        csd: CrossSpectralDensity,
        pick_ori: str | None = None,
        *,
        full: bool = False,
        info: mne.Info | None = None,
    ) -> tuple[mne.SourceEstimate, list[float]]:
        """Estimate the power of the sources at each frequency.

        Parameters
        ----------
        csd : CrossSpectralDensity
            Of the same sensors, of any frequencies.
        pick_ori : None | "normal"
            All of the power, or that along the cortical normal.
        full : bool
            As for `apply`.
        info : mne.Info | None
            As for `apply_cov`.

        Returns
        -------
        stc : SourceEstimate
            Power in (A·m)² per unit of the density, with frequencies in the place of times, as of
            `mne.beamformer.apply_dics_csd`.
        frequencies : list of float
            The frequencies, Hz.

        Raises
        ------
        ValueError
            As for `apply`.
        """
        estimates.check_orientation(self._fitted().positions, pick_ori)
        check_kind(csd, CrossSpectralDensity, "csd", "apply_csd")
        filter_ = self._filter_of_covariance(info).at_positions()
        picks = filter_.sensors.pick_names(csd.ch_names, [], "csd")
        power = []
        for k in range(len(csd.frequencies)):
            C = real_part(csd, k)[np.ix_(picks, picks)]
            check_finite(C, "csd", filter_.ch_names)
            power.append(estimates.pick_power(filter_.positions, filter_.power(C), pick_ori))
        data = np.concatenate(power, axis=1)
        stc = estimates.fill_estimate(filter_.positions, data, 0.0, 1.0)
        return everywhere(stc, filter_.positions) if full else stc, csd.frequencies

    def dipoles(self, evoked: mne.Evoked | None = None) -> list[mne.Dipole]:
        """Give each source as a dipole.

        Parameters
        ----------
        evoked : mne.Evoked | None
            Data of the same sensors; None takes the (first) data of the fit.

        Returns
        -------
        dipoles : list of mne.Dipole
            One per source, in the order of ``sources_``; of a patch its moments added as vectors,
            which is less than ``peak_nAm`` where the cortex folds. Its goodness of fit is the part
            of the whitened power that is lost when it alone is taken out, in %.
        """
        evoked, filter_ = self._suited(evoked)
        return filter_.dipoles(evoked)

    def residual(self, evoked: mne.Evoked | None = None) -> mne.Evoked:
        """Sensor data that the sources leave unexplained.

        Parameters
        ----------
        evoked : mne.Evoked | None
            Data of the same sensors; None takes the (first) data of the fit.

        Returns
        -------
        residual : mne.Evoked
            On the channels of the fit.
        """
        evoked, filter_ = self._suited(evoked)
        return filter_.residual(evoked)

    def explained_variance(self, evoked: mne.Evoked | None = None) -> float:
        """Part of the whitened power that the sources explain.

        Parameters
        ----------
        evoked : mne.Evoked | None
            Data of the same sensors; None takes the (first) data of the fit.

        Returns
        -------
        explained : float
            1 − ‖X − ΦU‖² / ‖X‖² in %, 0 for data that are zero.
        """
        evoked, filter_ = self._suited(evoked)
        return filter_.explained_variance(evoked)

    def to_nifti(
        self,
        fname: str | Path,
        src: mne.SourceSpaces | mne.Forward,
        evoked: mne.Evoked | None = None,
        *,
        mri_resolution: bool = False,
        overwrite: bool = False,
    ) -> Path:
        """Write the time courses of the sources in a volume as a NIfTI image.

        Parameters
        ----------
        fname : path-like
            A name that ends with ``.nii`` or ``.nii.gz``.
        src : SourceSpaces | Forward
            The source space of the fit, or the forward model with it.
        evoked : mne.Evoked | None
            Data of the same sensors; None takes the (first) data of the fit.
        mri_resolution : bool
            Whether to interpolate to the voxels of the MRI.
        overwrite : bool
            Whether to replace a file.

        Returns
        -------
        fname : Path
            The file: amplitudes in A·m, zero where there is no source.

        Raises
        ------
        ValueError
            If the source space holds no volume or is not that of the fit.
        FileExistsError
            If the file is there and ``overwrite`` is False.
        """
        stc = self.apply(self._data(evoked), full=True)
        return write_image(stc, src, fname, mri_resolution=mri_resolution, overwrite=overwrite)


def _each_epoch(
    filter_: SourceFilter,
    epochs: mne.BaseEpochs,
    picks: list[int],
    pick_ori: str | None,
    full: bool,
) -> Iterator[mne.SourceEstimate]:
    """Estimate the sources of one epoch after the other."""
    tmin, tstep, some = float(epochs.times[0]), 1 / epochs.info["sfreq"], False
    for epoch in epochs:
        some = True
        U = filter_.sources(filter_.sensors.check_values(epoch[picks], "epochs"))
        stc = estimates.source_estimate(filter_.positions, U, tmin, tstep, pick_ori)
        yield everywhere(stc, filter_.positions) if full else stc
    if not some:  # all of them were dropped as they were read
        raise no_epochs()
