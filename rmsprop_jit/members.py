"""Members: the variables that an optimizer was built on, and how a caller's arrays are matched to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .arrays.checks import adopted, check_gradient, check_variable, check_writable, for_variable
from .arrays.homes import Array, Int64, Reader, home_of, is_array, keeps_its_memory, write
from .arrays.memory import Memory, same_memory
from .errors import ArrayError
from .variable import Variable

MANY = 4
"""From so many gradients on they are read at once by compiled code, which costs a compilation the first time."""

Variables = Mapping[str, Any] | Sequence[Any]
"""Arrays or Variables: a list, or a dict from names to them."""


@dataclass
class Member:
    """A variable that an optimizer updates.

    name, path: as the variable's own; slots are called `<path with _>_<slot>`.
    array:      what is updated; `given` is the caller's object for the same memory (a torch tensor, say), or itself.
    window:     whether gradients have been added up since the last update. While it is False the accumulator holds
                leftovers, which the next micro-step overwrites; `seen` hides them from a reader.
    """

    name: str
    path: str
    array: Array
    variable: Variable | None
    given: Any = None
    slots: dict[str, Array] = field(default_factory=dict)
    window: bool = False

    def seen(self, slot: str, window: bool) -> Array:
        """A slot for a reader of the state: the array itself, or fresh zeros in place of leftovers.

        window: what `window` was when the reader began. Clearing the leftovers where they are would lose gradients
                that another thread is just adding up.
        """
        array = self.slots[slot]
        is_left_over = slot == "gradient_accumulator" and not window
        return home_of(array).new_like(array, 0.0) if is_left_over else array

    def is_where_it_was(self) -> bool:
        """Whether the caller's object still stands for the array that is updated."""
        if self.given is None or keeps_its_memory(self.given):
            return True
        return same_memory(self.array, adopted(self.given, f"variable {self.name!r}", for_variable))

    @property
    def prefix(self) -> str:
        """The first part of its slots' names."""
        return self.path.replace("/", "_")

    @property
    def accumulates(self) -> bool:
        """Whether gradients can be added up for it; a window can be open only then."""
        return "gradient_accumulator" in self.slots

    @property
    def is_constrained(self) -> bool:
        """Whether a constraint changes it after an update."""
        return self.variable is not None and self.variable.constraint is not None

    def constrain(self) -> None:
        """Apply the constraint, if there is one."""
        if self.variable is not None and self.variable.constraint is not None:
            write(self.array, self.variable.constraint(self.array))

    def __getstate__(self) -> dict[str, Any]:
        window = self.window
        slots = {slot: self.seen(slot, window) for slot in self.slots}
        return {**self.__dict__, "given": None, "window": window, "slots": slots}


def track(variables: Variables | Iterable[Any]) -> list[Member]:
    """Check the variables and list them. Raises ArrayError, naming the culprit, for arrays that cannot be updated."""
    if isinstance(variables, Variable | str) or (
        not isinstance(variables, Mapping | list | tuple) and is_array(variables)
    ):
        raise ArrayError(
            f"variables are a list or a dict of arrays. Received: one {type(variables).__name__}. Pass [variable]."
        )
    tracked = [_member(i, key, value) for i, (key, value) in enumerate(_with_names(variables))]
    _refuse_shared(tracked)
    _tell_apart(tracked)
    return tracked


