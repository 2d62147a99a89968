"""The registry of inverse methods: each takes data, forward model and noise covariance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import mne
import numpy as np
from mne.inverse_sparse import gamma_map, mixed_norm
from mne.minimum_norm import apply_inverse, make_inverse_operator

import meg_vae.model.sparse_vae  # noqa: F401 (here, so that loading torch is not timed as solving)
from meg_vae.meg.estimates import active_positions, source_estimate
from meg_vae.meg.inverse import MIN_LOG_EVIDENCE, VAEInverse

AM = "A·m"
DIMENSIONLESS = "dimensionless"

ALPHA = 55.0  # of mixed norms: percent of the smallest alpha that finds nothing
NOISE_VARIANCE = 1.0  # of gamma-MAP: that of whitened noise, if the noise covariance is right
DEPTH = 0.8
LAMBDA2 = 1 / 9  # of minimum norms: 1 / SNR², for the SNR of 3 that MNE assumes for averages
SEED = 0


@dataclass(frozen=True)
class Method:
    """An inverse method.

    Attributes
    ----------
    name : str
        Its name in `METHODS`.
    title : str
        Its name in tables and figures.
    unit : "A·m" | "dimensionless"
        Unit of its estimate.
    sparse : bool
        Whether it names few positions; otherwise it is a map of all of them.
    knobs : str
        The settings it runs with, and what it is told beyond the data.
    reference : str
        Where it was published.
    run : callable
        ``run(evoked, forward, noise_cov, *, loose, rank)`` gives the estimate: of three components
        (a vector estimate) unless the orientation is fixed, and empty if it finds nothing.
        ``evoked.nave`` must be 1 and ``noise_cov`` that of the average.
    """

    name: str
    title: str
    unit: str
    sparse: bool
    knobs: str
    reference: str
    run: Callable[..., mne.SourceEstimate]


def _pick_ori(forward: mne.Forward, loose: float | str) -> str | None:
    """All components of free dipoles, without which no field can be computed."""
    return None if loose == 0 or mne.forward.is_fixed_orient(forward) else "vector"


def _vae(
    evoked: mne.Evoked,
    forward: mne.Forward,
    noise_cov: mne.Covariance,
    *,
    loose: float | str,
    rank: Any,
) -> mne.SourceEstimate:
    inverse = VAEInverse(loose=loose, rank=rank).fit(evoked, forward, noise_cov)
    return inverse.apply(evoked, _pick_ori(forward, loose))


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
    pick_ori = _pick_ori(forward, loose)
    options = {"loose": loose, "depth": DEPTH, "rank": rank, "pick_ori": pick_ori}
    try:
        return solver(evoked, forward, noise_cov, **options, **knobs)
    except Exception as error:  # MNE has no class of its own for this
        if "No active dipoles found" not in str(error):
            raise
        nothing = active_positions(forward, np.zeros(0, int))
        U = np.zeros((0, 1 if pick_ori is None else 3, len(evoked.times)))
        return source_estimate(nothing, U, evoked.times[0], 1 / evoked.info["sfreq"], pick_ori)


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
    return apply_inverse(evoked, operator, LAMBDA2, method, pick_ori=_pick_ori(forward, loose))


_MIXED_NORM_KNOBS = (
    f"alpha = {ALPHA:g} % of the smallest value that finds nothing, the same for all data; "
    f"depth = {DEPTH}, debiased, as MNE's defaults. Told nothing."
)
_SURE_KNOBS = (
    "alpha by SURE on MNE's grid of 15 values, which takes the noise variance of whitened data "
    f"to be 1; depth = {DEPTH}, debiased, as MNE's defaults; random_state = {SEED}. Told nothing."
)
_REWEIGHTED = " 10 reweightings, as in MNE's example."
_MINIMUM_NORM_KNOBS = (
    f"lambda2 = 1/9, MNE's default, for an SNR of 3; depth = {DEPTH}, MNE's default. Told nothing."
)
_GRAMFORT = "Gramfort, Kowalski & Hämäläinen (2012), Phys. Med. Biol. 57:1937"
_STROHMEIER = "Strohmeier, Bekhti, Haueisen & Gramfort (2016), IEEE Trans. Med. Imaging 35:2218"
_DELEDALLE = "Deledalle, Vaiter, Fadili & Peyré (2014), SIAM J. Imaging Sci. 7:2448"

_ALL = (
    Method(
        name="vae",
        title="VAE",
        unit=AM,
        sparse=True,
        knobs=(
            f"Its defaults: a source is reported from {MIN_LOG_EVIDENCE:g} nats of log evidence "
            "on; the noise variance and the sparsity are learnt. Told nothing."
        ),
        reference="Wipf (2023), Marginalization is not Marginal, ICML",
        run=_vae,
    ),
    Method(
        name="mxne",
        title="MxNE",
        unit=AM,
        sparse=True,
        knobs=_MIXED_NORM_KNOBS,
        reference=_GRAMFORT,
        run=partial(_sparse, mixed_norm, alpha=ALPHA),
    ),
    Method(
        name="irmxne",
        title="irMxNE",
        unit=AM,
        sparse=True,
        knobs=_MIXED_NORM_KNOBS + _REWEIGHTED,
        reference=_STROHMEIER,
        run=partial(_sparse, mixed_norm, alpha=ALPHA, n_mxne_iter=10),
    ),
    Method(
        name="mxne_sure",
        title="MxNE (SURE)",
        unit=AM,
        sparse=True,
        knobs=_SURE_KNOBS,
        reference=f"{_GRAMFORT}; {_DELEDALLE}",
        run=partial(_sparse, mixed_norm, alpha="sure", random_state=SEED),
    ),
    Method(
        name="irmxne_sure",
        title="irMxNE (SURE)",
        unit=AM,
        sparse=True,
        knobs=_SURE_KNOBS + _REWEIGHTED,
        reference=f"{_STROHMEIER}; {_DELEDALLE}",
        run=partial(_sparse, mixed_norm, alpha="sure", n_mxne_iter=10, random_state=SEED),
    ),
    Method(
        name="gamma_map",
        title="gamma-MAP",
        unit=AM,
        sparse=True,
        knobs=(
            f"alpha = {NOISE_VARIANCE:g}, the noise variance of whitened data if the noise "
            f"covariance is right; depth = {DEPTH}, one gamma a position, MNE's defaults. "
            "Told nothing."
        ),
        reference="Wipf & Nagarajan (2009), NeuroImage 44:947",
        run=partial(_sparse, gamma_map, alpha=NOISE_VARIANCE),
    ),
    Method(
        name="mne",
        title="MNE",
        unit=AM,
        sparse=False,
        knobs=_MINIMUM_NORM_KNOBS,
        reference="Hämäläinen & Ilmoniemi (1994), Med. Biol. Eng. Comput. 32:35",
        run=partial(_minimum_norm, method="MNE"),
    ),
    Method(
        name="dspm",
        title="dSPM",
        unit=DIMENSIONLESS,
        sparse=False,
        knobs=_MINIMUM_NORM_KNOBS,
        reference="Dale et al. (2000), Neuron 26:55",
        run=partial(_minimum_norm, method="dSPM"),
    ),
    Method(
        name="sloreta",
        title="sLORETA",
        unit=DIMENSIONLESS,
        sparse=False,
        knobs=_MINIMUM_NORM_KNOBS,
        reference="Pascual-Marqui (2002), Methods Find. Exp. Clin. Pharmacol. 24D:5",
        run=partial(_minimum_norm, method="sLORETA"),
    ),
    Method(
        name="eloreta",
        title="eLORETA",
        unit=AM,
        sparse=False,
        knobs=_MINIMUM_NORM_KNOBS,
        reference="Pascual-Marqui et al. (2011), Phil. Trans. R. Soc. A 369:3768",
        run=partial(_minimum_norm, method="eLORETA"),
    ),
)

#: The methods by name, in the order of tables and figures.
METHODS: dict[str, Method] = {method.name: method for method in _ALL}
