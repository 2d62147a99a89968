"""What speaks for each source and for a whole model, and how sure a time course is."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from meg_vae.model.encoders import OptimalEncoder
from meg_vae.model.exact.dictionary import Dictionary
from meg_vae.model.exact.point import Candidates, evaluate
from meg_vae.model.exact.pulls import active_pulls, diagonal_blocks, group_blocks, pulling_rows
from meg_vae.model.fit import Fit
from meg_vae.model.misfit import removal_change
from meg_vae.model.noise_variance import Held
from meg_vae.model.priors import Prior
from meg_vae.model.solve import data_factor


def source_log_evidence(
    encoder: OptimalEncoder, F: Tensor, n_orient: int, n_effective: float, share: float = 0.0
) -> Tensor:
    r"""Log evidence lost by taking out each source alone.

    ΔE_g = (n/2) [log|I − γ_g K_gg| + γ_g tr((I − γ_g K_gg)⁻¹ M_gg)], from the diagonal blocks
    alone.

    Parameters
    ----------
    encoder : OptimalEncoder
        The posterior over the active dipoles.
    F : Tensor, shape (n_channels, k)
        Factor of the data covariance, C = F Fᵀ; of weighted data where ``share`` is not 0.
    n_orient : int
        Dipoles per position.
    n_effective : float
        Number of independent samples; fewer than time points where the data are filtered.
    share : float
        As in ``meg_vae.model.misfit``.

    Returns
    -------
    evidence : Tensor, shape (n_active,)
        In nats; positive where the data need the source.
    """
    K, M = active_pulls(encoder, F)
    change = removal_change(diagonal_blocks(K, n_orient), diagonal_blocks(M, n_orient), share)
    return n_effective / 2 * change


def cluster_log_evidence(
    encoder: OptimalEncoder,
    F: Tensor,
    n_orient: int,
    n_effective: float,
    cluster: Tensor,
    share: float = 0.0,
) -> Tensor:
    """Log evidence lost by taking out each whole cluster of sources.

    It is the formula of `source_log_evidence` with the blocks of all dipoles of a cluster.

    Parameters
    ----------
    encoder : OptimalEncoder
        The posterior over the active dipoles.
    F : Tensor, shape (n_channels, k)
        Factor of the data covariance, C = F Fᵀ; of weighted data where ``share`` is not 0.
    n_orient : int
        Dipoles per position.
    n_effective : float
        Number of independent samples.
    cluster : Tensor of int, shape (n_active,)
        Number of the cluster that each source belongs to.
    share : float
        As in ``meg_vae.model.misfit``.

    Returns
    -------
    evidence : Tensor, shape (n_active,)
        In nats, the same for all sources of a cluster.
    """
    K, M = active_pulls(encoder, F)
    evidence = F.new_zeros(len(cluster))
    for number in cluster.unique():
        members = cluster == number
        dipoles = members.repeat_interleave(n_orient)
        change = removal_change(K[dipoles][:, dipoles], M[dipoles][:, dipoles], share)
        evidence[members] = n_effective / 2 * change
    return evidence


def likeness(
    encoder: OptimalEncoder, decoder: Tensor, F: Tensor, noise: Tensor, n_orient: int
) -> Tensor:
    """How alike each two sources are, in their fields and in their time courses.

    Fields are as alike as the largest canonical correlation between the columns of the two is;
    time courses, by their RV coefficient (Escoufier 1973), the cosine between the matrices z zᵀ.
    Neighbours see alike fields, and those that share one generator have its time course, also
    where one only makes up for what the other's field lacks; two generators differ in one of both.

    Parameters
    ----------
    encoder : OptimalEncoder
        The posterior over the active dipoles.
    decoder : Tensor, shape (n_channels, n_active * n_orient)
        Columns weighted by the prior, P = ΦR.
    F : Tensor, shape (n_channels, k)
        Factor of the data covariance.
    noise : Tensor, shape (n_channels,)
        Noise variance, by which the fields are whitened.
    n_orient : int
        Dipoles per position.

    Returns
    -------
    likeness : Tensor, shape (n_active, n_active)
        The product of the squared correlation and the coefficient, from 0 to 1.
    """
    seen = encoder.W_z @ F
    m = decoder.shape[1] // n_orient
    white = (decoder / noise.sqrt()[:, None]).reshape(len(decoder), m, n_orient).movedim(1, 0)
    basis = torch.linalg.svd(white, full_matrices=False)[0].movedim(0, 1).flatten(1)
    overlap = (basis.T @ basis).reshape(m, n_orient, m, n_orient).movedim(1, 2)
    canonical = torch.linalg.matrix_norm(overlap, 2) if m else seen.new_zeros(0, 0)
    return canonical.square() * _rv_coefficients(seen @ seen.T, n_orient)


def _rv_coefficients(products: Tensor, n_orient: int) -> Tensor:
    """‖A_gᵀA_h‖² / (‖A_gᵀA_g‖ ‖A_hᵀA_h‖) between the sources, from all inner products."""
    m = len(products) // n_orient
    size = products.reshape(m, n_orient, m, n_orient).square().sum((1, 3))
    own = size.diagonal().clamp_min(torch.finfo(size.dtype).tiny).sqrt()
    return size / (own[:, None] * own)


def source_covariance(encoder: OptimalEncoder, factor: Tensor) -> Tensor:
    """Posterior covariance of the dipoles of each source, R_g (S Sᵀ)_gg R_gᵀ.

    It is conditional on the prior variances, so it is overconfident: it knows nothing of where else
    the source might be.

    Parameters
    ----------
    encoder : OptimalEncoder
        The posterior over the active dipoles.
    factor : Tensor, shape (n_active, n_orient, n_orient)
        Prior factors R_g.

    Returns
    -------
    covariance : Tensor, shape (n_active, n_orient, n_orient)
        In the square of the unit of U; the same at every sample.
    """
    return factor @ diagonal_blocks(encoder.covariance, factor.shape[-1]) @ factor.mT


def model_log_evidence(
    energy: float,
    constant: float,
    n_effective: float,
    n_groups: int,
    n_active: int,
    n_free: int,
) -> float:
    r"""Log evidence of a whole fit, to choose between dictionaries for the same data.

    .. math::
        \log p(X) \approx -\tfrac{n}{2} J + c - \tfrac{p k}{2} \log n - \log \binom{N}{k}

    The first two terms are the type-II likelihood at its optimum. It has no Occam factor for the k
    variances that were fitted, nor for their choice among N positions, so a finer source space or
    a freer orientation could only win; the last two are those of the extended Bayesian
    information criterion (Chen & Chen 2008) with p parameters a source. The noise variance is left
    out: it costs every model of the same data the same.

    Parameters
    ----------
    energy : float
        J, nats × 2 per sample.
    constant : float
        c, of the density, ``meg_vae.model.noise.Noise.log_constant``; of several runs the sum.
    n_effective : float
        n, independent samples.
    n_groups : int
        N, positions.
    n_active : int
        k, those with a source.
    n_free : int
        p, parameters of the prior of one source.

    Returns
    -------
    log_evidence : float
        In nats. Differences mean something only between fits of identical whitened data.
    """
    likelihood = constant - n_effective / 2 * energy
    choice = math.lgamma(n_groups + 1) - math.lgamma(n_active + 1)
    choice -= math.lgamma(n_groups - n_active + 1)
    return likelihood - n_active * n_free / 2 * math.log(n_effective) - choice


def possible_gain(
    dictionary: Dictionary,
    fit: Fit,
    X: Tensor,
    *,
    prior: Prior,
    n_effective: float,
    share: float = 0.0,
) -> Tensor:
    """Log evidence that each position of a dictionary could add to a fit.

    Parameters
    ----------
    dictionary : Dictionary
        All positions.
    fit : Fit
        Sources at some of them, of one data set.
    X : Tensor, shape (n_channels, n_samples)
        Data.
    prior : Prior
        Of a new source.
    n_effective : float
        Independent samples.
    share : float
        As in ``meg_vae.model.misfit``.

    Returns
    -------
    gain : Tensor, shape (n_groups,)
        In nats, each with its best variance; 0 for those in the model.
    """
    F = data_factor(X)[None]
    noise = fit.noise_variance.expand(dictionary.n_channels)[None]
    candidates = Candidates(fit.columns, F, prior, Held(float(noise[0, 0])), share=share)
    point = evaluate(candidates, fit.factor[None], noise)
    T, weights = pulling_rows(point.L, point.B)
    gain = torch.zeros_like(dictionary.norms)
    for part in torch.arange(dictionary.n_groups, device=gain.device).split(4096):
        K, M = (blocks[0] for blocks in group_blocks(T, weights, dictionary.columns(part)))
        gain[part] = n_effective / 2 * prior.best_fall(K, M, share)
    gain[fit.positions] = 0.0
    return gain.masked_fill(dictionary.silent, 0.0)
