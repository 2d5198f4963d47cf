"""Counting where the variables are: a GPU knows which calls are skipped, and the host does not wait.

The number of a call, and what follows from it, are then made on the GPU, by the clock that graphs use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .capture import capture_check
from .codegen import backends
from .codegen.backends.entries import Clock
from .codegen.backends.ledger import Ledger
from .errors import OptionError
from .rules.around import Rule

if TYPE_CHECKING:
    from .options import Options
    from .settings import Rates, Settings
    from .state import State


def is_there(rule: Rule, options: Options, state: State) -> bool:
    """Whether calls are counted on the one GPU where all variables are: the host need not know which are skipped.

    It has to where it decides what a call launches (accumulation, flags of the step), and where its own Python follows.
    """
    if options.nonfinite != "skip" or options.gradient_accumulation_steps is not None or rule.decided_by_step:
        return False
    of_host = any(slot.over == "all" and name not in rule.gathered for name, slot in rule.slots.items())
    is_one = len({member.place for member in state.variables}) == 1
    return is_one and capture_check(state.variables) is not None and not of_host and not state.endings.constrained


def clock_of(ledger: Ledger, state: State, options: Options) -> Clock:
    """What counts there; from now on the ledger follows it."""
    if ledger.clock is None:
        place = state.variables[0].place
        clock = backends.of(place).clock(place, ledger.calls, 1, options.backend)
        clock.set(ledger.calls, ledger.skipped)
        ledger.follow(clock, 1, [False] * len(state.variables))
    assert ledger.clock is not None
    return ledger.clock


def rate_of(settings: Settings) -> float | Rates:
    """The learning rate, if it is a number. Raises OptionError for what only the host can compute."""
    if settings.constant is None:
        rate = next(one for one in settings.sources if not isinstance(one, float))
        raise OptionError(
            "a learning rate that the host computes has to know how many calls were done, and with nonfinite='skip' "
            f"the GPU counts them. Received: learning_rate={rate!r}. Assign a float between calls, or set "
            "nonfinite='raise', which waits for the GPU."
        )
    return settings.constant
