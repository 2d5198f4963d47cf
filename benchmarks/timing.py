"""How long does A take beside B? Both in turns in one process, so that noise and drift hit both.

Before each turn the process rests for some milliseconds, so that the other side's threads no longer spin on our cores,
and then does one call that is not timed, so that waking threads up is not counted. Both sides get the same.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

Work = Callable[[], object]
REST = 0.005
"""Seconds: more than OpenMP's threads spin by default."""


@dataclass(frozen=True)
class Paired:
    """Seconds of one call of each, as medians, with their ratio; of all the 10th and 90th percentile.

    ratio:       how many times as long theirs takes, by the medians.
    ratio_range: of the ratios of single rounds, in which both stand side by side.
    """

    ours: float
    theirs: float
    ratio: float
    ours_range: tuple[float, float]
    theirs_range: tuple[float, float]
    ratio_range: tuple[float, float]
    rounds: int

    @classmethod
    def of(cls, ours: Sequence[float], theirs: Sequence[float]) -> Paired:
        """From the times of each round."""
        ratios = [other / own for own, other in zip(ours, theirs, strict=True)]
        middles = median(ours), median(theirs)
        return cls(*middles, middles[1] / middles[0], _range(ours), _range(theirs), _range(ratios), len(ratios))

    def as_row(self) -> dict[str, Any]:
        """The figures by the names that results keep them under."""
        return {
            "ours_s": self.ours,
            "theirs_s": self.theirs,
            "ratio": self.ratio,
            "ours_p10_p90_s": self.ours_range,
            "theirs_p10_p90_s": self.theirs_range,
            "ratio_p10_p90": self.ratio_range,
            "rounds": self.rounds,
        }


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
    return in_turns(lambda: _once(ours, calls[0]), lambda: _once(theirs, calls[1]), rounds)


def in_turns(ours: Callable[[], float], theirs: Callable[[], float], rounds: int) -> Paired:
    """Two measurements, each of which gives seconds, so many times in turns, with the first place changing hands."""
    times: tuple[list[float], list[float]] = ([], [])
    gc.collect()
    gc.disable()
    try:
        for i in range(rounds):
            for side in (0, 1) if i % 2 else (1, 0):
                times[side].append((ours, theirs)[side]())
    finally:
        gc.enable()
    return Paired.of(*times)


def _range(values: Sequence[float]) -> tuple[float, float]:
    if len(values) == 1:
        return values[0], values[0]
    tenths = quantiles(values, n=10, method="inclusive")  # the other method goes beyond what few rounds have seen
    return tenths[0], tenths[-1]
