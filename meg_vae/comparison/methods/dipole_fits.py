"""Dipole fits on the source grid: by least squares, each new dipole beside those found before."""

from __future__ import annotations

from typing import Any

import mne
import numpy as np
from numpy.typing import NDArray

from meg_vae.comparison.methods.conversions import from_moments, is_fixed
from meg_vae.comparison.methods.registry import AM, N_SOURCES, Method, register
from meg_vae.meg.leadfield import make_leadfield, whiten


def _fit(
    evoked: mne.Evoked,
    forward: mne.Forward,
    noise_cov: mne.Covariance,
    *,
    loose: float | str,
    rank: Any,
    n_sources: int = 1,
) -> mne.SourceEstimate:
    """Place dipoles one after the other where they leave the least whitened residual."""
    loose = 0.0 if is_fixed(forward, loose) else 1.0  # a constraint on size means nothing here
    leadfield = make_leadfield(forward, evoked.info, noise_cov, loose=loose, rank=rank)
    X = whiten(evoked, leadfield.whitener, leadfield.ch_names, leadfield.nave)
    n_orient = leadfield.n_orient
    columns = leadfield.Phi.reshape(len(X), -1, n_orient)
    found: list[int] = []
    left, free = X, columns
    for _ in range(max(n_sources, 1)):
        explained = _explained(free, left)
        explained[found] = -np.inf
        found.append(int(explained.argmax()))
        basis = np.linalg.qr(columns[:, found].reshape(len(X), -1))[0]
        left = X - basis @ (basis.T @ X)
        free = columns - np.tensordot(basis, np.tensordot(basis.T, columns, 1), 1)
    U = np.linalg.lstsq(columns[:, found].reshape(len(X), -1), X, rcond=None)[0]
    moments = U.reshape(len(found), n_orient, -1)
    return from_moments(leadfield.forward, np.array(found), moments, evoked)


def _explained(columns: NDArray[np.float64], X: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the power that the columns of each position explain; of nearly none, nothing."""
    gram = np.einsum("dpa,dpb->pab", columns, columns)
    fields = np.tensordot(columns, X, (0, 0))
    values, vectors = np.linalg.eigh(gram)
    keep = values > 1e-6 * np.maximum(values[:, -1:], values.max() * 1e-9)
    along = np.einsum("pab,pat->pbt", vectors, fields)
    power = np.square(along).sum(axis=2)
    explained: NDArray[np.float64] = np.where(keep, power / np.where(keep, values, 1.0), 0.0).sum(
        axis=1
    )
    return explained


_KNOBS = (
    "Every place of the source grid is tried; the place is fixed in time, the orientation is free "
    "unless the constraint is 0."
)
register(
    Method(
        name="dipole",
        title="Dipole fit",
        family="Dipoles",
        unit=AM,
        sparse=True,
        knobs=f"One dipole. {_KNOBS}",
        reference="Scherg & von Cramon (1985), Electroencephalogr. Clin. Neurophysiol. 62:32",
        run=_fit,
    )
)
register(
    Method(
        name="sequential_dipoles",
        title="Dipoles (sequential)",
        family="Dipoles",
        unit=AM,
        sparse=True,
        knobs=(
            "As many dipoles as it is told, at least one, each at the place that leaves the least "
            f"beside those before it; amplitudes of all together. {_KNOBS}"
        ),
        reference="Mosher, Lewis & Leahy (1992), IEEE Trans. Biomed. Eng. 39:541",
        run=_fit,
        oracle=N_SOURCES,
    )
)
