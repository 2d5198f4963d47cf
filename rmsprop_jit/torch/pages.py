"""Pages: large ones are asked for under large new tensors, as NumPy asks for them under its arrays.

Where a system gives large pages only to who asks (`madvise`, the default of many), torch does not ask: of ordinary ones
a step over 100 MB needs 25,000 translations of addresses, and more so in a virtual machine, where each is two. A step
over the parameters of ResNet-50 takes 0.92 of the time with slots in large pages (measured).
"""

from __future__ import annotations

import ctypes
import mmap
import os
from typing import Any

LARGE = 1 << 22
"""Bytes from which on there is a whole large page inside, wherever a tensor begins; NumPy asks from there on, too."""

SWITCH = "NUMPY_MADVISE_HUGEPAGE"
"""The variable of the environment by which NumPy is told not to ask, if it is 0."""


def in_large_pages(new: Any) -> Any:
    """The tensor, which nobody has written to yet. Without large pages the system keeps to ordinary ones."""
    size = new.numel() * new.element_size()
    advice = getattr(mmap, "MADV_HUGEPAGE", None)  # of Linux
    if size >= LARGE and new.device.type == "cpu" and advice is not None and os.environ.get(SWITCH, "1") != "0":
        begin = -(-new.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
        end = (new.data_ptr() + size) // mmap.PAGESIZE * mmap.PAGESIZE
        _advise(begin, end - begin, advice)
    return new


def _advise(begin: int, size: int, advice: int) -> None:
    ctypes.CDLL(None).madvise(ctypes.c_void_p(begin), ctypes.c_size_t(size), advice)
