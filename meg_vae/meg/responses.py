"""What each of several responses, or events, says: which sources are active in it."""

from __future__ import annotations

import mne
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from meg_vae.meg.filter import SourceFilter
from meg_vae.meg.table import main_axis

COLUMNS = ["response", "comment", "source", "log_evidence", "n_active", "peak_nAm", "peak_s"]


def response_table(
    filters: list[SourceFilter],
    responses: list[list[mne.Evoked]],
    active: NDArray[np.bool_],
    evidence: NDArray[np.float64],
) -> pd.DataFrame:
    """List responses, each with the source that speaks most in it.

    Parameters
    ----------
    filters : list of SourceFilter
        The filter of each run.
    responses : list of list of mne.Evoked
        The responses of each run, as many of each.
    active : ndarray of bool, shape (n_sources, n_responses)
        Whether each source is active in each response.
    evidence : ndarray, shape (n_sources, n_responses)
        What each response says for that, in nats.

    Returns
    -------
    table : pandas.DataFrame
        Columns ``response, comment, source, log_evidence, n_active, peak_nAm, peak_s``. ``source``
        is the row of `VAEInverse.sources_`, −1 where none is active; the peak is that of this
        source, in the run in which it is strongest. Empty where responses do not speak by
        themselves (evidence of NaN).
    """
    rows = []
    known = np.isfinite(evidence).all() and {len(own) for own in responses} == {active.shape[1]}
    for k in range(active.shape[1] if known else 0):
        said = np.where(active[:, k], evidence[:, k], -np.inf)
        source = int(said.argmax()) if active[:, k].any() else -1
        row = {
            "response": k,
            "comment": responses[0][k].comment or "",
            "source": source,
            "log_evidence": evidence[:, k].max(initial=0.0) if source < 0 else said[source],
            "n_active": int(active[:, k].sum()),
            "peak_nAm": np.nan,
            "peak_s": np.nan,
        }
        if source >= 0:
            peaks = [
                _peak(filter_, own[k], source)
                for filter_, own in zip(filters, responses, strict=True)
            ]
            row["peak_nAm"], row["peak_s"] = max(peaks, key=lambda peak: abs(peak[0]))
        rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS)


def _peak(filter_: SourceFilter, response: mne.Evoked, source: int) -> tuple[float, float]:
    """Amplitude (nAm) of a source at its peak in a response, and when that is (s)."""
    course, _, peak = main_axis(filter_.activity(response)[[source]])
    return 1e9 * float(course[0, peak[0]]), float(response.times[peak[0]])
