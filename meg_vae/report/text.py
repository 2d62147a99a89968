"""The sentences of a report."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import mne

    from meg_vae.meg.inverse import VAEInverse

SOURCES = """<p>A row per source, the strongest evidence first; a click on a heading sorts by it.
<b>Log evidence</b> is how many nats worse the data are explained when this source is taken out;
sources that carry less than the option <code>min_log_evidence</code> are not reported. <b>SD</b> is
the posterior standard deviation of the amplitude. {places}</p>"""

FREE_PLACES = """It allows for the place not being known exactly. <b>x, y, z</b> is the place
itself, between the candidate positions, in MRI surface RAS coordinates; the name and the vertex are
those of the nearest position. The <b>95 % radius</b> is half the longest axis of the ellipsoid that
holds the place with a probability of 95 %, if the head, the noise covariance and the model of a few
points are right."""

GRID_PLACES = """It takes the places of the sources for known, so the whole uncertainty is larger.
<b>x, y, z</b> is a candidate position, in MRI surface RAS coordinates; the source may lie
between."""

RESPONSES = """<p>A source is active in the responses that speak for it. <b>Log evidence</b> is how
many nats worse a response is explained without the source, all else given; the <b>strongest
source</b> of a response is the one with most. The chances are exp(nats) to one: 3 nats are 20 to 1,
7 nats 1,000 to 1. Responses in which no source is active look like noise to this model.</p>"""

ON_WALL = """<p><b>At the wall</b>: {count} would have gone on beyond the reach of the source space,
and was held there. Its place and radius are not to be trusted.</p>"""

NO_SOURCES = """<p>No place in the cortex carries enough evidence to be reported. Noise alone would
look like this.</p>"""

TRUTH = """<p>These data were simulated, so the truth is known. True sources and sources found are
paired one to one, so that the distances add up to as little as possible. A true source without a
partner is <i>missed</i>; a source found without one is <i>extra</i>.</p>"""

FIT = """<p>The <b>certificate</b> is how far the minimum is from a stationary point of the energy:
the largest violation over all candidate positions. At or below its target, no position that was
left out would lower the energy. {after} <b>λ</b> is the noise variance of the whitened data.</p>"""

TAKEN_OUT = "Sources with too little evidence are taken out after that, which raises the energy."

BETWEEN = """From there the sources have gone to places of their own. The <b>evidence of a further
source</b> is the most that one more could add, at any place, on the positions or between: below the
option <code>min_log_evidence</code>, nothing worth reporting was left out."""

COMPARED = """<p>All methods got the same data, channels, forward model and whitening.
<b>x, y, z</b> is where an estimate is strongest, in MRI surface RAS coordinates. A map gives every
place a value, so it has no number of sources; where it is dimensionless, no field can be computed
from it and so no explained variance. <b>Residual whiteness</b> is the largest eigenvalue of what is
left, over that of white noise: about 1 where only noise is left, more where structure is, less
where noise was fitted. <b>Agreement</b> is the median distance of a method's strongest peaks to
those of the others. The time includes everything from these data to the estimate.</p>"""

HELDOUT = """<p>The <b>held-out error</b> needs no truth: each method is run on some of the epochs,
and its field is compared with the average of the others, whitened by their own noise. 1 is the
noise itself, which no method can predict; the folds are the same for all.</p>"""

SCORES = """<p>The truth is known here. The <b>localization error</b> is the mean distance between
each true source and the peak paired with it, of as many peaks as there are sources; the <b>hit
rate</b> is the share of true sources with such a peak within the radius (10 mm). <b>False
positives</b> are peaks beyond it, and <b>F1</b> weighs both; of a map they are means over
thresholds from 10 to 90 % of its largest value.</p>"""

BENCHMARK = """<p>Means over all conditions with sources, for the methods that ran in each of them.
Every method got the same recordings, whitened by the same covariance. A map is scored at its local
maxima, over thresholds from 10 to 90 % of its largest value, a sparse estimate at the places it
names. A run that failed counts as one that found nothing. The two null methods, which find nothing
or guess, are what knowing nothing scores. A dagger (†) marks a method that is told the true number
of sources.</p>"""

PHANTOM = """<p>Means over the dipoles of the phantom that were found; their places are known. Both
methods were given one sample of each dipole, the noise covariance and the sphere model. The VAE is
not told how many sources there are, and is scored at the one with most evidence; the ellipsoid
holds the place with a probability of 95 % by its own account. A dagger (†) marks a method that is
told the true number of sources. Orientations are those of lines, without sign.</p>"""

PHANTOM_PICTURE = (
    "Errors at each dipole",
    "Dashed lines: means. Without filling: named as several sources; a cross: not found.",
)

BENCHMARK_PICTURES = {
    "ranking": (
        "F1 of sources",
        "Means over seeds, in each condition and over all; 1 is best. Bold: best of the condition.",
    ),
    "error_against_snr": (
        "Error against noise",
        "Mean and 95 % bootstrap confidence interval, a panel per family; 100 mm: not found.",
    ),
    "hits": (
        "Hits against false positives",
        "The upper left corner is best. Mean and 95 % bootstrap confidence intervals.",
    ),
    "time": (
        "Time against accuracy",
        "In the condition in which most methods ran. Mean and 95 % bootstrap confidence intervals.",
    ),
}

LOCALIZATION_PICTURES = {
    "sources": (
        "Sources on the cortex",
        "Each source at its place, coloured and sized by its peak amplitude.",
    ),
    "cortex": (
        "The cortex to turn by hand",
        "Drag to turn, scroll to come nearer; the buttons go back to a standard view.",
    ),
    "time_courses": (
        "Time courses of the sources",
        "Amplitude along the direction at the peak; band: two posterior standard deviations.",
    ),
    "residual": (
        "Sensor data and what is left",
        "The data, what the sources explain of them, and the difference, on one scale a row. "
        "Below: the field at the peaks, which the dotted lines mark.",
    ),
    "noise": (
        "Noise as it was learnt",
        "What the sources leave, beside the learnt noise and the noise covariance as given "
        "(dashed): its power against frequency, and its standard deviation in each channel.",
    ),
    "responses": (
        "Evidence of each response",
        "Red: the response speaks for the source, blue: against it. A dot marks the responses in "
        "which the source is active.",
    ),
    "evidence": (
        "Evidence of each source",
        "Sources left of the dashed line would not be reported.",
    ),
    "energy": (
        "Energy of the fit",
        "The energy after each step of the solver, and how far its end is from a minimum.",
    ),
}
COMPARISON_PICTURES = {
    "comparison": (
        "Methods side by side",
        "Peak magnitude of each estimate, in percent of that method's largest.",
    ),
    "methods": (
        "The methods on one cortex, to turn by hand",
        "Every source of a sparse method, and the strongest place of a map, for up to seven "
        "methods.",
    ),
}


def sources(inverse: VAEInverse) -> str:
    """Say how to read the table of sources, in paragraphs of HTML."""
    if inverse.sources_.empty:
        return NO_SOURCES
    free = inverse.positions == "free"
    said = SOURCES.format(places=FREE_PLACES if free else GRID_PLACES)
    walled = int(inverse.sources_["on_wall"].sum())
    if walled:
        said += ON_WALL.format(count="one source" if walled == 1 else f"each of {walled} sources")
    return said


def fit(inverse: VAEInverse) -> str:
    """Explain the figures that a fit ended with, in a paragraph of HTML."""
    return FIT.format(after=BETWEEN if inverse.positions == "free" else TAKEN_OUT)


def summary(inverse: VAEInverse, evoked: mne.Evoked) -> str:
    """Say in one sentence what was found, in a paragraph of HTML."""
    n_sources = len(inverse.sources_)
    if not n_sources:
        return "<p class='lead'>No source was found.</p>"
    explain = f"{inverse.explained_variance(evoked):.0f} % of the whitened sensor power"
    if n_sources == 1:
        return f"<p class='lead'>One source explains {explain}.</p>"
    return f"<p class='lead'>{n_sources} sources together explain {explain}.</p>"


STYLE = """
.numbers th, .numbers td { text-align: right; }
.numbers th:first-child, .numbers td:first-child { text-align: left; white-space: nowrap; }
.bootstrap-table .fixed-table-container .table.numbers thead th .th-inner {
  white-space: normal; vertical-align: bottom; padding-right: 20px !important;
  background-position: right -6px bottom; }
