"""Counting where the variables are: a GPU knows which calls are skipped, and the host does not wait.

The number of a call, and what follows from it, are then made on the GPU, by the clock that graphs use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .capture import capture_check, of_host
from .codegen import backends
from .codegen.backends.entries import Clock
from .codegen.backends.ledger import Ledger

if TYPE_CHECKING:
    from .options import Options
    from .settings import Settings
    from .state import State


def is_there(settings: Settings, state: State) -> bool:
    """Whether calls are counted on the one GPU where all variables are: the host need not know which are skipped.

    It has to where it decides what a call launches (accumulation, flags of the step), where it computes the learning
    rate of a call's number, and where its own Python follows.
    """
    rule, options = settings.rule, settings.options
    if options.nonfinite != "skip" or options.gradient_accumulation_steps is not None or rule.decided_by_step:
        return False
    if settings.constant is None or state.endings.constrained or of_host(rule):
        return False
    is_one = len({member.place for member in state.variables}) == 1
    return is_one and capture_check(state.variables) is not None


def clock_of(ledger: Ledger, state: State, options: Options) -> Clock:
    """What counts there; from now on the ledger follows it."""
    if ledger.clock is None:
        place = state.variables[0].place
        clock = backends.of(place).clock(place, ledger.calls, 1, options.backend)
        clock.set(ledger.calls, ledger.skipped)
        ledger.follow(clock, 1, [False] * len(state.variables))
    assert ledger.clock is not None
    return ledger.clock
