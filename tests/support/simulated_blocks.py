"""Blocks of a simulated GPU, of kernels in Python: threads are generators, run in turns from one barrier to the next.

No thread of Python's is started, so that a block takes no longer than its elements do. From launch to launch and from
block to block the first thread goes first or the last: what lacks a barrier comes out differently one way or the other.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Generator, Mapping
from types import CodeType, SimpleNamespace
from typing import Any

import numpy as np

SYNCED = None
"""What a thread waits with for all threads; for those of its group it waits with a word."""

Thread = Generator[Any, Any, None]


BARRIERS = {"cuda.syncthreads()": "(yield)", "most_of_group(": "(yield "}
"""Where a kernel's threads wait, and how they say so to whoever runs them."""


@functools.lru_cache(maxsize=4096)
def _compiled(source: str, kernel: str) -> CodeType:
    for waits, yields in BARRIERS.items():
        source = source.replace(waits, yields)
    return compile(source, f"<{kernel}>", "exec")


class Blocks:
    """A kernel of a source, called (grid, threads of a block, *arguments).

    group:   how many threads choose the largest of their words among them.
    """

    def __init__(self, source: str, kernel: str, names: Mapping[str, Any], group: int) -> None:
        index = ("threadIdx", "blockIdx", "gridDim")
        self._cuda = SimpleNamespace(**{name: SimpleNamespace(x=0) for name in index})
        self._cuda.shared = SimpleNamespace(array=self._shared)
        found = {**names, "cuda": self._cuda}
        exec(_compiled(source, kernel), found)
        self._kernel: Callable[..., Any] = found[kernel]
        self._waits = inspect.isgeneratorfunction(self._kernel)
        waiting = [name for name, one in found.items() if inspect.isgeneratorfunction(one) and name != kernel]
        assert not waiting, f"functions of a kernel wait: {waiting}"
        self._group, self._runs, self._one = group, 0, threading.Lock()

    def __call__(self, grid: int, threads: int, *arguments: Any) -> None:
        with self._one, np.errstate(all="ignore"):  # infinities and nan are answers
            self._cuda.gridDim.x = grid
            for block in range(grid):
                self._cuda.blockIdx.x = block
                self._runs += 1
                self._block(range(threads) if self._runs % 2 else range(threads)[::-1], arguments)

    def _block(self, order: range, arguments: tuple[Any, ...]) -> None:
        """Run a block's threads in this order."""
        self._arrays: list[Any] = []
        self._asked = dict.fromkeys(order, 0)
        if not self._waits:
            for thread in order:
                self._cuda.threadIdx.x = thread
                self._kernel(*arguments)
            return
        threads: dict[int, Thread] = {thread: self._kernel(*arguments) for thread in order}
        answers: dict[int, Any] = dict.fromkeys(order)
        waiting: dict[int, Any] = {}
        while answers:
            for thread, answer in answers.items():
                self._cuda.threadIdx.x = thread
                try:
                    waiting[thread] = threads[thread].send(answer)
                except StopIteration:
                    del threads[thread]
            answers = self._answered(waiting, len(order))

    def _answered(self, waiting: dict[int, Any], threads: int) -> dict[int, Any]:
        """Which threads go on, with what; they wait no longer."""
        given = {thread: word for thread, word in waiting.items() if word is not SYNCED}
        assert given or len(waiting) in (0, threads), "threads wait for others, which are at their end"
        answers = {thread: self._most(thread, given) for thread in given} if given else dict(waiting)
        for thread in answers:
            del waiting[thread]
        return answers

    def _most(self, thread: int, given: Mapping[int, Any]) -> Any:
        """The largest word of a thread's group."""
        first = thread // self._group * self._group
        members = range(first, first + self._group)
        assert all(one in given for one in members), "threads of a group do not wait together"
        return max(given[one] for one in members)

    def _shared(self, size: int, kind: Any) -> Any:
        """The next array that a thread shares with the others of its block, of numbers that nobody has written."""
        kind, thread = getattr(kind, "kind", kind), self._cuda.threadIdx.x
        number = self._asked[thread]
        self._asked[thread] += 1
        if number == len(self._arrays):
            self._arrays.append(np.full(size * np.dtype(kind).itemsize, 255, np.uint8).view(kind))  # nan, in floats
        return self._arrays[number]
