"""The cases of storages, a process for each side, so that one that dies or compiles for ever leaves the others."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from .. import children
from ..rows import Row
from .cases import OfStorage

MODULE = "benchmarks.storages.measure"
LIMIT = 240.0
"""Seconds that all cases beside one side may take, with all that is compiled."""


def measured(cases: Sequence[OfStorage], numbers: Sequence[int], seconds: float, limit: float = LIMIT) -> Iterator[Row]:
    """A row for each of the cases of these numbers, whatever happens."""
    for side in dict.fromkeys(cases[i].against for i in numbers):
        own = [i for i in numbers if cases[i].against == side]
        yield from children.rows_of(MODULE, seconds, cases, own, until=time.monotonic() + limit)
