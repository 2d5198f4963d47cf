"""Stateless: a call on values that are passed, of which copies are trained; the optimizer itself stays as it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import capture, tree
from .arrays.checks import adopted, for_gradient
from .arrays.homes import Array, find_home, home_of, to_host
from .calls import Calls
from .checkpoints import Checkpoints
from .codegen.backends.ledger import Ledger
from .errors import ArrayError
from .fitting import learning_rate_in
from .members import Members
from .resolve import Gradients, in_build_order, is_empty, side_by_side
from .saving import Progress, count, is_real, on_host
from .settings import Settings
from .state import State
from .storages import is_scale

Named = tuple[str, str, int, Array]
"""A slot: its full name, its name, the position of the variable, the array."""

LIST = "the list of optimizer variables"


class Stateless(Checkpoints):
    """How a call is made that changes nothing; of every optimizer."""

    def stateless_apply(
        self,
        optimizer_variables: Sequence[Any],
        grads: Gradients,
        trainable_variables: Any,
        **inputs: Gradients,
    ) -> tuple[Any, list[Array]]:
        """What `apply` would make of these values: new trainable variables, and new optimizer variables.

        optimizer_variables: arrays or Variables in the order of `variables`, as this returned them, or `variables`.
        grads, inputs:       as of `apply`, in the order of the variables that the optimizer was built on, or by name.
        trainable_variables: all of them, as values in that order, or by name; what is returned has the same form.

        New arrays are NumPy's, or CuPy's where the variables are on a GPU, whatever kind the values are.
        The same kernels as in `apply`, with the same bits; nothing that is passed is written to, nor is the optimizer.
        That costs a copy of all variables and slots, and a table of their addresses, in each call: use `apply` where
        the arrays may change. Constraints are applied to the copies. A call that `nonfinite="skip"` leaves out returns
        what it was passed. Several threads may call it at the same time.

        Differs: what no variable of Keras's holds is supposed from the number of calls. Under accumulation a variable
        without a gradient in the last call of a window has had others in it if what was added up is not zero; and all
        variables were updated before if any could be, for rules that start with a variable's first update.
        Raises ArrayError, OptionError.
        """
        calls = self._calls if self._state.endings.is_of_now else self._looked_again(self._calls)
        slots = [*calls.state.slots(self._together)]
        _refuse_codes(slots)
        self._check(calls, optimizer_variables, len(_head(calls)) + len(slots))
        members = calls.state.members
        names = [one.name for one in members.members]
        values, order = _in_order(tree.flat(trainable_variables), names)
        grads, _, further = tree.flat_call(grads, None, inputs, iter(names))
        made = _copied(calls, optimizer_variables, slots, values)
        if not is_empty(grads):
            in_order = in_build_order(*side_by_side(grads, None, members.members), members)
            made.state.ledger.progress[:] = _progress(made, in_order).cells
            made.once(in_order, None, further)
        new = [one.array for one in made.state.variables]
        after = [*_head(made), *(array for _, array in made.state.seen_slots(self._together))]
        return tree.like(trainable_variables, (new[i] for i in order)), after

    def _check(self, calls: Calls, optimizer_variables: object, expected: int) -> None:
        """Raise ArrayError unless there is something to call, and a list of as many optimizer variables."""
        name = type(self).__name__
        if not calls.state.built:
            raise ArrayError(
                f"stateless_apply() needs the slots of an optimizer that is built. Received: {name} without variables. "
                "Call `optimizer.build(trainable_variables)` first."
            )
        if calls.is_captured:
            capture.refuse_stateless()
        if not isinstance(optimizer_variables, list | tuple) or len(optimizer_variables) != expected:
            size = f" of {len(optimizer_variables)}" if isinstance(optimizer_variables, list | tuple) else ""
            raise ArrayError(
                f"`optimizer_variables` must be a list of the {expected} variables of this {name}. "
                f"Received: {type(optimizer_variables).__name__}{size}. Pass `optimizer.variables`, or what the call "
                "before returned."
            )


def _refuse_codes(slots: Sequence[Named]) -> None:
    """Raise ArrayError where slots are kept in blocks: what is passed is decoded, and would be rounded anew."""
    for _, slot, position, _ in slots:
        if is_scale(slot):
            raise ArrayError(
                "stateless_apply() has no slots of 8 bits: they are passed as they are decoded, and would be rounded "
                f"again. Received: storage='int8' for the variable at {position}. Use 'bfloat16', or apply()."
            )


def _head(calls: Calls) -> list[Array]:
    """What comes before the slots: the number of calls, and the learning rate if it is a number."""
    rate = calls.options.learning_rate
    numbers = [np.array(calls.state.ledger.calls, np.int64)]
    return [*numbers, np.array(rate, np.float64)] if isinstance(rate, float) else numbers


def _in_order(given: Any, names: Sequence[str]) -> tuple[list[Any], list[int]]:
    """The values of all variables in build order, and where each of the caller's is in it. Raises ArrayError."""
    if isinstance(given, Mapping):
        place = {name: i for i, name in enumerate(names)}
        unknown, forgotten = [key for key in given if key not in place], [name for name in names if name not in given]
        if unknown or forgotten:
            raise ArrayError(
                "`trainable_variables` must have the names that the optimizer was built with. "
                f"Received: unknown {unknown[:5]}, without {forgotten[:5]}. Pass all variables."
            )
        return [given[name] for name in names], [place[key] for key in given]
    if not isinstance(given, list | tuple) or len(given) != len(names):
        size = f" of {len(given)}" if isinstance(given, list | tuple) else ""
        raise ArrayError(
            f"`trainable_variables` must be a list of the {len(names)} variables that the optimizer was built with. "
            f"Received: {type(given).__name__}{size}. Pass all of them, in the same order."
        )
    return [*given], [*range(len(names))]


