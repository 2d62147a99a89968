"""Many fits of resampled data on the few positions where any of them finds a source."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from meg_vae.model.encoders import optimal_encoder
from meg_vae.model.evidence import possible_gain
from meg_vae.model.exact.dictionary import Dictionary
from meg_vae.model.exact.point import weighted_columns
from meg_vae.model.exact.rounds import Solution
from meg_vae.model.misfit import Certainty
from meg_vae.model.noise import Noise
from meg_vae.model.selection import Selection, select_sources
from meg_vae.model.solve import solve

SWAP = 15.0  # nats by which a position may be worse than a source whose place it could take


@dataclass(frozen=True)
class Options:
    """How every sample is fitted.

    Attributes
    ----------
    noise_variance, orientation, min_log_evidence, tol, max_iter : see `meg_vae.SparseVAE`
        Its options.
    n_effective : float
        Independent samples that the evidence counts.
    noise : Noise
        How the noise goes on in the samples, which follow each other, and how well it is known.
    weights : Tensor, shape (n_groups,) | None
        Prior weights in nats as they count, finite; None where all are the same.
    """

    noise_variance: float | str
    orientation: str
    min_log_evidence: float
    tol: float
    max_iter: int
    n_effective: float
    noise: Noise

    def independent(self, X: Tensor) -> Tensor:
        """Turn the samples (..., d, n) of data into independent ones."""
        return self.noise.independent(X, [X.shape[-1]])

    def certainty(self, dictionary: Dictionary) -> Certainty:
        """Tell how far the covariance of the noise is known."""
        return self.noise.certainty(self.n_effective, dictionary.n_channels)

    weights: Tensor | None = None

    def only(self, positions: Tensor) -> Options:
        """Give the options for some positions.

        Parameters
        ----------
        positions : Tensor of int, shape (m,)
            Which.

        Returns
        -------
        options : Options
            Theirs.
        """
        return self if self.weights is None else replace(self, weights=self.weights[positions])

    def worth(self, gain: Tensor) -> Tensor:
        """Give evidence and weight of each position together.

        Parameters
        ----------
        gain : Tensor, shape (n_groups,)
            Log evidence in nats.

        Returns
        -------
        worth : Tensor, shape (n_groups,)
            In nats.
        """
        return gain if self.weights is None else torch.where(gain > 0, gain + self.weights, 0.0)

    def solve(self, dictionary: Dictionary, X: Tensor) -> Solution:
        """Minimise the energy of one or more samples.

        Parameters
        ----------
        dictionary : Dictionary
            Positions.
        X : Tensor, shape (n_channels, n_samples) or (batch, n_channels, n_samples)
            Data.

        Returns
        -------
        solution : Solution
            The minima.
        """
        return solve(
            dictionary,
            X,
            noise_variance=self.noise.variance(self.noise_variance, dictionary.n_channels),
            orientation=self.orientation,
            tol=self.tol,
            max_iter=self.max_iter,
            certainty=self.certainty(dictionary),
        )

    def select(self, dictionary: Dictionary, solution: Solution, X: Tensor) -> Selection:
        """Keep the sources of one sample that carry enough evidence.

        Parameters
        ----------
        dictionary : Dictionary
            Positions.
        solution : Solution
            Its minimum.
        X : Tensor, shape (n_channels, n_samples)
            Data.

        Returns
        -------
        selection : Selection
            What is left.
        """
        return select_sources(
            dictionary,
            solution,
            X,
            noise_variance=self.noise_variance,
            orientation=self.orientation,
            n_effective=self.n_effective,
            min_log_evidence=self.min_log_evidence,
            tol=self.tol / 10,
            certainty=self.certainty(dictionary),
            weights=self.weights,
        )


@dataclass(frozen=True)
class Replicate:
    """The sources of one resampled data set.

    Attributes
    ----------
    kept : ndarray of int, shape (n_kept,)
        Their positions.
    U : ndarray, shape (n_kept, n_orient, n_instants)
        Their activity at some instants, in the unit of X over that of Φ.
    """

    kept: NDArray[np.int64]
    U: NDArray[np.float64]


def resampling_weights(
    n_items: int, n_bootstrap: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw the weights of the averages over items resampled with replacement (Efron 1979).

    Parameters
    ----------
    n_items : int
        Items, such as epochs.
    n_bootstrap : int
        How many samples.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    weights : ndarray, shape (n_bootstrap, n_items)
        Multiples of 1 / n_items that sum to 1.
    """
    return rng.multinomial(n_items, np.full(n_items, 1 / n_items), n_bootstrap) / n_items


