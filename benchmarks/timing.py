"""How long does A take beside B? Both in turns in one process, so that noise and drift hit both.

Before each turn the process rests for some milliseconds, so that the other side's threads no longer spin on our cores,
and then does one call that is not timed, so that waking threads up is not counted. Both sides get the same.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median, quantiles

Work = Callable[[], object]
REST = 0.005
"""Seconds: more than OpenMP's threads spin by default."""


@dataclass(frozen=True)
class Paired:
    """Seconds of one call of each, medians with the 10th and 90th percentile, and the ratio of the medians."""

    ours: float
    theirs: float
    ours_range: tuple[float, float]
    theirs_range: tuple[float, float]
    rounds: int

    @property
    def ratio(self) -> float:
        """How many times as long theirs takes."""
        return self.theirs / self.ours


def _inner(work: Work, least: float) -> int:
    """How many calls make a measurable piece of at least `least` seconds."""
    calls = 1
    while True:
        begin = time.perf_counter()
        for _ in range(calls):
            work()
        spent = time.perf_counter() - begin
        if spent >= least or calls >= 1 << 20:
            return calls
        calls *= 4 if spent < least / 8 else 2


def _once(work: Work, calls: int) -> float:
    time.sleep(REST)
    work()
    begin = time.perf_counter()
    for _ in range(calls):
        work()
    return (time.perf_counter() - begin) / calls


def paired(ours: Work, theirs: Work, budget: float = 2.0, least: float = 1e-3) -> Paired:
    """Time both in turns for about `budget` seconds; each piece of work lasts at least `least` seconds."""
    for work in (ours, theirs, ours, theirs):
        work()
    calls = _inner(ours, least), _inner(theirs, least)
    each = 2 * REST + _once(ours, calls[0]) * (calls[0] + 1) + _once(theirs, calls[1]) * (calls[1] + 1)
    rounds = max(7, min(2000, int(budget / each)))
    times: tuple[list[float], list[float]] = ([], [])
    gc.collect()
    gc.disable()
    try:
        for i in range(rounds):
            for side in (0, 1) if i % 2 else (1, 0):
                times[side].append(_once((ours, theirs)[side], calls[side]))
    finally:
        gc.enable()
    return summary(times)


def summary(times: tuple[list[float], list[float]]) -> Paired:
    """The times of all rounds, ours and theirs, as medians and ranges."""
    ours, theirs = times
    return Paired(median(ours), median(theirs), _range(ours), _range(theirs), len(ours))


def _range(times: list[float]) -> tuple[float, float]:
    tenths = quantiles(times, n=10)
    return tenths[0], tenths[-1]
