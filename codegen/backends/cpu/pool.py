"""The worker pool: a few native threads that help with a step, and never hurt.

Helpers run compiled code on a table of shared integers (`cells.BoardCell`), so none of them holds Python's lock: they
are Python threads only in that Python starts them; where it cannot, there are fewer or none. They sleep on Python's own
portable thread locks. A forked child starts without helpers and makes its own. When two Python threads step at once,
one has the helpers and the other works alone.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from . import jit
from .cells import MAX_HELPERS, SEAT, STRIDE, BoardCell
from .claims import WORK
from .cores import Places, cores

FEW_HELPERS = 7
"""So many may be asked for on any machine; they cost little, and a process may be given more cores later."""

RETRY = 60.0
"""Seconds until helpers are asked for again where there were none to be had: failing takes longer than many a step."""

SPIN = 10_000
"""How often a helper looks for a seat before it sleeps: 100 to 200 us, a few times what a wake-up takes."""

SCARCE = (RuntimeError, MemoryError, OSError)
"""What Python raises when the system has no thread or no memory to give."""

HELP = f"""{WORK}
def help(board_at, me):
    board = ints(board_at)
    seat = ints(me)[{SEAT}]
    looks = 0
    while True:
        if peek(board_at) > 0 and seat <= board[{BoardCell.OFFERED}] and add(board_at, -1) > 0:
            work(board[{BoardCell.STEP_AT}], board[{BoardCell.TABLE_AT}], board[{BoardCell.STRETCHES}], seat)
            add(board_at + {8 * BoardCell.DONE}, 1)
            looks = 0
        elif looks < {SPIN}:
            looks += 1
            pause()
        else:
            swap(me, 1)
            if peek(board_at) <= 0 or seat > board[{BoardCell.OFFERED}] or swap(me, 0) == 0:
                acquire(board[{BoardCell.ACQUIRE_AT}], ints(me)[1])
            looks = 0
"""
"""What a helper does, for good: its own seat, and no other, if that was offered; `me` is its entry of the board."""


def address_of(function: Any) -> int:
    """Where a function of a C library is."""
    return int(ctypes.cast(function, ctypes.c_void_p).value or 0)


def yield_address() -> int:
    """Where the function is that gives up the processor; 0 if there is none."""
    try:
        return address_of(ctypes.CDLL(None).sched_yield)
    except (AttributeError, OSError, TypeError):
        return 0


class Pool:
    """Helpers of this process; made when the first large step runs."""

    def __init__(self) -> None:
        self.board = np.zeros(BoardCell.ASLEEP + STRIDE * MAX_HELPERS, np.int64)
        self.at = int(self.board.ctypes.data)
        # A helper without a core of its own only takes turns with the others, whatever `threads=` says.
        self.most = min(max(cores() - 1, FEW_HELPERS), MAX_HELPERS)
        self._help = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)(jit.fixed(HELP).address)
        self._again = 0.0
        self._starters: dict[int, object] = {}
        self._threads: list[threading.Thread] = []
        self._core = _core_function()
        self._places = Places()
        api = ctypes.pythonapi
        self.board[BoardCell.ACQUIRE_AT] = address_of(api.PyThread_acquire_lock)
        self.board[BoardCell.RELEASE_AT] = address_of(api.PyThread_release_lock)

    def ready(self, helpers: int) -> int:
        """The board's address, after helpers up to `helpers` were started, or as many as there are to be had."""
        if min(helpers, self.most) > self.board[BoardCell.HELPERS] and time.monotonic() >= self._again:
            self._start(min(helpers, self.most))
        if self.board[BoardCell.ASLEEP]:
            self._keep_off_this_core()
        return self.at

    def _start(self, helpers: int) -> None:
        mine = object()
        try:
            for i in range(int(self.board[BoardCell.HELPERS]), helpers):
                if self._starters.setdefault(i, mine) is not mine:
                    return  # another thread starts it; this step does with what there is
                self._start_one(i)
        except SCARCE:
            self._starters.clear()
            self._again = time.monotonic() + RETRY

    def _start_one(self, i: int) -> None:
        place = int(BoardCell.ASLEEP) + STRIDE * i
        if not self.board[place + 1]:  # there may be one from a start that failed
            self.board[place + 1] = self._new_lock()
        self.board[place + SEAT] = i + 1
        arguments = (self.at, self.at + 8 * place)
        thread = threading.Thread(target=self._help, args=arguments, daemon=True, name=f"rmsprop_jit-{i}")
        # Taken beforehand: a start that is interrupted may leave a running helper, and no other may have its place.
        # Nobody waits for a helper, so it does no harm if there is none.
        self._threads.append(thread)
        self.board[BoardCell.HELPERS] = i + 1
        try:
            thread.start()
        except SCARCE:
            self.board[BoardCell.HELPERS] = i
            self._threads.pop()
            raise

    def _new_lock(self) -> int:
        """A lock of Python's that is held, so that the next to ask for it sleeps."""
        allocate = ctypes.pythonapi.PyThread_allocate_lock
        allocate.restype = ctypes.c_void_p
        lock = allocate()
        if not lock:
            raise MemoryError
        acquire = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
        acquire(int(self.board[BoardCell.ACQUIRE_AT]))(lock, 1)
        return int(lock)

    def _keep_off_this_core(self) -> None:
        """Let sleeping helpers wake up on other cores than the caller's.

        Linux likes to wake a thread on the core of its waker, where it would wait for the very step that it should help
        with (measured on two cores: a step then takes four times as long as alone).
        """
        if self._core is None:
            return
        # A helper whose start was interrupted has no number.
        helpers = [thread.native_id for thread in self._threads if thread.native_id is not None]
        try:
            self._places.keep_off(self._core(), helpers)
        except OSError:
            self._core = None  # not allowed here; do without


def _core_function() -> Callable[[], int] | None:
    """`sched_getcpu`, where there is one."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    try:
        return ctypes.PyDLL(None).sched_getcpu
    except (AttributeError, OSError):
        return None


_POOL: Pool | None = None


def pool() -> Pool:
    """The pool of this process."""
    global _POOL
    if _POOL is None:
        _POOL = Pool()
    return _POOL


def _forget() -> None:
    """A forked child has none of its parent's threads."""
    global _POOL
    _POOL = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
