"""Copying: variables in bfloat16 for who computes with that, written by the updates themselves; of every optimizer."""

from __future__ import annotations

import dataclasses

from . import beside
from .calls import Calls
from .errors import OptionError
from .members import Members, Variables
from .stateless import Stateless


class Copying(Stateless):
    """How variables are copied in bfloat16."""

    def copy_to(self, copies: Variables | None) -> None:
        """Write the variables to these bfloat16 arrays, now and in the pass of each update from now on.

        copies: a dict by the variables' names, or a list of one, or None, for each variable; None for no copies.
                Each is an array of its variable's shape and place; the variables are float32.

        What is copied is rounded to the nearest bfloat16. Constraints, loading, and blocks of averaged weights write
        the copies, too; what is assigned to a variable by its owner they have after the next update. They are no
        state: saved states, pickles and deep copies are without them. Raises ArrayError before anything is written,
        OptionError for calls that are part of a CUDA graph already.
        """
        self._meet()
        if self._graph is not None:
            raise OptionError(
                "calls in a CUDA graph write what they wrote when it was captured. Received: copy_to() after that. "
                "Call it before the capture."
            )

        def with_copies(calls: Calls) -> Calls:
            calls.state.ledger.settle()
            members = beside.with_copies(calls.state.variables, copies)
            beside.show(members, calls.state.ledger)  # before they are anyone's: so whatever comes finds them written
            return self._with_state(calls, dataclasses.replace(calls.state, members=Members(members)))

        self._change(with_copies)
        beside.show(self._state.variables, self._state.ledger)  # if a call came between
