"""The home of other libraries' arrays in host memory, through DLPack: JAX's, say, which nobody writes to.

Nothing here imports another library.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .homes import Array, Home, Int64
from .numpy import NumPyHome

if TYPE_CHECKING:
    from ..codegen.backends.contract import Reader

CPU, PINNED = 1, 3
"""DLPack's numbers of device types whose memory is the processor's."""


class ExchangedHome(NumPyHome):
    """Arrays that say by DLPack that they are in host memory; they are worked with as NumPy's."""

    kind = "an array with DLPack"
    contiguous = writable = "numpy.array({})"
    cast = "numpy.array({}, {dtype!r})"

    def owns(self, array: object) -> bool:
        """Whether it says so; one that cannot say is taken, too, so that whoever adopts it hears the reason."""
        where = getattr(array, "__dlpack_device__", None)
        if where is None or not hasattr(array, "__dlpack__") or isinstance(array, type):
            return False
        try:
            return int(where()[0]) in (CPU, PINNED)
        except (AttributeError, TypeError, ValueError, RuntimeError, BufferError):
            return True

    def keeps_memory(self, array: object) -> bool:
        """Not known: a JAX array can be deleted."""
        return False

    def adopt(self, array: Any) -> Array:
        """As NumPy's array."""
        return np.from_dlpack(array)

    def is_read_only(self, array: Any) -> bool:
        """What NumPy says of it."""
        return not self.adopt(array).flags.writeable

    def reader(self, variables: Sequence[Any], begins: Int64, ends: Int64) -> Reader | None:
        """None: they are looked at one by one."""
        return None

    def versions(self, arrays: Sequence[Any]) -> Callable[[], None] | None:
        """None: nobody writes to them."""
        return None


HOME: Home = ExchangedHome()
