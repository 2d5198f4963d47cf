"""Calls: from what a caller passes to a planned call, the quick way or the careful way.

A caller mostly passes the same containers, names and variables again, with the same gradient arrays or fresh ones. What
such calls have in common is the habit; a call like it is recognised by identities alone, or its gradients are looked at
by compiled code. Any other call is taken apart and checked with care, and may form a new habit.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from operator import is_
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import counting
from .capture import capture_check
from .flags import FIRST, NO_FLAGS, due_flags
from .identity import FEW, same
from .members import Members, Variables
from .plan import Bound, Call, Plan
from .readers import Resolved
from .resolve import Gradients, Inputs, check_given, check_inputs, in_build_order, side_by_side
from .saving import Progress
from .variable import TOLD

if TYPE_CHECKING:
    from .arrays.homes import Int64
    from .codegen.backends.contract import Read
    from .endings import Endings
    from .flags import Flags
    from .rules.around import Rule
    from .settings import Settings
    from .state import State

MOST_PLANS = 64
"""Kinds of calls that are remembered; one whose gradients are missing at random has very many."""


class Phase(NamedTuple):
    """What differs from call to call where all else is the same.

    micro:   whether gradients are only added up.
    window:  whether some were before (None: for some of the variables).
    started: whether the variables were updated before, where the rule asks for that (None: some of them were).
    due:     the flags that the step decides, of the optimizer's options and of each group's.
    """

    micro: bool
    window: bool | None
    started: bool | None
    due: tuple[Flags, ...]


WHOLE = Phase(False, False, True, (NO_FLAGS,))
"""The phase of every call without gradient accumulation, of a rule that tells no steps apart."""


class Calls:
    """The calls of one optimizer with these options and this state; others have `Calls` of their own."""

    def __init__(self, rule: Rule, settings: Settings, state: State) -> None:
        self.settings, self.state = settings, state
        self.flags, self.options = settings.flags, settings.options
        options = settings.options
        self._rule, self._members, self._ledger = rule, state.members, state.ledger
        self._decaying, self._moment = state.decaying(), state.endings.moment
        self._is_steady = options.gradient_accumulation_steps is None and not rule.decided_by_step
        self._counted, self._is_there = self._ledger.counted, counting.is_there(settings, state)
        self._is_capturing = capture_check(state.variables)
        self._plans: dict[Call, Plan] = {}
        self._habit: _Habit | None = None

    def following(self, settings: Settings) -> Calls:
        """The calls of options that differ only in numbers: plans and habit stay, but where others count calls then."""
        if counting.is_there(settings, self.state) != self._is_there:
            return Calls(self._rule, settings, self.state)
        other = copy.copy(self)
        other.settings, other.options = settings, settings.options
        return other

    def of_moment(self, endings: Endings) -> Calls:
        """The same calls, knowing that updates still end as before."""
        other = copy.copy(self)
        other.state, other._moment = dataclasses.replace(self.state, endings=endings), endings.moment
        return other

    def again(self, grads: Gradients, variables: Variables | None) -> bool:
        """Do a call like those before; False if it is not, or another thread was faster: nothing was done.

        This is the way of nearly every call, so it asks nobody what it can see itself.
        """
        habit = self._habit
        if habit is None or self._moment is not TOLD.moment or not habit.covers(grads, variables):
            return False
        is_followed = self._ledger.clock is not None and not self._is_there
        if is_followed or (self._is_capturing is not None and self._is_capturing()):
            return False
        calls: int = self._counted.value
        plan = habit.plans.get(self.phase(calls))
        if plan is None:
            return False
        bound = plan.bound
        read, addresses = bound.read, None
        passed = grads.values() if habit.is_named else grads  # type: ignore[union-attr]
        if len(passed) != len(bound.passed):
            return False
        if not (all(map(is_, passed, bound.passed)) if len(passed) < FEW else same(passed, bound.passed)):
            passed = list(passed)
            read = self._members.read_at_once(habit.in_build_order(passed), plan.dtypes)
            if read is None:
                return False
            addresses = read.addresses if not self._rule.inputs else self._without_inputs(read.addresses)
        elif read is None or not read.holds():  # the arrays themselves may have been changed
            return False
        else:
            passed = bound.passed  # the caller may put other arrays into his own container
        return self._run(plan, passed, read, addresses, calls, bound)

    @property
    def is_captured(self) -> bool:
        """Whether a call made now would become part of a graph."""
        return self._is_capturing is not None and self._is_capturing()

    def once(self, grads: Gradients, variables: Variables | None, inputs: Inputs) -> bool:
        """Do a call with all checks; False if another thread was faster: nothing was done. Raises ArrayError.

        What is due of the call before is done first.
        """
        self._ledger.settle()
        resolved = self.resolved(grads, variables, inputs)
        calls = 0 if self._is_there else self._ledger.calls
        phase = self.phase(calls)
        plan = self._plan(self.call_of(resolved, phase))
        passed = list(grads.values() if isinstance(grads, Mapping) else grads)
        if not self._run(plan, passed, resolved.read, resolved.addresses, calls, plan.bound):
            return False
        if inputs:  # they are looked at with care
            return True
        self._habit = _Habit.formed(
            self._habit, grads, variables, resolved.gradients, self._members, phase, plan, resolved.read
        )
        return True

    def _run(self, plan: Plan, passed: Any, read: Read | None, addresses: Int64 | None, calls: int, old: Bound) -> bool:
        settings = self.settings
        rate = 0.0 if plan.micro else settings.constant
        if self._is_there and rate is not None:
            return plan.run(plan.prepared(passed, read, addresses, settings, rate, 1, old), None)
        if rate is None:
            rate = settings.rate(calls)
        update = calls // (self.options.gradient_accumulation_steps or 1) + 1  # `update_of`, without a call
        return plan.run(plan.prepared(passed, read, addresses, settings, rate, update, old), calls)

    def resolved(self, grads: Gradients, variables: Variables | None, inputs: Inputs) -> Resolved:
        """A call's gradients and further inputs in build order, after all checks. Raises ArrayError."""
        check_inputs(self._rule, inputs)
        in_order, variables = side_by_side(grads, variables, self._members.members)
        gradients = in_build_order(in_order, variables, self._members)
        resolved = self._members.read(gradients)
        check_given([dtype is not None for dtype in resolved.dtypes], len(in_order), self._members.members)
        if not self._rule.inputs:
            return resolved
        return resolved.beside([self._input(name, inputs.get(name), variables) for name in self._rule.inputs])

    def _input(self, name: str, given: Gradients | None, variables: Variables | None) -> Resolved:
        """What a call brings of one further input."""
        if given is None:
            count = len(self._members.members)
            return Resolved([None] * count, np.zeros(count, np.int64), (None,) * count, None)
        what = f"input {name!r}"
        in_order, matched = side_by_side(given, variables, self._members.members, what)
        return self._members.read(in_build_order(in_order, matched, self._members, what), what)

    def _without_inputs(self, addresses: Int64) -> Int64:
        """A row for gradients that begin here, and one for each further input, none of which is there."""
        return np.stack([addresses, *np.zeros((len(self._rule.inputs), len(addresses)), np.int64)])

    def call_of(self, resolved: Resolved, phase: Phase) -> Call:
        """The kind of a call."""
        members = self._members.members
        opened = [0] * len(members) if self._is_there else self._ledger.windows.tolist()
        windows = tuple(bool(window) and one.accumulates for window, one in zip(opened, members, strict=True))
        flags, own = self.flags | phase.due[0], self.settings.with_due(phase.due)
        common = flags, phase.micro, resolved.dtypes, windows, self._decaying, self.unstarted, resolved.inputs
        return Call(*common, self.state.endings, self.options.nonfinite == "skip", own)

    def phase(self, calls: int) -> Phase:
        """Which kind of step the next call is."""
        if self._is_steady:
            return WHOLE
        steps = self.options.gradient_accumulation_steps
        window = _of_all(self._ledger.windows) if steps is not None else False
        started = _of_all(self._ledger.started) if FIRST in self._rule.decided_by_step else True
        due = due_flags(self._rule, self.settings.kinds, calls)
        return Phase(steps is not None and (calls + 1) % steps != 0, window, started, due)

    @property
    def unstarted(self) -> frozenset[int]:
        """The variables that were never updated, where the rule asks for that."""
        if FIRST not in self._rule.decided_by_step:
            return frozenset()
        return frozenset(np.flatnonzero(self._ledger.started == 0).tolist())

    def _plan(self, call: Call) -> Plan:
        """The launches of a kind of call, made once, then kept."""
        plan = self._plans.get(call)
        if plan is None:
            if len(self._plans) >= MOST_PLANS:
                self._plans = {}
            clock = counting.clock_of(self._ledger, self.state, self.options) if self._is_there else None
            plan = self._plans[call] = self.new_plan(call, clock)
        return plan

    def new_plan(self, call: Call, clock: Any = None) -> Plan:
        """The launches of a kind of call; in a graph, counted by a clock."""
        shared = self.state.shared
        part = self.settings.part
        return Plan(self._rule, self._members.members, call, self.options.backend, self._ledger, clock, shared, part)

    def progress_after(self, calls: int) -> Progress:
        """What is to be supposed after so many calls, from their number alone."""
        steps = self.options.gradient_accumulation_steps or 1
        members = self._members.members
        windows = [calls % steps != 0 and member.accumulates for member in members]
        return Progress(windows, [calls >= steps] * len(members), 0)


