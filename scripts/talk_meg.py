"""Neuromagnetic sources: the VAE, its twin and MNE's methods on the template's lead field."""

from __future__ import annotations

import time
import warnings

import matplotlib.pyplot as plt
import mne
import numpy as np
import pandas as pd
from sklearn.exceptions import ConvergenceWarning
from talk_common import JOBS, LOOKS, OUT, Jobs, Out, Quick, Seed, collect, run, write
from talk_meg_data import ORIENTATIONS, make_case, score
from talk_meg_methods import METHODS

from meg_vae.viz.style import PALETTE

Condition = tuple[str, int, float]  # orientation, number of sources, SNR in dB
#: Three components of as many sources with unknown orientation must not exceed the 99 channels.
COUNTS = {"known": (1, 5, 20, 40), "unknown": (1, 5, 20)}
LOOK = {
    "VAE": LOOKS["VAE"],
    "autoencoder": LOOKS["autoencoder, log"],
    "MxNE": {"color": PALETTE[2], "marker": "^"},
    "irMxNE": {"color": PALETTE[3], "marker": "v"},
    "gamma-MAP": {"color": PALETTE[5], "marker": "s", "linestyle": "--", "zorder": 4},
    "sLORETA": {"color": "#666666", "marker": "x", "linestyle": ":"},
}


def try_all(orientation: str, n_sources: int, snr_db: float, seed: int) -> list[dict[str, object]]:
    """Run every method on one recording.

    Parameters
    ----------
    orientation : str
        One of `ORIENTATIONS`.
    n_sources : int
        ρ0.
    snr_db : float
        SNR in dB.
    seed : int
        Seed of the recording.

    Returns
    -------
    rows : list of dict
        A row per method.
    """
    mne.set_log_level("error")
    case = make_case(n_sources, snr_db, seed, orientation)
    rows: list[dict[str, object]] = []
    for name, method in METHODS.items():
        started = time.process_time()
        with warnings.catch_warnings():
            for kind in (RuntimeWarning, ConvergenceWarning):
                warnings.simplefilter("ignore", kind)  # a solver that stops early counts
            power = method(case)
        rows.append(
            {
                "orientation": orientation,
                "n_sources": n_sources,
                "snr_db": snr_db,
                "seed": seed,
                "method": name,
                **score(case, power),
                "cpu_seconds": time.process_time() - started,
            }
        )
    return rows


def experiment(conditions: list[Condition], n_seeds: int, seed: int, jobs: int = 1) -> pd.DataFrame:
    """Run every method on every condition.

    Parameters
    ----------
    conditions : list of (str, int, float)
        Orientation, number of sources and SNR in dB.
    n_seeds : int
        Recordings per condition.
    seed : int
        First seed.
    jobs : int
        Processes.

    Returns
    -------
    table : DataFrame
        A row per recording and method.
    """
    cells = [(*condition, seed + k) for condition in conditions for k in range(n_seeds)]
    return collect(try_all, cells, desc="MEG", unit="recording", jobs=jobs)


def draw(table: pd.DataFrame) -> plt.Figure:
    """Draw share found and localization error against ρ0, and against the SNR.

    Parameters
    ----------
    table : DataFrame
        Of `experiment`.

    Returns
    -------
    figure : Figure
        The figure.
    """
    some = int(table.groupby("n_sources")["snr_db"].nunique().idxmax())  # tried at most SNRs
    noisy = np.isfinite(table["snr_db"])
    columns = [
        (table[~noisy], "n_sources", "no noise"),
        (table[table["snr_db"] == 20], "n_sources", "20 dB"),
        (table[(table["n_sources"] == some) & noisy], "snr_db", f"{some} sources"),
    ]
    figure, axes = plt.subplots(
        4, 3, figsize=(9.4, 9.4), sharex="col", sharey="row", layout="constrained"
    )
    for half, orientation in zip((axes[:2], axes[2:]), ORIENTATIONS, strict=True):
        half[0, 0].set_ylabel("sources found at the\nvery position (%)")
        half[1, 0].set_ylabel("localization error (mm)")
        for column, (part, x, title) in enumerate(columns):
            part = part[part["orientation"] == orientation]
            for ax, measure, factor in zip(
                half[:, column], ("found", "error_mm"), (100, 1), strict=True
            ):
                for name, look in LOOK.items():
                    mean = part[part["method"] == name].groupby(x)[measure].mean()
                    ax.plot(mean.index, factor * mean, label=name, markersize=4, **look)
            half[0, column].set_title(f"{title}, orientation {orientation}", fontsize=9.5)
            axes[-1, column].set_xlabel("sources ρ₀" if x == "n_sources" else "SNR (dB)")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=6)
    return figure


def main(quick: Quick = False, out: Out = OUT, seed: Seed = 0, jobs: Jobs = JOBS) -> None:
    """Localize known sources with magnetometers, at rising numbers and levels of noise."""
    if quick:
        n_seeds, levels = 1, dict.fromkeys(ORIENTATIONS, [(1, np.inf), (5, 20.0), (5, 0.0)])
    else:
        n_seeds, more = 3, [(5, 10.0), (5, 0.0)]
        levels = {o: [(n, v) for v in (np.inf, 20.0) for n in COUNTS[o]] + more for o in COUNTS}
    conditions = [(o, n, v) for o in ORIENTATIONS for n, v in levels[o]]
    write("talk_meg", experiment(conditions, n_seeds, seed, jobs), draw, out)


if __name__ == "__main__":
    run(main)
