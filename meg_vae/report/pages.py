"""The pages: what was put in, what was found, how it compares, and how to do it again."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import mne

from meg_vae.files import whole_file
from meg_vae.meg.own_filter import own_filter
from meg_vae.viz.interactive import frame
from meg_vae.viz.tables import (
    agreement_table,
    comparison_table,
    facts_table,
    html_table,
    responses_by_source,
    responses_table,
    sources_table,
)

from . import facts, text
from .pictures import comparison_pictures, localization_pictures

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meg_vae.comparison import Comparison
    from meg_vae.meg.inverse import VAEInverse

RESULT, COMPARED, INPUT = ("result",), ("comparison",), ("input",)  # tags of the sections


@dataclass(frozen=True, eq=False)
class Origin:
    """What was put in, and how: all of it optional, and told where it is known.

    Attributes
    ----------
    forward : mne.Forward | None
        The forward model, to describe it.
    noise_cov : mne.Covariance | None
        The noise covariance, to describe it.
    inputs : mapping
        Files or other origins of the data, by what they are.
    options : mapping
        Options of the preparation and of the method, by name.
    command : str | None
        The command that made the page; the Python code is there in any case.
    """

    forward: mne.Forward | None = None
    noise_cov: mne.Covariance | None = None
    inputs: Mapping[str, object] = field(default_factory=dict)
    options: Mapping[str, object] = field(default_factory=dict)
    command: str | None = None


def localization_report(
    inverse: VAEInverse,
    evoked: mne.Evoked,
    origin: Origin | None = None,
    *,
    title: str = "Sources of an evoked response",
    truth: list[mne.Dipole] | None = None,
    trans: mne.Transform | None = None,
    comparison: Comparison | None = None,
    pictures: Mapping[str, Path] | None = None,
    report: mne.Report | None = None,
) -> mne.Report:
    """Tell a localization on one page.

    Parameters
    ----------
    inverse : VAEInverse
        The fitted inverse.
    evoked : mne.Evoked
        The data of the fit.
    origin : Origin | None
        What else was put in, and how.
    title : str
        Title of the page.
    truth : list of mne.Dipole | None
        The true sources, where they are known, in head coordinates.
    trans : mne.Transform | None
        The transform between head and MRI coordinates, to mark the truth on the cortex.
    comparison : Comparison | None
        What other methods make of the same data.
    pictures : mapping of Path | None
        Files, as `localization_pictures` and `comparison_pictures` give them; None draws them.
    report : mne.Report | None
        A report to append to, where the title becomes that of a section; None begins one.

    Returns
    -------
    report : mne.Report
        The page; `save_report` writes it.
    """
    origin = origin or Origin()
    with tempfile.TemporaryDirectory() as folder:
        if pictures is None:
            pictures = localization_pictures(inverse, evoked, folder, truth=truth, trans=trans)
            if comparison is not None:
                head = {"subject": inverse.subject, "subjects_dir": inverse.subjects_dir}
                pictures |= comparison_pictures(comparison, folder, **head)
        page = Page(title, report)
        page.write("What was found", _found(inverse, evoked, truth), RESULT)
        if len(inverse.responses_) > 1 and inverse.positions == "free":
            page.write("Response by response", _by_response(inverse), RESULT)
        page.show(pictures, text.LOCALIZATION_PICTURES, RESULT)
        if comparison is not None:
            page.write("The same data, several methods", _compared(comparison), COMPARED)
            page.show(pictures, text.COMPARISON_PICTURES, COMPARED)
        used = own_filter(inverse.filters_, evoked.info, "evoked")
        went_in = facts.data_facts(evoked, used.ch_names) | facts.model_facts(
            origin.forward, origin.noise_cov, len(used.whitener)
        )
        options = dict(origin.options) | facts.option_facts(inverse)
        page.write("What was put in", _went_in(went_in, origin.inputs, options), INPUT)
        code = facts.python_code(inverse, exact="bem" in origin.inputs)
        page.tell_how(origin.command, code)
    return page.report


def comparison_report(
    comparison: Comparison,
    evoked: mne.Evoked,
    origin: Origin | None = None,
    *,
    title: str = "Inverse methods compared",
    subject: str | None = None,
    subjects_dir: str | Path | None = None,
    pictures: Mapping[str, Path] | None = None,
    report: mne.Report | None = None,
) -> mne.Report:
    """Tell a comparison of methods on one page.

    Parameters
    ----------
    comparison : Comparison
        The comparison.
    evoked : mne.Evoked
        The data.
    origin : Origin | None
        What else was put in, and how.
    title : str
        Title of the page.
    subject : str | None
        Subject in ``subjects_dir``; None takes the one that the estimates name.
    subjects_dir : path-like | None
        FreeSurfer folder; None takes MNE's setting.
    pictures : mapping of Path | None
        Files, as `comparison_pictures` gives them; None draws them.
    report : mne.Report | None
        A report to append to, where the title becomes that of a section; None begins one.

    Returns
    -------
    report : mne.Report
        The page; `save_report` writes it.
    """
    origin = origin or Origin()
    with tempfile.TemporaryDirectory() as folder:
        if pictures is None:
            head = {"subject": subject, "subjects_dir": subjects_dir}
            pictures = comparison_pictures(comparison, folder, **head)
        page = Page(title, report)
        page.write("Methods compared", _compared(comparison), COMPARED)
        page.show(pictures, text.COMPARISON_PICTURES, COMPARED)
        went_in = facts.data_facts(evoked) | facts.model_facts(origin.forward, origin.noise_cov)
        page.write("What was put in", _went_in(went_in, origin.inputs, origin.options), INPUT)
        methods = tuple(comparison.estimates)
        code = (
            "from meg_vae import compare\n\n"
            f"compare(evoked, forward, noise_cov, methods={methods!r}).table"
        )
        page.tell_how(origin.command, code)
    return page.report


class Page:
    """A report, and the section of it that is being written: a new one, or one to append to."""

    def __init__(self, title: str, report: mne.Report | None) -> None:
        self.section = None if report is None else title
        self.report = mne.Report(title=title, verbose="error") if report is None else report
        self.report.add_custom_css(text.STYLE)
        self.report.add_custom_js(text.SORTING)

    def write(self, title: str, html: str, tags: tuple[str, ...]) -> None:
        """Add text and tables."""
        self.report.add_html(html, title, tags=tags, section=self.section)

    def tell_how(self, command: str | None, code: str | None = None) -> None:
        """Tell how to do it again, in a shell and in Python, and with which versions."""
        how = {"tags": INPUT, "section": self.section or "How to do it again"}
        if command:
            self.report.add_code(command, "In a shell", language="bash", **how)
        if code:
            self.report.add_code(code, "In Python", **how)
        self.report.add_html(facts_table(facts.versions()), "Versions", **how)

    def show(
        self,
        pictures: Mapping[str, Path],
        captions: Mapping[str, tuple[str, str]],
        tags: tuple[str, ...],
    ) -> None:
        """Add those of some pictures that there are, and pages in frames."""
        for name, (title, caption) in captions.items():
            path = pictures.get(name)
            if path is not None and path.suffix == ".html":
                inside = frame(path.read_text(encoding="utf-8"))
                self.write(title, f"{inside}<p>{escape(caption)}</p>", tags)
            elif path is not None:
                self.report.add_image(path, title, caption=caption, tags=tags, section=self.section)


def save_report(report: mne.Report, fname: str | Path, *, overwrite: bool = False) -> Path:
    """Write a report; the file is whole or not there.

    Parameters
    ----------
    report : mne.Report
        The page.
    fname : path-like
        The file to write, ending in ``.html``.
    overwrite : bool
        Whether to replace a file.

    Returns
    -------
    fname : Path
        The file. It needs no other file and no network.

    Raises
    ------
    ValueError
        If the name does not end in ``.html``.
    FileExistsError
        If the file is there and ``overwrite`` is False.
    """
    path = Path(fname)
    if path.suffix != ".html":
        raise ValueError(f"fname={str(path)!r} must end in .html.")
    with whole_file(path, overwrite=overwrite) as part:
        report.save(part, open_browser=False, overwrite=True, verbose="error")
    return path


def _found(inverse: VAEInverse, evoked: mne.Evoked, truth: list[mne.Dipole] | None) -> str:
    """Say what was found: in words, the sources, the truth beside them, the figures."""
    table = html_table(sources_table(inverse.sources_))
    parts = [text.summary(inverse, evoked), table, text.sources(inverse)]
    if truth is not None:
        parts += ["<h5>Beside the truth</h5>", html_table(facts.truth_table(truth, inverse))]
        parts.append(text.TRUTH)
    figures = facts_table(facts.result_facts(inverse, evoked))
    return "\n".join([*parts, "<h5>The fit</h5>", figures, text.fit(inverse)])


def _by_response(inverse: VAEInverse) -> str:
    """Say which responses, or events, each source is active in."""
    counts = responses_by_source(inverse.responses_, inverse.active_, inverse.sources_)
    parts = [html_table(counts), text.RESPONSES, "<h5>Every response</h5>"]
    return "\n".join([*parts, html_table(responses_table(inverse.responses_, inverse.sources_))])


def _compared(comparison: Comparison) -> str:
    parts = [html_table(comparison_table(comparison.table)), text.COMPARED]
    if comparison.truth is not None:
        parts.append(text.SCORES)
    if comparison.table["heldout_error"].notna().any():
        parts.append(text.HELDOUT)
    if len(comparison.agreement) > 1:
        titles = dict(zip(comparison.table["method"], comparison.table["title"], strict=True))
        table = html_table(agreement_table(comparison.agreement, titles))
        parts += ["<h5>Distance between the strongest peaks of two methods</h5>", table]
    said = {row.title: row.note for row in comparison.table.itertuples() if row.note}
    if said:
        parts += ["<h5>What the methods warned of</h5>", facts_table(said)]
    knobs = facts_table(facts.method_facts(comparison.table["method"]))
    return "\n".join([*parts, "<h5>Settings and references</h5>", knobs])


def _went_in(
    went_in: Mapping[str, str], inputs: Mapping[str, object], options: Mapping[str, object]
) -> str:
    parts = []
    if inputs:
        parts += ["<h5>Files</h5>", facts_table(inputs)]
    parts += ["<h5>Data and model</h5>", facts_table(went_in)]
    if options:
        parts += ["<h5>Options</h5>", facts_table(options)]
    return "\n".join(parts)
