"""The figure and the page of a phantom."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import mne
import pandas as pd

from meg_vae import viz
from meg_vae.comparison import summarize_phantom
from meg_vae.viz.tables import facts_table, html_table, mark_told, readable

from . import text
from .pages import INPUT, RESULT, Page
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
    figure = viz.plot_phantom(table, title=title, show=False)
    return save_figure(figure, Path(folder) / "phantom.png")


def phantom_report(
    table: pd.DataFrame,
    title: str,
    picture: Path,
    *,
    facts_of: Mapping[str, object],
    command: str | None = None,
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
    command : str | None
        The shell command, to do it again.

    Returns
    -------
    report : mne.Report
        The page.
    """
    page = Page(title, None)
    means = f"{text.PHANTOM}{html_table(phantom_summary(table))}"
    page.write("All dipoles", means, RESULT)
    page.show({"phantom": picture}, {"phantom": text.PHANTOM_PICTURE}, RESULT)
    each = table.assign(inside=table["inside"].map({True: "yes", False: "no"}))
    rows = html_table(readable(each.dropna(axis="columns", how="all"), DIPOLES))
    page.write("Each dipole", rows + _notes(table), RESULT)
    page.write("How it was done", facts_table(facts_of), INPUT)
    page.tell_how(command)
    return page.report


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