def _copied(calls: Calls, given: Sequence[Any], slots: Sequence[Named], values: Sequence[Any]) -> Calls:
    """The calls of an optimizer that has copies of these values. Raises ArrayError where one does not fit."""
    old, options, head = calls.state, calls.options, len(_head(calls))
    made = count(given[0], "iteration")
    if head > 1:
        rate = learning_rate_in(given[1], "the list")
        options = options if rate == options.learning_rate else options.replaced("learning_rate", rate)
    own: list[dict[str, Array]] = [{} for _ in old.variables]
    shared: dict[str, Array] = {}
    with np.errstate(over="ignore"):
        for value, (name, slot, position, array) in zip(given[head:], slots, strict=True):
            (own[position] if position >= 0 else shared)[slot] = _copy(value, array, f"{LIST}: {name!r}")
        pairs = zip(old.variables, values, strict=True)
        copies = [_copy(value, one.array, f"variable {one.name!r}") for one, value in pairs]
    each = zip(old.variables, copies, own, strict=True)
    members = Members([dataclasses.replace(one, array=copy, given=None, slots=slots) for one, copy, slots in each])
    state = dataclasses.replace(
        State(old.rule, members, shared, Ledger(len(copies)), built=True),
        endings=old.endings,
        excluded_names=old.excluded_names,
        excluded=old.excluded,
    )
    new = Calls(old.rule, Settings(old.rule, options, state.variables, calls.settings), state)
    state.ledger.count(made)
    state.ledger.progress[:] = new.supposed_after(made).cells
    return new


def _copy(value: Any, like: Array, what: str) -> Array:
    """A new array where `like` is, of its shape and dtype, that has these values. Raises ArrayError."""
    value = getattr(value, "value", value)
    home = home_of(like)
    array = adopted(value, what, for_gradient)[0] if find_home(value) is home else on_host(value, what)
    if array.shape != like.shape or not is_real(array.dtype):
        raise ArrayError(
            f"{what} must have shape {like.shape} and dtype {like.dtype}. "
            f"Received: shape={array.shape}, dtype={array.dtype}."
        )
    if find_home(array) is home:
        return home.new_like(like, array)
    new = home.new_like(like, 0.0)
    home.write(new, array)
    return new


def _progress(calls: Calls, grads: Sequence[Any]) -> Progress:
    """How far the variables are supposed to be.

    That something was added up for a variable matters where a call has no gradient of it; then its sums say it.
    """
    usual = calls.supposed_after(calls.state.ledger.calls)
    windows = [*usual.windows]
    for position, one in enumerate(calls.state.variables):
        if windows[position] and grads[position] is None:
            sums = (array for slot, array in one.slots.items() if slot in calls.state.accumulators)
            windows[position] = any(to_host(array).any() for array in sums)
    return usual._replace(windows=windows)
