"""Versions: that variables are written is counted first, for a library that would go on with what it saved of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .arrays.homes import Home
    from .members import Member

Count = Callable[[], None]


def counted(launch: Callable[..., bool], members: Iterable[Member]) -> Callable[..., bool]:
    """A launch that writes these variables; itself where nobody counts.

    It is counted first: behind it, an interrupt could leave variables written that nobody knows of. One that turns out
    to do nothing, because a gradient is not finite, was counted, as by torch's own fused optimizers.
    """
    counts = _counts(members)
    if not counts:
        return launch

    def run(record: Any, *calls: int | None) -> bool:
        for count in counts:
            count()
        return launch(record, *calls)

    return run


def count(members: Iterable[Member]) -> None:
    """Count that these variables are written, which they will be now."""
    for count_each in _counts(members):
        count_each()


def _counts(members: Iterable[Member]) -> list[Count]:
    homes: dict[Home, list[Any]] = {}
    for one in members:
        homes.setdefault(one.home, []).append(one.caller_s)
    found = [home.versions(arrays) for home, arrays in homes.items()]
    return [one for one in found if one is not None]
