"""Kept: the state of parameters, as torch keeps it: for each a dict of tensors, by torch's names.

Counts of steps, and numbers that a rule has for all tensors, are one number a parameter; those of all parameters lie in
one array, at which the tensors in the dicts look, so that a step counts all of them at once. Where a step itself makes
numbers of what it reduces over all parameters, they have these, and the count, in common: one tensor in all dicts.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch

from ..arrays.checks import check_variable
from ..arrays.homes import Array
from ..arrays.memory import lie_alike
from ..arrays.parts import are_changed
from ..codegen import Slot
from ..codegen.backends.tensors import CANNOT_SAY, stay
from ..errors import ArrayError
from ..identity import same
from ..members import Member
from ..overlaps import overlapping
from .lent import Lent, Reach
from .pages import in_large_pages

STEP = "step"


class Kept:
    """The states of some parameters, which it makes where they lack something, and what of them a step writes.

    members: the parameters, each with its wanted slots. `wanted`: for each of them, its slots by our names.
    numbers: by name, of each parameter one: the steps made, and slots over all that the host computes.
    common:  by name, one tensor for all: slots over all that a step gathers. Where there are any, `numbers` are the
             same for all, too.
    Nothing is in the states before they are `entered`.
    """

    def __init__(
        self,
        members: Sequence[Member],
        states: Any,
        wanted: Sequence[Mapping[str, Slot]],
        words: Mapping[str, str],
        gathered: Collection[str] = (),
        has_twin: bool = True,
    ) -> None:
        own = [states.get(one.given) or {} for one in members]
        shared = {name: slot for slots in wanted for name, slot in slots.items() if slot.over == "all"}
        starts = {STEP: 0.0} | {name: float(slot.initial) for name, slot in shared.items()}
        keys = {STEP: STEP, **words}
        each = list(zip(members, own, strict=True))
        found = {
            name: [_number(one, state, keys[name], start, own_steps(state, words)) for one, state in each]
            for name, start in starts.items()
        }
        self.is_common = not shared.keys().isdisjoint(gathered)
        if self.is_common:
            found = {name: _agreed(each, keys[name], values) for name, values in found.items()}
        arrays = [_arrays(one, state, slots, words) for one, state, slots in zip(members, own, wanted, strict=True)]
        self.members = [one.with_slots(slots) for one, (slots, _) in zip(members, arrays, strict=True)]
        _refuse_shared(self.members)
        self.common = {
            name: _one(own, keys[name], values[0], members[0].given.device)
            for name, values in found.items()
            if name in gathered
        }
        self.numbers = {
            name: _vector(own, keys[name], values, has_twin)
            for name, values in found.items()
            if name not in self.common
        }
        self._keys, self._states, self._tensors = keys, states, [tensors for _, tensors in arrays]
        self._is_entered = False
        self._stay_shared: Callable[[], bool] | None = None  # of states of which others have but the memory

    def enter(self) -> None:
        """Put into the states what they lack, if that was not done yet."""
        if self._is_entered:
            return
        own = [self._states[one.given] for one in self.members]
        slots = [tensor for tensors in self._tensors for tensor in tensors.values()]
        for state, tensors in zip(own, self._tensors, strict=True):
            state.update(tensors)
            state.update({self._keys[name]: tensor for name, tensor in self.common.items()})
        numbers = [torch.from_numpy(vector).unbind() if own else () for vector in self.numbers.values()]
        for name, each in zip(self.numbers, numbers, strict=True):
            for state, tensor in zip(own, each, strict=True):
                state[self._keys[name]] = tensor
        self._dicts, self._lent = list(self._states.values()), Lent(own, slots, numbers)
        self._values = list(chain.from_iterable(map(dict.values, self._lent.dicts)))
        asked = [*self._lent.tensors, *self.common.values()]
        self._stay = stay(asked, [one.data_ptr() for one in asked])
        self._complex = [i for i, one in enumerate(self._lent.tensors) if one.is_complex()]
        self._is_entered, self._tensors = True, []

    def reach(self, known: Reach) -> Reach:
        """What others may have of the states, where it is known already that it is no more than this."""
        if not self._is_entered or self.common:
            return Reach.OBJECTS
        if known is Reach.MEMORY and self._stay_shared is not None and self._lent.is_shared():
            return known
        self._stay_shared = None  # which has the tensors, too
        found, shared = self._lent.reach(), self._lent.shared()
        begins = [one.data_ptr() for one in shared]
        self._stay_shared = stay(shared, begins) if found is Reach.MEMORY else None
        return found

    def stays(self, states: Any, reach: Reach) -> bool:
        """Whether the same tensors are in the same dicts, and lie where they lay; what others do not have does."""
        if states is not self._states or not self._is_entered:
            return False
        try:
            if reach is Reach.MEMORY and self._stay_shared is not None:
                return bool(self._stay_shared())
            return reach is Reach.NOTHING or (self._holds() and bool(self._stay()))
        except CANNOT_SAY:
            return False

    def _holds(self) -> bool:
        """Whether the same tensors are in the same dicts, and none of them is conjugated when it is read."""
        if self._complex and are_changed([], map(self._lent.tensors.__getitem__, self._complex)):
            return False
        if not same(self._states.values(), self._dicts):
            return False
        return same(list(chain.from_iterable(map(dict.values, self._lent.dicts))), self._values)


def own_steps(state: Mapping[str, Any], words: Mapping[str, str]) -> float:
    """What a state without a count says of it: torch's SGD has none, and no momentum before its first step."""
    return float(any(state.get(key) is not None for key in words.values()))


