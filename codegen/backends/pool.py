"""The worker pool: a few native threads that help with a step, and never hurt.

A step is a function on a table from which any number of threads take claims, so helpers are optional: the caller always
works through the whole table itself, and helpers that come in time share it. Nobody waits for a helper to wake up.

    caller    offers seats, wakes sleeping helpers, runs the step itself, withdraws the seats left, waits for the rest
    helper    takes a seat when there is one and runs the step; looks for seats for a while, then sleeps

All of it is compiled code on a table of shared integers (`Board`), so no one holds Python's lock: helpers are Python
threads only in that Python starts them; where it cannot, there are fewer or none. They sleep on Python's own portable
thread locks. A forked child starts without helpers and makes its own. When two Python threads step at once, one has the
helpers and the other works alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
import time
from collections.abc import Callable
from enum import IntEnum
from typing import Any

import numpy as np

from . import generated

MAX_HELPERS = 127
"""Places on the board. Steps wait for memory, and fewer cores than these keep any machine's memory busy."""

FEW_HELPERS = 7
"""So many may be asked for on any machine; they cost little, and a process may be given more cores later."""

RETRY = 60.0
"""Seconds until helpers are asked for again where there were none to be had: failing takes longer than many a step."""

SCARCE = (RuntimeError, MemoryError, OSError)
"""What Python raises when the system has no thread or no memory to give."""

SPIN = 10_000
"""How often a helper looks for a seat before it sleeps: 100 to 200 us, a few times what a wake-up takes."""

PATIENCE = 100
"""How often the caller looks for helpers to finish before it offers them its processor."""


class Board(IntEnum):
    """The shared integers. Those that different threads write are a cache line (8 integers) apart."""

    SEATS = 0  # helpers still wanted
    DONE = 8  # helpers that have finished
    STEP = 16  # address of the step's function
    TABLE = 17  # address of the step's table
    HELPERS = 18  # helpers that exist
    OFFER = 19  # seats to offer
    ACQUIRE = 20  # address of PyThread_acquire_lock
    RELEASE = 21  # address of PyThread_release_lock
    YIELD = 22  # address of a function that gives up the processor, or 0
    ASLEEP = 64  # for each helper, 16 integers apart: 1 while it sleeps or is about to; its lock; what HELP gets


STRIDE = 16
SIZE = Board.ASLEEP + STRIDE * MAX_HELPERS

HELP = f"""
def step(mine):
    board = at_int64(mine[0])
    me = at_int64(mine[1])
    looks = 0
    while True:
        if peek_shared(board) > 0 and add_shared(board, -1) > 0:
            call_step(board[{Board.STEP}], board[{Board.TABLE}])
            add_shared(at_int64(mine[0] + {8 * Board.DONE}), 1)
            looks = 0
        elif looks < {SPIN}:
            looks += 1
            pause()
        else:
            swap_shared(me, 1)
            if peek_shared(board) <= 0 or swap_shared(me, 0) == 0:
                acquire(board[{Board.ACQUIRE}], me[1])
            looks = 0
"""

