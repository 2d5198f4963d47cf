"""The home of NumPy's arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..codegen import backends
from ..codegen.memory import data_of, is_masked
from . import versions
from .homes import Array, Home, Int64
from .memory import CACHE_LINE

if TYPE_CHECKING:
    from ..codegen.backends.contract import Reader


class NumPyHome:
    """Arrays in host memory."""

    kind = "a NumPy array"
    contiguous = "numpy.ascontiguousarray({})"
    writable = "{}.copy()"
    cast = "{}.astype({dtype!r})"
    takes_any_order = False

    def owns(self, array: object) -> bool:
        """Whether it is a NumPy array."""
        return isinstance(array, np.ndarray)

    def keeps_memory(self, array: object) -> bool:
        """Always."""
        return True

    def adopt(self, array: Any) -> Array:
        """The array itself; one of a subclass as a plain view of it."""
        if is_masked(array):
            raise TypeError("its mask would be ignored")
        return np.asarray(array)

    def is_read_only(self, array: Any) -> bool:
        """What its flags say."""
        return not array.flags.writeable

    def place(self, array: Array) -> str:
        """The processor's memory."""
        return "cpu"

    def address(self, array: Array) -> int:
        """The address of the first element."""
        return data_of(array)

    def fetch(self, array: Array) -> Array:
        """A copy."""
        return array.copy()

    def write(self, array: Array, value: Any) -> None:
        """Write a number or an array."""
        array[...] = value

    def new_like(self, array: Array, fill: Any, dtype: np.dtype[Any] | None = None) -> Array:
        """A new array that lies in its first cache line as `array` does, so that rows of both can be aligned.

        Its elements lie in the same order. dtype: by default that of `array`.
        """
        kept, whole = dtype or array.dtype, array.itemsize
        room = np.empty(array.size * kept.itemsize + CACHE_LINE, np.uint8)
        lead = self.address(array) % CACHE_LINE // whole * kept.itemsize
        begin = (lead - self.address(room)) % CACHE_LINE
        strides = None if array.flags.c_contiguous else tuple([own // whole * kept.itemsize for own in array.strides])
        made: Array = np.ndarray(array.shape, kept, room, begin, strides)
        made[...] = fill
        return made

    def new_shaped(
        self, array: Array, shape: tuple[int, ...], fill: float, dtype: np.dtype[Any] | None = None
    ) -> Array:
        """A new array of another shape."""
        return np.full(shape, fill, dtype or array.dtype)

    def new_number(self, array: Array, fill: float) -> Array:
        """A new number."""
        return np.array(fill, np.float64)

    def reader(self, variables: Sequence[Any], begins: Int64, ends: Int64) -> Reader | None:
        """Compiled code that reads array objects; None where they are not laid out as usual."""
        return backends.get("cpu").reader(variables, begins, ends)

    def versions(self, arrays: Sequence[Any]) -> Callable[[], None] | None:
        """Those of tensors as which arrays were made in the same memory (see `torch.py`), as for a Variable."""
        return versions.of_torch([getattr(array.base, "tensor", None) for array in arrays])


HOME: Home = NumPyHome()
