"""Duties: what each variable does in a kind of call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .buckets import Brought, Kind, inputs_read
from .endings import NO_ENDINGS, Endings
from .errors import ArrayError
from .flags import FIRST, NO_FLAGS, OVERWRITE, Flags, part_flags, variable_flags
from .members import Member
from .rules.around import Rule, unread
from .rules.decays import decays_of


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
