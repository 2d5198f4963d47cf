"""Shares: what several pieces have added up of the same numbers over axes, joined in the order of the pieces.

The code is the same for every rule. A worker takes some of the numbers, and no other adds to these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...ops import JOINS
from ...printer import expression, indented
from .claims import STEP, each_claim
from .header import Header, at

if TYPE_CHECKING:
    import numpy.typing as npt

    Int64 = npt.NDArray[np.int64]
    Float64 = npt.NDArray[np.float64]

AT_ONCE = 2_048
"""So many numbers are joined by one worker at a time: their sums stay in the first-level cache."""


class Share(NamedTuple):
    """The numbers from `low` on and before `high`; `base` is where the first of all numbers would be."""

    low: int
    high: int
    base: int


class Join(NamedTuple):
    """Results, and the shares that they are joined of: how, and what none would give."""

    results: Float64
    fold: int
    start: float
    shares: Sequence[Share]


def rows_of(joins: Sequence[Join]) -> tuple[Int64, Int64, Float64]:
    """For compiled code: rows of numbers, all shares, and what rows begin with."""
    rows: list[tuple[int, ...]] = []
    entries: list[Share] = []
    starts: list[float] = []
    for join in joins:
        for begin in range(0, join.results.size, AT_ONCE):
            end = min(begin + AT_ONCE, join.results.size)
            mine = [share for share in join.shares if share.low < end and share.high > begin]
            rows.append((join.results.ctypes.data, begin, end, join.fold, len(entries), len(entries) + len(mine)))
            entries += mine
            starts.append(join.start)
    return np.array(rows, np.int64), np.array(entries, np.int64), np.array(starts, np.float64)


def work_of(rows: Int64) -> Int64:
    """About how many numbers are joined in each row."""
    work: Int64 = (rows[:, 2] - rows[:, 1]) * (1 + rows[:, 5] - rows[:, 4])
    return work


def _source() -> str:
    lines = [f"rows = at_int64({at(Header.ROWS_AT)})", f"shares = at_int64({at(Header.SUMS_AT)})"]
    lines += [f"starts = at_float64({at(Header.STARTS_AT)})"]
    body = ["row = claim", "into = at_float64(rows[row * 6])", "begin = rows[row * 6 + 1]", "end = rows[row * 6 + 2]"]
    body += ["for i in range(begin, end):", "    into[i] = starts[row]"]
    body += ["for k in range(rows[row * 6 + 4], rows[row * 6 + 5]):"]
    body += ["    low = shares[k * 3] if shares[k * 3] > begin else begin"]
    body += ["    high = shares[k * 3 + 1] if shares[k * 3 + 1] < end else end"]
    body += ["    share = at_float64(shares[k * 3 + 2] + low * 8)", "    whole = at_float64(rows[row * 6] + low * 8)"]
    for fold, fn in enumerate(JOINS):
        body += [f"    if rows[row * 6 + 3] == {fold}:", "        for i in range(high - low):"]
        body += ["            x = whole[i]", "            y = share[i]"]
        body += [f"            whole[i] = {expression(fn, ['x', 'y'], 'float64')}"]
    lines += each_claim(body)
    return "\n".join(["# shares of numbers over axes", "", f"def {STEP}:", *indented(lines), ""])


SOURCE = _source()
