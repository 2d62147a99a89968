"""The lead-field dictionary Φ, prepared once and reused by every fit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property

import torch
from torch import Tensor

PART = 6144  # columns at a time, where no more of Φ than needed is to be copied; divides by 3
ENOUGH = 4  # positions for each channel that tell the leading directions of Φ


class Dictionary:
    """A dictionary Φ with its columns in groups of one position, looked at on a common scale.

    The energy does not change when a group of columns is rescaled (its γ takes the inverse square),
    so every group is given unit Frobenius norm: scales over many orders of magnitude then cost no
    precision, and depth needs no weight. Φ itself is kept as it is, without a copy, and brought to
    that scale where it is looked at.

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
    given : Tensor, shape (n_channels, n_dipoles)
        Φ, float64.
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
        squares = [part.square().sum(0) for part in given.split(PART, 1)]
        norms = torch.cat(squares).reshape(-1, n_orient).sum(1).sqrt()
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
        self.given = given
        self._projected: tuple[Tensor, Tensor] | None = None
        self._restricted: Dictionary | None = None

    @property
    def n_channels(self) -> int:
        """Number of rows of Φ."""
        return len(self.given)

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self.given.device

    @cached_property
    def Phi(self) -> Tensor:
        """Φ with every group at unit Frobenius norm, (n_channels, n_dipoles): a copy, then kept."""
        return self.given / self.norms.repeat_interleave(self.n_orient)

    @property
    def n_groups(self) -> int:
        """Number of positions."""
        return len(self.norms)

    @cached_property
    def _eigen(self) -> tuple[Tensor, Tensor]:
        return _eigenvectors(self.parts(PART), self.n_channels)

    @cached_property
    def leading(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues and eigenvectors of ΦΦᵀ as a part of its positions tells them.

        Neighbours see nearly the same. The part is `ENOUGH` times as many positions as channels,
        and each counts for those left out.
        """
        every = max(1, self.n_groups // (ENOUGH * self.n_channels))
        if every == 1:
            return self._eigen
        part = torch.arange(0, self.n_groups, every, device=self.device)
        columns = self.columns(part).flatten(1)
        values, vectors = _eigenvectors([columns], self.n_channels)
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
            Phi = self.basis[:, :rank].T @ self.given
            self._restricted = Dictionary(Phi, self.n_orient, device=self.device)
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
        return self.as_given(groups) / self.norms[groups, None]

    def as_given(self, groups: Tensor) -> Tensor:
        """Take the columns of some groups in the units of Φ, shape (n_channels, m, n_orient)."""
        return self.given.unflatten(1, (self.n_groups, self.n_orient))[:, groups]

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

    def parts(self, size: int) -> Iterator[Tensor]:
        """Bring Φ to the common scale, about ``size`` columns after ``size`` columns.

        Yields
        ------
        Phi : Tensor, shape (n_channels, size)
            Columns of whole groups.
        """
        scale = self.norms.repeat_interleave(self.n_orient)
        size -= size % self.n_orient
        for part, own in zip(self.given.split(size, 1), scale.split(size), strict=True):
            yield part / own

    @cached_property
    def single(self) -> Tensor:
        """Φ on the common scale in float32, for looking ahead only, (n_channels, n_dipoles)."""
        out = self.given.new_empty(self.given.shape, dtype=torch.float32)
        return _filled(out, self.parts(PART))

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
            out = self.given.new_empty(rank, self.given.shape[1], dtype=dtype)
            rows = basis.T.to(dtype)
            parts = self.single.split(PART, 1) if dtype == torch.float32 else self.parts(PART)
            self._projected = kept = basis, _filled(out, (rows @ part for part in parts))
        return kept[1][:rank]


def _filled(out: Tensor, parts: Iterable[Tensor]) -> Tensor:
    """Fill the columns of ``out`` with parts, one after the other."""
    start = 0
    for part in parts:
        out[:, start : start + part.shape[1]] = part
        start += part.shape[1]
    return out


def _eigenvectors(parts: Iterable[Tensor], d: int) -> tuple[Tensor, Tensor]:
    """Eigenvalues of ΦΦᵀ, largest first, and its eigenvectors, from parts (d, n) of the columns."""
    step, gram = -(-d // 4), None
    for part in parts:
        if gram is None:
            gram = part.new_zeros(d, d)
        for row in range(0, d, step):  # the lower triangle is all that eigh reads
            upto = row + step
            gram[row:upto, :upto] += part[row:upto] @ part[:upto].T
    values, vectors = torch.linalg.eigh(gram)
    return values.flip(0).clamp_min(0.0), vectors.flip(1)
