"""Parted: a step with functions outside, as one compiled call before, between and after them.

Each part has the ledger's word; between them Python runs, and nothing but scratch has been written. The last part
stores and counts, if the optimizer's arrays are as the first part found them; else nothing was done.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from ...errors import NonFiniteResult
from ...schedule import Turn
from ..detours import refuse_nested
from ..entries import Cell
from . import driver, guards, pool
from .cells import LaunchCell
from .launch import NOTHING, Launch, Record

PART = f"""{driver.PARTS}{driver.SHARED}{driver.ADVANCE}{guards.GUARDED}{driver.STANDS}
def part(plan_at, prepared_at, expected, rate, update, first, last):
    plan = ints(plan_at)
    word = plan[{LaunchCell.LEDGER_AT}]
    ledger = ints(word)
    take(word, plan[{LaunchCell.YIELD_AT}])
    answer = stands(plan_at, prepared_at, expected, update)
    if first > 0 and ledger[{Cell.CHANGES}] != plan[{LaunchCell.SEEN}]:
        answer = {driver.ELSEWHERE}
    if answer == {driver.DONE}:
        if first == 0:
            receive(plan_at, prepared_at, rate, update)
            plan[{LaunchCell.SEEN}] = ledger[{Cell.CHANGES}]
        for k in range(first, last):
            if answer == {driver.DONE}:
                run(plan_at, k)
                if k == 0:
                    answer = guarded(plan_at, {driver.DONE})
        if last == plan[{LaunchCell.PASSES}] and answer == {driver.DONE}:
            ledger[{Cell.CHANGES}] += 1
            if expected >= 0:
                carry(plan_at, prepared_at, update)
                advance(plan_at, expected)
    swap(word, 0)
    return answer
"""
"""Some passes of a step, from `first` to before `last`; see `driver.DRIVE` of the whole."""


class Parted(Launch):
    """A launch of which some table has functions outside."""

    _driver = _dated_driver = (PART, 7)

    def follow(self, turns: Sequence[Turn]) -> None:
        """Run kernels in these turns."""
        super().follow(turns)
        programs = [table.program for table in self.tables]
        ends = [i + 1 for i, turn in enumerate(turns) if turn.detours(programs)]
        self._parts = list(itertools.pairwise([0, *ends, len(turns)]))

    def __call__(self, prepared: Record | None = None, expected: int | None = None) -> bool:
        """Do the step and count it if the ledger stands at `expected`, also after the functions; else False."""
        refuse_nested(self._ledger)
        record = prepared or NOTHING
        with self._ledger.lent:
            if self._helpers:
                self._plan[LaunchCell.BOARD_AT] = pool.pool().ready(self._helpers)
            call = self._at, record.at, -1 if expected is None else expected, *record.moment
            for first, last in self._parts:
                answer = self._drive(*call, first, last)
                if answer != driver.DONE:
                    return self._answered(answer)
                try:
                    self.take(last - 1)
                except NonFiniteResult:
                    if not self._plan[LaunchCell.SKIPS]:
                        raise
                    self._ledger.skip()
                    return self._answered(guards.SKIPPED)
        return True
