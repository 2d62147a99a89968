"""The lead-field dictionary Φ, prepared once and reused by every fit."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

ENOUGH = 4  # positions for each channel that tell the leading directions of Φ


class Dictionary:
    """A dictionary Φ with its columns in groups of one position, brought to a common scale.

    The energy does not change when a group of columns is rescaled (its γ takes the inverse square),
    so every group is given unit Frobenius norm: scales over many orders of magnitude then cost no
    precision, and depth needs no weight.

    Parameters
    ----------
    Phi : array_like, shape (n_channels, n_dipoles)
        Whitened dictionary; the ``n_orient`` dipoles of one position are adjacent.
    n_orient : int
        Dipoles per position.
    device : str | torch.device | None
        Where to compute; None is the CPU.

    Attributes
    ----------
    Phi : Tensor, shape (n_channels, n_dipoles)
        Φ with every group at unit Frobenius norm, float64.
    norms : Tensor, shape (n_groups,)
        The norms taken out; 1 for a group of zero columns.
    silent : Tensor of bool, shape (n_groups,)
        Groups of zero columns, which can explain nothing and never become active.

    Raises
    ------
    ValueError
        If Φ is not a finite, non-zero matrix, or ``n_orient`` does not divide its columns.
    """

    def __init__(
        self, Phi: object, n_orient: int = 1, *, device: str | torch.device | None = None
    ) -> None:
        given = torch.as_tensor(Phi, dtype=torch.float64, device=device)
        if given.ndim != 2 or 0 in given.shape:
            raise ValueError(
                f"Phi must be a matrix (n_channels, n_dipoles), got shape {tuple(given.shape)}."
            )
        if n_orient < 1 or given.shape[1] % n_orient:
            raise ValueError(
                f"n_orient={n_orient} does not divide the {given.shape[1]} columns of Phi; "
                "give the number of dipoles per position (1 or 3)."
            )
        norms = torch.einsum("dn,dn->n", given, given).reshape(-1, n_orient).sum(1).sqrt()
        if not torch.isfinite(norms).all():
            raise ValueError(
                "Phi has NaN or infinite entries; check the forward model and the noise covariance."
            )
        if not norms.any():
            raise ValueError(
                "Phi is zero everywhere, so no source can be seen; check the forward model."
            )
        self.n_orient = n_orient
        self.silent = norms == 0
        self.norms = norms.masked_fill(self.silent, 1.0)
        self.Phi = given / self.norms.repeat_interleave(n_orient)
        self._projected: tuple[Tensor, Tensor] | None = None
        self._restricted: Dictionary | None = None

    @property
    def n_channels(self) -> int:
        """Number of rows of Φ."""
        return len(self.Phi)

    @property
    def n_groups(self) -> int:
        """Number of positions."""
        return len(self.norms)

    @cached_property
    def _eigen(self) -> tuple[Tensor, Tensor]:
        return _eigenvectors(self.Phi)

    @cached_property
    def leading(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues and eigenvectors of ΦΦᵀ as a part of its positions tells them.

        Neighbours see nearly the same. The part is `ENOUGH` times as many positions as channels,
        and each counts for those left out.
        """
        every = max(1, self.n_groups // (ENOUGH * self.n_channels))
        if every == 1:
            return self._eigen
        part = torch.arange(0, self.n_groups, every, device=self.Phi.device)
        values, vectors = _eigenvectors(self.columns(part).flatten(1))
        return values * every, vectors

    @property
    def eigenvalues(self) -> Tensor:
        """Eigenvalues of ΦΦᵀ, largest first, shape (n_channels,)."""
        return self._eigen[0]

    @property
    def basis(self) -> Tensor:
        """Eigenvectors of ΦΦᵀ in the columns, in the order of ``eigenvalues``."""
        return self._eigen[1]

    def restricted(self, rank: int) -> Dictionary:
        """Describe Φ in the coordinates of its strongest directions.

        Parameters
        ----------
        rank : int
            How many eigenvectors of ΦΦᵀ to keep.

        Returns
        -------
        dictionary : Dictionary
            A dictionary with ``rank`` channels and the same groups and norms.
        """
        if self._restricted is None or self._restricted.n_channels != rank:
            norms = self.norms.repeat_interleave(self.n_orient)
            self._restricted = Dictionary(
                self.basis[:, :rank].T @ (self.Phi * norms), self.n_orient, device=self.Phi.device
            )
        return self._restricted

    def columns(self, groups: Tensor) -> Tensor:
        """Take the columns of some groups.

        Parameters
        ----------
        groups : Tensor of int, shape (m,)
            Which groups.

        Returns
        -------
        Phi : Tensor, shape (n_channels, m, n_orient)
            Their columns.
        """
        return self.Phi.reshape(self.n_channels, self.n_groups, self.n_orient)[:, groups]

    def as_given(self, groups: Tensor) -> Tensor:
        """Take the columns of some groups in the units of Φ, shape (n_channels, m, n_orient)."""
        return self.columns(groups) * self.norms[groups, None]

    def only(self, groups: Tensor) -> Dictionary:
        """Keep some groups.

        Parameters
        ----------
        groups : Tensor of int, shape (m,)
            Which groups.

        Returns
        -------
        dictionary : Dictionary
            These alone, at their own scale.
        """
        columns = self.as_given(groups)
        return Dictionary(columns.flatten(1), self.n_orient, device=columns.device)

    def as_type(self, dtype: torch.dtype) -> Tensor:
        """Give Φ in some precision.

        Parameters
        ----------
        dtype : torch.dtype
            float64, or float32 for looking ahead only.

        Returns
        -------
        Phi : Tensor, shape (n_channels, n_dipoles)
            The normalised dictionary.
        """
        return self.Phi if dtype == torch.float64 else self._single

    @cached_property
    def _single(self) -> Tensor:
        return self.Phi.float()

    def projected(self, basis: Tensor, dtype: torch.dtype) -> Tensor:
        """Project Φ on some directions.

        Parameters
        ----------
        basis : Tensor, shape (n_channels, rank)
            The directions, in the columns.
        dtype : torch.dtype
            Precision of the result.

        Returns
        -------
        Phi : Tensor, shape (rank, n_dipoles)
            The projected dictionary; it is kept for the next right-hand side with these directions,
            or fewer of them.
        """
        rank, kept = basis.shape[1], self._projected
        known = kept is not None and kept[1].dtype == dtype and len(kept[1]) >= rank
        if kept is None or not known or not torch.equal(kept[0][:, :rank], basis):
            self._projected = kept = basis, basis.T.to(dtype) @ self.as_type(dtype)
        return kept[1][:rank]


def _eigenvectors(Phi: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues of ΦΦᵀ, largest first, and its eigenvectors in the columns."""
    d, step = len(Phi), -(-len(Phi) // 4)
    gram = Phi.new_zeros(d, d)
    for row in range(0, d, step):  # the lower triangle is all that eigh reads
        upto = row + step
        gram[row:upto, :upto] = Phi[row:upto] @ Phi[:upto].T
    values, vectors = torch.linalg.eigh(gram)
    return values.flip(0).clamp_min(0.0), vectors.flip(1)
