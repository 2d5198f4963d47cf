"""Reader: the addresses of many NumPy arrays at once, if each is what was expected.

Asking NumPy for an address, dtype, shape and flags costs about a microsecond an array in Python; compiled code reads
the same from the array objects themselves in a few nanoseconds, so that every call can look at every array: a caller
may change one in place (its dtype, its shape, its flags, its memory) between two calls. The layout of an array object
is part of NumPy's C interface and fixed; `reader` still compares it with what NumPy says of an array, and gives None
where they differ.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from ...memory import begin_of, data_of, is_usual
from . import jit

if TYPE_CHECKING:
    import numpy.typing as npt

    Arrays = Sequence[npt.NDArray[Any]]
    Int64 = npt.NDArray[np.int64]


class Field(IntEnum):
    """Where things are in an array object, in units of 8 bytes from its start (`id` in CPython)."""

    TYPE = 1
    DATA = 2
    NDIM = 3  # the lower 4 bytes
    SHAPE_AT = 4
    DTYPE = 7
    FLAGS = 8  # the lower 4 bytes


class Row(IntEnum):
    """What is expected of one variable and of its gradient."""

    OWN = 0  # the variable's array object
    OWN_AT = 1  # where its memory begins
    OWN_DTYPE = 2  # its dtype object
    NDIM = 3  # of both
    SHAPE_AT = 4  # int64[ndim], of both
    DTYPE = 5  # the gradient's dtype object; 0 if there is no gradient
    NBYTES = 6  # the gradient's bytes


class Frame(IntEnum):
    """All rows, and the memory that no gradient may touch."""

    COUNT = 0
    ROWS_AT = 1  # int64[count][Row]
    SPANS = 2
    BEGINS_AT = 3  # int64[spans], sorted
    ENDS_AT = 4  # int64[spans]
    TYPE = 5  # the type object of arrays
    NONE = 6  # the object None


READABLE, WRITABLE = 0x0101, 0x0501
"""Flags of arrays: C-contiguous and aligned; and writable."""

INT = 0xFFFFFFFF

OTHER, NEW, SAME = 0, 1, 2
"""What a look finds: something else than expected; all as expected, at other addresses than before; at the same."""

TOUCHED = f"""
def is_touched(frame_at, begin, end):
    frame = ints(frame_at)
    begins = ints(frame[{Frame.BEGINS_AT}])
    low = 0
    high = frame[{Frame.SPANS}]
    while low < high:
        middle = low + high >> 1
        if begins[middle] < end:
            low = middle + 1
        else:
            high = middle
    if low > 0 and begin < end and ints(frame[{Frame.ENDS_AT}])[low - 1] > begin:
        return 1
    return 0
"""

LOOK = f"""{TOUCHED}
def is_like(object_at, dtype, flags, row_at):
    given = ints(object_at)
    row = ints(row_at)
    if given[{Field.DTYPE}] != dtype or given[{Field.NDIM}] & {INT} != row[{Row.NDIM}]:
        return 0
    if given[{Field.FLAGS}] & flags != flags:
        return 0
    shape = ints(given[{Field.SHAPE_AT}])
    wanted = ints(row[{Row.SHAPE_AT}])
    for axis in range(row[{Row.NDIM}]):
        if shape[axis] != wanted[axis]:
            return 0
    return 1

def look(block_at):
    frame_at = ints(block_at)[0]
    frame = ints(frame_at)
    objects = ints(block_at + 8)
    addresses = ints(block_at + 8 + 8 * frame[{Frame.COUNT}])
    found = {SAME}
    for i in range(frame[{Frame.COUNT}]):
        row_at = frame[{Frame.ROWS_AT}] + i * {8 * len(Row)}
        row = ints(row_at)
        if is_like(row[{Row.OWN}], row[{Row.OWN_DTYPE}], {WRITABLE}, row_at) == 0:
            return {OTHER}
        if ints(row[{Row.OWN}])[{Field.DATA}] != row[{Row.OWN_AT}]:
            return {OTHER}
        at = 0
        if row[{Row.DTYPE}] == 0:
            if objects[i] != frame[{Frame.NONE}]:
                return {OTHER}
        else:
            if ints(objects[i])[{Field.TYPE}] != frame[{Frame.TYPE}]:
                return {OTHER}
            if is_like(objects[i], row[{Row.DTYPE}], {READABLE}, row_at) == 0:
                return {OTHER}
            at = ints(objects[i])[{Field.DATA}]
        if addresses[i] != at:
            if is_touched(frame_at, at, at + row[{Row.NBYTES}]) != 0:
                return {OTHER}
            addresses[i] = at
            found = {NEW}
    return found