def _with_names(variables: Variables | Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    if isinstance(variables, Mapping):
        return iter(variables.items())
    return ((None, variable) for variable in variables)


def _member(i: int, key: object, value: object) -> Member:
    variable = value if isinstance(value, Variable) else None
    if key is not None and not isinstance(key, str):
        raise ArrayError(f"names of variables are strings. Received: key {key!r}.")
    name = key or (f"variable_{i}" if variable is None else variable.name)
    path = key or (name if variable is None else variable.path)
    given = value if variable is None else variable.value
    return Member(name, path, check_variable(given, name), variable, given)


def _refuse_shared(tracked: Sequence[Member]) -> None:
    seen: dict[int, str] = {}
    for one in tracked:
        if id(one.array) in seen:
            raise ArrayError(
                f"variable {one.name!r} is in the list twice (also as {seen[id(one.array)]!r}). "
                f"Received: the same array of shape {one.array.shape}. Pass each variable once."
            )
        seen[id(one.array)] = one.name
    pair = Memory([(one.name, one.array) for one in tracked]).overlapping_pair()
    if pair:
        raise ArrayError(
            f"variables {pair[0]!r} and {pair[1]!r} share memory, so that one update would destroy the other's. "
            "Received: overlapping arrays. Pass copies, or only the array that holds both."
        )


def _tell_apart(tracked: Sequence[Member]) -> None:
    """Give variables of equal paths paths of their own ("variable", "variable_1"), so that state has unique names."""
    taken: set[str] = set()
    tried: dict[str, int] = {}  # where to go on: thousands of variables may have one name
    for one in tracked:
        path, prefix = one.path, one.prefix
        i = tried.get(prefix, 0)
        while one.prefix in taken:
            i += 1
            one.path = f"{path}_{i}"
        tried[prefix] = i
        taken.add(one.prefix)


class Members:
    """The built variables, ready for questions: which one is this array, may this gradient be used."""

    def __init__(self, tracked: Sequence[Member]) -> None:
        self.tracked = tracked
        self._reader: Reader | None = None
        self._nbytes: Int64 | None = None
        self._position = {id(one.given): i for i, one in enumerate(tracked) if one.given is not None}
        self._position |= {id(one.array): i for i, one in enumerate(tracked)}
        self.memory = Memory(
            [(f"variable {one.name!r}", one.array) for one in tracked]
            + [(f"slot {slot!r} of {one.name!r}", array) for one in tracked for slot, array in one.slots.items()]
        )

    def positions_of(self, variables: Variables) -> list[int]:
        """Where each of the caller's variables is in the built list. Raises ArrayError for unknown or repeated ones."""
        positions = [self._position_of(key, variable) for key, variable in _with_names(variables)]
        for i, position in enumerate(positions) if len(set(positions)) < len(positions) else ():
            if position in positions[:i]:
                raise ArrayError(
                    f"variable {self.tracked[position].name!r} is in this call twice. Received: {len(positions)} "
                    "variables. Add its gradients up and pass it once."
                )
        return positions

    def addresses_of(self, gradients: Sequence[Any]) -> Int64:
        """The address of each variable's gradient, 0 for None, after all checks. Raises ArrayError for a bad one."""
        for one in self.tracked:
            check_writable(one.array, one.name)
            if not one.is_where_it_was():
                raise ArrayError(
                    f"variable {one.name!r} has other memory than when the optimizer was built. Received: "
                    f"{type(one.given).__name__} that was pointed elsewhere. Make a new optimizer for it."
                )
        pairs = zip(gradients, self.tracked, strict=True)
        return np.array(
            [0 if gradient is None else self.address_of(gradient, one) for gradient, one in pairs], np.int64
        )

    def read_at_once(self, gradients: Sequence[Any]) -> Int64 | None:
        """What `addresses_of` gives, by compiled code, if every gradient is an ordinary array without fault.

        None means no more than that `addresses_of` must have a look.
        """
        if len(gradients) < MANY:
            return None
        if self._nbytes is None:
            self._reader = _reader_of([one.array for one in self.tracked])
            self._nbytes = np.array([one.array.nbytes for one in self.tracked], np.int64)
        addresses = None if self._reader is None else self._reader.read(gradients)
        if addresses is None or self.memory.is_touched(addresses, self._nbytes):
            return None
        return addresses

    def find(self, array: object) -> int | None:
        """The position of an array, itself or a full view of it, in the built list."""
        position = self._position.get(id(array))
        if position is not None and array is not self.tracked[position].array:
            position = position if self.tracked[position].is_where_it_was() else None
        if position is None and is_array(array):
            seen = adopted(array, "a variable", for_variable)
            position = next((i for i, one in enumerate(self.tracked) if same_memory(one.array, seen)), None)
        return position

    def _position_of(self, key: str | None, variable: object) -> int:
        array = variable.value if isinstance(variable, Variable) else variable
        position = self.find(array)
        if position is None:
            label = key or getattr(variable, "name", None) or f"of shape {getattr(array, 'shape', None)}"
            raise ArrayError(
                f"Unknown variable: {label}. This optimizer can only be called for the variables it was built with. "
                f"Received: an array that is none of {[one.name for one in self.tracked][:5]}. "
                "Make a new optimizer for a new set of variables."
            )
        return position

    def address_of(self, gradient: object, one: Member) -> int:
        """A gradient's address. Raises ArrayError unless it fits its variable, or if a step writes to its memory."""
        checked, address = check_gradient(gradient, one.array, one.name)
        touched = self.memory.touched_by(address, checked.nbytes)
        if touched:
            raise ArrayError(
                f"the gradient of {one.name!r} shares memory with {touched}, which the step writes. "
                "Received: overlapping arrays. Pass a copy of the gradient."
            )
        return address


def same_variables(ours: Sequence[Member], theirs: Sequence[Member]) -> bool:
    """Whether two lists name the same arrays in the same order."""
    pairs = zip(ours, theirs, strict=False)
    return len(ours) == len(theirs) and all(same_memory(a.array, b.array) for a, b in pairs)


def _reader_of(patterns: Sequence[Array]) -> Reader | None:
    """Reads the addresses of arrays like `patterns`, if all are of one kind that can be read at once."""
    first, *others = {home_of(array) for array in patterns}
    return None if others else first.reader(patterns)
