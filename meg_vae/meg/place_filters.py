"""Filters of sources at places of their own, in the units of the sensors and of the sources."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from meg_vae.meg.discs import Discs
from meg_vae.meg.estimates import free_positions
from meg_vae.meg.extent import Extent, cover_of
from meg_vae.meg.field_of_runs import FieldOfRuns
from meg_vae.meg.filter import SourceFilter
from meg_vae.meg.leadfield import LeadField


def place_filters(
    leadfields: list[LeadField], field: FieldOfRuns, discs: Discs | None, size: Extent, model: Any
) -> list[SourceFilter]:
    """Put a fit of whitened data in the units of the sensors and of the sources, run by run.

    The moment of a disc is that of all of its dipoles, along its mean normal.
    """
    found, places = model.fit_, model.places_
    nearest = field.nearest(places)
    gains, turn = _gains(field, discs, model)
    factors = turn @ found.factors.numpy()
    ends = np.cumsum([len(own.Phi) for own in leadfields])[:-1]
    parts = zip(
        leadfields,
        gains,
        np.split(turn @ found.inverse_map.numpy(), ends, 2),
        np.split(turn[:, None] @ found.spread.modes.numpy(), ends, 3),
        np.moveaxis(turn[:, None] @ found.spread.activity.numpy() @ turn[:, None].mT, 1, 0),
        strict=True,
    )
    filters = []
    for own, gain, inverse_map, modes, activity in parts:
        n_channels = own.whitener.shape[1]
        filters.append(
            SourceFilter(
                inverse_map=(inverse_map @ own.whitener).reshape(-1, n_channels),
                gain=np.moveaxis(gain, 0, 1).reshape(n_channels, -1),
                whitener=own.whitener,
                prior=factors @ factors.swapaxes(1, 2),
                covariance=activity,
                modes=modes @ own.whitener,
                sensors=own.sensors,
                nave=own.nave,
                positions=free_positions(own.forward, places, nearest),
                cover=cover_of(own.forward, discs, places, size.radius, nearest),
            )
        )
    return filters


def _gains(
    field: FieldOfRuns, discs: Discs | None, model: Any
) -> tuple[list[NDArray[np.float64]], NDArray[np.float64]]:
    """Unwhitened lead fields of the sources in each run, (m, n_channels, 3), along head axes.

    And the matrices (m, 3, 3) that turn activity as the model has it to these: that of a disc, its
    first component, points along its mean normal.
    """
    places, shift, delta = model.places_, model.fit_.shift.numpy(), model.motion_
    if discs is None:
        return field.gains(places, shift, delta), np.tile(np.eye(3), (len(places), 1, 1))
    turn = discs.turns(places, model.extents_)
    last = shift.shape[1] - discs.n_patterns
    point = model.extents_ == 0
    if point.all():
        return field.gains(places, shift[:, :last], delta), turn
    some = [np.zeros((len(places), one.n_channels, 3)) for one in field.fields]
    for gain, own in zip(some, field.gains(places[point], shift[point, :last], delta), strict=True):
        gain[point] = own
    larger = np.c_[places, model.extents_][~point]
    columns = discs.gains(larger, shift[~point], delta, field.unsure(places[~point]))
    for gain, own in zip(some, columns, strict=True):
        gain[~point] = own[:, :, None] * turn[~point, None, :, 0]
    return some, turn