class _Habit:
    """Gradients come for every variable, in a container of one type, with the same names or variables beside them.

    plans: for each phase, the plan of such calls. `is_named`: whether gradients come in a dict.
    """

    def __init__(self, grads: Gradients, variables: Variables | None, in_build_order: Sequence[Any]) -> None:
        self.plans: dict[Phase, Plan] = {}
        self._type, self._names = type(grads), _names(grads)
        self.is_named = self._names is not None
        self._variables = None if variables is None else (type(variables), _names(variables), tuple(_arrays(variables)))
        position = {id(gradient): i for i, gradient in enumerate(_arrays(grads))}
        order = [position[id(gradient)] for gradient in in_build_order]
        self._order = None if order == sorted(order) else order

    @classmethod
    def formed(
        cls,
        old: _Habit | None,
        grads: Gradients,
        variables: Variables | None,
        in_build_order: Sequence[Any],
        members: Members,
        phase: Phase,
        plan: Plan,
        read: Read | None,
    ) -> _Habit | None:
        """The habit after a call: the old one if the call was like it, a new one, or None for an irregular call."""
        gradients = list(_arrays(grads))
        distinct = len({id(gradient) for gradient in gradients}) == len(in_build_order)
        if (
            None in (phase.window, phase.started)
            or not distinct
            or any(gradient is None for gradient in in_build_order)
        ):
            return None
        if read is None and not members.keep_their_memory(gradients):
            return None
        habit = old if old is not None and old.covers(grads, variables) else cls(grads, variables, in_build_order)
        habit.plans[phase] = plan
        return habit

    def covers(self, grads: Gradients, variables: Variables | None) -> bool:
        """Whether a call is like this, whatever the gradient arrays."""
        if type(grads) is not self._type or (self._names is not None and list(grads) != self._names):
            return False
        if variables is None or self._variables is None:
            return variables is None and self._variables is None
        kind, names, arrays = self._variables
        if type(variables) is not kind or len(variables) != len(arrays) or _names(variables) != names:
            return False
        return all(map(is_, _arrays(variables), arrays))

    def in_build_order(self, passed: Sequence[Any]) -> Sequence[Any]:
        """The gradients as the built variables are ordered."""
        return passed if self._order is None else [passed[i] for i in self._order]


def _names(arrays: Variables | Gradients) -> list[str] | None:
    return list(arrays) if isinstance(arrays, Mapping) else None


def _arrays(arrays: Variables | Gradients) -> Any:
    return arrays.values() if isinstance(arrays, Mapping) else arrays


def _of_all(cells: Int64) -> bool | None:
    """Whether all cells are set, or none; None where some are."""
    some = bool(cells.any())
    return some if some == bool(cells.all()) else None
