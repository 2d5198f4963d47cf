"""Time on a GPU: CUDA events around one call, in turns, after the L2 cache has been filled with other data.

Where a peer works on streams of its own, both sides are timed by the wall clock from an idle GPU to an idle GPU.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ..machine import today, versions
from ..timing import Paired, in_turns

Work = Callable[[], object]

L2_TIMES = 4
"""How many times as large as the L2 cache the buffer is that takes its place."""

QUEUE = 50
"""Calls that are started in a row for host time: with a few kernels each, fewer than a stream's queue holds."""


PACKAGES = ("numba-cuda-mlir", "numba-cuda", "torch", "jax", "optax", "numpy")


class Flush:
    """Fills the L2 cache with data that are in memory already, so that it has nothing to write back later."""

    def __init__(self) -> None:
        import cupy

        size = int(cupy.cuda.Device().attributes.get("L2CacheSize", 64 << 20))
        self._buffer = cupy.zeros(max(size, 1 << 20) * L2_TIMES // 4, cupy.float32)
        self._total = cupy.zeros((), cupy.float32)

    def __call__(self) -> None:
        """Start reading; work that is launched next comes after it.

        Writing would leave the cache full of changed lines, and the timed call would wait while they go to memory.
        """
        self._buffer.sum(out=self._total)


def by_events(work: Work, flush: Work) -> float:
    """Seconds of one call on the GPU."""
    import cupy

    begin, end = cupy.cuda.Event(), cupy.cuda.Event()
    flush()
    begin.record()
    work()
    end.record()
    end.synchronize()
    return float(cupy.cuda.get_elapsed_time(begin, end)) / 1e3


def by_clock(work: Work, flush: Work, wait: Work) -> float:
    """Seconds from an idle GPU until it is idle again."""
    import cupy

    flush()
    cupy.cuda.Device().synchronize()
    begin = time.perf_counter()
    work()
    wait()
    cupy.cuda.Device().synchronize()
    return time.perf_counter() - begin


def host_time(work: Work, calls: int = QUEUE) -> float:
    """Seconds that the host is busy with one call while the GPU works on earlier ones."""
    import cupy

    cupy.cuda.Device().synchronize()
    begin = time.perf_counter()
    for _ in range(calls):
        work()
    spent = time.perf_counter() - begin
    cupy.cuda.Device().synchronize()
    return spent / calls


def paired(ours: Callable[[], float], theirs: Callable[[], float], budget: float) -> Paired:
    """Two measurements in turns for about `budget` seconds, after a few that do not count."""
    for _ in range(3):
        ours()
        theirs()
    begin = time.perf_counter()
    ours()
    theirs()
    rounds = max(7, min(1000, int(budget / (time.perf_counter() - begin))))
    return in_turns(ours, theirs, rounds)


def device() -> dict[str, Any]:
    """The GPU, its driver, the CUDA packages, and the date."""
    import cupy

    found = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
    name = found["name"].decode() if isinstance(found["name"], bytes) else str(found["name"])
    capability, driver = cupy.cuda.Device().compute_capability, cupy.cuda.runtime.driverGetVersion()
    about = {"processor": name, "date": today(), "capability": capability, "driver": driver}
    return {**about, "cupy": cupy.__version__, **versions(PACKAGES)}
