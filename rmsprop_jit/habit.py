"""Habit: how a caller passes gradients, call after call, so that a call like the last one costs almost no Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import is_
from typing import Any, NamedTuple, Self

from .arrays.homes import keeps_its_memory
from .members import Members, Variables
from .plan import Plan


class Phase(NamedTuple):
    """Whether gradients are only added up, and whether some were before (None: for some of the variables)."""

    micro: bool
    window: bool | None


WHOLE = Phase(False, False)
"""The phase of every call without gradient accumulation."""


class Habit:
    """Gradients come for every variable, in a container of one type, with the same names or variables beside them.

    plans: for each phase, the plan of such calls; each is bound to the gradient arrays that it last ran on.
    """

    def __init__(self, grads: Variables, variables: Variables | None, in_build_order: Sequence[Any]) -> None:
        self.plans: dict[Phase, Plan] = {}
        self._type, self._names = type(grads), _names(grads)
        self._variables = None if variables is None else (type(variables), _names(variables), tuple(_arrays(variables)))
        position = {id(gradient): i for i, gradient in enumerate(_arrays(grads))}
        order = [position[id(gradient)] for gradient in in_build_order]
        self._order = None if order == sorted(order) else order

    @classmethod
    def formed(
        cls,
        old: Self | None,
        grads: Variables,
        variables: Variables | None,
        in_build_order: Sequence[Any],
        phase: Phase,
        plan: Plan,
    ) -> Self | None:
        """The habit after a call: the old one if the call was like it, a new one, or None for an irregular call."""
        gradients = list(_arrays(grads))
        distinct = len({id(gradient) for gradient in gradients}) == len(in_build_order)
        if phase.window is None or not distinct or any(gradient is None for gradient in in_build_order):
            return None
        if not all(map(keeps_its_memory, gradients)):
            return None
        habit = old if old is not None and old.covers(grads, variables) else cls(grads, variables, in_build_order)
        plan.bound_to = gradients
        habit.plans[phase] = plan
        return habit

    def covers(self, grads: Variables, variables: Variables | None) -> bool:
        """Whether a call is like this, whatever the gradient arrays."""
        if type(grads) is not self._type or (self._names is not None and list(grads) != self._names):
            return False
        if variables is None or self._variables is None:
            return variables is None and self._variables is None
        kind, names, arrays = self._variables
        if type(variables) is not kind or len(variables) != len(arrays) or _names(variables) != names:
            return False
        return all(map(is_, _arrays(variables), arrays))

    def rebound(self, plan: Plan, grads: Variables, members: Members) -> bool:
        """Bind the plan to these gradients, if it is not already; False if they need a closer look."""
        gradients = grads if self._names is None else _arrays(grads)
        if len(gradients) != len(plan.bound_to):
            return False
        if all(map(is_, gradients, plan.bound_to)):
            return True
        ordered = list(gradients)
        bound_to = ordered
        if self._order is not None:
            ordered = [ordered[i] for i in self._order]
        addresses = members.read_at_once(ordered)
        if addresses is None:
            return False
        plan.bind(ordered, addresses)
        plan.bound_to = bound_to
        return True


def _names(arrays: Variables) -> list[str] | None:
    return list(arrays) if isinstance(arrays, Mapping) else None


def _arrays(arrays: Variables) -> Any:
    return arrays.values() if isinstance(arrays, Mapping) else arrays
