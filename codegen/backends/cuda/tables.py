"""Table: a program on a list of tensors of one GPU, everything it reads in the GPU's memory or passed to its kernels.

A table is sent once; afterwards only addresses and numbers that changed are copied.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...dtypes import COMPILED, storage
from ...expr import Reduction
from ...kinds import Space
from ...memory import equal
from ...program import Program
from ...rows import Rows, cut, length_for
from ...scalars import compile_scalars
from ..detours import Detours, Lent
from . import device, frame
from .guards import refused_rows
from .numbers import Ready, StepNumbers
from .shape import Ways
from .source import KernelSource
from .sums import kept_in, partial_width, partials_of
from .uploads import UPLOADS

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..contract import BackendOptions, Numbers

    HostArray = npt.NDArray[Any]

SHORTEST, LONGEST = 1_024, 16_384
"""Elements of a row, which is one block's work, at least and at most.

1,024 of float32 are one vector of 16 bytes for each of a block's threads: of less, some would have no work. Beyond
16,384 a block's start (two loads, one after the other, before that of an element) is little beside its sixteen rounds.
Of slots in 8 bits a row has whole blocks, whose elements share a scale: all lengths are multiples of these.
"""

LONGEST_WITHOUT_SUMS = 2_048
"""Where rows have no results, which a block must fold: short ones leave no processor without work near the end. (On an
H200 at 1e8 elements, rows of 16,384, 8,192, 4,096 and 2,048: 0.949, 0.966, 0.988, 0.999 of a copy's speed.)"""

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
    global SHORTEST, LONGEST, LONGEST_WITHOUT_SUMS
    before = SHORTEST, LONGEST, LONGEST_WITHOUT_SUMS
    SHORTEST = LONGEST = LONGEST_WITHOUT_SUMS = length
    try:
        yield
    finally:
        SHORTEST, LONGEST, LONGEST_WITHOUT_SUMS = before


def row_length(total: int, sums: bool) -> int:
    """Elements of a row, where tables are to have so many, and rows have results or none."""
    return length_for(total, BLOCKS, SHORTEST, LONGEST if sums else LONGEST_WITHOUT_SUMS)


class Table:
    """One program bound to a list of tensors of `sizes` elements on one GPU.

    What is pointed to and set is kept here, and goes to the GPU with `send` where it changed: addresses, and numbers of
    tensors, as copies; numbers of the step as arguments of kernels. Keep what is pointed to alive.
    """

    def __init__(
        self,
        program: Program,
        sizes: Sequence[int],
        place: str,
        options: BackendOptions,
        shapes: Sequence[tuple[int, ...]] = (),
    ) -> None:
        self.program, self.shapes = program, shapes
        self.index = int(place.partition(":")[2])
        rows = self._cut(sizes)
        self.sizes, self.tensors, self.rows = sizes, len(sizes), len(rows.rows)
        self.counts: Numbers = {}
        self.reduced = {reduce.what: j for j, reduce in enumerate(program.reduced)}
        self._made_by = {reduce.what: k for k, one in enumerate(program.kernels) for reduce in one.reductions}
        self.arrays = np.zeros((len(program.arrays), self.tensors), np.int64)
        self.cells = np.zeros(len(program.hypers), np.float64)
        self.hypers = np.zeros((self.tensors, len(program.tensor_hypers)), np.float64)
        self.others = np.array([reduce.op.identity for reduce in program.reduced], np.float64)
        self._compiler = options.get("compiler")
        self._numbers: StepNumbers
        self._given: Mapping[str, Any] = dict.fromkeys(program.hypers, 0.0)
        self._from_memory = False
        self._touched = True
        self._sent: dict[str, HostArray] = {}
        self._ready: dict[str, Ready] = {}
        with device.use(self.index):
            self._memory = {what: device.empty_bytes(max(nbytes, 8)) for what, nbytes in self._room().items()}
            self._send("rows", np.ascontiguousarray(rows.rows[:, :3]))
            if program.reductions(Space.TENSOR) or any(kernel.puts for kernel in program.kernels):
                self._send("first", rows.first)

    def _cut(self, sizes: Sequence[int]) -> Rows:
        """The rows of tensors."""
        return cut(sizes, row=row_length(sum(sizes), bool(self.program.reduced)))

    def _room(self) -> dict[str, int]:
        """The bytes of each part in the GPU's memory."""
        own = {what: getattr(self, what).nbytes for what in ("arrays", "cells", "hypers", "others")}
        partial = self.rows * partial_width(self.program) * storage(kept_in(self.program)).itemsize
        return own | {"partial": partial, "totals": self.others.nbytes}

    def bind(self, tables: Sequence[Table], ways: Ways, clock: int = 0, verdict: int = 0) -> None:
        """Make kernels ready for steps over these tables of this device, this one among them.

        clock:   where the GPU counts steps by itself, for those whose kernels find all numbers in memory (`ways`).
        verdict: where a guard's verdict is, for steps of which the host does not wait for it; of a step that is one of
                 several it says, too, whether it is the one that is due.
        """
        threads = device.threads()
        shape = frame.shape_of(self.program, threads, ways)
        self._from_memory = shape.from_memory
        step = self.program.hypers.index("step") * 8 if "step" in self.program.hypers else 0
        with device.use(self.index):
            for k, kernel in enumerate(self.program.kernels):
                each = self.tensors if shape.is_per_tensor(kernel) else 1
                nbytes = len(shape.places(kernel)) * shape.type_of(kernel).itemsize * each
                self._memory[f"uniforms_{k}"] = device.empty_bytes(max(nbytes, 8))
            if self.program.reductions(Space.ALL):
                self._send("peers", self._peers(tables))
                self._send("others", self.others)
            counted = clock or self.address("cells") + step
            for source in frame.sources(self.program, threads, ways):
                uniforms = self.address(f"uniforms_{source.k}")
                self._prepare(source, clock=counted, uniforms=uniforms, verdict=verdict)
        self._numbers = StepNumbers(self.program, self._ready.values())

    def _prepare(self, kernel: KernelSource, **known: int) -> None:
        """Load a kernel and find its arguments, if there is work for it."""
        blocks = self._blocks(kernel)
        if blocks:
            known |= {"tensors": self.tensors, "every_row": self.rows, **self._places(kernel)}
            places = tuple(known[what] if what in known else self.address(what) for what in kernel.arguments)
            function = device.loaded(kernel, self._compiler, self.index)
            self._ready[kernel.name] = Ready(kernel, function, blocks, places)

    def _blocks(self, kernel: KernelSource) -> int:
        """How many a kernel is launched with."""
        return kernel.blocks.count(self.rows, self.tensors)

    def _places(self, kernel: KernelSource) -> dict[str, int]:
        """What a kernel takes of its own."""
        return {}

    def ready(self, name: str) -> list[Ready]:
        """The kernel of this name, if there is work for it."""
        return [self._ready[name]] if name in self._ready else []

    def point(self, array: str, addresses: HostArray) -> None:
        """Where the arrays of one name lie, for each tensor."""
        row = self.arrays[self.program.column(array)]
        if not np.array_equal(row, addresses):
            row[:] = addresses
            self._sent.pop("arrays", None)

    def lend(self, lent: Lent, names: Sequence[str]) -> None:
        """Say what functions outside are given, which are scratch arrays that it is pointed to, and whose it is."""
        self._detours = Detours(self.program, lent, names)

    def take(self, k: int) -> None:
        """Call the functions that the k-th kernel has stored elements for, on the current stream."""
        scalars = self.program.memo("scalars for a GPU", lambda: compile_scalars(self.program))
        self._detours.take(self.program.kernels[k], dict(zip(self.program.scalars, scalars(self._given), strict=True)))

    def set(self, hypers: Numbers) -> None:
        """The step's numbers, by name."""
        self._given = hypers
        for j, name in enumerate(self.program.tensor_hypers):
            self.hypers[:, j] = hypers[name]
        self._touched = True

    def _peers(self, tables: Sequence[Table]) -> HostArray:
        """Where the rows' partial results of each reduction over all tensors are, by the type that they are in."""
        lists = [
            [table.rows_of(what) for table in tables if what in table.reduced and kept_in(table.program) == dtype]
            for what in self.reduced
            for dtype in COMPILED
        ]
        ends = np.cumsum([2 * len(lists), *(3 * len(entries) for entries in lists)]) * 8
        begins = [number for pair in itertools.pairwise(ends.tolist()) for number in pair]
        return np.array([*begins, *(number for entries in lists for entry in entries for number in entry)], np.int64)

    def rows_of(self, what: Reduction) -> tuple[int, int, int]:
        """Where the rows' partial results of a reduction are: address, count, stride in bytes."""
        itemsize = storage(kept_in(self.program)).itemsize
        partial = partials_of(self.program)[self.reduced[what]]
        return self.address("partial") + partial.at * itemsize, self.rows, partial_width(self.program) * itemsize

    def address(self, what: str) -> int:
        """Where a part of the table is on the GPU."""
        return int(self._memory[what].data.ptr)

    def total_of(self, what: Reduction) -> float:
        """A reduction over this table's tensors; waits for the GPU."""
        if not self.rows:
            return what.op.identity
        k = self._made_by[what]
        with device.use(self.index), device.ordered(self.index):
            if f"fold_{k}" not in self._ready:
                self._prepare(frame.fold(self.program, k, device.threads()))
            for fold in self.ready(f"fold_{k}"):
                fold.start()
        return float(device.fetch(self._memory["totals"]).view(np.float64)[self.reduced[what]])

    def refused(self) -> list[int]:
        """The tensors that the program's guard refuses, by their rows' partial results; waits for the GPU."""
        guard = self.program.guarding
        if guard is None or not self.rows:
            return []
        partial = partials_of(self.program)[self.reduced[guard.what]]
        with device.use(self.index), device.ordered(self.index):
            found = device.fetch(self._memory["partial"]).view(kept_in(self.program))
        parts = found.reshape(self.rows, -1)[:, partial.at : partial.at + len(partial.parts.start)]
        return [*dict.fromkeys(self._sent["rows"][refused_rows(partial, parts), 0].tolist())]

    def join(self, what: Reduction, others: float) -> None:
        """Take over what other devices have reduced."""
        self.others[self.reduced[what]] = others
        self._send("others", self.others)

    def send(self) -> bool:
        """Copy what changed to the GPU, which is current; returns whether the first kernel's numbers are others now."""
        if "arrays" in self._sent and not self._touched:
            return False
        if "arrays" not in self._sent:
            self._send("arrays", self.arrays)
        changed = bool(self.hypers.size) and self._send("hypers", self.hypers)
        if self._from_memory:
            self.cells[:] = [self._given[name] for name in self.program.hypers]
            changed |= self._send("cells", self.cells)
        else:
            changed |= "uniforms_0" in self._numbers.passed(self._given)
        self._touched = False
        return changed

    def _send(self, what: str, values: HostArray) -> bool:
        """Copy a part, if it is not there already; returns whether it was not."""
        sent = self._sent.get(what)
        if sent is not None and equal(sent, values):
            return False
        self._sent.pop(what, None)  # until all of it is there
        if what not in self._memory or self._memory[what].nbytes < values.nbytes:
            self._memory[what] = device.empty_bytes(max(values.nbytes, 8))
        if values.nbytes:
            UPLOADS.copy(self._memory[what], values)
        self._sent[what] = values.copy()
        return True
