"""The VAE: with sources at places of their own, and on the grid with each orientation prior."""

from __future__ import annotations

from typing import Any

import mne
import numpy as np
from numpy.typing import NDArray

import meg_vae.model.sparse_vae  # noqa: F401 (here, so that loading torch is not timed as solving)
from meg_vae.comparison.methods.arrays import array_method
from meg_vae.comparison.methods.conversions import along_normals, is_fixed
from meg_vae.comparison.methods.registry import AM, Sources, register
from meg_vae.comparison.metrics.pairing import positions_of
from meg_vae.meg.inverse import VAEInverse
from meg_vae.meg.weights import Weights
from meg_vae.model.checks import MIN_LOG_EVIDENCE
from meg_vae.model.nonlinear_vae import NonlinearVAE

_KNOBS = (
    f"Its defaults: a source is reported from {MIN_LOG_EVIDENCE:g} nats of log evidence on; the "
    "noise variance and the sparsity are learnt. "
)
_WIPF = "Wipf (2023), Marginalization is not Marginal, ICML"


def _at_places(
    evoked: mne.Evoked,
    forward: mne.Forward,
    noise_cov: mne.Covariance,
    *,
    loose: float | str,
    rank: Any,
    weights: Weights = None,
) -> Sources:
    """Find sources in and between the positions; ``loose`` is for those that lie on them."""
    inverse = VAEInverse(rank=rank).fit(evoked, forward, noise_cov, weights=weights)
    return found_by(inverse, evoked)


def found_by(inverse: VAEInverse, evoked: mne.Evoked) -> Sources:
    """Tell what a fit found as the comparison scores it.

    Parameters
    ----------
    inverse : VAEInverse
        Fitted at places.
    evoked : mne.Evoked
        Its data.

    Returns
    -------
    sources : Sources
        The sources, points and patches.
    """
    return Sources(
        dipoles=inverse.dipoles(),
        extents_mm=inverse.sources_["extent_mm"].to_numpy(float),
        estimate=inverse.apply(evoked, "vector"),
        fitted=inverse.filter_.predict(evoked),
    )


def _on_grid(prior: float | str | None = None, orientation: str | None = None) -> Any:
    """Make a run with an orientation prior of its own; None takes the one that is asked for."""

    def run(
        evoked: mne.Evoked,
        forward: mne.Forward,
        noise_cov: mne.Covariance,
        *,
        loose: float | str,
        rank: Any,
        weights: Weights = None,
    ) -> mne.SourceEstimate:
        own = loose if prior is None else prior
        options = {} if orientation is None else {"orientation": orientation}
        inverse = VAEInverse(positions="grid", loose=own, rank=rank, **options)
        inverse.fit(evoked, forward, noise_cov, weights=weights)
        if not is_fixed(forward, own):
            return inverse.apply(evoked, "vector")
        stc = inverse.apply(evoked)
        if is_fixed(forward, loose):
            return stc
        return along_normals(stc, forward, positions_of(stc, forward), evoked)

    return run


def _enter(name: str, title: str, knobs: str, run: Any) -> None:
    register(
        name,
        title,
        family="VAE",
        unit=AM,
        sparse=True,
        knobs=_KNOBS + knobs,
        reference=_WIPF,
        weighted=True,
    )(run)


_enter(
    "vae",
    "VAE",
    "Sources in and between the positions, of learnt orientation whatever constraint is asked for, "
    "which is for methods on the grid; a forward model of free orientation.",
    _at_places,
)
_enter("vae_grid", "VAE (grid)", "On the grid, the constraint asked for.", _on_grid())
_enter("vae_fixed", "VAE (fixed)", "On the grid, along the cortical normal.", _on_grid(0.0))
_enter("vae_loose", "VAE (loose)", "On the grid, loose orientation, 0.2.", _on_grid(0.2))
_enter(
    "vae_free",
    "VAE (free)",
    "On the grid, free orientation, one variance a position.",
    _on_grid(1.0),
)
_enter(
    "vae_full",
    "VAE (full)",
    "On the grid, free orientation, a full 3 × 3 prior covariance a position.",
    _on_grid(1.0, "full"),
)


@register(
    "vae_tails",
    "VAE (tails)",
    family="VAE",
    unit=AM,
    sparse=True,
    knobs=(
        "On the grid, the constraint asked for; a source is reported from "
        f"{MIN_LOG_EVIDENCE:g} nats on. The tails of its activity are learnt by a nonlinear "
        "decoder, trained with its encoder."
    ),
    reference=_WIPF,
)
@array_method()
def _tails(
    Phi: NDArray[np.float64], X: NDArray[np.float64], n_orient: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Train from the minimum of the linear model."""
    model = NonlinearVAE(n_orient=n_orient, min_log_evidence=MIN_LOG_EVIDENCE).fit(Phi, X)
    active = np.repeat(model.active_, n_orient)
    return model.U_[active], active
