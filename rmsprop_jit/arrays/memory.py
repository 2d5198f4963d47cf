"""Memory: which arrays overlap, and how an array lies in its cache lines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .homes import Array, address_of, place_of

CACHE_LINE = 64
"""Bytes. Slots lie like their variable in relation to it, so that what is aligned for one is aligned for all."""


class Memory:
    """The memory of some arrays, to ask whether another one touches it: sorted `begins` and `ends`."""

    def __init__(self, arrays: Sequence[tuple[str, Array]]) -> None:
        begins = [(address_of(array), array.nbytes, name) for name, array in arrays if array.nbytes]
        spans = sorted((begin, begin + nbytes, name) for begin, nbytes, name in begins)
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


def same_memory(ours: Array, theirs: Array) -> bool:
    """Whether `theirs` is a full view of `ours`: same address, shape, strides and dtype."""
    alike = ours.shape == theirs.shape and ours.dtype == theirs.dtype and ours.strides == theirs.strides
    return alike and place_of(ours) == place_of(theirs) and address_of(ours) == address_of(theirs)
