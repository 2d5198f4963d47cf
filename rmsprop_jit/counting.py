"""Counting where the variables are: a GPU knows which calls are skipped, and the host does not wait.

The number of a call, and what follows from it, are then made on the GPU, by the clock that graphs use. Under gradient
accumulation it depends on that number which step is due: the one that opens a window, one that goes on with it, or the
one that closes it. Each call launches all of them, and the GPU does the one that is due; the others read and write
nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .capture import capture_check, of_host
from .codegen import backends
from .codegen.backends.entries import Clock
from .codegen.backends.ledger import Ledger
from .errors import OptionError

if TYPE_CHECKING:
    from .options import Options
    from .settings import Settings
    from .state import State


def is_there(settings: Settings, state: State) -> bool:
    """Whether calls are counted on the one GPU where all variables are: the host need not know which are skipped.

    It has to where it decides what a call launches (flags of the step), where it computes the learning rate of a
    call's number, and where its own Python follows.
    """
    rule, options = settings.rule, settings.options
    if not options.skips or rule.decided_by_step:
        return False
    if rule.functions:  # outside, which must not be called with what is not finite
        return False
    if settings.constant is None or state.endings.constrained or of_host(rule):
        return False
    is_one = len({member.place for member in state.variables}) == 1
    return is_one and capture_check(state.variables) is not None


def clock_of(ledger: Ledger, state: State, options: Options) -> Clock:
    """What counts there; from now on the ledger follows it."""
    steps = options.gradient_accumulation_steps
    every, chooses = steps or 1, steps is not None
    if ledger.clock is not None and (ledger.clock.every, ledger.clock.chooses) != (every, chooses):
        if ledger.clock.calls() is None:
            raise OptionError(
                "what the GPU has counted cannot be asked while a stream is captured. Received: a first call after "
                "`gradient_accumulation_steps` was set. Call apply() outside of a graph once, before the capture."
            )
        ledger.leave()
    if ledger.clock is None:
        place = state.variables[0].place
        clock = backends.of(place).clock(place, ledger.calls, every, options.backend, chooses)
        clock.set(ledger.calls, ledger.skipped)
        ledger.follow(clock, every, [False] * len(state.variables))
    assert ledger.clock is not None
    return ledger.clock


def adds_up_for(ledger: Ledger, state: State, options: Options, given: bytes) -> bool:
    """Whether the clock's number says which windows are open: those of these variables (a byte of 1 for each), or none.

    Where it was asked for others before, the clock has to say how far their windows are, and is waited for. False
    while these are open, or only some are: then the host goes on until they are closed. Raises OptionError where a
    graph relies on them.
    """
    if ledger.opening == given:
        return True
    if ledger.is_in_graphs and ledger.opening is not None:
        raise OptionError(
            "calls with gradient accumulation and nonfinite='skip' were captured into a graph: all add up for the same "
            "variables then. Received: a call with gradients for others. Give each of those its gradient, or "
            "make a new optimizer and load this one's state_dict()."
        )
    every = options.gradient_accumulation_steps or 1
    is_open, windows = ledger.calls % every != 0, ledger.windows.astype(np.int8).tobytes()
    if windows != (given if is_open else bytes(len(given))):
        ledger.opening = None
        return False
    ledger.follow(clock_of(ledger, state, options), every, np.frombuffer(given, np.int8).tolist())
    ledger.opening = given
    return True
