"""The GPU of tests: a real one (`pytest --gpu`), or a simulator. What both need is asked for here.

`from gpu import cupy` is CuPy, or what stands in for it. Which one was decided before the first test is imported.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from compare import Array, assert_same_bits

from rmsprop_jit.codegen.backends.cuda import device

_compiler: str | None = None
"""Of a real GPU's kernels; None in the simulator."""

SLACK = 10
"""How many times as far from the processor's numbers as in the simulator those of a real GPU may be, where sums and
norms are taken in another order."""


def __getattr__(name: str) -> Any:
    if name == "cupy":
        return device.cupy()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def missing() -> str:
    """Why no real GPU can be used; nothing if one can."""
    try:
        import cupy

        return "" if cupy.cuda.runtime.getDeviceCount() else "CUDA finds no device"
    except Exception as problem:  # no CuPy, no driver, no device: each has an error of its own
        return f"{type(problem).__name__}: {problem}"


def torch_here() -> Any:
    """torch, where it computes on this GPU; elsewhere the test that asks is skipped."""
    module = pytest.importorskip("torch")
    if not module.cuda.is_available():
        pytest.skip("torch does not compute on a GPU here")
    return module


def is_real() -> bool:
    """Whether kernels run on a real GPU."""
    return _compiler is not None


@contextlib.contextmanager
def compiled_by(compiler: str) -> Iterator[None]:
    """In the `with` block a real GPU is used, with kernels of a compiler where options name none."""
    global _compiler
    before, _compiler = _compiler, compiler
    device.use_driver(device.Cuda(compiler=compiler))
    try:
        yield
    finally:
        _compiler = before
        device.use_driver(device.Cuda(compiler=before))


@contextlib.contextmanager
def blocks_of(threads: int) -> Iterator[None]:
    """Blocks of so many threads, for what is made in the `with` block."""
    if is_real():
        device.use_driver(device.Cuda(threads, _compiler))
        try:
            yield
        finally:
            device.use_driver(device.Cuda(compiler=_compiler))
    else:
        import simulated_gpu

        with simulated_gpu.blocks_of(threads):
            yield


def capture(work: Callable[[], object]) -> Any:
    """What a function does to a stream of its own, as a graph. Nothing stays captured after a failure."""
    with device.cupy().cuda.Stream(non_blocking=True) as stream:
        stream.begin_capture()
        try:
            work()
        except BaseException:
            with contextlib.suppress(RuntimeError):  # what was wrong with the capture is not what failed first
                stream.end_capture()
            raise
        return stream.end_capture()


def assert_as_on_host(ours: Array, theirs: Array, what: object) -> None:
    """A GPU's numbers, real or not, beside the processor's: without sums and norms they are the same bits."""
    assert_same_bits(ours, theirs, what)


def assert_close(ours: Array, theirs: Array, rtol: float, atol: float, what: object = "") -> None:
    """As `np.testing.assert_allclose`, with the slack that a real GPU needs."""
    slack = SLACK if is_real() else 1
    np.testing.assert_allclose(ours, theirs, rtol=slack * rtol, atol=slack * atol, err_msg=str(what))
