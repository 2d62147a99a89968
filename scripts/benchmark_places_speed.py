"""What free places cost beside the fit on the grid: seconds of each part, in one process.

Template head, 8,196 positions, 306 channels, one thread, sources off the grid. Every part is timed
inside `VAEInverse.fit` itself: the field's preparation (first, and again for the same forward
model), the minimum on the grid of free orientation that the places start from, and the places. The
fit on the grid alone (``positions="grid"``) stands beside it. Medians of several fits, each after
the field was forgotten. Writes ``places_speed.csv``.

    python scripts/benchmark_places_speed.py --repeats 5
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Annotated, Any
from unittest.mock import patch

import pandas as pd
import torch
import typer
from benchmark_places import OUT
from benchmark_places_heads import Condition, head, recorded
from benchmark_places_scores import fitted
from benchmark_solver_common import versions
from talk_common import Out, Quick, run

import meg_vae.meg.field as field_module
from meg_vae.files import whole_file
from meg_vae.meg import localization
from meg_vae.model import sliding_vae

HEAD = "template, oct6"
CASES = {"3 sources, 10 dB": Condition(3), "10 sources, 10 dB": Condition(10)}
PARTS = {
    "field": (localization, "ContinuousField"),
    "start": (sliding_vae, "solve"),
    "places": (sliding_vae, "fit_places"),
}
Repeats = Annotated[int, typer.Option(help="Fits that a median is taken of.")]


@contextmanager
def clocked(spent: dict[str, float]) -> Iterator[None]:
    """Add up the seconds that each part of a fit takes."""

    def timed(part: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def inner(*args: Any, **kwargs: Any) -> Any:
            since = time.perf_counter()
            try:
                return work(*args, **kwargs)
            finally:
                spent[part] += time.perf_counter() - since

        return inner

    with ExitStack() as stack:
        for part, (module, name) in PARTS.items():
            stack.enter_context(patch.object(module, name, timed(part, getattr(module, name))))
        yield


def one_fit(evoked: Any) -> dict:
    """Seconds of the grid's fit, of the free one with the field forgotten, and with it at hand."""
    _, grid = fitted(HEAD, evoked, positions="grid")
    field_module._kept.clear()
    first: dict[str, float] = defaultdict(float)
    again: dict[str, float] = defaultdict(float)
    with clocked(first):
        inverse, whole = fitted(HEAD, evoked)
    with clocked(again):
        fitted(HEAD, evoked)
    return {
        "grid_fit": grid,
        "free_fit": whole,
        "field_first": first["field"],
        "field_again": again["field"],
        "start_on_grid": first["start"],
        "places": first["places"],
        "places_again": again["places"],
        "n_found": len(inverse.sources_),
    }


def main(repeats: Repeats = 5, quick: Quick = False, out: Out = OUT) -> None:
    """What free places cost beside the fit on the grid."""
    torch.set_num_threads(1)
    conditions = json.dumps(versions() | {"threads": 1, "seed": 0})
    rows = []
    for case, condition in CASES.items():
        evoked = recorded(HEAD, condition, 0).evoked
        fitted(HEAD, evoked, positions="grid")  # to warm up
        fits = pd.DataFrame([one_fit(evoked) for _ in range(1 if quick else repeats)])
        row = fits.median().to_dict()
        rows.append(
            {
                "case": case,
                "positions": head(HEAD).forward["nsource"],
                **row,
                "places_over_grid_fit": row["places"] / row["grid_fit"],
                "places_over_start": row["places"] / row["start_on_grid"],
                "repeats": len(fits),
                "conditions": conditions,
            }
        )
    table = pd.DataFrame(rows)
    with whole_file(out / "places_speed.csv") as part:
        table.to_csv(part, index=False, float_format="%.4g")
    typer.echo(table.drop(columns="conditions").T.to_string())


if __name__ == "__main__":
    run(main)
