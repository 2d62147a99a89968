"""How many threads the small matrices of a descent are worth: one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import torch

_lock = Lock()
_inside = 0  # fits that run now, in threads of one process
_before = 1  # the user's setting, seen by the first of them


def _after_fork() -> None:
    """Forget the fits of the parent, whose threads are not in the child."""
    global _inside, _lock
    _inside, _lock = 0, Lock()


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
    global _inside, _before
    if batch > 1:
        yield
        return
    with _lock:
        if not _inside:
            _before = torch.get_num_threads()
        _inside += 1
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(_before)
        with _lock:
            _inside -= 1
