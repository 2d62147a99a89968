"""Beside invertmeeg on its own ground: its simulated tasks, its leading solvers, its scores.

Recordings come from its simulator with the settings of its benchmark (focal, multi, noisy and
extended sources, on positions and along their normals), its solvers are called as its runner calls
them, and every answer goes through its scoring. Its own head model must be downloaded, so the
template head at ico3 stands in, with the 102 magnetometers of the model helmet. All methods get the
covariance that its simulator estimates from a stretch of noise; ours are told how long that was,
save one. Writes a row per task, recording and method (invertmeeg.csv), and the mean and the median
of each task and method (invertmeeg_summary.csv).

invertmeeg is under the GPL: it is called here, and not copied. Run this in an environment of its
own, from the repository root:

    python -m venv apart && apart/bin/pip install . invertmeeg==1.1.0
    OMP_NUM_THREADS=1 apart/bin/python scripts/benchmark_invertmeeg.py --recordings 50
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Annotated, Any

import mne
import numpy as np
import pandas as pd
import typer
from talk_common import HERE, Out, Quick, Seed, run
from tqdm import tqdm

import meg_vae.model.sliding_vae
import meg_vae.model.sparse_vae  # noqa: F401 (here, so that loading torch is not timed)
from meg_vae import SparseVAE, VAEInverse
from meg_vae.datasets import template
from meg_vae.files import whole_file
from meg_vae.model.checks import MIN_LOG_EVIDENCE

try:
    from invert.benchmark import BenchmarkRunner, create_datasets
    from invert.benchmark.runner import evaluate_all  # 1.1.0 cannot import its invert.evaluate
    from invert.simulate import SimulationConfig, SimulationGenerator
    from invert.solver_registry import get_solver_class, get_solver_spec
except ImportError as error:
    raise SystemExit(f"error: needs invertmeeg==1.1.0 beside meg_vae ({error})") from None

OUT = HERE.parent / "data" / "benchmarks"
TASKS = ("focal_source", "multi_source", "noisy", "extended_source")
ALL_TASKS = ";".join(TASKS)
MM = 1e3
# Its scores, as they are called in the tables.
SCORES = {
    "Mean_Localization_Error": "mle_mm",
    "EMD": "emd_mm",
    "sd": "dispersion",
    "average_precision": "average_precision",
    "correlation": "correlation",
}

Recordings = Annotated[int, typer.Option(help="Recordings of each task; its own default is 50.")]
Tasks = Annotated[str, typer.Option(help="Tasks, divided by semicolons.")]


@dataclass(frozen=True)
class Head:
    """The template, with columns of fixed and of free orientation, and what the scores need."""

    info: mne.Info
    fixed: mne.Forward
    free: mne.Forward
    places: np.ndarray  # mm, (n_positions, 3)
    adjacency: Any


@dataclass(frozen=True)
class Recording:
    """Data, the covariance handed over with them, and the truth."""

    evoked: mne.Evoked
    noise_cov: mne.Covariance
    truth: np.ndarray  # (n_positions, n_times)
    n_sources: int
    snr_db: float


@cache
def head() -> Head:
    """Its settings on our template: ico3, columns along the mean normals of the patches."""
    here = template("ico3")
    info = mne.pick_info(here.info, mne.pick_types(here.info, meg="mag"))
    free = mne.pick_channels_forward(here.forward, info["ch_names"], ordered=True)
    fixed = mne.convert_forward_solution(free, surf_ori=True, force_fixed=True, use_cps=True)
    places = MM * np.concatenate([space["rr"][space["vertno"]] for space in fixed["src"]])
    return Head(info, fixed, free, places, mne.spatial_src_adjacency(fixed["src"]))


def simulate(task: str, n: int, seed: int) -> list[Recording]:
    """Draw what its runner draws for that task, number of recordings and seed."""
    here, own = head(), create_datasets()[task]
    config = SimulationConfig(
        batch_size=n,
        n_sources=own.n_sources,
        n_orders=own.n_orders,
        snr_range=own.snr_range,
        n_timepoints=own.n_timepoints,
        source_spatial_model=own.source_spatial_model,
        patch_rank=own.patch_rank,
        estimate_noise_cov=True,
        return_noise_cov=True,
        random_seed=seed,
    )
    data, truth, facts = next(SimulationGenerator(here.fixed, config=config).generate())
    cov = partial(
        mne.Covariance,
        names=here.info["ch_names"],
        bads=[],
        projs=[],
        nfree=config.noise_cov_n_baseline - 1,  # its mean was taken off
    )
    return [
        Recording(
            mne.EvokedArray(X, here.info),
            cov(fact["noise_cov_est_scaled"]),
            U,
            int(fact["n_sources"]),
            float(fact["snr"]),
        )
        for X, U, (_, fact) in zip(data, truth, facts.iterrows(), strict=True)
    ]


@cache
def options(name: str) -> dict[str, Any]:
    """What its runner gives a solver: its entry in the registry, and the depth weighting."""
    given = BenchmarkRunner(head().fixed, head().info, solvers=[name]).solver_params.get(name, {})
    depth = {key.removeprefix("init__"): value for key, value in given.items()}
    return {**get_solver_spec(name).default_kwargs, **depth}


def of_invertmeeg(name: str, case: Recording) -> np.ndarray:
    """Fit one of its solvers as its runner does."""
    solver = get_solver_class(name)(**options(name))
    solver.make_inverse_operator(head().fixed, case.evoked, alpha="auto", noise_cov=case.noise_cov)
    return solver.apply_inverse_operator(case.evoked).data


def on_grid(case: Recording) -> np.ndarray:
    """VAEInverse on the positions and along their normals, as the truth is."""
    inverse = VAEInverse(positions="grid").fit(case.evoked, head().fixed, case.noise_cov)
    return inverse.apply(case.evoked, full=True).data


def at_places(case: Recording) -> np.ndarray:
    """VAEInverse by its defaults, which know no normals; in the scores signed as along them."""
    inverse = VAEInverse().fit(case.evoked, head().free, case.noise_cov)
    size = inverse.apply(case.evoked, full=True).data
    return np.copysign(size, inverse.apply(case.evoked, "normal", full=True).data)


def on_columns(case: Recording, *, told: bool) -> np.ndarray:
    """SparseVAE on all whitened channels, of samples that are independent in time."""
    whitener, _ = mne.cov.compute_whitener(case.noise_cov, case.evoked.info, pca=True)
    columns, X = whitener @ head().fixed["sol"]["data"], whitener @ case.evoked.data
    n_noise = case.noise_cov["nfree"] if told else np.inf
    return SparseVAE(min_log_evidence=MIN_LOG_EVIDENCE).fit(columns, X, n_noise=n_noise).U_


METHODS: dict[str, Callable[[Recording], np.ndarray]] = {
    "FlexChampagne": partial(of_invertmeeg, "flex-champagne"),
    "FlexNLChampagne": partial(of_invertmeeg, "flex-nl-champagne"),
    "AP": partial(of_invertmeeg, "ap"),
    "VAE (grid)": on_grid,
    "VAE (places)": at_places,
    "SparseVAE, told": partial(on_columns, told=True),
    "SparseVAE, not told": partial(on_columns, told=False),
}


def row_of(method: str, case: Recording) -> dict[str, Any]:
    """Fit one recording by one method and score it as its runner does."""
    here = head()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        since = time.perf_counter()
        U = METHODS[method](case)
        seconds = time.perf_counter() - since
        scores = evaluate_all(
            case.truth, U, here.adjacency, here.adjacency, here.places, here.places
        )
    return {
        "method": method,
        "snr_db": case.snr_db,
        "n_sources": case.n_sources,
        "n_true": int(case.truth.any(axis=1).sum()),
        "n_named": int(U.any(axis=1).sum()),
        **{SCORES[name]: float(value) for name, value in scores.items()},
        "seconds": seconds,
    }


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Mean and median of each task and method, over the answers that have the score, as its own.

    An answer that names nothing has neither error nor distance, so these are counted.
    """
    columns = [*SCORES.values(), "n_named", "seconds"]
    groups = table.groupby(["task", "method"], sort=False)
    scores = groups[columns].agg(["mean", "median"])
    scores.columns = [f"{name}_{kind}" for name, kind in scores.columns]
    counts = groups.agg(
        recordings=("recording", "size"),
        without_answer=("n_named", lambda found: int((found == 0).sum())),
    )
    return counts.join(scores).reset_index()


def main(
    recordings: Recordings = 50,
    tasks: Tasks = ALL_TASKS,
    seed: Seed = 0,
    quick: Quick = False,
    out: Out = OUT,
) -> None:
    """Ours and its own leaders on its own tasks."""
    mne.set_log_level("error")
    unknown = [task for task in tasks.split(";") if task not in TASKS]
    if unknown:
        raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(TASKS)}.")
    rows = []
    for task in tasks.split(";"):
        cases = simulate(task, 2 if quick else recordings, seed)
        for number, case in enumerate(tqdm(cases, desc=task)):
            rows += [{"task": task, "recording": number, **row_of(m, case)} for m in METHODS]
    table = pd.DataFrame(rows)
    scores = summary(table)
    for name, part in (("invertmeeg", table), ("invertmeeg_summary", scores)):
        with whole_file(out / f"{name}.csv") as file:
            part.to_csv(file, index=False, float_format="%.4g")
    some = ["task", "method", "without_answer", "mle_mm_mean", "mle_mm_median", "emd_mm_mean"]
    some += ["average_precision_mean", "correlation_mean", "seconds_median"]
    typer.echo(scores[some].to_string(index=False, float_format="%.3g"))


if __name__ == "__main__":
    run(main)
