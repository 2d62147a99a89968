"""The pages: what was put in, what was found, how it compares, and how to do it again."""

from __future__ import annotations

import os
import tempfile
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import mne

from . import facts, text
from .pictures import comparison_pictures, localization_pictures
from .tables import (
    agreement_table,
    comparison_table,
    facts_table,
    html_table,
    sources_table,
    truth_table,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meg_vae.comparison import Comparison
    from meg_vae.meg.inverse import VAEInverse

RESULT, COMPARED, INPUT = ("result",), ("comparison",), ("input",)  # tags of the sections


def localization_report(
    inverse: VAEInverse,
    evoked: mne.Evoked,
    *,
    forward: mne.Forward | None = None,
    noise_cov: mne.Covariance | None = None,
    title: str = "Sources of an evoked response",
    inputs: Mapping[str, object] | None = None,
    options: Mapping[str, object] | None = None,
    command: str | None = None,
    truth: list[mne.Dipole] | None = None,
    trans: mne.Transform | None = None,
    comparison: Comparison | None = None,
    pictures: Mapping[str, Path] | None = None,
) -> mne.Report:
    """Tell a localization on one page.

    Parameters
    ----------
    inverse : VAEInverse
        The fitted inverse.
    evoked : mne.Evoked
        The data of the fit.
    forward : mne.Forward | None
        The forward model, to describe it.
    noise_cov : mne.Covariance | None
        The noise covariance, to describe it.
    title : str
        Title of the page.
    inputs : mapping | None
        Files or other origins of the input, by what they are.
    options : mapping | None
        Options of the preparation, to show beside those of the inverse.
    command : str | None
        The command that made the page; the Python code is there in any case.
    truth : list of mne.Dipole | None
        The true sources, where they are known, in head coordinates.
    trans : mne.Transform | None
        The transform between head and MRI coordinates, to mark the truth on the cortex.
    comparison : Comparison | None
        What other methods make of the same data.
    pictures : mapping of Path | None
        PNG files, as `localization_pictures` and `comparison_pictures` give them; None draws them.

    Returns
    -------
    report : mne.Report
        The page; `save_report` writes it.
    """
    with tempfile.TemporaryDirectory() as folder:
        if pictures is None:
            pictures = localization_pictures(inverse, evoked, folder, truth=truth, trans=trans)
            if comparison is not None:
                head = {"subject": inverse.subject, "subjects_dir": inverse.subjects_dir}
                pictures |= comparison_pictures(comparison, folder, **head)
        page = _page(title)
        page.add_html(_found(inverse, evoked, truth), "What was found", tags=RESULT)
        _add_pictures(page, pictures, text.LOCALIZATION_PICTURES, RESULT)
        if comparison is not None:
            page.add_html(_compared(comparison), "The same data, several methods", tags=COMPARED)
            _add_pictures(page, pictures, text.COMPARISON_PICTURES, COMPARED)
        used = inverse.filter_
        went_in = facts.data_facts(evoked, used.ch_names) | facts.model_facts(
            forward, noise_cov, len(used.whitener)
        )
        options = dict(options or {}) | facts.option_facts(inverse)
        page.add_html(_went_in(went_in, inputs, options), "What was put in", tags=INPUT)
        _add_recipe(page, command, facts.python_code(inverse))
    return page


def comparison_report(
    comparison: Comparison,
    evoked: mne.Evoked,
    *,
    forward: mne.Forward | None = None,
    noise_cov: mne.Covariance | None = None,
    title: str = "Inverse methods compared",
    inputs: Mapping[str, object] | None = None,
    options: Mapping[str, object] | None = None,
    command: str | None = None,
    subject: str | None = None,
    subjects_dir: str | Path | None = None,
    pictures: Mapping[str, Path] | None = None,
) -> mne.Report:
    """Tell a comparison of methods on one page.

    Parameters
    ----------
    comparison : Comparison
        The comparison.
    evoked : mne.Evoked
        The data.
    forward : mne.Forward | None
        The forward model, to describe it.
    noise_cov : mne.Covariance | None
        The noise covariance, to describe it.
    title : str
        Title of the page.
    inputs : mapping | None
        Files or other origins of the input, by what they are.
    options : mapping | None
        Options of the comparison.
    command : str | None
        The command that made the page; the Python code is there in any case.
    subject : str | None
        Subject in ``subjects_dir``; None takes the one that the estimates name.
    subjects_dir : path-like | None
        FreeSurfer folder; None takes MNE's setting.
    pictures : mapping of Path | None
        PNG files, as `comparison_pictures` gives them; None draws them.

    Returns
    -------
    report : mne.Report
        The page; `save_report` writes it.
    """
    with tempfile.TemporaryDirectory() as folder:
        if pictures is None:
            head = {"subject": subject, "subjects_dir": subjects_dir}
            pictures = comparison_pictures(comparison, folder, **head)
        page = _page(title)
        page.add_html(_compared(comparison), "Methods compared", tags=COMPARED)
        _add_pictures(page, pictures, text.COMPARISON_PICTURES, COMPARED)
        went_in = facts.data_facts(evoked) | facts.model_facts(forward, noise_cov)
        page.add_html(_went_in(went_in, inputs, options or {}), "What was put in", tags=INPUT)
        methods = tuple(comparison.estimates)
        code = (
            "from meg_vae import compare\n\n"
            f"compare(evoked, forward, noise_cov, methods={methods!r}).table"
        )
        _add_recipe(page, command, code)
    return page


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
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} is there already; use overwrite=True to replace it.")
    part = path.with_name(f".{path.stem}-{os.getpid()}.html")
    try:
        report.save(part, open_browser=False, overwrite=True, verbose="error")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _page(title: str) -> mne.Report:
    page = mne.Report(title=title, verbose="error")
    page.add_custom_css(text.STYLE)
    return page


