"""Steps on several devices at once: each has a launch of its own; what is reduced over all tensors is joined here."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Protocol

from ..expr import Reduction
from ..program import Program
from ..schedule import Turn, schedule


class DeviceTable(Protocol):
    """A program on tensors of one device."""

    program: Program
    reduced: dict[Reduction, int]

    def total_of(self, what: Reduction) -> float:
        """A reduction over the tensors of this table."""


class DeviceLaunch(Protocol):
    """A step on one device."""

    @property
    def tables(self) -> Sequence[DeviceTable]:
        """What takes part on this device."""

    def follow(self, turns: Sequence[Turn]) -> None:
        """Run kernels in turns that suit all devices."""

    def run(self, turn: int, threads: int | None = None) -> None:
        """Start the kernels of a turn."""

    def totals(self, turn: int) -> dict[Reduction, float]:
        """What is reduced over all tensors of this device when a turn is over."""

    def join(self, what: Reduction, everyone: float, others: float) -> None:
        """Take over a reduction over the tensors of all devices, and of all but this one."""


def totals_of(tables: Iterable[DeviceTable], turn: Turn) -> dict[Reduction, float]:
    """What is reduced over all tensors of some tables when a turn is over; tables without a share in it add nothing."""
    made: dict[Reduction, float] = {}
    for what in turn.joins:
        parts = [table.total_of(what) for table in tables if what in table.reduced]
        made |= {what: what.op.joined(parts)} if parts else {}
    return made


class Together:
    """A step on several devices. A reduction over all tensors makes the host wait for each of them."""

    def __init__(self, launches: Sequence[DeviceLaunch]) -> None:
        self._launches = launches
        self._turns = schedule([table.program for launch in launches for table in launch.tables])
        ends = itertools.accumulate((len(launch.tables) for launch in launches), initial=0)
        for launch, (first, last) in zip(launches, itertools.pairwise(ends), strict=True):
            launch.follow([turn.of(first, last) for turn in self._turns])

    def __call__(self, threads: int | None = None) -> None:
        """Do the step."""
        for turn in range(len(self._turns)):
            for launch in self._launches:
                launch.run(turn, threads)
            self._join(turn)

    def _join(self, turn: int) -> None:
        totals = [launch.totals(turn) for launch in self._launches] if self._turns[turn].joins else []
        for what in self._turns[turn].joins:
            values = [found.get(what, what.op.identity) for found in totals]
            for i, launch in enumerate(self._launches):
                launch.join(what, what.op.joined(values), what.op.joined(values[:i] + values[i + 1 :]))
