"""Launch: a step over tables of one GPU; and Clock, which counts steps where the host does not.

Launching looks at nothing that did not change: an unchanged step is one launch a kernel of the program, and one more
where something was reduced for it, however many tensors there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...expr import Reduction
from ...schedule import Turn, schedule
from ..contract import GRADIENT
from ..entries import Marks
from ..hypers import among_all, count_together, parts_of
from ..marked import Marked, guarded
from . import device, frame
from .tables import Table
from .uploads import UPLOADS

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..contract import Numbers
    from ..ledger import Ledger

    HostArray = npt.NDArray[Any]


class Clock:
    """Counts calls on a GPU, for steps that a graph repeats without the host.

    every: calls of one update. `step_at` is where kernels find the number of the present update, from 1; `verdict_at`
    where they find 0 if a guard has refused the present call, else 1.0.
    """

    def __init__(self, index: int, calls: int, every: int, compiler: str | None = None) -> None:
        self._index, self._every, self._compiler = index, every, compiler
        with device.use(index):
            self._ticks = {False: device.loaded(frame.TICK, compiler, index)}
            self._memory = device.empty_bytes(32)
        self._at = int(self._memory.data.ptr)
        self.step_at, self.verdict_at = self._at + 8, self._at + 24
        self.set(calls)

    def set(self, calls: int, skipped: int = 0) -> None:
        """Let so many calls have been made, and skipped; at once, even during a capture."""
        with device.use(self._index):
            UPLOADS.copy(self._memory, np.array([calls, calls // self._every + 1, skipped, 1], np.float64))

    def tick(self, is_guarded: bool = False) -> None:
        """Count a call, or (while the stream is captured) record that it is counted; if guarded, by the verdict."""
        with device.use(self._index):
            if is_guarded and True not in self._ticks:
                self._ticks[True] = device.loaded(frame.TICK_GUARDED, self._compiler, self._index)
            self._ticks[is_guarded](1, self._at, self._every)

    def calls(self) -> int | None:
        """The calls made; waits for the GPU, whatever stream graphs were launched on. None during a capture."""
        if device.is_capturing():
            return None
        device.wait_for(self._index)
        return int(device.fetch(self._memory).view(np.float64)[0])

    def skipped(self) -> int:
        """The calls that were refused; waits for the GPU."""
        return int(device.fetch(self._memory).view(np.float64)[2])


PARTS = ("step", "judge", "puts", "gathers")
"""Of a turn, the kernels of each table in this order, after those that make its numbers."""


@dataclass(frozen=True)
class Record:
    """What one call brings."""

    gradients: HostArray | None
    hypers: Numbers | Sequence[Numbers] | None


class Launch:
    """A step over several tables of one GPU that belong together: reductions over all tensors run over all of them.

    clock: what counts the steps where the host does not: in a graph, or where a guard decides which are done. Each step
           then makes its numbers anew.
    """

    def __init__(
        self,
        tables: Sequence[Table],
        ledger: Ledger | None = None,
        marks: Marks | None = None,
        clock: Clock | None = None,
        brought: Sequence[str] = GRADIENT,
    ) -> None:
        self.tables = list(tables)
        self._brought = brought
        count_together(self.tables)
        self._index = tables[0].index
        self._ledger, self._marks, self._clock = ledger, marks, clock
        guards = any(table.program.guard for table in tables)
        self._guards = guards and clock is None
        self._held: Record | None = None
        self._was_whole = False  # whether the last step came to its end: else it may not have made its numbers
        self._is_stale = True
        for table in tables:
            verdict = clock.verdict_at if clock is not None and guards else None
            table.bind(tables, None if clock is None else clock.step_at, verdict)
        self.follow(schedule([table.program for table in tables]))

    def follow(self, turns: Sequence[Turn]) -> None:
        """Run kernels in these turns."""
        self._turns = turns
        steps = [[(self.tables[i], f"{part}_{k}") for i, k in turn.kernels for part in PARTS] for turn in turns]
        self._starts = [[ready.start for table, name in each for ready in table.ready(name)] for each in steps]

    def prepared(
        self, gradients: HostArray | None, hypers: Numbers | Sequence[Numbers] | None, like: Record | None = None
    ) -> Record:
        """What a call brings: an address for each tensor of each table, and the step's numbers, or each table's."""
        old, own = like or Record(None, None), hypers
        if hypers is not None:
            own = {**hypers} if isinstance(hypers, Mapping) else [{**one} for one in hypers]
        return Record(old.gradients if gradients is None else gradients.copy(), old.hypers if own is None else own)

    def __call__(self, prepared: Record | None = None, expected: int | None = None) -> bool:
        """Do the step, or (with a clock, while the current stream is captured) record it; False if none was done."""
        if self._ledger is None:
            self._run(prepared)
            return True
        if self._clock is not None and device.is_capturing():  # nothing can be torn before the graph runs
            self._ledger.refuse_torn()
            self._run(prepared)
            self._ledger.set_progress(self._marks)
            return True
        if self._clock is not None:
            with Marked(self._ledger, None) as is_there:
                if is_there:
                    self._run(prepared)
                    self._clock.tick(is_guarded=True)
            return is_there
        hypers = None if prepared is None or not isinstance(prepared.hypers, Mapping) else prepared.hypers
        mark = Marked(self._ledger, expected, self._marks, hypers)
        if self._guards:
            return guarded(mark, self._marks or Marks(), lambda: self._run(prepared))
        with mark as is_there:
            if is_there:
                self._run(prepared)
        return is_there

    def _run(self, prepared: Record | None) -> list[int]:
        """Do the step; or, if a guard refuses tensors, no more than its first turn, and say which."""
        for turn in range(len(self._turns)):
            self.run(turn, prepared)
            if turn == 0 and self._guards and (refused := self.refused()):
                return refused
        return []

    def refused(self) -> list[int]:
        """The tensors that a guard refuses, when the first turn is over; waits for the GPU."""
        return among_all([table.tensors for table in self.tables], [table.refused() for table in self.tables])

    def _receive(self, prepared: Record | None) -> None:
        """Put what a call brings into the tables, unless they hold it already."""
        if prepared is None or prepared is self._held:
            return
        held = self._held or Record(None, None)
        self._held = None  # until all of it is there
        if prepared.hypers is not None and prepared.hypers is not held.hypers:
            for table, own in parts_of(prepared.hypers, self.tables):
                table.set(own)
        begin = 0
        for table in self.tables:
            if prepared.gradients is not None and prepared.gradients is not held.gradients:
                for array, addresses in zip(self._brought, np.atleast_2d(prepared.gradients), strict=True):
                    if array in table.program.brought:
                        table.point(array, addresses[begin : begin + table.tensors])
            begin += table.tensors
        self._held = prepared

    def send(self, hypers: Numbers) -> None:
        """Give a step that is part of a graph new numbers; they hold for every launch of the graph from now on."""
        for table, own in parts_of(hypers, self.tables):
            table.set(own)
            table.send()

    def run(self, turn: int, prepared: Record | None = None) -> None:
        """Start the kernels of one turn."""
        if turn == 0:
            self._is_stale, self._was_whole = not self._was_whole, False
            self._receive(prepared)
        with device.use(self._index), device.ordered(self._index):
            for i, k in self._turns[turn].kernels:
                changed = k > 0 or self.tables[i].send()
                changed |= bool(self.tables[i].program.kernels[k].numbers)  # which the step before has made
                if changed or self._is_stale or self._clock is not None:
                    for uniforms in self.tables[i].ready(f"uniforms_{k}"):
                        uniforms.start()
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
