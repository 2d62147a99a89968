"""Gradient training of a decoder, an encoder and the noise variance on the one energy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import Bounds, OptimizeResult, minimize
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from tqdm.auto import tqdm

from meg_vae.model.checks import check_noise_variance, check_option
from meg_vae.model.encoders import Encoder, OptimalEncoder, Posterior, optimal_encoder
from meg_vae.model.energy import marginal_energy
from meg_vae.model.noise_variance import FLOOR

BOX = 30.0  # furthest that L-BFGS goes from the start: 13 decades of a variance
STRIDE = 3.0  # the same at each annealed level: further, and a position let go early is lost
LEVELS = 30  # of an annealed noise variance, from the data's mean power down to the floor


@dataclass(frozen=True)
class Training:
    """What a training ended with.

    Attributes
    ----------
    encoder : OptimalEncoder | Encoder
        The encoder at the end.
    noise_variance : Tensor, shape ()
        λ at the end.
    history : Tensor, shape (n_iter,)
        Energy per sample, less the number of dipoles: comparable to the profile J.
    """

    encoder: OptimalEncoder | Encoder
    noise_variance: Tensor
    history: Tensor


def train(
    decoder: nn.Module,
    X: Tensor,
    *,
    encoder: Encoder | None = None,
    noise_variance: float | str = "learn",
    noise_start: float | None = None,
    optimizer: str = "lbfgs",
    learning_rate: float = 0.05,
    max_iter: int = 1000,
    tol: float = 1e-12,
    n_draws: int = 16,
    random_state: int = 0,
    progress: bool = False,
) -> Training:
    """Minimise the VAE's energy by gradient descent.

    Parameters
    ----------
    decoder : nn.Module
        Any differentiable module; changed in place. Where it has a ``matrix()`` it is linear, and
        the energy is known in closed form.
    X : Tensor, shape (n_channels, n_samples)
        Whitened data.
    encoder : Encoder | None
        The encoder to train with the decoder, a module with a ``posterior(X)``; None uses the
        optimal one, in closed form, which needs a linear decoder.
    noise_variance : float | "learn" | "anneal"
        λ held at a number, learnt, or lowered towards zero.
    noise_start : float | None
        Where a learnt λ begins; None is the mean power of the data.
    optimizer : "lbfgs" | "adam"
        L-BFGS needs an energy without sampling noise, so a nonlinear decoder needs Adam.
    learning_rate : float
        Of Adam.
    max_iter : int
        Most iterations.
    tol : float
        Stop when an iteration (L-BFGS) or fifty (Adam) lower the energy by less than this part of
        itself.
    n_draws : int
        Draws of z per sample for a nonlinear decoder.
    random_state : int
        Seed of the draws.
    progress : bool
        Show a progress bar.

    Returns
    -------
    training : Training
        Encoder, noise variance and energies.

    Raises
    ------
    ValueError
        If an option is not one of those above, or a nonlinear decoder comes without an encoder or
        with L-BFGS.
    FloatingPointError
        If the energy is no longer finite.
    """
    check_option("optimizer", optimizer, ("lbfgs", "adam"))
    if isinstance(noise_variance, str):
        check_option("noise_variance", noise_variance, ("learn", "anneal"))
    else:
        check_noise_variance(noise_variance)
    if not _is_linear(decoder) and (encoder is None or optimizer == "lbfgs"):
        raise ValueError("a nonlinear decoder needs an encoder to train and optimizer='adam'")
    power = X.square().mean()
    start = power if noise_start is None else power.new_tensor(noise_start)
    log_noise = _start_noise(noise_variance, start)
    energy = _Energy(decoder, encoder, X, log_noise, n_draws, random_state)
    parameters: list[Tensor] = list(decoder.parameters())
    parameters += [] if encoder is None else list(encoder.parameters())
    parameters += [log_noise] if log_noise.requires_grad else []
    levels, box = _schedule(noise_variance, float(power))
    history: list[float] = []
    run = (
        partial(_lbfgs, box=box)
        if optimizer == "lbfgs"
        else partial(_adam, learning_rate=learning_rate)
    )
    with tqdm(desc="training", unit="step", disable=not progress) as bar:
        for level in levels:
            if level is not None:
                log_noise.fill_(level)
            history += run(energy, parameters, max_iter=max_iter // len(levels), tol=tol, bar=bar)
    if not np.isfinite(history).all():
        raise FloatingPointError(
            f"the energy is no longer finite after {len(history)} steps; "
            f"lower learning_rate={learning_rate}"
        )
    with torch.no_grad():
        noise = energy.noise_variance()
        final = optimal_encoder(decoder.matrix(), noise) if encoder is None else encoder  # type: ignore[operator]
    return Training(final, noise, torch.tensor(history, dtype=X.dtype))


def _schedule(noise_variance: float | str, power: float) -> tuple[list[float | None], float]:
    """Levels of log λ, and how far L-BFGS goes at each; None leaves λ as it is."""
    if noise_variance != "anneal":
        return [None], BOX
    return [*np.linspace(np.log(power), np.log(FLOOR * power), LEVELS)], STRIDE


def _start_noise(noise_variance: float | str, power: Tensor) -> Tensor:
    if isinstance(noise_variance, str):
        return power.log().clone().requires_grad_(noise_variance == "learn")
    return torch.as_tensor(float(noise_variance), dtype=power.dtype).log()


def energy_by_draws(
    decoder: nn.Module,
    encoder: Encoder,
    X: Tensor,
    noise_variance: Tensor,
    n_draws: int,
    random_state: int,
) -> float:
    """Estimate the energy per sample of a decoder and an encoder.

    Parameters
    ----------
    decoder, encoder : nn.Module, Encoder
        The pair.
    X : Tensor, shape (n_channels, n_samples)
        Whitened data.
    noise_variance : Tensor, shape ()
        λ.
    n_draws : int
        Draws of the latents; a linear decoder needs none.
    random_state : int
        Their seed: equal draws make differences exact.

    Returns
    -------
    J : float
        In nats × 2, comparable to the profile J.
    """
    with torch.no_grad():
        energy = _Energy(decoder, encoder, X, noise_variance.log(), n_draws, random_state)
        return float(energy())


class _Energy:
    """The energy per sample as a function of the parameters."""

    def __init__(
        self,
        decoder: nn.Module,
        encoder: Encoder | None,
        X: Tensor,
        log_noise: Tensor,
        n_draws: int,
        random_state: int,
    ) -> None:
        self.decoder, self.encoder, self.X, self.log_noise = decoder, encoder, X, log_noise
        self.n_draws = n_draws
        self.generator = torch.Generator().manual_seed(random_state)
        self.floor = FLOOR * X.square().mean() if log_noise.requires_grad else torch.zeros(())

    def noise_variance(self) -> Tensor:
        return self.log_noise.exp() + self.floor

    def __call__(self) -> Tensor:
        d, n = self.X.shape
        noise = self.noise_variance()
        if self.encoder is None:
            return marginal_energy(self.X, self.decoder.matrix(), noise)  # type: ignore[operator]
        posterior = self.encoder.posterior(self.X)
        misfit = self._misfit(posterior) / noise + n * d * noise.log()
        return (misfit + posterior.cost()) / n - len(posterior.mean)

    def _misfit(self, posterior: Posterior) -> Tensor:
        """Give the expected squared misfit: in closed form for a matrix, else by draws."""
        if _is_linear(self.decoder):
            P = self.decoder.matrix()  # type: ignore[operator]
            return (self.X - P @ posterior.mean).square().sum() + posterior.spread_through(P)
        shape = self.n_draws, *posterior.mean.shape
        draws = torch.randn(shape, generator=self.generator, dtype=self.X.dtype)
        misfits = [(self.X - self.decoder(posterior.at(draw))).square().sum() for draw in draws]
        return torch.stack(misfits).mean()


def _is_linear(decoder: nn.Module) -> bool:
    """Whether a decoder is a matrix, which it then gives."""
    return hasattr(decoder, "matrix")


def _lbfgs(
    energy: _Energy, parameters: list[Tensor], *, max_iter: int, tol: float, bar: tqdm, box: float
) -> list[float]:
    """Run L-BFGS; the energies after each of its iterations."""
    history: list[float] = []

    def value_and_gradient(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        with torch.no_grad():
            vector_to_parameters(torch.as_tensor(flat), parameters)
        J = energy()
        gradient = torch.autograd.grad(J, parameters)
        return float(J.detach()), torch.cat([g.reshape(-1) for g in gradient]).numpy()

    def after_each(intermediate_result: OptimizeResult) -> None:
        history.append(float(intermediate_result.fun))
        bar.update()
        bar.set_postfix(energy=history[-1])

    start = parameters_to_vector(parameters).detach().numpy()
    end = minimize(
        value_and_gradient,
        start,
        jac=True,
        bounds=Bounds(start - box, start + box),
        method="L-BFGS-B",
        callback=after_each,
        options={
            "maxiter": max_iter,
            "maxfun": 3 * max_iter,
            "maxcor": 50,
            "ftol": tol,
            "gtol": 1e-9,
        },
    )
    value_and_gradient(end.x)
    return [*history, float(end.fun)]


def _adam(
    energy: _Energy,
    parameters: list[Tensor],
    *,
    max_iter: int,
    tol: float,
    bar: tqdm,
    learning_rate: float,
) -> list[float]:
    """Run Adam with a falling step; stop early when the mean energy no longer falls."""
    optimizer = torch.optim.Adam(parameters, lr=learning_rate)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max_iter)
    history: list[float] = []
    for _ in range(max_iter):
        optimizer.zero_grad()
        J = energy()
        J.backward()
        optimizer.step()
        slower.step()
        history.append(float(J.detach()))
        bar.update()
        bar.set_postfix(energy=history[-1])
        recent, earlier = np.mean(history[-50:]), np.mean(history[-100:-50] or [np.inf])
        if not np.isfinite(history[-1]) or earlier - recent <= tol * (1 + abs(recent)):
            break
    return history
