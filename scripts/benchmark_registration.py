"""What a head that lay elsewhere than the transform says does to an answer, and what learning does.

Sources off the grid in three heads are recorded by sensors that moved by 4 mm and 3° in random
directions, or did not, with the full forward model's field there. Each recording is fitted with the
registration as given, learnt where the data ask for it (the default), and learnt. Writes a row per
fit (registration.csv), a row per head, number of sources and option (registration_summary.csv), and
a figure (registration.png). MEG_VAE_SAMPLE and MEG_VAE_HEADS name the folders of the real heads.

    python scripts/benchmark_registration.py --seeds 10 --jobs 2
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from typing import Annotated

import matplotlib.pyplot as plt
import mne
import numpy as np
import pandas as pd
import torch
import typer
from benchmark_places import OUT, heads_at_hand
from benchmark_places_heads import APART, NAVE, SFREQ, TMAX, Recorded, head
from benchmark_places_scores import (
    INSIDE_PLACE,
    errors,
    fitted,
    listed,
    mean,
    n_false,
    numbers,
    sureness,
)
from joblib import Parallel, delayed
from talk_common import Out, Quick, run, write
from tqdm import tqdm

from meg_vae.datasets.simulation import event_related, fixed_dipole, place_sources, record
from meg_vae.files import whole_file
from meg_vae.meg.channel_maps import moved_sensors, rigid
from meg_vae.meg.conductor import bem_conductor
from meg_vae.viz.style import PALETTE

HEADS = ("template, oct6", "sample head", "second head")
NUMBERS, SNR_DB = (1, 3, 6, 10), 5.0
MOVED_MM, MOVED_DEGREES = 4.0, 3.0
OPTIONS = {"as given": None, "auto": "auto", "learn": "learn"}
NEAR = 2.0  # mm: a motion is found where it is nearer than that

Seeds = Annotated[int, typer.Option(help="Recordings of each head and number of sources.")]
Jobs = Annotated[int, typer.Option(help="Processes; -1 takes all processors.")]
Redraw = Annotated[bool, typer.Option(help="Summarize and draw an earlier run.")]


def recording(name: str, n_sources: int, moved: bool, seed: int) -> tuple[Recorded, np.ndarray]:
    """Sources off the grid, and the motion of the sensors that recorded them."""
    here = head(name)
    rng = np.random.default_rng([seed, n_sources, len(here.rr)])
    chosen = place_sources(here.rr, n_sources, APART, rng)
    courses = event_related(np.arange(round(TMAX * SFREQ) + 1) / SFREQ, n_sources, rng)
    shift, turn = (x / np.linalg.norm(x) for x in rng.standard_normal((2, 3)))
    twist = np.r_[1e-3 * MOVED_MM * shift, np.radians(MOVED_DEGREES) * turn]
    motion = rigid(twist if moved else np.zeros(6), here.forward["source_rr"].mean(0))
    info = moved_sensors(here.info, motion)
    exact = bem_conductor(info, info.ch_names, here.bem, here.trans)
    gain = np.einsum("kda,ka->dk", exact(here.rr[chosen]), here.nn[chosen])
    options = {"snr_db": SNR_DB, "nave": NAVE, "random_state": rng}
    evoked, amplitude = record(gain, courses, here.info, here.noise_cov, **options)
    sources = zip(here.rr[chosen], here.nn[chosen], amplitude, strict=True)
    truth = [fixed_dipole(evoked.times, *source) for source in sources]
    return Recorded(evoked, truth, here.depth[chosen]), motion


def rows(name: str, n_sources: int, moved: bool, seed: int) -> list[dict]:
    """One recording, with each option, in a process of one thread."""
    torch.set_num_threads(1)
    case, motion = recording(name, n_sources, moved, seed)
    rr, out = head(name).forward["source_rr"], []
    for option, registration in OPTIONS.items():
        inverse, seconds = fitted(name, case.evoked, registration=registration)
        there, found = (
            mne.transforms.apply_trans(trans, rr) for trans in (motion, inverse.registration_)
        )
        row = {
            "head": name,
            "moved": moved,
            "n_true": n_sources,
            "seed": seed,
            "registration": option,
            "n_found": len(inverse.sources_),
            "false": n_false(inverse, case),
            "error_mm": listed(1e3 * errors(inverse, case)),
            "off_mm": 1e3 * np.linalg.norm(there - found, axis=1).mean(),
            "log_evidence": inverse.registration_log_evidence_,
            "learnt": bool(inverse.registration_covariance_.any()),
            "median_radius_mm": inverse.sources_["radius_mm"].median(),
            "seconds": seconds,
        }
        out.append(row | {"squared_distance": sureness(inverse, case)["squared_distance"]})
    return out


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Summarize by head, number of sources and option."""
    out = []
    for key, part in table.groupby(
        ["moved", "n_true", "head", "registration"], sort=False, dropna=False
    ):
        out.append(
            dict(zip(("moved", "n_true", "head", "registration"), key, strict=True))
            | {
                "n": len(part),
                "mean_error_mm": mean(numbers(part["error_mm"])),
                "place_coverage": mean(numbers(part["squared_distance"]) <= INSIDE_PLACE),
                "right_number": (part["n_found"] == part["n_true"]).mean(),
                "learnt": part["learnt"].mean(),
                "mean_off_mm": part["off_mm"].mean(),
                "off_below_2_mm": (part["off_mm"] < NEAR).mean(),
                "median_radius_mm": part["median_radius_mm"].median(),
                "median_seconds": part["seconds"].median(),
            }
        )
    return pd.DataFrame(out)


def figure(table: pd.DataFrame) -> plt.Figure:
    """Mean error against the number of sources, of each head: moved, and not."""
    fig, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
    for ax, moved in zip(axes, (True, False), strict=True):
        for k, option in enumerate(OPTIONS):
            for name, marker in zip(HEADS, "osD", strict=True):
                own = table[
                    (table["moved"] == moved)
                    & (table["registration"] == option)
                    & (table["head"] == name)
                ]
                ax.plot(
                    own["n_true"],
                    own["mean_error_mm"],
                    color=PALETTE[k],
                    marker=marker,
                    label=f"{option}, {name}" if moved else None,
                )
        text = f"moved by {MOVED_MM:g} mm and {MOVED_DEGREES:g}°" if moved else "not moved"
        ax.set(title=f"Head {text}", xlabel="Sources", xticks=NUMBERS, ylim=(0, None))
    axes[0].set_ylabel("Mean error (mm)")
    fig.legend(loc="outside right upper", frameon=False, fontsize=8)
    return fig


def main(
    seeds: Seeds = 6,
    jobs: Jobs = 1,
    out: Out = OUT,
    quick: Quick = False,
    redraw: Redraw = False,
) -> None:
    """Run, summarize and draw."""
    if redraw:
        table = pd.read_csv(out / "registration.csv")
    else:
        cells = [
            (name, n, moved, seed)
            for seed in range(1 if quick else seeds)
            for moved in (True, False)
            for n in (NUMBERS[1:2] if quick else NUMBERS)
            for name in heads_at_hand(list(HEADS))
        ]
        work = Parallel(n_jobs=jobs, return_as="generator")(delayed(rows)(*c) for c in cells)
        bar = tqdm(work, desc="recordings", total=len(cells))
        table = pd.DataFrame([row for part in bar for row in part])
    write("registration", table, lambda own: figure(summary(own)), out)
    with whole_file(out / "registration_summary.csv") as part:
        summary(table).to_csv(part, index=False, float_format="%.4g")


if __name__ == "__main__":
    run(main)
