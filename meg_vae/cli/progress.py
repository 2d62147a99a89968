"""Which step is under way, on a progress bar, and how long each took."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm


class Steps:
    """Steps of a command, one after the other, on a bar that is shown in a terminal alone.

    Attributes
    ----------
    seconds : dict of float
        Wall-clock time of each finished step, by its name.
    """

    def __init__(self, title: str, total: int) -> None:
        self.seconds: dict[str, float] = {}
        self._bar = tqdm(
            total=total,
            desc=title,
            leave=False,
            disable=None,
            file=sys.stderr,
            bar_format="{desc} |{bar:30}| {n}/{total} [{elapsed}]",
        )
        self._title, self._name = title, ""
        self._start = 0.0

    def __enter__(self) -> Steps:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bar away."""
        self._finish()
        self._bar.close()

    def start(self, name: str) -> None:
        """Finish the step under way and begin the next."""
        self._finish()
        self._bar.set_description_str(f"{self._title}: {name}")
        self._name, self._start = name, time.perf_counter()

    def _finish(self) -> None:
        if self._name:
            self.seconds[self._name] = round(time.perf_counter() - self._start, 3)
            self._bar.update()
            self._name = ""


def bars() -> str | None:
    """Give the level of MNE's logging at which the library shows its own bars, in a terminal.

    None leaves the level as it is, which shows no bars unless more is logged.
    """
    return "info" if sys.stderr.isatty() else None
