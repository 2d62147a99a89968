"""Beamformer and signal subspace scans, by MNE."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import mne
from mne.beamformer import apply_lcmv, make_lcmv, rap_music, trap_music

from meg_vae.comparison.methods.conversions import at_nearest_positions, is_fixed, oriented
from meg_vae.comparison.methods.registry import AM, DIMENSIONLESS, N_SOURCES, register

REG = 0.05  # of the beamformer: share of the data's power that its covariance is loaded with


@register(
    "lcmv",
    "LCMV",
    family="Scanning",
    unit=DIMENSIONLESS,
    sparse=False,
    knobs=(
        "Unit noise gain, invariant to rotation of the axes. The data covariance is that of "
        "the average in its window, plus the noise that single trials have beyond it; "
        f"reg = {REG:g}, MNE's default."
    ),
    reference="Van Veen et al. (1997), IEEE Trans. Biomed. Eng. 44:867; "
    "Sekihara & Nagarajan (2008), Adaptive Spatial Filters, Springer",
    by_trial=True,
)
def _lcmv(
    evoked: mne.Evoked,
    forward: mne.Forward,
    noise_cov: mne.Covariance,
    *,
    loose: float | str,
    rank: Any,
    nave: float,
) -> mne.SourceEstimate:
    """Run a unit-noise-gain beamformer on the covariance that single trials have.

    That of the average itself would be so clear that a source a little off the grid is suppressed
    like any other interference.
    """
    n_times = len(evoked.times)
    average = evoked.data @ evoked.data.T / n_times
    data_cov = mne.Covariance(
        average + (nave - 1) * noise_cov.data,
        evoked.ch_names,
        [],
        evoked.info["projs"],
        nfree=n_times,
        verbose="error",
    )
    filters = make_lcmv(
        evoked.info,
        oriented(forward, loose),
        data_cov,
        reg=REG,
        noise_cov=noise_cov,
        pick_ori=None if is_fixed(forward, loose) else "vector",
        rank=rank,
        weight_norm="unit-noise-gain-invariant",
    )
    return apply_lcmv(evoked, filters)


def _music(
    scan: Callable[..., list[mne.Dipole]],
    evoked: mne.Evoked,
    forward: mne.Forward,
    noise_cov: mne.Covariance,
    *,
    loose: float | str,
    rank: Any,
    n_sources: int,
) -> mne.SourceEstimate:
    """Run a MUSIC scan; it cannot be asked for no source at all."""
    forward = oriented(forward, loose)
    dipoles = scan(evoked, forward, noise_cov, n_dipoles=max(n_sources, 1))
    return at_nearest_positions(dipoles, forward, evoked)  # a position can be named twice


for _name, _title, _scan, _reference in (
    (
        "rap_music",
        "RAP-MUSIC",
        rap_music,
        "Mosher & Leahy (1999), IEEE Trans. Signal Process. 47:332",
    ),
    (
        "trap_music",
        "TRAP-MUSIC",
        trap_music,
        "Mäkelä, Stenroos, Sarvas & Ilmoniemi (2018), NeuroImage 167:73",
    ),
):
    register(
        _name,
        _title,
        family="Scanning",
        unit=AM,
        sparse=True,
        knobs="As many dipoles as it is told, at least one, each of fixed orientation.",
        reference=_reference,
        oracle=N_SOURCES,
    )(partial(_music, _scan))
