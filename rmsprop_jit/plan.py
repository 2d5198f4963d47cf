"""Plan: what one kind of call launches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from .arrays.homes import Array, Int64
from .buckets import Buckets, Kind, Part
from .codegen.backends.entries import NO_ARRAYS, Clock, Marks
from .codegen.backends.ledger import Ledger
from .duties import Call, decays, step_and_rest
from .errors import NonFiniteError
from .members import Member
from .nonfinite import refused
from .rests import ENDS_DUE, Rest
from .rules.around import Rule, step_of

if TYPE_CHECKING:
    from .codegen.backends.contract import BackendOptions, Read
    from .settings import Rates, Settings
    from .shared import Shared


class Bound(NamedTuple):
    """What one call runs on; never changed, so that threads may prepare calls at the same time.

    passed:  the gradients as the caller passed them, in a list that nobody else changes; `read` is what was found of
             them, if that can be looked at again.
    numbers: what the numbers were computed from.
    step, after: the launches' records.
    """

    passed: list[Any]
    read: Read | None
    numbers: tuple[Any, ...]
    step: Any
    after: Any


UNBOUND = Bound([], None, (), None, None)


class AnyPlan(Protocol):
    """What a kind of call launches: `Plan`, or one that leaves it to a GPU which step is due."""

    bound: Bound

    @property
    def micro(self) -> bool:
        """Whether gradients are only added up."""

    @property
    def dtypes(self) -> tuple[str | None, ...]:
        """For each variable, the dtype of its gradient, or None."""

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
        """What a call runs on; what did not change is that of `old`. `update` counts from 1."""

    def send_numbers(self, hypers: Mapping[str, Any]) -> None:
        """Give a call that is part of a graph new numbers; they hold for every launch of the graph from now on."""

    def run(self, bound: Bound, calls: int | None) -> bool:
        """Do the call and count it, if so many were made. False if nothing was done. None: a clock counts it."""

    @property
    def shared(self) -> Sequence[Shared]:
        """What makes slots over all on the host, of each kind of step that ends an update."""


class Plan:
    """What a kind of call launches: the step, then (for variables with a constraint) their averages.

    micro:  whether gradients are only added up.
    dtypes: for each variable, the dtype of its gradient, or None.
    bound:  what the last call ran on.
    """

    def __init__(
        self,
        rule: Rule,
        members: Sequence[Member],
        call: Call,
        options: BackendOptions,
        ledger: Ledger,
        clock: Any = None,
        shared: Mapping[str, Array] = NO_ARRAYS,
        part: Callable[[Part], Part] = lambda one: one,
    ) -> None:
        self.micro, self.dtypes = call.micro, call.gradients
        self._inputs, self._ledger = rule.inputs, ledger
        self._pointed_at = members  # tables have addresses; what is due may be done when other slots are there
        updated, step, after = step_and_rest(rule, members, call)
        self._rest = rest_of(rule, members, call, updated, after, options, ledger, part(step_of), clock)
        windows = updated if "gradient_accumulation_steps" in call.flags else []
        started = [] if call.micro else [i for i in updated if i in call.unstarted - call.endings.overwritten]
        marks = Marks(windows, call.micro, started, self._rest.due, self._rest.number, skips=call.skips)
        self.step = Buckets(rule, members, step, options, decays(call), ledger, marks, clock, shared, part(step_of))
        self.after = self._rest.after
        self._has_shared = self.step.shared.is_any
        self._reads_update = self.step.reads_update or bool(self.after and self.after.reads_update)
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
        """What a call runs on; what did not change is that of `old`, mostly all of it. `update` counts from 1.

        addresses: for each variable; None if they are those of `old`. `read`: what they were read by.
        """
        numbers = settings, rate, update if self._reads_update else 0
        is_same = numbers == old.numbers and not self._has_shared
        if is_same and addresses is None:
            return old
        if self.after is None:
            step = old.step if is_same else self._dated(numbers, old, update)
            if step is not None:  # no more than that is new, or gradients
                if addresses is not None:
                    step = self.step.launch.prepared(self.step.ordered(addresses), None, step)
                return Bound(passed, read, numbers, step, None)
        hypers = None
        if not is_same:
            hypers = settings.numbers(rate, update)
            hypers.update(self.step.shared.now())
        step = self.step.prepared(addresses, hypers, old.step)
        return Bound(passed, read, numbers, step, self.after and self.after.prepared(None, hypers, old.after))

    def _dated(self, numbers: tuple[Settings, float | Rates, int], old: Bound, update: int) -> Any:
        """What an earlier call was prepared for, but of this update; None where it has to be prepared."""
        settings, rate, _ = numbers
        if not old.numbers or settings.base is not old.numbers[0].base:
            return None
        if isinstance(rate, float):
            return self.step.launch.dated(old.step, rate, update)
        return self.step.launch.dated(old.step, rate.common, update) if rate == old.numbers[1] else None

    def send_numbers(self, hypers: Mapping[str, Any]) -> None:
        """Give a call that is part of a graph new numbers; they hold for every launch of the graph from now on."""
        self.step.send(hypers)
        if self.after is not None:
            self.after.send(hypers)

    def run(self, bound: Bound, calls: int | None) -> bool:
        """Do the call and count it, if so many calls were made, then what is due. False if nothing was done.

        Without `calls` it is not counted here: it is being captured.
        """
        if calls is not None and self._rest.due:
            self._rest.expect(calls + 1, bound.after)
        try:
            if not self.step.run(bound.step, calls):
                return False
        except NonFiniteError as problem:
            if problem.position < 0:  # not a gradient: it says itself what it is of
                raise
            raise refused(self._pointed_at[problem.position].name, self._inputs) from None
        self.bound = bound
        if self._rest.due:
            self._ledger.settle() if calls is not None else self._rest.record(bound.after)
        return True

    @property
    def shared(self) -> Sequence[Shared]:
        """What makes slots over all on the host, of each kind of step that ends an update."""
        return [self.step.shared]


def rest_of(
    rule: Rule,
    members: Sequence[Member],
    call: Call,
    updated: Sequence[int],
    averaged: Mapping[int, Kind],
    options: BackendOptions,
    ledger: Ledger,
    part: Part,
    clock: Any = None,
    counted_by: Clock | None = None,
) -> Rest:
    """What is due of a call that updates these variables; `averaged`: what its variables do after their constraint.

    clock: what the launch of averages sees of a clock. `counted_by`: the clock, where it knows which calls were done.
    """
    due = [] if call.micro else [position for position in updated if position in call.endings.constrained]
    if not averaged:
        return Rest(members, due, ledger, None, counted_by)
    after = Buckets(rule, members, averaged, options, decays(call), ledger, ENDS_DUE, clock, part=part)
    return Rest(members, due, ledger, after, counted_by)
