"""Locks that survive a fork: one list of them, so that no child starts with one that a vanished thread holds."""

from __future__ import annotations

import os
import threading

_LOCKS: list[threading.RLock] = []  # type: ignore[valid-type]


def new() -> threading.RLock:  # type: ignore[valid-type]
    """A lock for a module's own use, kept for good.

    The forking thread takes all of them first, in the order in which they were made, so that a child sees what they
    guard whole. A thread that holds one may only wait for one that was made later.
    """
    lock = threading.RLock()
    _LOCKS.append(lock)
    return lock


def _take_all() -> None:
    for lock in _LOCKS:
        lock.acquire()


def _give_all() -> None:
    for lock in reversed(_LOCKS):
        lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_take_all, after_in_parent=_give_all, after_in_child=_give_all)