"""


class Read:
    """What a look finds of some arrays; `addresses` of them, 0 where there is None.

    frame_at: the frame to look by, which `kept` keeps alive. One block has its address, the objects and the addresses,
    since each argument of a call costs as much as the look at an array.
    """

    __slots__ = ("_at", "_kept", "_look", "addresses", "is_good")

    def __init__(self, look: Callable[..., int], frame_at: int, arrays: Sequence[object], kept: object) -> None:
        count = len(arrays)
        block = np.zeros(1 + 2 * count, np.int64)
        block[0] = frame_at
        block[1 : count + 1] = np.fromiter(map(id, arrays), np.int64, count)
        self.addresses = block[count + 1 :]
        self._look, self._kept, self._at = look, kept, begin_of(block)
        self.is_good = look(self._at) != OTHER

    def holds(self) -> bool:
        """Whether the same arrays, which the caller has kept, are still as they were found."""
        return self._look(self._at) == SAME


class Reader:
    """Looks at the gradients of variables, and at the variables themselves: they are to be as they are now.

    begins, ends: the memory, sorted, that no gradient may touch.
    """

    def __init__(self, variables: Arrays, begins: Int64, ends: Int64) -> None:
        self._variables, self._spans = variables, (begins, ends)
        self._look = ctypes.PYFUNCTYPE(*[ctypes.c_int64] * 2)(jit.fixed(LOOK).address)
        self._shapes = np.array([size for own in variables for size in own.shape], np.int64)
        self._sizes = np.array([own.size for own in variables], np.int64)
        self._rows = self._new_rows()
        self._last: tuple[tuple[str | None, ...], int, object] | None = None

    def _new_rows(self) -> Int64:
        rows = np.zeros((len(self._variables), len(Row)), np.int64)
        rows[:, Row.OWN] = [id(own) for own in self._variables]
        rows[:, Row.OWN_AT] = [data_of(own) for own in self._variables]
        rows[:, Row.OWN_DTYPE] = [id(own.dtype) for own in self._variables]
        rows[:, Row.NDIM] = [own.ndim for own in self._variables]
        begins = np.cumsum([0, *(own.ndim for own in self._variables)])[:-1]
        rows[:, Row.SHAPE_AT] = self._shapes.ctypes.data + 8 * begins
        return rows

    def read(self, arrays: Sequence[object], dtypes: tuple[str | None, ...]) -> Read | None:
        """What is found of contiguous gradients of these dtypes, None where there is none; None if any is different."""
        if len(arrays) != len(self._variables):
            return None
        if self._last is None or self._last[0] != dtypes:  # the same tuple again costs nothing to compare
            self._last = (dtypes, *self._new_frame(dtypes))
        _, frame_at, kept = self._last
        read = Read(self._look, frame_at, arrays, kept)
        return read if read.is_good else None

    def _new_frame(self, dtypes: tuple[str | None, ...]) -> tuple[int, object]:
        known = {name: np.dtype(name) for name in set(dtypes) if name is not None}
        ids = {name: id(dtype) for name, dtype in known.items()}
        widths = {name: dtype.itemsize for name, dtype in known.items()}
        rows, (begins, ends) = self._rows.copy(), self._spans
        rows[:, Row.DTYPE] = [ids.get(name, 0) for name in dtypes]  # type: ignore[arg-type]
        rows[:, Row.NBYTES] = self._sizes * np.array([widths.get(name, 0) for name in dtypes])  # type: ignore[arg-type]
        cells = {
            Frame.COUNT: len(rows),
            Frame.ROWS_AT: rows.ctypes.data,
            Frame.SPANS: len(begins),
            Frame.BEGINS_AT: begins.ctypes.data,
            Frame.ENDS_AT: ends.ctypes.data,
            Frame.TYPE: id(np.ndarray),
            Frame.NONE: id(None),
        }
        frame = np.array([cells[cell] for cell in Frame], np.int64)
        return begin_of(frame), (frame, rows, known, self)


@functools.cache
def works_here() -> bool:
    """Whether array objects are laid out as this module believes."""
    if not is_usual():
        return False
    own, other, nothing = np.zeros((3, 5), np.float32), np.ones((3, 5), np.float32), np.zeros(0, np.int64)
    reader = Reader([own], nothing, nothing)
    wrong = (
        other.astype(np.float64),
        other.T,
        other.reshape(5, 3),
        other[:, ::2],
        other.reshape(15),
        None,
        1.5,
        "text",
    )
    found = reader.read([other], ("float32",))
    if found is None or found.addresses[0] != other.ctypes.data or not found.holds():
        return False
    if any(reader.read([bad], ("float32",)) is not None for bad in wrong):
        return False
    own.flags.writeable = False
    return not found.holds()


def reader(variables: Arrays, begins: Int64, ends: Int64) -> Reader | None:
    """A reader of the gradients of `variables`; None where array objects cannot be read."""
    return Reader(variables, begins, ends) if works_here() else None
