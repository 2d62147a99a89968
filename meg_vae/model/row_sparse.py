"""RowSparseModel: what the estimators of a row-sparse X = ΦU have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import ArrayLike, NDArray

from meg_vae.model.checks import check_data
from meg_vae.model.exact.dictionary import Dictionary


class RowSparseModel(ABC):
    """An encoder and a decoder of which only a few latents are in use.

    A subclass fits them and gives its options ``n_orient``, the positions in use ``active_``, and
    the two maps of `_active_maps`; what they say about all dipoles and about new data is here.
    """

    n_orient: int
    active_: NDArray[np.bool_]

    @abstractmethod
    def _active_maps(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Give the maps from data to latents and to activity, (n_active * n_orient, n_channels)."""

    def _prepare(
        self, Phi: ArrayLike | Dictionary, X: ArrayLike, device: str | None = None
    ) -> tuple[Dictionary, NDArray[np.float64]]:
        """Check dictionary and data against each other and against ``n_orient``."""
        dictionary = (
            Phi if isinstance(Phi, Dictionary) else Dictionary(Phi, self.n_orient, device=device)
        )
        if dictionary.n_orient != self.n_orient:
            raise ValueError(
                f"Phi was prepared with n_orient={dictionary.n_orient}, the model has "
                f"n_orient={self.n_orient}."
            )
        return dictionary, check_data(X, dictionary.n_channels)

    @property
    def active_dipoles_(self) -> NDArray[np.int64]:
        """Indices of the active rows of U, shape (n_active * n_orient,)."""
        return np.flatnonzero(np.repeat(self.active_, self.n_orient))

    @property
    def inverse_map_(self) -> NDArray[np.float64]:
        """Linear map from data to the active rows of U, shape (n_active * n_orient, n_channels)."""
        return self._active_maps()[1]

    @property
    def W_z_(self) -> NDArray[np.float64]:
        """Encoder mean map, shape (n_dipoles, n_channels); its inactive rows are zero."""
        return self._all_rows(self._active_maps()[0])

    def transform(self, X: ArrayLike) -> NDArray[np.float64]:
        """Estimate the activity behind new data with the fitted model.

        Parameters
        ----------
        X : array_like, shape (n_channels, n_samples)
            Data.

        Returns
        -------
        U : ndarray, shape (n_dipoles, n_samples)
            The mean of the activity; inactive rows are zero.
        """
        inverse_map = self.inverse_map_
        return self._all_rows(inverse_map @ check_data(X, inverse_map.shape[1]))

    def _all_rows(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Put the active rows back among all."""
        out = np.zeros((len(self.active_) * self.n_orient, rows.shape[1]))
        out[self.active_dipoles_] = rows
        return out
