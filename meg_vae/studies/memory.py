"""How much memory the tasks of a study need, told before it starts."""

from __future__ import annotations

import joblib
import psutil
from mne.utils import logger, warn

from meg_vae.studies.plan import Plan

BASE_GB = 1.0  # of a process with MNE and torch: peaks of 1.16 GB with 1,284 positions (6 MB)
FACTOR = 23.0  # of the forward solution as it lies on the disk: and of 1.74 GB with 8,196 (32 MB)


def tell_memory(plan: Plan, n_jobs: int, *, cluster: bool) -> None:
    """Say what a task needs, and warn where this machine has less for as many at a time.

    Parameters
    ----------
    plan : Plan
        The study.
    n_jobs : int
        Tasks at a time on this machine.
    cluster : bool
        Whether they run elsewhere.
    """
    each = max(sum(run.forward.stat().st_size for run in one.runs) for one in plan.members)
    task = BASE_GB + FACTOR * each / 1e9
    if cluster:
        logger.info(f"About {task:.1f} GB of memory a task, of {len(plan.members)} tasks")
        return
    n = min(len(plan.members), joblib.cpu_count() if n_jobs == -1 else max(n_jobs, 1))
    logger.info(f"About {task:.1f} GB of memory a task, {n} of {len(plan.members)} at a time")
    free = psutil.virtual_memory().available / 1e9
    if n * task > free:
        warn(
            f"{n} tasks at a time need about {n * task:.1f} GB of memory, and {free:.1f} GB are "
            "free; take fewer (n_jobs), or a cluster (scheduler)."
        )
