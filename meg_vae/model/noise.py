"""Noise: what is known of it beside its variance λ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from meg_vae.model.exact.dictionary import Dictionary
from meg_vae.model.in_time import (
    autocorrelation,
    independent,
    independent_together,
    log_volume,
    seen_by,
    white,
)
from meg_vae.model.misfit import Certainty, certainty, degrees_of_freedom
from meg_vae.model.noise_variance import NoiseVariance, noise_variance_of


@dataclass(frozen=True)
class Noise:
    """How noise goes on in time, and from how many samples its covariance is known.

    Attributes
    ----------
    n_samples : float
        Samples that the covariance was estimated from, at the rate of the data; infinity where it
        is known.
    r : Tensor, shape (LONGEST,)
        Autocorrelation.
    held : bool
        Whether that is known, and not to be learnt.
    """

    n_samples: float = math.inf
    r: Tensor = field(default_factory=white)
    held: bool = False

    @property
    def n_independent(self) -> float:
        """Samples that count as independent in the covariance (Bartlett 1946), n / (1 + 2Σρ²)."""
        return self.n_samples / (1 + 2 * float(self.r[1:].square().sum()))

    def learnt(self, residual: Tensor, stretches: Sequence[int], dictionary: Dictionary) -> Noise:
        """Learn how it goes on from what sources leave of consecutive samples."""
        if self.held:
            return self
        rows, n_rows = seen_by(residual, dictionary)
        return Noise(self.n_samples, autocorrelation(rows.split(list(stretches), 1), n_rows))

    def alike(self, other: Noise) -> bool:
        """Whether both go on in nearly the same way."""
        return float((self.r - other.r).abs().max()) < 0.02

    def independent(self, X: Tensor, stretches: Sequence[int] | None) -> Tensor:
        """Turn consecutive samples (..., d, n) into independent ones; others already are."""
        return X if stretches is None else independent(X, stretches, self.r)

    def n_together(self, parts: Sequence[tuple[int, int]]) -> float:
        """Count how many samples are independent in parts that were made independent alone."""
        return independent_together(parts, self.r)

    def log_constant(self, n: float, n_channels: int, stretches: Sequence[int] | None) -> float:
        """Find what the energy leaves out of the log density, which depends on the noise.

        The constant of a Gaussian or, as far as λ counts the channels, of a matrix-t with ν degrees
        of freedom; and the volume that the channels lost when their samples became independent.
        """
        lost = 0.0 if stretches is None else log_volume(stretches, self.r)
        nu, d = self.n_independent, n_channels
        counted = d - self.certainty(n, d).spare
        if math.isinf(nu):
            return -d / 2 * (n * math.log(2 * math.pi) + lost)
        nu = max(nu, float(d))  # as many as there must be for a density
        own = torch.mvlgamma(torch.tensor([(nu + n) / 2, nu / 2], dtype=torch.float64), d)
        matrix_t = float(own[0] - own[1]) - n * d / 2 * math.log(math.pi * nu)
        inflated = n / 2 * counted * math.log(self.inflation(d))
        return counted / d * matrix_t + inflated - counted / 2 * lost

    def certainty(self, n: float, n_channels: int) -> Certainty:
        """Tell how far the covariance is known to n independent samples of d channels."""
        return certainty(n, n_channels, self.n_independent)

    def inflation(self, n_channels: int) -> float:
        """Factor ν / L on the covariance, with which its inverse is unbiased."""
        if math.isinf(self.n_independent):
            return 1.0
        return self.n_independent / degrees_of_freedom(self.n_independent, n_channels)

    def variance(self, given: float | str | NoiseVariance, n_channels: int) -> NoiseVariance:
        """Noise variance of the model, relative to that covariance where one is held."""
        return noise_variance_of(given).scaled(self.inflation(n_channels))
