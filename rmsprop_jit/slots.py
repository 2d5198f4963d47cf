"""Slots: allocate what a program lists, in the order in which Keras saves it. Nothing here knows an option."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from .arrays.homes import Array, home_of
from .tracked import Tracked


def allocate(tracked: Tracked, initial: Mapping[str, float | str]) -> None:
    """Make the slots that `tracked` lacks, drop those it no longer needs, keep the others; order as in `initial`."""
    tracked.slots = {
        name: tracked.slots[name]
        if name in tracked.slots
        else home_of(tracked.array).new_like(tracked.array, tracked.array if value == "parameter" else float(value))
        for name, value in initial.items()
    }
    tracked.window = tracked.window and "gradient_accumulator" in tracked.slots


def blocks(tracked: Sequence[Tracked], order: Sequence[str]) -> Iterator[tuple[str, Array]]:
    """All slots by name, in Keras's order: a block for each kind of slot, variables in build order inside it."""
    for slot in order:
        for one in tracked:
            if slot in one.slots:
                yield f"{one.prefix}_{slot}", one.slots[slot]
