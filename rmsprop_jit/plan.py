"""Plan: what one kind of call launches, and what each variable does in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from .arrays.homes import Array, Int64
from .buckets import Brought, Buckets, Kind, Part, inputs_read
from .codegen.backends.entries import NO_ARRAYS, Clock, Marks
from .codegen.backends.ledger import Ledger
from .endings import NO_ENDINGS, Endings
from .errors import ArrayError, NonFiniteError
from .flags import FIRST, NO_FLAGS, OVERWRITE, Flags, part_flags, variable_flags
from .members import Member
from .nonfinite import refused
from .rests import ENDS_DUE, Rest
from .rules.around import Rule, step_of, unread
from .rules.decays import decays_of

if TYPE_CHECKING:
    from .codegen.backends.contract import BackendOptions, Read
    from .settings import Rates, Settings
    from .shared import Shared


class Call(NamedTuple):
    """A kind of call; calls of one kind launch the same kernels on the same variables.

    flags:     the options' flags.
    micro:     whether gradients are only added up.
    gradients: for each variable, the dtype of its gradient, or None.
    windows:   for each variable, whether gradients have been added up.
    decaying:  the positions of the variables that decay.
    unstarted: the positions of the variables that were never updated, where the rule asks for that.
    inputs:    for each of the rule's further inputs, the same as `gradients`.
    endings:   how the updates of variables end.
    skips:     whether a call with a gradient that is not finite is skipped, if the flags say that one looks.
    own:       the flags of each variable's options; empty where all have those of `flags`.
    """

    flags: Flags
    micro: bool
    gradients: tuple[str | None, ...]
    windows: tuple[bool, ...]
    decaying: frozenset[int]
    unstarted: frozenset[int] = frozenset()
    inputs: tuple[tuple[str | None, ...], ...] = ()
    endings: Endings = NO_ENDINGS
    skips: bool = True
    own: tuple[Flags, ...] = ()

    def flags_of(self, position: int) -> Flags:
        """The flags of a variable's options."""
        return self.own[position] if self.own else self.flags

    def brought_to(self, position: int) -> Brought:
        """The dtypes of what a variable is brought."""
        return self.gradients[position], *(dtypes[position] for dtypes in self.inputs)


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


def decays(call: Call) -> dict[str, list[float]]:
    """For each variable, 1 if it decays."""
    return {"decays": [float(position in call.decaying) for position in range(len(call.gradients))]}


def step_and_rest(
    rule: Rule, members: Sequence[Member], call: Call
) -> tuple[list[int], dict[int, Kind], dict[int, Kind]]:
    """Who is updated, and what each variable does in the step and after its constraint."""
    flags_of = [_flags_of(rule, call, position, member) for position, member in enumerate(members)]
    updated = [position for position, flags in enumerate(flags_of) if flags is not None]
    overwritten, constrained = call.endings.overwritten, call.endings.constrained
    averages = "use_ema" in call.flags and not call.micro and not overwritten.issuperset(updated)
    nothing: Brought = (None,) * (1 + len(rule.inputs))
    step: dict[int, Kind] = {}
    after: dict[int, Kind] = {}
    for position, member in enumerate(members):
        flags = flags_of[position]
        idle: Flags = part_flags(rule, call.flags_of(position), "idle") if averages else NO_FLAGS
        if flags is not None:
            if averages and position in constrained:
                flags -= idle
                after[position] = idle, nothing
            step[position] = flags, _brought(rule, call, position, member, flags)
        elif averages and position not in overwritten:
            step[position] = idle, nothing
    return updated, step, after


def _brought(rule: Rule, call: Call, position: int, member: Member, flags: Flags) -> Brought:
    """The dtypes of what a variable's kernels read of what it is brought. Raises ArrayError for what is missing."""
    given = call.brought_to(position)
    if len(given) == 1:
        return given
    read = inputs_read(rule, flags, member.dtype)
    for name, dtype in zip(rule.inputs, given[1:], strict=True):
        if name in read and dtype is None:
            raise ArrayError(
                f"the input {name!r} of {member.name!r} is missing, and this call reads it. Received: None. "
                f"Pass apply(grads, {name}=[...]) with an array for each variable."
            )
    return given[0], *(dtype if name in read else None for name, dtype in zip(rule.inputs, given[1:], strict=True))


def _flags_of(rule: Rule, call: Call, position: int, member: Member) -> Flags | None:
    """The flags of a variable in a call; None if it has no part in it."""
    is_overwritten = position in call.endings.overwritten
    own = variable_flags(rule, member.array.shape, member.path)
    flags = call.flags_of(position)  # the same set for many: it is hashed once
    flags = flags | own if own else flags
    given, window = call.gradients[position] is not None, call.windows[position]
    if "gradient_accumulation_steps" in flags and not window:
        flags |= {"window_empty"}
    if position in call.unstarted:
        flags |= {FIRST}
    if call.micro:
        if not given or not member.accumulates:  # gradients that the rule never reads are not added up
            return None
        if is_overwritten:
            return part_flags(rule, flags | {"micro_step"}, OVERWRITE)
        read = inputs_read(rule, flags, member.dtype)
        flags |= {unread(name) for name in rule.inputs if name not in read}
        return part_flags(rule, flags, "micro_step")
    if not given and not window:
        return None
    if not given:
        flags |= {"gradient_missing"}
    if is_overwritten:
        return part_flags(rule, flags, OVERWRITE)
    if decays_of(rule) & flags and len(call.decaying) < len(call.gradients):
        flags |= {"weight_decay_exclusions"}
    return flags
