"""A fitted inverse as an inverse operator of MNE."""

from __future__ import annotations

import mne
import numpy as np
from mne.minimum_norm import InverseOperator, make_inverse_operator, prepare_inverse_operator
from numpy.typing import NDArray
from scipy.linalg import block_diag

from meg_vae.meg.estimates import fill_estimate
from meg_vae.meg.filter import SourceFilter
from meg_vae.meg.orientation import Loose, constrain

LAMBDA2 = 1.0
AGREEMENT = 1e-8  # relative; rounding leaves about 1e-12
SAME_GAIN = 1e-5  # of the largest; files hold gains in single precision


def inverse_operator(
    filter_: SourceFilter,
    noise_variance: float | NDArray[np.float64],
    info: mne.Info,
    forward: mne.Forward,
    loose: Loose,
) -> InverseOperator:
    """Make the operator whose minimum norm estimate with ``lambda2=1`` is that of the filter.

    MNE whitens by the noise covariance and takes the gain of the sources apart, W G R^½ = V s Yᵀ;
    its estimate is R^½ Y (s / (s² + lambda2)) Vᵀ W. With λ C for the noise and the prior Γ for R
    this is the posterior mean ΓGᵀ(GΓGᵀ + λC)⁻¹.

    Parameters
    ----------
    filter_ : SourceFilter
        The fitted filter.
    noise_variance : float | ndarray, shape (rank,)
        λ.
    info : mne.Info
        Measurement info of data like those of the fit.
    forward : mne.Forward
        The forward model of the fit.
    loose : float | "auto" | dict
        Orientation constraint of the fit.

    Returns
    -------
    operator : mne.minimum_norm.InverseOperator
        Restricted to the sources of the filter.

    Raises
    ------
    ValueError
        If there is no source, or info or forward are not like those of the fit.
    RuntimeError
        If this version of MNE does not use the operator in that way.
    """
    if len(filter_.positions.vertno) == 0:
        raise ValueError("there is no source, so no inverse operator can be made.")
    filter_ = filter_.at_positions()
    info = mne.pick_info(info, filter_.sensors.pick(info, "info"), verbose="error")
    forward = _sources_only(filter_, forward, loose)
    cov = _noise_covariance(filter_, noise_variance, info)
    # MNE counts averages from one, where noise and prior are nave times as large.
    root = filter_.nave**0.5 * _root(filter_.prior)
    whitener, _ = mne.cov.compute_whitener(cov, pca="white", verbose="error")
    V, s, Yt = np.linalg.svd(whitener @ filter_.gain @ root, full_matrices=False)
    operator = make_inverse_operator(
        info, forward, cov, loose=_loose(forward, loose), depth=None, rank="full", verbose="error"
    )
    operator["noise_cov"].update(eig=cov["eig"], eigvec=cov["eigvec"])
    operator["eigen_fields"].update(data=V.T, nrow=len(s), ncol=len(V))
    operator["eigen_leads"].update(data=root @ Yt.T, nrow=len(root), ncol=len(s))
    operator["source_cov"]["data"] = np.square(root).sum(1)
    operator.update(sing=s, nave=1.0, eigen_leads_weighted=True)
    _check_agreement(operator, filter_)
    return operator


def _sources_only(filter_: SourceFilter, forward: mne.Forward, loose: Loose) -> mne.Forward:
    """Restrict the forward model to the sources, and check that it is the one of the fit."""
    positions = filter_.positions
    stc = fill_estimate(positions, np.zeros((len(positions.vertno), 1)), 0.0, 1.0)
    error = ValueError(
        "forward is not that of the fit: its positions or gains differ; give the same one."
    )
    if len(stc.vertices) != len(forward["src"]):
        raise error
    if set(filter_.ch_names) - set(forward["sol"]["row_names"]):
        raise error
    some = mne.pick_channels_forward(forward, filter_.ch_names, ordered=True, verbose="error")
    some = constrain(mne.forward.restrict_forward_to_stc(some, stc), loose)
    gain, tolerance = some["sol"]["data"], SAME_GAIN * abs(filter_.gain).max()
    if gain.shape != filter_.gain.shape or not np.allclose(
        gain, filter_.gain, rtol=0, atol=tolerance
    ):
        raise error
    return some


def _noise_covariance(
    filter_: SourceFilter, noise_variance: float | NDArray[np.float64], info: mne.Info
) -> mne.Covariance:
    """Give λ C of single trials, with the eigenvectors that the whitener of the fit was made of."""
    W = filter_.whitener / filter_.nave**0.5
    size = np.linalg.norm(W, axis=1, keepdims=True)
    rank, n_channels = W.shape
    rows = W / size
    null = np.linalg.qr(rows.T, mode="complete")[0][:, rank:].T
    eig = np.zeros(n_channels)
    eig[n_channels - rank :] = noise_variance / size[:, 0] ** 2
    eigvec = np.concatenate([null, rows])
    cov = mne.Covariance((eigvec.T * eig) @ eigvec, filter_.ch_names, [], info["projs"], nfree=0)
    cov.update(eig=eig, eigvec=eigvec)
    return cov


def _root(prior: NDArray[np.float64]) -> NDArray[np.float64]:
    """Square root of the prior covariance, shape (n_dipoles, n_dipoles)."""
    value, axes = np.linalg.eigh(prior)
    root = np.einsum("gab,gb,gcb->gac", axes, np.sqrt(np.maximum(value, 0.0)), axes)
    return block_diag(*root)


def _loose(forward: mne.Forward, loose: Loose) -> Loose:
    """For MNE, "auto" is loose even where the forward model is fixed."""
    return 0.0 if mne.forward.is_fixed_orient(forward) else loose


def _check_agreement(operator: InverseOperator, filter_: SourceFilter) -> None:
    """Refuse an operator that MNE would not apply as it is meant."""
    ready = prepare_inverse_operator(operator, 1, LAMBDA2, "MNE", verbose="error")
    fields = ready["eigen_fields"]["data"] @ ready["whitener"] @ ready["proj"]
    kernel = ready["eigen_leads"]["data"] @ (ready["reginv"][:, None] * fields)
    # On whitened data, where channels of all types have the same scale.
    colorer = np.linalg.pinv(filter_.whitener)
    ours, theirs = filter_.inverse_map @ colorer, kernel @ colorer
    if abs(ours - theirs).max() > AGREEMENT * abs(ours).max():
        raise RuntimeError(
            f"MNE {mne.__version__} applies inverse operators in another way than this export "
            "assumes; use VAEInverse.apply."
        )
