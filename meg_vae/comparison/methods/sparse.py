"""MNE's sparse solvers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import mne
from mne.inverse_sparse import gamma_map, mixed_norm, tf_mixed_norm

from meg_vae.comparison.methods.conversions import is_fixed, nothing
from meg_vae.comparison.methods.registry import AM, register

ALPHA = 55.0  # of mixed norms: percent of the smallest alpha that finds nothing
TF_ALPHA, TF_RATIO = 40.0, 0.03  # of the time-frequency mixed norm: as in MNE's example
NOISE_VARIANCE = 1.0  # of gamma-MAP: that of whitened noise, if the noise covariance is right
DEPTH = 0.8
SEED = 0


def _sparse(
    solver: Callable[..., mne.SourceEstimate],
    evoked: mne.Evoked,
    forward: mne.Forward,
    noise_cov: mne.Covariance,
    *,
    loose: float | str,
    rank: Any,
    **knobs: Any,
) -> mne.SourceEstimate:
    """Run a sparse solver of MNE."""
    pick_ori = None if is_fixed(forward, loose) else "vector"
    options = {"loose": loose, "depth": DEPTH, "rank": rank, "pick_ori": pick_ori}
    try:
        return solver(evoked, forward, noise_cov, **options, **knobs)
    except Exception as error:  # MNE has no class of its own for this
        if "No active dipoles found" not in str(error):
            raise
        return nothing(forward, loose, evoked)


_MIXED_NORM_KNOBS = (
    f"alpha = {ALPHA:g} % of the smallest value that finds nothing, the same for all data; "
    f"depth = {DEPTH}, debiased, as MNE's defaults."
)
_SURE_KNOBS = (
    "alpha by SURE on MNE's grid of 15 values, which takes the noise variance of whitened data "
    f"to be 1; depth = {DEPTH}, debiased, as MNE's defaults; random_state = {SEED}."
)
_REWEIGHTED = " 10 reweightings, as in MNE's example."
_GRAMFORT = "Gramfort, Kowalski & Hämäläinen (2012), Phys. Med. Biol. 57:1937"
_STROHMEIER = "Strohmeier, Bekhti, Haueisen & Gramfort (2016), IEEE Trans. Med. Imaging 35:2218"
_DELEDALLE = "Deledalle, Vaiter, Fadili & Peyré (2014), SIAM J. Imaging Sci. 7:2448"


def _enter(name: str, title: str, knobs: str, reference: str, run: Any) -> None:
    register(
        name,
        title,
        family="Bayesian" if name == "gamma_map" else "Sparse",
        unit=AM,
        sparse=True,
        knobs=knobs,
        reference=reference,
    )(run)


_enter(
    "mxne",
    "MxNE",
    _MIXED_NORM_KNOBS,
    _GRAMFORT,
    partial(_sparse, mixed_norm, alpha=ALPHA),
)
_enter(
    "irmxne",
    "irMxNE",
    _MIXED_NORM_KNOBS + _REWEIGHTED,
    _STROHMEIER,
    partial(_sparse, mixed_norm, alpha=ALPHA, n_mxne_iter=10),
)
_enter(
    "mxne_sure",
    "MxNE (SURE)",
    _SURE_KNOBS,
    f"{_GRAMFORT}; {_DELEDALLE}",
    partial(_sparse, mixed_norm, alpha="sure", random_state=SEED),
)
_enter(
    "irmxne_sure",
    "irMxNE (SURE)",
    _SURE_KNOBS + _REWEIGHTED,
    f"{_STROHMEIER}; {_DELEDALLE}",
    partial(_sparse, mixed_norm, alpha="sure", n_mxne_iter=10, random_state=SEED),
)
_enter(
    "tf_mxne",
    "TF-MxNE",
    f"alpha = {TF_ALPHA:g}, l1_ratio = {TF_RATIO:g} and the window of 16 samples in steps of 4 of "
    f"MNE's example; depth = {DEPTH}, debiased, as MNE's defaults.",
    "Gramfort, Strohmeier, Haueisen, Hämäläinen & Kowalski (2013), NeuroImage 70:410",
    partial(_sparse, tf_mixed_norm, alpha=TF_ALPHA, l1_ratio=TF_RATIO, wsize=16, tstep=4),
)
_enter(
    "gamma_map",
    "gamma-MAP",
    f"alpha = {NOISE_VARIANCE:g}, the noise variance of whitened data if the noise covariance is "
    f"right; depth = {DEPTH}, one gamma a position, MNE's defaults.",
    "Wipf & Nagarajan (2009), NeuroImage 44:947",
    partial(_sparse, gamma_map, alpha=NOISE_VARIANCE),
)