LEAD = f"""
def step(board):
    offer = board[{Board.OFFER}]
    done = at_int64(address_of(board) + {8 * Board.DONE})
    swap_shared(done, 0)
    swap_shared(board, offer)
    helper = address_of(board) + {8 * Board.ASLEEP}
    for _ in range(offer):
        asleep = at_int64(helper)
        if peek_shared(asleep) == 1 and swap_shared(asleep, 0) == 1:
            release(board[{Board.RELEASE}], asleep[1])
        helper += {8 * STRIDE}
    call_step(board[{Board.STEP}], board[{Board.TABLE}])
    left = swap_shared(board, 0)
    taken = offer - (left if left > 0 else 0)
    looks = 0
    while peek_shared(done) < taken:
        looks += 1
        if looks > {PATIENCE} and board[{Board.YIELD}] != 0:
            give_way(board[{Board.YIELD}])
        else:
            pause()
"""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Pool:
    """Helpers of this process; made when the first large step runs."""

    def __init__(self) -> None:
        self.board = np.zeros(SIZE, np.int64)
        self.at = self.board.ctypes.data
        # A helper without a core of its own only takes turns with the others, whatever `threads=` says.
        self.most = min(max(cores() - 1, FEW_HELPERS), MAX_HELPERS)
        self.lock = threading.Lock()
        self.lead: Callable[[int], None] = generated.function(LEAD)
        self.help: Callable[[int], None] = generated.function(HELP)
        self._again = 0.0
        self._threads: list[threading.Thread] = []
        self._core = _core_function()
        api = ctypes.pythonapi
        self.board[Board.ACQUIRE] = _address(api.PyThread_acquire_lock)
        self.board[Board.RELEASE] = _address(api.PyThread_release_lock)
        self.board[Board.YIELD] = _yield_address()

    def run(self, step: int, table: int, helpers: int) -> bool:
        """Run the step at address `step` on the table at `table` with up to `helpers` helpers.

        Returns False, having done nothing, if the helpers are busy with another thread's step.
        """
        if not self.lock.acquire(blocking=False):
            return False
        try:
            board = self.board
            helpers = min(helpers, self.most)
            if helpers > board[Board.HELPERS]:
                self._start(helpers)
            # LEAD looks at a place for each seat, so there must be no more seats than helpers.
            helpers = min(helpers, int(board[Board.HELPERS]))
            if board[Board.ASLEEP]:
                self._keep_off_this_core()
            board[Board.STEP], board[Board.TABLE], board[Board.OFFER] = step, table, helpers
            self.lead(self.at)
        finally:
            self.lock.release()
        return True

    def _start(self, helpers: int) -> None:
        """Start helpers up to `helpers`, or as many as there are to be had: steps work with any number."""
        if time.monotonic() < self._again:
            return
        try:
            for i in range(int(self.board[Board.HELPERS]), helpers):
                self._start_one(i)
        except SCARCE:
            self._again = time.monotonic() + RETRY

    def _start_one(self, i: int) -> None:
        place = int(Board.ASLEEP) + STRIDE * i
        mine = self.at + 8 * (place + 2)
        if not self.board[place + 1]:  # there may be one from a start that failed
            self.board[place + 1 : place + 4] = self._new_lock(), self.at, self.at + 8 * place
        thread = threading.Thread(target=self.help, args=(mine,), daemon=True, name=f"rmsprop_jit-{i}")
        # Taken beforehand: a start that is interrupted may leave a running helper, and no other may have its place.
        # Nobody waits for a helper, so it does no harm if there is none.
        self._threads.append(thread)
        self.board[Board.HELPERS] = i + 1
        try:
            thread.start()
        except SCARCE:
            self.board[Board.HELPERS] = i
            self._threads.pop()
            raise

    def _new_lock(self) -> int:
        """A lock of Python's that is held, so that the next to ask for it sleeps."""
        allocate = ctypes.pythonapi.PyThread_allocate_lock
        allocate.restype = ctypes.c_void_p
        lock = allocate()
        if not lock:
            raise MemoryError
        ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int)(int(self.board[Board.ACQUIRE]))(lock, 1)
        return int(lock)

    def _keep_off_this_core(self) -> None:
        """Let sleeping helpers wake up on other cores than the caller's.

        Linux likes to wake a thread on the core of its waker, where it would wait for the very step that it should help
        with (measured on two cores: a step then takes four times as long as alone).
        """
        if self._core is None:
            return
        others = os.sched_getaffinity(0) - {self._core()}
        for thread in self._threads if others else ():
            if thread.native_id is None:  # its start was interrupted
                continue
            try:
                os.sched_setaffinity(thread.native_id, others)
            except OSError:
                self._core = None  # not allowed here; do without


def _address(function: Any) -> int:
    return int(ctypes.cast(function, ctypes.c_void_p).value or 0)


def _yield_address() -> int:
    try:
        return _address(ctypes.CDLL(None).sched_yield)
    except (AttributeError, OSError, TypeError):
        return 0


def _core_function() -> Callable[[], int] | None:
    """`sched_getcpu`, where there is one."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    try:
        return ctypes.PyDLL(None).sched_getcpu
    except (AttributeError, OSError):
        return None


_POOL: Pool | None = None
_MAKING = threading.Lock()
_AGAIN = 0.0


def make() -> Pool:
    """The pool of this process, made now if there is none."""
    global _POOL
    with _MAKING:
        if _POOL is None:
            _POOL = Pool()
        return _POOL


def pool() -> Pool | None:
    """The pool of this process, or None while it is being compiled.

    Compiling takes longer than a few steps on one thread, so it is done beside them; a pool that is in the store is
    there at once. Where it cannot be made, steps do without and it is tried again later.
    """
    global _AGAIN
    if _POOL is None and not _MAKING.locked() and time.monotonic() >= _AGAIN:
        _AGAIN = time.monotonic() + RETRY
        with contextlib.suppress(*SCARCE):
            if generated.is_kept(LEAD) and generated.is_kept(HELP):
                return make()
            threading.Thread(target=_make_beside, name="rmsprop_jit-compile").start()
    return _POOL


def _make_beside() -> None:
    with contextlib.suppress(*SCARCE):
        make()


def _forget() -> None:
    """A forked child has none of its parent's threads; its parent's locks may be held for ever."""
    global _POOL, _MAKING, _AGAIN
    _POOL, _MAKING, _AGAIN = None, threading.Lock(), 0.0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
