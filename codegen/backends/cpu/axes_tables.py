"""AxesTable: a program with numbers over axes, bound to arrays in this machine's memory.

Each pass has a header of its own, since each goes over pieces of its own; what the program makes for itself lies here.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...axes import Axes, Places, places, size_in
from ...ops import JOINS
from ...program import Kernel, Reduce, made
from ...rows import CLAIM, Rows
from .. import coarse
from . import claims, jit, pieces, shares
from .cells import JobCell
from .header import Header
from .pieces import Piece
from .tables import Table

if TYPE_CHECKING:
    import numpy.typing as npt

    Int64 = npt.NDArray[np.int64]
    Float64 = npt.NDArray[np.float64]


class AxesTable(Table):
    """One program bound to tensors of `shapes`."""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self._own = [coarse.own_arrays(self.program, shape) for shape in self.shapes]
        for array in self.program.arrays:
            if array.is_made:
                addresses = [own[array.name].ctypes.data for own in self._own]
                self.arrays[:, self.program.column(array.name)] = addresses
        self._jobs: list[list[list[int]]] | None = None

    @property
    def helpers(self) -> int:
        """How many threads can help with any job."""
        return max([job[JobCell.HELPERS] for each in self.jobs() for job in each], default=0)

    def jobs(self) -> list[list[list[int]]]:
        """For each pass its jobs: one over all pieces, then one that joins their shares, where there are any."""
        if self._jobs is None:
            self._jobs = [self._jobs_of(k, kernel) for k, kernel in enumerate(self.program.kernels)]
        return self._jobs

    def _jobs_of(self, k: int, kernel: Kernel) -> list[list[int]]:
        if kernel.numbered:
            whole = [[Piece(tensor, 0, size, 1, size)] if size else [] for tensor, size in enumerate(self.sizes)]
            header = self._header_over(_rows(whole), helpers=0)
            return [[self.code.address, header.ctypes.data, k, 0, *self.ends[k]]]
        spaces = coarse.spaces_of(self.program, kernel)
        found = [[places(shape, kernel.space, space) for space in spaces] for shape in self.shapes]
        reduced = [reduce for reduce in kernel.reductions if isinstance(reduce.over, Axes)]
        own = [[row[spaces.index(reduce.over)] for reduce in reduced if isinstance(reduce.over, Axes)] for row in found]
        counts = [
            size_in(shape, kernel.space) if size else 0 for shape, size in zip(self.shapes, self.sizes, strict=True)
        ]
        cuts = [pieces.cut(tensor, count, one) for tensor, (count, one) in enumerate(zip(counts, own, strict=True))]
        sums, joins = self._sums(cuts, reduced, own)
        rows = _rows(cuts)
        helpers = self.helping(sum(counts), len(rows.claims) - 1)
        header = self._header_over(rows, helpers)
        self._keep(header, Header.PLACES_AT, np.array([list(row) for row in found], np.int64))
        self._keep(header, Header.SUMS_AT, sums)
        jobs = [[self.code.address, header.ctypes.data, k, helpers, *self.ends[k]]]
        return jobs + ([self._joining(joins)] if joins else [])

    def _header_over(self, rows: Rows, helpers: int) -> Int64:
        """The header of a pass over pieces, which is kept."""
        header = self.header_of(rows, _elements(rows.rows), helpers)
        self._kept.append(header)
        return header

    def _keep(self, header: Int64, entry: Header, array: Int64) -> None:
        self._kept.append(array)
        header[entry] = array.ctypes.data

    def _sums(
        self, cuts: Sequence[Sequence[Piece]], reduced: Sequence[Reduce], own: Sequence[Sequence[Places]]
    ) -> tuple[Int64, list[shares.Join]]:
        """For each piece and reduction where it adds up and between which numbers; and what is to be joined then."""
        sums = np.zeros((sum(map(len, cuts)), len(reduced), 3), np.int64)
        joins: list[shares.Join] = []
        begins = itertools.accumulate(map(len, cuts), initial=0)
        for begin, cut, kept, found in zip(begins, cuts, self._own, own, strict=False):
            for j, (reduce, one) in enumerate(zip(reduced, found, strict=True)):
                results = kept[made(reduce.name)]
                ranges = [pieces.touched(piece, one) for piece in cut]
                bases = [results.ctypes.data] * len(cut)
                if not pieces.are_apart(ranges):
                    bases = self._shares(ranges)
                    joined = [shares.Share(*pair, base) for pair, base in zip(ranges, bases, strict=True)]
                    joins.append(shares.Join(results, JOINS.index(reduce.op.join), reduce.op.identity, joined))
                for i, (pair, base) in enumerate(zip(ranges, bases, strict=True)):
                    sums[begin + i, j] = base, *pair
        return sums, joins

    def _shares(self, ranges: Sequence[tuple[int, int]]) -> list[int]:
        """Room for the shares of pieces: addresses, from which they count as in the results."""
        room = np.zeros(sum(high - low for low, high in ranges), np.float64)
        self._kept.append(room)
        begins = itertools.accumulate((high - low for low, high in ranges), initial=0)
        return [room.ctypes.data + 8 * (begin - low) for begin, (low, _) in zip(begins, ranges, strict=False)]

    def _joining(self, joins: Sequence[shares.Join]) -> list[int]:
        """The job that joins shares."""
        code = jit.code(shares.SOURCE)
        rows, entries, starts = shares.rows_of(joins)
        work = shares.work_of(rows)
        helpers = self.helping(int(work.sum()), len(rows))
        header = claims.header(np.concatenate([[0], np.cumsum(work)]), 1 + helpers)
        for entry, array in ((Header.ROWS_AT, rows), (Header.SUMS_AT, entries), (Header.STARTS_AT, starts)):
            self._kept.append(array)
            header[entry] = array.ctypes.data
        self._kept += [header, code]
        return [code.address, header.ctypes.data, 0, helpers, 0, 0]


def _rows(cuts: Sequence[Sequence[Piece]]) -> Rows:
    """Pieces as rows, in claims of at least so many elements."""
    every = [piece for cut in cuts for piece in cut]
    rows = np.array(every, np.int64).reshape(len(every), len(Piece._fields))
    first = np.cumsum([0, *map(len, cuts)]).astype(np.int64)
    group = np.cumsum(_elements(rows)) // CLAIM
    begins = np.flatnonzero(np.diff(group, prepend=-1))
    return Rows(rows, first, np.concatenate([begins, [len(every)]]).astype(np.int64))


def _elements(rows: Int64) -> Int64:
    """How many each piece has."""
    elements: Int64 = rows[:, 2] * rows[:, 3]
    return elements
