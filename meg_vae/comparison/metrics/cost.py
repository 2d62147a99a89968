"""Cost: time and peak memory of a call."""

from __future__ import annotations

import ctypes
import threading
import time
from types import TracebackType

import psutil

INTERVAL = 0.005  # s between two looks at the memory


class Cost:
    """Measure what runs inside a ``with`` block.

    Memory is the resident set of the whole process, looked at every 5 ms by a thread; what is
    shorter can be missed, and what other threads of the process take is counted. What earlier calls
    have freed is given back to the system first, where the C library can (glibc); elsewhere a call
    that lives on it seems to need less.

    Attributes
    ----------
    seconds : float
        Wall-clock time.
    cpu_seconds : float
        Processor time of all threads of the process: on a busy machine the fairer one.
    memory_mb : float
        Largest resident set over that at the beginning, in MB (10⁶ bytes).
    """

    seconds = float("nan")
    cpu_seconds = float("nan")
    memory_mb = float("nan")

    def __enter__(self) -> Cost:
        """Begin."""
        _give_back()
        self._process = psutil.Process()
        self._before = self._most = self._process.memory_info().rss
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        self._start = time.perf_counter(), time.process_time()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End."""
        self.seconds = time.perf_counter() - self._start[0]
        self.cpu_seconds = time.process_time() - self._start[1]
        self._stop.set()
        self._thread.join()
        self._look()
        self.memory_mb = (self._most - self._before) / 1e6

    def _watch(self) -> None:
        while not self._stop.wait(INTERVAL):
            self._look()

    def _look(self) -> None:
        self._most = max(self._most, self._process.memory_info().rss)


def _give_back() -> None:
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):  # another C library
        pass
