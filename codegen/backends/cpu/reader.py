"""Reader: the addresses of many NumPy arrays at once, if each is what was expected.

Asking NumPy for an address, dtype, shape and flags costs about a microsecond an array in Python; compiled code reads
the same from the array objects themselves in a few nanoseconds. The layout of an array object is part of NumPy's C
interface and fixed; `reader` still compares it with what NumPy says of an array, and gives None where they differ.
"""

from __future__ import annotations

import ctypes
import functools
import sys
import sysconfig
from collections.abc import Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from . import jit

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

READ = f"""
def read(objects_at, patterns_at, dtypes_at, addresses_at, count):
    for i in range(count):
        given = ints(ints(objects_at)[i])
        wanted = ints(ints(patterns_at)[i])
        if given[{Field.TYPE}] != wanted[{Field.TYPE}] or given[{Field.DTYPE}] != ints(dtypes_at)[i]:
            return i
        ndim = given[{Field.NDIM}] & {INT}
        if ndim != wanted[{Field.NDIM}] & {INT}:
            return i
        if wanted[{Field.FLAGS}] & {WRITEABLE} == 0:
            return i
        if given[{Field.FLAGS}] & {C_CONTIGUOUS_AND_ALIGNED} != {C_CONTIGUOUS_AND_ALIGNED}:
            return i
        shape = ints(given[{Field.SHAPE_AT}])
        wanted_shape = ints(wanted[{Field.SHAPE_AT}])
        for axis in range(ndim):
            if shape[axis] != wanted_shape[axis]:
                return i
        ints(addresses_at)[i] = given[{Field.DATA}]
    return count
"""


class Reader:
    """Reads contiguous arrays of exactly the types and shapes of writable `patterns`, but of these dtypes."""

    def __init__(self, patterns: Arrays, dtypes: Sequence[Any]) -> None:
        self._patterns, self._dtypes = patterns, [np.dtype(dtype) for dtype in dtypes]
        self.addresses = np.zeros(len(patterns), np.int64)
        self._ids, self._pattern_ids, self._dtype_ids = (np.zeros(len(patterns), np.int64) for _ in range(3))
        self._pattern_ids[:] = [id(pattern) for pattern in patterns]
        self._dtype_ids[:] = [id(dtype) for dtype in self._dtypes]
        tables = (self._ids, self._pattern_ids, self._dtype_ids, self.addresses)
        self._arguments = (*(table.ctypes.data for table in tables), len(patterns))
        self._read = ctypes.PYFUNCTYPE(*[ctypes.c_int64] * 6)(jit.fixed(READ).address)

    def read(self, arrays: Sequence[object]) -> npt.NDArray[np.int64] | None:
        """The addresses (valid until the next call), or None if any of `arrays` (as many as patterns) is different."""
        self._ids[:] = np.fromiter(map(id, arrays), np.int64, len(self._patterns))
        return self.addresses if self._read(*self._arguments) == len(self._patterns) else None


@functools.cache
def works_here() -> bool:
    """Whether array objects are laid out as this module believes."""
    ordinary = sys.implementation.name == "cpython" and sys.maxsize > 2**32 and sys.byteorder == "little"
    if not ordinary or sysconfig.get_config_var("Py_GIL_DISABLED"):
        return False
    right, other = np.zeros((3, 5), np.float32), np.ones((3, 5), np.float32)
    tried = Reader([right], [right.dtype])
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
    found = tried.read([other])
    return found is not None and found[0] == other.ctypes.data and all(tried.read([bad]) is None for bad in wrong)


def reader(patterns: Arrays, dtypes: Sequence[Any]) -> Reader | None:
    """A reader of arrays like `patterns`, of these dtypes; None where array objects cannot be read."""
    return Reader(patterns, dtypes) if works_here() else None
