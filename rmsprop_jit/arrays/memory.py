"""Memory: which arrays overlap, and how an array lies in its cache lines."""

from __future__ import annotations

import numpy as np

from .homes import Array, Int64, address_of, place_of

CACHE_LINE = 64
"""Bytes. Slots lie like their variable in relation to it, so that what is aligned for one is aligned for all."""


class Memory:
    """The memory of some arrays, to ask whether another one touches it.

    begins, nbytes: where each begins, and its bytes. The attributes are those of arrays that have any, sorted.
    """

    def __init__(self, begins: Int64, nbytes: Int64) -> None:
        order = np.argsort(begins, kind="stable")
        self._order = order[nbytes[order] > 0]
        self.begins = begins[self._order]
        self.ends = self.begins + nbytes[self._order]

    def overlapping_pair(self) -> tuple[int, int] | None:
        """Two of the arrays that share memory, if any do."""
        for i in np.flatnonzero(self.begins[1:] < self.ends[:-1]):
            return int(self._order[i]), int(self._order[i + 1])
        return None

    def touched_by(self, begin: int, nbytes: int) -> int | None:
        """Which array overlaps the given bytes, if any does; the arrays must not overlap each other."""
        i = int(np.searchsorted(self.begins, begin + nbytes)) - 1
        return int(self._order[i]) if nbytes and i >= 0 and self.ends[i] > begin else None


def is_dense(array: Array) -> bool:
    """Whether nothing lies between its elements, in whatever order they lie."""
    if array.flags.c_contiguous:
        return True
    step = array.itemsize
    for stride, size in sorted((stride, size) for stride, size in zip(array.strides, array.shape, strict=True)):
        if size != 1 and stride != step:
            return False
        step *= size
    return array.size > 0


def lie_alike(ours: Array, theirs: Array) -> bool:
    """Whether the elements of two arrays of one shape lie in the same order, both of them densely."""
    axes = [size != 1 for size in ours.shape]
    pairs = zip(axes, ours.strides, theirs.strides, strict=True)
    if ours.flags.c_contiguous or theirs.flags.c_contiguous:
        return bool(ours.flags.c_contiguous and theirs.flags.c_contiguous)
    return all(a * theirs.itemsize == b * ours.itemsize for counts, a, b in pairs if counts)


def same_memory(ours: Array, theirs: Array) -> bool:
    """Whether `theirs` is a full view of `ours`: same address, shape, strides and dtype."""
    alike = ours.shape == theirs.shape and ours.dtype == theirs.dtype and ours.strides == theirs.strides
    return alike and place_of(ours) == place_of(theirs) and address_of(ours) == address_of(theirs)
