"""The true sources beside those found, as a table for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from meg_vae.viz import source_names
from meg_vae.viz.tables import NOTHING

if TYPE_CHECKING:
    import mne

    from meg_vae.meg.inverse import VAEInverse

TRUTH = ("True source", "True peak (nAm)", "Found peak (nAm)", "Error (mm)", "Found source")


def truth_table(truth: list[mne.Dipole], inverse: VAEInverse) -> pd.DataFrame:
    """Set each true source beside the source found for it.

    Parameters
    ----------
    truth : list of mne.Dipole
        The true sources, in head coordinates.
    inverse : VAEInverse
        The fitted inverse.

    Returns
    -------
    table : pandas.DataFrame
        Text, a row per true source, then a row per source found that is left over. Sources are
        paired one to one so that the distances add up to as little as possible.
    """
    found = inverse.dipoles()
    names = np.array(source_names(inverse.sources_))
    places = ([one.pos[np.abs(one.amplitude).argmax()] for one in some] for some in (truth, found))
    distance = 1e3 * cdist(*(np.reshape(some, (-1, 3)) for some in places))
    partner = dict(zip(*linear_sum_assignment(distance), strict=True))
    rows = []
    for k, dipole in enumerate(truth):
        if (j := partner.get(k)) is None:
            rows.append((str(k + 1), _peak(dipole), NOTHING, "missed", NOTHING))
        else:
            error = f"{distance[k, j]:.1f}"
            rows.append((str(k + 1), _peak(dipole), _peak(found[j]), error, names[j]))
    extra = sorted(set(range(len(found))) - set(partner.values()))
    rows += [(NOTHING, NOTHING, _peak(found[j]), "extra", names[j]) for j in extra]
    return pd.DataFrame(rows, columns=TRUTH)


def _peak(dipole: mne.Dipole) -> str:
    return f"{1e9 * np.abs(dipole.amplitude).max():.1f}"
