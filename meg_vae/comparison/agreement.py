"""Agreement: how far apart the places are that two methods name."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from meg_vae.comparison.metrics import Scored
from meg_vae.comparison.metrics.pairing import match

MOST = 5  # peaks that are compared, at most
TALL = 0.5  # of a map's largest value, above which its peaks count


def _places(case: Scored) -> NDArray[np.float64]:
    """Strongest peaks of an estimate, in mm."""
    rows = case.peaks_above(0.0 if case.sparse else TALL)[:MOST]
    return case.found_rr[rows]


def agreement(cases: dict[str, Scored]) -> pd.DataFrame:
    """Measure how far apart the strongest peaks of every two methods are.

    Of each estimate up to five strongest peaks count (of a map those of at least half its
    largest value). Of two estimates, as many of each as the one with fewer has are paired so that
    the sum of the distances is least.

    Parameters
    ----------
    cases : dict of Scored
        Estimates by the name of the method.

    Returns
    -------
    table : pandas.DataFrame, shape (n_methods, n_methods)
        Mean distance of the pairs in mm, at most 100; missing where one of the two is empty.
    """
    places = {name: _places(case) for name, case in cases.items()}
    table = pd.DataFrame(index=list(places), columns=list(places), dtype="Float64")
    for one, some in places.items():
        for other, more in places.items():
            fewer = min(len(some), len(more))
            if fewer:
                table.loc[one, other] = match(some[:fewer], more[:fewer]).mean()
    return table
