"""Threads never hurt: the same bits for any number, safe in forks, spawned children and between Python threads."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rmsprop_jit
from rmsprop_jit.codegen import Rule
from rmsprop_jit.codegen.backends.cpu import pool, tables
from rmsprop_jit.errors import OptionError


@pytest.fixture(autouse=True)
def _helpers() -> None:
    """The helpers are there from the first step on, whether they are in the store or not."""
    pool.pool()


SIZES = [(300_001,), (7,), (129, 511), (0,), (65_536,), (16_385,)]


def run(threads: int, steps: int = 3, **options: Any) -> list[bytes]:
    """The bytes of all variables and slots after some steps."""
    rng = np.random.default_rng(5)
    variables = [rng.standard_normal(shape, dtype=np.float32) for shape in SIZES]
    gradients = [rng.standard_normal(shape, dtype=np.float32) for shape in SIZES]
    optimizer = rmsprop_jit.RMSprop(0.01, threads=threads, **options)
    optimizer.build(variables)
    for _ in range(steps):
        optimizer.apply(gradients)
    return [v.tobytes() for v in variables] + [v.value.tobytes() for v in optimizer.variables]


OPTION_SETS = [
    {},
    {"centered": True, "momentum": 0.9, "use_ema": True, "weight_decay": 0.01},
    {"global_clipnorm": 0.5, "centered": True},
    {"clipnorm": 0.5, "momentum": 0.9},
    {"gradient_accumulation_steps": 2, "global_clipnorm": 0.5},
]


@pytest.mark.parametrize("options", OPTION_SETS, ids=lambda options: "+".join(options) or "plain")
def test_any_number_of_threads_gives_the_same_bits(options: dict[str, Any]) -> None:
    alone = run(1, **options)
    for threads in (2, 3, 8):
        for _ in range(5):
            assert run(threads, **options) == alone


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*fork.*:RuntimeWarning")
def test_a_fork_after_a_parallel_step_steps_in_parallel_too() -> None:
    expected = run(2)
    for _ in range(5):
        child = os.fork()
        if child == 0:
            os._exit(0 if run(2) == expected and run(8) == expected else 1)
        assert os.waitpid(child, 0)[1] == 0
    assert run(2) == expected


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_fork_while_another_thread_steps_works() -> None:
    stop = threading.Event()

    def keep_stepping() -> None:
        while not stop.is_set():
            run(2)

    thread = threading.Thread(target=keep_stepping)
    thread.start()
    try:
        for _ in range(5):
            child = os.fork()
            if child == 0:
                run(2, steps=1)
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        thread.join()


SPAWNED = """
import multiprocessing, sys
sys.path.insert(0, {tests!r})
from test_threads import run

if __name__ == "__main__":
    expected = run(2)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map(run, [2, 3]) == [expected, expected]
"""


def test_a_spawned_child_works(tmp_path: Path) -> None:
    script = tmp_path / "spawned.py"
    script.write_text(SPAWNED.format(tests=os.path.dirname(__file__)))
    run_script(script)


def run_script(*arguments: Path | str, **environment: Any) -> None:
    """Run Python with these arguments in a child, where a crash harms nobody else; it must end well."""
    tests = os.path.dirname(__file__)
    root = os.path.dirname(os.path.dirname(tests))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, tests]), **environment}
    subprocess.run([sys.executable, *arguments], check=True, timeout=120, cwd=root, env=environment)


MANY = """
import math, os, sys, threading
import numpy as np

cores, threads = (int(argument) or None for argument in sys.argv[1:])
os.environ.pop("RMSPROP_JIT_NUM_THREADS", None)
if cores:
    os.sched_getaffinity = lambda pid: set(range(cores))

import rmsprop_jit
from rmsprop_jit.codegen.backends.cpu import pool

def zeros(shape, dtype=float, *, ones=np.ones):
    # Ones behind an array: to whoever reads on, they are sleeping helpers whose lock lies at address 1.
    size = math.prod(np.atleast_1d(shape).tolist())
    memory = ones(size + 20_000, dtype)
    memory[:size] = 0
    return memory[:size].reshape(shape)

np.zeros = zeros
pool.pool()
gradient = np.linspace(-1, 1, 1 << 24, dtype=np.float32)
results = []
for most in (1, threads):
    variable = np.ones(gradient.size, np.float32)
    optimizer = rmsprop_jit.RMSprop(0.01, threads=most)
    optimizer.build([variable])
    for _ in range(5):
        optimizer.apply([gradient])
    results.append(variable)
assert (results[0] == results[1]).all() and (results[0] != 1).all()
useful = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
assert 2 <= threading.active_count() <= min(max(useful, 8), 128), threading.active_count()
"""


@pytest.mark.parametrize(
    ("cores", "threads"),
    [(64, 0), (128, 0), (129, 0), (192, 0), (1024, 0), (0, 129), (0, 1024), (1024, 1024)],
)
def test_any_number_of_cores_and_threads_works(cores: int, threads: int) -> None:
    run_script("-c", MANY, str(cores), str(threads))


SCARCE = """
import sys, threading, time
from test_threads import run

