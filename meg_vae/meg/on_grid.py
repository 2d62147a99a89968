"""The sources among the positions of a forward model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from meg_vae.meg.extent import Extent
from meg_vae.meg.filter import source_filter
from meg_vae.meg.known_directions import fit_in_known_directions, samples, whitened
from meg_vae.meg.leadfield import LeadField
from meg_vae.meg.localization import Localization, renumbered, unbiased
from meg_vae.meg.runs import FitRun

if TYPE_CHECKING:
    from meg_vae.model.noise import Noise
    from meg_vae.model.sparse_vae import SparseVAE


def on_grid(
    run: FitRun, options: dict[str, Any], weights: NDArray[np.float64] | None = None
) -> Localization:
    """Find the sources among the positions of a forward model."""
    from meg_vae.model.sparse_vae import SparseVAE

    names = ("noise_variance", "orientation", "min_log_evidence", "tol", "max_iter")
    white = options["noise_autocorrelation"] == "white"
    known = samples(run, white=white) | {"white": white}

    def fit(leadfields: list[LeadField]) -> tuple[SparseVAE, list[Noise]]:
        (own,) = leadfields
        model = SparseVAE(own.n_orient, **{name: options[name] for name in names})
        model.fit(own.Phi, run.data.whiten(own), **known, weights=weights)
        return model, [model.noise_]

    leadfield = whitened(run, options["loose"], options["rank"])
    (leadfield,), model = fit_in_known_directions(fit, [leadfield], [known["n_noise"]])
    active = model.active_
    own, joint = model.source_log_evidence_[active], model.cluster_log_evidence_[active]
    # Strongest cluster first, then its strongest source.
    order = np.lexsort((-own, model.cluster_[active], -joint))
    kept = source_filter(
        leadfield,
        model.active_dipoles_,
        model.inverse_map_,
        model.prior_covariance(),
        model.posterior_covariance(),
    )
    return Localization(
        filters=[unbiased(kept.ordered(order), model.noise_)],
        noise_variance=model.noise_variance_,
        energy=model.energy_,
        history=model.history_,
        certificate=model.certificate_,
        log_evidence=model.log_evidence_,
        n_effective=model.n_effective_,
        noises=[model.noise_],
        evidence=joint[order],
        cluster=renumbered(model.cluster_[active][order]),
        place_covariance=np.full((len(order), 3, 3), np.nan),
        field_covariance=np.full((len(order), 3, 3), np.nan),
        extent=Extent.of_points(len(order)),
        on_wall=np.zeros(len(order), bool),
        spans=np.tile([-np.inf, np.inf], (len(order), 1)),
        active=np.ones((len(order), len(run.data.responses)), bool),
        response_evidence=np.full((len(order), len(run.data.responses)), np.nan),
        field_error=np.zeros(len(order)),
        weight=_largest(weights, active, model.cluster_[active])[order],
    )


def _largest(
    weights: NDArray[np.float64] | None, active: NDArray[np.bool_], cluster: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Give the largest weight in the cluster of each source on the grid, by which it is judged."""
    if weights is None:
        return np.zeros(len(cluster))
    return pd.Series(weights[active]).groupby(cluster).transform("max").to_numpy(np.float64)
