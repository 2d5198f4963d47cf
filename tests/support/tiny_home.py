"""A home for a kind of arrays that the package has never heard of, in host memory."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from compare import Array

from rmsprop_jit.arrays.homes import Int64


class Tiny:
    """An array that is nobody's: not NumPy's, and without a protocol by which NumPy could read it."""

    def __init__(self, values: npt.ArrayLike, read_only: bool = False) -> None:
        self._host = np.array(values)
        self.read_only = read_only
        self.shape, self.dtype, self.strides = self._host.shape, self._host.dtype, self._host.strides
        self.size, self.nbytes, self.itemsize = self._host.size, self._host.nbytes, self._host.itemsize
        self.ndim, self.flags = self._host.ndim, self._host.flags

    def __array__(self, *arguments: Any, **keywords: Any) -> Any:
        raise TypeError("a Tiny array is not converted silently")

    def __reduce__(self) -> tuple[type["Tiny"], tuple[Array, bool]]:
        return Tiny, (self._host, self.read_only)

    def __mul__(self, other: float | Array) -> "Tiny":
        return Tiny(self._host * other)

    def get(self) -> Array:
        return self._host.copy()


class TinyHome:
    """Where Tiny arrays live."""

    kind = "a Tiny array"
    contiguous = writable = "Tiny({}.get())"
    cast = "Tiny({}.get().astype({dtype!r}))"
    takes_any_order = False

    def owns(self, array: object) -> bool:
        return isinstance(array, Tiny)

    def keeps_memory(self, array: object) -> bool:
        return True

    def adopt(self, array: Tiny) -> Tiny:
        return array

    def is_read_only(self, array: Tiny) -> bool:
        return array.read_only

    def place(self, array: Tiny) -> str:
        return "cpu"

    def address(self, array: Tiny) -> int:
        return array._host.ctypes.data

    def fetch(self, array: Tiny) -> Array:
        return array.get()

    def write(self, array: Tiny, value: Tiny | npt.ArrayLike) -> None:
        array._host[...] = value._host if isinstance(value, Tiny) else value

    def new_like(self, array: Tiny, fill: Tiny | npt.ArrayLike, dtype: np.dtype[Any] | None = None) -> Tiny:
        assert dtype in (None, array.dtype)
        made = Tiny(array._host)
        self.write(made, fill)
        return made

    def new_shaped(self, array: Tiny, shape: tuple[int, ...], fill: float, dtype: np.dtype[Any] | None = None) -> Tiny:
        return Tiny(np.full(shape, fill, dtype or array.dtype))

    def new_number(self, array: Tiny, fill: float) -> Tiny:
        return Tiny(np.array(fill, np.float64))

    def versions(self, arrays: Sequence[Any]) -> None:
        return None

    def reader(self, variables: Sequence[Any], begins: Int64, ends: Int64) -> None:
        return None


HOME = TinyHome()
