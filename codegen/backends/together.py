"""Steps on several devices at once: each has a launch of its own; what is reduced over all tensors is joined here."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Protocol

from ..arithmetic import COMBINE, IDENTITY
from ..expr import Scope
from ..kernel import Program, Reduce


class DeviceLaunch(Protocol):
    """A step on one device."""

    depth: int

    def run(self, k: int, threads: int | None = None) -> None:
        """Start one kernel of each program."""

    def totals(self, k: int) -> dict[str, tuple[Reduce, float]]:
        """What kernel k has reduced over all tensors of this device."""

    def join(self, reduce: Reduce, everyone: float, others: float) -> None:
        """Take over a reduction over the tensors of all devices, and of all but this one."""


class DeviceTable(Protocol):
    """A program on tensors of one device."""

    program: Program

    def total_of(self, reduce: Reduce) -> float:
        """A reduction over the tensors of this table."""


def totals_of(tables: Iterable[DeviceTable], k: int) -> dict[str, tuple[Reduce, float]]:
    """What kernel k has reduced over all tensors of some tables, by name."""
    made: dict[str, tuple[Reduce, float]] = {}
    for table in tables:
        for reduce in table.program.kernels[k].reductions if k < len(table.program.kernels) else ():
            if reduce.scope is Scope.ALL:
                sofar = made[reduce.name][1] if reduce.name in made else IDENTITY[reduce.op]
                made[reduce.name] = reduce, COMBINE[reduce.op](sofar, table.total_of(reduce))
    return made


class Together:
    """A step on several devices. A reduction over all tensors makes the host wait for each of them."""

    def __init__(self, launches: Sequence[DeviceLaunch]) -> None:
        self._launches = launches
        self._depth = max(launch.depth for launch in launches)

    def __call__(self, threads: int | None = None) -> None:
        """Do the step."""
        for k in range(self._depth):
            for launch in self._launches:
                launch.run(k, threads)
            if k < self._depth - 1:
                self._join(k)

    def _join(self, k: int) -> None:
        totals = [launch.totals(k) for launch in self._launches]
        reduces = {name: reduce for found in totals for name, (reduce, _) in found.items()}
        for name, reduce in reduces.items():
            values = [found[name][1] if name in found else IDENTITY[reduce.op] for found in totals]
            for i, launch in enumerate(self._launches):
                others = values[:i] + values[i + 1 :]
                folded = functools.reduce(COMBINE[reduce.op], others, IDENTITY[reduce.op])
                launch.join(reduce, functools.reduce(COMBINE[reduce.op], values), folded)
