r"""Whether all of the field has moved: the sensors are not quite where they were said to be.

A motion δ ~ N(0, I) of all columns together, one for all sources, is found with places, priors and
noise. Its log evidence is that of the model in which it is free (Laplace) over that in which it is
none,

.. math::
    \tfrac{n}{2} (J_0 - J_δ) + \tfrac12 \log|\operatorname{cov}(δ, c)|
    - \tfrac12 \log|\operatorname{cov}(c)|,

with the weights c of the field's errors, ‖δ‖² / n in J_δ, and for every source that one of them has
more than the other the evidence that a source must carry. Both models let each source have an error
of its own in what a motion does there: an error of the lead field alone is no motion.
"""

from __future__ import annotations

import math

import torch

from meg_vae.model.sliding.data import Data
from meg_vae.model.sliding.descent import FIRM, settle, stationarity
from meg_vae.model.sliding.extents import as_points
from meg_vae.model.sliding.field import Field
from meg_vae.model.sliding.growth import Grid
from meg_vae.model.sliding.laplace import log_volume
from meg_vae.model.sliding.slide import Settled, refine
from meg_vae.model.sliding.slopes import slopes
from meg_vae.model.sliding.sources import Sources, whiten

SETTLED = 0.1  # largest derivative left where a motion that nobody asked for is believed


def with_motion(
    data: Data, held: Settled, field: Field, grid: Grid, least: float, asked: float
) -> tuple[Settled, float]:
    """Let the field move with the sources, if that carries ``asked`` nats of log evidence.

    Gives also the evidence or, where a step of second order promises too little, that promise; NaN
    where sources and field that move together did not settle. Sources that need no evidence, which
    noise makes too, tell nothing of a motion that is not asked for.
    """
    own, known = held.sources, field.known()
    if asked > 0 and not (len(own) and least > 0):
        return held, 0.0
    most = _promise(data, own.put(field), field.unit)
    if most < asked:
        return held, most
    still = settle(data, own.put(known), known, FIRM)
    starts = [still.put(field)]
    if field.extended is not None and still.places[:, -1].any():
        starts.append(as_points(still, known).put(field))  # a patch may have stood for a motion
    best, found = held, -math.inf
    for start in starts:
        most = _promise(data, start, field.unit)
        if most < asked:
            found = max(found, most)
            continue
        begun = settle(data, start, field, FIRM)
        for kinds in (False, True):  # whether points are patches is asked where that matters
            free = refine(data, begun, field, grid, least, kinds=kinds)
            begun, evidence = free.sources, _evidence(data, still, free.sources, field.unit, least)
            if evidence < asked:
                break
        settled = asked <= 0 or stationarity(data, free.sources, field)[0] <= SETTLED
        if settled and evidence > found:
            best, found = (free if evidence >= asked else best), evidence
    return best, found if math.isfinite(found) else math.nan


def _evidence(data: Data, held: Sources, free: Sources, unit: float, least: float) -> float:
    """Log evidence in nats of a motion, from the sources without it and with it."""
    fall = whiten(data, held).energy - whiten(data, free).energy
    volume = log_volume(data, free, unit) - log_volume(data, held, unit)
    fewer = least * (len(held) - len(free))
    return float(data.n / 2 * fall + volume) + fewer


def _promise(data: Data, sources: Sources, unit: float) -> float:
    """Fall of n J / 2 in nats that a step of second order from here promises."""
    if not len(sources):
        return 0.0
    at = slopes(data, sources, unit)
    size = at.average.diagonal().clamp_min(1e-300).sqrt()
    eye = torch.eye(len(size), dtype=size.dtype)
    L, failed = torch.linalg.cholesky_ex(at.average / size / size[:, None] + 1e-9 * eye)
    if failed:
        return math.inf
    down = torch.linalg.solve_triangular(L, (at.gradient / size)[:, None], upper=False)
    return float(data.n / 4 * down.square().sum())
