"""SparseVAE: row-sparse regression X = ΦU by a linear variational autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from meg_vae.model.checks import (
    check_data,
    check_evidence,
    check_noise_samples,
    check_option,
    check_positive,
    check_stretches,
)
from meg_vae.model.decoders import BlockDecoder, RowScaleDecoder
from meg_vae.model.energy import energy_terms
from meg_vae.model.evidence import model_log_evidence, source_covariance
from meg_vae.model.exact.dictionary import Dictionary
from meg_vae.model.exact.threads import one_thread
from meg_vae.model.fit import Fit
from meg_vae.model.noise import Noise
from meg_vae.model.noise_variance import noise_variance_of
from meg_vae.model.priors import Prior, prior_of
from meg_vae.model.row_sparse import RowSparseModel
from meg_vae.model.selection import select_sources
from meg_vae.model.solve import solve
from meg_vae.model.train import train
from meg_vae.model.weights import check_weights, counted

AGAIN = 3  # fits at most, each with the noise learnt from what the one before left
VISIBLE = 1e-8  # part of the largest γ below which gradient training has let a position go


class SparseVAE(RowSparseModel):
    """Row-sparse multiple-response regression by a linear VAE whose decoder is Φ diag(w_x).

    Parameters
    ----------
    n_orient : int
        Columns of Φ that make up one position and share its variance.
    noise_variance : float | "learn" | "per_channel" | "anneal"
        Decoder noise variance λ: held at a number, learnt for all channels together or for each, or
        lowered towards zero for data without noise.
    orientation : "shared" | "full"
        One variance for the columns of a position, or a full covariance among them, which learns an
        orientation.
    solver : "exact" | "gradient"
        Certified second-order minimiser, or gradient training of the same energy.
    min_log_evidence : float
        Sources that carry less log evidence, together with those that share their generator, are
        taken out after the fit, the weakest first, in nats. At 0 all stay.
    tol : float
        Target of the certificate (exact), dimensionless.
    max_iter : int
        Most accepted steps (exact) or iterations (gradient).
    restarts : int
        Further starts of the exact solver in search of a lower minimum, at about the cost of a fit
        each.
    device : str | None
        Torch device of the exact solver; None is the CPU.
    progress : bool
        Show a progress bar in gradient training.

    Attributes
    ----------
    U_ : ndarray, shape (n_dipoles, n_samples)
        Posterior mean of the activity, row-sparse, in the unit of X over that of Φ.
    gamma_ : ndarray, shape (n_groups,)
        Prior variance γ of each position.
    w_x_ : ndarray, shape (n_dipoles,)
        Decoder scales; with a full covariance, the prior standard deviation of each dipole.
    noise_variance_ : float | ndarray, shape (n_channels,)
        λ.
    active_ : ndarray of bool, shape (n_groups,)
        Positions with γ > 0.
    fit_ : Fit
        The sources themselves, as `meg_vae.model.fit.Fit` holds them.
    energy_ : float
        Energy per sample J of the fitted model, in nats × 2.
    history_ : ndarray, shape (n_steps,)
        J after every accepted step, before sources were taken out for want of evidence.
    certificate_ : float
        Largest violation of stationarity over all positions at the end of that history; NaN for
        gradient training, which gives none.
    source_log_evidence_ : ndarray, shape (n_groups,)
        Log evidence lost by taking out that position alone, in nats; 0 where inactive. Weights are
        in none of the evidences, nor in the energy.
    cluster_ : ndarray of int, shape (n_groups,)
        Number of the cluster of each active position, from 0, and −1 where inactive. Those of one
        cluster share one generator: they are alike in their fields and in their time courses.
    cluster_log_evidence_ : ndarray, shape (n_groups,)
        Log evidence lost by taking out the whole cluster of that position, in nats; 0 where
        inactive.
    log_evidence_ : float
        Log evidence of the whole model in nats, to compare dictionaries on identical data; see
        `meg_vae.model.evidence.model_log_evidence`.
    n_effective_ : float
        Independent samples that the evidence of the sources counts.

    Notes
    -----
    At its optimum the energy is the type-II likelihood, so Champagne and gamma-MAP seek the same
    optimum.

    Examples
    --------
    >>> import numpy as np
    >>> from meg_vae import SparseVAE
    >>> rng = np.random.default_rng(0)
    >>> Phi, U = rng.standard_normal((20, 50)), np.zeros((50, 30))
    >>> U[[3, 17]] = rng.standard_normal((2, 30))
    >>> model = SparseVAE(noise_variance="anneal").fit(Phi, Phi @ U)
    >>> np.flatnonzero(model.active_)
    array([ 3, 17])
    """

    def __init__(
        self,
        n_orient: int = 1,
        *,
        noise_variance: float | str = "learn",
        orientation: str = "shared",
        solver: str = "exact",
        min_log_evidence: float = 0.0,
        tol: float = 1e-3,
        max_iter: int = 2000,
        restarts: int = 0,
        device: str | None = None,
        progress: bool = False,
    ) -> None:
        self.n_orient = n_orient
        self.noise_variance = noise_variance
        self.orientation = orientation
        self.solver = solver
        self.min_log_evidence = min_log_evidence
        self.tol = tol
        self.max_iter = max_iter
        self.restarts = restarts
        self.device = device
        self.progress = progress

    @one_thread
    def fit(
        self,
        Phi: ArrayLike | Dictionary,
        X: ArrayLike,
        *,
        n_effective: float | None = None,
        n_noise: float = np.inf,
        stretches: Sequence[int] | None = None,
        white: bool = False,
        weights: ArrayLike | None = None,
    ) -> SparseVAE:
        """Fit the decoder and the noise to data.

        Parameters
        ----------
        Phi : array_like, shape (n_channels, n_dipoles) | Dictionary
            The dictionary; a prepared one saves its preparation when many data sets are fitted.
        X : array_like, shape (n_channels, n_samples)
            Data.
        n_effective : float | None
            Independent samples that the evidence counts; None counts the columns of X. It may be
            more than these where X is a factor of the covariance of many samples.
        n_noise : float
            Samples, at the rate of the data, from which the covariance was estimated that X was
            whitened with; infinity where it is known.
        stretches : sequence of int | None
            Lengths of the stretches of consecutive time points in X, which add up to its samples:
            it is learnt how the noise goes on in them. None takes the samples as independent.
        white : bool
            Whether the noise in stretches is taken for white instead.
        weights : array_like, shape (n_groups,) | None
            Log prior odds of a source at each position, in nats, relative to the others: a source
            stays, and enters, when log evidence and weight together are ``min_log_evidence`` or
            more, and moves where they are larger. A weight counts up to ``min_log_evidence − 1``,
            so that none makes a source by itself; −inf excludes a position. None is 0 everywhere.

        Returns
        -------
        self : SparseVAE
            The fitted model.

        Raises
        ------
        ValueError
            If a shape, an entry or an option is wrong.
        """
        self._check_options()
        dictionary, checked = self._prepare(Phi, X, self.device)
        data = torch.as_tensor(checked, device=dictionary.device)
        if n_effective is not None:
            check_positive("n_effective", n_effective)
        check_stretches(stretches, data.shape[1])
        check_option("white", white, (True, False))
        check_noise_samples(n_noise, self.noise_variance)
        if self.solver == "gradient" and np.isfinite(n_noise):
            raise ValueError(f"n_noise={n_noise!r} needs solver='exact'.")
        given = None if weights is None else check_weights(weights, dictionary.n_groups)
        judged = counted(given, self.min_log_evidence)
        most = float(data.shape[1] if n_effective is None else n_effective)
        noise, seen, n = Noise(float(n_noise), held=white), data, most
        for again in range(AGAIN):
            found, n_allowed = self._minimum(dictionary, seen, noise, n, judged[0])
            self.fit_ = self._select(dictionary, found, seen, noise, n, judged)
            if stretches is None or again == AGAIN - 1:
                break
            learnt = noise.learnt(self.fit_.residual(data), stretches, dictionary)
            if learnt.alike(noise):
                break
            noise, seen = learnt, learnt.independent(data, stretches)
            n = min(most, float(seen.shape[1]))
        self.noise_, self.n_effective_ = noise, n
        self._tell(noise.inflation(dictionary.n_channels))
        self.log_evidence_ = model_log_evidence(
            self.energy_,
            noise.log_constant(n, self.fit_.n_directions, stretches),
            n_effective=n,
            n_groups=n_allowed,
            n_active=len(self.fit_.positions),
            n_free=self._prior.n_free(self.n_orient),
        )
        self.U_ = self.transform(_numpy(data))
        return self

    def _check_options(self) -> None:
        noise_variance_of(self.noise_variance)
        prior_of(self.orientation, self.n_orient)
        check_option("solver", self.solver, ("exact", "gradient"))
        check_evidence(self.min_log_evidence)
        check_positive("tol", self.tol)
        check_positive("max_iter", self.max_iter)
        if self.solver == "gradient" and self.noise_variance == "per_channel":
            raise ValueError("noise_variance='per_channel' needs solver='exact'.")

    @property
    def _prior(self) -> Prior:
        """What the covariance of a position may be."""
        return prior_of(self.orientation, self.n_orient)

    def _minimum(
        self,
        dictionary: Dictionary,
        X: Tensor,
        noise: Noise,
        n: float,
        weights: NDArray[np.float64] | None,
    ) -> tuple[Fit, int]:
        """Minimise over the positions that are not excluded; and how many these are."""
        if weights is None or np.isfinite(weights).all():
            return self._solve(dictionary, X, noise, n), dictionary.n_groups
        allowed = torch.as_tensor(np.flatnonzero(np.isfinite(weights)), device=X.device)
        few = self._solve(dictionary.only(allowed), X, noise, n)
        positions, n_positions = allowed[few.positions], dictionary.n_groups
        return replace(few, positions=positions, n_positions=n_positions), len(allowed)

    def _solve(self, dictionary: Dictionary, X: Tensor, noise: Noise, n: float) -> Fit:
        if self.solver == "gradient":
            return self._train(dictionary, X)
        d = dictionary.n_channels
        return solve(
            dictionary,
            X,
            noise_variance=noise.variance(self.noise_variance, d),
            certainty=noise.certainty(n, d),
            orientation=self._prior,
            tol=self.tol,
            max_iter=self.max_iter,
            restarts=self.restarts,
        )

    def _train(self, dictionary: Dictionary, X: Tensor) -> Fit:
        kind = BlockDecoder if self.orientation == "full" else RowScaleDecoder
        power = float(X.square().sum(0).mean() / dictionary.n_groups)
        decoder = kind(dictionary.Phi, self.n_orient, gamma=power)
        result = train(
            decoder,
            X,
            noise_variance=self.noise_variance,
            max_iter=self.max_iter,
            progress=self.progress,
        )
        gamma, factor = decoder.gamma.detach(), decoder.factor.detach()
        found = (gamma > VISIBLE * gamma.max()).nonzero()[:, 0]
        return Fit(
            positions=found,
            n_positions=dictionary.n_groups,
            columns=dictionary.as_given(found),
            factor=factor[found] / dictionary.norms[found, None, None],
            noise_variance=result.noise_variance,
            n_directions=dictionary.n_channels,
            energy=result.history[-1],
            history=result.history,
            certificate=torch.tensor(torch.nan),
        )

    def _select(
        self,
        dictionary: Dictionary,
        found: Fit,
        X: Tensor,
        noise: Noise,
        n: float,
        judged: tuple[NDArray[np.float64] | None, float],
    ) -> Fit:
        """Keep the sources with evidence."""
        weights, least = judged
        return select_sources(
            dictionary,
            found,
            X,
            noise_variance=self.noise_variance,
            orientation=self._prior,
            n_effective=n,
            min_log_evidence=least,
            tol=self.tol / 10,
            certainty=noise.certainty(n, dictionary.n_channels),
            weights=None if weights is None else torch.as_tensor(weights, device=X.device),
        )

    def _tell(self, inflation: float) -> None:
        """Say of all positions what the fit says of its sources; λ relative to the covariance."""
        fit = self.fit_
        variance = _numpy(fit.noise_variance / inflation)
        self.noise_variance_ = variance if variance.ndim else float(variance)
        self.gamma_ = _numpy(fit.gamma)
        self.w_x_ = _numpy(fit.everywhere(torch.linalg.vector_norm(fit.factor, dim=2)).flatten())
        self.active_ = self.gamma_ > 0
        self.energy_ = float(fit.energy)
        self.source_log_evidence_ = _numpy(fit.everywhere(fit.log_evidence))
        self.cluster_ = fit.everywhere(fit.cluster, -1).cpu().numpy()
        self.cluster_log_evidence_ = _numpy(fit.everywhere(fit.cluster_log_evidence))
        self.history_ = _numpy(fit.history)
        self.certificate_ = float(fit.certificate)
        self.timings_ = fit.timings

    def _active_maps(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return _numpy(self.fit_.posterior.W_z), _numpy(self.fit_.inverse_map.flatten(0, 1))

    def prior_covariance(self) -> NDArray[np.float64]:
        """Prior covariance of the dipoles of each active position.

        Returns
        -------
        covariance : ndarray, shape (n_active, n_orient, n_orient)
            γ times the identity for a shared prior.
        """
        return _numpy(self.fit_.factor @ self.fit_.factor.mT)

    def posterior_covariance(self) -> NDArray[np.float64]:
        """Posterior covariance of the dipoles of each active position.

        Returns
        -------
        covariance : ndarray, shape (n_active, n_orient, n_orient)
            Conditional on γ, hence overconfident; the same at every sample.
        """
        return _numpy(source_covariance(self.fit_.posterior, self.fit_.factor))

    def posterior_std(self) -> NDArray[np.float64]:
        """Posterior standard deviation of the activity, conditional on γ and hence overconfident.

        Returns
        -------
        std : ndarray, shape (n_dipoles,)
            In the unit of U, the same at every sample; 0 where inactive.
        """
        out = np.zeros(self.fit_.n_positions * self.n_orient)
        variance = np.diagonal(self.posterior_covariance(), axis1=1, axis2=2)
        out[self.active_dipoles_] = np.sqrt(variance).ravel()
        return out

    def energy_terms(self, X: ArrayLike) -> dict[str, float]:
        """Evaluate the six terms of the energy on data, at the optimal encoder.

        Parameters
        ----------
        X : array_like, shape (n_channels, n_samples)
            Data.

        Returns
        -------
        terms : dict of str: float
            The terms in nats × 2; their sum is n_samples × (J + n_dipoles).
        """
        fit, encoder = self.fit_, self.fit_.posterior
        data = torch.as_tensor(check_data(X, len(fit.columns)), device=fit.columns.device)
        terms = energy_terms(data, fit.decoder, fit.noise_variance, encoder.W_z, encoder.S)
        out = {name: float(value) for name, value in vars(terms).items()}
        n_inactive = fit.n_positions * self.n_orient - len(encoder.S)
        out["encoder_variance"] += data.shape[1] * n_inactive  # their latents stay at the prior
        return out


def _numpy(tensor: Tensor) -> NDArray[np.float64]:
    array: NDArray[np.float64] = tensor.detach().cpu().numpy()
    return array
