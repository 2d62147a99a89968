"""Row-sparsity penalties of the autoencoder, with its decoder scales minimised out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from meg_vae.model.checks import check_option


@dataclass(frozen=True)
class RowPenalty:
    """Cost of a row of activity of norm r at the best decoder scale: weight · r^power, or log r².

    Attributes
    ----------
    power : float
        Exponent; 0 stands for the logarithm.
    weight : float
        Factor of the power.
    decays : bool
        Whether the decoder pays for its scales.
    """

    power: float
    weight: float
    decays: bool

    def value(self, square: Tensor) -> Tensor:
        """Evaluate the penalty.

        Parameters
        ----------
        square : Tensor
            Squared row norms.

        Returns
        -------
        cost : Tensor
            Of the same shape.
        """
        if self.power == 0:
            return square.log() + float(self.decays)
        return self.weight * square ** (self.power / 2)

    def variance(self, square: Tensor) -> Tensor:
        """Give one over the slope in r²: the γ of the weighted least squares that bounds it.

        Parameters
        ----------
        square : Tensor
            Squared row norms.

        Returns
        -------
        gamma : Tensor
            Of the same shape.
        """
        if self.power == 0:
            return square
        return 2 / (self.weight * self.power) * square ** (1 - self.power / 2)

    def scales(self, norms: Tensor) -> Tensor:
        """Find the best decoder scales.

        Parameters
        ----------
        norms : Tensor
            Row norms of the activity.

        Returns
        -------
        w_x : Tensor
            Of the same shape.
        """
        if self.power == 0 or not self.decays:
            return torch.ones_like(norms)
        p = 2 * self.power / (2 - self.power)
        return (p / 2 * norms**p) ** (1 / (p + 2))


def row_penalty(
    penalty: str = "log", p: float = 0.5, decoder_penalty: str = "squared"
) -> RowPenalty:
    """Combine the penalties of latents and decoder scales into one of the activity.

    Parameters
    ----------
    penalty : "l21" | "lp" | "log"
        h, on each row z of the latents: ‖z‖, ‖z‖^p or log‖z‖².
    p : float
        Exponent for "lp", between 0 and 1.
    decoder_penalty : "squared" | "bounded"
        g, on the decoder scales: w_x² summed, or none up to w_x = 1 and infinite above.

    Returns
    -------
    penalty : RowPenalty
        The minimum over w_x of g(w_x) + h(u / w_x): "squared" leaves an exponent 2p/(p + 2),
        "bounded" the exponent p, and "log" a logarithm with either.

    Raises
    ------
    ValueError
        If an option is unknown or p out of range.
    """
    check_option("penalty", penalty, ("l21", "lp", "log"))
    check_option("decoder_penalty", decoder_penalty, ("squared", "bounded"))
    if not 0 < p < 1:
        raise ValueError(f"p={p!r} must lie between 0 and 1; for 1 use penalty='l21'.")
    if penalty == "log":
        return RowPenalty(0.0, 1.0, decoder_penalty == "squared")
    p = 1.0 if penalty == "l21" else p
    if decoder_penalty == "bounded":
        return RowPenalty(p, 1.0, False)
    return RowPenalty(2 * p / (p + 2), (p / 2) ** (2 / (p + 2)) + (p / 2) ** (-p / (p + 2)), True)
