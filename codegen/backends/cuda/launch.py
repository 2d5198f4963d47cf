"""Launch: a step over tables of one GPU.

Launching looks at nothing that did not change: an unchanged step is one launch a kernel of the program, and one more
where something was reduced for it, however many tensors there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from ...expr import Reduction
from ...schedule import Turn, schedule
from ..contract import GRADIENT
from ..entries import Marks
from ..hypers import among_all, count_together, parts_of
from ..marked import Marked, guarded
from . import device
from .clock import Clock, Due
from .numbers import Ready
from .shape import BY_HOST, Ways
from .tables import Table

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..contract import Numbers
    from ..ledger import Ledger

    HostArray = npt.NDArray[Any]


PARTS = ("step", "join", "judge", "puts", "gathers")
"""Of a turn, the kernels of each table in this order, after those that make its numbers."""


class Record(NamedTuple):
    """What one call brings; none of it changes afterwards."""

    gradients: HostArray | None
    hypers: Numbers | Sequence[Numbers] | None


NOTHING = Record(None, None)


class Head(NamedTuple):
    """What a turn does of a table's k-th kernel first: `uniforms` makes its numbers, if there are any to be made.

    follows: whether they follow from what the step before has made, so that they are others in each.
    """

    table: Table
    k: int
    uniforms: Sequence[Ready]
    follows: bool


def _head(table: Table, k: int) -> Head:
    return Head(table, k, table.ready(f"uniforms_{k}"), bool(table.program.kernels[k].numbers))


class Launch:
    """A step over several tables of one GPU that belong together: reductions over all tensors run over all of them.

    clock: what counts the steps where the host does not: in a graph, or where a guard decides which are done. Each step
           then makes its numbers anew. It is `Due` for one of several launches of which the GPU does one, without a
           ledger; or, with one, for what is due of the call before.
    is_whole: whether a step that is under way has written nothing but scratch.
    """

    is_whole = False

    def __init__(
        self,
        tables: Sequence[Table],
        ledger: Ledger | None = None,
        marks: Marks | None = None,
        clock: Clock | Due | None = None,
        brought: Sequence[str] = GRADIENT,
    ) -> None:
        self.tables = list(tables)
        self._brought = brought
        count_together(self.tables)
        self._index = tables[0].index
        self._ledger, self._marks, self._clock = ledger, marks, clock
        self._shares = marks is not None and bool(marks.shared)
        guards = any(table.program.guard for table in tables)
        self._guards = guards and clock is None
        self._held: Record | None = None
        self._was_whole = False  # whether the last step came to its end: else it may not have made its numbers
        self._is_stale = True
        for table in tables:
            if clock is None:
                table.bind(tables, BY_HOST)
            else:
                is_chosen = isinstance(clock, Due)
                ways = Ways(True, guards or is_chosen, is_chosen, clock.columns)
                table.bind(tables, ways, clock.step_at, clock.verdict_at)
        self.follow(schedule([table.program for table in tables]))

    def follow(self, turns: Sequence[Turn]) -> None:
        """Run kernels in these turns."""
        self._turns = turns
        each = [[(self.tables[i], k) for i, k in turn.kernels] for turn in turns]
        steps = [[(table, f"{part}_{k}") for table, k in own for part in PARTS] for own in each]
        self._starts = [[ready.start for table, name in own for ready in table.ready(name)] for own in steps]
        self._heads = [[_head(table, k) for table, k in own] for own in each]

    def prepared(
        self, gradients: HostArray | None, hypers: Numbers | Sequence[Numbers] | None, like: Record | None = None
    ) -> Record:
        """What a call brings: an address for each tensor of each table, and the step's numbers, or each table's."""
        old = like or NOTHING
        addresses = old.gradients if gradients is None else gradients.copy()
        return Record(addresses, old.hypers if hypers is None else hypers)

    def dated(self, like: Record, rate: float, update: int) -> None:
        """Never: the host sends numbers, or the GPU makes all of them."""

    def __call__(self, prepared: Record | None = None, expected: int | None = None) -> bool:
        """Do the step, or (with a clock, while the current stream is captured) record it; False if none was done."""
        if self._ledger is None:
            self._run(prepared)
            return True
        if isinstance(self._clock, Clock):
            return self._by_clock(self._clock, self._ledger, prepared)
        hypers = None if prepared is None or not self._shares else prepared.hypers
        mark = Marked(self._ledger, expected, self._marks, cast("Numbers | None", hypers), self)
        if self._guards:
            return guarded(mark, self._marks or Marks(), lambda: self._run(prepared))
        with mark as is_there:
            if is_there:
                self._run(prepared)
        return is_there

    def _by_clock(self, clock: Clock, ledger: Ledger, prepared: Record | None) -> bool:
        """Do the step, which the clock counts."""
        if device.is_capturing():  # nothing can be torn before the graph runs
            ledger.refuse_torn()
            self._run(prepared)
            ledger.set_progress(self._marks)
            return True
        with Marked(ledger, None) as is_there:
            if is_there:
                self._run(prepared)
                clock.tick(is_guarded=True)
        return is_there

    def _run(self, prepared: Record | None) -> list[int]:
        """Do the step; or, if a guard refuses tensors, no more than its first turn, and say which."""
        with (
            device.use(self._index),
            device.ordered(self._index),
        ):  # once: torch's stream waits for nothing between turns
            for turn in range(len(self._turns)):
                self._start(turn, prepared)
                if turn == 0 and self._guards and (refused := self.refused()):
                    return refused
        return []

    def take(self, turn: int) -> None:
        """Call the functions outside that a turn has stored elements for, on the stream of its kernels."""
        called = self._turns[turn].detours([table.program for table in self.tables])
        if called:
            with device.use(self._index), device.ordered(self._index):
                for i, k in called:
                    self.tables[i].take(k)

    def refused(self) -> list[int]:
        """The tensors that a guard refuses, when the first turn is over; waits for the GPU."""
        return among_all([table.tensors for table in self.tables], [table.refused() for table in self.tables])

    def _receive(self, prepared: Record | None) -> None:
        """Put what a call brings into the tables, unless they hold it already."""
        if prepared is None or prepared is self._held:
            return
        held = self._held or NOTHING
        self._held = None  # until all of it is there
        if prepared.hypers is not None and prepared.hypers is not held.hypers:
            for table, own in parts_of(prepared.hypers, self.tables):
                table.set(own)
        if prepared.gradients is not None and prepared.gradients is not held.gradients:
            begin = 0
            for table in self.tables:
                for array, addresses in zip(self._brought, np.atleast_2d(prepared.gradients), strict=True):
                    if array in table.program.brought:
                        table.point(array, addresses[begin : begin + table.tensors])
                begin += table.tensors
        self._held = prepared

    def send(self, hypers: Numbers) -> None:
        """Give a step that is part of a graph new numbers; they hold for every launch of the graph from now on."""
        with device.use(self._index):
            for table, own in parts_of(hypers, self.tables):
                table.set(own)
                table.send()

    def run(self, turn: int, prepared: Record | None = None) -> None:
        """Start the kernels of one turn."""
        with device.use(self._index), device.ordered(self._index):
            self._start(turn, prepared)

    def _start(self, turn: int, prepared: Record | None) -> None:
        """The same where the device is current, and streams are in order."""
        if turn == 0:
            self._is_stale, self._was_whole = not self._was_whole, False
            self._receive(prepared)
        for table, k, uniforms, follows in self._heads[turn]:
            changed = k > 0 or table.send()
            if changed or follows or self._is_stale or self._clock is not None:
                for one in uniforms:
                    one.start()
        for start in self._starts[turn]:
            start()
        self._was_whole = turn == len(self._turns) - 1

    @property
    def turns(self) -> int:
        """How many turns a step takes."""
        return len(self._turns)

    def totals(self, turn: int) -> dict[Reduction, float]:
        """What is reduced over all tensors of this device when a turn is over; waits for the GPU."""
        shares = {w: [t.total_of(w) for t in self.tables if w in t.reduced] for w in self._turns[turn].joins}
        return {what: what.op.joined(parts) for what, parts in shares.items() if parts}

    def join(self, what: Reduction, everyone: float, others: float) -> None:
        """Take over a reduction over the tensors of all devices."""
        with device.use(self._index):
            for table in self.tables:
                if what in table.reduced:
                    table.join(what, others)
