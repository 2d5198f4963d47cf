"""Counting where the variables are: a GPU knows which calls are skipped, and the host does not wait.

The number of a call, and what follows from it, are then made on the GPU, by the clock that graphs use. Under gradient
accumulation it depends on that number which step is due: the one that opens a window, one that goes on with it, or the
one that closes it; so it does where a rule has several kinds of steps. Each call launches all of them, and the GPU does
the one that is due; the others read and write nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .ahead import Ahead, columns_of, has_kinds
from .capture import capture_check, of_host
from .codegen import backends
from .codegen.backends.entries import Clock, Counts
from .codegen.backends.ledger import Ledger
from .errors import OptionError
from .flags import FIRST
from .schedules import LearningRateSchedule

if TYPE_CHECKING:
    from .options import Options
    from .plan import AnyPlan
    from .rules.around import Rule
    from .settings import Settings
    from .state import State


class Counted(NamedTuple):
    """Who counts calls.

    is_there: whether the one GPU does where all variables are: the host need not know which are skipped.
    chooses:  whether it chooses among several steps that each call launches.
    columns:  what it finds in a row for each update, which the host works out ahead; `width`: the row's numbers.
    """

    is_there: bool = False
    chooses: bool = False
    columns: tuple[str, ...] = ()
    width: int = 0


BY_US = Counted()


def counted(settings: Settings, state: State) -> Counted:
    """Who counts calls. Raises OptionError for a learning rate that only the host could compute, call by call.

    The host counts, and waits in each call, where its own Python comes between launches (functions outside, which must
    not be called with what is not finite), and where it has to know of a call whether it brings what its step reads.
    """
    rule, options = settings.rule, settings.options
    if not options.skips or rule.functions or (has_kinds(rule) and rule.inputs):
        return BY_US
    is_one = len({member.place for member in state.variables}) == 1
    if not is_one or capture_check(state.variables) is None:
        return BY_US
    for rate in settings.sources:
        if not isinstance(rate, float | LearningRateSchedule):
            raise OptionError(
                "with nonfinite='skip' a GPU counts the calls, and a function cannot be asked for the rate of a call "
                f"whose number the host does not know. Received: learning_rate={rate!r}. Pass a LearningRateSchedule, "
                "of which you can write a subclass; or a float, and assign `optimizer.learning_rate` between calls."
            )
    accumulates = options.gradient_accumulation_steps is not None
    chooses = accumulates or has_kinds(rule) or bool(state.endings.constrained)
    if settings.constant is not None and not has_kinds(rule) and not of_host(rule):
        return Counted(True, chooses)
    columns = columns_of(rule)
    return Counted(True, chooses, columns, len(columns) + len(settings.kinds))


def clock_of(ledger: Ledger, state: State, options: Options, by: Counted) -> Clock | None:
    """What counts there, which the ledger follows from now on; None where the host counts."""
    if not by.is_there:
        return None
    old = ledger.clock
    if old is not None and old.counts != counts_of(options, by):
        if old.calls() is None:
            raise OptionError(
                "what the GPU has counted cannot be asked while a stream is captured. Received: a first call after "
                "another option was set. Call apply() outside of a graph once, before the capture."
            )
        ledger.leave()
    if ledger.clock is None:
        clock = new_clock(state.variables[0].place, ledger, options, by)
        ledger.follow(clock, clock.counts.every, [False] * len(state.variables))
    return ledger.clock


def counts_of(options: Options, by: Counted) -> Counts:
    """How a clock counts such calls."""
    return Counts(options.gradient_accumulation_steps or 1, by.chooses, by.columns, by.width)


def new_clock(place: str, ledger: Ledger, options: Options, by: Counted = BY_US) -> Clock:
    """A clock of what this ledger has counted; where it is for graphs alone, one that chooses nothing."""
    clock = backends.of(place).clock(place, ledger.calls, counts_of(options, by), options.backend)
    clock.set(ledger.calls, ledger.skipped)
    return clock


def is_known(ledger: Ledger, settings: Settings, by: Counted) -> bool:
    """Whether the clock has a row for the next update, if it has to find one."""
    if not by.columns:
        return True
    clock = ledger.clock
    return clock is not None and clock.ahead > 0 and clock.known.is_of(settings.rule, settings)


def ahead_of(ledger: Ledger, settings: Settings, by: Counted) -> Ahead | None:
    """What is known of the next update and of later ones, if that is asked for: what the clock has, or what it shall.

    The latter is worked out for many updates at once, after the clock was asked how many calls were made.
    """
    clock = ledger.clock
    if clock is None or not by.columns:
        return None
    if is_known(ledger, settings, by):
        found: Ahead = clock.known
        return found
    calls = ledger.calls  # before what it skipped
    return Ahead(settings.rule, settings, clock, calls, ledger.skipped)


def send_ahead(ledger: Ledger, ahead: Ahead | None, plan: AnyPlan, state: State) -> None:
    """See to it that the clock has these rows."""
    clock = ledger.clock
    if ahead is not None and clock is not None and clock.known is not ahead:
        ahead.send(clock, plan.shared, state.shared)


def waits_for_first(rule: Rule, ledger: Ledger, given: Sequence[bool]) -> bool:
    """Whether a call may be the first update of some variables, which the host has to know."""
    return FIRST in rule.decided_by_step and bool((np.array(given, bool) & (ledger.started == 0)).any())


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
    is_open, windows = ledger.calls % clock.counts.every != 0, ledger.windows.astype(np.int8).tobytes()
    if windows != (given if is_open else bytes(len(given))):
        ledger.opening = None
        return False
    ledger.follow(clock, clock.counts.every, np.frombuffer(given, np.int8).tolist())
    ledger.opening = given
    return True
