"""Walls about the places: a source that meets one goes on along it.

A step into a wall is taken back to it, and what is left of a Newton step is none: it ends where the
other parameters do not expect it. While a wall holds a source, its place has the directions along
the wall alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

from meg_vae.model.sliding.field import Field
from meg_vae.model.sliding.sources import Sources

AHEAD = 1e-5  # of the field's unit: this near to a wall a source is at it
HELD = 1e-8  # of the field's unit: what is lost of a way ahead where there is a wall


def normals(sources: Sources, field: Field, ways: Tensor) -> Tensor:
    """Outward normals (m, q) of the walls that sources meet on their ways (m, q), zero where none.

    Patches stay on their surface by themselves: their walls are the largest and smallest extent.
    """
    size = torch.linalg.vector_norm(ways, dim=1, keepdim=True).clamp_min(1e-300)
    ahead = sources.places + AHEAD * field.unit * ways / size
    lost = ahead - field.within(ahead)
    if field.extended is not None:
        lost[sources.places[:, -1] > 0, :-1] = 0.0
    length = torch.linalg.vector_norm(lost, dim=1, keepdim=True)
    return torch.where(length > HELD * field.unit, lost / length.clamp_min(1e-300), 0.0)


def along(axes: Tensor, out: Tensor) -> Tensor:
    """Leave the normals ``out`` (m, q) of walls out of the axes (m, q, q) of the places."""
    held = out.any(1)
    if not held.any():
        return axes
    left = (
        axes[held] - out[held, :, None] * torch.einsum("mq,mqr->mr", out[held], axes[held])[:, None]
    )
    basis, size, _ = torch.linalg.svd(left)
    axes = axes.clone()
    axes[held] = basis * (size > 0.5)[:, None, :]
    return axes
