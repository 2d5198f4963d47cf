"""Reader: addresses of many gradients on GPUs at once, if each is as expected: CuPy's arrays, torch's tensors."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import device, foreign

if TYPE_CHECKING:
    import numpy.typing as npt

    HostArray = npt.NDArray[Any]


class Read(NamedTuple):
    """Where gradients begin; 0 where there is none. `again` looks at them once more."""

    addresses: HostArray
    again: Callable[[], Read | None] | None

    def holds(self) -> bool:
        """Whether all are as they were. Nobody changes CuPy's arrays in place: those are not looked at again."""
        if self.again is None:
            return True
        now = self.again()
        return now is not None and np.array_equal(now.addresses, self.addresses)


Look = tuple[tuple[Any, ...], int]
"""Of an array its dtype in NumPy's words, shape, whether it is contiguous, and its device's number; where it begins."""


class Tensors:
    """Looks at torch's tensors, without torch: they can be pointed elsewhere, and answer in a tenth of a microsecond.

    What their dtypes and devices are called here is learned from CuPy, of the first tensor of each.
    """

    def __init__(self) -> None:
        self._known: dict[object, tuple[Any, int]] = {}

    def look(self, array: Any) -> Look | None:
        """What a tensor says of itself; None for anything else, and for tensors without memory of their own."""
        try:
            kind, begin = (type(array), array.dtype, array.device), array.data_ptr()
            dtype, index = self._known.get(kind) or self._learned(kind, array, begin)
            return (dtype, array.shape, array.is_contiguous(), index), begin
        except (AttributeError, TypeError, ValueError, RuntimeError, BufferError):
            return None

    def _learned(self, kind: object, array: Any, begin: int) -> tuple[Any, int]:
        if not foreign.lies_on_gpu(array):
            raise TypeError(f"{type(array).__name__} is not on a GPU")
        seen = foreign.adopt(array)
        if seen.size and seen.data.ptr != begin:
            raise ValueError(f"{type(array).__name__} is not where it says")
        self._known[kind] = found = seen.dtype, device.index_of(seen)
        return found


class Reader:
    """Looks at the gradients of variables on GPUs, and at variables that can be pointed elsewhere: torch's.

    begins, ends: the memory, sorted, that no gradient may touch. Raises TypeError for variables of other libraries.
    """

    def __init__(self, variables: Sequence[device.DeviceArray], begins: HostArray, ends: HostArray) -> None:
        self._kind = device.cupy().ndarray
        self._look = _look_at(self._kind)
        self._tensors = Tensors()
        self._own = [(array, self._seen(array)) for array in variables if type(array) is not self._kind]
        adopted = [foreign.adopt(array) for array in variables]
        self._variables = [(array.shape, device.index_of(array), int(array.size)) for array in adopted]
        self._begins, self._ends = begins, ends
        self._last: tuple[tuple[str | None, ...], list[Any], HostArray] | None = None

    def read(self, arrays: Sequence[Any], dtypes: tuple[str | None, ...]) -> Read | None:
        """Where contiguous arrays of these dtypes with the variables' shapes begin; None if any is different."""
        if self._last is None or self._last[0] != dtypes:  # the same tuple again costs nothing to compare
            self._last = (dtypes, *self._expected(dtypes))
        _, expected, nbytes = self._last
        kind, look, tensors, addresses = self._kind, self._look, self._tensors.look, []
        if any(tensors(own) != seen for own, seen in self._own):
            return None
        can_change = bool(self._own)
        for array, wanted in zip(arrays, expected, strict=True):
            if wanted is None and array is None:
                addresses.append(0)
            elif type(array) is kind and look(array) == wanted:
                addresses.append(array.data.ptr)
            else:
                seen = tensors(array)
                if wanted is None or seen is None or seen[0] != wanted or seen[1] % wanted[0].itemsize:
                    return None
                addresses.append(seen[1])
                can_change = True
        found = np.array(addresses, np.int64)
        if self._touches(found, nbytes):
            return None
        return Read(found, functools.partial(self.read, arrays, dtypes) if can_change else None)

    def _seen(self, array: Any) -> Look:
        seen = self._tensors.look(array)
        if seen is None:
            raise TypeError(f"{type(array).__name__} cannot be looked at without adopting it")
        return seen

    def _expected(self, dtypes: Sequence[str | None]) -> tuple[list[Any], HostArray]:
        """What a look at each gradient is to give, None where there is none; and the gradients' bytes."""
        known = {name: np.dtype(name) for name in set(dtypes) if name is not None}
        expected: list[Any] = []
        nbytes = np.zeros(len(dtypes), np.int64)
        for i, (name, (shape, index, size)) in enumerate(zip(dtypes, self._variables, strict=True)):
            expected.append(None if name is None else (known[name], shape, True, index))
            nbytes[i] = 0 if name is None else size * known[name].itemsize
        return expected, nbytes

    def _touches(self, begins: HostArray, nbytes: HostArray) -> bool:
        if not len(self._ends):
            return False
        ends = begins + nbytes
        before = np.searchsorted(self._begins, ends) - 1
        return bool(((self._ends[before] > begins) & (before >= 0) & (nbytes > 0)).any())


def _look_at(kind: type) -> Callable[[device.DeviceArray], tuple[Any, ...]]:
    """A function from an array of CuPy's to its dtype, shape, whether it is contiguous, and its device's number.

    Dtypes are compared as objects: the name of one takes 3 us to make. `flags` and `device` make objects too, ten and
    three times as slow as what CuPy keeps the same facts in; the first of these is not public, and may go.
    """
    memory = device.cupy().cuda.MemoryPointer
    contiguous = "_c_contiguous" if hasattr(kind, "_c_contiguous") else "flags.c_contiguous"
    index = "data.device_id" if hasattr(memory, "device_id") else "device.id"
    look: Callable[[device.DeviceArray], tuple[Any, ...]] = operator.attrgetter("dtype", "shape", contiguous, index)
    return look
