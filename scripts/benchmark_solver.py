"""Time the exact solver against its own certificate and against its peers.

Every method gets the same whitened problem (template head, 306 channels, oct6, covariance divided
by nave), noise variance held at 1, in one process with a stated number of threads. Seconds are
those of the processor, the batch's alone those of the clock; ours is the median of five, the peers
run once. Writes ``solver.csv``, ``solver_growth.csv``,
``solver_places.csv`` (what free places add to a whole fit), ``solver_targets.csv`` (each target,
met or not) and ``solver.png``.

    python scripts/benchmark_solver.py --threads 1 --out data/benchmarks
"""

from __future__ import annotations

import argparse
import json
import time
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from benchmark_solver_common import (
    CASES,
    SEED,
    TOL,
    bootstrap_samples,
    certificate_of,
    energy,
    fit,
    in_turn,
    problem,
    support_reduced,
    versions,
)
from benchmark_solver_growth import growth_table
from benchmark_solver_peers import PEERS, run_peer, run_sweeps
from benchmark_solver_places import places_table
from benchmark_solver_targets import CHECK, EASY, OURS, draw, targets_table
from tqdm import tqdm

from meg_vae.model.exact.dictionary import Dictionary
from meg_vae.model.solve import solve


def our_rows(Phi: object, X: object, n_orient: int, repeats: int) -> list[dict]:
    """Our fit, and its certificate alone."""
    fit(Phi, X, n_orient)  # to warm up
    own = partial(fit, Phi, X, n_orient)
    (seconds, solution), (check, _) = in_turn(
        own, certificate_of(Phi, X, n_orient, own()), repeats=repeats
    )
    parts = {f"seconds_{name}": value for name, value in solution.timings.items()}
    ours = {
        "method": OURS,
        "seconds": seconds,
        "repeats": repeats,
        "over_certificate": seconds / check,
        "energy": energy(Phi, X, n_orient, solution.gamma),
        "positions": int((solution.gamma > 0).sum()),
        "certificate": float(solution.certificate),
        "steps": len(solution.history) - 1,
    }
    return [ours | parts, {"method": CHECK, "seconds": check, "repeats": repeats}]


def compare_case(case: str, loose: float, options: argparse.Namespace) -> list[dict]:
    """Rows of one case: ours, its certificate, and the peers."""
    Phi, X, n_orient = problem(case, loose, "oct6")
    rows = our_rows(Phi, X, n_orient, options.repeats)
    if case in EASY:
        sweeps = run_sweeps(Phi, X, n_orient, options.sweeps)
        rows.append({"method": f"{options.sweeps} plain sweeps", **sweeps})
        for name, (run, fixed_only) in PEERS.items():
            if n_orient == 1 or not fixed_only:
                rows.append({"method": name, **run_peer(run, Phi, X, n_orient)})
    shared = {
        "case": case,
        "orientation": "fixed" if n_orient == 1 else "free",
        "columns": Phi.shape[1],
    }
    for row in rows:
        row["times_ours"] = row.get("seconds", float("nan")) / rows[0]["seconds"]
    return [shared | row for row in rows]


def batch_row(n_batch: int) -> dict:
    """Bootstrap samples on the positions that the data and their neighbours single out."""
    Phi, X, n_orient = problem("3 sources, 10 dB", 1.0, "oct6")
    small = Dictionary(support_reduced(Phi, X, n_orient), n_orient)
    samples = torch.as_tensor(bootstrap_samples(X, n_batch))
    solve(small, samples[:2], noise_variance=1.0, tol=TOL, n_jobs=2)  # the processes are there
    since = time.perf_counter()
    many = solve(small, samples, noise_variance=1.0, tol=TOL, n_jobs=2)
    return {
        "case": f"{n_batch} bootstrap samples, {small.n_groups} positions, 2 processes",
        "orientation": "free",
        "columns": small.Phi.shape[1],
        "method": OURS,
        "seconds": time.perf_counter() - since,
        "repeats": 1,
        "certificate": float(many.certificate.max()),
        "steps": len(many.history) - 1,
    }


def methods_table(options: argparse.Namespace) -> pd.DataFrame:
    """Every case by every method, and the batch."""
    rows: list[dict] = []
    cases = [(case, loose) for loose in (1.0, 0.0) for case in CASES]
    for case, loose in tqdm(cases, desc="cases"):
        rows += compare_case(case, loose, options)
    rows.append(batch_row(options.batch))
    return pd.DataFrame(rows).assign(conditions=stamp(options))


def stamped_places(options: argparse.Namespace) -> pd.DataFrame:
    """What free places cost, and what ran."""
    return places_table(options.threads, options.repeats).assign(conditions=stamp(options))


def stamp(options: argparse.Namespace) -> str:
    """What ran, for a column of a table."""
    return json.dumps(versions() | {"threads": options.threads, "seed": SEED})


def main() -> None:
    """Run what the options ask for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("data/benchmarks"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--sweeps", type=int, default=1000, help="plain sweeps to compare with")
    parser.add_argument("--batch", type=int, default=1000, help="bootstrap samples")
    parser.add_argument(
        "--part",
        choices=("all", "methods", "growth", "places"),
        default="all",
        help="what is run; an earlier run's rest is kept",
    )
    parser.add_argument("--tables-only", action="store_true", help="judge and draw earlier runs")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    parts = {
        "methods": ("solver.csv", partial(methods_table, options)),
        "growth": ("solver_growth.csv", partial(growth_table, options.threads)),
        "places": ("solver_places.csv", partial(stamped_places, options)),
    }
    for part, (name, made) in parts.items():
        if options.part in ("all", part) and not options.tables_only:
            made().to_csv(out / name, index=False)
    table, sizes, places = (pd.read_csv(out / name) for name, _ in parts.values())
    targets = targets_table(table, sizes, places, out)
    targets.to_csv(out / "solver_targets.csv", index=False)
    draw(table, sizes, out / "solver.png")
    for shown in (
        *(x.drop(columns="conditions", errors="ignore") for x in (table, sizes, places)),
        targets,
    ):
        print(shown.to_string(float_format="%.3f"))


if __name__ == "__main__":
    main()
