"""Table and Launch: a program on a list of tensors of one GPU, everything it reads in the GPU's memory.

A table is sent once; afterwards only addresses and numbers that changed are copied. Launching looks at nothing else, so
an unchanged step costs one launch a kernel, however many tensors there are.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...expr import Reduction
from ...program import Program
from ...rows import cut
from ...schedule import Turn, schedule
from ..together import totals_of
from . import device, frame

if TYPE_CHECKING:
    import numpy.typing as npt

    HostArray = npt.NDArray[Any]

Prepared = tuple[device.Launch, int, tuple[int, ...]]
"""A kernel, its number of blocks, its arguments."""

ROW = 16_384
"""Elements of a row, which is one block's work: at 1e8 elements 6,104 blocks, some twenty for each multiprocessor."""


class Table:
    """One program bound to a list of tensors on one GPU.

    sizes: elements of each tensor; `index` is the device's. Fill `arrays[tensor, program.column(name)]` with
    addresses (later through `point`), `scalars` with the values of `cells`, and `hypers[tensor]`; all are host arrays,
    copied by `send` (the numbers after `touch`). Keep what is pointed to alive.
    """

    def __init__(self, program: Program, sizes: Sequence[int], index: int, compiler: str | None = None) -> None:
        self.program = program
        self.index = index
        rows = cut(sizes, row=ROW)
        self.tensors, self.rows = len(sizes), len(rows.rows)
        reductions = program.reductions()
        self.reduced = {reduce.what: j for j, reduce in enumerate(reductions)}
        self.cells = program.hypers
        self.arrays = np.zeros((self.tensors, len(program.arrays)), np.int64)
        self.scalars = np.zeros(len(self.cells), np.float64)
        self.hypers = np.zeros((self.tensors, len(program.tensor_hypers)), np.float64)
        self.others = np.array([reduce.op.identity for reduce in reductions], np.float64)
        self._touched = True
        self._sent: dict[str, HostArray] = {}
        itemsize = np.dtype(program.compute).itemsize
        room = {f"uniforms_{k}": len(kernel.uniforms) * itemsize for k, kernel in enumerate(program.kernels)}
        room = {what: nbytes * self.tensors for what, nbytes in room.items()}
        room["own"] = self.tensors * len(reductions) * 8
        room["partial"] = self.rows * frame.partial_width(program) * itemsize
        for what in ("arrays", "scalars", "hypers", "others"):
            room[what] = getattr(self, what).nbytes
        with device.use(index):
            self.kernels = {kernel.name: device.loaded(kernel, compiler, index) for kernel in frame.sources(program)}
            self._memory = {what: device.empty_bytes(max(nbytes, 8)) for what, nbytes in room.items()}
            self._send("rows", np.ascontiguousarray(rows.rows[:, :3]))
            self._send("first", rows.first)

    def point(self, column: int, addresses: HostArray) -> None:
        """Where the arrays of one name are, for each tensor."""
        if not np.array_equal(self.arrays[:, column], addresses):
            self.arrays[:, column] = addresses
            self._sent.pop("arrays", None)

    def touch(self) -> None:
        """Say that numbers were written."""
        self._touched = True

    def set_peers(self, tables: Sequence[Table]) -> None:
        """Name the tables of this device, this one among them, over which reductions over all tensors run."""
        lists = [[table.column_of(what) for table in tables] for what in self.reduced]
        found = [[entry for entry in entries if entry is not None] for entries in lists]
        ends = np.cumsum([2 * len(found), *(3 * len(entries) for entries in found)]) * 8
        begins = [number for pair in itertools.pairwise(ends.tolist()) for number in pair]
        flat = [number for entries in found for entry in entries for number in entry]
        self._send("peers", np.array([*begins, *flat], np.int64))

    def column_of(self, what: Reduction) -> tuple[int, int, int] | None:
        """Where the tensors' results of a reduction are: address, count, stride in bytes; None if it is not made."""
        if what not in self.reduced:
            return None
        return self.address("own") + self.reduced[what] * 8, self.tensors, len(self.reduced) * 8

    def address(self, what: str) -> int:
        """Where a part of the table is on the GPU."""
        return int(self._memory[what].data.ptr)

    def total_of(self, what: Reduction) -> float:
        """A reduction over this table's tensors; waits for the GPU."""
        own = device.fetch(self._memory["own"]).view(np.float64)[: self.tensors * len(self.reduced)]
        return what.op.joined(own.reshape(self.tensors, -1)[:, self.reduced[what]].tolist())

    def join(self, what: Reduction, others: float) -> None:
        """Take over what other devices have reduced."""
        self.others[self.reduced[what]] = others
        self._send("others", self.others)

    def send(self) -> bool:
        """Copy to the GPU what changed; returns whether the first kernel's numbers must be made anew."""
        if "arrays" in self._sent and not self._touched:
            return False
        with device.use(self.index):
            if "arrays" not in self._sent:
                self._send("arrays", np.ascontiguousarray(self.arrays.T))
            self._touched = False
            changed = [self._send("scalars", self.scalars), self._send("hypers", self.hypers)]
            self._send("others", self.others)
        return any(changed)

    def _send(self, what: str, values: HostArray) -> bool:
        """Copy a part, if it is not there already; returns whether it was not."""
        sent = self._sent.get(what)
        if sent is not None and np.array_equal(sent, values):
            return False
        if what not in self._memory or self._memory[what].nbytes < values.nbytes:
            self._memory[what] = device.empty_bytes(max(values.nbytes, 8))
        if values.nbytes:
            device.UPLOADS.copy(self._memory[what], values)
        self._sent[what] = values.copy()
        return True

    def prepared(self, name: str, blocks: int, arguments: Sequence[str], **known: int) -> list[Prepared]:
        """A kernel with its arguments, or nothing where there is no such kernel or no work for it."""
        if name not in self.kernels or not blocks:
            return []
        places = (known[what] if what in known else self.address(what) for what in arguments)
        return [(self.kernels[name], blocks, tuple(places))]