def _found(inverse: VAEInverse, evoked: mne.Evoked, truth: list[mne.Dipole] | None) -> str:
    """Say what was found: in words, the sources, the truth beside them, the figures."""
    parts = [text.summary(inverse, evoked), html_table(sources_table(inverse.sources_))]
    parts.append(text.SOURCES if len(inverse.sources_) else text.NO_SOURCES)
    if truth is not None:
        parts += ["<h5>Beside the truth</h5>", html_table(truth_table(truth, inverse))]
        parts.append(text.TRUTH)
    parts += ["<h5>The fit</h5>", facts_table(facts.result_facts(inverse, evoked)), text.FIT]
    return "\n".join(parts)


def _compared(comparison: Comparison) -> str:
    from meg_vae.comparison.methods import METHODS

    parts = [html_table(comparison_table(comparison.table)), text.COMPARED]
    if comparison.truth is not None:
        parts.append(text.SCORES)
    if comparison.table["heldout_error"].notna().any():
        parts.append(text.HELDOUT)
    if len(comparison.agreement) > 1:
        titles = {name: METHODS[name].title for name in comparison.agreement}
        table = html_table(agreement_table(comparison.agreement, titles))
        parts += ["<h5>Distance between the strongest peaks of two methods</h5>", table]
    said = {row.title: row.note for row in comparison.table.itertuples() if row.note}
    if said:
        parts += ["<h5>What the methods warned of</h5>", facts_table(said)]
    methods = [METHODS[name] for name in comparison.table["method"]]
    knobs = {
        one.title: f"{one.knobs} Told {one.oracle or 'nothing'}. {one.reference}."
        for one in methods
    }
    return "\n".join([*parts, "<h5>Settings and references</h5>", facts_table(knobs)])


def _went_in(
    went_in: Mapping[str, str], inputs: Mapping[str, object] | None, options: Mapping[str, object]
) -> str:
    parts = []
    if inputs:
        parts += ["<h5>Files</h5>", facts_table(inputs)]
    parts += ["<h5>Data and model</h5>", facts_table(went_in)]
    if options:
        parts += ["<h5>Options</h5>", facts_table(options)]
    return "\n".join(parts)


def _add_pictures(
    page: mne.Report,
    pictures: Mapping[str, Path],
    captions: Mapping[str, tuple[str, str]],
    tags: tuple[str, ...],
) -> None:
    for name, (title, caption) in captions.items():
        if name in pictures:
            page.add_image(pictures[name], title, caption=caption, tags=tags)


def _add_recipe(page: mne.Report, command: str | None, code: str) -> None:
    """Say how to do it again, and with which versions."""
    parts = []
    if command is not None:
        parts += ["<h5>In a shell</h5>", f"<pre><code>{escape(command)}</code></pre>"]
    parts += ["<h5>In Python</h5>", f"<pre><code>{escape(code)}</code></pre>"]
    parts += ["<h5>Versions</h5>", facts_table(facts.versions())]
    page.add_html("\n".join(parts), "How to do it again", tags=INPUT)