def likely_positions(dictionary: Dictionary, X: Tensor, options: Options) -> Tensor:
    """Find where another sample of the same data could have a source that is reported.

    Parameters
    ----------
    dictionary : Dictionary
        All positions.
    X : Tensor, shape (n_channels, n_samples)
        A resampled data set, a pilot.
    options : Options
        How to fit it.

    Returns
    -------
    likely : Tensor of bool, shape (n_groups,)
        Positions with a source that is reported, that could take the place of one at a loss of
        `SWAP` nats or less, or that could add half of what is asked of a source.
    """
    X = options.independent(X)
    solution = options.solve(dictionary, X)
    chosen = options.select(dictionary, solution, X)
    noise = _spread(chosen.noise_variance, dictionary.n_channels)
    full = options.orientation == "full" and dictionary.n_orient > 1

    def gain_beside(stay: Tensor) -> Tensor:
        model = chosen.kept[stay], chosen.factor[stay], noise
        n, share = options.n_effective, options.certainty(dictionary).share
        gain = possible_gain(dictionary, *model, X, full=full, n_effective=n, share=share)
        return options.worth(gain)

    everyone = torch.ones_like(chosen.kept, dtype=torch.bool)
    gain = gain_beside(everyone)
    likely = gain > max(options.min_log_evidence / 2, 1e-9)
    likely[chosen.kept] = True
    for k in range(len(chosen.kept)):
        swap = gain_beside(everyone.index_fill(0, torch.tensor([k], device=X.device), False))
        likely |= swap > swap.max() - SWAP
    return likely


def _spread(noise: Tensor, n_channels: int) -> Tensor:
    """Noise variance for all channels where that of a part of the directions is the same."""
    return noise if len(noise) == n_channels else noise[:1]


def fit_replicates(
    dictionary: Dictionary, X: Tensor, instants: Tensor, options: Options
) -> list[Replicate]:
    """Fit a batch of resampled data sets and keep the sources with evidence.

    Parameters
    ----------
    dictionary : Dictionary
        The positions to look at.
    X : Tensor, shape (batch, n_channels, n_samples)
        The data sets.
    instants : Tensor of int, shape (n_instants,)
        Samples at which to note the activity.
    options : Options
        How to fit.

    Returns
    -------
    replicates : list of Replicate
        One per data set.
    """
    seen = options.independent(X)
    solution = options.solve(dictionary, seen)
    replicates = []
    for k, one in enumerate(X):
        chosen = options.select(dictionary, _item(solution, k), seen[k])
        columns = dictionary.columns(chosen.kept) * dictionary.norms[chosen.kept, None]
        decoder = weighted_columns(columns, chosen.factor[None])[0]
        noise = _spread(chosen.noise_variance, len(decoder))
        z = optimal_encoder(decoder, noise).W_z @ one[:, instants]
        U = chosen.factor @ z.reshape(len(chosen.kept), dictionary.n_orient, len(instants))
        replicates.append(Replicate(chosen.kept.cpu().numpy(), U.cpu().numpy()))
    return replicates


def _item(batch: Solution, k: int) -> Solution:
    """Take one data set's solution out of a batch."""
    return Solution(
        batch.factor[k],
        batch.noise_variance[k],
        batch.energy[k],
        batch.history[:, k],
        batch.certificate[k],
        batch.timings,
    )


def missed_evidence(
    dictionary: Dictionary, positions: Tensor, X: Tensor, options: Options
) -> float:
    """Check one data set, fitted on a few positions, against all of them.

    Parameters
    ----------
    dictionary : Dictionary
        All positions.
    positions : Tensor of int, shape (m,)
        The few.
    X : Tensor, shape (n_channels, n_samples)
        The data set.
    options : Options
        How it is fitted.

    Returns
    -------
    missed : float
        The most log evidence, with its weight, that a position left out could add to the sources
        found, in nats.
        The fit missed no source that would be reported where it is below ``min_log_evidence``.
    """
    few, own = dictionary.only(positions), options.only(positions)
    X = options.independent(X)
    chosen = own.select(few, own.solve(few, X), X)
    gain = possible_gain(
        dictionary,
        positions[chosen.kept],
        chosen.factor,
        _spread(chosen.noise_variance, dictionary.n_channels),
        X,
        full=options.orientation == "full" and dictionary.n_orient > 1,
        n_effective=options.n_effective,
        share=options.certainty(dictionary).share,
    )
    gain[positions] = 0.0
    return float(options.worth(gain).max())
