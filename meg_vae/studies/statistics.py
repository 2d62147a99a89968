"""What differs between conditions, or between groups of subjects, source by source.

Amplitudes are compared as logarithms of ratios over the subjects that have the source in both, and
presence over all subjects. Chance is what exchanging the conditions in each subject, or the
subjects between groups, makes of the same data; among sources the false discovery rate is
controlled (Benjamini-Hochberg).
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

N_RESAMPLES = 9_999
COLUMNS = [
    "source",
    "what",
    "first",
    "second",
    "n_first",
    "n_second",
    "difference",
    "log_evidence",
    "p",
    "p_corrected",
]


def contrasts(presence: pd.DataFrame, amplitudes: pd.DataFrame) -> pd.DataFrame:
    """Compare every two conditions, and every two groups of subjects.

    Parameters
    ----------
    presence, amplitudes : pandas.DataFrame
        As in ``Study``.

    Returns
    -------
    contrasts : pandas.DataFrame
        ``source, what`` ("amplitude" or "presence"), ``first, second`` (conditions or groups),
        ``n_first, n_second`` (subjects that count), ``difference`` (first − second: of log
        amplitudes in nepers, of shares of the subjects), ``log_evidence`` (of presence in two
        conditions: nats, summed over subjects, that a source is active in one of them alone), ``p``
        and ``p_corrected``.
    """
    rows: list[dict[str, object]] = []
    conditions = list(dict.fromkeys(amplitudes["condition"]))
    groups = list(dict.fromkeys(presence["group"].dropna()))
    for source, own in amplitudes.groupby("source"):
        for pair in combinations(conditions, 2):
            rows += _of_conditions(source, own, pair)
        for pair in combinations(groups, 2):
            rows += _of_groups(source, own, presence[presence["source"] == source], pair)
    table = pd.DataFrame(rows, columns=COLUMNS)
    if len(table):
        kinds = ["what", "first", "second"]
        table["p_corrected"] = table.groupby(kinds)["p"].transform(_corrected)
    return table


def _of_conditions(source: object, own: pd.DataFrame, pair: tuple[str, str]) -> list[dict]:
    """Compare two conditions within subjects."""
    wide = {
        name: own.pivot(index="subject", columns="condition", values=name)
        for name in ("peak_nAm", "active", "log_evidence")
    }
    active = [wide["active"][name].to_numpy(bool) for name in pair]
    both = active[0] & active[1]
    peaks = [wide["peak_nAm"][name].to_numpy(float)[both] for name in pair]
    ratio = np.log(peaks[0]) - np.log(peaks[1])
    told = {"source": source, "first": pair[0], "second": pair[1]}
    said = [wide["log_evidence"][name].to_numpy(float) for name in pair]
    alone = active[0] != active[1]
    # where a source is silent, the response speaks against it: those nats, and its own where it is
    nats = sum(np.where(on, own, -own)[alone].sum() for on, own in zip(active, said, strict=True))
    share = active[0].astype(float) - active[1]
    counts = {"n_first": int(active[0].sum()), "n_second": int(active[1].sum())}
    return [
        told
        | {"what": "amplitude", "n_first": int(both.sum()), "n_second": int(both.sum())}
        | {"difference": _mean(ratio), "log_evidence": np.nan, "p": _signs(ratio)},
        told
        | {"what": "presence"}
        | counts
        | {"difference": _mean(share), "log_evidence": float(nats), "p": _signs(share)},
    ]


def _of_groups(
    source: object, own: pd.DataFrame, presence: pd.DataFrame, pair: tuple[str, str]
) -> list[dict]:
    """Compare two groups of subjects: amplitudes by the strongest condition of each."""
    present = presence.set_index("subject")["present"]
    strongest = own.groupby("subject")["peak_nAm"].max()
    member = presence.set_index("subject")["group"]
    told = {"source": source, "first": pair[0], "second": pair[1], "log_evidence": np.nan}
    shares = [present[member == name].to_numpy(float) for name in pair]
    names = [member.index[(member == name) & present] for name in pair]
    sizes = [np.log(strongest[list(some)].to_numpy(float)) for some in names]
    out = []
    for what, (one, other) in (("amplitude", sizes), ("presence", shares)):
        counts = {"n_first": len(one), "n_second": len(other)}
        gap = _mean(one) - _mean(other)
        out.append(told | {"what": what} | counts | {"difference": gap, "p": _swaps(one, other)})
    return out


def _mean(values: NDArray[np.float64]) -> float:
    """Mean, NaN of nothing."""
    return float(values.mean()) if len(values) else np.nan


def _signs(values: NDArray[np.float64]) -> float:
    """Test that differences are as likely positive as negative, by changing signs."""
    values = values[values != 0]
    if len(values) < 2:
        return 1.0 if len(values) else np.nan
    found = stats.permutation_test(
        (values,),
        np.mean,
        permutation_type="samples",
        n_resamples=N_RESAMPLES,
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)


def _swaps(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Test that two groups have one mean, by exchanging subjects."""
    if min(len(one), len(other)) < 2:
        return np.nan
    found = stats.permutation_test(
        (one, other),
        lambda a, b, axis: a.mean(axis) - b.mean(axis),
        vectorized=True,
        n_resamples=N_RESAMPLES,
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)


def _corrected(p: pd.Series) -> pd.Series:
    """Control the false discovery rate among the p values that there are."""
    known = p.notna()
    out = p.copy()
    if known.any():
        out[known] = stats.false_discovery_control(p[known])
    return out
