"""What this package uses of `cupy.cuda`, on the host: devices, and streams that do work in order or record it.

As in CUDA, streams do not wait for each other. The null stream does everything at once, after the blocking streams of
its device; any other keeps its work until somebody waits for it. What CuPy decides by thread is decided by thread.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

Work = Callable[[], object]

DEVICES = 2

RELAXED = 2
"""The mode of captures that allow memory, by its number in CUDA."""

STATUS = {
    101: "cudaErrorInvalidDevice: invalid device ordinal",
    900: "cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing",
    906: "cudaErrorStreamCaptureImplicit: operation would make the legacy stream depend on a capturing blocking stream",
}


def only(**options: Any) -> None:
    """Refuse what CuPy can, but nobody here asks for: all of these are to be off."""
    asked = [name for name, value in options.items() if value]
    if asked:
        raise NotImplementedError(f"the stand-in for CuPy knows no {asked}")


class CUDARuntimeError(RuntimeError):
    """What CuPy raises for a call that the driver refuses."""

    def __init__(self, status: int) -> None:
        super().__init__(STATUS[status])
        self.status = status


class Graph:
    """What a stream recorded."""

    def __init__(self, work: list[Work]) -> None:
        self._work = work

    def launch(self, stream: Stream | None = None) -> None:
        """Do it, on the current stream unless on another."""
        stream = stream or get_current_stream()
        stream.refuse_capture()
        for one in self._work:
            stream.submit(one)


class Stream:
    """Work in order."""

    null: ClassVar[Stream]
    """That of the first device."""

    def __init__(
        self, null: bool = False, non_blocking: bool = False, ptds: bool = False, priority: int | None = None
    ) -> None:
        only(ptds=ptds, priority=priority)
        self.device_id = _current.device
        self.is_null, self._is_blocking = null, not non_blocking
        self._recorded: list[Work] | None = None
        self.allows_memory = True
        self._queued: deque[Work] = deque()
        self._before: list[Stream] = []
        self.ptr = 0 if null else id(self)
        _streams[self.device_id].add(self)

    def __enter__(self) -> Stream:
        if self.device_id != _current.device:
            raise RuntimeError("The device that the stream is created on does not match with the current device")
        self._before.append(_current.streams[self.device_id])
        _current.streams[self.device_id] = self
        return self

    def __exit__(self, *problem: object) -> None:
        _current.streams[self.device_id] = self._before.pop()

    def submit(self, work: Work) -> None:
        """Keep or record; the null stream does it."""
        if self._recorded is not None:
            self._recorded.append(work)
            return
        if self.is_null:
            self.refuse_capture()
            self._queued.append(work)
            self.finish()
        else:
            held = list(memory.values())  # CuPy gives memory back in order with the stream
            self._queued.append(lambda: (work(), held))

    def finish(self, until: Callable[[], bool] = lambda: False) -> None:
        """Do what is kept, or so much of it that `until` holds."""
        for other in self._waited_for():
            other.finish()
        while self._queued and not until():
            self._queued.popleft()()

    def _waited_for(self) -> list[Stream]:
        """The blocking streams of the device, for the null stream."""
        if not self.is_null:
            return []
        return [other for other in list(_streams[self.device_id]) if other._is_blocking and other is not self]

    def begin_capture(self, mode: int | None = None) -> None:
        """Record from now on; new memory is allowed in the relaxed mode alone, which is CuPy's, not torch's."""
        if self.is_null:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        self.refuse_capture()
        self._recorded, self.allows_memory = [], mode in (None, RELAXED)

    def end_capture(self) -> Graph:
        """What was recorded; from now on work is kept again."""
        graph, self._recorded, self.allows_memory = Graph(self._recorded or []), None, True
        return graph

    def is_capturing(self) -> bool:
        """Whether work is recorded. The null stream cannot be asked while a blocking one records."""
        if any(other._recorded is not None for other in self._waited_for()):
            raise CUDARuntimeError(906)
        return self._recorded is not None

    def refuse_capture(self) -> None:
        """Raise what the driver answers to work that cannot be in a graph, such as waiting."""
        if self.is_capturing():
            raise CUDARuntimeError(900)

    def synchronize(self) -> None:
        """Wait for everything."""
        self.refuse_capture()
        self.finish()

    def wait_event(self, event: Event) -> None:
        """Do nothing further before the event has passed."""
        self.submit(event.finish)


class Event:
    """A point in a stream."""

    def __init__(self, block: bool = False, disable_timing: bool = False, interprocess: bool = False) -> None:
        only(block=block, interprocess=interprocess)
        self.done, self._stream = True, get_current_stream()
        self.ptr = id(self)
        _events[self.ptr] = self

    def record(self, stream: Stream | None = None) -> None:
        """Mark the point."""
        stream = stream or get_current_stream()
        stream.refuse_capture()
        assert self.done, "this simulation records an event once"
        self.done, self._stream = False, stream
        stream.submit(self._pass)

    def _pass(self) -> None:
        self.done = True

    def finish(self) -> None:
        """Wait for it."""
        self._stream.finish(lambda: self.done)


class Device(contextlib.AbstractContextManager["Device"]):
    """One of the devices, the current one unless it is named."""

    compute_capability = "90"

    def __init__(self, device: int | None = None) -> None:
        self.id = _current.device if device is None else device
        self._before: list[int] = []

    def __enter__(self) -> Device:
        if self.id not in range(DEVICES):
            raise CUDARuntimeError(101)
        self._before.append(_current.device)
        _current.device = self.id
        return self

    def __exit__(self, *problem: object) -> None:
        _current.device = self._before.pop()

    def synchronize(self) -> None:
        """Wait for all its streams."""
        for stream in list(_streams[self.id]):
            stream.refuse_capture()
            stream.finish()


def refuse_memory() -> None:
    """Raise what the driver answers to a call for memory during a capture that is not relaxed."""
    if not get_current_stream().allows_memory:
        raise CUDARuntimeError(900)


class PinnedMemory(bytearray):
    """Host memory with an address."""

    def __init__(self, nbytes: int) -> None:
        refuse_memory()
        super().__init__(nbytes)

    @property
    def ptr(self) -> int:
        """The address."""
        return ctypes.addressof((ctypes.c_char * len(self)).from_buffer(self)) if self else 0


def alloc_pinned_memory(size: int) -> PinnedMemory:
    """Host memory that the device can read."""
    return PinnedMemory(size)


class MemoryPointer:
    """Where an array begins."""

    device_id = 0

    def __init__(self, host: Any) -> None:
        self.ptr, self._host = int(host.ctypes.data), host

    def copy_from_host_async(self, mem: int, size: int, stream: Stream | None = None) -> None:
        """Copy from a host address, in order with a stream."""
        (stream or get_current_stream()).submit(lambda: ctypes.memmove(self.ptr, mem, size))


class MemoryPool:
    """Where memory comes from; here it does not matter."""

    def __init__(self, allocator: Any = None) -> None:
        only(allocator=allocator)

    def malloc(self, size: int) -> None:
        """Never called: `empty` takes its memory from NumPy."""


@contextlib.contextmanager
def using_allocator(allocator: Callable[[int], Any] | None = None) -> Iterator[None]:
    """Memory for the `with` block; only a capture needs memory of its own."""
    assert get_current_stream().is_capturing()
    yield


def get_current_stream(device_id: int = -1) -> Stream:
    """The stream that is current on a device; without a number, on the current one."""
    return _current.streams[_current.device if device_id < 0 else device_id]


def stream_at(ptr: int) -> Stream:
    """A stream by its handle; 0 is the null stream of the current device."""
    return next(one for one in list(_streams[_current.device]) if one.ptr == ptr)


def event_record(event: int, stream: int) -> None:
    """`cupy.cuda.runtime.eventRecord`."""
    _events[event].record(stream_at(stream))


def stream_wait_event(stream: int, event: int, flags: int = 0) -> None:
    """`cupy.cuda.runtime.streamWaitEvent`. Work that is captured cannot wait for work that is not."""
    only(flags=flags)
    stream_at(stream).refuse_capture()
    stream_at(stream).wait_event(_events[event])


class _Current(threading.local):
    """What is current in a thread."""

    def __init__(self) -> None:
        self.device = 0
        self.streams = list(_null_streams)


memory: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
"""All memory of devices, by address."""

_streams: list[weakref.WeakSet[Stream]] = [weakref.WeakSet() for _ in range(DEVICES)]
_events: weakref.WeakValueDictionary[int, Event] = weakref.WeakValueDictionary()
_null_streams: list[Stream] = []
_current = _Current()
for _current.device in range(DEVICES):
    _null_streams.append(Stream(null=True))
Stream.null = _null_streams[0]
_current.__init__()  # type: ignore[misc]  # in this thread, too, now that there are null streams
