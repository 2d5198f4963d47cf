"""Plan: which flags each variable has in one kind of call, and the buckets that follow."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ._kernels import Bucket, launcher
from .arrays.homes import Array, Int64, place_of
from .flags import Flags, part_flags
from .members import Member
from .options import Options
from .rules.around import Rule

if TYPE_CHECKING:
    from .arrays.cupy import Clock


@dataclass(frozen=True)
class Call:
    """A kind of call; calls of one kind launch the same kernels on the same variables.

    flags:    the options' flags.
    micro:    whether gradients are only added up.
    given:    for each variable, whether it has a gradient.
    decaying: the positions of the variables that decay.
    """

    flags: Flags
    micro: bool
    given: tuple[bool, ...]
    decaying: frozenset[int]


@dataclass
class Plan:
    """What a kind of call launches: the step, then (for variables with a constraint) their averages.

    micro:   whether gradients are only added up.
    updated: the variables that change, or whose gradients are added up.

    clock:   counts the calls on the GPU, if the call is a part of a graph.

    `bound_to` are the gradients of the last call, in the caller's order (see habit.py).
    """

    micro: bool
    step: list[Bucket]
    after_constraints: list[Bucket]
    updated: list[Member]
    clock: Clock | None = None

    def __post_init__(self) -> None:
        self._buckets = self.step + self.after_constraints
        self._reads_update = any(bucket.reads_update for bucket in self._buckets)
        self._constrained = [] if self.micro else [one for one in self.updated if one.is_constrained]
        self._changes_window = any("gradient_accumulator" in one.slots for one in self.updated)
        self._numbers: tuple[object, ...] = ()
        self.bound_to: Sequence[Any] = ()
        self._run_step = launcher(self.step, self.clock)
        self._run_after = launcher(self.after_constraints, self.clock)

    def bind(self, gradients: Sequence[Array | None], addresses: Int64) -> None:
        """Take this call's gradients, one for each of the optimizer's variables."""
        for bucket in self._buckets:
            bucket.bind(gradients, addresses)

    def run(self, options: Options, rate: float, update: int) -> None:
        """Do the call; `update` counts from 1. Numbers go to the tables only where they changed."""
        numbers = (options, rate, update if self._reads_update else 0)
        if self._numbers != numbers:
            self.set_numbers(options, rate, update)
            self._numbers = numbers
        self._run_step(options.threads)
        if self._constrained:
            for one in self._constrained:
                one.constrain()
            self._run_after(options.threads)
        if self._changes_window:
            for one in self.updated:
                one.window = self.micro

    def set_numbers(self, options: Options, rate: float, update: int) -> None:
        """Put a call's numbers into the tables."""
        values = options.numbers(rate, update)
        for bucket in self._buckets:
            bucket.set_numbers(values)

    def send_numbers(self, options: Options, rate: float) -> None:
        """Give a call that is part of a graph new numbers; they hold for every launch of the graph from now on."""
        self.set_numbers(options, rate, 0)
        for bucket in self._buckets:
            bucket.table.send()


def make_plan(
    rule: Rule, tracked: Sequence[Member], call: Call, compiler: str | None = None, clock: Clock | None = None
) -> Plan:
    """Sort the variables into buckets for a kind of call; compiles what is new."""
    averages = "use_ema" in call.flags and not call.micro
    idle: Flags = part_flags(rule, call.flags, "idle") if averages else frozenset()
    step: dict[int, Flags] = {}
    after: dict[int, Flags] = {}
    updated = []
    for position, one in enumerate(tracked):
        flags = _flags_of(rule, one, call, call.given[position], len(tracked))
        if flags is not None:
            updated.append(one)
            if averages and one.is_constrained:
                flags -= idle
                after[position] = idle
            step[position] = flags
        elif averages:
            step[position] = idle
    first, second = (_buckets(rule, tracked, flags, call.decaying, compiler) for flags in (step, after))
    return Plan(call.micro, first, second, updated, clock)


def _flags_of(rule: Rule, one: Member, call: Call, given: bool, variables: int) -> Flags | None:
    """The flags of a variable in a call; None if it has no part in it."""
    flags = call.flags
    if "gradient_accumulation_steps" in flags and not one.window:
        flags |= {"window_empty"}
    if call.micro:
        return part_flags(rule, flags, "micro_step") if given else None
    if not given and not one.window:
        return None
    if not given:
        flags |= {"gradient_missing"}
    if "weight_decay" in flags and len(call.decaying) < variables:
        flags |= {"weight_decay_exclusions"}
    return flags


def _buckets(
    rule: Rule,
    tracked: Sequence[Member],
    flags: dict[int, Flags],
    decaying: Collection[int],
    compiler: str | None,
) -> list[Bucket]:
    """Variables by place, dtype and flags, in order of the first position."""
    groups: dict[tuple[str, str, Flags], list[int]] = {}
    for position, its_flags in flags.items():
        array = tracked[position].array
        groups.setdefault((place_of(array), array.dtype.name, its_flags), []).append(position)
    return [
        Bucket(rule, its_flags, tracked, positions, decaying, compiler)
        for (_, _, its_flags), positions in groups.items()
    ]
