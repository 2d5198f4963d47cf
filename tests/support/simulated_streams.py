"""What this package uses of `cupy.cuda`, on the host: a stream does everything at once or records it for a graph."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from typing import Any

Work = Callable[[], object]


class CUDARuntimeError(RuntimeError):
    """What CuPy raises for a call that the driver refuses."""


class Graph:
    """What a stream recorded."""

    def __init__(self, work: list[Work]) -> None:
        self._work = work

    def launch(self) -> None:
        """Do it."""
        CURRENT.refuse_capture()
        for one in self._work:
            one()


class Stream:
    """Does what is submitted at once, or records it."""

    def __init__(self, non_blocking: bool = False) -> None:
        self._recorded: list[Work] | None = None

    def submit(self, work: Work) -> None:
        """Do or record."""
        if self._recorded is None:
            work()
        else:
            self._recorded.append(work)

    def begin_capture(self) -> None:
        """Record from now on."""
        self.refuse_capture()
        self._recorded = []

    def end_capture(self) -> Graph:
        """What was recorded; from now on work is done at once."""
        graph, self._recorded = Graph(self._recorded or []), None
        return graph

    def is_capturing(self) -> bool:
        """Whether work is recorded."""
        return self._recorded is not None

    def refuse_capture(self) -> None:
        """Raise what the driver answers to work that cannot be in a graph, such as waiting."""
        if self.is_capturing():
            raise CUDARuntimeError("cudaErrorStreamCaptureUnsupported: not permitted when stream is capturing")

    def synchronize(self) -> None:
        """Nothing is ever left to wait for."""
        self.refuse_capture()


class Event:
    """A point in a stream."""

    done = True

    def __init__(self, disable_timing: bool = False) -> None:
        pass

    def record(self, stream: Stream) -> None:
        """Mark the point."""
        stream.refuse_capture()


class Device(contextlib.AbstractContextManager["Device"]):
    """The one device there is."""

    compute_capability = "90"

    def __init__(self, index: int = 0) -> None:
        self.id = index

    def __enter__(self) -> Device:
        if self.id:
            raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
        return self

    def __exit__(self, *problem: object) -> None:
        return None

    def synchronize(self) -> None:
        """Nothing is ever left to wait for."""
        CURRENT.refuse_capture()


class PinnedMemory(bytearray):
    """Host memory with an address."""

    @property
    def ptr(self) -> int:
        """The address."""
        return ctypes.addressof((ctypes.c_char * len(self)).from_buffer(self)) if self else 0


class MemoryPointer:
    """Where an array begins."""

    def __init__(self, host: Any) -> None:
        self.ptr = int(host.ctypes.data)

    def copy_from_host_async(self, source: int, nbytes: int, stream: Stream) -> None:
        """Copy from a host address, in order with a stream."""
        stream.submit(lambda: ctypes.memmove(self.ptr, source, nbytes))


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
