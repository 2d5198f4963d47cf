"""The GPU as this package uses it, through CuPy: arrays, copies, streams, launches.

Everything happens on CuPy's current stream; nothing here waits for the GPU but `fetch` and `wait_for`. Tests put a
driver of their own in CuPy's place (`use_driver`).
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, final

import numpy as np

from ...errors import BackendError, OptionError
from . import compilers, torch_streams
from .compilers import INSTALL, Arch
from .frame import THREADS
from .source import KernelSource

if TYPE_CHECKING:
    import numpy.typing as npt

    HostArray = npt.NDArray[Any]

DeviceArray = Any
"""A cupy.ndarray."""

Launch = Callable[..., None]
"""(grid, *arguments): starts a kernel of so many blocks on the current stream of the current device.

Each argument goes by value: a Python int as int64, a NumPy number (and nothing else) in its own type.
"""

CAPTURE_UNSUPPORTED, CAPTURE_IMPLICIT = 900, 906
"""The status of CuPy's CUDARuntimeError that CUDA calls cudaErrorStreamCaptureUnsupported, ...Implicit."""


class Driver(Protocol):
    """What stands between this package and a GPU. Tests have one that needs none."""

    @property
    def threads(self) -> int:
        """How many threads a block has, a power of two."""

    def cupy(self) -> Any:
        """The module `cupy`. Raises BackendError if it cannot be imported."""

    def imported(self) -> Any:
        """The module `cupy` if it was imported already, else None."""

    def load(self, kernel: KernelSource, compiler: str | None, index: int) -> Launch:
        """A kernel, compiled and loaded on a device; it is started in blocks of `kernel.threads`."""


@final
class Cuda:
    """CuPy, and the compilers.

    threads:  of a block.
    compiler: of kernels for which none is asked for.
    """

    def __init__(self, threads: int = THREADS, compiler: str | None = None) -> None:
        self.threads, self._compiler = threads, compiler

    def cupy(self) -> Any:
        """The module; imported when it is first asked for."""
        try:
            return importlib.import_module("cupy")
        except ImportError as problem:
            raise BackendError(
                f"arrays on a GPU are handled by CuPy, which cannot be imported ({problem}). "
                f"Received: an array of a CUDA device. {INSTALL}."
            ) from problem

    def imported(self) -> Any:
        """The module, or None."""
        return sys.modules.get("cupy")

    def load(self, kernel: KernelSource, compiler: str | None, index: int) -> Launch:
        """Compile, or take what was compiled before, and load."""
        code = compilers.machine_code(kernel, compilers.choose(compiler or self._compiler), arch_of(index))
        with use(index):
            module = self.cupy().cuda.function.Module()
            module.load(code.cubin)
            function = module.get_function(code.symbol)

        def launch(grid: int, *arguments: Any) -> None:
            function((grid,), (kernel.threads,), arguments)

        return launch


_driver: Driver = Cuda()


def use_driver(driver: Driver) -> Driver:
    """Let another driver take the place of CuPy and the GPU, before the first array is met; returns the one before."""
    global _driver
    before, _driver = _driver, driver
    loaded.cache_clear()
    return before


def threads() -> int:
    """How many threads a block has: the kernels of a table are made for so many."""
    return _driver.threads


def cupy() -> Any:
    """The module `cupy`, or what stands in for it. Raises BackendError if it cannot be imported."""
    return _driver.cupy()


# Arrays.


def is_cupy(array: object) -> bool:
    """Whether an array is CuPy's own. Imports nothing."""
    module = _driver.imported()
    return module is not None and isinstance(array, module.ndarray)


def empty_bytes(nbytes: int) -> DeviceArray:
    """New memory on the current device.

    While a stream is captured it comes from a pool of its own: CuPy's usual pool would hand out memory that a temporary
    array of the same graph has used, and that each launch of the graph writes to again.
    """
    if not is_capturing():
        return cupy().empty(nbytes, np.uint8)
    with memory_allowed(), cupy().cuda.using_allocator(_pool_for_graphs().malloc):
        return cupy().empty(nbytes, np.uint8)


