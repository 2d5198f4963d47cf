"""Counting where the variables are: a GPU knows which calls are skipped, and the host does not wait.

The number of a call, and what follows from it, are then made on the GPU, by the clock that graphs use. Under gradient
accumulation it depends on that number which step is due: the one that opens a window, one that goes on with it, or the
one that closes it. Each call launches all of them, and the GPU does the one that is due; the others read and write
nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .capture import capture_check, of_host
from .codegen import backends
from .codegen.backends.entries import Clock
from .codegen.backends.ledger import Ledger
from .errors import OptionError
from .schedules import LearningRateSchedule

if TYPE_CHECKING:
    from .options import Options
    from .settings import Settings
    from .state import State


class Counted(NamedTuple):
    """Who counts calls.

    is_there:     whether the one GPU does where all variables are: the host need not know which are skipped.
    is_scheduled: whether it looks up the learning rate of each update, too, which a schedule gives.
    """

    is_there: bool = False
    is_scheduled: bool = False


BY_US = Counted()


def counted(settings: Settings, state: State) -> Counted:
    """Who counts calls. Raises OptionError for a learning rate that only the host could compute, call by call.

    The host counts, and waits in each call, where it decides what a call launches (flags of the step), where it
    computes other numbers from call to call (slots over all, rates of groups), and where its own Python follows.
    """
    rule, options = settings.rule, settings.options
    if not options.skips or rule.decided_by_step or state.endings.constrained or of_host(rule):
        return BY_US
    if rule.functions:  # outside, which must not be called with what is not finite
        return BY_US
    is_one = len({member.place for member in state.variables}) == 1
    if not is_one or capture_check(state.variables) is None:
        return BY_US
    if settings.constant is not None:
        return Counted(is_there=True)
    if "learning_rate" in settings.names:
        return BY_US
    rate = options.learning_rate
    if not isinstance(rate, LearningRateSchedule):
        raise OptionError(
            "with nonfinite='skip' a GPU counts the calls, and a function cannot be asked for the rate of a call whose "
            f"number the host does not know. Received: learning_rate={rate!r}. Pass a LearningRateSchedule, of which "
            "you can write a subclass; or a float, and assign `optimizer.learning_rate` between calls."
        )
    return Counted(is_there=True, is_scheduled=True)


def clock_of(ledger: Ledger, state: State, options: Options, by: Counted) -> Clock | None:
    """What counts there, which the ledger follows from now on; None where the host counts."""
    if not by.is_there:
        return None
    steps = options.gradient_accumulation_steps
    every, chooses = steps or 1, steps is not None
    old = ledger.clock
    if old is not None and (old.every, old.chooses, old.is_scheduled) != (every, chooses, by.is_scheduled):
        if old.calls() is None:
            raise OptionError(
                "what the GPU has counted cannot be asked while a stream is captured. Received: a first call after "
                "another option was set. Call apply() outside of a graph once, before the capture."
            )
        ledger.leave()
    if ledger.clock is None:
        place = state.variables[0].place
        clock = backends.of(place).clock(place, ledger.calls, every, options.backend, chooses, by.is_scheduled)
        clock.set(ledger.calls, ledger.skipped)
        ledger.follow(clock, every, [False] * len(state.variables))
    return ledger.clock


def rate_there(ledger: Ledger, options: Options) -> float:
    """See to it that the clock knows the rate of its next update; what is returned instead is never read.

    The schedule is asked for many updates at once, after the clock was asked how many calls were made. Whichever calls
    are skipped then, the clock finds the rate of each update's number. What the schedule raises of the next one is
    raised, and of a later one when it is the next.
    """
    clock = ledger.clock
    assert clock is not None
    if clock.ahead > 0 and clock.schedule is options.learning_rate:
        return 0.0
    calls, skipped = ledger.calls, ledger.skipped
    first, rates = options.update_of(calls), []
    for update in range(first, first + clock.horizon):
        try:
            rates.append(options.rate(update * clock.every - 1))  # of the call that is done as this update
        except Exception:
            if update == first:
                raise
            break
    clock.write_rates(calls, skipped, np.array([*rates, rates[-1]], np.float64), options.learning_rate)
    return 0.0


def adds_up_for(ledger: Ledger, clock: Clock, given: bytes) -> bool:
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
    is_open, windows = ledger.calls % clock.every != 0, ledger.windows.astype(np.int8).tobytes()
    if windows != (given if is_open else bytes(len(given))):
        ledger.opening = None
        return False
    ledger.follow(clock, clock.every, np.frombuffer(given, np.int8).tolist())
    ledger.opening = given
    return True
