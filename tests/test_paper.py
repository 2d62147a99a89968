"""The paper: its numbers are those of the committed tables; references and figures are there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[1]
PAPER = (ROOT / "paper" / "paper.md").read_text(encoding="utf-8")
BIB = (ROOT / "paper" / "paper.bib").read_text(encoding="utf-8")
WORDS = {3: "three", 4: "four", 6: "six", 11: "eleven"}


def table(name):
    """One of the committed tables."""
    return pd.read_csv(ROOT / "data" / f"{name}.csv")


def section(title):
    """Text below a heading, in one line."""
    found = re.search(rf"^# {title}\n(.*?)(?=^# |\Z)", PAPER, re.MULTILINE | re.DOTALL)
    return " ".join(found[1].split())


def of_methods():
    """F1 and errors of the benchmark of many methods."""
    rows = table("benchmarks/summary").set_index(["metric", "condition", "method"])
    f1, error = rows.loc["f1"], rows.loc["localization_error_mm"]["mean"]
    conditions = f1["mean"].xs("vae", level="method").drop("all")  # F1 is of those with sources
    n_runs = f1["n_runs"].xs("vae", level="method")[conditions.index]
    best, mean = f1.loc["all", "vae"], f1["mean"]
    patches, moved = mean["Patches 10 mm"], mean["Head moved 4 mm"]
    assert (n_runs == n_runs.iloc[0]).all()
    return [
        f"In {len(conditions)} conditions of {n_runs.iloc[0]} recordings each",
        f"{best['mean']:.2f} (95 % interval {best['low']:.2f} to {best['high']:.2f})",
        f"{mean['all', 'trap_music']:.2f} for TRAP-MUSIC",
        f"{mean['all', 'lcmv']:.2f} for LCMV and {mean['all', 'irmxne']:.2f} for irMxNE",
        f"{error['10 dB', 'vae']:.1f} mm off at 10 dB, {error['0 dB', 'vae']:.1f} mm at 0 dB and "
        f"{error['-10 dB', 'vae']:.1f} mm at −10 dB",
        f"({patches['vae']:.2f} against {patches['trap_music']:.2f})",
        f"({moved['vae']:.2f} against {moved['trap_music']:.2f})",
    ]


def of_places():
    """Numbers, errors and coverage at places between the positions."""
    rows = table("benchmarks/places")
    sources = rows[rows["n_true"] > 0]
    right = (sources["n_free"] == sources["n_true"]).sum()
    free, grid = (
        np.concatenate([np.array(str(one).split(), float) for one in sources[name].dropna()]).mean()
        for name in ("free_error_mm", "grid_error_mm")
    )
    held = table("benchmarks/places_coverage").set_index("head").loc["all"]
    return [
        f"In {WORDS[rows['head'].nunique()]} source spaces",
        f"right in {right} of {len(sources)} recordings",
        f"{free:.1f} mm off on average, and {grid:.1f} mm with",
        f"The 95 % ellipsoid held the place in {100 * held['place']:.0f} % of "
        f"{held['sources']:.0f} cases",
        f"the 95 % interval of the amplitude held the truth in {100 * held['amplitude']:.0f} %",
    ]


def of_noise():
    """False sources in noise alone."""
    rows = table("benchmarks/noise_summary")
    named = (rows["with_false_source"] * rows["alone"]).sum()
    return [
        f"of {WORDS[len(rows)]} kinds",
        f"named a source in {named:.0f} of {rows['alone'].sum()} recordings",
    ]


def of_extents():
    """Patches whose radius was learnt."""
    rows = table("benchmarks/extents")
    rows = rows[rows["extent"] == "learn"]
    held = (rows["extent_low_mm"] <= rows["true_mm"]) & (rows["true_mm"] <= rows["extent_high_mm"])
    ten, twenty = (rows["condition"] == f"3 patches of {mm} mm, 5 dB" for mm in (10, 20))
    error = rows["error_mm"]
    return [
        f"a radius of 10 mm were found {error[ten].mean():.1f} mm off, of 20 mm "
        f"{error[twenty].mean():.1f} mm",
        f"in {100 * held[ten].mean():.0f} % and {100 * held[twenty].mean():.0f} % of them",
    ]


def of_motion():
    """A head that had moved, with its registration as given, found and learnt."""
    rows = table("benchmarks/registration_summary")
    rows = rows[rows["moved"]].set_index(["registration", "n_true"]).sort_index()
    error = rows["mean_error_mm"].groupby(level=[0, 1]).mean()
    held = 100 * rows.loc["learn", "place_coverage"][6]
    return [
        "moved by 4 mm",
        f"three sources {error['as given', 3]:.1f} mm off where that is not allowed for, and "
        f"{error['auto', 3]:.1f} mm by default",
        f"held the place in {held.min():.0f} % to {held.max():.0f} % of the cases",
    ]


def of_time():
    """Seconds of a fit on the grid, and of other solvers."""
    rows = table("benchmarks/solver")
    rows = rows[rows["case"] == "3 sources, 10 dB"].set_index(["orientation", "method"])
    seconds, columns = rows["seconds"], rows["columns"]
    free, fixed = seconds["free"], seconds["fixed"]
    return [
        f"{columns['free', 'meg_vae']} columns took {free['meg_vae']:.2f} s",
        f"gamma-MAP {free['gamma_map (MNE)']:.1f} s",
        f"mixed norm with SURE {free['mixed_norm, SURE (MNE)']:.1f} s",
        f"({columns['fixed', 'meg_vae']} columns) it took {fixed['meg_vae']:.2f} s, "
        f"and gamma-MAP {fixed['gamma_map (MNE)']:.1f} s",
    ]


CLAIMS = (of_methods, of_places, of_noise, of_extents, of_motion, of_time)


@pytest.mark.parametrize("claims", CLAIMS, ids=lambda one: one.__name__)
def test_numbers_are_those_of_the_tables(claims):
    text = section("What was measured")
    assert [claim for claim in claims() if claim not in text] == []


def unproven(text):
    """Digits that are left when all that the tables say is taken out."""
    for claims in CLAIMS:
        for claim in claims():
            text = text.replace(claim, "")
    text = re.sub(r"F1|!\[.*?\]\(.*?\)", "", text)
    return re.findall(r"\d+(?:\.\d+)?", text)


def test_there_are_no_other_numbers():
    assert unproven(section("What was measured")) == []
    for title in ("Summary", "Statement of need", "Limits"):
        assert re.findall(r"(?<!@wipf)\b\d", re.sub(r"@\w+", "", section(title))) == []


def test_a_number_of_no_table_is_seen():
    assert unproven(section("What was measured") + " It was right in 99 % of all heads.") == ["99"]


def test_references_are_cited_and_known():
    """No entry is here that the documentation does not have, and none is left over."""
    entries = dict(re.findall(r"@\w+\{(\w+),.*?title\s*=\s*\{(.*?)\},\n", BIB, re.DOTALL))
    assert len(entries) == BIB.count("\n@") + 1
    body = PAPER.split("---", 2)[2]
    assert set(re.findall(r"@(\w+\d{4})", body)) == set(entries)
    known = " ".join((ROOT / "docs" / "mathematics.rst").read_text(encoding="utf-8").split())
    for title in entries.values():
        assert re.sub(r"[{}]", "", title) in known


def test_figures_and_sections_are_there():
    for name in re.findall(r"!\[.*?\]\((.*?)\)", PAPER):
        assert (ROOT / "paper" / name).is_file()
    labels = set(re.findall(r"\\label\{(.*?)\}", PAPER))
    assert labels == set(re.findall(r"\\autoref\{(.*?)\}", PAPER))
    titles = re.findall(r"^# (.+)$", PAPER, re.MULTILINE)
    assert titles[:3] == ["Summary", "Statement of need", "State of the field"]
    assert titles[-3:] == ["Limits", "Acknowledgements", "References"]
    for key in ("title", "tags", "authors", "affiliations", "date", "bibliography"):
        assert re.search(rf"^{key}:", PAPER.split("---")[1], re.MULTILINE)


def test_it_does_not_claim_that_autoencoders_are_more_accurate():
    text = section("Summary")
    assert "is the type-II likelihood of sparse Bayesian learning" in text
    assert "Nothing here is more accurate because it is an autoencoder" in text
