"""Locks of the package and forks: no child inherits a lock that a thread of its parent held."""

import os
import re
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest

import rmsprop_jit
from rmsprop_jit import codegen
from rmsprop_jit.codegen import Rule, locks, specialize, sqrt

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
SECONDS = 60.0


def fork(work: Callable[[], None]) -> bool:
    """Whether a forked child does some work in time; one that does not is ended."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.002)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return False


def build() -> None:
    """Make a rule and lower it: nodes are interned and programs remembered, each behind a lock."""
    now = time.perf_counter()
    specialize(Rule("forked", lambda p, g, s, h, on: {p: p - h.learning_rate * sqrt(g * g + now)}))


class Busy:
    """Threads that do the same again and again while the `with` block runs."""

    def __init__(self, work: Callable[[], None], threads: int = 2) -> None:
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._repeat, args=(work,)) for _ in range(threads)]

    def _repeat(self, work: Callable[[], None]) -> None:
        while not self._stop.is_set():
            work()

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *problem: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_children_of_a_process_that_builds_rules_can_build_rules() -> None:
    with Busy(build):
        assert all(fork(build) for _ in range(12))
    build()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_locks_that_are_nested_in_any_order_stop_no_fork() -> None:
    one, two = locks.new(), locks.new()

    def forwards() -> None:
        with one, two:
            time.sleep(0)

    def backwards() -> None:
        with two, one:
            time.sleep(0)

    def both() -> None:
        forwards()
        backwards()

    for order in (forwards, backwards):
        with Busy(order, 1):
            assert all(fork(both) for _ in range(8))


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_who_forks_inside_a_lock_still_has_it_on_both_sides() -> None:
    lock = locks.new()

    def is_free() -> bool:
        taken = []
        thread = threading.Thread(target=lambda: taken.append(lock.acquire(blocking=False) and lock.release() is None))
        thread.start()
        thread.join()
        return taken == [True]

    def leave() -> None:
        lock.release()
        assert is_free()

    with lock:
        assert not is_free()
        assert fork(leave)
        assert not is_free()
    assert is_free()


def test_a_lock_goes_with_its_owner() -> None:
    lock = locks.new()
    gone = weakref.ref(lock)
    del lock
    assert gone() is None


def test_every_lock_of_the_package_is_made_here() -> None:
    """Also those that properties hold which are computed once: on Python 3.11 one for all objects of a class."""
    folders = {Path(codegen.__file__).resolve().parent, Path(rmsprop_jit.__file__).parent}
    sources = {path.resolve() for folder in folders for path in folder.rglob("*.py")} - {Path(locks.__file__).resolve()}
    assert len(sources) > 200
    made = re.compile(
        r"\b(?:R?Lock|Condition|(?:Bounded)?Semaphore)\(|^ *@(?:functools\.)?cached_property", re.MULTILINE
    )
    assert not [path.name for path in sources if made.search(path.read_text(encoding="utf-8"))]
