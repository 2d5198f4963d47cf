"""AxesTable: a program with numbers over axes, on tensors of one GPU.

Each kernel goes over pieces of its own; where they are, and where they leave what they reduce, is sent once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...axes import Axes, Places, places, size_in
from ...dtypes import storage
from ...program import Kernel, Program
from ...rows import Rows, cut
from .. import coarse
from . import device
from .axes_step import PIECE_CELLS
from .joins import ROW_CELLS
from .plan import Plan, capacity_of
from .source import KernelSource
from .tables import Table, row_length
from .tiles import Form, Way, helpers, runs, shares_of, tiles_of, way_of

if TYPE_CHECKING:
    import numpy.typing as npt

    Int64 = npt.NDArray[np.int64]

ALIGNED = 256
"""Bytes at which what a program makes for itself begins, of each tensor, as memory from CuPy does."""

ALONE = Way(Form.PIECE, 1, 1, 1, 1)
"""Of what is one number a tensor."""


class Work(NamedTuple):
    """What a kernel finds in the GPU's memory, and the bytes of its shares."""

    pieces: Int64
    plan: Int64
    joins: Int64
    nbytes: int


class AxesTable(Table):
    """One program bound to tensors of `shapes`."""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self._counts: dict[str, int] = {}
        with device.use(self.index):
            self._make_arrays()
            for k, kernel in enumerate(self.program.kernels):
                if kernel.stores or kernel.reductions:
                    self._lay_out(k, kernel)

    def _cut(self, sizes: Any) -> Rows:
        """A row a tensor: of results that are one a tensor."""
        return cut(sizes, row=max([*sizes, 1]))

    def _make_arrays(self) -> None:
        """Room for what the program makes for itself, of all tensors one after the other."""
        for array in self.program.arrays:
            if array.is_made:
                size = storage(array.storage).itemsize
                each = [_aligned(size_in(shape, array.space) * size) for shape in self.shapes]
                ends = np.cumsum([0, *each], dtype=np.int64)
                if array.is_count:
                    self._send(array.name, self._counted(array.name, ends))
                else:
                    self._memory[array.name] = device.empty_bytes(max(int(ends[-1]), 8))
                self.point(array.name, self.address(array.name) + ends[:-1])

    def _counted(self, name: str, ends: Int64) -> npt.NDArray[np.uint8]:
        """How many elements each block has, of all tensors."""
        found = np.zeros(int(ends[-1]), np.uint8)
        for begin, shape in zip(ends[:-1].tolist(), self.shapes, strict=True):
            own = coarse.own_arrays(self.program, shape)[name].view(np.uint8)
            found[begin : begin + own.size] = own
        return found

    def _lay_out(self, k: int, kernel: Kernel) -> None:
        """Cut the tensors for a kernel, and say where its shares are."""
        work = laid_out(self.program, kernel, self.shapes, self.sizes, device.threads())
        self._counts |= {f"step_{k}": len(work.pieces), f"join_{k}": len(work.joins)}
        for what, values in (("pieces", work.pieces), ("plan", work.plan), ("joins", work.joins)):
            self._send(f"{what}_{k}", values)
        self._memory[f"shares_{k}"] = device.empty_bytes(max(work.nbytes, 8))

    def _blocks(self, kernel: KernelSource) -> int:
        """How many a kernel is launched with."""
        return self._counts[kernel.name] if kernel.name in self._counts else super()._blocks(kernel)

    def _places(self, kernel: KernelSource) -> dict[str, int]:
        """What a kernel takes of its own."""
        own = ("pieces", "plan", "joins", "shares")
        return {what: self.address(f"{what}_{kernel.k}") for what in own if what in kernel.arguments}


def laid_out(program: Program, kernel: Kernel, shapes: Any, sizes: Any, threads: int) -> Work:
    """How a kernel goes over tensors of some shapes."""
    plan, room = Plan(program, kernel), capacity_of(program, kernel, threads)
    counts = [size_in(shape, kernel.space) if size else 0 for shape, size in zip(shapes, sizes, strict=True)]
    pieces, table, joins, first, nbytes = [], [], [], 0, 0
    results = np.cumsum([size > 0 for size in sizes], dtype=np.int64) - 1
    for tensor, (shape, count) in enumerate(zip(shapes, counts, strict=True)):
        found = [places(shape, kernel.space, space) for space in plan.spaces]
        along = [own for own, space in zip(found, plan.spaces, strict=True) if space in plan.reduced]
        itemsize = storage(program.type_of(kernel)).itemsize
        whole = row_length(count if kernel.reductions else sum(counts), bool(kernel.reductions))
        tiles = tiles_of(count, along, threads, room) if along else runs(count, whole)
        ways = [(own, way_of(tiles, own, threads)) for own in found]
        cells = [*tiles[:5], tiles.blocks, first, tiles.number, int(results[tensor])]
        ways.append((Places(max(count, 1), 1, 1), ALONE))  # once, whatever groups columns have
        cells += [cell for own, way in ways for cell in (*own, *way)]
        for share in plan.shares:
            own, way = ways[plan.place(share.over)]
            numbers = size_in(shape, share.over) if count and isinstance(share.over, Axes) else min(count, 1)
            which = (tensor, share.number, plan.place(share.over), plan.kind(share))
            cells.append(nbytes)
            nbytes += _aligned(shares_of(tiles, way) * len(share.parts.start) * itemsize)
            joins.append(_rows(which, numbers, helpers(tiles, way, own, threads), threads))
        own_pieces = tiles.pieces()
        pieces.append(np.insert(own_pieces, 0, tensor, axis=1))
        table.append(cells)
        first += len(own_pieces)
    return Work(_stacked(pieces, len(PIECE_CELLS)), np.array(table, np.int64), _stacked(joins, len(ROW_CELLS)), nbytes)


def _rows(which: tuple[int, ...], numbers: int, helping: tuple[int, int], threads: int) -> Int64:
    """The rows of one reduction: so many numbers as a block has threads for."""
    each = threads // (helping[0] * helping[1])
    first = np.arange(0, numbers, each, dtype=np.int64)
    same = [np.full_like(first, one) for one in (*which, *helping)]
    return np.stack([*same[:4], first, np.minimum(each, numbers - first), *same[4:]], axis=1)


def _stacked(parts: list[Int64], width: int) -> Int64:
    return np.ascontiguousarray(np.concatenate([np.zeros((0, width), np.int64), *parts]))


def _aligned(nbytes: int) -> int:
    return -(-nbytes // ALIGNED) * ALIGNED
