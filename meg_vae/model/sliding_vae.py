"""SlidingVAE: sources at places of their own, by a linear VAE whose decoder's columns slide."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from meg_vae.model.checks import (
    MIN_LOG_EVIDENCE,
    check_data,
    check_option,
    check_share,
    check_swing,
)
from meg_vae.model.exact.dictionary import Dictionary
from meg_vae.model.exact.threads import one_thread
from meg_vae.model.noise_variance import noise_variance_of
from meg_vae.model.sliding.field import Extended, Field, Places
from meg_vae.model.sliding.fit import PlaceFit, fit_places
from meg_vae.model.sliding.pieces import span_in_samples
from meg_vae.model.sliding.prior import place_prior, weights_at
from meg_vae.model.sliding.recorded import Recorded, listed, recorded_runs
from meg_vae.model.spacing import typical_spacing
from meg_vae.model.weights import check_weights


class SlidingVAE:
    """Sources at places of their own: x | z ~ N(Σ_k L(r_k) A_k z_k, λI).

    The places r_k are parameters of the decoder, like the factors A_k of the priors Γ_k = A_k A_kᵀ.
    It starts from the certified minimum of `SparseVAE` on a grid of places.

    Parameters
    ----------
    noise_variance : float | "learn" | "per_channel"
        Decoder noise variance λ: held at a number, or learnt for all channels together or for each;
        the variances of the channels are then those of the grid's minimum times one factor.
    min_log_evidence : float
        Log evidence in nats that each source must carry. At 0 none is taken out.
    tol : float
        Target of the certificate on the grid, dimensionless.
    max_iter : int
        Most accepted steps on the grid.

    Attributes
    ----------
    places_ : ndarray, shape (n_sources, n_dimensions)
        Where the sources are, in the unit of the grid, strongest evidence first.
    extents_, extent_intervals_ : ndarray, shape (n_sources,) and (n_sources, 2)
        How large each source is, zero for a point, and the 95 % interval of that.
    spans_ : ndarray, shape (n_sources, 2)
        Of a single stretch, the first sample in which each source is active, and the one behind the
        last; infinite where it is active throughout.
    active_ : ndarray of bool, shape (n_sources, n_stretches)
        Of several stretches, those in which each source is active.
    stretch_evidence_ : ndarray, shape (n_sources, n_stretches)
        Log evidence in nats that each stretch has for the activity of each source, all else given.
    place_covariance_ : ndarray, shape (n_sources, n_dimensions, n_dimensions)
        How sure each place is, with all else unknown too (Laplace).
    U_ : ndarray, shape (n_sources, n_orient, n_samples)
        Posterior mean of the activity, in one run after the other.
    log_evidence_ : ndarray, shape (n_sources,)
        Log evidence lost by taking out that source alone, in nats.
    noise_variance_ : float | ndarray, shape (n_channels,)
        λ.
    energy_, grid_energy_ : float
        Energy per independent sample J of the fit, and of the minimum on the grid in the same
        samples, in nats × 2.
    history_ : ndarray, shape (n_steps,)
        J after every accepted step on the grid; of several runs the mean of their own, by their
        independent samples.
    certificate_ : float
        Largest violation of stationarity over the grid at the end of that history.
    stationarity_ : float
        Largest derivative of the energy left in the logarithm of a variance or, by the spacing of
        the grid, in a place.
    growth_ : float
        The certificate over the continuum: log evidence in nats that a further source could add, at
        the best place on the grid or between; with weights, evidence and weight together. Over
        several runs it is counted along the pooled best prior.
    weights_ : ndarray, shape (n_sources,)
        Prior weight in nats at each place; it is in none of the evidences, nor in ``energy_``.
    n_effective_ : float
        Independent samples that the evidence counts, of all runs together.
    noises_ : list of ``meg_vae.model.noise.Noise``
        How the noise of each run goes on in time.
    motion_, motion_covariance_ : ndarray, shape (n_motion,) and (n_motion, n_motion)
        Motion δ of the field, and how sure it is with all else unknown too (Laplace); of no
        parameters where none is given or learnt.
    motion_evidence_ : float
        Log evidence in nats that it has moved; NaN where that is not asked.

    Examples
    --------
    >>> import numpy as np
    >>> from meg_vae import SlidingVAE
    >>> t = np.linspace(0, 1, 80)
    >>> def field(r):  # a bump at r, and its derivative
    ...     bump = np.exp(-((t - r) ** 2) / (2 * 0.05**2))
    ...     return bump[:, :, None], (bump * (t - r) / 0.05**2)[:, :, None, None]
    >>> rng = np.random.default_rng(0)
    >>> X = field(np.array([[0.3137], [0.6412]]))[0][:, :, 0].T @ rng.standard_normal((2, 30))
    >>> X += 0.05 * rng.standard_normal(X.shape)
    >>> model = SlidingVAE().fit(field, np.linspace(0, 1, 41)[:, None], X)
    >>> np.sort(model.places_[:, 0]).round(2)
    array([0.31, 0.64])
    """

    def __init__(
        self,
        *,
        noise_variance: float | str = "learn",
        min_log_evidence: float = MIN_LOG_EVIDENCE,
        tol: float = 1e-3,
        max_iter: int = 2000,
    ) -> None:
        self.noise_variance = noise_variance
        self.min_log_evidence = min_log_evidence
        self.tol = tol
        self.max_iter = max_iter

    @one_thread
    def fit(
        self,
        field: Callable[[Places], tuple[ArrayLike, ArrayLike]],
        grid: ArrayLike,
        X: ArrayLike | Sequence[ArrayLike],
        *,
        dictionary: Dictionary | Sequence[Dictionary] | None = None,
        errors: Callable[[Places], ArrayLike] | None = None,
        confine: Callable[[Places], Places] | None = None,
        n_effective: float | Sequence[float] | None = None,
        n_noise: float | Sequence[float] = np.inf,
        stretches: Sequence[int] | Sequence[Sequence[int] | None] | None = None,
        white: bool = False,
        weights: ArrayLike | None = None,
        swing: ArrayLike = (),
        min_motion_evidence: float = -np.inf,
        extended: Extended | None = None,
        switching: bool = False,
        field_error: float = 0.0,
    ) -> SlidingVAE:
        """Fit places, priors and noise to data.

        Parameters
        ----------
        field : callable
            ``field(r)`` gives, at places of shape (m, n_dimensions), the columns, shape
            (m, n_channels, n_orient), and their gradient, shape (m, n_channels, n_orient,
            n_dimensions).
        grid : array_like, shape (n_positions, n_dimensions)
            Where the search begins; close enough that the field changes little between neighbours.
        X : array_like, shape (n_channels, n_samples) | list of these
            Data. Those of a list are runs that share their sources, each seen by sensors of its
            own: the field has the channels of all of them, one run after the other.
        dictionary : Dictionary | list of Dictionary | None
            The field on the grid, of each run, where it is known already.
        errors : callable | None
            ``errors(r)`` gives patterns by which the field may be wrong, shape (m, n_patterns,
            n_channels, n_orient): it is taken for known up to their sum with weights N(0, 1).
        confine : callable | None
            ``confine(r)`` moves places back to where the field is known; None takes the box of the
            grid.
        n_effective : float | list of float | None
            Independent samples, at most, of each run; None counts the columns of X.
        n_noise : float | list of float
            Samples, at the rate of the data, from which the covariance was estimated that X was
            whitened with, of all runs or of each; infinity where it is known.
        stretches : sequence of int | list of these | None
            Lengths of the stretches of consecutive time points in X, which add up to its samples,
            of each run: it is learnt how the noise goes on in them. None takes the samples as
            independent.
        white : bool
            Whether the noise in stretches is taken for white instead.
        weights : array_like, shape (n_positions,) | None
            Log prior odds of a source at each position of the grid, in nats, relative to the
            others; between them as in ``meg_vae.model.sliding.prior``. A source stays, and enters,
            when log evidence and weight together are ``min_log_evidence`` or more, and its place
            minimises J − (2/n) w(r). A weight counts up to ``min_log_evidence − 1``. −inf excludes
            a position, and places nearer to it than to others.
        swing : array_like, shape (n_motion,)
            Where all of the field may have moved by parameters δ ~ N(0, I), the same for all
            sources, how far one standard deviation of each takes it, in the unit of the grid.
            ``field(r, δ)`` then gives the derivatives in them, shape (m, n_motion, n_channels,
            n_orient), behind the gradient; ``field(r)`` and ``dictionary`` are of δ = 0.
        min_motion_evidence : float
            Log evidence in nats that a motion must carry; with less there is none.
        extended : ``meg_vae.model.sliding.field.Extended`` | None
            Sources that are larger than a point, as ``meg_vae.meg.discs.Discs`` gives them: a
            source becomes one where that explains the data better. None leaves points alone.
        switching : bool
            Whether sources may be active in a part of the data alone, with Γ_k there, and silent in
            all else: of a single stretch a span of time (``spans_``), of several any of them
            (``active_``), the same of all runs.
        field_error : float
            Share by which the field of a source may be wrong, beside ``errors``: what that of
            stronger sources could thereby put into the data, with their time courses, is no
            evidence for a source, and places are the less sure the stronger a source is
            (``meg_vae.model.sliding.mistaken``).

        Returns
        -------
        self : SlidingVAE
            The fitted model.

        Raises
        ------
        TypeError
            If ``extended`` is something else.
        ValueError
            If a shape, an entry or an option is wrong.
        """
        places, spacing = self._check(grid)
        check_option("white", white, (True, False))
        check_option("switching", switching, (True, False))
        check_share("field_error", field_error)
        if not (extended is None or isinstance(extended, Extended)):
            raise TypeError(
                f"extended={extended!r} must tell of sources that are larger than a point, as "
                "meg_vae.meg.discs.Discs does, or be None."
            )
        given = None if weights is None else check_weights(weights, len(places))
        prior, least = place_prior(places, given, spacing, self.min_log_evidence)
        box = places.min(0), places.max(0)
        walls = confine or (lambda r: np.clip(r, *box))
        inside = walls if prior is None else prior.within(walls)
        moving = torch.as_tensor(check_swing(swing))
        still = torch.zeros_like(moving)
        columns = Field(
            field, spacing, errors, inside, swing=moving, motion=still, wrong=field_error
        )
        columns = columns.with_extended(extended, places[:1])
        grid = torch.as_tensor(places)
        if extended is not None:  # points to begin with
            grid = torch.nn.functional.pad(grid, (0, 1))
        own = (dictionary, n_effective, n_noise, stretches)
        options = self.noise_variance, white
        recorded = recorded_runs(columns, grid, X, *own, *options)
        if prior is not None and len(prior.allowed) < len(places):
            allowed = torch.as_tensor(prior.allowed)
            grid, recorded = grid[allowed], [one.only(allowed) for one in recorded]
        solutions = [
            one.on_grid(self.noise_variance, tol=self.tol, max_iter=self.max_iter)
            for one in recorded
        ]
        found = fit_places(
            columns,
            grid,
            recorded,
            solutions,
            learn=noise_variance_of(self.noise_variance).learnt,
            least=least,
            prior=prior,
            asked=min_motion_evidence,
            switching=switching,
        )
        share = [one.n / sum(one.n for one in recorded) for one in recorded]
        steps = max(len(solution.history) for solution in solutions)
        rows = [np.append(a.history, [a.energy] * (steps - len(a.history))) for a in solutions]
        self.history_ = share @ np.array(rows)
        self.grid_energy_ = found.start_energy
        self.certificate_ = max(float(solution.certificate) for solution in solutions)
        self._keep(found, recorded)
        self.weights_ = weights_at(self.places_, places, given, spacing)
        return self

    def _check(self, grid: ArrayLike) -> tuple[NDArray[np.float64], float]:
        """Refuse wrong options and a grid that is none; the grid as a matrix, and its spacing."""
        if self.noise_variance == "anneal":
            raise ValueError(
                "noise_variance='anneal' is for a fixed dictionary (SparseVAE); hold it at a "
                "number, or use 'learn'."
            )
        if not (np.isfinite(self.min_log_evidence) and self.min_log_evidence >= 0):
            raise ValueError(
                f"min_log_evidence={self.min_log_evidence!r} must be a number of nats, 0 or more."
            )
        places = np.array(grid, dtype=np.float64)
        if places.ndim != 2 or len(places) < 2 or not np.isfinite(places).all():
            raise ValueError(
                "grid must be finite and have shape (n_positions, n_dimensions) with two positions "
                f"or more, got shape {places.shape}."
            )
        spacing = typical_spacing(places)
        if spacing == 0:
            raise ValueError("grid has most of its positions twice; give each once.")
        return places, spacing

    def _keep(self, found: PlaceFit, recorded: Sequence[Recorded]) -> None:
        """Keep what a fit found, strongest evidence first."""
        order = found.log_evidence.argsort(descending=True)
        self.fit_ = found.ordered(order)
        self.places_ = self.fit_.places.numpy()
        self.extents_ = self.fit_.extents.numpy()
        self.extent_intervals_ = self.fit_.extent_intervals.numpy()
        self.place_covariance_ = self.fit_.spread.places.numpy()
        self.log_evidence_ = self.fit_.log_evidence.numpy()
        noise = self.fit_.noise_variance.numpy()
        self.noise_variance_ = noise if self.noise_variance == "per_channel" else float(noise[0])
        self.energy_ = self.fit_.energy
        self.stationarity_ = self.fit_.stationarity
        self.growth_ = self.fit_.offer
        self._keep_activity(len(recorded[0].stretches or [0]))
        self.n_effective_ = sum(self.fit_.n_effective)
        self.noises_ = self.fit_.noises
        self.motion_ = self.fit_.motion.numpy()
        self.motion_covariance_ = self.fit_.spread.motion.numpy()
        self.motion_evidence_ = self.fit_.motion_evidence
        self._sizes = [one.dictionary.n_channels for one in recorded]
        self.U_ = self.transform([one.X.numpy() for one in recorded])

    def _keep_activity(self, n_stretches: int) -> None:
        """Keep when, or in which stretches, each source is active."""
        active, said = self.fit_.active, self.fit_.piece_evidence
        several = active.shape[1] == n_stretches > 1
        always = active.new_ones(len(active), n_stretches)
        self.active_ = (active if several else always).numpy() > 0
        alone = self.fit_.log_evidence[:, None].expand_as(always)
        self.stretch_evidence_ = (said if several else alone).numpy()
        spans = [span_in_samples(one, self.fit_.edges) for one in active if not several]
        self.spans_ = np.array(spans or [(-np.inf, np.inf)] * len(active)).reshape(-1, 2)

    def transform(self, X: ArrayLike | Sequence[ArrayLike]) -> NDArray[np.float64]:
        """Estimate the activity behind new data with the fitted model.

        Parameters
        ----------
        X : array_like, shape (n_channels, n_samples) | list of these
            Data, of each run.

        Returns
        -------
        U : ndarray, shape (n_sources, n_orient, n_samples)
            The posterior mean, in one run after the other.

        Raises
        ------
        ValueError
            If there are more or fewer runs than in the fit, or their shapes do not suit.
        """
        runs = listed(X)
        if len(runs) != len(self._sizes):
            raise ValueError(
                f"X holds {len(runs)} runs, and the fit had {len(self._sizes)}; give one of each."
            )
        maps = np.split(self.fit_.inverse_map.numpy(), np.cumsum(self._sizes)[:-1], axis=2)
        parts = [own @ check_data(one, own.shape[2]) for own, one in zip(maps, runs, strict=True)]
        return np.concatenate(parts, axis=2)
