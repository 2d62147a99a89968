"""What is costly to compute and asked for again by the next fit, remembered by its ingredients."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar
from zlib import crc32

import numpy as np
from numpy.typing import ArrayLike

T = TypeVar("T")


class Memory(Generic[T]):
    """The last few results, by the values of the arrays that they were made of.

    Parameters
    ----------
    most : int
        How many are kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[tuple[int, ...], T] = OrderedDict()

    def __call__(self, parts: Iterable[ArrayLike], make: Callable[[], T]) -> T:
        """Give the result for some arrays, made where it is not remembered."""
        key = tuple(crc32(np.ascontiguousarray(part)) for part in parts)
        if key not in self._kept:
            self._kept[key] = make()
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]