@contextlib.contextmanager
def memory_allowed() -> Iterator[None]:
    """For memory that is made during a capture. Raises OptionError where the capture's mode forbids it."""
    try:
        yield
    except RuntimeError as problem:
        if getattr(problem, "status", None) != CAPTURE_UNSUPPORTED:
            raise
        raise OptionError(
            f"a captured call makes tables of its own, for which this capture allows no memory ({problem}). "
            "Received: a capture in global or thread-local mode, which are torch's and CUDA's. "
            'Capture in relaxed mode: torch.cuda.graph(graph, capture_error_mode="relaxed"); CuPy\'s is relaxed.'
        ) from problem


@functools.cache
def _pool_for_graphs() -> Any:
    return cupy().cuda.MemoryPool()


def fetch(array: DeviceArray) -> HostArray:
    """A copy in host memory; waits for the stream that is current on the array's device.

    CuPy by itself would wait for the stream that is current on the current device.
    """
    index = index_of(array)
    with use(index), ordered(index):
        copy: HostArray = array.get()
    return copy


def index_of(array: DeviceArray) -> int:
    """The number of the device that an array is on."""
    return int(array.device.id)


# Devices and streams.


def use(index: int) -> AbstractContextManager[Any]:
    """Makes a device current for a `with` block."""
    device: AbstractContextManager[Any] = cupy().cuda.Device(index)
    return device


def ordered(index: int) -> AbstractContextManager[None]:
    """Work in the `with` block comes after torch's before it, and before torch's after it. The device is current."""
    return torch_streams.ordered(cupy(), index)


def wait_for(index: int) -> None:
    """Wait until a device has done all that was launched on any of its streams."""
    cupy().cuda.Device(index).synchronize()


def is_capturing() -> bool:
    """Whether the current stream records what is launched into a graph, instead of doing it.

    Raises OptionError for the null stream while a blocking stream is captured, since CUDA allows nothing on it then,
    and while torch captures another stream: what is launched now would be done once, and be no part of the graph.
    """
    try:
        found = bool(cupy().cuda.get_current_stream().is_capturing())
    except RuntimeError as problem:
        if getattr(problem, "status", None) != CAPTURE_IMPLICIT:
            raise
        raise OptionError(
            f"nothing can be done on the null stream while a blocking stream is captured ({problem}). "
            "Received: a call with the null stream as CuPy's current one. "
            "Make `stream = cupy.cuda.Stream(non_blocking=True)` and capture `with stream:`, which makes it current."
        ) from problem
    if not found and torch_streams.is_capturing():
        raise OptionError(
            "torch captures its current stream, which is not CuPy's: this call would be no part of the graph. "
            "Received: a call during a capture of torch's, on another stream. Call it "
            "`with cupy.cuda.ExternalStream(torch.cuda.current_stream().cuda_stream):` (from CuPy 14 on "
            "`Stream.from_external(torch.cuda.current_stream())`), and let torch.cuda.graph have "
            '`capture_error_mode="relaxed"`, since memory is allocated.'
        )
    return found


@functools.cache
def arch_of(index: int) -> Arch:
    """The architecture of a device, as (9, 0)."""
    text = str(cupy().cuda.Device(index).compute_capability)
    return int(text[:-1]), int(text[-1])


def arch_at_hand() -> Arch:
    """The architecture of the current device, or the default where there is none."""
    if _driver.imported() is None:
        return compilers.DEFAULT_ARCH
    try:
        return arch_of(int(cupy().cuda.Device().id))
    except Exception:  # no driver, or no device
        return compilers.DEFAULT_ARCH


@functools.cache
def loaded(kernel: KernelSource, compiler: str | None, index: int) -> Launch:
    """A kernel, compiled and loaded on a device."""
    return _driver.load(kernel, compiler, index)
