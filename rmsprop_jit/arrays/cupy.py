"""The home of arrays on a GPU: CuPy's own, and other libraries' memory looked at through CuPy.

The only way from the front end to CuPy, which is imported when the first such array is used, never before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..codegen import backends
from ..codegen.backends.cuda import device as gpu
from ..codegen.backends.cuda import foreign
from . import versions
from .homes import Array, Home, Int64

if TYPE_CHECKING:
    from ..codegen.backends.contract import Reader


class CuPyHome:
    """Arrays in the memory of CUDA devices."""

    kind = "an array on a GPU"
    contiguous = "cupy.ascontiguousarray({})"
    writable = "{}.copy()"
    cast = "{}.astype({dtype!r})"
    takes_any_order = False

    def owns(self, array: object) -> bool:
        """Whether it says, by DLPack or `__cuda_array_interface__`, that it is on such a device."""
        return foreign.lies_on_gpu(array)

    def keeps_memory(self, array: object) -> bool:
        """CuPy's do; what others do is not known."""
        return gpu.is_cupy(array)

    def adopt(self, array: Any) -> Array:
        """As CuPy's array. Raises BackendError without CuPy."""
        adopted: Array = foreign.adopt(array)
        return adopted

    def is_read_only(self, array: Any) -> bool:
        """What its interface says."""
        return foreign.is_read_only(array)

    def place(self, array: Array) -> str:
        """The device, as "cuda:0"."""
        return f"cuda:{gpu.index_of(array)}"

    def address(self, array: Array) -> int:
        """The address of the first element."""
        return int(array.data.ptr)  # type: ignore[attr-defined]

    def fetch(self, array: Array) -> Array:
        """A copy in host memory; waits for the current stream."""
        return gpu.fetch(array)

    def write(self, array: Array, value: Any) -> None:
        """Write a number, an array on the same device, or a NumPy array."""
        index = gpu.index_of(array)
        with gpu.use(index), gpu.ordered(index):
            if isinstance(value, np.ndarray):
                array.set(np.ascontiguousarray(value, dtype=array.dtype).reshape(array.shape))  # type: ignore[attr-defined]
            else:
                array[...] = value

    def new_like(self, array: Array, fill: Any, dtype: np.dtype[Any] | None = None) -> Array:
        """A new array on the same device."""
        return _new(array, array.shape, dtype or array.dtype, fill)

    def new_shaped(
        self, array: Array, shape: tuple[int, ...], fill: float, dtype: np.dtype[Any] | None = None
    ) -> Array:
        """A new array of another shape on the same device."""
        return _new(array, shape, dtype or array.dtype, fill)

    def new_number(self, array: Array, fill: float) -> Array:
        """A new number on the same device."""
        return _new(array, (), np.dtype(np.float64), fill)

    def reader(self, variables: Sequence[Any], begins: Int64, ends: Int64) -> Reader | None:
        """Looks at CuPy's arrays and torch's tensors; what others do with theirs is not known."""
        return backends.get("cuda").reader(variables, begins, ends)

    def versions(self, arrays: Sequence[Any]) -> Callable[[], None] | None:
        """Torch's, of its tensors."""
        return versions.of_torch(arrays)


def _new(beside: Array, shape: tuple[int, ...], dtype: np.dtype[Any], fill: Any) -> Array:
    """A new array on the device of another one."""
    index = gpu.index_of(beside)
    with gpu.use(index), gpu.ordered(index):
        made: Array = gpu.cupy().empty(shape, dtype)
        made[...] = fill
    return made


HOME: Home = CuPyHome()
