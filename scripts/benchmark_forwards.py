"""What an answer is worth when the forward model is not the one that made the data.

Sources off the grid have the field of a BEM of three layers there (2,562 vertices a layer; 0.3,
0.006 and 0.3 S/m), in the model helmet, with noise of sensors and brain, white in time, 100
averages. The inverse is given that BEM, or one with half or twice the skull's conductivity, or
coarser, or of one layer (2,562 vertices), or a sphere fitted to the inner skull; or the sources
have passed channels whose gains are off by 1 or 3 % (standard deviation), which the forward model
does not know. The noise has not: its covariance is measured through the same channels. No fit is
given the BEM, so that the lead field between the positions (oct6) is interpolated. There is one
head, as the others have no surface of the outer skull, and there are no electrodes.

The VAE at its defaults beside TRAP-MUSIC, which is told the number of sources, LCMV and sLORETA.
Errors are those of as many strongest sources as there are, false ones are farther than 10 mm from
every true source that is not found yet, and a coverage is the share of the 95 % ellipsoids of
places that hold the truth, among sources within 15 mm. Writes a row per recording, forward model
and method (forwards.csv), per forward model, number, level and method (forwards_summary.csv), and a
figure (forwards.png). MEG_VAE_HEADS names the folder of the head.

    python scripts/benchmark_forwards.py --seeds 2 --resume

The seeds are done one after the other, and within each one condition with all forward models, so
that a run that is cut short is balanced; --resume goes on with it. With a wrong forward model and a
strong response a fit takes minutes. LCMV refuses a sphere, in which radial dipoles are silent.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import warnings
from dataclasses import replace
from typing import Annotated

import matplotlib.pyplot as plt
import mne
import numpy as np
import pandas as pd
import torch
import typer
from benchmark_forwards_heads import FORWARDS, SAME, forward_of, pool, true_fields
from benchmark_places import OUT
from benchmark_places_heads import APART, NAVE, SECOND, SFREQ, TMAX, Recorded, head, missing
from benchmark_places_scores import INSIDE_PLACE, listed, mean, numbers, sureness
from benchmark_tables import resumed, write_scores
from matplotlib.ticker import MaxNLocator
from scipy.spatial.distance import cdist
from talk_common import Out, Quick, run, write

from meg_vae import VAEInverse
from meg_vae.comparison import METHODS as REGISTRY
from meg_vae.comparison.inputs import prepare, true_sources
from meg_vae.comparison.methods import Sources
from meg_vae.comparison.methods.vae import found_by
from meg_vae.comparison.running import describe, run_method
from meg_vae.datasets.simulation import event_related, fixed_dipole, place_sources, record
from meg_vae.viz.style import PALETTE

#: What the inverse is given: a forward model, and by how much the gains of the channels are off.
GIVEN = {SAME: (SAME, 0.0), "gains 1 %": (SAME, 0.01), "gains 3 %": (SAME, 0.03)}
GIVEN |= {name: (name, 0.0) for name in FORWARDS if name != SAME}
CONDITIONS = ((3, 10.0), (0, np.nan), (3, 0.0), (1, 20.0), (3, 20.0))  # number, dB
METHODS = ("vae", "trap_music", "lcmv", "sloreta")
HIT_MM = 10.0
DRAWN_DB = 10.0  # at which the methods are drawn beside each other
KEY = ["given", "n_true", "snr_db", "seed"]
SCORES = {  # name here: column of the comparison
    "error_mm": "localization_error_mm",
    "hits": "hit_rate",
    "false": "false_positives",
    "f1": "f1",
}

Seeds = Annotated[int, typer.Option(help="Recordings of each forward model and condition.")]
Jobs = Annotated[int, typer.Option(help="Processes; -1 takes all processors.")]
Resume = Annotated[bool, typer.Option(help="Keep the recordings that the table has already.")]
Redraw = Annotated[bool, typer.Option(help="Summarize and draw an earlier run.")]


def recorded(n: int, snr_db: float, share: float, seed: int) -> Recorded:
    """Record sources of the true conductor through channels whose gains are off by a share."""
    here, (rr, nn) = head(SECOND), pool()
    rng = np.random.default_rng([seed, n])  # the same sources for all given
    chosen = place_sources(rr, n, APART, rng)
    courses = event_related(np.arange(round(TMAX * SFREQ) + 1) / SFREQ, n, rng)
    gains = 1 + share * rng.standard_normal(len(here.info.ch_names))
    fields = (gains * true_fields()[chosen]).T
    options = {"snr_db": 10.0 if np.isnan(snr_db) else snr_db, "nave": NAVE, "random_state": rng}
    evoked, amplitude = record(fields, courses, here.info, here.noise_cov, **options)
    sources = zip(rr[chosen], nn[chosen], amplitude, strict=True)
    return Recorded(evoked, [fixed_dipole(evoked.times, *one) for one in sources], np.zeros(0))


def rows_of(given: str, n: int, snr_db: float, seed: int) -> list[dict]:
    """Score all methods on one recording, in a process of one thread."""
    torch.set_num_threads(1)
    mne.set_log_level("error")
    forward, share = GIVEN[given]
    case = recorded(n, snr_db, share, seed)
    return [
        {"given": given, "n_true": n, "snr_db": snr_db, "seed": seed} | row
        for row in scored(case, forward_of(forward), head(SECOND).noise_cov)
    ]


def scored(case: Recorded, forward: mne.Forward, noise_cov: mne.Covariance) -> list[dict]:
    """Score all methods; without sources the VAE alone, as the others always name some."""
    truth = true_sources(case.truth, HIT_MM, 0.0) if case.truth else None
    options = {"loose": "auto", "rank": None, "weights": None}
    fits: list[VAEInverse] = []

    def watched(
        evoked: mne.Evoked, forward: mne.Forward, noise_cov: mne.Covariance, **_: object
    ) -> Sources:
        inverse = VAEInverse(verbose="error").fit(evoked, forward, noise_cov)
        fits.append(inverse)
        return found_by(inverse, evoked)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inputs = prepare(case.evoked, forward, noise_cov, truth, **options)
        rows = []
        for method in METHODS if case.truth else METHODS[:1]:
            own = REGISTRY[method]
            own = replace(own, run=watched) if method == "vae" else own
            found = describe(run_method(own, inputs), inputs)
            row = {"method": method, "status": found["status"]}
            row |= {"n_found": found.get("n_sources", np.nan)}
            row |= {ours: found.get(theirs, np.nan) for ours, theirs in SCORES.items()}
            if method == "vae":
                row |= _sureness(fits[0], replace(case, evoked=inputs.evoked))
            rows.append(row)
    return rows


def _sureness(inverse: VAEInverse, case: Recorded) -> dict:
    """What a fit knows of its sources and of the noise.

    ``away_mm`` is how far each source is from the nearest true one.
    """
    sure = sureness(inverse, case)
    kept = ("n_paired", "squared_distance", "squared_distance_null", "radius_mm")
    found = inverse.filter_.positions.rr_head
    away = 1e3 * cdist(found, case.rr).min(1) if case.truth else np.full(len(found), np.inf)
    return {name: sure[name] for name in kept} | {
        "away_mm": listed(away),
        "extent_mm": listed(inverse.sources_["extent_mm"]),
        "log_evidence": listed(inverse.sources_["log_evidence"]),
        "noise_variance": float(np.mean(inverse.noise_variance_)),
        "moved": bool(inverse.registration_covariance_.any()),
    }


def cells_of(seeds: int, done: pd.DataFrame) -> list[tuple]:
    """What is still to be done, seed by seed, and then condition by condition."""
    had = set(done[KEY].fillna(-1).itertuples(index=False, name=None))
    return [
        (given, n, snr_db, seed)
        for seed in range(seeds)
        for n, snr_db in CONDITIONS
        for given in GIVEN
        if (n or not GIVEN[given][1])  # gains change nothing where there is no source
        and (given, n, -1 if np.isnan(snr_db) else snr_db, seed) not in had
    ]


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """A row per forward model, number, level and method: the scores."""
    out = []
    groups = table.groupby(["given", "n_true", "snr_db", "method"], sort=False, dropna=False)
    for key, part in groups:
        row = dict(zip(("given", "n_true", "snr_db", "method"), key, strict=True))
        row |= {"recordings": len(part), "error_mm": part["error_mm"].median()}
        row |= {name: part[name].mean() for name in ("hits", "false", "f1")}
        if row["method"] == "vae":
            extra = part["n_found"] - part["n_true"]
            row |= {
                "right_number": (extra == 0).mean(),
                "with_false_source": (part["false"].fillna(part["n_found"]) > 0).mean(),
                "surplus": extra.mean(),
                "n_paired": int(part["n_paired"].sum()),
                "place_coverage": mean(numbers(part["squared_distance"]) <= INSIDE_PLACE),
                "place_coverage_null": mean(numbers(part["squared_distance_null"]) <= INSIDE_PLACE),
                "median_radius_mm": mean(numbers(part["radius_mm"]), np.median),
                "noise_variance": part["noise_variance"].median(),
                "moved": part["moved"].mean(),
            }
        out.append(row)
    return pd.DataFrame(out)


def draw(table: pd.DataFrame) -> plt.Figure:
    """Three sources: errors and F1 by method, and surplus and coverage of the VAE by level."""
    scores = summary(table).query("n_true == 3")
    given = [name for name in GIVEN if name in set(scores["given"])]
    figure, axes = plt.subplots(1, 4, figsize=(13, 4.2), layout="constrained", sharey=True)
    at = scores[scores["snr_db"] == DRAWN_DB]
    for k, method in enumerate(METHODS):
        own = at[at["method"] == method].set_index("given").reindex(given)
        style = {"color": PALETTE[k], "linestyle": "none", "markersize": 5}
        style |= {"marker": "osD^"[k], "label": REGISTRY[method].title}
        y = np.arange(len(given)) + 0.16 * (k - 1.5)
        axes[0].plot(own["error_mm"], y, **style)
        axes[1].plot(own["f1"], y, **style)
    vae = scores[scores["method"] == "vae"]
    for k, (level, own) in enumerate(vae.groupby("snr_db")):
        own = own.set_index("given").reindex(given)
        style = {"color": plt.get_cmap("viridis")(k / 4), "linestyle": "none", "markersize": 5}
        style |= {"marker": "vso^"[k], "label": f"{level:g} dB"}
        y = np.arange(len(given)) + 0.16 * (k - 1.5)
        axes[2].plot(own["surplus"], y, **style)
        axes[3].plot(100 * own["place_coverage"], y, **style)
    axes[0].set(xlabel=f"error of three sources\nat {DRAWN_DB:g} dB (mm, median)", xlim=(0, None))
    axes[0].set_yticks(range(len(given)), given)
    axes[0].invert_yaxis()
    axes[1].set(xlabel=f"F1 of three sources\nat {DRAWN_DB:g} dB", xlim=(None, 1.02))
    axes[2].set(xlabel="VAE: sources named,\nless the true three (mean)")
    axes[2].axvline(0, color="black", linewidth=0.8)
    axes[3].set(xlabel="VAE: truth in the ellipsoid\n(%, of nominal 95 %)", xlim=(-3, 103))
    axes[3].axvline(95, color="black", linestyle=":", linewidth=1)
    for ax in axes:
        ax.grid(axis="y", linewidth=0.3)
    for ax, side in ((axes[0], "left"), (axes[2], "right")):
        lines = ax.get_legend_handles_labels()
        figure.legend(*lines, loc=f"outside upper {side}", ncols=4, fontsize=8, frameon=False)
    axes[2].xaxis.set_major_locator(MaxNLocator(integer=True))
    low, high = axes[2].get_xlim()
    axes[2].set_xlim(min(low, -1.2), max(high, 1.2))
    return figure


def main(
    seeds: Seeds = 2,
    jobs: Jobs = 1,
    resume: Resume = False,
    redraw: Redraw = False,
    quick: Quick = False,
    out: Out = OUT,
) -> None:
    """Answers with forward models that did not make the data."""
    path = out / "forwards.csv"
    done = pd.read_csv(path) if (resume or redraw) and path.exists() else pd.DataFrame(columns=KEY)
    if not redraw:
        if missing(SECOND):
            raise ValueError(missing(SECOND))
        cells = cells_of(1 if quick else seeds, done)
        resumed(rows_of, cells[:1] if quick else cells, done, path, jobs=jobs)
    table = pd.read_csv(path)
    write("forwards", table, draw, out)
    scores = summary(table)
    write_scores("forwards_summary", scores, out, scores.query("method == 'vae'"))


if __name__ == "__main__":
    run(main)
