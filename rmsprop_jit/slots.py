"""Slots: allocate what a program lists, in the order in which Keras saves it. Nothing here knows an option."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from .arrays import Array, aligned_like
from .tracked import Tracked


def allocate(tracked: Tracked, initial: Mapping[str, float | str]) -> None:
    """Make the slots that `tracked` lacks, drop those it no longer needs, keep the others; order as in `initial`."""
    tracked.slots = {
        name: tracked.slots[name]
        if name in tracked.slots
        else aligned_like(tracked.array, tracked.array if value == "parameter" else float(value))
        for name, value in initial.items()
    }
    tracked.window = tracked.window and tracked.accumulates


def blocks(tracked: Sequence[Tracked], order: Sequence[str]) -> Iterator[tuple[str, Array]]:
    """All slots by name, in Keras's order: a block for each kind of slot, variables in build order inside it."""
    for slot in order:
        for one in tracked:
            if slot in one.slots:
                yield f"{one.prefix}_{slot}", one.slots[slot]


def seen(tracked: Sequence[Tracked], windows: Sequence[bool], order: Sequence[str]) -> Iterator[tuple[str, Array]]:
    """What `blocks` gives, for a reader of the state, who sees zeros for the accumulators of empty windows."""
    for slot in order:
        for one, window in zip(tracked, windows, strict=True):
            if slot in one.slots:
                yield f"{one.prefix}_{slot}", one.seen(slot, window)
