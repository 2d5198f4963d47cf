"""Guards: compiled code that looks, after the first pass of a call, whether the others shall run."""

from __future__ import annotations

from ..entries import Cell
from .cells import GUARD_SIZE, GuardCell, LaunchCell

SKIPPED = 3
"""What it answers of a call that is refused and was counted as skipped. Below 0 it is refused and not counted, and the
answer says which variable's gradient it was: -1 for the first one."""

GUARDED = f"""
def refused(guards_at, count):
    found = -1
    for i in range(count):
        guard = ints(guards_at + i * {8 * GUARD_SIZE})
        value = floats(guard[{GuardCell.AT}])[0]
        if found < 0 and (value - value != 0.0 or ints(guard[{GuardCell.AT}])[0] == guard[{GuardCell.REFUSED}]):
            found = guard[{GuardCell.VARIABLE}]
    return found

def guarded(plan_at, answer):
    plan = ints(plan_at)
    if refused(plan[{LaunchCell.GUARDS_AT}], plan[{LaunchCell.GUARDS}]) >= 0:
        if plan[{LaunchCell.SKIPS}] != 0:
            ledger = ints(plan[{LaunchCell.LEDGER_AT}])
            ledger[{Cell.SKIPPED}] += 1
            answer = {SKIPPED}
        else:
            answer = -1 - refused(plan[{LaunchCell.GUARDED_AT}], plan[{LaunchCell.GUARDED}])
    return answer
"""
"""What becomes of a call after its first pass: the `answer` as it is, if nothing is refused."""
