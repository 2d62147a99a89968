"""MNE's minimum norms and their noise-normalized relatives."""

from __future__ import annotations

from functools import partial
from typing import Any

import mne
from mne.minimum_norm import apply_inverse, make_inverse_operator

from meg_vae.comparison.methods.conversions import is_fixed
from meg_vae.comparison.methods.registry import AM, DIMENSIONLESS, register

DEPTH = 0.8
LAMBDA2 = 1 / 9  # 1 / SNR², for the SNR of 3 that MNE assumes for averages


def _minimum_norm(
    evoked: mne.Evoked,
    forward: mne.Forward,
    noise_cov: mne.Covariance,
    *,
    loose: float | str,
    rank: Any,
    method: str,
) -> mne.SourceEstimate:
    depth = {"exp": DEPTH, "allow_fixed_depth": mne.forward.is_fixed_orient(forward)}
    operator = make_inverse_operator(evoked.info, forward, noise_cov, loose, depth, rank=rank)
    pick_ori = None if is_fixed(forward, loose) else "vector"
    return apply_inverse(evoked, operator, LAMBDA2, method, pick_ori=pick_ori)


def _enter(title: str, unit: str, reference: str) -> None:
    register(
        title.lower(),
        title,
        family="Minimum norm",
        unit=unit,
        sparse=False,
        knobs=f"lambda2 = 1/9, MNE's default, for an SNR of 3; depth = {DEPTH}, MNE's default.",
        reference=reference,
    )(partial(_minimum_norm, method=title))


_enter("MNE", AM, "Hämäläinen & Ilmoniemi (1994), Med. Biol. Eng. Comput. 32:35")
_enter("dSPM", DIMENSIONLESS, "Dale et al. (2000), Neuron 26:55")
_enter("sLORETA", DIMENSIONLESS, "Pascual-Marqui (2002), Methods Find. Exp. Clin. Pharmacol. 24D:5")
_enter("eLORETA", AM, "Pascual-Marqui et al. (2011), Phil. Trans. R. Soc. A 369:3768")