def _refuse_shared(members: Sequence[Member]) -> None:
    """Raise ArrayError where states were given the same memory, or that of a parameter."""
    if pair := overlapping(members):
        (first, name), (second, other) = pair
        raise ArrayError(
            f"{name!r} of {first.name} and {other!r} of {second.name} share memory, so that one update would destroy "
            "the other's. Received: overlapping tensors in the state. Put a clone in the place of one."
        )


def _number(one: Member, state: Mapping[str, Any], key: str, start: float, steps: float) -> float:
    """A number of a parameter's state, which is a tensor, or in old checkpoints a number. Raises ArrayError."""
    value = state.get(key)
    if value is None:
        return steps if key == STEP else start
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError):
        raise _unfit(one, key, "is a number", value) from None
    if key == STEP and not 0.0 <= number < math.inf:
        raise _unfit(one, key, "is a finite number >= 0", value)
    return number


def _unfit(one: Member, key: str, expected: str, value: object) -> ArrayError:
    """The error of a state that has something else in this place."""
    received = textwrap.shorten(repr(value), 60, placeholder=" ...")
    return ArrayError(f"{one.name}, state {key!r} {expected}. Received: {received}. Load a state as it was saved.")


def _agreed(each: Sequence[tuple[Member, Mapping[str, Any]]], key: str, values: Sequence[float]) -> list[float]:
    """A number that all have in common, for each; who has none yet takes it. Raises ArrayError where they differ."""
    there = [i for i, (_, state) in enumerate(each) if state.get(key) is not None]
    first = there[0] if there else 0
    for i in there:
        if np.float64(values[i]).tobytes() != np.float64(values[first]).tobytes():
            raise ArrayError(
                f"{each[i][0].name}, state {key!r} is a number that all parameters have in common. Received: "
                f"{values[i]!r}, and {values[first]!r} of {each[first][0].name}. Load a state as it was saved."
            )
    return [values[first]] * len(values) if values else []


def _one(own: Sequence[Mapping[str, Any]], key: str, value: float, device: Any) -> Any:
    """The tensor of a number that all have in common: the one that is there, or a new one."""
    there = {id(state.get(key)): state.get(key) for state in own}
    found = next(iter(there.values()))
    if len(there) == 1 and isinstance(found, torch.Tensor) and found.dtype == torch.float64 and found.device == device:
        return found
    return torch.tensor(value, dtype=torch.float64, device=device)


def _vector(own: Sequence[Mapping[str, Any]], key: str, values: Sequence[float], has_twin: bool) -> Array:
    """The numbers of all parameters, for the tensors in their states to look at.

    Torch's own are float32 until they are loaded for parameters of float64; of rules that it does not have, float64.
    """
    given = {state[key].dtype for state in own if isinstance(state.get(key), torch.Tensor)}
    wide = (key != STEP and (torch.float64 in given or not has_twin)) or torch.get_default_dtype() == torch.float64
    return np.array(values, np.float64 if wide else np.float32)


def _arrays(
    one: Member, state: Mapping[str, Any], wanted: Mapping[str, Slot], words: Mapping[str, str]
) -> tuple[dict[str, Array], dict[str, Any]]:
    """A parameter's slots, and the tensors that hold them. Raises ArrayError for a state that does not fit."""
    slots: dict[str, Array] = {}
    tensors: dict[str, Any] = {}
    for name, slot in wanted.items():
        if slot.over != "all":
            key = words[name]
            what = f"{one.name}, state {key!r}"
            found = state.get(key)
            if found is not None and not isinstance(found, torch.Tensor):
                raise _unfit(one, key, "is a tensor", found)
            if slot.over == "tensor" and found is not None and found.shape != ():
                raise _unfit(one, key, "is a tensor of one number, without axes", found)
            tensors[key] = _tensor(one, slot, found, what)
            slots[name] = check_variable(tensors[key], what)
    return slots, tensors


def _tensor(one: Member, slot: Slot, found: Any, what: str) -> Any:
    """The tensor of a slot: the one that is there, laid out as the parameter is, or a new one."""
    parameter = one.given.detach()
    if slot.over == "tensor":
        if found is None:
            return torch.tensor(float(slot.initial), dtype=torch.float64, device=parameter.device)
        return found if found.dtype == torch.float64 else found.double()
    like = parameter if slot.over == "element" else parameter.new_empty(_shape(one, slot, what))
    if found is None:
        if slot.initial == "parameter":
            return _new(parameter).copy_(parameter)
        made = _new(like)
        (torch.view_as_real(made) if made.is_complex() else made).fill_(float(slot.initial))
        return made
    if (found.shape, found.dtype, found.device) != (like.shape, like.dtype, like.device):
        raise ArrayError(
            f"{what} does not fit the parameter any more. Received: shape={tuple(found.shape)}, dtype={found.dtype}, "
            f"device={str(found.device)!r}; the parameter asks for {tuple(like.shape)}, {like.dtype}, "
            f"{str(like.device)!r}. Convert the model before the optimizer is made, or load a state."
        )
    if not lie_alike(check_variable(found, what), one.array if like is parameter else check_variable(like, what)):
        return _new(like).copy_(found)
    return found


def _new(like: Any) -> Any:
    """A tensor that nothing was written to, laid out as another."""
    return in_large_pages(torch.empty_like(like, memory_format=torch.preserve_format))


def _shape(one: Member, slot: Slot, what: str) -> tuple[int, ...]:
    """Of a slot over axes. Raises ArrayError for a parameter that does not have them."""
    try:
        return slot.shape_of(one.array.shape)
    except ArrayError as problem:
        raise ArrayError(f"{what}: {problem}") from None
