"""A benchmark: methods × conditions × seeds, in one table that a kill does not destroy.

- `read_protocol`: what to run, from a TOML file, checked before anything runs.
- `run_benchmark`: run it, here or on a cluster; finished runs are kept and never done again.
- `Benchmark`: the table of runs and its summary with confidence intervals.
"""

from __future__ import annotations

from .protocol import Condition, Protocol, read_protocol
from .run import Benchmark, run_benchmark
from .summary import ranking, summarize

__all__ = [
    "Benchmark",
    "Condition",
    "Protocol",
    "ranking",
    "read_protocol",
    "run_benchmark",
    "summarize",
]
