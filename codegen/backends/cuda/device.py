"""The GPU as this package uses it, through CuPy: arrays, copies, streams, launches.

Everything happens on CuPy's current stream; nothing here waits for the GPU but `fetch` and `wait_for`. With
NUMBA_ENABLE_CUDASIM=1 `simulated_cupy` stands in for CuPy.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import BackendError
from . import compilers, frame
from .compilers import INSTALL, Arch
from .frame import KernelSource

if TYPE_CHECKING:
    import numpy.typing as npt

    HostArray = npt.NDArray[Any]

DeviceArray = Any
"""A cupy.ndarray."""

CUDA, CUDA_MANAGED = 2, 13
"""DLPack's numbers of device types whose memory kernels can reach."""


def is_simulated() -> bool:
    """Whether Numba's CUDA simulator takes the place of a GPU."""
    return os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")


@functools.cache
def cupy() -> Any:
    """The module `cupy`, or what stands in for it. Raises BackendError if it cannot be imported."""
    if is_simulated():
        return importlib.import_module(".simulated_cupy", __package__)
    try:
        return importlib.import_module("cupy")
    except ImportError as problem:
        raise BackendError(
            f"arrays on a GPU are handled by CuPy, which cannot be imported ({problem}). "
            f"Received: an array of a CUDA device. {INSTALL}."
        ) from problem


# Arrays.


def lies_on_gpu(array: object) -> bool:
    """Whether an array, of whatever library, is in the memory of a CUDA device. Imports nothing."""
    if isinstance(array, np.ndarray | np.generic | float | int | list | tuple):
        return False
    where = getattr(array, "__dlpack_device__", None)
    if where is not None:
        return int(where()[0]) in (CUDA, CUDA_MANAGED)
    return hasattr(array, "__cuda_array_interface__")


def adopt(array: Any) -> DeviceArray:
    """The array as CuPy's, in the same memory. A torch tensor that requires grad is taken without its history."""
    if is_cupy(array):
        return array
    array = _without_history(array)
    xp = cupy()
    return xp.asarray(array) if hasattr(array, "__cuda_array_interface__") else xp.from_dlpack(array)


def is_cupy(array: object) -> bool:
    """Whether an array is CuPy's own. Imports nothing."""
    module = sys.modules.get("cupy") if not is_simulated() else cupy()
    return module is not None and isinstance(array, module.ndarray)


def _without_history(array: Any) -> Any:
    """A torch tensor that requires grad as one that does not, in the same memory; other arrays as they are."""
    return array.detach() if getattr(array, "requires_grad", False) else array


def is_read_only(array: Any) -> bool:
    """Whether the library that owns an array forbids writing to it."""
    interface = getattr(_without_history(array), "__cuda_array_interface__", None)
    return bool(interface is not None and interface["data"][1])


def empty_bytes(nbytes: int) -> DeviceArray:
    """New memory on the current device.

    While a stream is captured it comes from a pool of its own: CuPy's usual pool would hand out memory that a temporary
    array of the same graph has used, and that each launch of the graph writes to again.
    """
    if not is_capturing():
        return cupy().empty(nbytes, np.uint8)
    with cupy().cuda.using_allocator(_pool_for_graphs().malloc):
        return cupy().empty(nbytes, np.uint8)


@functools.cache
def _pool_for_graphs() -> Any:
    return cupy().cuda.MemoryPool()


def fetch(array: DeviceArray) -> HostArray:
    """A copy in host memory; waits for the stream."""
    copy: HostArray = array.get()
    return copy


# Devices and streams.


def use(index: int) -> AbstractContextManager[Any]:
    """Makes a device current for a `with` block."""
    device: AbstractContextManager[Any] = cupy().cuda.Device(index)
    return device


def wait_for(index: int) -> None:
    """Wait until a device has done all that was launched on any of its streams."""
    cupy().cuda.Device(index).synchronize()


def is_capturing() -> bool:
    """Whether the current stream records what is launched into a graph, instead of doing it."""
    return bool(cupy().cuda.get_current_stream().is_capturing())


@functools.cache
def arch_of(index: int) -> Arch:
    """The architecture of a device, as (9, 0)."""
    text = str(cupy().cuda.Device(index).compute_capability)
    return int(text[:-1]), int(text[-1])


def arch_at_hand() -> Arch:
    """The architecture of the current device, or the default where there is none."""
    if "cupy" not in sys.modules or is_simulated():
        return compilers.DEFAULT_ARCH
    try:
        return arch_of(int(cupy().cuda.Device().id))
    except Exception:  # no driver, or no device
        return compilers.DEFAULT_ARCH


class _Uploads:
    """Copies from the host that do not wait for the GPU: through pinned memory, kept until it has been read."""

    def __init__(self) -> None:
        self._pending: list[tuple[Any, Any]] = []
        self._lock = threading.Lock()

    def copy(self, target: DeviceArray, values: HostArray) -> None:
        """Copy host values of the same dtype and number of bytes into `target`, in order with the current stream.

        While the stream is captured, the copy is made at once, on a stream of its own, and is no part of the graph.
        """
        xp = cupy()
        pinned = xp.cuda.alloc_pinned_memory(values.nbytes)
        np.frombuffer(pinned, values.dtype, values.size)[:] = values.ravel()
        if is_capturing():
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


Launch = Callable[..., None]
"""(grid, *arguments): starts a kernel of so many blocks on the current stream of the current device."""


@functools.cache
def loaded(kernel: KernelSource, compiler: str | None, index: int) -> Launch:
    """A kernel, compiled and loaded on a device."""
    if is_simulated():
        from .simulator import launchable

        return functools.partial(_record_or_run, launchable(kernel.text, kernel.name))
    code = compilers.machine_code(kernel, compilers.choose(compiler), arch_of(index))
    with use(index):
        module = cupy().cuda.function.Module()
        module.load(code.cubin)
        function = module.get_function(code.symbol)

    def launch(grid: int, *arguments: int) -> None:
        function((grid,), (frame.THREADS,), arguments)

    return launch


def _record_or_run(function: Launch, grid: int, *arguments: int) -> None:
    """The simulator's launch: like a stream's, it is recorded while the stream is captured."""
    cupy().cuda.get_current_stream().submit(lambda: function(grid, frame.THREADS, *arguments))
