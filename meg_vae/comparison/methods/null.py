"""Methods that know nothing, to measure the others against."""

from __future__ import annotations

import zlib
from typing import Any

import mne
import numpy as np

from meg_vae.comparison.methods.conversions import from_moments, is_fixed, nothing
from meg_vae.comparison.methods.registry import AM, N_SOURCES, register


@register(
    "zeros",
    "Zeros (null)",
    family="Null",
    unit=AM,
    sparse=True,
    knobs="Finds nothing, whatever the data are.",
    reference="A null method: what finding nothing scores.",
)
def _zeros(
    evoked: mne.Evoked,
    forward: mne.Forward,
    noise_cov: mne.Covariance,
    *,
    loose: float | str,
    rank: Any,
) -> mne.SourceEstimate:
    """Find nothing."""
    return nothing(forward, loose, evoked)


@register(
    "random",
    "Random (null)",
    family="Null",
    unit=AM,
    sparse=True,
    knobs=(
        "Places drawn evenly, as many as it is told, at least one, with noise of about 10 nAm; "
        "seeded by the data."
    ),
    reference="A null method: what guessing scores.",
    oracle=N_SOURCES,
)
def _random(
    evoked: mne.Evoked,
    forward: mne.Forward,
    noise_cov: mne.Covariance,
    *,
    loose: float | str,
    rank: Any,
    n_sources: int,
) -> mne.SourceEstimate:
    """Name places at random, the same ones whenever the data are the same."""
    rng = np.random.default_rng(zlib.crc32(np.ascontiguousarray(evoked.data).tobytes()))
    index = rng.choice(forward["nsource"], max(n_sources, 1), replace=False)
    n_orient = 1 if is_fixed(forward, loose) else 3
    moments = 1e-8 * rng.standard_normal((len(index), n_orient, len(evoked.times)))
    return from_moments(forward, index, moments, evoked)
