"""Gather: the addresses of many NumPy arrays at once, if each is what was expected.

Asking NumPy for an address, dtype, shape and flags costs about a microsecond an array in Python; compiled code reads
the same from the array objects themselves in a few nanoseconds. The layout of an array object is part of NumPy's C
interface and fixed; `gatherer` still compares it with what NumPy says of an array, and gives None where they differ.
"""

from __future__ import annotations

import functools
import sys
import sysconfig
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from . import generated

if TYPE_CHECKING:
    import numpy.typing as npt

    Arrays = Sequence[npt.NDArray[Any]]


class Field(IntEnum):
    """Where things are in an array object, in units of 8 bytes from its start (`id` in CPython)."""

    TYPE = 1
    DATA = 2
    NDIM = 3  # the lower 4 bytes
    SHAPE_AT = 4
    DTYPE = 7
    FLAGS = 8  # the lower 4 bytes


C_CONTIGUOUS_AND_ALIGNED, WRITEABLE = 0x0101, 0x0400
INT = 0xFFFFFFFF

SOURCE = f"""
def step(table):
    count = table[0]
    objects = at_int64(table[1])
    patterns = at_int64(table[2])
    addresses = at_int64(table[3])
    for i in range(count):
        given = at_int64(objects[i])
        wanted = at_int64(patterns[i])
        table[4] = i
        if given[{Field.TYPE}] != wanted[{Field.TYPE}] or given[{Field.DTYPE}] != wanted[{Field.DTYPE}]:
            return
        ndim = given[{Field.NDIM}] & {INT}
        if ndim != wanted[{Field.NDIM}] & {INT}:
            return
        if wanted[{Field.FLAGS}] & {WRITEABLE} == 0:
            return
        if given[{Field.FLAGS}] & {C_CONTIGUOUS_AND_ALIGNED} != {C_CONTIGUOUS_AND_ALIGNED}:
            return
        if ndim > 0:
            shape = at_int64(given[{Field.SHAPE_AT}])
            wanted_shape = at_int64(wanted[{Field.SHAPE_AT}])
            for axis in range(ndim):
                if shape[axis] != wanted_shape[axis]:
                    return
        addresses[i] = given[{Field.DATA}]
    table[4] = count
"""


class Gatherer:
    """Reads contiguous arrays of exactly the types, dtypes and shapes of `patterns`, while those are writable."""

    def __init__(self, patterns: Arrays) -> None:
        self.patterns = patterns
        self.addresses = np.zeros(len(patterns), np.int64)
        self._pattern_ids = np.fromiter(map(id, patterns), np.int64, len(patterns))
        self._ids = np.zeros(len(patterns), np.int64)
        pointers = [array.ctypes.data for array in (self._ids, self._pattern_ids, self.addresses)]
        self._table = np.array([len(patterns), *pointers, 0], np.int64)
        self._at = self._table.ctypes.data
        self._read: Callable[[int], None] = generated.function(SOURCE)

    def read(self, arrays: Sequence[object]) -> npt.NDArray[np.int64] | None:
        """The addresses (valid until the next call), or None if any of `arrays` (as many as patterns) is different."""
        self._ids[:] = np.fromiter(map(id, arrays), np.int64, len(self.patterns))
        self._read(self._at)
        return self.addresses if self._table[4] == len(self.patterns) else None


@functools.cache
def works_here() -> bool:
    """Whether array objects are laid out as this module believes."""
    ordinary = sys.implementation.name == "cpython" and sys.maxsize > 2**32 and sys.byteorder == "little"
    if not ordinary or sysconfig.get_config_var("Py_GIL_DISABLED"):
        return False
    right, other = np.zeros((3, 5), np.float32), np.ones((3, 5), np.float32)
    gatherer = Gatherer([right])
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
    found = gatherer.read([other])
    return found is not None and found[0] == other.ctypes.data and all(gatherer.read([bad]) is None for bad in wrong)


def gatherer(patterns: Arrays) -> Gatherer | None:
    """A gatherer for arrays like `patterns`; None where array objects cannot be read."""
    return Gatherer(patterns) if works_here() else None
