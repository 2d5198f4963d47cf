"""Chosen: a kind of call that launches several kinds of steps, of which the GPU does the one that is due."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .arrays.homes import Array, Int64
from .buckets import Buckets, Part
from .codegen import backends
from .codegen.backends.entries import Clock
from .codegen.backends.ledger import Ledger
from .members import Member
from .plan import UNBOUND, Bound, Call, decays, step_and_rest
from .rules.around import Rule, step_of

if TYPE_CHECKING:
    from .codegen.backends.contract import BackendOptions, Read
    from .settings import Rates, Settings


Kind = Call | tuple[Call, ...]
"""A kind of call, or what it may be in the places of a window: see `places`."""


def places(last: Call) -> tuple[Call, ...]:
    """The calls that open a window, go on with it and close it, of the one that closes it."""
    return last._replace(micro=True, windows=(False,) * len(last.windows)), last._replace(micro=True), last


def chosen(
    rule: Rule,
    members: Sequence[Member],
    calls: tuple[Call, ...],
    options: BackendOptions,
    ledger: Ledger,
    clock: Clock | None,
    *others: Any,
) -> Chosen:
    """What such calls launch; of windows of two calls, none goes on with any."""
    assert clock is not None
    steps = [*zip(calls, clock.kinds, strict=True)]
    return Chosen(rule, members, steps if clock.every > 2 else steps[::2], options, ledger, clock, *others)


class Chosen:
    """What such a call launches, as a `Plan` is of calls of which the host knows the step.

    calls: what each step does, with what it sees of the clock; no variable has a constraint.
    """

    micro = False

    def __init__(
        self,
        rule: Rule,
        members: Sequence[Member],
        calls: Sequence[tuple[Call, Any]],
        options: BackendOptions,
        ledger: Ledger,
        clock: Clock,
        shared: Mapping[str, Array],
        part: Callable[[Part], Part],
    ) -> None:
        self._steps = [
            Buckets(
                rule,
                members,
                step_and_rest(rule, members, call)[1],
                options,
                decays(call),
                clock=due,
                shared=shared,
                part=part(step_of),
            )
            for call, due in calls
        ]
        self._launch = backends.of(members[0].place).choice([step.launch for step in self._steps], ledger, clock)
        self.dtypes = calls[0][0].gradients
        self.bound = UNBOUND

    def prepared(
        self,
        passed: list[Any],
        read: Read | None,
        addresses: Int64 | None,
        settings: Settings,
        rate: float | Rates,
        update: int,
        old: Bound = UNBOUND,
    ) -> Bound:
        """What a call runs on; what did not change is that of `old`. The clock knows which update it is."""
        numbers = settings, rate
        if old.numbers == numbers and addresses is None:
            return old
        hypers = None if old.numbers == numbers else settings.numbers(rate, update)
        held = old.step or [None] * len(self._steps)
        steps = [step.prepared(addresses, hypers, like) for step, like in zip(self._steps, held, strict=True)]
        return Bound(passed, read, numbers, steps, None)

    def send_numbers(self, hypers: Mapping[str, Any]) -> None:
        """Give a call that is part of a graph new numbers; they hold for every launch of the graph from now on."""
        for step in self._steps:
            step.send(hypers)

    def run(self, bound: Bound, calls: int | None) -> bool:
        """Do the step that is due, which the clock counts; in a graph, record all of them. `calls` is None."""
        if not self._launch(bound.step):
            return False
        self.bound = bound
        return True
