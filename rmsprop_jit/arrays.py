"""Arrays: what may be updated in place, where it lies, and whether two of them overlap.

Every check is made before anything is written; every message names the array.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import ArrayError

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]
    Int64 = npt.NDArray[np.int64]
else:
    Array = Int64 = Any  # importing numpy.typing takes as long as all the rest of this package

DTYPES = ("float32", "float64")
"""Dtypes of variables, gradients and slots."""

CACHE_LINE = 64
"""Bytes. Slots lie like their variable in relation to it, so that what is aligned for one is aligned for all."""


def address_of(array: Array) -> int:
    """The address of the first element."""
    return int(array.__array_interface__["data"][0])


def check_array(array: object, what: str) -> Array:
    """`array`, if a compiled kernel can read it where it lies. Raises ArrayError, naming it as `what`."""
    if not isinstance(array, np.ndarray):
        raise ArrayError(
            f"{what} is not a NumPy array. Received: {type(array).__name__}. Pass numpy.asarray(...) of it."
        )
    if isinstance(array, np.ma.MaskedArray):
        raise ArrayError(
            f"{what} is a masked array, whose mask would be ignored. Received: {type(array).__name__}. "
            "Pass array.filled(...)."
        )
    if array.dtype.name not in DTYPES:
        raise ArrayError(f"{what} must be of dtype {' or '.join(DTYPES)}. Received: dtype={array.dtype}.")
    if not array.dtype.isnative:
        raise ArrayError(
            f"{what} is not in this machine's byte order. Received: dtype={array.dtype.str!r}. "
            f"Pass array.astype({array.dtype.name!r})."
        )
    if not array.flags.c_contiguous:
        raise ArrayError(
            f"{what} is not C-contiguous. Received: shape={array.shape}, strides={array.strides}. "
            "Pass numpy.ascontiguousarray(...) of it."
        )
    if not array.flags.aligned:
        raise ArrayError(
            f"{what} is not aligned to its {array.itemsize}-byte elements. "
            f"Received: address {address_of(array):#x}. Pass a copy."
        )
    return array


def check_variable(array: object, name: str) -> Array:
    """An array that can be updated in place. Raises ArrayError, naming it, if it cannot."""
    checked = check_array(array, f"variable {name!r}")
    check_writable(checked, name)
    return checked


def check_writable(array: Array, name: str) -> None:
    """Raise ArrayError if a variable is read-only."""
    if not array.flags.writeable:
        raise ArrayError(
            f"variable {name!r} is read-only. Received: an array with flags.writeable=False. Pass a writable copy."
        )


def check_gradient(gradient: object, array: Array, name: str) -> Array:
    """A gradient of the shape and dtype of its variable. Raises ArrayError, naming the variable, if it is not."""
    checked = check_array(gradient, f"the gradient of {name!r}")
    if checked.shape != array.shape:
        raise ArrayError(
            f"the gradient of {name!r} must have the variable's shape {array.shape}. Received: shape={checked.shape}."
        )
    if checked.dtype != array.dtype:
        raise ArrayError(
            f"the gradient of {name!r} must have the variable's dtype {array.dtype}. "
            f"Received: dtype={checked.dtype}. Pass gradient.astype({array.dtype.name!r})."
        )
    return checked


class Memory:
    """The memory of some arrays, to ask whether another one touches it."""

    def __init__(self, arrays: Sequence[tuple[str, Array]]) -> None:
        spans = sorted((address_of(a), address_of(a) + a.nbytes, name) for name, a in arrays if a.nbytes)
        self.begins = np.array([begin for begin, _, _ in spans], np.int64)
        self.ends = np.array([end for _, end, _ in spans], np.int64)
        self.names = [name for _, _, name in spans]

    def overlapping_pair(self) -> tuple[str, str] | None:
        """The names of two of the arrays that share memory, if any do."""
        for i in np.flatnonzero(self.begins[1:] < self.ends[:-1]):
            return self.names[i], self.names[i + 1]
        return None

    def touched_by(self, begin: int, nbytes: int) -> str | None:
        """The name of an array that overlaps the given bytes, if any does; the arrays must not overlap each other."""
        i = int(np.searchsorted(self.begins, begin + nbytes)) - 1
        return self.names[i] if nbytes and i >= 0 and self.ends[i] > begin else None

    def is_touched(self, begins: Int64, nbytes: Int64) -> bool:
        """Whether any of many spans of bytes overlaps any of the arrays."""
        if not len(self.ends):
            return False
        ends = begins + nbytes
        before = np.searchsorted(self.begins, ends) - 1
        return bool(((self.ends[before] > begins) & (before >= 0) & (nbytes > 0)).any())


def lead_of(array: Array) -> int:
    """How many elements of an array's first cache line lie before it."""
    return address_of(array) % CACHE_LINE // array.itemsize


def aligned_like(array: Array, fill: float | Array) -> Array:
    """A new array of the same shape, dtype and place in its cache line, holding `fill`."""
    room = np.empty(array.nbytes + CACHE_LINE, np.uint8)
    begin = (address_of(array) - address_of(room)) % CACHE_LINE
    made = room[begin : begin + array.nbytes].view(array.dtype).reshape(array.shape)
    made[...] = fill
    return made
