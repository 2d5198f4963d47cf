"""Locks that a fork cannot leave held: every lock of the package is made here.

A child process has one thread, the one that forked. A lock that another thread held at that moment would stay held in
the child for ever, around data that were half changed. So whoever forks first takes every lock, and lets them go
afterwards on both sides: no other thread is inside then.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from types import CodeType
from typing import Any

Lock = Any
"""A threading.RLock, which has no public name as a type."""

_LOCKS: list[weakref.ref[Lock]] = []
_TAKEN: list[Lock] = []


def new() -> Lock:
    """A lock that its owner may take again."""
    lock = threading.RLock()
    _LOCKS.append(weakref.ref(lock, _LOCKS.remove))
    return lock


def is_running(code: CodeType) -> bool:
    """Whether the caller was called from this code. The stack cannot be left wrong by an interrupt, as a mark could."""
    frame = sys._getframe(2)
    while frame is not None and frame.f_code is not code:
        frame = frame.f_back  # type: ignore[assignment]
    return frame is not None


def _take_all() -> None:
    """Wait for one lock at a time only, holding none: whatever order others nest them in, nobody waits for ever."""
    locks = [lock for kept in _LOCKS if (lock := kept()) is not None]
    first = 0
    while locks:
        order = locks[first:] + locks[:first]
        order[0].acquire()
        missed = next((i for i, lock in enumerate(order[1:], 1) if not lock.acquire(blocking=False)), None)
        if missed is None:
            break
        for lock in order[:missed]:
            lock.release()
        first = (first + missed) % len(locks)
    _TAKEN.append(locks)


def _let_all_go() -> None:
    """In the parent, and in the child, where the one thread that is left is the one that took them."""
    for lock in _TAKEN.pop():
        lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_take_all, after_in_parent=_let_all_go, after_in_child=_let_all_go)
