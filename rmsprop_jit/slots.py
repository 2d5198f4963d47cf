"""Slots: new ones, each like its variable or one number."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from . import beside
from .arrays.homes import Array, to_host
from .buckets import Part, needed_slots
from .codegen import Rule, Slot, backends
from .codegen.backends.entries import Span
from .codegen.backends.ledger import Ledger
from .codegen.pieces import ERROR, scale_of
from .errors import ArrayError, OptionError
from .flags import OVERWRITE, Flags, part_flags
from .members import Member
from .storages import Storages, codes_for, decoded, dtype_of, usual_of, with_scales

Kind = tuple[str, Flags, Flags, bool]
"""Variables that need the same slots: their dtype, the flags of their options and of their shape, and whether they
become their gradients."""


def of_kind(rule: Rule, kind: Kind, part: Part) -> dict[str, Slot]:
    """The slots that variables of a kind need, by name. `part`: the step, as variables have numbers of their own."""
    dtype, flags, of_shape, is_overwritten = kind
    return needed_slots(rule, part_flags(rule, flags, OVERWRITE) if is_overwritten else flags | of_shape, dtype, part)


def of_variable(
    member: Member, wanted: Mapping[str, Slot], storages: Storages, ledger: Ledger, common: Mapping[str, Array]
) -> dict[str, Array]:
    """A variable's slots of these names: those that it has, in what they are to be kept in, and new ones.

    common: those over all. A variable that has its own of one from now on, as a number differs, goes on with that.
    """
    made: dict[str, Array] = {}
    for name, slot in wanted.items():
        if slot.over != "all":
            own = dataclasses.replace(slot, initial=float(common[name])) if name in common else slot
            made |= _kept(member, name, own, storages.get(name), ledger)
    return made | beside.kept(member, storages)


def _kept(member: Member, name: str, slot: Slot, storage: str | None, ledger: Ledger) -> dict[str, Array]:
    """A slot, and its scales if it is kept in blocks."""
    had, codes = member.slots.get(name), codes_for(storage, slot)
    if slot.over != "element":
        return {name: _coarse(member, name, slot) if had is None else had}
    dtype = usual_of(member) if storage is None else dtype_of(codes or storage)
    own = (name, scale_of(name)) if codes else (name,)
    if had is not None and had.dtype == dtype:
        return {one: member.slots[one] for one in own}
    now = _first(member, slot.initial, ledger) if had is None else _now(member, name, ledger)
    if not codes:
        return {name: member.home.new_like(member.array, now, dtype)}
    from .codegen.codes import count, encoded, filled

    code, scale = filled(float(now), codes) if had is None else (0, 0.0)
    made = member.home.new_like(member.array, code, dtype)
    scales = member.home.new_shaped(member.array, (count(made.shape),), scale, usual_of(member))
    if had is not None:
        for array, value in zip((made, scales), encoded(to_host(now), codes), strict=True):
            member.home.write(array, value)
    return {name: made, scale_of(name): scales}


def _now(member: Member, name: str, ledger: Ledger) -> Any:
    """What a slot is between two calls, decoded."""
    spans = [Span(member.slots[one], member.address(one)) for one in with_scales(member, name)]
    return decoded(*_as_they_are(member, spans, ledger))


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
        own = {float(to_host(member.slots[name])) for member in members if name in member.slots}
        if len(own) > 1:
            raise OptionError(
                f"the slot {name!r} is one for all variables where no group has a number that it follows from, and "
                f"theirs are different by now. Received: groups without such a number, and {sorted(own)[:3]} there. "
                "Leave a group that names the number, with the value that it shall have."
            )
        return np.array(own.pop() if own else slot.initial, np.float64)

    return {name: had[name] if name in had else new(name, slot) for name, slot in found.items()}


def without_leftovers(member: Member, left_over: Collection[str]) -> dict[str, Array]:
    """A variable's slots, zeros in place of what an empty window has left over."""
    slots = member.slots.items()
    return {slot: member.home.new_like(array, 0.0) if slot in left_over else array for slot, array in slots}


def _first(member: Member, initial: float | str, ledger: Ledger) -> Any:
    """What a new slot holds; of a parameter what it is between two calls, for another thread may be in one."""
    if initial != "parameter":
        return float(initial)
    now = _as_they_are(member, [Span(member.array, member.address())], ledger)[0]
    return now if ERROR not in member.slots else beside.whole(member)


def _as_they_are(member: Member, spans: Sequence[Span], ledger: Ledger) -> Sequence[Any]:
    """What arrays of a variable are between two calls."""
    if member.place != "cpu" or not ledger.calls:  # elsewhere one thread calls
        return [span.array for span in spans]
    return backends.of(member.place).read(ledger, spans)[0]
