"""Moving: slots that are kept in something else from now on are copies, of which no call of another thread may miss.

Other changes of structure share the slots that both have. Where slots are converted, the ledger is closed before: a
call at work ends, and one that comes does nothing and tries again, until the new state is there, which has a ledger of
its own. The old one stays closed for whoever still has a call of the old state in hand.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING

from .calls import Calls
from .codegen import backends
from .codegen.backends.entries import Cell

if TYPE_CHECKING:
    from .rules.around import Rule
    from .state import State

_NAMES = itertools.count(1)
"""Names of those who close a ledger."""

MOVED = int(Cell.MOVED)


def is_moved(old: State, new: State) -> bool:
    """Whether slots in host memory are copies of what they were, made for another storage."""
    if new is old or new.ledger is not old.ledger or old.ledger.clock is not None:
        return False
    pairs = [(a.slots, b) for a, b in zip(old.variables, new.variables, strict=False) if b.place == "cpu"]
    return any(name in had and had[name] is not array for had, one in pairs for name, array in one.slots.items())


class Move:
    """A change of one optimizer's slots; the ledger is closed until `end`."""

    def __init__(self, rule: Rule, old: Calls, make: Callable[[Calls], Calls]) -> None:
        self._rule, self._old, self._make = rule, old, make
        self.name = next(_NAMES)
        self.cells = old.state.ledger.cells
        self.new: Calls | None = None

    def begin(self) -> None:
        """Close the ledger and make the new calls; none if another thread moves slots, or a call left something due."""
        ledger = self._old.state.ledger
        ledger.settle()
        ledger.wait_for_marked()
        if not backends.close(ledger, self.name):
            ledger.is_moved()  # it waits
        elif not ledger.due and not ledger.torn:
            made = self._make(self._old)
            state = dataclasses.replace(made.state, ledger=copy.copy(ledger))
            self.new = Calls(self._rule, made.settings, state)
