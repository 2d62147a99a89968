"""The tables of a study, in the order of its plan, so that they do not tell how it was run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from meg_vae.meg.table import RADIUS
from meg_vae.model.checks import MIN_LOG_EVIDENCE
from meg_vae.model.group import GroupSource
from meg_vae.studies.plan import Plan

Rows = list[dict[str, Any]]

MORE = ("x", "covariance", "conditions")  # that a row of a source holds beside its columns
AXES = ("x_mm", "y_mm", "z_mm")
GROUP = [
    "source",
    *AXES,
    "radius_mm",
    "spread_mm",
    "spread_low_mm",
    "spread_high_mm",
    "n_present",
    "n_subjects",
    "presence",
    "log_evidence",
]
PRESENCE = [
    "subject",
    "group",
    "source",
    "present",
    *AXES,
    "distance_mm",
    "log_evidence",
    "log_odds",
]
AMPLITUDES = ["subject", "group", "source", "condition", "peak_nAm", "log_evidence", "active"]


def file_of(folder: Path, subject: str) -> Path:
    """Name the file of a subject's inverse."""
    return folder / subject / "meg" / f"{subject}-vae.h5"


def recordings(plan: Plan, rows: Rows) -> pd.DataFrame:
    """List the subjects, and what became of each."""
    out = []
    for member, row in zip(plan.members, rows, strict=True):
        out.append(
            {
                "subject": member.subject,
                "group": member.group,
                "status": row["status"],
                "reason": row["reason"],
                "n_sources": len(row.get("sources", ())),
                "noise_variance": row.get("noise_variance", np.nan),
                "n_warnings": len(row["warnings"]),
            }
        )
    return pd.DataFrame(out)


def sources(rows: Rows, group: list[GroupSource]) -> pd.DataFrame:
    """List all sources of all subjects."""
    out = []
    for s, row in enumerate(rows):
        for k, one in enumerate(row.get("sources", ())):
            own = {
                name: x for name, x in one.items() if name not in ("x", "covariance", "conditions")
            }
            place = dict(zip((f"fs_{axis}" for axis in AXES), one["x"], strict=True))
            radius = RADIUS * float(np.linalg.eigvalsh(np.array(one["covariance"]))[-1]) ** 0.5
            active = {f"active_{c}": said["active"] for c, said in one["conditions"].items()}
            of = [g for g, source in enumerate(group) if source.members[s] == k]
            out.append(
                {"subject": row["subject"]}
                | own
                | place
                | active
                | {"fs_radius_mm": radius, "group_source": of[0] if of else -1}
            )
    return pd.DataFrame(out)


def group(found: list[GroupSource]) -> pd.DataFrame:
    """List the sources that subjects share."""
    out = []
    for number, one in enumerate(found):
        low, high = one.spread_interval
        numbers = (
            number,
            *one.centre,
            RADIUS * float(np.linalg.eigvalsh(one.covariance)[-1]) ** 0.5,
            one.spread,
            low,
            high,
            one.n_present,
            one.n_asked,
            one.rate,
            one.log_evidence,
        )
        out.append(dict(zip(GROUP, numbers, strict=True)))
    return pd.DataFrame(out, columns=GROUP)


def presence(plan: Plan, rows: Rows, group: list[GroupSource]) -> pd.DataFrame:
    """Tell of each subject which group sources it has, where, and how sure that is."""
    least = float(plan.options.get("min_log_evidence", MIN_LOG_EVIDENCE))
    out = []
    for told, source, own in _pairs(plan, rows, group):
        told["present"] = own is not None
        if own is not None:
            told |= dict(zip(AXES, own["x"], strict=True))
            told["distance_mm"] = float(np.linalg.norm(np.array(own["x"]) - source.centre))
            told["log_evidence"] = own["log_evidence"]
            told["log_odds"] = own["log_evidence"] + own["weight"] - least
        out.append(told)
    return pd.DataFrame(out, columns=PRESENCE)


def amplitudes(plan: Plan, rows: Rows, group: list[GroupSource]) -> pd.DataFrame:
    """Tell how strong each group source is in each subject and condition."""
    found = [one for row in rows for one in row.get("sources", ())]
    names = list(found[0]["conditions"]) if found else []
    nothing = {"peak_nAm": 0.0, "log_evidence": 0.0, "active": False}
    out = [
        told | {"condition": name} | (nothing if own is None else own["conditions"][name])
        for told, _, own in _pairs(plan, rows, group)
        for name in names
    ]
    return pd.DataFrame(out, columns=AMPLITUDES)


def _pairs(
    plan: Plan, rows: Rows, group: list[GroupSource]
) -> Iterator[tuple[dict[str, Any], GroupSource, dict[str, Any] | None]]:
    """Go through subjects and group sources: the first columns of a row, and what the subject has.

    Subjects that could not be fitted are left out.
    """
    for s, (member, row) in enumerate(zip(plan.members, rows, strict=True)):
        if row["status"] != "ok":
            continue
        for number, source in enumerate(group):
            k = source.members[s]
            told = {"subject": member.subject, "group": member.group, "source": number}
            yield told, source, row["sources"][k] if k >= 0 else None
