"""Table: a program on a list of tensors of one GPU, everything it reads in the GPU's memory.

A table is sent once; afterwards only addresses and numbers that changed are copied.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...dtypes import storage
from ...expr import Reduction
from ...program import Program
from ...rows import cut, length_for
from . import device, frame
from .numbers import numbers_used
from .sums import partial_width
from .uploads import UPLOADS

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..contract import BackendOptions, Numbers

    HostArray = npt.NDArray[Any]

Ready = tuple[device.Launch, int, tuple[int, ...]]
"""A kernel, its number of blocks, its arguments."""

SHORTEST, LONGEST = 1_024, 16_384
"""Elements of a row, which is one block's work, at least and at most.

1,024 of float32 are one vector of 16 bytes for each of a block's threads: of less, some would have no work. Beyond
16,384 a block's start (two loads, one after the other, before that of an element) is little beside its sixteen rounds.
"""

BLOCKS = 2_048
"""Of a launch, at least, where rows longer than the shortest are used.

Large GPUs have some 132 multiprocessors, each with room for eight blocks of 256 threads: 2,048 are two rounds of those
and more, so that none waits idly for the last blocks. Long rows alone would starve them: of 16,384 elements, 1e6 have
62 blocks, which take as long as one block does for its row, while half of the multiprocessors do nothing. As it is 1e5
elements are 98 blocks, 2.7e5 two for each multiprocessor, 1e6 seven, 2.6e7 (ResNet-50) 24 and 1e8 46. The numbers are
constants, never asked of the device at hand: rows shape sums, and sums are to have the same bits everywhere.
"""


@contextlib.contextmanager
def rows_of(length: int) -> Iterator[None]:
    """Tables that are made in the `with` block have rows of so many elements, whatever their size: for experiments."""
    global SHORTEST, LONGEST
    before = SHORTEST, LONGEST
    SHORTEST = LONGEST = length
    try:
        yield
    finally:
        SHORTEST, LONGEST = before


class Table:
    """One program bound to a list of tensors of `sizes` elements on one GPU.

    What is pointed to and set is host memory, copied by `send` where it changed. Keep what is pointed to alive.
    """

    def __init__(self, program: Program, sizes: Sequence[int], place: str, options: BackendOptions) -> None:
        self.program = program
        self.index = int(place.partition(":")[2])
        rows = cut(sizes, row=length_for(sum(sizes), BLOCKS, SHORTEST, LONGEST))
        self.tensors, self.rows = len(sizes), len(rows.rows)
        self.reduced = {reduce.what: j for j, reduce in enumerate(program.reductions())}
        self.cells = program.hypers
        self.arrays = np.zeros((len(program.arrays), self.tensors), np.int64)
        self.scalars = np.zeros(len(self.cells), np.float64)
        self.hypers = np.zeros((self.tensors, len(program.tensor_hypers)), np.float64)
        self.others = np.array([reduce.op.identity for reduce in program.reductions()], np.float64)
        self._used = numbers_used(program)
        self._used_there: bytes | None = None
        self._touched = True
        self._sent: dict[str, HostArray] = {}
        compiler = options.get("compiler")
        with device.use(self.index):
            sources = frame.sources(program, device.threads())
            self.kernels = {kernel.name: device.loaded(kernel, compiler, self.index) for kernel in sources}
            self._memory = {what: device.empty_bytes(max(nbytes, 8)) for what, nbytes in self._room().items()}
            self._send("rows", np.ascontiguousarray(rows.rows[:, :3]))
            self._send("first", rows.first)

    def _room(self) -> dict[str, int]:
        """The bytes of each part in the GPU's memory."""
        itemsize = storage(self.program.compute).itemsize
        kernels = enumerate(self.program.kernels)
        room = {f"uniforms_{k}": len(kernel.uniforms) * itemsize * self.tensors for k, kernel in kernels}
        room["own"] = self.tensors * len(self.reduced) * 8
        room["partial"] = self.rows * partial_width(self.program) * itemsize
        return room | {what: getattr(self, what).nbytes for what in ("arrays", "scalars", "hypers", "others")}

    def point(self, array: str, addresses: HostArray) -> None:
        """Where the arrays of one name lie, for each tensor."""
        row = self.arrays[self.program.column(array)]
        if not np.array_equal(row, addresses):
            row[:] = addresses
            self._sent.pop("arrays", None)

    def set(self, hypers: Numbers) -> None:
        """The step's numbers, by name."""
        self.scalars[:] = [hypers[name] for name in self.cells]
        for j, name in enumerate(self.program.tensor_hypers):
            self.hypers[:, j] = hypers[name]
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
        column = own.reshape(self.tensors, -1)[:, self.reduced[what]]
        return what.op.joined(column.tolist())

    def join(self, what: Reduction, others: float) -> None:
        """Take over what other devices have reduced."""
        self.others[self.reduced[what]] = others
        self._send("others", self.others)

    def send(self, step_is_here: bool = True) -> bool:
        """Copy to the GPU what changed; returns whether the first kernel's numbers must be made anew.

        step_is_here: whether the number of the step is the one that was set, not one that is counted on the GPU.
        """
        if "arrays" in self._sent and not self._touched:
            return False
        with device.use(self.index):
            if "arrays" not in self._sent:
                self._send("arrays", self.arrays)
            changed = [self._send_scalars(step_is_here), self._send("hypers", self.hypers)]
            self._send("others", self.others)
            self._touched = False
        return any(changed)

    def _send_scalars(self, step_is_here: bool) -> bool:
        """Copy the step's numbers, unless what follows from them is what follows from those that are there."""
        used = self._used(self.scalars.tolist()) if step_is_here else None
        if used is not None and used == self._used_there and "scalars" in self._sent:
            return False
        self._used_there = None  # until they are there
        is_sent = self._send("scalars", self.scalars)
        self._used_there = used
        return is_sent

    def _send(self, what: str, values: HostArray) -> bool:
        """Copy a part, if it is not there already; returns whether it was not."""
        sent = self._sent.get(what)
        if sent is not None and np.array_equal(sent, values):
            return False
        self._sent.pop(what, None)  # until all of it is there
        if what not in self._memory or self._memory[what].nbytes < values.nbytes:
            self._memory[what] = device.empty_bytes(max(values.nbytes, 8))
        if values.nbytes:
            UPLOADS.copy(self._memory[what], values)
        self._sent[what] = values.copy()
        return True

    def prepared(self, name: str, blocks: int, arguments: Sequence[str], **known: int) -> list[Ready]:
        """A kernel with its arguments, or nothing where there is no such kernel or no work for it."""
        if name not in self.kernels or not blocks:
            return []
        places = (known[what] if what in known else self.address(what) for what in arguments)
        return [(self.kernels[name], blocks, tuple(places))]
