"""Fit: sources of the linear VAE, their columns and priors, the noise, and what is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from meg_vae.model.encoders import OptimalEncoder, optimal_encoder
from meg_vae.model.exact.point import weighted_columns

NOT_ASKED = torch.empty(0)


@dataclass(frozen=True)
class Fit:
    """A minimum of the energy, and the sources in it.

    Leading dimensions are those of the data: none for (n_channels, n_samples), and one for a batch,
    whose items share their positions.

    Attributes
    ----------
    positions : Tensor of int, shape (m,)
        Positions of the dictionary with a source, increasing; of a batch, with one in any item.
    n_positions : int
        Positions of the dictionary.
    columns : Tensor, shape (n_channels, m, n_orient)
        Their columns of Φ, in its units.
    factor : Tensor, shape (..., m, n_orient, n_orient)
        R_g, with R_g R_gᵀ the prior covariance of the position g.
    noise_variance : Tensor, shape (...,) or (..., n_channels)
        λ, for the whole array or for each channel.
    n_directions : int
        Directions of the data that the energy counts: the channels, or fewer where neither Φ nor
        the data reach some.
    energy : Tensor, shape (...,)
        The profile J.
    history : Tensor, shape (n_steps, ...)
        J after every accepted step, never rising.
    certificate : Tensor, shape (...,)
        The largest violation of stationarity: q_g / s_g − 1 over the inactive positions, the size
        of γ_g (s_g − q_g) over the active, and that of λ (tr Σ⁻¹ − tr Σ⁻¹CΣ⁻¹) where the noise is
        learnt; NaN where it was not looked at.
    timings : dict of str: float
        Seconds spent in the sweeps, the descent and the certificate.
    log_evidence : Tensor, shape (m,)
        Log evidence lost by taking out that source alone, in nats; like the next two of no entries
        before it was asked for.
    cluster : Tensor of int, shape (m,)
        Number of the cluster of each, from 0; sources of one cluster share one generator.
    cluster_log_evidence : Tensor, shape (m,)
        Log evidence lost by taking out the whole cluster of the source, in nats.
    """

    positions: Tensor
    n_positions: int
    columns: Tensor
    factor: Tensor
    noise_variance: Tensor
    n_directions: int
    energy: Tensor
    history: Tensor
    certificate: Tensor
    timings: dict[str, float] = field(default_factory=dict)
    log_evidence: Tensor = NOT_ASKED
    cluster: Tensor = NOT_ASKED
    cluster_log_evidence: Tensor = NOT_ASKED

    def everywhere(self, values: Tensor, fill: float = 0.0) -> Tensor:
        """Put values of the sources, (..., m, ...), among those of all positions."""
        axis = self.factor.ndim - 3
        shape = list(values.shape)
        shape[axis] = self.n_positions
        out = torch.full(shape, fill, dtype=values.dtype, device=values.device)
        return out.index_copy(axis, self.positions, values)

    @property
    def gamma(self) -> Tensor:
        """Prior variance of all positions, tr(Γ_g) / n_orient, shape (..., n_positions)."""
        return self.everywhere(self.factor.square().sum((-2, -1)) / self.factor.shape[-1])

    @cached_property
    def decoder(self) -> Tensor:
        """Columns weighted by the prior, P = ΦR, shape (n_channels, m * n_orient)."""
        return weighted_columns(self.columns, self.factor[None])[0]

    @cached_property
    def posterior(self) -> OptimalEncoder:
        """The best encoder, which is the posterior of the latents."""
        return optimal_encoder(self.decoder, self.noise_variance)

    @property
    def inverse_map(self) -> Tensor:
        """Linear map from data to the activity of the sources, (m, n_orient, n_channels)."""
        d, m, o = self.columns.shape
        return self.factor @ self.posterior.W_z.reshape(m, o, d)

    def residual(self, X: Tensor) -> Tensor:
        """Find what the sources leave of data, X − ΦU, shape (n_channels, n_samples)."""
        return X - self.decoder @ (self.posterior.W_z @ X)

    def only(self, keep: Tensor) -> Fit:
        """Keep some sources as they are, by a mask; what was said of their evidence goes."""
        return replace(
            self,
            positions=self.positions[keep],
            columns=self.columns[:, keep],
            factor=self.factor[keep],
            log_evidence=NOT_ASKED,
            cluster=NOT_ASKED,
            cluster_log_evidence=NOT_ASKED,
        )

    def __getitem__(self, k: int) -> Fit:
        """Take one item of a batch, with the sources that it has."""
        keep = self.factor[k].flatten(1).any(1)
        return replace(
            self,
            positions=self.positions[keep],
            columns=self.columns[:, keep],
            factor=self.factor[k, keep],
            noise_variance=self.noise_variance[k],
            energy=self.energy[k],
            history=self.history[:, k],
            certificate=self.certificate[k],
        )


def join(parts: Sequence[Fit]) -> Fit:
    """Put the chunks of a batch together; a history that ended early stays at its last energy.

    Parameters
    ----------
    parts : sequence of Fit
        Batches on the same dictionary.

    Returns
    -------
    fit : Fit
        All of their items, on all of their positions.
    """
    if len(parts) == 1:
        return parts[0]
    positions, where = torch.cat([part.positions for part in parts]).unique(return_inverse=True)
    columns = torch.cat([part.columns for part in parts], 1)
    first = torch.zeros_like(positions).scatter(0, where, torch.arange(len(where)).to(where))
    longest = max(len(part.history) for part in parts)
    histories = [
        torch.cat([p.history, p.history[-1:].expand(longest - len(p.history), -1)]) for p in parts
    ]
    factors = []
    for part, own in zip(parts, where.split([len(p.positions) for p in parts]), strict=True):
        shape = len(part.factor), len(positions), *part.factor.shape[2:]
        factors.append(part.factor.new_zeros(shape).index_copy(1, own, part.factor))
    return replace(
        parts[0],
        positions=positions,
        columns=columns[:, first],
        factor=torch.cat(factors),
        noise_variance=torch.cat([p.noise_variance for p in parts]),
        energy=torch.cat([p.energy for p in parts]),
        history=torch.cat(histories, 1),
        certificate=torch.cat([p.certificate for p in parts]),
        timings={k: sum(p.timings[k] for p in parts) for k in parts[0].timings},
    )
