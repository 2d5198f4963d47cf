"""A GPU without one: kernels run as the Python that they are written in, on memory of the host.

How the threads of a block run is in `simulated_blocks.py`. Addresses are those of NumPy arrays.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import itertools
import operator
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import simulated_cupy
from simulated_blocks import Blocks

from rmsprop_jit.codegen.backends.cuda import device, frame
from rmsprop_jit.codegen.backends.cuda.words import words
from rmsprop_jit.codegen.dtypes import GROUP, STORAGES, storage


@functools.cache
def _kept(kept: str, lanes: int) -> tuple[Any, np.dtype[Any]]:
    """The room that so many elements take in memory, and their type."""
    itemsize = storage(kept).itemsize if kept in STORAGES else 8
    return ctypes.c_uint8 * (itemsize * lanes), np.dtype(storage(kept).scalar if kept in STORAGES else kept)


def _memory(address: int, kept: str, lanes: int) -> Any:
    """So many elements there, as an array."""
    room, dtype = _kept(kept, lanes)
    return np.frombuffer(room.from_address(int(address)), dtype)


def _load(kind: Any, kept: str, lanes: int) -> Callable[[int], Any]:
    def load(address: int) -> Any:
        values = _memory(address, kept, lanes)
        if values.dtype.type is not kind:
            values = tuple(map(kind, values))
        return tuple(values) if lanes > 1 else values[0]

    return load


def _store(kind: Any, kept: str, lanes: int) -> Callable[..., None]:
    wanted = kind.kind if isinstance(kind, _Integer) else kind
    types = [wanted] * lanes

    def store(address: int, *values: Any) -> None:
        assert [*map(type, values)] == types, f"{lanes} {wanted.__name__} wanted, got {values}"
        _memory(address, kept, lanes)[:] = np.array(values, wanted)

    return store


class _Integer:
    """A type of integers: of a number, the lowest bits of it, as a compiled conversion has them."""

    def __init__(self, kind: Any) -> None:
        self.kind, limits = kind, np.iinfo(kind)
        self.least, self.count = int(limits.min), int(limits.max) - int(limits.min) + 1

    def __call__(self, x: Any) -> Any:
        try:
            whole = int(x)
        except (ValueError, OverflowError):  # of what is not finite a processor makes anything
            whole = 0
        value = (whole - self.least) % self.count + self.least
        return value if self.kind is np.int32 else self.kind(value)


def _cast(kind: Any, other: Any) -> Callable[[Any], Any]:
    of, to = (one.kind if isinstance(one, _Integer) else np.int64 if one is int else one for one in (kind, other))
    return lambda x: np.asarray(x, of).view(to)[()]


ARGUMENTS = {"int64": int, "float32": np.float32, "float64": np.float64}
"""What an argument of each type is passed as."""

INT32, UINT32, UINT64 = map(_Integer, (np.int32, np.uint32, np.uint64))
TYPES = SimpleNamespace(float32=np.float32, float64=np.float64, int32=INT32, int64=int, uint32=UINT32, uint64=UINT64)

INTEGERS: dict[str, Callable[..., Any]] = {
    "word_add": lambda x, y: UINT32(UINT64(x) + UINT64(y)),
    "word_mul": lambda x, y: UINT32(UINT64(x) * UINT64(y)),
    "word_high": lambda x, y: UINT32((UINT64(x) * UINT64(y)) >> UINT64(32)),
    "word_and": lambda x, y: UINT32(x & y),
    "word_or": lambda x, y: UINT32(x | y),
    "word_xor": lambda x, y: UINT32(x ^ y),
    "word_left": lambda x, y: UINT32(UINT64(x) << UINT64(y)),
    "word_right": lambda x, y: UINT32(UINT64(x) >> UINT64(y)),
    "word_signs": lambda x, y: UINT32(INT32(x) >> INT32(y)),
    "word_most": max,
    "word_of": lambda x: UINT32(INT32(x)),
    "float32_of_word": lambda x: np.float32(INT32(x)),
    "float64_of_word": lambda x: np.float64(INT32(x)),
}
"""The operations on words, of single ones: NumPy's of `integers.py` are for arrays, and slow."""

NAMES = words(ModuleType("cuda"), lambda function: function, TYPES, _load, _store, _cast, operator.mul, INTEGERS, np)
"""What generated source may name."""


def launchable(source: str, kernel: str) -> Callable[..., None]:
    """A function (grid, block, *arguments) that runs a kernel of a source."""
    return Blocks(source, kernel, NAMES, GROUP)


class Driver:
    """Takes the place of CuPy and the GPU: see `device.Driver`.

    threads: of a block. Few of them do what 256 do, eight times faster.
    """

    def __init__(self, threads: int = 32) -> None:
        self.threads = threads

    def cupy(self) -> Any:
        """What stands in for CuPy."""
        return simulated_cupy

    imported = cupy

    def load(self, kernel: frame.KernelSource, compiler: str | None, index: int) -> device.Launch:
        """A kernel that is run, or recorded while the stream is captured."""
        function = launchable(kernel.text, kernel.name)

        def launch(grid: int, *arguments: Any) -> None:
            assert [type(argument) for argument in arguments] == [ARGUMENTS[name] for name in kernel.types]
            for hook in _hooks:
                hook()
            stream = simulated_cupy.cuda.get_current_stream()
            stream.submit(lambda: function(grid, kernel.threads, *arguments))

        return launch


@contextlib.contextmanager
def blocks_of(threads: int) -> Iterator[None]:
    """A driver with blocks of so many threads, for what is made in the `with` block."""
    device.use_driver(Driver(threads))
    try:
        yield
    finally:
        device.use_driver(Driver())


class LaunchFailure(Exception):
    """What a driver raises where it cannot start a kernel."""


_hooks: list[Callable[[], None]] = []


@contextlib.contextmanager
def before_launches(hook: Callable[[], None]) -> Iterator[None]:
    """In the `with` block `hook` is called before each kernel is started."""
    _hooks.append(hook)
    try:
        yield
    finally:
        _hooks.remove(hook)


def failing_after(launches: int) -> contextlib.AbstractContextManager[None]:
    """For a `with` block in which so many kernels can be started, and none after them."""
    numbers = itertools.count()

    def hook() -> None:
        if next(numbers) >= launches:
            raise LaunchFailure("a kernel could not be started")

    return before_launches(hook)
