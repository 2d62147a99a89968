"""Where many tasks run: processes of this machine, or a dask.distributed cluster."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import joblib

from meg_vae.files import needed

BACKENDS = ("loky", "dask")


def check_backend(backend: str, scheduler: str | None) -> None:
    """Refuse a backend that is none, or lacks its scheduler.

    Parameters
    ----------
    backend : "loky" | "dask"
        Processes of this machine, or a cluster.
    scheduler : str | None
        Address of the cluster's scheduler.

    Raises
    ------
    ValueError
        If they do not fit together.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend={backend!r} must be one of {', '.join(BACKENDS)}.")
    if backend == "loky" and scheduler is not None:
        raise ValueError(f"scheduler={scheduler!r} needs backend='dask'.")
    if backend == "dask" and scheduler is None:
        raise ValueError("backend='dask' needs the address of a scheduler.")


@contextmanager
def workers(scheduler: Any, n_jobs: int) -> Iterator[Callable[..., Iterator[Any]]]:
    """Give what runs calls in parallel and yields their results as they come.

    Parameters
    ----------
    scheduler : str | distributed.Client | None
        Address of a cluster's scheduler, or a client of one; None takes processes of this machine,
        each with one thread.
    n_jobs : int
        How many of these; -1 takes all processors.

    Yields
    ------
    parallel : callable
        Takes calls as of ``joblib.delayed``.

    Raises
    ------
    OSError
        If no scheduler answers, or it goes away while it is used.
    ModuleNotFoundError
        If dask.distributed is needed and not installed.
    """
    if scheduler is None:
        own = joblib.parallel_config("loky", n_jobs=n_jobs, inner_max_num_threads=1)
        with own, warnings.catch_warnings():
            # of a worker that grew, and is replaced before the next task
            warnings.filterwarnings("ignore", message="A worker stopped while some jobs")
            yield joblib.Parallel(return_as="generator_unordered", batch_size=1)
        return
    distributed = needed("distributed")
    if isinstance(scheduler, distributed.Client):
        own = nullcontext(scheduler)  # the user's, who closes it
    else:
        try:
            own = distributed.Client(scheduler, timeout="10s")
        except (OSError, TimeoutError, ValueError) as error:
            raise OSError(f"no dask scheduler answers at {scheduler} ({error}).") from error
    with own as client, joblib.parallel_config("dask", client=client):
        parallel = joblib.Parallel(return_as="generator_unordered", batch_size=1)

        def run(calls: Iterable[Any]) -> Iterator[Any]:
            try:
                yield from parallel(calls)
            except (distributed.CancelledError, distributed.KilledWorker) as error:
                reason = " ".join(str(error).split())
                raise OSError(f"the cluster went away: {reason}") from error

        yield run
