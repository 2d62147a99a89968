"""What a wrong field of a strong source does: it passes for another source, and moves its own.

If the field of a source with course s is off by a pattern e, the data hold e sᵀ beside it. A source
whose course is a mix Σ_h c_h s_h / ‖s_h‖ of those of stronger ones could be no more than that, and
an e of relative size ε then explains at most ½ ε² Σ_h w_h P_h nats, with P_h the power of the
stronger source in units of the noise and w_h = c_h² / Σ c².
"""

from __future__ import annotations

import torch
from torch import Tensor

from meg_vae.model.sliding.data import Data
from meg_vae.model.sliding.sources import Sources, whiten


def mistakable(data: Data, sources: Sources, error: float) -> Tensor:
    """Nats of each source that a field off by a share ``error`` could bring about, (m,)."""
    m = len(sources)
    out = sources.noise.new_zeros(m)
    if not error or m < 2:
        return out
    S = courses(data, sources)
    power = S.square().sum(1)
    unit = S / power.sqrt().clamp_min(1e-300)[:, None]
    for k in range(m):
        stronger = power > power[k]
        if stronger.any():
            c = torch.linalg.lstsq(unit[stronger].T, unit[k][:, None]).solution[:, 0]
            explained = (c @ unit[stronger]).square().sum()
            share = c.square() / c.square().sum().clamp_min(1e-300)
            out[k] = error**2 / 2 * explained * (share @ power[stronger])
    return out


def added_noise(data: Data, sources: Sources, error: float, d: int) -> Tensor:
    """Noise that fields off by a share ``error`` add for their own sources, over λ, (m,).

    The fields are wrong in any of the ``d`` directions of the data.
    """
    if not error or not len(sources):
        return sources.noise.new_zeros(len(sources))
    return error**2 / d * courses(data, sources).square().sum(1)


def courses(data: Data, sources: Sources) -> Tensor:
    """Time course of each source along its strongest direction, (m, n_samples of all runs).

    Its square, summed, is the power of its field in units of the noise.
    """
    m, o = sources.live.shape
    columns = data.parts(sources.patterns, sources.columns_on)
    latents, grams = [], []
    for term, P, run in zip(whiten(data, sources).runs, columns, data.runs, strict=True):
        A = torch.linalg.solve_triangular(term.L, P, upper=False)
        z = A.T @ term.B * (run.n / sources.noise).sqrt()  # posterior means, over those of noise
        latents.append(z.reshape(m, o, -1))
        grams.append((P.T @ P).reshape(m, o, m, o)[range(m), :, range(m)])
    moments = sum(z @ z.mT for z in latents)
    axis = torch.linalg.eigh(moments)[1][:, :, -1]
    sizes = [torch.einsum("mo,mop,mp->m", axis, G, axis).clamp_min(0).sqrt() for G in grams]
    own = [torch.einsum("mo,mok->mk", axis, z) for z in latents]
    return torch.cat([one * size[:, None] for one, size in zip(own, sizes, strict=True)], 1)
