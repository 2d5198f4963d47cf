"""Joint: a step over several places; each has a launch of its own, and what is reduced over all tensors is joined here.

Python runs between the parts, so the ledger is marked while the step is under way.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .ledger import Ledger, Marks

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from .contract import Numbers, Part

    Int64 = npt.NDArray[np.int64]


class Joint:
    """A step on several places. A reduction over all tensors makes the host wait for each of them.

    parts: the launches; `tensors` says how many tensors each of them has.
    """

    def __init__(
        self, parts: Sequence[Part], tensors: Sequence[int], ledger: Ledger | None = None, marks: Marks | None = None
    ) -> None:
        self._parts, self._tensors = parts, tensors
        self._ledger, self._marks = ledger, marks
        self.depth = max((part.depth for part in parts), default=0)

    def prepared(self, gradients: Int64 | None, hypers: Numbers | None, like: Sequence[Any] | None = None) -> list[Any]:
        """What each part is brought by a call; gradients are in the order of the parts."""
        made, begin = [], 0
        for i, (part, count) in enumerate(zip(self._parts, self._tensors, strict=True)):
            own = None if gradients is None else gradients[begin : begin + count]
            made.append(part.prepared(own, hypers, None if like is None else like[i]))
            begin += count
        return made

    def __call__(self, prepared: Sequence[Any] | None = None, expected: int | None = None) -> bool:
        """Do the step, and count it if the ledger stands at `expected`; else do nothing and return False."""
        records = prepared or [None] * len(self._parts)
        if self._ledger is None or expected is None:
            self._run(records)
            return True
        with self._ledger.marked(expected) as is_there:
            if is_there:
                self._run(records)
                self._ledger.set_windows(self._marks)
        return is_there

    def _run(self, records: Sequence[Any]) -> None:
        for k in range(self.depth):
            for part, record in zip(self._parts, records, strict=True):
                part.run(k, record)
            if k < self.depth - 1:
                self._join(k)

    def _join(self, k: int) -> None:
        totals = [part.totals(k) for part in self._parts]
        reductions = {what: what.op for found in totals for what in found}
        for what, op in reductions.items():
            values = [found.get(what, op.identity) for found in totals]
            for i, part in enumerate(self._parts):
                others = functools.reduce(op.joined, values[:i] + values[i + 1 :], op.identity)
                part.join(k, what, functools.reduce(op.joined, values, op.identity), others)
