"""What lies beside variables: the errors of those that are kept in 24 bits, and copies for who computes with those.

An error says what a bfloat16 variable is more than it shows (see `codegen/beside.py`); it is state, and of a `Variable`
it is cleared where something is assigned. A copy is the caller's own array, which each update writes, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .arrays.checks import check_array, check_writable
from .arrays.homes import Array
from .arrays.memory import lie_alike
from .codegen import backends
from .codegen.backends.entries import Cell, Span
from .codegen.backends.ledger import Ledger
from .codegen.dtypes import FINE
from .codegen.pieces import COPY, ERROR
from .errors import ArrayError, OptionError
from .members import Member, Variables
from .overlaps import overlapping

SUFFIX = ".error"
"""At the end of an error's name in a state."""


def kept(member: Member, storages: Mapping[str, str]) -> dict[str, Array]:
    """What lies beside a variable: its error, if it is to have one, and the caller's copy."""
    found = {name: array for name, array in member.slots.items() if name == COPY}
    if ERROR not in storages:
        return found
    error = member.slots.get(ERROR)
    if error is None:
        error = member.home.new_like(member.array, 0, np.dtype(np.int8))
    if member.variable is not None:
        member.variable.error = error
    return {ERROR: error, **found}


def whole(member: Member) -> Array:
    """What a variable is: with its error, if it has one, a new array of float32."""
    if ERROR not in member.slots:
        return member.array
    bits, error = member.array.view(np.uint16), member.slots[ERROR].astype(np.int32)
    has_error = ((bits & 0x7FFF) != 0) | (error > 0)
    found = (bits.astype(np.int32) << 16) + (error * has_error << 8)
    made: Array = found.astype(np.int32).view(np.float32)
    return made


def pairs(member: Member, value: Array, keeps_error: bool = False) -> list[tuple[Span, Span]]:
    """What is copied, (target, source), so that a variable becomes `value`: over its array and what lies beside it.

    Whoever copies does all of it at once, or nothing: an array beside what belongs to another would be neither.
    keeps_error: whether its error stays where the array shows `value` already.
    """
    found = [_pair(member, "parameter", value)]
    if ERROR in member.slots:
        error = member.slots[ERROR]
        stays = value.view(np.uint16) == member.array.view(np.uint16) if keeps_error else 0
        found.append(_pair(member, ERROR, member.home.new_like(error, error * stays)))
    return [*found, *copied(member, value)]


def copied(member: Member, value: Array) -> list[tuple[Span, Span]]:
    """What is copied so that a variable's copy, if it has one, shows `value`, which is an array of its place."""
    if COPY not in member.slots:
        return []
    with np.errstate(all="ignore"):
        return [_pair(member, COPY, member.home.new_like(member.slots[COPY], value))]


def _pair(member: Member, name: str, source: Array) -> tuple[Span, Span]:
    return Span(member.named(name), member.address(name)), Span(source, member.home.address(source))


def loaded(member: Member, value: Array) -> list[tuple[Span, Array]]:
    """What is written, too, where this array of host memory is loaded into a variable."""
    if COPY not in member.slots:
        return []
    copy = member.slots[COPY]
    with np.errstate(all="ignore"):
        return [(Span(copy, member.address(COPY)), np.ascontiguousarray(value, copy.dtype))]


def show(members: Iterable[Member], ledger: Ledger) -> None:
    """Write the copies of variables, as these are between two calls: if one came meanwhile, anew."""
    for member in members:
        backend, is_done = backends.of(member.place), COPY not in member.slots
        while not is_done:
            changes, own = int(ledger.cells[Cell.CHANGES]), Span(member.array, member.address())
            now = (
                backend.read(ledger, [own])[0][0] if member.place == "cpu" else own.array
            )  # elsewhere one thread calls
            is_done = backend.replace(ledger, copied(member, now), Cell.CHANGES, changes, changes)


def adapted(slots: Mapping[str, Any], targets: Mapping[str, Array]) -> dict[str, Any]:
    """A saved state's slots for an optimizer with these: without errors that have no place, with none where it has."""
    found = {name: array for name, array in slots.items() if not name.endswith(SUFFIX) or name in targets}
    for name, array in targets.items():
        if name.endswith(SUFFIX) and name not in found:
            found[name] = np.zeros(array.shape, np.int8)
    return found


