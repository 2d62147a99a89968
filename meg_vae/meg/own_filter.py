"""Which filter of a fit of several runs is for which data: that of their own head position."""

from __future__ import annotations

from collections.abc import Sequence

import mne
import numpy as np

from meg_vae.meg.filter import SourceFilter
from meg_vae.meg.placement import TOLERANCE_MM


def own_filter(filters: Sequence[SourceFilter], info: mne.Info, name: str) -> SourceFilter:
    """Find the filter of the run whose head position is that of some data.

    Parameters
    ----------
    filters : list of SourceFilter
        Those of a fit, one of each run.
    info : mne.Info
        Measurement info of the data.
    name : str
        What to call them in an error.

    Returns
    -------
    filter : SourceFilter
        The only one; or the one of the nearest head position that takes the data.

    Raises
    ------
    ValueError
        If no run of several is near enough, or the data do not tell their head position, or those
        that are near do not take them.
    """
    if len(filters) == 1:
        return filters[0]  # which says itself what differs
    apart = np.array([one.sensors.apart(info) for one in filters])
    known = np.isfinite(apart)
    if not known.any():
        raise ValueError(
            f"{name} does not tell where its sensors were (info['dev_head_t']), and this inverse "
            f"was fitted to {len(filters)} runs of their own head positions; set it to that of one."
        )
    near = [k for k in np.argsort(apart, kind="stable") if apart[k] <= TOLERANCE_MM]
    if not near:
        gaps = [f"run {k + 1} up to {apart[k]:.1f} mm" for k in np.flatnonzero(known)]
        raise ValueError(
            f"{name} has its sensors at a head position of its own: from those of {', '.join(gaps)}"
            ". Fit again with these data and their own forward model among the runs, or bring them "
            "to one of the positions (mne.preprocessing.maxwell_filter with destination=)."
        )
    refused = None
    for k in near:
        try:
            filters[k].sensors.pick(info, name)
        except ValueError as error:
            refused = refused or error
        else:
            return filters[k]
    raise refused
