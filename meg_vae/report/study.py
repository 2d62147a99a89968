"""The page of a study, and a page of each of its subjects."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import mne
import pandas as pd
from tqdm.auto import tqdm

from meg_vae import viz
from meg_vae.studies.maps import average_positions
from meg_vae.studies.space import average_surfaces
from meg_vae.viz.study import group_names
from meg_vae.viz.tables import facts_table, html_table, readable, sources_table

from . import text
from .pages import INPUT, RESULT, Page, save_report
from .pictures import draw_cortex, save_figure

if TYPE_CHECKING:
    from meg_vae.studies import Study

GROUP = {
    "name": ("Group source (fsaverage, MNI305)", "{}"),
    "radius_mm": ("95 % radius of its centre (mm)", "{:.1f}"),
    "spread_mm": ("Spread between subjects (mm)", "{:.1f}"),
    "spread_95": ("Its 95 % interval (mm)", "{}"),
    "subjects": ("Subjects", "{}"),
    "presence": ("Probability in a subject (%)", "{:.0f}"),
    "log_evidence": ("Log evidence (nats)", "{:,.1f}"),
}
CONTRASTS = {
    "name": ("Group source", "{}"),
    "what": ("Of", "{}"),
    "pair": ("Between", "{}"),
    "counts": ("Subjects", "{}"),
    "difference": ("Difference", "{:+.2f}"),
    "log_evidence": ("Log evidence (nats)", "{:,.1f}"),
    "p": ("p", "{:.3g}"),
    "p_corrected": ("p, corrected", "{:.3g}"),
}
RECORDINGS = {
    "subject": ("Subject", "{}"),
    "group": ("Group", "{}"),
    "status": ("Result", "{}"),
    "n_sources": ("Sources", "{:.0f}"),
    "noise_variance": ("Noise variance", "{:.2f}"),
    "n_warnings": ("Warnings", "{:.0f}"),
    "reason": ("Reason", "{}"),
}


def study_pictures(study: Study, folder: str | Path) -> dict[str, Path]:
    """Draw a study.

    Parameters
    ----------
    study : Study
        The results.
    folder : path-like
        An existing folder for the files.

    Returns
    -------
    pictures : dict of Path
        The PNG files "group" and "occurrence", each where fsaverage can be drawn, "presence" and
        "amplitudes".
    """
    folder = Path(folder)
    subject, home = average_surfaces(study.plan.subjects_dir)
    off_screen = viz.Look(off_screen=True)
    drawn = draw_cortex(
        lambda head: viz.plot_group(study.sources, study.group, look=off_screen, **head),
        folder / "group.png",
        subject,
        home,
    )
    stc = study.occurrence()
    if stc.data.any():
        drawn |= draw_cortex(
            lambda head: viz.plot_estimate(stc, look=replace(off_screen, threshold=10.0), **head),
            folder / "occurrence.png",
            average_positions(study.plan)[0],
            home,
        )
    presence = viz.plot_presence(study.presence, study.group, show=False)
    amplitudes = viz.plot_amplitudes(study.amplitudes, study.group, show=False)
    return drawn | {
        "presence": save_figure(presence, folder / "presence.png"),
        "amplitudes": save_figure(amplitudes, folder / "amplitudes.png"),
    }


def study_report(
    study: Study,
    *,
    pictures: Mapping[str, Path] | None = None,
    command: str | None = None,
) -> mne.Report:
    """Tell a study on one page.

    Parameters
    ----------
    study : Study
        The results.
    pictures : mapping of Path | None
        Files, as `study_pictures` gives them; None draws them.
    command : str | None
        The command that made it.

    Returns
    -------
    report : mne.Report
        The page.
    """
    with tempfile.TemporaryDirectory() as folder:
        if pictures is None:
            pictures = study_pictures(study, folder)
        page = Page(study.plan.title, None)
        page.write("What the subjects have in common", _found(study), RESULT)
        page.show(pictures, text.STUDY_PICTURES, RESULT)
        if len(study.contrasts):
            page.write("What differs", _differs(study), RESULT)
        page.write("Every subject", _subjects(study), ("subjects",))
        page.write("How it was done", _how(study), INPUT)
        page.tell_how(command)
    return page.report


def subject_pages(study: Study, *, hidden: bool = False) -> list[Path]:
    """Write a page for each subject that could be fitted, with its sources and their time courses.

    Parameters
    ----------
    study : Study
        The results.
    hidden : bool
        Whether to show no progress.

    Returns
    -------
    fnames : list of Path
        ``<subject>/report.html`` in the study's folder.
    """
    from meg_vae.studies.plan import responses

    fitted = study.recordings.query("status == 'ok'")["subject"]
    members = {one.subject: one for one in study.plan.members}
    written = []
    for subject in tqdm(fitted, desc="Pages", unit="subject", disable=hidden):
        inverse = study.inverse(subject)
        page = Page(f"{study.plan.title}: {subject}", None)
        own = study.sources[study.sources["subject"] == subject] if len(study.sources) else None
        table = html_table(sources_table(inverse.sources_))
        page.write("Sources", table + _of_group(study, own), RESULT)
        with tempfile.TemporaryDirectory() as folder:
            for k, evoked in enumerate(responses(members[subject].runs[0].evoked, study.plan)):
                figure = inverse.plot_time_courses(evoked, show=False)
                picture = save_figure(figure, Path(folder) / f"{k}.png")
                title = f"Time courses: {evoked.comment or 'response'}"
                page.show({"one": picture}, {"one": (title, text.COURSES)}, RESULT)
        files = {path.name: path for path in members[subject].files}
        page.write("How it was done", facts_table(files), INPUT)
        path = study.folder / subject / "report.html"
        written.append(save_report(page.report, path, overwrite=True))
    return written


def group_rows(group: pd.DataFrame) -> pd.DataFrame:
    """Put names, intervals and counts into the rows of a group, for `GROUP`."""
    spread = zip(group["spread_low_mm"], group["spread_high_mm"], strict=True)
    counts = zip(group["n_present"], group["n_subjects"], strict=True)
    return group.assign(
        name=group_names(group),
        spread_95=[f"{low:.1f} to {high:.1f}" for low, high in spread],
        subjects=[f"{n} of {of}" for n, of in counts],
        presence=100 * group["presence"],
    )


def _found(study: Study) -> str:
    """Say what subjects have in common: in words, and as a table."""
    group = study.group
    n = len(study.recordings)
    fitted = int((study.recordings["status"] == "ok").sum())
    count = {0: "no source", 1: "one source"}.get(len(group), f"{len(group)} sources")
    alone = int((study.sources["group_source"] < 0).sum()) if len(study.sources) else 0
    lead = (
        f"<p>{fitted} of {n} subjects were fitted. They have {count} in common that carry "
        f"{study.plan.min_group_evidence:g} nats of log evidence or more; {alone} sources are of "
        "one subject alone.</p>"
    )
    if group.empty:
        return lead + text.STUDY
    return lead + html_table(readable(group_rows(group), GROUP)) + text.STUDY


def _differs(study: Study) -> str:
    """Say what differs between conditions and groups."""
    names = group_names(study.group)
    table = study.contrasts
    shown = table.assign(
        name=[names[k] for k in table["source"]],
        pair=table["first"] + ", " + table["second"],
        counts=table["n_first"].astype(str) + ", " + table["n_second"].astype(str),
    )
    return html_table(readable(shown, CONTRASTS)) + text.CONTRASTS


def _subjects(study: Study) -> str:
    """List the subjects, those that failed with the reason, each with its page."""
    table = study.recordings.dropna(axis=1, how="all")
    if not table["reason"].any():
        table = table.drop(columns="reason")
    links = [
        f'<a href="{escape(one)}/report.html">{escape(one)}</a>'
        for one in table.query("status == 'ok'")["subject"]
    ]
    return html_table(readable(table, RECORDINGS)) + f"<p>Pages: {', '.join(links)}</p>"


def _of_group(study: Study, own: pd.DataFrame | None) -> str:
    """Say which group source each source of a subject is."""
    if own is None or own.empty:
        return ""
    names = group_names(study.group)
    told = {
        f"Source {k + 1}": names[number] if number >= 0 else "of this subject alone"
        for k, number in enumerate(own["group_source"])
    }
    return "<h5>In the group</h5>" + facts_table(told)


def _how(study: Study) -> str:
    """Tell the options."""
    plan = study.plan
    told = {name: value for name, value in plan.described().items() if name != "members"}
    told |= {"options": dict(plan.options) or "defaults"}
    return facts_table({name: str(value) for name, value in told.items()})
