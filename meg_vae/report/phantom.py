"""The figure and the page of a phantom."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import mne
import numpy as np
import pandas as pd

from meg_vae import viz
from meg_vae.comparison import summarize_phantom
from meg_vae.viz.tables import facts_table, html_table, mark_told, readable

from . import facts, text
from .pictures import save_figure

if TYPE_CHECKING:
    from collections.abc import Mapping

SUMMARY = {
    "title": ("Method", "{}"),
    "n_dipoles": ("Dipoles", "{:.0f}"),
    "n_found": ("Found", "{:.0f}"),
    "n_alone": ("Found as one source", "{:.0f}"),
    "position_error_mm": ("Error of place (mm)", "{:.1f}"),
    "largest_error_mm": ("The largest (mm)", "{:.1f}"),
    "orientation_error_deg": ("Error of orientation (°)", "{:.1f}"),
    "amplitude_error_nAm": ("Error of amplitude (nAm)", "{:.1f}"),
    "radius_mm": ("95 % radius (mm)", "{:.1f}"),
    "inside_percent": ("Truth in the ellipsoid (%)", "{:.0f}"),
    "seconds": ("Time (s)", "{:.2f}"),
}
DIPOLES = {
    "dipole": ("Dipole", "{}"),
    "title": ("Method", "{}"),
    "status": ("Result", "{}"),
    "n_sources": ("Sources", "{:.0f}"),
    "x_mm": ("x (mm)", "{:.1f}"),
    "y_mm": ("y (mm)", "{:.1f}"),
    "z_mm": ("z (mm)", "{:.1f}"),
    "position_error_mm": ("Error of place (mm)", "{:.1f}"),
    "radius_mm": ("95 % radius (mm)", "{:.1f}"),
    "inside": ("Truth in the ellipsoid", "{}"),
    "orientation_error_deg": ("Error of orientation (°)", "{:.1f}"),
    "amplitude_nAm": ("Amplitude (nAm)", "{:.1f}"),
    "amplitude_error_nAm": ("Error of amplitude (nAm)", "{:+.1f}"),
    "log_evidence": ("Log evidence (nats)", "{:,.1f}"),
}


def phantom_summary(table: pd.DataFrame) -> pd.DataFrame:
    """Make the means of a phantom readable.

    Parameters
    ----------
    table : pandas.DataFrame
        As `meg_vae.comparison.score_phantom` gives it.

    Returns
    -------
    table : pandas.DataFrame
        Text, a row per method; columns of which nothing is known are left out.
    """
    summary = summarize_phantom(table)
    summary = summary.assign(
        title=mark_told(summary["title"], summary["told"]),
        inside_percent=100 * summary["inside"],
    )
    return readable(summary.dropna(axis="columns", how="all"), SUMMARY)


def phantom_figure(table: pd.DataFrame, title: str, folder: str | Path) -> Path:
    """Draw the errors at each dipole.

    Parameters
    ----------
    table : pandas.DataFrame
        As `meg_vae.comparison.score_phantom` gives it.
    title : str
        Name of the phantom.
    folder : path-like
        An existing folder for the file.

    Returns
    -------
    picture : Path
        The PNG file "phantom".
    """
    axes = viz.plot_phantom(table, title=title)
    return save_figure(np.ravel(axes)[0].figure, Path(folder) / "phantom.png")


def phantom_report(
    table: pd.DataFrame, title: str, picture: Path, *, facts_of: Mapping[str, object]
) -> mne.Report:
    """Tell the scores of a phantom on one page.

    Parameters
    ----------
    table : pandas.DataFrame
        As `meg_vae.comparison.score_phantom` gives it.
    title : str
        Name of the phantom.
    picture : Path
        As `phantom_figure` gives it.
    facts_of : mapping
        What was read and how it was run, by name.

    Returns
    -------
    report : mne.Report
        The page.
    """
    page = mne.Report(title=title, verbose="error")
    page.add_custom_css(text.STYLE)
    means = f"{text.PHANTOM}{html_table(phantom_summary(table))}"
    page.add_html(means, "All dipoles", tags=("result",))
    heading, caption = text.PHANTOM_PICTURE
    page.add_image(picture, heading, caption=caption, tags=("result",))
    each = table.assign(inside=table["inside"].map({True: "yes", False: "no"}))
    rows = html_table(readable(each.dropna(axis="columns", how="all"), DIPOLES))
    page.add_html(rows + _notes(table), "Each dipole", tags=("result",))
    how = f"{facts_table(facts_of)}<h5>Versions</h5>{facts_table(facts.versions())}"
    page.add_html(how, "How it was done", tags=("input",))
    return page


def _notes(table: pd.DataFrame) -> str:
    """Tell errors and warnings, each with the dipoles that it is of."""
    noted = table[table["note"] != ""]
    if noted.empty:
        return ""
    said = noted.groupby("note", sort=False)["dipole"].agg(
        lambda one: ", ".join(map(str, dict.fromkeys(one)))
    )
    told = {f"Dipoles {dipoles}": note for note, dipoles in said.items()}
    return f"<h5>Errors and warnings</h5>{facts_table(told)}"
