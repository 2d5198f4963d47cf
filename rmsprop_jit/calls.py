"""Calls: from what a caller passes to a planned call, the quick way or the careful way.

A caller mostly passes the same containers, names and variables again, with the same gradient arrays or fresh ones. What
such calls have in common is the habit; a call like it is recognised by identities alone, or its gradients are looked at
by compiled code. Any other call is taken apart and checked with care, and may form a new habit.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from operator import and_, is_
from typing import TYPE_CHECKING, Any

import numpy as np

from . import counting
from .ahead import ALONE, Ahead
from .capture import capture_check, refuse_open_window
from .chosen import Kind, chosen, places
from .duties import Call
from .flags import FIRST, due_flags
from .identity import FEW, same
from .members import Members, Variables
from .phases import WHOLE, Phase, of_all
from .plan import AnyPlan, Bound, Plan
from .readers import Resolved
from .resolve import Gradients, Inputs, resolved
from .saving import Progress
from .variable import TOLD

if TYPE_CHECKING:
    from .arrays.homes import Int64
    from .codegen.backends.contract import Read
    from .codegen.backends.entries import Clock
    from .endings import Endings
    from .rules.around import Rule
    from .settings import Settings
    from .state import State

MOST_PLANS = 64
"""Kinds of calls that are remembered; one whose gradients are missing at random has very many."""


class Habit:
    """Gradients come for every variable, in a container of one type, with the same names or variables beside them.

    plans: for each phase, the plan of such calls. `is_named`: whether gradients come in a dict.
    """

    def __init__(self, grads: Gradients, variables: Variables | None, in_build_order: Sequence[Any]) -> None:
        self.plans: dict[Phase, AnyPlan] = {}
        self._type, self._names = type(grads), _names(grads)
        self.is_named = self._names is not None
        self._variables = None if variables is None else (type(variables), _names(variables), tuple(_arrays(variables)))
        position = {id(gradient): i for i, gradient in enumerate(_arrays(grads))}
        order = [position[id(gradient)] for gradient in in_build_order]
        self._order = None if order == sorted(order) else order

    @classmethod
    def formed(
        cls,
        old: Habit | None,
        grads: Gradients,
        variables: Variables | None,
        in_build_order: Sequence[Any],
        members: Members,
        phase: Phase,
        plan: AnyPlan,
        read: Read | None,
    ) -> Habit | None:
        """The habit after a call: the old one if the call was like it, a new one, or None for an irregular call."""
        gradients = list(_arrays(grads))
        distinct = len({id(gradient) for gradient in gradients}) == len(in_build_order)
        if None in (phase.window, phase.started) or not distinct or any(one is None for one in in_build_order):
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


class Calls:
    """The calls of one optimizer with these options and this state; others have `Calls` of their own."""

    def __init__(self, rule: Rule, settings: Settings, state: State) -> None:
        self.settings, self.state = settings, state
        self.flags, self.options = settings.flags, settings.options
        options = settings.options
        self._rule, self._members, self._ledger = rule, state.members, state.ledger
        self._decaying, self._moment = state.decaying(), state.endings.moment
        self._is_steady = options.gradient_accumulation_steps is None and not rule.decided_by_step
        self._counted, self._by = self._ledger.counted, counting.counted(settings, state)
        self._is_there = self._by.is_there
        self._accumulate = bytes([one.accumulates for one in state.variables])
        self._all = self._accumulate if options.gradient_accumulation_steps is not None else None
        self._is_capturing = capture_check(state.variables)
        self._plans: dict[Kind, AnyPlan] = {}
        self._habit: Habit | None = None

    def following(self, settings: Settings) -> Calls:
        """The calls of options that differ only in numbers: plans and habit stay, but where others count calls then."""
        if counting.counted(settings, self.state) != self._by:
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
        if self._is_there and not self._is_known():
            return False
        calls: int | None = None if self._is_there else self._counted.value
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
            addresses = read.addresses
            if self._rule.inputs:  # none of which are there
                addresses = np.stack([addresses, *np.zeros((len(self._rule.inputs), len(addresses)), np.int64)])
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
        if self._ledger.is_moved():
            return False
        self._ledger.settle()
        if not self._is_there:
            self._ledger.leave()
        resolved = self.resolved(grads, variables, inputs)
        calls = None if self._counts_itself(resolved) else self._ledger.calls
        phase = self.phase(calls)
        ahead = counting.ahead_of(self._ledger, self.settings, self._by) if calls is None else None
        plan = self.plan(resolved, calls, ahead)
        if calls is None:
            counting.send_ahead(self._ledger, ahead, plan, self.state)
        passed = list(grads.values() if isinstance(grads, Mapping) else grads)
        if not self._run(plan, passed, resolved.read, resolved.addresses, calls, plan.bound):
            return False
        if inputs or self._is_there != (calls is None):  # they are looked at with care
            return True
        like = grads, variables, resolved.gradients, self._members, phase, plan, resolved.read
        self._habit = Habit.formed(self._habit, *like)
        return True

    def _counts_itself(self, resolved: Resolved) -> bool:
        """Whether a GPU counts this call, and the host does not know which it is."""
        clock, given = self.clock, [dtype is not None for dtype in resolved.dtypes]
        if clock is None or counting.waits_for_first(self._rule, self._ledger, given):
            return False
        return self._all is None or counting.adds_up_for(self._ledger, clock, bytes(map(and_, self._all, given)))

    def _is_known(self) -> bool:
        """Whether the GPU knows all of a call like those before; of windows, None where nothing is added up."""
        return self._ledger.opening == self._all and counting.is_known(self._ledger, self.settings, self._by)

    def _run(
        self, plan: AnyPlan, passed: Any, read: Read | None, addresses: Int64 | None, calls: int | None, old: Bound
    ) -> bool:
        settings = self.settings
        if calls is None:
            there = settings.places if self._by.columns else settings.constant
            assert there is not None
            return plan.run(plan.prepared(passed, read, addresses, settings, there, 1, old), None)
        rate = 0.0 if plan.micro else settings.constant
        if rate is None:
            rate = settings.rate(calls)
        update = calls // (self.options.gradient_accumulation_steps or 1) + 1  # `update_of`, without a call
        return plan.run(plan.prepared(passed, read, addresses, settings, rate, update, old), calls)

    @property
    def clock(self) -> Clock | None:
        """What counts such calls on a GPU, which is made now if there is none; None where the host counts them."""
        return counting.clock_of(self._ledger, self.state, self.options, self._by)

    def resolved(self, grads: Gradients, variables: Variables | None, inputs: Inputs) -> Resolved:
        """A call's gradients and further inputs in build order, after all checks."""
        return resolved(self._rule, self._members, grads, variables, inputs)

    def phase(self, calls: int | None) -> Phase:
        """Which kind of step the next call is; one for all where a GPU counts, which then knows."""
        if calls is None or self._is_steady:
            return WHOLE
        steps = self.options.gradient_accumulation_steps
        window = of_all(self._ledger.windows) if steps is not None else False
        started = of_all(self._ledger.started) if FIRST in self._rule.decided_by_step else True
        due = due_flags(self._rule, self.settings.kinds, calls)
        return Phase(steps is not None and (calls + 1) % steps != 0, window, started, due)

    def supposed_after(self, calls: int) -> Progress:
        """What is to be supposed after so many calls, from their number alone."""
        return Progress.after(calls, self.options.gradient_accumulation_steps, self._accumulate)

    @property
    def unstarted(self) -> frozenset[int]:
        """The variables that were never updated, where the rule asks for that."""
        if FIRST not in self._rule.decided_by_step:
            return frozenset()
        return frozenset(np.flatnonzero(self._ledger.started == 0).tolist())

    def plan(self, resolved: Resolved, calls: int | None, ahead: Ahead | None = None) -> AnyPlan:
        """The launches of a call, made once for calls of its kind, then kept."""
        kind = self._kind(resolved, calls, ahead)
        plan = self._plans.get(kind)
        if plan is None:
            if len(self._plans) >= MOST_PLANS:
                self._plans = {}
            plan = self._plans[kind] = self._new_plan(kind, self.clock if calls is None else None)
        return plan

    def captured_plan(self, resolved: Resolved, clock: Clock) -> AnyPlan:
        """The launches of a call in a graph, with tables of its own, counted by a clock."""
        is_there = self._counts_itself(resolved)
        if self._is_there and not is_there:
            refuse_open_window()
        return self._new_plan(self._kind(resolved, None if is_there else self._ledger.calls), clock)

    def _kind(self, resolved: Resolved, calls: int | None, ahead: Ahead | None = None) -> Kind:
        """The kind of a call; of each step that it may be, where only a GPU knows which one is due."""
        phase, given = self.phase(calls), [dtype is not None for dtype in resolved.dtypes]
        opened = self._ledger.windows.tolist() if calls is not None else given if self._all else [False] * len(given)
        call = Call(
            flags=self.flags | phase.due[0],
            micro=phase.micro,
            gradients=resolved.dtypes,
            windows=tuple(map(bool, map(and_, opened, self._accumulate))),
            decaying=self._decaying,
            unstarted=self.unstarted,
            inputs=resolved.inputs,
            endings=self.state.endings,
            skips=self.options.skips,
            own=self.settings.with_due(phase.due),
        )
        if calls is not None or not self._by.chooses:
            return call
        return places(call, ALONE if ahead is None else ahead.kinds, self.settings.with_due)

    def _new_plan(self, kind: Kind, clock: Clock | None) -> AnyPlan:
        common = self.options.backend, self._ledger, clock, self.state.shared, self.settings.part
        if isinstance(kind, Call):
            return Plan(self._rule, self._members.members, kind, *common)
        return chosen(self._rule, self._members.members, kind, *common)


def _names(arrays: Variables | Gradients) -> list[str] | None:
    return list(arrays) if isinstance(arrays, Mapping) else None


def _arrays(arrays: Variables | Gradients) -> Any:
    return arrays.values() if isinstance(arrays, Mapping) else arrays
