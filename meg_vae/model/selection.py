"""The sources of a fit that carry enough evidence, with the weights of their positions."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from meg_vae.model.exact.dictionary import Dictionary
from meg_vae.model.exact.point import Candidates
from meg_vae.model.fit import Fit
from meg_vae.model.judging import select
from meg_vae.model.misfit import EXACT, Certainty
from meg_vae.model.moves import Weighing, weighed
from meg_vae.model.noise_variance import NoiseVariance, noise_variance_of
from meg_vae.model.priors import Prior, prior_of
from meg_vae.model.solve import data_factor, where_learnt


def select_sources(
    dictionary: Dictionary,
    fit: Fit,
    X: Tensor,
    *,
    noise_variance: float | str | NoiseVariance,
    orientation: str | Prior,
    n_effective: float,
    min_log_evidence: float,
    tol: float,
    certainty: Certainty = EXACT,
    weights: Tensor | None = None,
) -> Fit:
    """Keep the sources of a fit that carry enough evidence.

    Parameters
    ----------
    dictionary : Dictionary
        Φ, prepared.
    fit : Fit
        A minimum over all positions.
    X : Tensor, shape (n_channels, n_samples)
        Its data.
    noise_variance, orientation : float | str | NoiseVariance, str | Prior
        As it was solved with.
    n_effective : float
        Independent samples.
    min_log_evidence : float
        Evidence below which a source goes, in nats.
    tol : float
        To which the rest is settled.
    certainty : Certainty
        How far the covariance of the noise is known.
    weights : Tensor, shape (n_groups,) | None
        Prior weights in nats, as `meg_vae.model.weights.counted` gives them.

    Returns
    -------
    fit : Fit
        What is left, with its evidence; its history and certificate are those of the whole.
    """
    variance, prior = noise_variance_of(noise_variance), prior_of(orientation, dictionary.n_orient)
    found = fit.positions
    seen, F = where_learnt(dictionary, data_factor(X)[None], variance)
    candidates = Candidates.of(seen.as_given(found), F, prior, variance, certainty)
    counting = torch.zeros_like(seen.norms) if weights is None else weights
    chosen = select(
        candidates,
        fit.factor,
        fit.noise_variance.expand(F.shape[1]),
        counting[found],
        n_effective=n_effective,
        min_log_evidence=min_log_evidence,
        tol=tol,
    )
    chosen = replace(chosen, kept=found[chosen.kept])
    if weights is not None:
        asked = n_effective, min_log_evidence, tol
        weighing = Weighing(dictionary, fit, X, seen, candidates, weights, *asked)
        chosen = weighed(chosen, weighing)
    return chosen.as_fit(fit, dictionary)
