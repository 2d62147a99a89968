"""Noise variances: what of λ is given, and what is learnt.

Λ = diag(λ) is one more covariance of the data beside ΦΓΦᵀ, with the identity for its columns. What
is learnt of it are factors on groups of channels: of all together, or of each. A new kind is one
more class here, with what `NoiseVariance` asks of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from meg_vae.model.checks import check_noise_variance
from meg_vae.model.exact.small import step_factor

START = 0.3  # where a learnt noise variance starts, relative to the data's mean power
FLOOR = 1e-10  # smallest noise variance, relative to the data's mean power


class NoiseVariance(ABC):
    """What the solver asks of the noise variance; λ is (batch, d) there.

    Attributes
    ----------
    uniform : bool
        Whether all channels have the same λ, so that the data may be turned, and directions that
        no source reaches described by their power.
    levels : tuple of float
        Noise variances, relative to the data's mean power, that the dense start goes through; none
        where it keeps to one.
    """

    uniform: bool = True
    levels: tuple[float, ...] = ()

    @abstractmethod
    def n_free(self, n_channels: int) -> int:
        """Count the factors that are learnt."""

    @property
    def learnt(self) -> bool:
        """Whether any is."""
        return self.n_free(1) > 0

    def start(self, scale: Tensor) -> Tensor:
        """λ of data that were divided by ``scale`` (batch,) to begin with, (batch,)."""
        return torch.full_like(scale, START)

    def least(self) -> float:
        """λ of data that are zero."""
        return FLOOR

    def scaled(self, factor: float) -> NoiseVariance:
        """Give the same relative to a covariance that is ``factor`` times smaller."""
        return self

    def of_channels(self, values: Tensor) -> Tensor:
        """Sum rows (batch, d, ...) of the channels over those with one factor, (batch, n, ...)."""
        return values[:, :0]

    def at_floor(self, noise: Tensor, floor: float) -> Tensor:
        """Tell which factors can fall no further, (batch, n_free)."""
        return self.of_channels((noise > floor).to(noise)) == 0

    def moved(self, noise: Tensor, step: Tensor, floor: float) -> Tensor:
        """Multiply λ (batch, d) by a step (batch, n_free)."""
        return noise

    def given(self, noise: Tensor) -> Tensor:
        """Turn λ of the channels, (..., d), into what is reported, () or (..., d)."""
        return noise[..., 0]


@dataclass(frozen=True)
class Held(NoiseVariance):
    """Noise whose variance is known."""

    value: float

    def n_free(self, n_channels: int) -> int:
        """Nothing is learnt."""
        return 0

    def start(self, scale: Tensor) -> Tensor:
        """Give the value itself."""
        return self.value / scale**2

    def least(self) -> float:
        """Give the value itself."""
        return self.value

    def scaled(self, factor: float) -> Held:
        """Scale the value."""
        return Held(self.value * factor)


class Annealed(NoiseVariance):
    """A variance that falls step by step towards zero, for data without noise."""

    levels = tuple(np.geomspace(START, FLOOR, 30).tolist())

    def n_free(self, n_channels: int) -> int:
        """Nothing is learnt."""
        return 0


class Learnt(NoiseVariance):
    """One variance is learnt for all channels."""

    def n_free(self, n_channels: int) -> int:
        """Count λ."""
        return 1

    def of_channels(self, values: Tensor) -> Tensor:
        """Sum over all channels."""
        return values.sum(1, keepdim=True)

    def moved(self, noise: Tensor, step: Tensor, floor: float) -> Tensor:
        """Multiply all by the same."""
        return (noise * step_factor(step)).clamp_min(floor)


class PerChannel(NoiseVariance):
    """A variance is learnt for each channel."""

    uniform = False

    def n_free(self, n_channels: int) -> int:
        """Count the channels."""
        return n_channels

    def of_channels(self, values: Tensor) -> Tensor:
        """Each for itself."""
        return values

    def moved(self, noise: Tensor, step: Tensor, floor: float) -> Tensor:
        """Multiply each by its own."""
        return (noise * step_factor(step)).clamp_min(floor)

    def given(self, noise: Tensor) -> Tensor:
        """All of them."""
        return noise


OPTIONS: dict[str, NoiseVariance] = {
    "learn": Learnt(),
    "per_channel": PerChannel(),
    "anneal": Annealed(),
}


def noise_variance_of(given: float | str | NoiseVariance) -> NoiseVariance:
    """Turn the option into what it means.

    Parameters
    ----------
    given : float | "learn" | "per_channel" | "anneal" | NoiseVariance
        What was given.

    Returns
    -------
    variance : NoiseVariance
        What it means.

    Raises
    ------
    ValueError
        If it is none of these.
    """
    if isinstance(given, NoiseVariance):
        return given
    check_noise_variance(given)
    return OPTIONS[given] if isinstance(given, str) else Held(float(given))