.bootstrap-table { margin-bottom: 1em; }
.facts th { font-weight: 600; white-space: nowrap; padding-right: 1.5em; }
"""

STUDY = """<p>Each subject was fitted by itself; the places of sources that subjects share then
became the prior of their places, and subjects and group were fitted in turn. Log evidence is that
of one source of the group over as many sources of its subjects; 3 nats are odds of 20 to 1. The
spread is the standard deviation between subjects along each axis; it holds anatomy, its match to
fsaverage, and what differs in function. Places of subjects are those that their own data say.</p>
"""

STUDY_PICTURES = {
    "group": (
        "Sources of all subjects",
        "fsaverage as glass. A ball is a source of one subject; an ellipsoid holds 95 % of the "
        "places that subjects are predicted to have.",
    ),
    "occurrence": (
        "Share of subjects with a source nearby",
        "Each source smoothed by 10 mm (standard deviation), in percent of the largest share.",
    ),
    "presence": (
        "Who has which source",
        "Log evidence and prior together beyond what is asked of a source; empty: not there.",
    ),
    "amplitudes": (
        "How strong the sources are",
        "A line for each subject, a dash at the median of those in which the source is active.",
    ),
}

CONTRASTS = """<p>Amplitudes: mean difference of their logarithms (nepers) in subjects that have the
source in both conditions. Presence: difference between shares of the subjects; its log evidence is
what all responses together say for a source that is active in one of the two alone. p from
exchanging conditions within subjects, or subjects between groups (9,999 times at most), corrected
for several sources by the false discovery rate.</p>"""

COURSES = "Along the direction of its peak."

# How MNE's tables sort a column of ours: numbers, with commas or a unit behind, before words.
SORTING = """
window.byNumber = (a, b) => {
  const [x, y] = [a, b].map((text) => parseFloat(String(text).replace(/,/g, '')));
  if (isNaN(x) || isNaN(y)) return isNaN(x) - isNaN(y) || String(a).localeCompare(String(b));
  return x - y;
};
"""
