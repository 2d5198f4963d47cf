"""Spans: whether memory that is read is there, aligned, and none that is written: asked of many arrays at once.

NumPy needs ten operations for that, and where other code ran before takes 40 to 150 us for 200 arrays, up to a fifth of
their step; this takes 12 to 20. Behind a backward pass gradients are elsewhere in every step.
"""

from __future__ import annotations

import ctypes
import functools
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from ..memory import begin_of
from .cpu.reader import TOUCHED, Frame

if TYPE_CHECKING:
    import numpy.typing as npt

    Int64 = npt.NDArray[np.int64]


class Cell(IntEnum):
    """What compiled code is passed, in one block, in which spans are where `Frame` has them."""

    COUNT = Frame.COUNT
    READ_AT = Frame.ROWS_AT  # int64[count], where each array begins
    SPANS = Frame.SPANS
    BEGINS_AT = Frame.BEGINS_AT
    ENDS_AT = Frame.ENDS_AT
    NBYTES_AT = Frame.TYPE  # int64[count]
    ODD_AT = Frame.NONE  # int64[count]


FREE = f"""{TOUCHED}
def are_free(block_at):
    block = ints(block_at)
    begins = ints(block[{Cell.READ_AT}])
    nbytes = ints(block[{Cell.NBYTES_AT}])
    odd = ints(block[{Cell.ODD_AT}])
    for i in range(block[{Cell.COUNT}]):
        if begins[i] & odd[i] != 0:
            return 0
        if nbytes[i] > 0:
            if begins[i] == 0:
                return 0
            if is_touched(block_at, begins[i], begins[i] + nbytes[i]) != 0:
                return 0
    return 1
"""


class Spans:
    """Memory that is written, sorted by where each of it begins; and arrays of these bytes, that are only read.

    odd: the bits of an address that none of an array's elements can have.
    """

    def __init__(self, begins: Int64, ends: Int64, nbytes: Int64, odd: Int64) -> None:
        self._kept = [np.ascontiguousarray(one, np.int64) for one in (begins, ends, nbytes, odd)]
        cells = {Cell.COUNT: len(nbytes), Cell.SPANS: len(begins), Cell.READ_AT: 0}
        places = Cell.BEGINS_AT, Cell.ENDS_AT, Cell.NBYTES_AT, Cell.ODD_AT
        cells |= {place: one.ctypes.data for place, one in zip(places, self._kept, strict=True)}
        self._block = np.array([cells[cell] for cell in Cell], np.int64)
        self._are_free = _compiled()

    def are_free(self, begins: Int64) -> bool:
        """Whether arrays that begin here can be read while all that is written changes."""
        block = self._block.copy()  # another thread may ask at the same time
        block[Cell.READ_AT] = begin_of(begins)
        return bool(self._are_free(begin_of(block)))


@functools.cache
def _compiled() -> Any:
    from .cpu import jit  # with llvmlite, which not every step needs

    return ctypes.PYFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(jit.fixed(FREE).address)
