r"""Priors: what the covariance Γ_g = R_g R_gᵀ of the dipoles of a position may be.

A step of the descent multiplies it, Γ_g ← R_g exp(E_g) R_gᵀ, so that it stays a covariance; E_g is
a combination of the prior's ``basis``. With K = RᵀΦᵀΣ⁻¹ΦR and M = RᵀΦᵀΣ⁻¹CΣ⁻¹ΦR the energy changes
by

.. math::
    δJ = Σ_g \operatorname{tr}((K_{gg} - M_{gg}) E_g),\qquad
    δ^2J = Σ_{gh} \operatorname{tr}(K_{gh} E_h (2 M_{hg} - K_{hg}) E_g)
    + Σ_g \operatorname{tr}((K_{gg} - M_{gg}) E_g^2).

A new prior is one more class here, with what `Prior` asks of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from meg_vae.model.checks import check_option
from meg_vae.model.exact.dictionary import Dictionary
from meg_vae.model.exact.pulls import Rows, mean_ratio, oriented_ratio, steepest_direction
from meg_vae.model.exact.small import block_diagonal, eigh, positive_part, step_factor
from meg_vae.model.misfit import growth, removal_change


class Prior(ABC):
    """What the solver asks of a prior; factors R are (batch, m, o, o), blocks (batch, m, o, o)."""

    @abstractmethod
    def basis(self, n_orient: int, like: Tensor) -> Tensor:
        """Symmetric matrices in whose span E lies, (p, o, o), of the type of ``like``."""

    def n_free(self, n_orient: int) -> int:
        """Parameters of the prior of one position, p."""
        return len(self.basis(n_orient, torch.empty(0)))

    def aligned(self, R: Tensor) -> Tensor:
        """Give factors of the same covariances in the form that steps start from."""
        return R

    def frame(self, R: Tensor) -> Tensor:
        """Give the factors to take derivatives at, completed where a step may turn."""
        return R

    def free(self, R: Tensor) -> Tensor | None:
        """Tell which parameters move the covariance, (batch, m p); None where all do."""
        return None

    def gradient(self, G: Tensor) -> Tensor:
        """Give tr(G_g E_k), (batch, m p), of blocks G = K − M."""
        return torch.einsum("zgab,kab->zgk", G, self.basis(G.shape[-1], G)).flatten(1)

    def self_term(self, G: Tensor, R: Tensor) -> Tensor:
        """Positive part of tr(G_g E_k E_l), (batch, m p, m p)."""
        basis = self.basis(G.shape[-1], G)
        return block_diagonal(torch.einsum("zgab,kbc,lac->zgkl", positive_part(G), basis, basis))

    def pairs(self, K: Tensor, M: Tensor, n_orient: int) -> Tensor:
        """Give tr(K_gh E_l M_hg E_k) of each two parameters (g, k), (h, l): (batch, m p, m p)."""
        basis = self.basis(n_orient, K)
        batch, size, _ = K.shape
        o, p, m = n_orient, len(basis), size // n_orient
        shape = (batch, m, o, m, o)
        KB = torch.einsum("zgahb,lbc->zgahlc", K.reshape(shape), basis)
        MB = torch.einsum("zhcgd,kda->zgahkc", M.reshape(shape), basis)
        KB, MB = (T.permute(0, 1, 3, 4, 2, 5).reshape(batch, m, m, p, o * o) for T in (KB, MB))
        pairs: Tensor = (MB @ KB.mT).permute(0, 1, 3, 2, 4).reshape(batch, m * p, m * p)
        return (pairs + pairs.mT) / 2

    def cross(self, Y: Tensor, Z: Tensor) -> Tensor:
        """Y_dg E_k Z_dg of rows Y, Z, (batch, d, m, o): (batch, d, m p)."""
        return torch.einsum("zdga,kab,zdgb->zdgk", Y, self.basis(Y.shape[-1], Y), Z).flatten(2)

    def moved(self, R: Tensor, step: Tensor) -> Tensor:
        """Multiply the covariances by a step, (batch, m p)."""
        basis = self.basis(R.shape[-1], R)
        E = torch.einsum("zgk,kab->zgab", step.unflatten(1, (-1, len(basis))), basis)
        size, axes = eigh(E)
        return R @ (axes * step_factor(size).sqrt()[..., None, :]) @ axes.mT

    def parts(self, R: Tensor) -> Tensor:
        """Tell what could be taken out by itself, (batch, m) positions or (batch, m o) columns."""
        return R.any(2).flatten(1)

    def removal(self, K: Tensor, M: Tensor, share: float) -> Tensor:
        """Change of J when one of these parts alone is taken out, from the blocks at them."""
        K, M = (T.diagonal(dim1=2, dim2=3).flatten(1)[..., None, None] for T in (K, M))
        return removal_change(K, M, share)

    def room(self, R: Tensor) -> Tensor:
        """Tell which positions could take in more, (batch, m)."""
        return ~R.any(2).all(2)

    @abstractmethod
    def pull(self, dictionary: Dictionary, rows: Rows, out: Tensor) -> Tensor:
        """Give q / s of each position at the best beginning, (batch, n_groups); 0 where ``out``.

        At most 1 where a position is rightly at zero.
        """

    @abstractmethod
    def pull_among(self, rows: Rows, Phi: Tensor) -> Tensor:
        """Give the same of candidates with the columns Phi (d, m, o)."""

    @abstractmethod
    def entries(self, K: Tensor, M: Tensor, R: Tensor) -> Tensor:
        """Find what each position would best add to its factor, (batch, m, o, o)."""

    @abstractmethod
    def best_fall(self, K: Tensor, M: Tensor, share: float) -> Tensor:
        """Give the most by which one position alone, from nothing, lowers J; K, M (m, o, o)."""


class Isotropic(Prior):
    """One variance for the dipoles of a position: Γ_g = γ_g I."""

    def basis(self, n_orient: int, like: Tensor) -> Tensor:
        """Give the identity."""
        return torch.eye(n_orient, dtype=like.dtype, device=like.device)[None]

    def n_free(self, n_orient: int) -> int:
        """Count γ."""
        return 1

    def gradient(self, G: Tensor) -> Tensor:
        """Sum the diagonal."""
        return G.diagonal(dim1=2, dim2=3).sum(2)

    def self_term(self, G: Tensor, R: Tensor) -> Tensor:
        """Positive part of tr G_g."""
        return torch.diag_embed(self.gradient(G).clamp_min(0.0))

    def pairs(self, K: Tensor, M: Tensor, n_orient: int) -> Tensor:
        """⟨K_gh, M_gh⟩."""
        batch, size, _ = K.shape
        m = size // n_orient
        return (K * M).reshape(batch, m, n_orient, m, n_orient).sum((2, 4))

    def cross(self, Y: Tensor, Z: Tensor) -> Tensor:
        """⟨Y_dg, Z_dg⟩."""
        return (Y * Z).sum(3)

    def moved(self, R: Tensor, step: Tensor) -> Tensor:
        """Multiply γ."""
        return R * step_factor(step[:, :, None, None]).sqrt()

    def parts(self, R: Tensor) -> Tensor:
        """Give the active positions."""
        return R.flatten(2).any(2)

    def removal(self, K: Tensor, M: Tensor, share: float) -> Tensor:
        """Change of J without a whole position."""
        return removal_change(K, M, share)

    def room(self, R: Tensor) -> Tensor:
        """Give the inactive positions."""
        return ~self.parts(R)

    def pull(self, dictionary: Dictionary, rows: Rows, out: Tensor) -> Tensor:
        """Give q_g / s_g of all dipoles together."""
        return mean_ratio(dictionary, rows, out)

    def pull_among(self, rows: Rows, Phi: Tensor) -> Tensor:
        """Give q_g / s_g."""
        s, q = rows.pulls(Phi)
        return q / s.clamp_min(torch.finfo(s.dtype).tiny)

    def entries(self, K: Tensor, M: Tensor, R: Tensor) -> Tensor:
        """√γ I at its best γ."""
        return best_variance(K, M).sqrt()[..., None, None] * self.basis(K.shape[-1], K)[0]

    def best_fall(self, K: Tensor, M: Tensor, share: float) -> Tensor:
        """Fall at the best γ, by the tangent where the covariance of the noise was estimated."""
        gamma = best_variance(K, M)[:, None]
        k, V = torch.linalg.eigh(K)
        m = (V.mT @ M @ V).diagonal(dim1=1, dim2=2)
        return (gamma * m / (1 + gamma * k) - torch.log1p(gamma * k)).sum(1).clamp_min(0.0)


class Full(Prior):
    """Any covariance of the dipoles of a position, which learns an orientation.

    Its factors have orthogonal columns, longest first, which come and go one by one; a step may
    turn them into directions that have none yet, which `frame` adds.
    """

    def basis(self, n_orient: int, like: Tensor) -> Tensor:
        """Orthonormal basis of the symmetric matrices."""
        o = n_orient
        rows, cols = torch.triu_indices(o, o)
        basis = torch.zeros(len(rows), o, o, dtype=like.dtype, device=like.device)
        k = torch.arange(len(rows))
        value = torch.where(rows == cols, 1.0, 0.5**0.5).to(like)
        basis[k, rows, cols] = value
        basis[k, cols, rows] = value
        return basis

    def aligned(self, R: Tensor) -> Tensor:
        """Rotate every factor R so that its columns are orthogonal; Γ = RRᵀ stays the same."""
        U, size, _ = torch.linalg.svd(R)
        return U * size[..., None, :]

    def frame(self, R: Tensor) -> Tensor:
        """Complete each factor: its zero columns become orthogonal, as long as its longest."""
        U, size, _ = torch.linalg.svd(R)
        return U * torch.where(size > 0, size, size[..., :1])[..., None, :]

    def free(self, R: Tensor) -> Tensor:
        """Leave out what is between two zero columns."""
        zero = (~R.any(2)).to(R)
        between = torch.einsum("zga,kab,zgb->zgk", zero, self.basis(R.shape[-1], R).abs(), zero)
        return (between == 0).flatten(1)

    def self_term(self, G: Tensor, R: Tensor) -> Tensor:
        """Give tr(G E²) where a step scales, 2 tr(G Z Zᵀ) where it turns."""
        basis, real = self.basis(G.shape[-1], G), R.any(2).to(R)
        scaling = positive_part(G * real[..., :, None] * real[..., None, :])
        turning = positive_part(G * (1 - real)[..., :, None] * (1 - real)[..., None, :])
        within = basis * real[..., None, :, None] * real[..., None, None, :]
        across = basis * (1 - real)[..., None, :, None] * real[..., None, None, :]
        terms = torch.einsum("zgab,zgkbc,zglac->zgkl", scaling, within, within)
        terms = terms + 2 * torch.einsum("zgab,zgkbc,zglac->zgkl", turning, across, across)
        return block_diagonal(terms)

    def moved(self, R: Tensor, step: Tensor) -> Tensor:
        """Scale and turn; half of a turn is lost with the zero columns."""
        basis = self.basis(R.shape[-1], R)
        E = torch.einsum("zgk,kab->zgab", step.unflatten(1, (-1, len(basis))), basis)
        real = R.any(2)
        turning = real[..., :, None] != real[..., None, :]
        size, axes = eigh(E * (1 + turning.to(E)))
        moved = self.frame(R) @ (axes * step_factor(size).sqrt()[..., None, :]) @ axes.mT
        return moved * real[..., None, :]

    def pull(self, dictionary: Dictionary, rows: Rows, out: Tensor) -> Tensor:
        """Give the largest q / s over the orientations of every position."""
        return oriented_ratio(dictionary, rows).masked_fill(out, 0.0)

    def pull_among(self, rows: Rows, Phi: Tensor) -> Tensor:
        """Give the largest q / s over the orientations."""
        return steepest_direction(*rows.blocks(Phi))[0]

    def entries(self, K: Tensor, M: Tensor, R: Tensor) -> Tensor:
        """Give the steepest direction at its best size, in the first free column."""
        ratio, direction = steepest_direction(K, M)
        size = (ratio - 1).clamp_min(0.0).sqrt()
        slot = (~R.any(2)).to(torch.int8).argmax(2)
        column = torch.nn.functional.one_hot(slot, K.shape[-1]).to(K)
        return (size[..., None] * direction)[..., None] * column[..., None, :]

    def best_fall(self, K: Tensor, M: Tensor, share: float) -> Tensor:
        """Fall at the best covariance, in closed form."""
        floor = K.diagonal(dim1=1, dim2=2).sum(1)[:, None, None] * torch.eye(K.shape[1]).to(K)
        L = torch.linalg.cholesky(K + 1e-12 * floor + torch.finfo(K.dtype).tiny)
        half = torch.linalg.solve_triangular(L, M, upper=False)
        ratio = torch.linalg.eigvalsh(torch.linalg.solve_triangular(L, half.mT, upper=False))
        return growth(ratio, share)


ISOTROPIC, FULL = Isotropic(), Full()
ORIENTATIONS: dict[object, Prior] = {"shared": ISOTROPIC, "full": FULL}


def prior_of(orientation: str | Prior, n_orient: int) -> Prior:
    """Turn the option into the prior; one dipole has no orientation to learn.

    Parameters
    ----------
    orientation : "shared" | "full" | Prior
        What was given.
    n_orient : int
        Dipoles of a position.

    Returns
    -------
    prior : Prior
        What it means.

    Raises
    ------
    ValueError
        If it is none of these.
    """
    if isinstance(orientation, Prior):
        return orientation
    check_option("orientation", orientation, tuple(ORIENTATIONS))
    return ORIENTATIONS[orientation] if n_orient > 1 else ISOTROPIC


def best_variance(K: Tensor, M: Tensor) -> Tensor:
    """Variance at which one position alone, entering from nothing, lowers the energy most.

    Minimises Σ_i log(1 + γk_i) − γm_i / (1 + γk_i) over γ, with k and m the blocks in the
    eigenvectors of K.

    Parameters
    ----------
    K, M : Tensor, shape (..., o, o)
        Blocks of the position.

    Returns
    -------
    gamma : Tensor, shape (...,)
        The variance; 0 where the position does not want to grow.
    """
    k, V = eigh(K)
    m = (V.mT @ M @ V).diagonal(dim1=-2, dim2=-1)
    total = k.sum(-1).clamp_min(torch.finfo(k.dtype).tiny)
    excess = m.sum(-1) / total - 1
    gamma = excess.clamp_min(0.0) * k.shape[-1] / total  # exact for one dipole
    for _ in range(20 if k.shape[-1] > 1 else 0):
        x = gamma[..., None] * k
        den = 1 + x
        slope = (x / den - gamma[..., None] * m / den**2).sum(-1)
        bend = (x / den**2 + gamma[..., None] * m * (x - 1) / den**3).sum(-1)
        step = torch.where(bend > 0, -slope / bend, -slope.sign())
        step = step.nan_to_num().clamp(-2, 2)
        gamma = gamma * step.exp()
        if float(step.abs().max()) < 1e-3:
            break
    return gamma
