"""Chosen: a kind of call that launches several kinds of steps, of which the GPU does the one that is due."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .arrays.homes import Array, Int64
from .buckets import Buckets, Part
from .codegen import backends
from .codegen.backends.entries import Clock, Marks
from .codegen.backends.ledger import Ledger
from .duties import Call, decays, step_and_rest
from .members import Member
from .plan import UNBOUND, Bound, rest_of
from .rules.around import Rule, step_of
from .versions import counted

if TYPE_CHECKING:
    from .codegen.backends.contract import BackendOptions, Read
    from .flags import Flags
    from .settings import Rates, Settings
    from .shared import Shared


MICRO = 2
"""The first of `places`, which only add up."""

Kind = Call | tuple[Call, ...]
"""A kind of call, or what it may be in the places of a window and by the step's number: see `places`."""


def places(last: Call, kinds: Sequence[tuple[Flags, ...]], with_due: Callable[[Any], tuple[Flags, ...]]) -> Kind:
    """The calls that open a window and go on with it, then those that close it, one for each of `kinds`.

    last: a call that closes a window, without what the step decides. `with_due`: the flags of each variable then.
    """
    opens = last._replace(micro=True, windows=(False,) * len(last.windows))
    closing = [last._replace(flags=last.flags | due[0], own=with_due(due)) for due in kinds]
    return opens, last._replace(micro=True), *closing


def chosen(
    rule: Rule,
    members: Sequence[Member],
    calls: tuple[Call, ...],
    options: BackendOptions,
    ledger: Ledger,
    clock: Clock | None,
    *others: Any,
) -> Chosen:
    """What such calls launch; of windows of two calls, none goes on with any, and one call alone closes its own."""
    assert clock is not None
    steps = [*zip(calls, clock.kinds(len(calls) - MICRO), strict=True)]
    micro = steps[: min(clock.counts.every - 1, MICRO)]
    return Chosen(rule, members, [*micro, *steps[MICRO:]], len(micro), options, ledger, clock, *others)


class Chosen:
    """What such a call launches, as a `Plan` is of calls of which the host knows the step.

    calls: what each step does, with what it sees of the clock; so many of them only add up.
    """

    micro = False

    def __init__(
        self,
        rule: Rule,
        members: Sequence[Member],
        calls: Sequence[tuple[Call, Any]],
        micro: int,
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
        self._last, self._ledger = self._steps[micro:], ledger
        last = calls[-1][0]
        updated, _, after = step_and_rest(rule, members, last)
        self._rest = rest_of(rule, members, last, updated, after, options, ledger, part(step_of), clock.done, clock)
        marks = Marks(due=self._rest.due, by=self._rest.number)
        launches = [step.launch for step in self._steps]
        launch = backends.of(members[0].place).choice(launches, ledger, clock, marks)
        self._launch = counted(launch, self._last[0].written)
        self.dtypes = calls[0][0].gradients
        self.bound = UNBOUND

    @property
    def shared(self) -> Sequence[Shared]:
        """What makes slots over all on the host, of each kind of step that ends an update."""
        return [step.shared for step in self._last]

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
        after = self._rest.after and self._rest.after.prepared(None, hypers, old.after)
        return Bound(passed, read, numbers, steps, after)

    def send_numbers(self, hypers: Mapping[str, Any]) -> None:
        """Give a call that is part of a graph new numbers; they hold for every launch of the graph from now on."""
        for step in self._steps:
            step.send(hypers)

    def run(self, bound: Bound, calls: int | None) -> bool:
        """Do the step that is due, which the clock counts; in a graph, record all of them. `calls` is None."""
        self._rest.expect(self._ledger.owed + 1, bound.after)
        if not self._launch(bound.step):
            return False
        self.bound = bound
        if self._rest.due:
            self._ledger.settle()
        return True