kind, started = sys.argv[1], int(sys.argv[2])
expected = run(1)
tries = 0
start, now = threading.Thread.start, time.monotonic

def fail(thread):
    global tries
    tries += 1
    if tries <= started:
        start(thread)
    elif kind == "error":
        raise RuntimeError("can't start new thread")
    elif kind == "memory":
        raise MemoryError
    elif kind == "interrupted":  # Control-C just behind a start that went well
        start(thread)
        raise KeyboardInterrupt

def stepped():
    # More than once, since what follows a failure must be as good.
    for _ in range(10):
        try:
            assert run(4) == expected
        except KeyboardInterrupt:
            assert kind == "interrupted"

threading.Thread.start = fail
stepped()
if kind != "interrupted":
    assert started < tries <= started + 2, tries
    assert threading.active_count() <= 1 + started
threading.Thread.start = start
time.monotonic = lambda: now() + 3600
stepped()
assert threading.active_count() == 4, threading.enumerate()
"""


@pytest.mark.parametrize("cache", ["kept", "off"])
@pytest.mark.parametrize("started", [0, 1])
@pytest.mark.parametrize("kind", ["error", "memory", "interrupted"])
def test_steps_work_where_no_helper_can_be_started(kind: str, started: int, cache: str) -> None:
    folder = {"RMSPROP_JIT_CACHE_DIR": "off"} if cache == "off" else {}
    run_script("-c", SCARCE, kind, str(started), **folder)


def test_two_threads_step_two_optimizers_a_thousand_times() -> None:
    gradient = np.random.default_rng(1).standard_normal(50_000, dtype=np.float32)
    results = []

    def work() -> None:
        variable = np.ones(50_000, np.float32)
        optimizer = rmsprop_jit.RMSprop(0.01, threads=2, global_clipnorm=1.0)
        optimizer.build([variable])
        for _ in range(1000):
            optimizer.apply([gradient])
        results.append(variable.tobytes())

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    work()
    assert len(results) == 3
    assert len(set(results)) == 1


def test_reading_the_state_in_another_thread_loses_no_gradients() -> None:
    variable, gradient = np.zeros(1_000_000, np.float32), np.ones(1_000_000, np.float32)
    sgd = Rule("sgd", lambda p, g, s, h, on: {p: p - h.learning_rate * g})
    optimizer = rmsprop_jit.Optimizer(sgd, 1.0, threads=1, gradient_accumulation_steps=2)
    optimizer.build([variable])
    stop = threading.Event()

    def keep_reading() -> None:
        while not stop.is_set():
            optimizer.state_dict()

    reader = threading.Thread(target=keep_reading)
    reader.start()
    try:
        for _ in range(100):
            optimizer.apply([gradient])
    finally:
        stop.set()
        reader.join()
    assert variable.min() == variable.max() == -50


def test_a_long_step_releases_the_lock_of_python() -> None:
    variable, gradient = np.ones(1 << 24, np.float32), np.ones(1 << 24, np.float32)
    optimizer = rmsprop_jit.RMSprop(threads=1)
    optimizer.build([variable])
    optimizer.apply([gradient])
    ticks, stop = [], threading.Event()

    def tick() -> None:
        while not stop.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0)

    ticker = threading.Thread(target=tick)
    ticker.start()
    begin = time.perf_counter()
    for _ in range(5):
        optimizer.apply([gradient])
    end = time.perf_counter()
    stop.set()
    ticker.join()
    inside = [begin, *(t for t in ticks if begin < t < end), end]
    assert max(np.diff(inside)) < (end - begin) / 2


def test_helpers_that_sleep_are_woken() -> None:
    expected = run(1)
    for pause in (0.0, 0.001, 0.05):
        time.sleep(pause)
        assert run(2) == expected


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5"])
def test_a_bad_limit_in_the_environment_is_named(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("RMSPROP_JIT_NUM_THREADS", value)
    with pytest.raises(OptionError, match=f"RMSPROP_JIT_NUM_THREADS.*{value}"):
        tables.default_threads.__wrapped__()


def test_the_environment_limits_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RMSPROP_JIT_NUM_THREADS", "1")
    assert tables.default_threads.__wrapped__() == 1


def free_memory() -> int:
    """Bytes that can be had without swapping, where the system says."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 0


@pytest.mark.skipif(
    free_memory() < 40 << 30 and not os.environ.get("RMSPROP_JIT_HUGE_TESTS"),
    reason="needs 18 GB in one process: runs where 40 GB are free, or with RMSPROP_JIT_HUGE_TESTS=1",
)
def test_more_than_two_to_the_31_elements(tmp_path: Path) -> None:
    n = (1 << 31) + 7
    with open(tmp_path / "zeros", "wb") as file:
        file.truncate(4 * n)  # a sparse file: zeros that take no memory of their own
    gradient = np.memmap(tmp_path / "zeros", np.float32, "r", shape=(n,))
    variable = np.ones(n, np.float32)
    rmsprop_jit.RMSprop(0.5, weight_decay=0.5).apply([gradient], [variable])
    assert variable.min() == variable.max() == 0.75
