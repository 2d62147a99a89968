"""NonlinearVAE: row-sparse X = ΦU whose activity is a trained function of the latents."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from meg_vae.model.checks import check_data, check_evidence, check_positive, check_whole
from meg_vae.model.encoders import BentEncoder, Encoder, TrainedEncoder, optimal_encoder
from meg_vae.model.exact.threads import one_thread
from meg_vae.model.fit import Fit
from meg_vae.model.nonlinear_decoders import Rows, TailedDecoder
from meg_vae.model.sparse_vae import SparseVAE
from meg_vae.model.train import energy_by_draws, train

MANY = 400  # draws by which energies are compared; the same ones for all
AGAIN = 300  # steps that an encoder has to get used to a source that is gone
START = 0.5  # of the least evidence: what a source of the linear model has to carry to be tried
FALL = 0.2  # of the learning rate of the first training, in those


class NonlinearVAE:
    """Row-sparse regression by a VAE with any decoder of activity and any encoder.

    It begins at the minimum of the linear `SparseVAE`, with the sources that carry half of
    ``min_log_evidence`` there, and trains decoder, encoder and noise variance from it by gradient
    descent of the same energy.

    Parameters
    ----------
    decoder : callable
        Makes a module of weighted columns, Tensor of shape (n_channels, n_latents): one with
        ``Phi``, these columns, and ``activity(z)``, which is U in their units and at first little
        else than z. The default, ``meg_vae.model.nonlinear_decoders.TailedDecoder``, learns how
        heavy the tails of the activity are.
    encoder : callable | None
        Makes an `Encoder` of ``(decoder, n_latents, n_channels)``; one with a
        ``start_at(W_z, covariance)`` begins at the posterior of the linear model. None is a map of
        the data, unbent by the decoder's ``straighten`` where it has one.
    n_orient : int
        Columns of Φ that make up one position.
    noise_variance : float | "learn"
        λ, held at a number or learnt.
    orientation : "shared" | "full"
        As in `SparseVAE`, of the linear model.
    min_log_evidence : float
        Sources with less log evidence are taken out, the weakest first, in nats.
    learning_rate, max_iter : float, int
        Of Adam.
    n_draws : int
        Draws of the latents in each step.
    random_state : int
        Seed of the draws.
    progress : bool
        Show a progress bar.

    Attributes
    ----------
    U_ : ndarray, shape (n_dipoles, n_samples)
        Posterior mean of the activity, row-sparse, in the unit of X over that of Φ.
    active_ : ndarray of bool, shape (n_groups,)
        Positions with a source.
    noise_variance_ : float
        λ.
    energy_ : float
        Energy per sample J, by draws, in nats × 2.
    history_ : ndarray, shape (n_steps,)
        J after every step of the training, each by a few draws.
    source_log_evidence_ : ndarray, shape (n_groups,)
        Log evidence lost by taking out that position, with an encoder trained anew, in nats; 0
        where inactive. Both energies are bounds of the likelihood.
    bending_log_evidence_ : float
        Log evidence of the decoder above that of the linear model with the same sources, in nats, a
        bound less a likelihood: above 0 it speaks for the decoder.
    decoder_, encoder_ : nn.Module
        As trained, of the sources that stay.
    linear_ : SparseVAE
        Where it began.

    Notes
    -----
    U is no linear map of the data, hence there is no inverse map, filter or certificate. As b = 1
    of the default decoder is the linear model, its energy is a little above that one's where the
    activity is Gaussian, by what the training leaves, and below it where it is not. What is left
    grows with the signal: of rows a thousand times the noise it can reach tens of nats.

    Examples
    --------
    >>> import numpy as np
    >>> from meg_vae import NonlinearVAE
    >>> rng = np.random.default_rng(0)
    >>> Phi, U = rng.standard_normal((20, 50)), np.zeros((50, 30))
    >>> U[[3, 17]] = rng.standard_t(2, (2, 30))
    >>> X = Phi @ U + 0.1 * rng.standard_normal((20, 30))
    >>> model = NonlinearVAE(min_log_evidence=10, max_iter=300).fit(Phi, X)
    >>> np.flatnonzero(model.active_)
    array([ 3, 17])
    """

    def __init__(
        self,
        decoder: Callable[[Tensor], nn.Module] = TailedDecoder,
        encoder: Callable[[nn.Module, int, int], Encoder] | None = None,
        *,
        n_orient: int = 1,
        noise_variance: float | str = "learn",
        orientation: str = "shared",
        min_log_evidence: float = 0.0,
        learning_rate: float = 3e-3,
        max_iter: int = 1500,
        n_draws: int = 4,
        random_state: int = 0,
        progress: bool = False,
    ) -> None:
        self.decoder = decoder
        self.encoder = encoder
        self.n_orient = n_orient
        self.noise_variance = noise_variance
        self.orientation = orientation
        self.min_log_evidence = min_log_evidence
        self.learning_rate = learning_rate
        self.max_iter = max_iter
        self.n_draws = n_draws
        self.random_state = random_state
        self.progress = progress

    @one_thread
    def fit(self, Phi: ArrayLike, X: ArrayLike) -> NonlinearVAE:
        """Fit decoder, encoder and noise to data.

        Parameters
        ----------
        Phi : array_like, shape (n_channels, n_dipoles)
            The dictionary.
        X : array_like, shape (n_channels, n_samples)
            Data.

        Returns
        -------
        self : NonlinearVAE
            The fitted model.

        Raises
        ------
        ValueError
            If a shape, an entry or an option is wrong.
        TypeError
            If ``decoder`` or ``encoder`` cannot be called.
        FloatingPointError
            If the training diverges.
        """
        check_positive("learning_rate", self.learning_rate)
        check_evidence(self.min_log_evidence)
        for name in ("max_iter", "n_draws"):
            check_whole(name, getattr(self, name))
        for name, made in (("decoder", self.decoder), ("encoder", self.encoder or _encoder)):
            if not callable(made):
                raise TypeError(f"{name}={made!r} must make a module, as a class does.")
        if isinstance(self.noise_variance, str) and self.noise_variance != "learn":
            raise ValueError(
                f"noise_variance={self.noise_variance!r} must be 'learn' or a number; SparseVAE "
                "has the others."
            )
        self.linear_ = self._linear(START * self.min_log_evidence).fit(Phi, X)
        data = torch.as_tensor(check_data(X, np.shape(Phi)[0]))
        fit, evidence = self.linear_.fit_, torch.zeros(0, dtype=torch.float64)
        while len(fit.positions):
            self._train(fit, data)
            evidence = self._evidence(fit, data)
            weak = int(evidence.argmin())
            if evidence[weak] >= self.min_log_evidence:
                break
            fit = fit.only(torch.arange(len(evidence)) != weak)
            evidence = evidence[:0]
        self._tell(fit, evidence, data)
        return self

    def _train(self, fit: Fit, X: Tensor) -> None:
        """Train all from the minimum of the linear model with these sources."""
        P, start = fit.decoder, fit.posterior
        self.decoder_: Any = self.decoder(P)
        encoder: Any = (self.encoder or _encoder)(self.decoder_, P.shape[1], len(P))
        self.encoder_ = encoder
        if hasattr(encoder, "start_at"):
            encoder.start_at(start.W_z, start.covariance)
        trained = train(
            self.decoder_,
            X,
            encoder=self.encoder_,
            noise_variance=self.noise_variance,
            noise_start=float(fit.noise_variance),
            optimizer="adam",
            learning_rate=self.learning_rate,
            max_iter=self.max_iter,
            tol=-np.inf,
            n_draws=self.n_draws,
            random_state=self.random_state,
            progress=self.progress,
        )
        self._noise, self.history_ = trained.noise_variance, trained.history.numpy()
        self.energy_ = self._energy(self.decoder_, self.encoder_, X)

    def _evidence(self, fit: Fit, X: Tensor) -> Tensor:
        """Log evidence of each source: what is lost without it, with an encoder used to that."""
        m = len(fit.positions)
        keep = [torch.arange(m).repeat_interleave(self.n_orient) != k for k in range(-1, m)]
        J = torch.tensor([self._without(one, X) for one in keep], dtype=X.dtype)
        return X.shape[1] / 2 * (J[1:] - J[0])

    def _without(self, keep: Tensor, X: Tensor) -> float:
        """Energy of the decoder with only some rows of its activity; its encoder trained anew."""
        decoder, encoder = Rows(self.decoder_, keep), deepcopy(self.encoder_)
        if hasattr(encoder, "start_at"):
            self._get_used(encoder, keep)
        train(
            decoder,
            X,
            encoder=encoder,
            noise_variance=float(self._noise),
            optimizer="adam",
            learning_rate=FALL * self.learning_rate,
            max_iter=min(AGAIN, self.max_iter),
            tol=-np.inf,
            n_draws=self.n_draws,
            random_state=self.random_state,
        )
        return self._energy(decoder, encoder, X)

    def _get_used(self, encoder: Any, keep: Tensor) -> None:
        """Change an encoder as the best one of a linear decoder would, best in the mean square."""
        P, own = self.decoder_.Phi, getattr(encoder, "straight", encoder)
        generator = torch.Generator().manual_seed(self.random_state)
        z = torch.randn(P.shape[1], MANY * P.shape[1], generator=generator, dtype=P.dtype)
        with torch.no_grad():
            slopes = torch.linalg.lstsq(z.T, self.decoder_.activity(z).T).solution.T
            whole, part = (
                optimal_encoder(P @ (rows * slopes), self._noise)
                for rows in (torch.ones_like(keep)[:, None], keep[:, None])
            )
            L, L0 = (torch.linalg.cholesky(one.covariance) for one in (part, whole))
            S = L @ torch.linalg.solve_triangular(L0, own.S, upper=False)
            encoder.start_at(own.W_z + part.W_z - whole.W_z, S @ S.T)

    def _energy(self, decoder: nn.Module, encoder: Encoder, X: Tensor) -> float:
        return energy_by_draws(decoder, encoder, X, self._noise, MANY, self.random_state)

    def _tell(self, fit: Fit, evidence: Tensor, X: Tensor) -> None:
        """Say of all positions what the trained model says of its sources."""
        self._fit, n = fit, X.shape[1]
        everywhere = fit.everywhere(evidence) if len(evidence) else torch.zeros(fit.n_positions)
        self.source_log_evidence_ = everywhere.numpy().astype(float)
        self.active_ = np.isin(np.arange(fit.n_positions), fit.positions.numpy())
        if not self.active_.any():
            self._noise, self.history_ = X.square().mean(), np.zeros(0)
            if not isinstance(self.noise_variance, str):
                self._noise = torch.tensor(float(self.noise_variance), dtype=X.dtype)
            self.energy_ = float(len(X) * self._noise.log() + X.square().sum() / (n * self._noise))
        self.noise_variance_ = float(self._noise)
        self.bending_log_evidence_ = n / 2 * (self._linear_energy(fit, X) - self.energy_)
        self.U_ = self.transform(X.numpy())

    def _linear_energy(self, fit: Fit, X: Tensor) -> float:
        """J of the linear model with these sources, minimised again."""
        if not len(fit.positions):
            return self.energy_
        return self._linear().fit(fit.columns.flatten(1).numpy(), X.numpy()).energy_

    def _linear(self, min_log_evidence: float = 0.0) -> SparseVAE:
        return SparseVAE(
            self.n_orient,
            noise_variance=self.noise_variance,
            orientation=self.orientation,
            min_log_evidence=min_log_evidence,
        )

    def transform(self, X: ArrayLike) -> NDArray[np.float64]:
        """Estimate the activity behind data with the fitted model.

        Parameters
        ----------
        X : array_like, shape (n_channels, n_samples)
            Data.

        Returns
        -------
        U : ndarray, shape (n_dipoles, n_samples)
            Its posterior mean; inactive rows are zero.
        """
        return self._moment(X, lambda draws: draws.mean(0))

    def posterior_std(self, X: ArrayLike) -> NDArray[np.float64]:
        """Posterior standard deviation of the activity behind data, conditional on the decoder.

        Parameters
        ----------
        X : array_like, shape (n_channels, n_samples)
            Data.

        Returns
        -------
        std : ndarray, shape (n_dipoles, n_samples)
            In the unit of the activity; 0 in inactive rows.
        """
        return self._moment(X, lambda draws: draws.std(0))

    def _moment(self, X: ArrayLike, of: Callable[[Tensor], Tensor]) -> NDArray[np.float64]:
        """Give a moment of the activity over draws of the encoder, the same ones each time."""
        fit = self._fit
        data = torch.as_tensor(check_data(X, len(fit.columns)))
        m, o = len(fit.positions), self.n_orient
        out = torch.zeros(fit.n_positions, o, data.shape[1], dtype=data.dtype)
        if m:
            generator = torch.Generator().manual_seed(self.random_state)
            with torch.no_grad():
                posterior = self.encoder_.posterior(data)
                shape = MANY, *posterior.mean.shape
                noise = torch.randn(shape, generator=generator, dtype=data.dtype)
                rows = torch.stack([self.decoder_.activity(posterior.at(one)) for one in noise])
                U = fit.factor @ rows.unflatten(1, (m, o))
                out[fit.positions] = of(U)
        return out.flatten(0, 1).numpy()


def _encoder(decoder: nn.Module, n_latents: int, n_channels: int) -> Encoder:
    """Map the data, and unbend where the decoder tells how."""
    if hasattr(decoder, "straighten"):
        return BentEncoder(decoder, n_latents, n_channels)
    return TrainedEncoder(n_latents, n_channels)
