"""Choice: several kinds of steps, all of them launched in each call, of which the GPU does the one that is due."""

from __future__ import annotations

from collections.abc import Sequence

from ..entries import Marks
from ..ledger import Ledger
from ..marked import Marked
from . import device
from .clock import Clock
from .launch import Launch, Record


class Choice:
    """A call of which only the GPU knows which step it is, since only there it is known which were skipped.

    launches: one for each kind of step, without a ledger; each sees of the clock whether it is due, and else reads and
              writes nothing. The call is marked as a whole: no kind of step is done without being counted.
    marks:    what is due when it was done as an update; until that is done, no call is.
    """

    def __init__(self, launches: Sequence[Launch], ledger: Ledger, clock: Clock, marks: Marks | None = None) -> None:
        self._launches, self._ledger, self._clock, self._marks = launches, ledger, clock, marks

    def __call__(self, prepared: Sequence[Record]) -> bool:
        """Do the step that is due, and let the clock count it; during a capture, record all of them."""
        if device.is_capturing():  # nothing can be torn before the graph runs, and the graph has its own tick
            self._ledger.refuse_torn()
            self._run(prepared)
            return True
        with Marked(self._ledger, None) as is_there:
            is_next = is_there and not self._ledger.due
            if is_next:
                self._run(prepared)
                self._clock.tick(is_guarded=True)
                self._ledger.owe(self._marks)
        return is_next

    def _run(self, prepared: Sequence[Record]) -> None:
        for launch, record in zip(self._launches, prepared, strict=True):
            launch(record)
