"""What this package uses of CuPy, on the host: memory is NumPy's, a stream does everything at once or records it.

Only for tests, with Numba's CUDA simulator. As strict as CuPy where that matters: no silent conversion to NumPy, and
only arrays of the same kind in assignments.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np


class MemoryPointer:
    """Where an array begins."""

    def __init__(self, host: Any) -> None:
        self.ptr = int(host.ctypes.data)

    def copy_from_host_async(self, source: int, nbytes: int, stream: Stream) -> None:
        """Copy from a host address, in order with a stream."""
        stream.submit(lambda: ctypes.memmove(self.ptr, source, nbytes))


class ndarray:
    """An array that pretends to be on a GPU."""

    def __init__(self, host: Any) -> None:
        self._host = host
        self.shape, self.dtype, self.strides = host.shape, host.dtype, host.strides
        self.size, self.nbytes, self.itemsize, self.ndim = host.size, host.nbytes, host.itemsize, host.ndim
        self.flags = SimpleNamespace(c_contiguous=host.flags.c_contiguous)
        self.data = MemoryPointer(host)
        self.device = Device(0)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {**self._host.__array_interface__, "version": 3, "stream": None}

    def __array__(self, *arguments: Any, **keywords: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    def __reduce__(self) -> tuple[Any, ...]:
        return ndarray, (self._host,)

    def __deepcopy__(self, memo: object) -> ndarray:
        return self.copy()

    def get(self) -> Any:
        """A copy on the host."""
        return self._host.copy()

    def set(self, host: Any) -> None:
        """Copy from the host."""
        assert isinstance(host, np.ndarray)
        assert host.dtype == self.dtype
        self._host[...] = host

    def copy(self) -> ndarray:
        """A copy on the device."""
        return ndarray(self._host.copy())

    def view(self, dtype: Any) -> ndarray:
        """The same memory with another dtype."""
        return ndarray(self._host.view(dtype))

    def reshape(self, *shape: Any) -> ndarray:
        """The same memory in another shape."""
        return ndarray(self._host.reshape(*shape))

    def astype(self, dtype: Any) -> ndarray:
        """A copy of another dtype."""
        return ndarray(self._host.astype(dtype))

    def __getitem__(self, key: Any) -> ndarray:
        return ndarray(np.asarray(self._host[key]))

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(value, np.ndarray):
            raise TypeError("a CuPy array or a number is needed, not a NumPy array")
        self._host[key] = value._host if isinstance(value, ndarray) else value

    def __mul__(self, other: Any) -> ndarray:
        return ndarray(self._host * (other._host if isinstance(other, ndarray) else other))

    __rmul__ = __mul__

    def __sub__(self, other: Any) -> ndarray:
        return ndarray(self._host - (other._host if isinstance(other, ndarray) else other))

    def __len__(self) -> int:
        return len(self._host)


def empty(shape: Any, dtype: Any) -> ndarray:
    """New memory, poisoned."""
    nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return ndarray(np.frombuffer(bytearray(b"\xa5" * nbytes), dtype).reshape(shape))


def asarray(array: Any) -> ndarray:
    """Another library's device array in the same memory, or a copy of a host array."""
    if isinstance(array, ndarray):
        return array
    if hasattr(array, "__cuda_array_interface__"):
        holder = SimpleNamespace(__array_interface__=array.__cuda_array_interface__, owner=array)
        return ndarray(np.asarray(holder))
    return ndarray(np.array(array))


def from_dlpack(array: Any) -> ndarray:
    """Another library's device array in the same memory."""
    return ndarray(array.simulated_memory)


class Graph:
    """What a stream recorded."""

    def __init__(self, work: list[Callable[[], object]]) -> None:
        self._work = work

    def launch(self) -> None:
        """Do it."""
        for one in self._work:
            one()


class Stream:
    """Does what is submitted at once, or records it."""

    def __init__(self, non_blocking: bool = False) -> None:
        self._recorded: list[Callable[[], object]] | None = None

    def submit(self, work: Callable[[], object]) -> None:
        """Do or record."""
        if self._recorded is None:
            work()
        else:
            self._recorded.append(work)

    def begin_capture(self) -> None:
        """Record from now on."""
        self._recorded = []

    def end_capture(self) -> Graph:
        """What was recorded; from now on work is done at once."""
        graph, self._recorded = Graph(self._recorded or []), None
        return graph

    def is_capturing(self) -> bool:
        """Whether work is recorded."""
        return self._recorded is not None

    def synchronize(self) -> None:
        """Nothing is ever left to wait for."""
        assert self._recorded is None, "a stream that is captured cannot be waited for"


class Event:
    """A point in a stream."""

    done = True

    def __init__(self, disable_timing: bool = False) -> None:
        pass

    def record(self, stream: Stream) -> None:
        """Mark the point."""
        assert not stream.is_capturing()


class Device(contextlib.AbstractContextManager["Device"]):
    """The one device there is."""

    compute_capability = "90"

    def __init__(self, index: int = 0) -> None:
        self.id = index

    def __exit__(self, *problem: object) -> None:
        return None

    def synchronize(self) -> None:
        """Nothing is ever left to wait for."""
        assert not CURRENT.is_capturing(), "a device cannot be waited for while a stream is captured"


class PinnedMemory(bytearray):
    """Host memory with an address."""

    @property
    def ptr(self) -> int:
        """The address."""
        return ctypes.addressof((ctypes.c_char * len(self)).from_buffer(self)) if self else 0


class MemoryPool:
    """Where memory comes from; here it does not matter."""

    def malloc(self, nbytes: int) -> None:
        """Never called: `empty` takes its memory from NumPy."""


@contextlib.contextmanager
def using_allocator(allocator: Callable[[int], Any]) -> Iterator[None]:
    """Memory for the `with` block; only a capture needs memory of its own."""
    assert CURRENT.is_capturing()
    yield


CURRENT = Stream()

cuda = SimpleNamespace(
    Device=Device,
    Event=Event,
    MemoryPool=MemoryPool,
    Stream=Stream,
    alloc_pinned_memory=PinnedMemory,
    get_current_stream=lambda: CURRENT,
    using_allocator=using_allocator,
)
