"""VAEInverse: fit the sources of evoked responses, and apply the fit to data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import mne
import numpy as np
import pandas as pd
from mne.utils import logger, use_log_level, warn
from numpy.typing import NDArray

from meg_vae.meg import estimates
from meg_vae.meg.estimates import Positions
from meg_vae.meg.filter import SourceFilter, source_filter
from meg_vae.meg.leadfield import LeadField, make_leadfield, whiten
from meg_vae.meg.pictures import SourcePictures
from meg_vae.meg.resampling import SourceBootstrap
from meg_vae.meg.samples import band_limited_samples
from meg_vae.meg.storage import write_state

if TYPE_CHECKING:
    from meg_vae.model.sparse_vae import SparseVAE

# What a file keeps of the options and of the results, beside the filter and the table.
OPTIONS = (
    "loose",
    "noise_variance",
    "orientation",
    "min_log_evidence",
    "tol",
    "max_iter",
    "subject",
)
RESULTS = (
    "noise_variance_",
    "energy_",
    "log_evidence_",
    "history_",
    "certificate_",
    "n_effective_",
    "_order",
)
MIN_LOG_EVIDENCE = 12.0  # nats: noise shows a source in at most 1 of 20 recordings (calibrated)


class VAEInverse(SourcePictures, SourceBootstrap):
    """Sparse source localization by a variational autoencoder.

    Parameters
    ----------
    loose : float | "auto"
        Weight of the dipoles across the cortical normal, from 0 (fixed) to 1 (free); "auto" is as
        in MNE.
    rank : None | "info" | "full" | dict
        As in `mne.compute_rank`.
    noise_variance : float | "learn"
        Noise of the whitened data: learnt, or held (1 trusts the noise covariance).
    orientation : "shared" | "full"
        One prior variance for the dipoles of a position, or a full covariance, which learns an
        orientation.
    min_log_evidence : float
        Log evidence below which a source is not reported, in nats.
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
        ``label, peak_nAm, peak_s, sd_nAm, log_evidence, cluster``. Sources with the same number of
        a cluster share one generator, and the log evidence of each is that of all together.
    filter_ : SourceFilter
        The linear filter from sensors to sources.
    noise_variance_ : float | ndarray
        Noise variance λ of the whitened data; 1 when the noise covariance is right.
    energy_, history_, certificate_ : float, ndarray, float
        As in `meg_vae.SparseVAE`.
    log_evidence_ : float
        Log evidence of the whole model in nats, as in `meg_vae.SparseVAE`, for as many samples as
        the low-pass leaves: to compare forward models on identical data and noise covariance.
    n_effective_ : float
        Independent samples that the evidence of a source counts: the fewer of those that the
        low-pass leaves and those in the autocorrelation of the residual.

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
        loose: float | str = "auto",
        rank: Any = None,
        noise_variance: float | str = "learn",
        orientation: str = "shared",
        min_log_evidence: float = MIN_LOG_EVIDENCE,
        tol: float = 1e-3,
        max_iter: int = 2000,
        subject: str | None = None,
        subjects_dir: str | Path | None = None,
        verbose: bool | str | int | None = None,
    ) -> None:
        self.loose = loose
        self.rank = rank
        self.noise_variance = noise_variance
        self.orientation = orientation
        self.min_log_evidence = min_log_evidence
        self.tol = tol
        self.max_iter = max_iter
        self.subject = subject
        self.subjects_dir = subjects_dir
        self.verbose = verbose

    def fit(
        self,
        evoked: mne.Evoked | list[mne.Evoked],
        forward: mne.Forward,
        noise_cov: mne.Covariance,
    ) -> VAEInverse:
        """Find the sources of one evoked response, or those that several share.

        Parameters
        ----------
        evoked : mne.Evoked | list of mne.Evoked
            The data, cropped to the time of interest. Responses of one list share their sources,
            each with its own time course.
        forward : mne.Forward
            Forward model.
        noise_cov : mne.Covariance
            Noise covariance of single trials; it is divided by ``evoked.nave``.

        Returns
        -------
        self : VAEInverse
            The fitted inverse.

        Raises
        ------
        ValueError
            If the inputs do not fit together or are not finite.

        Warns
        -----
        RuntimeWarning
            If no source is found.
        """
        responses = _responses(evoked)
        with use_log_level(self.verbose):
            self._fit(responses, forward, noise_cov)
        return self

    def _fit(
        self, responses: list[mne.Evoked], forward: mne.Forward, noise_cov: mne.Covariance
    ) -> None:
        from meg_vae.model.sparse_vae import SparseVAE

        info = responses[0].info
        nave = min(one.nave for one in responses)
        leadfield = make_leadfield(
            forward, info, noise_cov, nave=nave, loose=self.loose, rank=self.rank
        )
        whitened = [whiten(one, leadfield.whitener, leadfield.ch_names, nave) for one in responses]
        X = np.concatenate(whitened, axis=1)
        n, n_positions = X.shape[1], leadfield.n_positions
        logger.info(f"Fitting {n_positions} positions to {n} samples of rank {len(X)}")
        model = SparseVAE(
            leadfield.n_orient,
            noise_variance=self.noise_variance,
            orientation=self.orientation,
            min_log_evidence=self.min_log_evidence,
            tol=self.tol,
            max_iter=self.max_iter,
        ).fit(
            leadfield.Phi,
            X,
            n_effective=band_limited_samples(n, info),
            stretches=[one.shape[1] for one in whitened],
        )
        self._responses = [one.copy() for one in responses]
        self._store(leadfield, model)
        logger.info(
            f"{len(self.sources_)} sources, noise variance {np.mean(self.noise_variance_):.2f}"
        )
        if self.sources_.empty:
            warn(
                f"no source carries {self.min_log_evidence:g} nats of log evidence, so the estimate"
                " is empty: these data look like noise alone."
            )

    def _store(self, leadfield: LeadField, model: SparseVAE) -> None:
        """Keep what a fit leaves behind, in the units of the sensors and the sources."""
        self.filter_ = source_filter(
            leadfield, model.active_dipoles_, model.inverse_map_, model.posterior_covariance()
        )
        self.noise_variance_ = model.noise_variance_
        self.energy_ = model.energy_
        self.log_evidence_ = model.log_evidence_
        self.n_effective_ = model.n_effective_
        self.history_ = model.history_
        self.certificate_ = model.certificate_
        active = model.active_
        own, joint = model.source_log_evidence_[active], model.cluster_log_evidence_[active]
        cluster = model.cluster_[active]
        # Row of the filter of each table row: strongest cluster first, then its strongest source.
        self._order = np.lexsort((-own, cluster, -joint))
        table = self._table(joint, cluster).iloc[self._order].reset_index(drop=True)
        table["cluster"] = pd.factorize(table["cluster"])[0]
        self.sources_ = table

    def _table(self, log_evidence: NDArray[np.float64], cluster: NDArray[np.int64]) -> pd.DataFrame:
        filter_ = self.filter_
        return estimates.source_table(
            filter_.positions,
            np.concatenate([filter_.activity(one) for one in self._responses], axis=2),
            np.concatenate([one.times for one in self._responses]),
            filter_.covariance,
            log_evidence,
            cluster,
            estimates.region_names(filter_.positions, self.subject, self.subjects_dir),
        )

    def _fitted(self) -> SourceFilter:
        """Give the filter of the fit."""
        if not hasattr(self, "filter_"):
            raise RuntimeError(
                "this VAEInverse is not fitted yet; call fit(evoked, forward, noise_cov) first."
            )
        return self.filter_

    def _data(self, evoked: mne.Evoked | None) -> mne.Evoked:
        """Give the data to put through the filter: those of the fit where none are given."""
        if evoked is not None:
            return evoked
        if not self._responses:
            raise ValueError(
                "evoked is needed: an inverse read from a file does not hold the data of its fit."
            )
        return self._responses[0]

    def apply(self, evoked: mne.Evoked, pick_ori: str | None = None) -> mne.SourceEstimate:
        """Estimate the time courses of the sources in an evoked response.

        Parameters
        ----------
        evoked : mne.Evoked
            Data of the same sensors.
        pick_ori : None | "vector"
            None gives the amplitude, signed for a fixed orientation; "vector" the three components.

        Returns
        -------
        stc : SourceEstimate
            In A·m, sparse, of the class that matches the source space.

        Raises
        ------
        ValueError
            If channels are missing or the data are not finite.
        """
        return self._fitted().estimate(evoked, pick_ori)

    def dipoles(self, evoked: mne.Evoked | None = None) -> list[mne.Dipole]:
        """Give each source as a dipole.

        Parameters
        ----------
        evoked : mne.Evoked | None
            Data of the same sensors; None takes the (first) data of the fit.

        Returns
        -------
        dipoles : list of mne.Dipole
            One per source, in the order of the source space; its goodness of fit is the part of the
            whitened power that is lost when it alone is taken out, in %.
        """
        filter_, evoked = self._fitted(), self._data(evoked)
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
        filter_, evoked = self._fitted(), self._data(evoked)
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
        filter_, evoked = self._fitted(), self._data(evoked)
        return filter_.explained_variance(evoked)

    def save(self, fname: str | Path, *, overwrite: bool = False) -> Path:
        """Save the fitted inverse.

        Parameters
        ----------
        fname : path-like
            A name that ends with ``-vae.h5``.
        overwrite : bool
            Whether to replace a file.

        Returns
        -------
        fname : Path
            The file.

        Raises
        ------
        FileExistsError
            If the file is there and ``overwrite`` is False.
        """
        self._fitted()
        return write_state(fname, self._state(), overwrite=overwrite)

    def _state(self) -> dict[str, Any]:
        """Give all that a file keeps: plain numbers, strings and arrays."""
        return {
            "options": {name: getattr(self, name) for name in OPTIONS},
            "results": {name: getattr(self, name) for name in RESULTS},
            "sources": self.sources_.to_dict("list"),
            "filter": {**vars(self.filter_), "positions": vars(self.filter_.positions)},
        }

    @classmethod
    def _from_state(cls, state: dict[str, Any]) -> VAEInverse:
        """Make a fitted inverse from what a file kept; the data of its fit it has not."""
        inverse = cls(**state["options"])
        for name, value in state["results"].items():
            setattr(inverse, name, value)
        inverse.sources_ = pd.DataFrame(state["sources"], columns=estimates.COLUMNS)
        positions = Positions(**state["filter"]["positions"])
        inverse.filter_ = SourceFilter(**{**state["filter"], "positions": positions})
        inverse._responses = []
        return inverse


def _responses(evoked: mne.Evoked | list[mne.Evoked]) -> list[mne.Evoked]:
    """Check the data and give them as a list."""
    responses = [evoked] if isinstance(evoked, mne.Evoked) else list(evoked)
    if not responses or not all(isinstance(one, mne.Evoked) for one in responses):
        raise TypeError(
            f"evoked must be an mne.Evoked or a list of them, got {type(evoked).__name__}."
        )
    first = responses[0]
    for one in responses:
        if not one.nave >= 1:
            raise ValueError(
                f"evoked.nave={one.nave} of {one.comment!r} must be at least 1; "
                "set it to the number of averages."
            )
        if len(one.times) == 0:
            raise ValueError(f"evoked {one.comment!r} has no time point; widen the time window.")
        if one.ch_names != first.ch_names or one.info["bads"] != first.info["bads"]:
            raise ValueError(
                f"evoked {one.comment!r} has other (bad) channels than {first.comment!r}; "
                "make them equal."
            )
    return responses
