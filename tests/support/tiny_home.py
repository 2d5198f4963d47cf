"""A home for a kind of arrays that the package has never heard of, in host memory."""

from typing import Any

import numpy as np
import numpy.typing as npt


class Tiny:
    """An array that is nobody's: not NumPy's, and without a protocol by which NumPy could read it."""

    def __init__(self, values, read_only: bool = False) -> None:
        self._host = np.array(values)
        self.read_only = read_only
        self.shape, self.dtype, self.strides = self._host.shape, self._host.dtype, self._host.strides
        self.size, self.nbytes, self.itemsize = self._host.size, self._host.nbytes, self._host.itemsize
        self.ndim, self.flags = self._host.ndim, self._host.flags

    def __array__(self, *arguments: Any, **keywords: Any) -> Any:
        raise TypeError("a Tiny array is not converted silently")

    def __reduce__(self) -> tuple[type["Tiny"], tuple[npt.NDArray[Any], bool]]:
        return Tiny, (self._host, self.read_only)

    def __mul__(self, other):
        return Tiny(self._host * other)

    def get(self) -> npt.NDArray[Any]:
        return self._host.copy()


class TinyHome:
    """Where Tiny arrays live."""

    kind = "a Tiny array"
    contiguous = "Tiny({}.get())"

    def owns(self, array):
        return isinstance(array, Tiny)

    def keeps_memory(self, array):
        return True

    def adopt(self, array):
        return array

    def is_read_only(self, array):
        return array.read_only

    def place(self, array):
        return "cpu"

    def address(self, array):
        return array._host.ctypes.data

    def fetch(self, array):
        return array.get()

    def write(self, array: Tiny, value) -> None:
        array._host[...] = value._host if isinstance(value, Tiny) else value

    def new_like(self, array, fill):
        made = Tiny(array._host)
        self.write(made, fill)
        return made

    def reader(self, variables, begins, ends):
        return None


HOME = TinyHome()
