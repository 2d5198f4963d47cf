"""
Tracked variables and their slots: allocate, name, save, load.

Slots exist because a program lists them (see `codegen.lower.prune`); nothing here knows an option.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from .arrays import Array, Memory, aligned_like, check_variable
from .errors import ArrayError
from .variable import Variable

FORMAT_VERSION = 1
"""Of the dict that `state_dict` returns; a dict of another version is refused."""


@dataclass
class Tracked:
    """
    A variable that an optimizer updates.

    name, path: as the variable's own; slots are called `<path with _>_<slot>`.
    window:     whether gradients have been added up since the last update. While it is False the accumulator holds
                leftovers, which the next micro-step overwrites; `settle_window` clears them for a reader.
    """

    name: str
    path: str
    array: Array
    variable: Variable | None
    slots: dict[str, Array] = field(default_factory=dict)
    window: bool = False

    def settle_window(self) -> None:
        """Make an empty window's accumulator zero, as a reader of the state expects."""
        accumulator = self.slots.get("gradient_accumulator")
        if accumulator is not None and not self.window:
            accumulator[...] = 0

    @property
    def prefix(self) -> str:
        """The first part of its slots' names."""
        return self.path.replace("/", "_")


def track(variables: Mapping[str, object] | Iterable[object]) -> list[Tracked]:
    """Check the variables and list them. Raises ArrayError, naming the culprit, for arrays that cannot be updated."""
    named: Iterator[tuple[str | None, object]]
    if isinstance(variables, Mapping):
        named = iter(variables.items())
    elif isinstance(variables, np.ndarray | Variable | str):
        raise ArrayError(
            f"variables are a list or a dict of arrays. Received: one {type(variables).__name__}. Pass [variable]."
        )
    else:
        named = ((None, variable) for variable in variables)
    tracked = [_tracked(i, key, value) for i, (key, value) in enumerate(named)]
    _refuse_shared(tracked)
    _tell_apart(tracked)
    return tracked


def _tell_apart(tracked: Sequence[Tracked]) -> None:
    """Give variables of equal paths paths of their own ("variable", "variable_1"), so that state has unique names."""
    taken: set[str] = set()
    for one in tracked:
        path, i = one.path, 0
        while one.prefix in taken:
            i += 1
            one.path = f"{path}_{i}"
        taken.add(one.prefix)


def _tracked(i: int, key: object, value: object) -> Tracked:
    variable = value if isinstance(value, Variable) else None
    if key is not None and not isinstance(key, str):
        raise ArrayError(f"names of variables are strings. Received: key {key!r}.")
    name = key or (f"variable_{i}" if variable is None else variable.name)
    path = key or (name if variable is None else variable.path)
    return Tracked(name, path, check_variable(value if variable is None else variable.value, name), variable)


def _refuse_shared(tracked: Sequence[Tracked]) -> None:
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


def allocate(tracked: Tracked, initial: Mapping[str, float | str]) -> None:
    """Make the slots that `tracked` lacks, drop those it no longer needs, keep the others; order as in `initial`."""
    tracked.slots = {
        name: tracked.slots[name]
        if name in tracked.slots
        else aligned_like(tracked.array, tracked.array if value == "parameter" else float(value))
        for name, value in initial.items()
    }


def blocks(tracked: Sequence[Tracked], order: Sequence[str]) -> Iterator[tuple[str, Array]]:
    """All slots by name, in Keras's order: a block for each kind of slot, variables in build order inside it."""
    for one in tracked:
        one.settle_window()
    for slot in order:
        for one in tracked:
            if slot in one.slots:
                yield f"{one.prefix}_{slot}", one.slots[slot]


def copy_into(targets: Mapping[str, Array], sources: Mapping[str, object], what: str) -> None:
    """Copy arrays by name, all or none. Raises ArrayError for a missing, surplus or misshapen one."""
    missing, surplus = targets.keys() - sources.keys(), sources.keys() - targets.keys()
    if missing or surplus:
        raise ArrayError(
            f"{what} does not fit this optimizer: missing {sorted(missing)[:5]}, unknown {sorted(surplus)[:5]}. "
            "Build it on the same variables with the same options first."
        )
    given = {name: np.asarray(sources[name]) for name in targets}
    for name, target in targets.items():
        if given[name].shape != target.shape or not np.can_cast(given[name].dtype, target.dtype, "same_kind"):
            raise ArrayError(
                f"{what}: {name!r} must have shape {target.shape} and dtype {target.dtype}. "
                f"Received: shape={given[name].shape}, dtype={given[name].dtype}."
            )
    for name, target in targets.items():
        target[...] = given[name]


def numbered(store: MutableMapping[str, object]) -> list[object]:
    """The values of a store with keys "0", "1", ... in order. Raises ArrayError for other keys."""
    try:
        return [store[str(i)] for i in range(len(store))]
    except KeyError as missing:
        raise ArrayError(f"a saved optimizer has keys '0', '1', ... Received: no key {missing}.") from None


def count(value: object, what: str) -> int:
    """A counter read from a saved state. Raises ArrayError unless it is a whole number >= 0."""
    number = float(np.asarray(value, dtype=np.float64).reshape(-1)[0]) if np.size(value) == 1 else math.nan
    if not (number >= 0 and number == int(number)):
        raise ArrayError(f"{what} must be a whole number >= 0. Received: {value!r}.")
    return int(number)
