"""Tables for people: columns with names and units, numbers with the digits that count."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

NOTHING = "–"

# For each column its heading and the format of its numbers.
PLACE = {f"{axis}_mm": (f"{axis} (mm)", "{:.1f}") for axis in "xyz"}
SOURCES = {
    "source": ("Source", "{}"),
    "vertno": ("Vertex", "{}"),
    **PLACE,
    "radius_mm": ("95 % radius (mm)", "{:.1f}"),
    "extent_mm": ("Extent (mm)", "{:.1f}"),
    "extent_95": ("Its 95 % interval (mm)", "{}"),
    "on_wall": ("At the wall", "{}"),
    "peak_nAm": ("Peak (nAm)", "{:.1f}"),
    "sd_nAm": ("SD (nAm)", "{:.1f}"),
    "peak_s": ("Time of peak (ms)", "{:.1f}"),
    "active": ("Active (ms)", "{}"),
    "log_evidence": ("Log evidence (nats)", "{:,.1f}"),
}
RESPONSES = {
    "response": ("Response", "{:.0f}"),
    "comment": ("Name", "{}"),
    "source": ("Strongest source", "{}"),
    "log_evidence": ("Log evidence (nats)", "{:,.1f}"),
    "n_active": ("Active sources", "{:.0f}"),
    "peak_nAm": ("Peak (nAm)", "{:.1f}"),
    "peak_s": ("Time of peak (ms)", "{:.1f}"),
}
RESPONSES_BY_SOURCE = {
    "source": ("Source", "{}"),
    "active_in": ("Active in", "{:.0f}"),
    "strongest_in": ("Strongest in", "{:.0f}"),
    "peak_nAm": ("Median peak (nAm)", "{:.1f}"),
    "peak_s": ("Median time of peak (ms)", "{:.1f}"),
}
COMPARISON = {
    "title": ("Method", "{}"),
    "status": ("Result", "{}"),
    "n_sources": ("Sources", "{:.0f}"),
    **PLACE,
    "localization_error_mm": ("Localization error (mm)", "{:.1f}"),
    "hit_rate": ("Hit rate (%)", "{:.0f}"),
    "false_positives": ("False positives", "{:.1f}"),
    "f1": ("F1", "{:.2f}"),
    "explained_variance": ("Explained variance (%)", "{:.1f}"),
    "residual_whiteness": ("Residual whiteness", "{:.2f}"),
    "heldout_error": ("Held-out error", "{:.3f}"),
    "agreement_mm": ("Agreement (mm)", "{:.1f}"),
    "seconds": ("Time (s)", "{:.2f}"),
    "memory_mb": ("Memory (MB)", "{:.0f}"),
}
BENCHMARK = {
    "title": ("Method", "{}"),
    "f1": ("F1", "{:.2f}"),
    "localization_error_mm": ("Localization error (mm)", "{:.1f}"),
    "hit_rate": ("Hit rate", "{:.2f}"),
    "false_positives": ("False positives", "{:.1f}"),
    "a_prime": ("A′", "{:.2f}"),
    "aggregate_performance": ("Aggregate performance", "{:.2f}"),
    "roc_auc": ("ROC-AUC", "{:.2f}"),
    "average_precision": ("Average precision", "{:.2f}"),
    "emd_mm": ("Earth mover's distance (mm)", "{:.0f}"),
    "explained_variance": ("Explained variance (%)", "{:.0f}"),
    "residual_whiteness": ("Residual whiteness", "{:.2f}"),
    "cpu_seconds": ("Processor time (s)", "{:.2f}"),
}
TOLD = "† told the true number of sources"
MOST_ROWS = 20  # of a box in a notebook
# Colours that suit light and dark pages alike: those of the page, and a translucent grey.
BOX = (
    "border:1px solid #8886;border-radius:6px;padding:.6em 1em;display:inline-block;"
    "color:inherit;background:transparent"
)


def source_names(sources: pd.DataFrame) -> list[str]:
    """Give each source a short name, for legends.

    Parameters
    ----------
    sources : pandas.DataFrame
        Table with the columns ``hemi``, ``vertno`` and, where known, ``label``.

    Returns
    -------
    names : list of str
        Like "cuneus (left)", or "vertex 123 (left)" where the region is unknown.
    """
    names = []
    labels = sources["label"] if "label" in sources else [None] * len(sources)
    for hemi, vertno, label in zip(sources["hemi"], sources["vertno"], labels, strict=True):
        known = isinstance(label, str) and label
        name = label.removesuffix(f"-{hemi}") if known else f"vertex {vertno}"
        side = {"lh": "left", "rh": "right"}.get(hemi, hemi)
        names.append(f"{name} ({side})")
    return names


def sources_table(sources: pd.DataFrame) -> pd.DataFrame:
    """Make ``VAEInverse.sources_`` readable: text, a row per source, named as in the figures."""
    shown = sources.assign(source=source_names(sources), peak_s=1e3 * sources["peak_s"])
    if not sources["label"].any():  # the name is the vertex then
        shown = shown.drop(columns="vertno")
    if "radius_mm" in shown and shown["radius_mm"].isna().all():  # on the grid
        shown = shown.drop(columns="radius_mm")
    shown = _with_times(_with_extents(shown))
    if "on_wall" in shown:
        said = shown["on_wall"].map({True: "yes", False: ""})
        shown = shown.assign(on_wall=said) if said.any() else shown.drop(columns="on_wall")
    return readable(shown, SOURCES)


def responses_table(responses: pd.DataFrame, sources: pd.DataFrame) -> pd.DataFrame:
    """Make ``VAEInverse.responses_`` readable: text, a row per response."""
    names = [*source_names(sources), NOTHING]  # the last, by −1, for none
    named = [names[k] for k in responses["source"]]
    shown = responses.assign(source=named, peak_s=1e3 * responses["peak_s"])
    return readable(shown.assign(response=shown["response"] + 1), RESPONSES)


def responses_by_source(
    responses: pd.DataFrame, active: NDArray[np.bool_], sources: pd.DataFrame
) -> pd.DataFrame:
    """Count the responses of each source: a row per source, and one for responses without any.

    ``active`` is ``VAEInverse.active_``: (n_sources, n_responses).
    """
    rows = [
        {
            "source": name,
            "active_in": int(active[k].sum()),
            "strongest_in": int((responses["source"] == k).sum()),
            "peak_nAm": responses["peak_nAm"][responses["source"] == k].median(),
            "peak_s": 1e3 * responses["peak_s"][responses["source"] == k].median(),
        }
        for k, name in enumerate(source_names(sources))
    ]
    none = int((responses["source"] < 0).sum())
    if none:
        rows.append({"source": "no source", "active_in": none, "strongest_in": 0})
    return readable(pd.DataFrame(rows), RESPONSES_BY_SOURCE)


def _with_extents(shown: pd.DataFrame) -> pd.DataFrame:
    """Leave out extents where sources are taken for points, and write their intervals."""
    if "extent_mm" not in shown or not shown["extent_mm"].any():
        return shown.drop(columns="extent_mm", errors="ignore")
    ends = zip(shown["extent_low_mm"], shown["extent_high_mm"], strict=True)
    return shown.assign(extent_95=[f"{low:.1f} to {high:.1f}" for low, high in ends])


def _with_times(shown: pd.DataFrame) -> pd.DataFrame:
    """Write when sources are active, where that is known."""
    if "onset_s" not in shown or shown["onset_s"].isna().all():
        return shown
    ends = zip(1e3 * shown["onset_s"], 1e3 * shown["offset_s"], strict=True)
    return shown.assign(active=[f"{first:.0f} to {last:.0f}" for first, last in ends])


def comparison_table(table: pd.DataFrame) -> pd.DataFrame:
    """Make ``Comparison.table`` readable, without the columns that apply to no method."""
    said = table.dropna(axis="columns", how="all")
    if "hit_rate" in said:
        said = said.assign(hit_rate=100 * said["hit_rate"])
    return readable(said, COMPARISON)


def benchmark_table(table: pd.DataFrame) -> pd.DataFrame:
    """Make what `meg_vae.comparison.benchmark.ranking` gives readable, in the same order.

    Methods that are told something of the truth are marked.
    """
    return readable(table.assign(title=mark_told(table["title"], table["told"])), BENCHMARK)


def mark_told(titles: pd.Series, told: pd.Series) -> pd.Series:
    """Mark the titles of methods that are told something of the truth, as `TOLD` explains."""
    return titles.mask(told != "", titles + " " + TOLD[0])


def agreement_table(agreement: pd.DataFrame, titles: Mapping[str, str]) -> pd.DataFrame:
    """Make ``Comparison.agreement`` (mm) readable, given the titles of the methods by name."""
    shown = pd.DataFrame({"mm between": [titles[name] for name in agreement.index]})
    for name in agreement:
        shown[titles[name]] = [
            NOTHING if pd.isna(value) else f"{value:.1f}" for value in agreement[name]
        ]
    return shown


def readable(table: pd.DataFrame, columns: Mapping[str, tuple[str, str]]) -> pd.DataFrame:
    """Pick the columns that there are, in order, under their headings, as text."""
    shown = {}
    for name, (heading, form) in columns.items():
        if name in table:
            shown[heading] = [
                NOTHING if pd.isna(value) or value == "" else form.format(value)
                for value in table[name]
            ]
    return pd.DataFrame(shown)


def html_table(table: pd.DataFrame) -> str:
    """Write a table of text as HTML, in the style of MNE's reports."""
    classes = "table table-sm table-striped w-auto numbers"
    html = table.to_html(index=False, border=0, justify="unset", classes=classes)
    # What MNE's reports bring along to sort a table: a click on a heading, and by numbers.
    html = html.replace("<table ", "<table data-toggle='table' data-sort-reset='true' ")
    return html.replace("<th>", "<th data-sortable='true' data-sorter='byNumber'>")


def facts_table(facts: Mapping[str, object]) -> str:
    """Write names and values as an HTML table, in the style of MNE's reports."""
    rows = "".join(
        f"<tr><th scope='row'>{escape(name)}</th><td>{escape(str(value))}</td></tr>"
        for name, value in facts.items()
    )
    return f"<table class='table table-sm w-auto facts'><tbody>{rows}</tbody></table>"


def box(title: str, lead: str, facts: Mapping[str, object], table: pd.DataFrame) -> str:
    """Show a result in a notebook: a title, the most important sentence, a table and some facts.

    Plain HTML without scripts, escaped, in the colours of the page; of a long table the first rows.
    """
    parts = [f"<b>{escape(title)}</b><br>{escape(lead)}"]
    if len(table):
        parts.append(table[:MOST_ROWS].to_html(index=False, border=0))
    if len(table) > MOST_ROWS:
        parts.append(f"<p>and {len(table) - MOST_ROWS} more</p>")
    if facts:
        said = "; ".join(f"{escape(name)}: {escape(str(fact))}" for name, fact in facts.items())
        parts.append(f"<small>{said}</small>")
    return f"<div style='{BOX}'>{''.join(parts)}</div>"
