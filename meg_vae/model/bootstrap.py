"""Many fits of resampled data on the few positions where any of them finds a source."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from meg_vae.model.evidence import possible_gain
from meg_vae.model.exact.dictionary import Dictionary
from meg_vae.model.fit import Fit
from meg_vae.model.misfit import Certainty
from meg_vae.model.noise import Noise
from meg_vae.model.priors import prior_of
from meg_vae.model.selection import select_sources
from meg_vae.model.solve import solve

#: Positions (m,) and activity (m, n_orient, n_instants) of the sources of one data set.
Replicate = tuple[NDArray[np.int64], NDArray[np.float64]]

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

    def gain(self, dictionary: Dictionary, fit: Fit, X: Tensor) -> Tensor:
        """Give evidence and weight that each position could add to a fit, in nats, (n_groups,)."""
        gain = possible_gain(
            dictionary,
            fit,
            X,
            prior=prior_of(self.orientation, dictionary.n_orient),
            n_effective=self.n_effective,
            share=self.certainty(dictionary).share,
        )
        return gain if self.weights is None else torch.where(gain > 0, gain + self.weights, 0.0)

    def solve(self, dictionary: Dictionary, X: Tensor) -> Fit:
        """Minimise the energy of one or more samples.

        Parameters
        ----------
        dictionary : Dictionary
            Positions.
        X : Tensor, shape (n_channels, n_samples) or (batch, n_channels, n_samples)
            Data.

        Returns
        -------
        fit : Fit
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

    def select(self, dictionary: Dictionary, fit: Fit, X: Tensor) -> Fit:
        """Keep the sources of one sample that carry enough evidence.

        Parameters
        ----------
        dictionary : Dictionary
            Positions.
        fit : Fit
            Its minimum.
        X : Tensor, shape (n_channels, n_samples)
            Data.

        Returns
        -------
        fit : Fit
            What is left.
        """
        return select_sources(
            dictionary,
            fit,
            X,
            noise_variance=self.noise_variance,
            orientation=self.orientation,
            n_effective=self.n_effective,
            min_log_evidence=self.min_log_evidence,
            tol=self.tol / 10,
            certainty=self.certainty(dictionary),
            weights=self.weights,
        )


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
    chosen = options.select(dictionary, options.solve(dictionary, X), X)
    gain = options.gain(dictionary, chosen, X)
    likely = gain > max(options.min_log_evidence / 2, 1e-9)
    likely[chosen.positions] = True
    everyone = torch.arange(len(chosen.positions), device=X.device)
    for k in everyone:
        swap = options.gain(dictionary, chosen.only(everyone != k), X)
        likely |= swap > swap.max() - SWAP
    return likely


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
    replicates : list of tuple
        Of each data set the positions of its sources, shape (m,), and their activity at these
        instants, shape (m, n_orient, n_instants), in the unit of X over that of Φ.
    """
    seen = options.independent(X)
    fits = options.solve(dictionary, seen)
    replicates = []
    for k, one in enumerate(X):
        chosen = options.select(dictionary, fits[k], seen[k])
        U = chosen.inverse_map @ one[:, instants]
        replicates.append((chosen.positions.cpu().numpy(), U.cpu().numpy()))
    return replicates


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
    chosen = replace(chosen, positions=positions[chosen.positions])
    return float(options.gain(dictionary, chosen, X).index_fill(0, positions, 0.0).max())
