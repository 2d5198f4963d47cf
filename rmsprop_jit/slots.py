"""Slots: allocate what a program lists, in the order in which Keras saves it. Nothing here knows an option."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from .arrays.homes import Array, home_of
from .members import Member


def allocate(member: Member, initial: Mapping[str, float | str]) -> None:
    """Make the slots that `member` lacks, drop those it no longer needs, keep the others; order as in `initial`."""
    home, array = home_of(member.array), member.array
    member.slots = {
        name: member.slots[name]
        if name in member.slots
        else home.new_like(array, array if value == "parameter" else float(value))
        for name, value in initial.items()
    }
    member.window = member.window and member.accumulates


def blocks(members: Sequence[Member], order: Sequence[str]) -> Iterator[tuple[str, Array]]:
    """All slots by name, in Keras's order: a block for each kind of slot, variables in build order inside it."""
    for slot in order:
        for one in members:
            if slot in one.slots:
                yield f"{one.prefix}_{slot}", one.slots[slot]


def seen(members: Sequence[Member], windows: Sequence[bool], order: Sequence[str]) -> Iterator[tuple[str, Array]]:
    """What `blocks` gives, for a reader of the state, who sees zeros for the accumulators of empty windows."""
    for slot in order:
        for one, window in zip(members, windows, strict=True):
            if slot in one.slots:
                yield f"{one.prefix}_{slot}", one.seen(slot, window)
