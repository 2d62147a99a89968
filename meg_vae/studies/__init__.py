"""Many recordings and many subjects: sources of each, and those that they have in common.

- `study`: the whole of it, resumable, on one machine or a cluster.
- `Study`: its tables, maps and tests.
- `Plan`, `make_plan`: what a study does, checked before any work.
"""

from __future__ import annotations

from meg_vae.studies.plan import Plan, make_plan
from meg_vae.studies.result import Study
from meg_vae.studies.run import study

__all__ = ["Plan", "Study", "make_plan", "study"]
