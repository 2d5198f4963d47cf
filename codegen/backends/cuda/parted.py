"""Parted: a step on a GPU with functions outside, which CuPy runs between its kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...errors import OptionError
from ...outsides import name_of
from ...schedule import Turn
from ..contract import GRADIENT
from ..detours import first_write, refuse_nested
from .launch import Launch, Record

if TYPE_CHECKING:
    from ..entries import Marks
    from ..ledger import Ledger
    from .clock import Clock, Due
    from .tables import Table


class Parted(Launch):
    """A launch of which some table has functions outside; what they raise tears nothing.

    Raises OptionError for steps of a graph.
    """

    def __init__(
        self,
        tables: Sequence[Table],
        ledger: Ledger | None = None,
        marks: Marks | None = None,
        clock: Clock | Due | None = None,
        brought: Sequence[str] = GRADIENT,
    ) -> None:
        if clock is not None:
            called = next(detour for table in tables for kernel in table.program.kernels for detour in kernel.detours)
            raise OptionError(
                "a function outside runs in Python, with arrays of its own, and a graph repeats neither. "
                f"Received: outside({name_of(called.function)}, ...). Call apply() outside of a graph."
            )
        super().__init__(tables, ledger, marks, clock, brought)

    def follow(self, turns: Sequence[Turn]) -> None:
        """Run kernels in these turns."""
        super().follow(turns)
        self._writes = first_write(turns, [table.program for table in self.tables])

    def __call__(self, prepared: Record | None = None, expected: int | None = None) -> bool:
        """Do the step; False if none was done."""
        if self._ledger is None:
            return super().__call__(prepared, expected)
        refuse_nested(self._ledger)
        with self._ledger.lent:
            self.is_whole = True
            return super().__call__(prepared, expected)

    def _run(self, prepared: Record | None) -> list[int]:
        for turn in range(len(self._turns)):
            self.is_whole = turn < self._writes
            self.run(turn, prepared)
            if turn == 0 and self._guards and (refused := self.refused()):
                return refused
            if self.is_whole:
                self.take(turn)
        return []
