"""Rests: what is due of a call when it has been counted: its variables' constraints, then their averages."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from . import beside
from .codegen import backends
from .codegen.backends.entries import Clock, Marks
from .codegen.backends.ledger import Ledger
from .constraints import constrained
from .versions import count

if TYPE_CHECKING:
    from .buckets import Buckets
    from .members import Member

_NUMBERS = itertools.count(1)
"""Of rests, so that the ledger can say which of them knows what is due."""

ENDS_DUE = Marks(ends_due=True)


class Rest:
    """What is due of calls of one kind.

    due:   the positions of the variables that have a constraint, which `number` is told by.
    after: the averages of these, with `ENDS_DUE` as their marks; None if there are none.
    clock: what counts such calls on a GPU and knows which were done. Nobody waits for it: constraints are asked as if
           the call was done, and if it was not, what they return is not taken.
    """

    def __init__(
        self,
        members: Sequence[Member],
        due: Sequence[int],
        ledger: Ledger,
        after: Buckets | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._constrained = [(position, members[position]) for position in due]
        self._ledger, self._clock = ledger, clock
        self.due, self.number = due, next(_NUMBERS)
        self.after = after

    def expect(self, call: int, record: Any) -> None:
        """Before the call of this number, by which it is due: `record` is what averages are prepared for."""
        self._ledger.expect(call, self.number, functools.partial(self._settle, record))

    def _settle(self, record: Any, call: int) -> None:
        """Do what is due of a counted call: constraints that were not applied yet, then averages."""
        for position, member in self._constrained:
            cell = self._ledger.due_cell(position)
            if self._ledger.cells[cell] == call:
                value = constrained(member)
                count([member])
                replace = backends.of(member.place).replace if self._clock is None else self._clock.replace
                replace(self._ledger, beside.pairs(member, value, keeps_error=True), cell, call)
        if self.after is None:
            backends.end_due(self._ledger, call)
        else:
            self.after.run(record, call)

    def record(self, record: Any) -> None:
        """Make constraints and averages part of the graph that is being captured."""
        for _, member in self._constrained:
            value = constrained(member, is_recording=True)
            for target, source in beside.pairs(member, value, keeps_error=True):
                member.home.write(target.array, source.array)
        if self.after is not None:
            self.after.run(record)
