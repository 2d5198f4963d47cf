"""Copies from the host to a GPU that wait for nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ... import locks
from . import device

if TYPE_CHECKING:
    from .device import HostArray


class _Uploads:
    """Copies from the host that do not wait for the GPU: through pinned memory, kept until it has been read."""

    def __init__(self) -> None:
        self._pending: list[tuple[Any, Any]] = []
        self._lock = locks.new()

    def copy(self, target: device.DeviceArray, values: HostArray) -> None:
        """Copy host values of the same dtype and number of bytes into `target`, in order with the current stream.

        While the stream is captured, the copy is made at once, on a stream of its own, and is no part of the graph.
        """
        xp = device.cupy()
        with device.memory_allowed():
            pinned = xp.cuda.alloc_pinned_memory(values.nbytes)
        np.frombuffer(pinned, values.dtype, values.size)[:] = values.ravel()
        if device.is_capturing():
            aside = xp.cuda.Stream(non_blocking=True)
            target.data.copy_from_host_async(pinned.ptr, values.nbytes, aside)
            aside.synchronize()
            return
        stream = xp.cuda.get_current_stream()
        target.data.copy_from_host_async(pinned.ptr, values.nbytes, stream)
        event = xp.cuda.Event(disable_timing=True)
        event.record(stream)
        with self._lock:
            self._pending = [(memory, passed) for memory, passed in self._pending if not passed.done]
            self._pending.append((pinned, event))


UPLOADS = _Uploads()
"""One for all: what is being read must outlive the table that sent it."""
