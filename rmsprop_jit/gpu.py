"""Arrays on a GPU, as the front end sees them: CuPy's own, or another library's memory looked at through CuPy.

Imported when the first such array is met, never before; the only way from the front end to CuPy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .codegen.backends.cuda import Clock
from .codegen.backends.cuda.device import adopt, cupy, fetch, is_capturing, is_cupy, is_read_only, lies_on_gpu, use

if TYPE_CHECKING:
    import numpy.typing as npt

    Int64 = npt.NDArray[np.int64]

__all__ = [
    "Clock",
    "Reader",
    "adopt",
    "assign",
    "fetch",
    "index_of",
    "is_capturing",
    "is_cupy",
    "is_read_only",
    "lies_on_gpu",
    "new_like",
    "put",
]


def index_of(array: Any) -> int:
    """The number of the device that an array is on."""
    return int(array.device.id)


def new_like(array: Any, fill: Any) -> Any:
    """A new array on the same device, with the same shape and dtype, holding `fill`."""
    with use(index_of(array)):
        made = cupy().empty(array.shape, array.dtype)
        made[...] = fill
    return made


def assign(array: Any, value: Any) -> None:
    """Write a number, or an array on the same device, into an array."""
    with use(index_of(array)):
        array[...] = value


def put(array: Any, values: npt.NDArray[Any]) -> None:
    """Copy host values of the same shape into an array."""
    with use(index_of(array)):
        array.set(np.ascontiguousarray(values, dtype=array.dtype).reshape(array.shape))


class Reader:
    """The addresses of contiguous CuPy arrays with the dtypes, shapes and device of `patterns`."""

    def __init__(self, patterns: Sequence[Any]) -> None:
        self._kind = cupy().ndarray
        self._wanted = [(array.dtype, array.shape, index_of(array)) for array in patterns]

    def read(self, arrays: Sequence[Any]) -> Int64 | None:
        """Their addresses, or None if any is different."""
        addresses = []
        for array, (dtype, shape, index) in zip(arrays, self._wanted, strict=True):
            if type(array) is not self._kind or array.dtype != dtype or array.shape != shape:
                return None
            if not array.flags.c_contiguous or array.device.id != index:
                return None
            addresses.append(array.data.ptr)
        return np.array(addresses, np.int64)
