"""What free places cost beside the fit on the grid: seconds of each part, and peak memory.

Template head, 8,196 positions, 306 channels, sources off the grid. Every part is timed inside
`VAEInverse.fit` itself: the field's preparation (first, and again for the same forward model), the
minimum on the grid of free orientation that the places start from, and the places. The fit on the
grid alone (``positions="grid"``) stands beside it. Seconds are the processor's, which other work on
the machine hardly changes; medians of several fits in one process, each after the field was
forgotten.

    python scripts/benchmark_solver_places.py CASE grid|free

prints the bytes that one fit adds at its peak; `places_table` runs each in a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

import pandas as pd
from benchmark_places_heads import Condition, head, recorded
from benchmark_places_scores import fitted
from benchmark_solver_common import SEED
from benchmark_solver_growth import peak_memory
from tqdm import tqdm

import meg_vae.meg.interpolation as interpolation
from meg_vae.meg import localization
from meg_vae.model import sliding_vae
from meg_vae.model.sliding import recorded as recorded_module

HEAD = "template, oct6"
CASES = {"3 sources, 10 dB": Condition(3), "10 sources, 10 dB": Condition(10)}
PARTS = {
    "field": (localization, "ContinuousField"),
    "start": (recorded_module, "solve"),
    "places": (sliding_vae, "fit_places"),
}


@contextmanager
def clocked(spent: dict[str, float]) -> Iterator[None]:
    """Add up the seconds that each part of a fit takes."""

    def timed(part: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def inner(*args: Any, **kwargs: Any) -> Any:
            since = time.process_time()
            try:
                return work(*args, **kwargs)
            finally:
                spent[part] += time.process_time() - since

        return inner

    with ExitStack() as stack:
        for part, (module, name) in PARTS.items():
            stack.enter_context(patch.object(module, name, timed(part, getattr(module, name))))
        yield


def one_fit(evoked: Any) -> dict:
    """Seconds of the grid's fit, of the free one with the field forgotten, and with it at hand."""
    since = time.process_time()
    fitted(HEAD, evoked, positions="grid")
    grid = time.process_time() - since
    interpolation._memory._kept.clear()
    first: dict[str, float] = defaultdict(float)
    again: dict[str, float] = defaultdict(float)
    since = time.process_time()
    with clocked(first):
        inverse, _ = fitted(HEAD, evoked)
    whole = time.process_time() - since
    with clocked(again):
        fitted(HEAD, evoked)
    return {
        "seconds_grid_fit": grid,
        "seconds_free_fit": whole,
        "seconds_field": first["field"],
        "seconds_field_again": again["field"],
        "seconds_start": first["start"],
        "seconds_places": first["places"],
        "found": len(inverse.sources_),
    }


def memory(case: str, positions: str) -> int:
    """Bytes that one fit of a process adds at its peak, the forward model at hand."""
    evoked = recorded(HEAD, CASES[case], SEED).evoked
    return peak_memory(partial(fitted, HEAD, evoked, positions=positions))


def memory_alone(case: str, positions: str, threads: int) -> int:
    """The same in a process of its own, whose pages go back when an array is freed."""
    environment = {"OMP_NUM_THREADS": str(threads), "MALLOC_MMAP_THRESHOLD_": "65536"}
    command = [sys.executable, __file__, case, positions]
    out = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, check=True
    )
    return int(out.stdout.strip().splitlines()[-1])


def places_table(threads: int, repeats: int) -> pd.DataFrame:
    """A row per case; the places' seconds over those of the grid's fit are of the same fits."""
    rows = []
    for case, condition in tqdm(CASES.items(), desc="places"):
        evoked = recorded(HEAD, condition, SEED).evoked
        fitted(HEAD, evoked, positions="grid")  # to warm up
        fits = pd.DataFrame([one_fit(evoked) for _ in range(repeats)])
        ratio = (fits["seconds_places"] / fits["seconds_grid_fit"]).median()
        bytes_ = {
            f"mebibytes_{kind}_fit": memory_alone(case, kind, threads) / 2**20
            for kind in ("grid", "free")
        }
        about = {"case": case, "positions": head(HEAD).forward["nsource"], "repeats": repeats}
        rows.append(about | fits.median().to_dict() | {"places_over_grid_fit": ratio} | bytes_)
    return pd.DataFrame(rows)


if __name__ == "__main__":
    print(memory(sys.argv[1], sys.argv[2]))
