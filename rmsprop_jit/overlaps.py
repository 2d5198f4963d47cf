"""Overlaps: which of the arrays that a step writes share memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

import numpy as np

from .arrays.homes import Array
from .arrays.memory import Memory, same_memory


class Written(Protocol):
    """A variable, as `Member` is one."""

    @property
    def slots(self) -> Mapping[str, Array]:
        """Its state, by name."""

    def named(self, name: str) -> Array:
        """Its own array, "parameter", or a slot."""

    def address(self, name: str) -> int:
        """Where that begins."""


One = TypeVar("One", bound=Written)


def written(members: Iterable[One]) -> list[tuple[One, str]]:
    """All that a step may write of variables: each with the names of its arrays."""
    return [(one, name) for one in members for name in ("parameter", *one.slots)]


def memory_of(places: Sequence[tuple[Written, str]]) -> Memory:
    """Of these arrays, in this order."""
    begins = np.array([one.address(name) for one, name in places], np.int64)
    return Memory(begins, np.array([one.named(name).nbytes for one, name in places], np.int64))


def overlapping(members: Iterable[One]) -> tuple[tuple[One, str], tuple[One, str]] | None:
    """Two arrays that share memory, if any do, of all that a step may write."""
    places = written(members)
    pair = memory_of(places).overlapping_pair()
    return None if pair is None else (places[pair[0]], places[pair[1]])


def same_variables(ours: Sequence[Written], theirs: Sequence[Written]) -> bool:
    """Whether two lists name the same arrays in the same order."""
    pairs = zip(ours, theirs, strict=False)
    return len(ours) == len(theirs) and all(same_memory(*(one.named("parameter") for one in pair)) for pair in pairs)
