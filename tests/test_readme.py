"""The README: what it says of the benchmarks is what the committed tables say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import readme_peers as peers
import readme_situations as situations
import readme_sources as sources

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")

CLAIMS = {
    "Where are the sources?": (sources.of_methods, sources.of_runs),
    "How far off, and does it know?": (sources.of_places, sources.of_one_source),
    "In noise as it is": (sources.of_noise,),
    "Point or patch?": (sources.of_radii, sources.of_points),
    "Rhythms, and when sources are active": (
        situations.of_rhythms,
        situations.of_windows,
        situations.of_events,
        situations.of_rest,
        situations.of_sample,
    ),
    "When the head lay elsewhere": (situations.of_motion,),
    "What do many subjects have in common?": (situations.of_studies,),
    "When the forward model is not the head's": (situations.of_forwards,),
    "With other sensors": (situations.of_arrays,),
    "On other people's tests": (
        peers.of_mne_tests,
        peers.of_bsi_zoo,
        peers.of_invertmeeg,
        peers.of_phantoms,
    ),
    "How long does it take?": (
        peers.of_time,
        peers.of_what_is_beyond,
        peers.of_growth,
        peers.of_minima,
        peers.of_cuda,
    ),
}

# Numbers that are no result: how the data were made, what a score is, and names
CONDITIONS = {
    "Where are the sources?": (
        "a hit is within 10 mm",
        "Patches of 10 mm",
        "thresholds from 10 to 90 %",
    ),
    "How far off, and does it know?": (
        "template oct5 and oct6",
        "the middle 80 %",
        "The 95 % interval",
        "The 95 % ellipsoid",
        "BEM of 1,280 triangles",
        "Correlated sources (0.9)",
    ),
    "In noise as it is": ("From 1,000 samples for 303 channels",),
    "Point or patch?": ("turned by 15°", "patches of 10 and 20 mm at 15 dB"),
    "Rhythms, and when sources are active": (
        "rhythms at -10 dB in 100 epochs",
        "for 50 ms of it",
        "the whole 1.2 s",
        "at 5 dB while they are active",
        "60 or 200 single events of 0.2 s at -10 dB",
        "makes 60 %, one 25 % and one 5 %, and 10 % are nothing",
        "at 200 Hz with rhythms of 10 and 20 Hz at -10 dB",
        "epochs of -0.2 to 0.5 s",
        "a window from 80 to 150 ms",
    ),
    "When the head lay elsewhere": ("5 dB, and sensors that moved by 4 mm and 3°",),
    "What do many subjects have in common?": (
        "a spread of 5 mm",
        "all subjects at 0 dB",
        "at -10 or -25 dB, and 20 of noise alone",
        "A subject at -10 dB",
    ),
    "When the forward model is not the head's": (
        "306 channels",
        "may be wrong by 5 %",
        "the 95 % ellipsoids",
        "single source (20 dB)",
    ),
    "With other sensors": (),
    "On other people's tests": (
        "[invertmeeg] 1.1's",
        "at ico3 with 102 magnetometers",
        "at 1 to 3 dB with 102 channels",
        "Elekta, KIT, 4D, CTF",
    ),
    "How long does it take?": (
        "306 channels, 10 dB",
        "within 0.01 (J, in nats × 2 per sample)",
        "NVIDIA H200",
    ),
}


def section(title):
    """Text below a heading, in one line, without the addresses of its links, with one minus."""
    found = re.search(rf"^### {re.escape(title)}\n(.*?)(?=^##|\Z)", README, re.M | re.S)
    return re.sub(r"\]\(.*?\)", "]", " ".join(found[1].split()).replace("−", "-"))


def whole(claim):
    """Pattern of a claim that does not begin or end within a longer number."""
    return re.compile(rf"(?<![\d.,]){re.escape(claim)}(?![.,]?\d)")


def claims_of(title):
    """All that the tables say of what a section says."""
    return [claim for claims in CLAIMS[title] for claim in claims()]


def unproven(title, text):
    """Words with digits that neither tables nor conditions account for."""
    known = [*claims_of(title), *CONDITIONS[title]]
    for claim in sorted(known, key=len, reverse=True):
        text = whole(claim).sub(" ", text)
    text = re.sub(r"`.*?`|\bF1\b", "", text)
    return re.findall(r"\S*\d\S*", text)


@pytest.mark.parametrize("title", CLAIMS)
def test_numbers_are_those_of_the_tables(title):
    text = section(title)
    assert [claim for claim in claims_of(title) if not whole(claim).search(text)] == []


@pytest.mark.parametrize("title", CLAIMS)
def test_other_numbers_are_conditions(title):
    """Each condition stands there too, so that the list does not outlive the text."""
    text = section(title)
    assert unproven(title, text) == []
    for known in CONDITIONS[title]:
        assert whole(known).search(text), known


@pytest.mark.parametrize("title", CLAIMS)
def test_a_wrong_number_is_seen(title):
    """One digit that is changed in the text is missed by its claim and left over."""
    text = section(title)
    assert unproven(title, text + " It was right in 99.9 % of all heads.") == ["99.9"]
    for claim in claims_of(title):
        wrong = re.sub(r"\d(?=\D*$)", lambda m: str((int(m[0]) + 1) % 10), claim)
        if wrong != claim:  # a number that is written in words
            changed = whole(claim).sub(lambda _, wrong=wrong: wrong, text)
            assert not whole(claim).search(changed)
            assert unproven(title, changed) != []


def test_each_section_of_results_is_read():
    measured = re.search(r"^## Measured\n(.*?)^## ", README, re.MULTILINE | re.DOTALL)[1]
    titles = re.findall(r"^### (.+)$", measured, re.MULTILINE)
    assert set(titles) == set(CLAIMS)
