"""Habit: what a caller's calls have in common, so that another like them is recognised by identities alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import is_
from typing import TYPE_CHECKING, Any

from .members import Members, Variables
from .phases import Phase
from .plan import AnyPlan
from .resolve import Gradients

if TYPE_CHECKING:
    from .codegen.backends.contract import Read


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
