"""What this package uses of CuPy, on the host: memory is NumPy's, work goes to a simulated stream.

Only for tests, with the simulated GPU. As strict as CuPy where that matters: no silent conversion to NumPy, only
arrays of the same kind in assignments, nothing that waits while a stream is captured, and a current device, to which
`asarray` copies what lies on another one.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
from simulated_streams import (
    RELAXED,
    CUDARuntimeError,
    Device,
    Event,
    Graph,
    MemoryPointer,
    MemoryPool,
    Stream,
    alloc_pinned_memory,
    event_record,
    get_current_stream,
    memory,
    only,
    refuse_memory,
    stream_wait_event,
    using_allocator,
)

ELSEWHERE: dict[int, tuple[int, int]] = {}
"""What lies on another device than the first: begin, and end and device."""


class ndarray:
    """An array that pretends to be on a GPU."""

    def __init__(self, host: Any, device: int | None = None) -> None:
        self._host = host
        self.shape, self.dtype, self.strides = host.shape, host.dtype, host.strides
        self.size, self.nbytes, self.itemsize, self.ndim = host.size, host.nbytes, host.itemsize, host.ndim
        self.flags = SimpleNamespace(c_contiguous=host.flags.c_contiguous)
        self.data = MemoryPointer(host)
        self.device = Device(device)

    @property
    def _c_contiguous(self) -> bool:
        return bool(self._host.flags.c_contiguous)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {**self._host.__array_interface__, "version": 3, "stream": None}

    def __array__(self, *arguments: Any, **keywords: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    def __dlpack__(
        self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: Any = None
    ) -> tuple[str, Any]:
        only(stream=stream, max_version=max_version, dl_device=dl_device, copy=copy)
        return "dltensor", self._host

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self.device.id

    def __reduce__(self) -> tuple[Any, ...]:
        return ndarray, (self.get(),)

    def __deepcopy__(self, memo: object) -> ndarray:
        with self.device:
            return self.copy()

    def get(self, stream: Stream | None = None, order: str = "C", out: Any = None, blocking: bool = True) -> Any:
        """A copy on the host, which waits for the stream that is current now, on whichever device."""
        only(stream=stream, order=order != "C", out=out, blocking=not blocking)
        get_current_stream().synchronize()
        return self._host.copy()

    def set(self, arr: Any, stream: Stream | None = None) -> None:
        """Copy from the host, whose memory may be gone when a graph runs."""
        only(stream=stream)
        get_current_stream().refuse_capture()
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if arr.dtype != self.dtype or arr.shape != self.shape:
            raise ValueError(f"{arr.dtype} array of shape {arr.shape} cannot be set to {self.dtype}, {self.shape}")
        if not self.flags.c_contiguous:
            raise RuntimeError("Cannot set to non-contiguous array")
        target, copy = self._host, arr.copy()
        get_current_stream().submit(lambda: target.__setitem__(..., copy))

    def copy(self, order: str = "C") -> ndarray:
        """A copy on the device."""
        only(order=order != "C")
        return self.astype(self.dtype)

    def view(self, dtype: Any = None, type: Any = None) -> ndarray:
        """The same memory with another dtype."""
        only(type=type)
        return ndarray(self._host.view(dtype), self.device.id)

    def reshape(self, *shape: Any, order: str = "C", copy: Any = None) -> ndarray:
        """The same memory in another shape."""
        only(order=order != "C", copy=copy)
        return ndarray(self._host.reshape(*shape), self.device.id)

    def astype(
        self, dtype: Any, order: str = "K", casting: Any = None, subok: Any = None, copy: bool = True
    ) -> ndarray:
        """A copy of another dtype."""
        only(order=order != "K", casting=casting, subok=subok, copy=not copy)
        made, source = empty(self.shape, dtype), self._host
        get_current_stream().submit(lambda: np.copyto(made._host, source, "unsafe"))
        return made

    def __getitem__(self, key: Any) -> ndarray:
        return ndarray(np.asarray(self._host[key]), self.device.id)

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(value, np.ndarray):
            raise TypeError("a CuPy array or a number is needed, not a NumPy array")
        host, operand = self._host, _on_host(value)
        get_current_stream().submit(lambda: host.__setitem__(key, operand))

    @property
    def T(self) -> ndarray:
        """The same memory with its axes in reverse."""
        return ndarray(self._host.T, self.device.id)

    def sum(self, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False) -> ndarray:
        """Of all elements."""
        only(axis=axis, dtype=dtype, out=out, keepdims=keepdims)
        return _made(lambda out: np.sum(self._host, out=out), (), self.dtype)

    def clip(self, min: Any = None, max: Any = None, out: Any = None) -> ndarray:
        """What is not below, or above."""
        only(max=max, out=out)
        return _computed(np.maximum, self, min)

    def __mul__(self, other: Any) -> ndarray:
        return _computed(np.multiply, self, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> ndarray:
        return _computed(np.divide, self, other)

    def __pow__(self, other: Any) -> ndarray:
        return _computed(np.power, self, other)

    def __add__(self, other: Any) -> ndarray:
        return _computed(np.add, self, other)

    def __matmul__(self, other: ndarray) -> ndarray:
        shape = (self.shape[0], other.shape[1])
        return _made(lambda out: np.matmul(self._host, other._host, out=out), shape, self.dtype)

    def __imul__(self, other: Any) -> ndarray:
        self[...] = self * other
        return self

    def __iadd__(self, other: Any) -> ndarray:
        self[...] = self + other
        return self

    def __sub__(self, other: Any) -> ndarray:
        return _computed(np.subtract, self, other)

    def __eq__(self, other: Any) -> ndarray:  # type: ignore[override]
        return _made(lambda out: np.equal(self._host, _on_host(other), out=out), self.shape, np.bool_)

    __hash__ = None  # type: ignore[assignment]

    def __len__(self) -> int:
        return len(self._host)

    def __float__(self) -> float:
        return float(self.get())


def _on_host(value: Any) -> Any:
    return value._host if isinstance(value, ndarray) else value


def _computed(work: Callable[..., object], left: ndarray, right: Any) -> ndarray:
    """A new array that `work` fills, now or whenever a graph runs."""
    if isinstance(right, np.ndarray):
        raise TypeError(f"Unsupported type {type(right)}")
    operands = left._host, _on_host(right)
    shape = np.broadcast_shapes(*map(np.shape, operands))
    return _made(lambda out: work(*operands, out=out), shape, np.result_type(*operands))


def _made(work: Callable[[Any], object], shape: tuple[int, ...], dtype: Any) -> ndarray:
    made = empty(shape, dtype)

    def compute() -> None:
        with np.errstate(all="ignore"):  # a GPU has nobody to warn
            work(made._host)

    get_current_stream().submit(compute)
    return made


def empty(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    """New memory on the current device, poisoned."""
    only(order=order != "C")
    refuse_memory()
    nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return _placed(np.frombuffer(bytearray(b"\xa5" * nbytes), np.uint8)).view(dtype).reshape(shape)


def _placed(host: Any) -> ndarray:
    """New memory, which is on the current device from now on."""
    array = ndarray(host)
    memory[array.data.ptr] = host
    if array.device.id and host.nbytes:
        begin = array.data.ptr
        ELSEWHERE[begin] = begin + host.nbytes, array.device.id
        weakref.finalize(host, ELSEWHERE.pop, begin)
    return array


def device_of(address: int) -> int:
    """The device that has an address."""
    return next((device for begin, (end, device) in list(ELSEWHERE.items()) if begin <= address < end), 0)


def asarray(a: Any, dtype: Any = None, order: Any = None, *, copy: Any = None, blocking: bool = False) -> ndarray:
    """A device array on the current device in the same memory; a copy of one on another device, or of a host array."""
    only(dtype=dtype, order=order, copy=copy, blocking=blocking)
    if not isinstance(a, ndarray) and hasattr(a, "__cuda_array_interface__"):
        holder = SimpleNamespace(__array_interface__=a.__cuda_array_interface__, owner=a)
        host = np.asarray(holder)
        a = ndarray(host, device_of(host.ctypes.data) if host.nbytes else None)
    if isinstance(a, ndarray):
        return a if a.device.id == Device().id else a.copy()
    get_current_stream().refuse_capture()
    return _placed(np.array(a))


def from_dlpack(array: Any, *, device: Any = None, copy: Any = None) -> ndarray:
    """Another library's device array in the same memory, on its own device."""
    only(device=device, copy=copy)
    _, host = array.__dlpack__()
    return ndarray(host, array.__dlpack_device__()[1])


def pointer_attributes(ptr: int) -> Any:
    """`cupy.cuda.runtime.pointerGetAttributes`."""
    return SimpleNamespace(device=device_of(ptr))


cuda = SimpleNamespace(
    Device=Device,
    Event=Event,
    MemoryPointer=MemoryPointer,
    MemoryPool=MemoryPool,
    Stream=Stream,
    alloc_pinned_memory=alloc_pinned_memory,
    get_current_stream=get_current_stream,
    graph=SimpleNamespace(Graph=Graph),
    runtime=SimpleNamespace(
        CUDARuntimeError=CUDARuntimeError,
        eventRecord=event_record,
        streamWaitEvent=stream_wait_event,
        pointerGetAttributes=pointer_attributes,
        streamCaptureModeGlobal=0,
        streamCaptureModeThreadLocal=1,
        streamCaptureModeRelaxed=RELAXED,
    ),
    using_allocator=using_allocator,
)
