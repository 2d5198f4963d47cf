"""The home of torch's tensors in host memory: parameters and gradients, where they lie.

Nothing here imports torch: there are no such tensors before somebody else has. A tensor can be pointed elsewhere at any
time (`tensor.data = ...`, `module.double()`), so it is asked anew in every call.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import versions
from .homes import Array, Home, Int64
from .numpy import NumPyHome
from .parts import PARTS, is_changed_when_read, layout

if TYPE_CHECKING:
    from ..codegen.backends.contract import Reader

DTYPES = {
    f"torch.{name}": np.dtype(name)
    for name in ("float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8", "bool")
}
"""Those that NumPy has, too. Which of them are good for what is asked elsewhere."""

DTYPES |= {name: np.dtype(part) for name, part in PARTS.items()}

NOTHING = np.zeros(1)
"""Where tensors without elements are said to be, which have no address of their own."""


class TorchHome(NumPyHome):
    """Tensors in host memory, which are worked with as NumPy's arrays; and what no kernel can reach, to say so."""

    kind = "a torch tensor"
    contiguous = "{}.contiguous()"
    writable = "{}.clone()"
    cast = "{}.to(torch.{dtype})"
    takes_any_order = True

    def owns(self, array: object) -> bool:
        """Whether it is torch's, but on no GPU that CUDA reaches."""
        tensor = getattr(sys.modules.get("torch"), "Tensor", None)
        return tensor is not None and isinstance(array, tensor) and getattr(array, "is_cuda", None) is False

    def keeps_memory(self, array: object) -> bool:
        """Never."""
        return False

    def adopt(self, array: Any) -> Array:
        """As NumPy's array, without history; of complex numbers that of their parts, as by `torch.view_as_real`.

        Raises TypeError for what has no such memory.
        Not by `Tensor.numpy`, after which torch would refuse to resize the caller's tensor.
        """
        if str(array.layout) != "torch.strided" or array.is_nested:
            raise TypeError(f"it is not dense: layout={array.layout}")
        if array.device.type != "cpu":
            raise TypeError(f"it is on the device {str(array.device)!r}, which no kernel reaches")
        if str(array.dtype) not in DTYPES:
            raise TypeError(f"its dtype is {array.dtype}")
        if is_changed_when_read(array):
            raise TypeError("its elements are negated or conjugated when they are read")
        seen = array.detach()
        if not seen.numel():
            return np.ndarray(layout(seen)[0], DTYPES[str(seen.dtype)], NOTHING)
        if not seen.data_ptr():
            raise ValueError("it has no memory, as of a storage that was resized to nothing")
        return np.asarray(_Held(seen))

    def is_read_only(self, array: Any) -> bool:
        """Torch forbids nothing to who has an address."""
        return False

    def reader(self, variables: Sequence[Any], begins: Int64, ends: Int64) -> Reader | None:
        """Asks tensors all at once, where their class has a function for it; None for tensors of other classes."""
        from .tensors import reader  # with what compiled code needs, which few checks do

        return reader(variables, begins, ends)

    def versions(self, arrays: Sequence[Any]) -> Callable[[], None] | None:
        """Torch's own."""
        return versions.of_torch(arrays)


class _Held:
    """A tensor that NumPy looks at, and keeps alive."""

    def __init__(self, tensor: Any) -> None:
        self.tensor = tensor
        shape, strides = layout(tensor)
        dtype, begin = DTYPES[str(tensor.dtype)].str, (tensor.data_ptr(), False)
        self.__array_interface__ = {"version": 3, "shape": shape, "strides": strides, "typestr": dtype, "data": begin}


HOME: Home = TorchHome()
