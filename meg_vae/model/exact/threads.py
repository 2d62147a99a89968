"""How many threads a fit is worth: one, unless the user has chosen a number."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from threading import Lock
from typing import Any, TypeVar

from threadpoolctl import threadpool_limits

CHOSEN = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
Call = TypeVar("Call", bound=Callable[..., Any])


class _Limit:
    """A limit that calls share which run at once, in threads of one process; the last lifts it."""

    def __init__(self, set_one: Callable[[], Callable[[], Any]]) -> None:
        self.set_one = set_one
        self.forget()

    def forget(self) -> None:
        """Count from anew: in a child, the parent's threads are not there."""
        self.lock, self.inside = Lock(), 0

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the limit."""
        with self.lock:
            if not self.inside:
                self.lift = self.set_one()
            self.inside += 1
        try:
            yield
        finally:
            with self.lock:
                self.inside -= 1
                if not self.inside:
                    self.lift()


def _torch_alone() -> Callable[[], Any]:
    """Give torch one thread; what is returned gives back what it had."""
    import torch  # late: the package is imported without it

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    return lambda: torch.set_num_threads(before)


def _all() -> Callable[[], Any]:
    """Give torch and the libraries beneath NumPy and SciPy one thread each."""
    return threadpool_limits(1).restore_original_limits


_few, _one = _Limit(_torch_alone), _Limit(_all)


def _after_fork() -> None:
    for limit in (_few, _one):
        limit.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@contextmanager
def few_threads(batch: int) -> Iterator[None]:
    """Keep torch to one thread for a single right-hand side, and put back what the user has set.

    Hundreds of steps on at most a few hundred columns gain little from a second thread, and lose
    much where another process keeps it waiting. Products with all of Φ, and batches, are left to
    the user's setting.

    Parameters
    ----------
    batch : int
        Number of right-hand sides.
    """
    if batch > 1:
        yield
        return
    with _few.held():
        yield


def one_thread(call: Call) -> Call:
    """Run a function on one thread of each numerical library, unless the user has chosen a number.

    A decorator. Threads that wait for each other spin: beside other work they made a fit six times
    slower. Who wants more sets OMP_NUM_THREADS, or one of the others in ``CHOSEN``.

    Parameters
    ----------
    call : callable
        The function.

    Returns
    -------
    call : callable
        The same on one thread.
    """

    @wraps(call)
    def alone(*args: Any, **kwargs: Any) -> Any:
        if any(name in os.environ for name in CHOSEN):
            return call(*args, **kwargs)
        with _one.held():
            return call(*args, **kwargs)

    return alone  # type: ignore[return-value]
