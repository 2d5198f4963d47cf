"""A GPU that does nothing: kernels are not started, memory is the host's. What is left is the work of the host.

Arrays are CuPy's own where it is installed (it needs no GPU for that), else of a class that answers as much: so what
they are asked costs what it costs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

from rmsprop_jit.codegen.backends.cuda import device
from rmsprop_jit.codegen.backends.cuda.frame import THREADS

from ..workloads import Array

ON_GPU = (2, 0)
"""By DLPack, the first CUDA device."""


class _Pointer:
    """Where an array begins."""

    device_id = 0

    def __init__(self, ptr: int) -> None:
        self.ptr = ptr

    def copy_from_host_async(self, source: int, nbytes: int, stream: object) -> None:
        """Start a copy."""


class OwnArray:
    """An array that answers what CuPy's is asked."""

    def __init__(self, host: Array) -> None:
        self._host = host
        self.shape, self.dtype, self.size, self.nbytes = host.shape, host.dtype, host.size, host.nbytes
        self.strides, self.itemsize = host.strides, host.itemsize
        self._c_contiguous, self.flags = True, host.flags
        self.data, self.device = _Pointer(host.ctypes.data), SimpleNamespace(id=0)

    def __dlpack_device__(self) -> tuple[int, int]:
        return ON_GPU

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(value, int | float):  # what another array holds does not matter: nothing is computed
            self._host[key] = value


class _Device(contextlib.AbstractContextManager["_Device"]):
    id, compute_capability = 0, "90"

    def __init__(self, index: int = 0) -> None: ...

    def __exit__(self, *problem: object) -> None: ...

    def synchronize(self) -> None:
        """Wait for nothing."""


class _Stream:
    ptr = 0

    def is_capturing(self) -> bool:
        """Never."""
        return False


class _Event:
    done, ptr = True, 0

    def __init__(self, disable_timing: bool = False) -> None: ...

    def record(self, stream: object) -> None:
        """It has passed."""


class _Pinned(bytearray):
    ptr = 0


class Driver:
    """Takes the place of CuPy and the GPU: see `device.Driver`. `arrays`: the class of arrays, CuPy's or OwnArray."""

    threads = THREADS
    _stream: ClassVar[_Stream] = _Stream()

    def __init__(self, arrays: Any) -> None:
        self.arrays = arrays
        cuda = SimpleNamespace(
            Device=_Device,
            Event=_Event,
            MemoryPointer=_Pointer,
            alloc_pinned_memory=_Pinned,
            get_current_stream=lambda: self._stream,
            runtime=SimpleNamespace(eventRecord=lambda *_: None, streamWaitEvent=lambda *_: None),
        )
        self._module = SimpleNamespace(ndarray=arrays, cuda=cuda, empty=_empty, asarray=self.array)

    def cupy(self) -> Any:
        """What stands in for CuPy."""
        return self._module

    imported = cupy

    def load(self, kernel: Any, compiler: str | None, index: int) -> device.Launch:
        """A kernel that is never started."""
        return lambda grid, *arguments: None

    def array(self, given: Any) -> Any:
        """An array in the memory of a NumPy array, or of whatever has the interface of arrays on GPUs."""
        host = given if isinstance(given, np.ndarray) else _looked_at(given)
        if self.arrays is OwnArray:
            return OwnArray(host)
        import cupy

        memory = cupy.cuda.UnownedMemory(host.ctypes.data, host.nbytes, host, 0)
        return cupy.ndarray(host.shape, host.dtype, cupy.cuda.MemoryPointer(memory, 0))


def _empty(shape: Any, dtype: Any) -> OwnArray:
    return OwnArray(np.zeros(shape, dtype))


def _looked_at(given: Any) -> Array:
    return np.asarray(SimpleNamespace(__array_interface__=given.__cuda_array_interface__, owner=given))


def arrays_at_hand() -> Any:
    """CuPy's class of arrays, or the one that stands in for it."""
    try:
        import cupy
    except ImportError:
        return OwnArray
    return cupy.ndarray


@contextlib.contextmanager
def no_gpu(arrays: Any) -> Iterator[Driver]:
    """In the `with` block there is a GPU that does nothing."""
    driver = Driver(arrays)
    before = device.use_driver(driver)
    interface = property(lambda array: {"data": (array.data.ptr, False)})
    says = [("__dlpack_device__", lambda array: ON_GPU), ("__cuda_array_interface__", interface)]
    with replaced(
        *((arrays, name, value) for name, value in says)
    ):  # CuPy's ask CUDA where they are, and on what stream
        try:
            yield driver
        finally:
            device.use_driver(before)


@contextlib.contextmanager
def replaced(*attributes: tuple[Any, str, Any]) -> Iterator[None]:
    """In the `with` block these attributes have these values. (object, name, value)"""
    with contextlib.ExitStack() as undo:
        for owner, name, value in attributes:
            if name in vars(owner):
                undo.callback(setattr, owner, name, vars(owner)[name])
            else:
                undo.callback(delattr, owner, name)
            setattr(owner, name, value)
        yield
