"""Joint: a step over several places; each has a launch of its own, and what is reduced over all tensors is joined here.

Python runs between the parts, so the ledger is marked while the step is under way.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import BackendError
from ..expr import Reduction
from ..schedule import schedule
from .detours import first_write, refuse_nested
from .entries import Marks
from .hypers import among_all, count_together, cut_of
from .ledger import Ledger
from .marked import Marked, guarded

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from .contract import Numbers, Part

    Int64 = npt.NDArray[np.int64]


class Joint:
    """A step on several places. A reduction over all tensors makes the host wait for each of them.

    parts:    the launches; `tensors` says how many tensors each of them has.
    is_whole: whether a step that is under way has written nothing but scratch.
    """

    def __init__(
        self, parts: Sequence[Part], tensors: Sequence[int], ledger: Ledger | None = None, marks: Marks | None = None
    ) -> None:
        self._parts, self._tensors = parts, tensors
        self._ledger, self._marks = ledger, marks
        tables = [table for part in parts for table in part.tables]
        count_together(tables)
        programs = [table.program for table in tables]
        self._turns = schedule(programs)
        self._writes = first_write(self._turns, programs) if any(program.scratch for program in programs) else 0
        self.is_whole = False
        ends = itertools.accumulate((len(part.tables) for part in parts), initial=0)
        for part, (first, last) in zip(parts, itertools.pairwise(ends), strict=True):
            part.follow([turn.of(first, last) for turn in self._turns])

    def prepared(
        self, gradients: Int64 | None, hypers: Numbers | Sequence[Numbers] | None, like: Sequence[Any] | None = None
    ) -> list[Any]:
        """What each part is brought by a call, and its numbers; gradients are in the order of the parts."""
        made: list[Any] = []
        begin = first = 0
        for i, (part, count) in enumerate(zip(self._parts, self._tensors, strict=True)):
            own = None if gradients is None else gradients[..., begin : begin + count]
            last = first + len(part.tables)
            numbers: Numbers | Sequence[Numbers] | None = None
            if hypers is not None:
                numbers = cut_of(hypers, begin, count) if isinstance(hypers, Mapping) else hypers[first:last]
            made.append(part.prepared(own, numbers, None if like is None else like[i]))
            begin, first = begin + count, last
        return [*made, hypers if hypers is not None or like is None else like[-1]]

    def dated(self, like: Sequence[Any], rate: float, update: int) -> None:
        """Never: numbers are prepared for all places at once."""

    def send(self, hypers: Numbers) -> None:
        """Never called: a graph is of one place."""
        raise BackendError("a graph is of one GPU. Received: a step over several places. Use an optimizer for each.")

    def __call__(self, prepared: Sequence[Any] | None = None, expected: int | None = None) -> bool:
        """Do the step, and count it if the ledger stands at `expected`; else do nothing and return False."""
        *records, numbers = prepared or [None] * (len(self._parts) + 1)
        if self._ledger is None:
            self._run(records)
            return True
        if not self._writes:
            return self._done(self._ledger, records, numbers, expected)
        refuse_nested(self._ledger)
        with self._ledger.lent:
            self.is_whole = True
            return self._done(self._ledger, records, numbers, expected)

    def _done(self, ledger: Ledger, records: Sequence[Any], numbers: Any, expected: int | None) -> bool:
        mark = Marked(ledger, expected, self._marks, numbers, self)
        return guarded(mark, self._marks or Marks(), lambda: self._run(records))

    def _run(self, records: Sequence[Any]) -> list[int]:
        """Do the step; or, if a guard refuses tensors, no more than its first turn, and say which."""
        for i, turn in enumerate(self._turns):
            self.is_whole = i < self._writes
            for part, record in zip(self._parts, records, strict=True):
                part.run(i, record)
            for part in self._parts if self.is_whole else ():
                part.take(i)
            if i == 0 and (refused := self._refused()):
                return refused
            totals = [part.totals(i) for part in self._parts] if turn.joins else []
            for what in turn.joins:
                self._join(what, [found.get(what, what.op.identity) for found in totals])
        return []

    def _refused(self) -> list[int]:
        """The tensors that a guard refuses, in the order of the parts."""
        return among_all(self._tensors, [part.refused() for part in self._parts])

    def _join(self, what: Reduction, values: list[float]) -> None:
        for i, part in enumerate(self._parts):
            part.join(what, what.op.joined(values), what.op.joined(values[:i] + values[i + 1 :]))
