"""Slots: new ones, each like its variable or one number."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .arrays.homes import Array
from .buckets import needed_slots
from .codegen import Rule, Slot, backends
from .codegen.backends.entries import Span
from .codegen.backends.ledger import Ledger
from .errors import ArrayError
from .flags import OVERWRITE, Flags, part_flags
from .members import Member
from .storages import Storages, dtype_of, usual_of

Kind = tuple[str, Flags, Flags, bool]
"""Variables that need the same slots: their dtype, the flags of their options and of their shape, and whether they
become their gradients."""


def of_kind(rule: Rule, kind: Kind) -> dict[str, Slot]:
    """The slots that variables of a kind need, by name."""
    dtype, flags, of_shape, is_overwritten = kind
    return needed_slots(rule, part_flags(rule, flags, OVERWRITE) if is_overwritten else flags | of_shape, dtype)


def of_variable(member: Member, wanted: Mapping[str, Slot], storages: Storages, ledger: Ledger) -> dict[str, Array]:
    """A variable's slots of these names: those that it has, in what they are to be kept in, and new ones."""
    own = {name: slot for name, slot in wanted.items() if slot.over != "all"}
    return {name: _kept(member, name, slot, storages.get(name), ledger) for name, slot in own.items()}


def _kept(member: Member, name: str, slot: Slot, storage: str | None, ledger: Ledger) -> Array:
    had = member.slots.get(name)
    if slot.over != "element":
        return _coarse(member, name, slot) if had is None else had
    dtype = usual_of(member) if storage is None else dtype_of(storage)
    if had is None:
        return member.home.new_like(member.array, _first(member, slot.initial, ledger), dtype)
    if had.dtype == dtype:
        return had
    now = _as_it_is(member, Span(had, member.address(name)), ledger)
    return member.home.new_like(member.array, now, dtype)


def _coarse(member: Member, name: str, slot: Slot) -> Array:
    """A new slot of one number, or over axes."""
    if slot.over == "tensor":
        return member.home.new_number(member.array, float(slot.initial))
    try:
        shape = slot.shape_of(member.array.shape)
    except ArrayError as problem:
        raise ArrayError(f"slot {name!r} of variable {member.name!r}: {problem}") from None
    return member.home.new_shaped(member.array, shape, float(slot.initial))


def of_all(
    had: Mapping[str, Array],
    wanted: Iterable[Mapping[str, Slot]],
    gathered: frozenset[str],
    members: Sequence[Member],
) -> dict[str, Array]:
    """The slots over all that any variable needs: those that are there, and new ones.

    gathered: those of them that are where the variables are; the others are in host memory. Raises ArrayError if there
              are some, and variables in several places.
    """
    found = {name: slot for slots in wanted for name, slot in slots.items() if slot.over == "all"}
    places = sorted({member.place for member in members})
    if len(places) > 1 and gathered & found.keys():
        raise ArrayError(
            "a slot over 'all' that is given what a step reduces needs all variables in one place. Received: the slots "
            f"{sorted(gathered & found.keys())}, and variables on {', '.join(places)}. Use an optimizer for each place."
        )

    def new(name: str, slot: Slot) -> Array:
        if name in gathered:
            return members[0].home.new_number(members[0].array, float(slot.initial))
        return np.array(slot.initial, np.float64)

    return {name: had[name] if name in had else new(name, slot) for name, slot in found.items()}


def without_leftovers(member: Member, left_over: Collection[str]) -> dict[str, Array]:
    """A variable's slots, zeros in place of what an empty window has left over."""
    slots = member.slots.items()
    return {slot: member.home.new_like(array, 0.0) if slot in left_over else array for slot, array in slots}


def _first(member: Member, initial: float | str, ledger: Ledger) -> Any:
    """What a new slot holds; of a parameter what it is between two calls, for another thread may be in one."""
    if initial != "parameter":
        return float(initial)
    return _as_it_is(member, Span(member.array, member.address()), ledger)


def _as_it_is(member: Member, span: Span, ledger: Ledger) -> Any:
    """What a variable or a slot is between two calls."""
    if member.place != "cpu" or not ledger.calls:  # elsewhere one thread calls
        return span.array
    return backends.of(member.place).read(ledger, [span])[0][0]
