"""Dipole fits on the source grid: by least squares, each new dipole beside those found before."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from meg_vae.comparison.methods.arrays import array_method
from meg_vae.comparison.methods.registry import AM, N_SOURCES, register

Array = NDArray[np.float64]


def _fit(
    Phi: Array, X: Array, n_orient: int, n_sources: int = 1
) -> tuple[Array, NDArray[np.bool_]]:
    """Place dipoles one after the other where they leave the least whitened residual."""
    columns = Phi.reshape(len(X), -1, n_orient)
    found: list[int] = []
    left, free = X, columns
    for _ in range(max(n_sources, 1)):
        explained = _explained(free, left)
        explained[found] = -np.inf
        found.append(int(explained.argmax()))
        basis = np.linalg.qr(columns[:, found].reshape(len(X), -1))[0]
        left = X - basis @ (basis.T @ X)
        free = columns - np.tensordot(basis, np.tensordot(basis.T, columns, 1), 1)
    active = np.zeros((columns.shape[1], n_orient), bool)
    active[found] = True
    return np.linalg.lstsq(Phi[:, active.ravel()], X, rcond=None)[0], active.ravel()


def _explained(columns: Array, X: Array) -> Array:
    """Give the power that the columns of each position explain; of nearly none, nothing."""
    gram = np.einsum("dpa,dpb->pab", columns, columns)
    fields = np.tensordot(columns, X, (0, 0))
    values, vectors = np.linalg.eigh(gram)
    keep = values > 1e-6 * np.maximum(values[:, -1:], values.max() * 1e-9)
    along = np.einsum("pab,pat->pbt", vectors, fields)
    power = np.square(along).sum(axis=2)
    explained: Array = np.where(keep, power / np.where(keep, values, 1.0), 0.0).sum(axis=1)
    return explained


_KNOBS = (
    "Every place of the source grid is tried; the place is fixed in time, the orientation is free "
    "unless the constraint is 0."
)
_each = array_method("free")(_fit)  # a constraint on the size of components means nothing here
register(
    "dipole",
    "Dipole fit",
    family="Dipoles",
    unit=AM,
    sparse=True,
    knobs=f"One dipole. {_KNOBS}",
    reference="Scherg & von Cramon (1985), Electroencephalogr. Clin. Neurophysiol. 62:32",
)(_each)
register(
    "sequential_dipoles",
    "Dipoles (sequential)",
    family="Dipoles",
    unit=AM,
    sparse=True,
    knobs=(
        "As many dipoles as it is told, at least one, each at the place that leaves the least "
        f"beside those before it; amplitudes of all together. {_KNOBS}"
    ),
    reference="Mosher, Lewis & Leahy (1992), IEEE Trans. Biomed. Eng. 39:541",
    oracle=N_SOURCES,
)(_each)
