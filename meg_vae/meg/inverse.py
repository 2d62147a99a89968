"""VAEInverse: fit the sources behind sensor data, and keep the fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mne
import numpy as np
from mne.utils import logger, use_log_level
from numpy.typing import NDArray

from meg_vae.meg import table
from meg_vae.meg.apply import SourceEstimation
from meg_vae.meg.arguments import as_forward
from meg_vae.meg.at_places import at_places
from meg_vae.meg.background import with_backgrounds
from meg_vae.meg.curves import FitCurves
from meg_vae.meg.export import inverse_operator
from meg_vae.meg.extent import check_extent
from meg_vae.meg.inputs import Instance
from meg_vae.meg.localization import Localization
from meg_vae.meg.mni import with_mni
from meg_vae.meg.on_grid import on_grid
from meg_vae.meg.options import check_options, warn_of_fit
from meg_vae.meg.orientation import Loose
from meg_vae.meg.pictures import SourcePictures
from meg_vae.meg.registration import check_registration
from meg_vae.meg.resampling import SourceBootstrap
from meg_vae.meg.responses import response_table
from meg_vae.meg.runs import FitRun, fit_runs
from meg_vae.meg.saving import SavedInverse
from meg_vae.meg.spans import Spans, active_spans, clearest, relative_power
from meg_vae.meg.unmixing import separable
from meg_vae.meg.virtual import VirtualChannels
from meg_vae.meg.weights import Weights, position_weights
from meg_vae.model.checks import MIN_LOG_EVIDENCE, check_option, check_share
from meg_vae.model.exact.threads import one_thread


class VAEInverse(
    SourceEstimation, VirtualChannels, SourcePictures, FitCurves, SourceBootstrap, SavedInverse
):
    """Sparse source localization by a variational autoencoder.

    Parameters
    ----------
    positions : "free" | "grid"
        Whether sources lie wherever the data put them, in and between the positions of the source
        space, or at these positions alone.
    loose : float | "auto" | dict
        On the grid, weight of the dipoles across the cortical normal, from 0 (fixed) to 1 (free),
        as in MNE; "auto" is 0.2 on a surface and 1 elsewhere. A dict gives it for each kind of a
        mixed source space, as ``{"surface": 0.2, "volume": 1}``. Sources between the positions
        learn their orientation: for them it is "auto" or 1.
    rank : None | "info" | "full" | dict | int
        As in `mne.compute_rank`; a number where the channels are of one kind. None takes the
        smallest that data, noise covariance and info support.
    noise_variance : float | "learn"
        Noise of the whitened data: learnt, or held (1 trusts the noise covariance).
    noise_autocorrelation : "learn" | "white"
        How the noise of responses goes on in time: learnt from what the sources leave, or white up
        to the low-pass filter.
    orientation : "shared" | "full"
        On the grid, one prior variance for the dipoles of a position, or a full covariance, which
        learns an orientation. Sources between the positions always have a full one.
    extent : "learn" | "point" | float
        How large sources between the positions are. With "learn" each is a point or a disc of
        cortex, whichever explains the data better, and its radius along the surface is found with
        its place; "point" takes all for points, and a number all for discs of that radius in mm (4
        to 30). A disc holds dipoles along the normals of the white surface that ``forward["src"]``
        has, of about even density. On the grid, and where no evidence is asked for
        (``min_log_evidence=0``), sources are points. In a volume the field does not tell how large
        a source is: a number there takes all for balls, which fill the estimate, and "learn" leaves
        points.
    registration : "auto" | "learn" | tuple of float | None
        Whether the sensors may lie elsewhere, relative to the head, than ``info`` and the forward
        model say. None takes them as given. "learn" finds three shifts and three turns with the
        sources, N(0, 4 mm) and N(0, 3°) before the data; a pair gives other standard deviations in
        mm and degrees. The ellipsoids of the places then hold what is not known of it, all of the
        prior where the data cannot tell. "auto" learns it where responses ask for it with 8 nats or
        more, and takes it as given otherwise, and of a recording, a covariance or on the grid.
    lead_field_error : float
        Share by which the lead field of a source between the positions may be wrong, as forward
        models are that were not made of this very head. What a strong source's could thereby put
        into the data, with its time course, is no evidence for another source: one that shares the
        course of a stronger one is not reported where its field is weaker than that share of it.
        Ellipsoids of strong sources are wider by what such errors, in any direction of the data,
        make of their places. At 0 the forward model is taken at its word.
    spans : "learn" | "whole"
        When sources between the positions are active. With "learn" each is active in the span of
        the window that explains the data best, where that is better than the whole window by the
        log of the number of samples: a short response in a long window is then found as in a window
        of its own. In a list of responses, such as single spikes, each is active in those of them
        that speak for it (``responses_``). "whole" takes all sources for active throughout, as they
        are for data without time and on the grid.
    min_log_evidence : float
        Log evidence below which a source is not reported, in nats. One that is active in a span
        needs the log of the number of independent samples more, and one that is active in k of N
        responses the log of N times the number of ways to choose them.
    tol : float
        Target of the certificate: largest violation of stationarity over all positions.
    max_iter : int
        Most steps of the solver.
    subject : str | None
        Subject in ``subjects_dir``; None takes the one that the source space names.
    subjects_dir : path-like | None
        FreeSurfer folder, for labels and pictures; None takes MNE's setting.
    verbose : bool | str | int | None
        Level of MNE's logging.

    Attributes
    ----------
    sources_ : pandas.DataFrame
        The sources, strongest evidence first: ``hemi, vertno, x_mm, y_mm, z_mm`` (MRI surface RAS),
        ``label, peak_nAm, peak_s, sd_nAm, log_evidence, radius_mm, extent_mm, extent_low_mm,
        extent_high_mm, density_pAm_mm2, on_wall, cluster, onset_s, onset_low_s, onset_high_s,
        offset_s, offset_low_s, offset_high_s``. The place is that of the source, ``hemi`` and
        ``vertno`` are of the nearest position; ``radius_mm`` is half the longest axis of the 95 %
        ellipsoid of the place (NaN on the grid). ``extent_mm`` is the radius of a disc along the
        cortex, 0 for a point, with its 95 % interval (NaN where sources are taken for points); the
        place of a disc is its centre, ``peak_nAm`` the moments of all of its dipoles together, and
        ``density_pAm_mm2`` that by its area. ``on_wall`` says that the place was held by the wall
        around the source space. Sources of one ``cluster`` cannot be told apart: their ellipsoids
        overlap, or on the grid they share one generator, and the log evidence of each is what all
        of them carry together. ``sd_nAm`` carries how sure the place is. ``onset_s`` and
        ``offset_s`` bound the time in which the source is active beyond noise, with their 95 %
        intervals (NaN for data without time). Of several runs the peak is that of the run in which
        the source is strongest. And ``mni_x_mm, mni_y_mm, mni_z_mm`` (MNI305), where the subject is
        fsaverage or has a Talairach transform in ``subjects_dir``.
    position_covariance_ : ndarray, shape (n_sources, 3, 3)
        Covariance of each place in m², head coordinates, with all else unknown too; NaN on the
        grid.
    spans_ : ndarray, shape (n_sources, 2)
        Of a single response, first and last time in which each source is active in the model, s;
        infinite where it is throughout. `apply` and its like take all for active at all times.
    responses_ : pandas.DataFrame
        Of each response, or event: ``response, comment, source, log_evidence, n_active, peak_nAm,
        peak_s``. ``source`` is the row of ``sources_`` that has most log evidence in it, −1 where
        none is active; ``n_active`` counts all that are. Responses of several runs are counted
        together. Empty for data without time and on the grid.
    active_ : ndarray of bool, shape (n_sources, n_responses)
        In which responses each source is active.
    response_evidence_ : ndarray, shape (n_sources, n_responses)
        Log evidence in nats that each response has for the activity of each source, all else given;
        negative where it speaks against it. NaN on the grid.
    filter_ : SourceFilter
        The linear filter from sensors to sources; its rows are those of ``sources_``. Of several
        runs it is that of the first.
    filters_ : list of SourceFilter
        That of each run. Data are estimated with that of their own head position.
    noise_variance_ : float | ndarray
        Noise variance λ of the whitened data; 1 when the noise covariance is right.
    energy_ : float
        Energy per sample J of the fitted model, in nats × 2.
    history_, certificate_ : ndarray, float
        Of the minimum on the grid, as in `meg_vae.SparseVAE`.
    growth_ : float
        The certificate over the continuum: log evidence in nats that a further source could add, at
        the best place on the grid or between; with weights, evidence and weight together. NaN on
        the grid. Over several runs it is counted along the pooled best prior, as in
        `meg_vae.SlidingVAE`.
    stationarity_ : float
        Largest derivative of the energy left in the logarithm of a variance or, by the spacing of
        the positions, in a place; NaN on the grid.
    field_error_, field_covariance_ : ndarray, shape (n_sources,) and (n_sources, 3, 3)
        Relative error of the lead field at each source, as its interpolation knows it, and the part
        of ``position_covariance_`` that comes from it and from ``lead_field_error``.
    background_ : list of ``meg_vae.meg.background.Background``
        Of each run the patterns of ongoing activity that its baseline showed: ``ch_names``, and
        ``patterns``, shape (n_channels, n_patterns), in the units of MNE for single trials. Empty
        without a baseline.
    registration_ : mne.Transform
        Motion of the sensors from where ``info`` puts them to where they were found, in head
        coordinates, of all runs together. The transform to MRI coordinates is then
        ``mne.transforms.combine_transforms(registration_, trans, "head", "mri")``. The identity
        where it was not learnt.
    registration_covariance_ : ndarray, shape (6, 6)
        How sure that is: covariance of its shifts (m) along and turns (rad) about the head's axes
        in the middle of the source space; zero where it was not learnt.
    registration_log_evidence_ : float
        Log evidence in nats that they are elsewhere; NaN where that was not asked, or nothing
        settled. Where it did not suffice for "auto" it may be what it could be at most.
    weights_, position_weights_ : ndarray, shape (n_sources,) and (n_positions,) or None
        Prior weight in nats at each source (on the grid the largest of its cluster), and those that
        were given. ``log_evidence`` in ``sources_``, ``energy_`` and ``log_evidence_`` are what the
        data say, without them.
    log_evidence_ : float
        Log evidence of the whole model in nats, as in `meg_vae.SparseVAE`: to compare forward
        models on identical data and noise covariance.
    n_effective_ : float
        Independent samples of the data, which the evidence counts: the directions of time that hold
        noise; of a recording or a covariance, what the low-pass leaves.
    noise_autocorrelation_ : ndarray, shape (n_runs, n_lags)
        Autocorrelation of the noise of each run as the residual shows it, from 1 at lag 0, by
        samples.
    noise_samples_ : ndarray, shape (n_runs,)
        Samples that the noise covariance of each run was estimated from, as its ``nfree`` says;
        infinity where it does not tell.

    Notes
    -----
    Weights given to `fit` are of the positions of one forward model, so they go with it and are no
    option of the inverse. A source is reported, and enters, when its log evidence and its weight
    together are ``min_log_evidence`` or more; of places that explain the data about as well, it
    takes the one where both together are largest. Between the positions weights are interpolated,
    and places minimise J − (2/n) w(r): MAP estimates, which a weight draws by about its gradient
    times ``position_covariance_``. That covariance is what the data say, without weights. A weight
    counts up to ``min_log_evidence − 1``: no prior makes a source by itself. The same weight
    everywhere lowers ``min_log_evidence`` by it.

    Examples
    --------
    >>> from meg_vae import VAEInverse, datasets
    >>> case = datasets.template_recording(n_sources=2, spacing="ico3", verbose="error")
    >>> inverse = VAEInverse().fit(case.evoked, case.forward, case.noise_cov)
    >>> len(inverse.sources_)
    2
    """

    def __init__(
        self,
        *,
        positions: str = "free",
        loose: Loose = "auto",
        rank: Any = None,
        noise_variance: float | str = "learn",
        noise_autocorrelation: str = "learn",
        orientation: str = "shared",
        extent: str | float = "learn",
        registration: str | tuple[float, float] | None = "auto",
        lead_field_error: float = 0.05,
        spans: str = "learn",
        min_log_evidence: float = MIN_LOG_EVIDENCE,
        tol: float = 1e-3,
        max_iter: int = 2000,
        subject: str | None = None,
        subjects_dir: str | Path | None = None,
        verbose: bool | str | int | None = None,
    ) -> None:
        self.positions = positions
        self.loose = loose
        self.rank = rank
        self.noise_variance = noise_variance
        self.noise_autocorrelation = noise_autocorrelation
        self.orientation = orientation
        self.extent = extent
        self.registration = registration
        self.lead_field_error = lead_field_error
        self.spans = spans
        self.min_log_evidence = min_log_evidence
        self.tol = tol
        self.max_iter = max_iter
        self.subject = subject
        self.subjects_dir = subjects_dir
        self.verbose = verbose

    @one_thread
    def fit(
        self,
        evoked: Instance | list[Instance],
        forward: mne.Forward | list[mne.Forward],
        noise_cov: mne.Covariance | list[mne.Covariance],
        *,
        info: mne.Info | list[mne.Info | None] | None = None,
        n_samples: float | None = None,
        bem: str | Path | mne.bem.ConductorModel | None = None,
        trans: str | Path | mne.Transform | None = None,
        weights: Weights = None,
        baseline: mne.Evoked | list[mne.Evoked] | None = None,
    ) -> VAEInverse:
        """Find the sources behind sensor data.

        Parameters
        ----------
        evoked : Evoked | Epochs | Raw | Covariance | CrossSpectralDensity | TFR | list of these
            The data, cropped to the time of interest. Responses of one list share their sources,
            each with its own time course: ``list(epochs.iter_evoked())`` are single events. Where
            ``forward`` is a list, these are the runs, each of any of these kinds. Of epochs the
            average is fitted. A recording counts without the mean of each channel and without
            samples annotated as bad. A covariance of data (`mne.compute_covariance`) is fitted with
            as many samples as its ``nfree`` says; it has no time, so in ``sources_`` its
            ``peak_nAm`` is the standard deviation of the amplitude and its ``peak_s`` NaN. So it is
            for a cross-spectral density (`mne.time_frequency.csd_multitaper` and its like) and a
            complex time-frequency decomposition (``EpochsTFR``, ``AverageTFR``), of which all
            frequencies count together. The evidence of a recording or a covariance counts the
            samples that the filters leave, and does not see how they follow each other: of slow
            data it is too large.
        forward : mne.Forward | path-like | list of these
            Forward model of the same head position, in head coordinates; its gain is that in
            ``forward["sol"]["data"]``. A file is read. A list holds the forward model of each run,
            ``fit([run1, run2], [forward1, forward2], noise_cov)``: the runs share their sources,
            each with its own head position, sensors and time courses, and all forward models have
            the same positions.
        noise_cov : mne.Covariance | path-like | CrossSpectralDensity | EpochsTFR | list of these
            Noise covariance of single trials, or for data by frequency their like of a baseline or
            an empty room, of the same frequencies; it is divided by the number of averages:
            ``nave`` of an evoked response, the number of epochs, 1 for all others. It counts as an
            estimate from ``nfree`` samples at the rate of the data, or as exact where that
            is 0. A list holds that of each run.
        info : mne.Info | list of mne.Info | None
            Measurement info of the data, needed with a covariance or a cross-spectral density
            alone; of each run, or one.
        n_samples : float | None
            Independent complex samples behind data by frequency (epochs × tapers × frequencies,
            where these do not overlap), and behind noise by frequency. None counts them by how the
            eigenvalues scatter.
        bem : path-like | mne.bem.ConductorModel | None
            BEM solution, or sphere model, that the forward model was computed with. With it and
            ``trans`` MNE computes the lead field at every place; without, it is interpolated
            between the positions of the forward model.
        trans : path-like | mne.Transform | None
            Transform between head and MRI coordinates.
        weights : array_like, shape (n_positions,) | list of array | SourceEstimate | None
            Log prior odds of a source at each position of ``forward``, in nats, relative to the
            others, from fMRI, an atlas or the density of the mesh: 0 is no opinion, 2 says e² = 7
            times as likely, −inf excludes the position. One array for all, one for each source
            space, or an estimate of one time on all positions of ``forward["src"]``.
        baseline : mne.Evoked | list of mne.Evoked | None
            Data of the same sensors before the stimulus, as ``evoked.copy().crop(None, 0)``, or
            those of each run. Ongoing activity that stands out in them beyond the noise covariance
            counts as noise, in a few patterns (``background_``), and not as sources of the
            response.

        Returns
        -------
        self : VAEInverse
            The fitted inverse.

        Raises
        ------
        TypeError
            If the data are of another type.
        ValueError
            If the inputs do not fit together (head position, filters, rank, number of runs, ...),
            or are empty, complex or not finite.

        Warns
        -----
        RuntimeWarning
            If no source is found, the noise is none that a recording has, the noise covariance has
            another rank than the data or is known from fewer than twice as many independent samples
            as channels, or the sensors were found elsewhere though ``registration`` is "auto".
        """
        self.check()
        if self.positions == "grid" and (bem is not None or trans is not None):
            raise ValueError(
                "bem and trans tell the lead field between positions, and positions='grid' has no "
                "use for it; leave them out, or use positions='free'."
            )
        if self.positions == "grid" and isinstance(forward, (list, tuple)) and len(forward) > 1:
            raise ValueError(
                f"forward is a list of {len(forward)} forward models, and runs of several head "
                "positions share sources at places of their own: use positions='free', or bring "
                "the runs to one position (mne.preprocessing.maxwell_filter with destination=)."
            )
        with use_log_level(self.verbose):
            runs = fit_runs(evoked, forward, noise_cov, info, n_samples)
            for run in runs:
                self._check_subject(run.forward)
            white = self.noise_autocorrelation == "white"
            runs, self.background_ = with_backgrounds(runs, baseline, self.rank, white=white)
            self._fit(runs, bem, trans, position_weights(weights, runs[0].forward))
        return self

    def check(self) -> None:
        """Refuse options that are none, as `fit` does before any work.

        Raises
        ------
        ValueError
            If one is none.
        """
        check_options(self.noise_variance, self.min_log_evidence)
        check_option("positions", self.positions, ("free", "grid"))
        check_option("noise_autocorrelation", self.noise_autocorrelation, ("learn", "white"))
        check_extent(self.extent, self.positions)
        check_registration(self.registration, self.positions)
        check_share("lead_field_error", self.lead_field_error)
        check_option("spans", self.spans, ("learn", "whole"))

    def _check_subject(self, forward: mne.Forward) -> None:
        """Refuse a forward model of another subject."""
        subject = forward["src"]._subject
        if None not in (self.subject, subject) and self.subject != subject:
            raise ValueError(
                f"forward is of subject {subject!r}, and this inverse is for "
                f"subject={self.subject!r}; give the forward model of that subject, or "
                "subject=None."
            )

    def _fit(
        self, runs: list[FitRun], bem: Any, trans: Any, weights: NDArray[np.float64] | None
    ) -> None:
        options = self.get_params()
        if self.positions == "free":
            found = at_places(runs, options, bem, trans, weights)
        else:
            found = on_grid(runs[0], options, weights)
        self._responses = [run.data.responses for run in runs]
        self._store(found, runs)
        self.position_weights_ = weights
        noise = np.mean(self.noise_variance_)
        logger.info(f"{len(self.sources_)} sources, noise variance {noise:.2f}")
        learnt = isinstance(self.noise_variance, str)
        found_none = self.sources_.empty
        warn_of_fit(found_none, self.min_log_evidence, self.noise_variance_, learnt=learnt)

    def _store(self, found: Localization, runs: list[FitRun]) -> None:
        """Keep what a fit leaves behind, in the units of the sensors and the sources."""
        self.filters_ = found.filters
        self.noise_variance_ = found.noise_variance
        self.energy_ = found.energy
        self.log_evidence_ = found.log_evidence
        self.n_effective_ = found.n_effective
        self.noise_samples_ = np.array([noise.n_samples for noise in found.noises])
        self.noise_autocorrelation_ = np.array([noise.r.numpy() for noise in found.noises])
        self.history_ = found.history
        self.certificate_ = found.certificate
        self.growth_ = found.growth
        self.stationarity_ = found.stationarity
        self.spans_ = _in_seconds(found.spans, runs[0].data.responses)
        self.active_ = found.active
        self.response_evidence_ = found.response_evidence
        self.responses_ = response_table(
            self.filters_, self._responses, found.active, found.response_evidence
        )
        self.position_covariance_ = found.place_covariance
        self.field_covariance_ = found.field_covariance
        self.field_error_ = found.field_error
        self.weights_ = found.weight
        self.registration_ = found.registration.transform
        self.registration_covariance_ = found.registration.covariance
        self.registration_log_evidence_ = found.registration.log_evidence
        places = self.filter_.positions
        pairs = zip(runs, self.filters_, strict=True)
        sources = table.source_table(
            places,
            table.strongest([run.data.strength(own) for run, own in pairs]),
            found.evidence,
            table.region_names(places, self.subject, self.subjects_dir),
            found.place_covariance,
            found.extent,
            found.on_wall,
            found.cluster,
            self._spans(runs),
        )
        self.sources_ = with_mni(sources, self.subject or places.subject, self.subjects_dir)

    def _spans(self, runs: list[FitRun]) -> Spans:
        """Find when each source is active, in the response that speaks most for it."""
        spans = [
            active_spans(relative_power(own, response, *self._noise(own)), response.times)
            for run, own in zip(runs, self.filters_, strict=True)
            for response in run.data.responses
            if separable(own)
        ]
        return clearest(spans or [Spans.unknown(len(self.filter_.positions.vertno))])

    def to_inverse_operator(
        self, info: mne.Info, forward: mne.Forward
    ) -> mne.minimum_norm.InverseOperator:
        """Export to MNE's inverse operator, restricted to the sources.

        With ``method="MNE"`` and ``lambda2=1``, `mne.minimum_norm.apply_inverse`,
        ``apply_inverse_epochs``, ``apply_inverse_raw`` and ``apply_inverse_cov`` then give what
        `apply` and the others give.

        Parameters
        ----------
        info : mne.Info
            Measurement info of data like those of the fit.
        forward : mne.Forward
            The forward model of the fit.

        Returns
        -------
        operator : mne.minimum_norm.InverseOperator
            Its noise covariance is λ times that of the fit, and its source covariance the prior Γ.

        Raises
        ------
        ValueError
            If there is no source, sources lie between the positions, or info or forward are not
            like those of the fit.
        RuntimeError
            If this version of MNE does not use the operator in that way.
        """
        filter_, forward = self._fitted(), as_forward(forward)
        if len(self.filters_) > 1:
            raise ValueError(
                f"an inverse operator of MNE has one lead field, and this fit had one for each of "
                f"{len(self.filters_)} runs; use apply, or fit one run on the grid to export it."
            )
        if self.positions == "free":
            raise ValueError(
                "an inverse operator of MNE has its sources at positions of the source space, and "
                "these lie between them; fit VAEInverse(positions='grid') to export it."
            )
        return inverse_operator(filter_, self.noise_variance_, info, forward, self.loose)


def _in_seconds(spans: NDArray[np.float64], responses: list[mne.Evoked]) -> NDArray[np.float64]:
    """Give the first and the last time of spans in samples."""
    seconds = np.array(spans)
    known = np.isfinite(spans)
    if known.any():
        samples = (spans - [0, 1])[known].astype(int)
        seconds[known] = responses[0].times[samples]
    return seconds