class Clock:
    """Counts calls on a GPU, for steps that a graph repeats without the host.

    every: calls of one update. `step_at` is where kernels find the number of the present update, from 1.
    """

    def __init__(self, index: int, calls: int, every: int, compiler: str | None = None) -> None:
        self._index, self._every = index, every
        with device.use(index):
            self._tick = device.loaded(frame.TICK, compiler, index)
            self._memory = device.empty_bytes(16)
        self._at = int(self._memory.data.ptr)
        self.step_at = self._at + 8
        self.set(calls)

    def set(self, calls: int) -> None:
        """Let so many calls have been made."""
        with device.use(self._index):
            device.UPLOADS.copy(self._memory, np.array([calls, calls // self._every + 1], np.float64))

    def tick(self) -> None:
        """Count a call, or (while the stream is captured) record that it is counted."""
        with device.use(self._index):
            self._tick(1, self._at, self._every)

    def calls(self) -> int:
        """The calls made; waits for the GPU, whatever stream graphs were launched on."""
        device.wait_for(self._index)
        return int(device.fetch(self._memory).view(np.float64)[0])


class Launch:
    """A step over several tables of one GPU that belong together: reductions over all tensors run over all of them.

    clock: what counts the steps where the host does not, in a graph; each step then makes its numbers anew.
    """

    def __init__(self, tables: Sequence[Table], clock: Clock | None = None) -> None:
        self.tables = list(tables)
        self._index = tables[0].index
        self._clock = clock
        with device.use(self._index):
            for table in tables:
                table.set_peers(tables)
        kernels = [range(len(table.program.kernels)) for table in tables]
        self._numbers = [[_numbers_of(t, k, clock) for k in ks] for t, ks in zip(tables, kernels, strict=True)]
        self._work = [[_work_of(t, k) for k in ks] for t, ks in zip(tables, kernels, strict=True)]
        self.follow(schedule([table.program for table in tables]))

    def follow(self, turns: Sequence[Turn]) -> None:
        """Run kernels in these turns, where launches of other devices take part."""
        self._turns = turns

    def __call__(self, threads: int | None = None) -> None:
        """Do the step, or (while the current stream is captured) record it. `threads` is for processors only."""
        for turn in range(len(self._turns)):
            self.run(turn, threads)

    def run(self, turn: int, threads: int | None = None) -> None:
        """Start the kernels of one turn."""
        with device.use(self._index):
            for i, k in self._turns[turn].kernels:
                changed = k > 0 or self.tables[i].send()
                if changed or self._clock is not None:
                    _start(self._numbers[i][k])
            for i, k in self._turns[turn].kernels:
                _start(self._work[i][k])

    def totals(self, turn: int) -> dict[Reduction, float]:
        """What is reduced over all tensors of this device when a turn is over; waits for the GPU."""
        return totals_of(self.tables, self._turns[turn])

    def join(self, what: Reduction, everyone: float, others: float) -> None:
        """Take over a reduction over the tensors of all devices."""
        with device.use(self._index):
            for table in self.tables:
                if what in table.reduced:
                    table.join(what, others)


def _numbers_of(table: Table, k: int, clock: Clock | None) -> list[Prepared]:
    """The launch that makes the numbers of kernel k."""
    known = {"tensors": table.tensors, "cells": table.address("scalars"), "uniforms": table.address(f"uniforms_{k}")}
    own_clock = known["cells"] + (table.cells.index("step") * 8 if "step" in table.cells else 0)
    known["clock"] = own_clock if clock is None else clock.step_at
    return table.prepared(f"uniforms_{k}", 1, frame.UNIFORM_ARGUMENTS, **known)


def _work_of(table: Table, k: int) -> list[Prepared]:
    """The launches of kernel k itself."""
    known = {"tensors": table.tensors, "uniforms": table.address(f"uniforms_{k}")}
    step = table.prepared(f"step_{k}", table.rows, frame.ROW_ARGUMENTS, **known)
    return step + table.prepared(f"fold_{k}", table.tensors, frame.FOLD_ARGUMENTS)


def _start(launches: Sequence[Prepared]) -> None:
    for function, blocks, arguments in launches:
        function(blocks, *arguments)