def with_copies(members: Sequence[Member], copies: Variables | None) -> list[Member]:
    """The variables, with these arrays as their copies, and no others. Raises ArrayError, naming the culprit."""
    given = {} if copies is None else _by_position(members, copies)
    made = []
    for position, member in enumerate(members):
        slots = {name: array for name, array in member.slots.items() if name != COPY}
        if position in given:
            slots[COPY] = _checked(member, given[position])
        made.append(member.with_slots(slots))
    _refuse_overlaps(made)
    return made


def _refuse_overlaps(members: Sequence[Member]) -> None:
    """Raise ArrayError where a copy shares memory with anything else that a step writes."""
    if pair := overlapping(members):
        first, second = (f"{name} of variable {one.name!r}" for one, name in pair)
        raise ArrayError(
            f"{first} and {second} share memory, so that writing one would destroy the other. Received: overlapping "
            "arrays. Pass arrays of their own."
        )


def _by_position(members: Sequence[Member], copies: Variables) -> dict[int, Any]:
    if not isinstance(copies, Mapping):
        if not isinstance(copies, list | tuple) or len(copies) != len(members):
            size = f" of {len(copies)}" if isinstance(copies, list | tuple) else ""
            raise ArrayError(
                f"copies are a dict by the variables' names, or a list of one for each of {len(members)} variables. "
                f"Received: {type(copies).__name__}{size}."
            )
        return {position: copy for position, copy in enumerate(copies) if copy is not None}
    found: dict[int, str] = {}
    for name in copies:
        position = _position(members, name)
        if position in found:
            raise ArrayError(
                f"a variable has one copy. Received: two for {members[position].path!r}, as {found[position]!r} and as "
                f"{name!r}. Pass one of them."
            )
        found[position] = name
    return {position: copies[name] for position, name in found.items()}


def _position(members: Sequence[Member], name: str) -> int:
    """Which variable has this path, or else alone this name. Raises ArrayError if none or several have."""
    exact = [i for i, one in enumerate(members) if one.path == name]
    named = exact or [i for i, one in enumerate(members) if one.name == name]
    if not named:
        raise ArrayError(
            f"a copy is of a variable that this optimizer was built on. Received: {name!r}; its variables: "
            f"{[one.path for one in members][:5]}."
        )
    if len(named) > 1:
        raise ArrayError(
            f"a copy is of one variable. Received: {name!r}, which is what {len(named)} variables are called: "
            f"{[members[i].path for i in named][:5]}. Pass copies by these paths."
        )
    return named[0]


def _checked(member: Member, copy: Any) -> Array:
    """An array that a variable's copy can be written to."""
    what = f"the copy of variable {member.name!r}"

    def remedy(_: str) -> str:
        return "Pass an array like the variable, of dtype bfloat16."

    array, home, _ = check_array(copy, what, remedy)
    place = home.place(array)
    if member.dtype != "float32":
        raise ArrayError(
            f"{what} would be of a variable of float32. Received: one of {member.dtype}. Keep the variable in float32, "
            f"or, to have the precision without a copy, use storage={{'.*:parameter': {FINE!r}}}."
        )
    if array.dtype.name != "bfloat16" or array.shape != member.array.shape or place != member.place:
        raise ArrayError(
            f"{what} must be of dtype bfloat16, of shape {member.array.shape}, on {member.place}. "
            f"Received: dtype={array.dtype}, shape={array.shape}, on {place}."
        )
    if not lie_alike(array, member.array):
        raise ArrayError(f"{what} must lie in memory as the variable does. Received: strides={array.strides}.")
    check_writable(copy, f"{member.name}: copy", home)
    return array


def fine(asked: Mapping[str, str], members: Sequence[Member]) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Patterns of 24 bits, and the names that they are about. Raises OptionError where no variable can have them."""
    own = {pattern: kept for pattern, kept in asked.items() if kept == FINE}
    names = [(f"{one.path}:parameter", f"{one.name}:parameter") for one in members if one.dtype == "bfloat16"]
    if own and not names:
        raise OptionError(
            f"`storage`: {FINE} is for variables of bfloat16. Received: {next(iter(own))!r} for variables of "
            f"{', '.join(sorted({one.dtype for one in members}))}. Make them bfloat16, or leave it out."
        )
    return own, names
