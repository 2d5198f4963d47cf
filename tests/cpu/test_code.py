"""Compiled code belongs to who uses it, and goes with the last one; what is compiled often is compiled elsewhere."""

import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import rmsprop_jit
from rmsprop_jit.codegen import Rule

ROOT = Path(__file__).parents[2]
RULES = int(os.environ.get("RMSPROP_JIT_MANY_RULES", "40"))
"""Rules that the test of memory compiles; 1,000 take three minutes."""

MANY = """
import gc, sys
import numpy as np
import rmsprop_jit
from rmsprop_jit.codegen import Rule, sqrt


def memory():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def train(i):
    def equations(p, g, s, h, on):
        return {s.v: s.v + g * g, p: p - g / sqrt(s.v + float(i + 1))}

    rule = Rule(f"rule_{i}", equations, slots={"v": 0.0})
    variable = np.ones(100, np.float32)
    rmsprop_jit.Optimizer(rule, 0.1).apply([np.ones(100, np.float32)], [variable])
    assert abs(variable[0] - (1 - 1 / (i + 1) ** 0.5)) < 1e-6, (i, variable[0])


for i in range(55):  # the first ones by this process's Numba, and the worker is there
    train(i)
gc.collect()
before = memory()
for i in range(55, 55 + int(sys.argv[1])):
    train(i)
gc.collect()
print((memory() - before) / 2**20)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="memory is read from Linux's /proc")
def test_rules_that_were_dropped_leave_no_memory_behind() -> None:
    environment = {**os.environ, "RMSPROP_JIT_CACHE_DIR": "off", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", MANY, str(RULES)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=900,
    )
    assert float(done.stdout.split()[-1]) < 8 + RULES * 0.01, done.stdout


def test_a_rule_and_its_programs_go_when_nobody_uses_them() -> None:
    import weakref

    rule = Rule("gone", lambda p, g, s, h, on: {p: p - h.learning_rate * g * 0.123})
    optimizer = rmsprop_jit.Optimizer(rule)
    optimizer.apply([np.ones(3, np.float32)], [np.ones(3, np.float32)])
    seen = weakref.ref(rule)
    del rule, optimizer
    gc.collect()
    assert seen() is None


def test_a_worker_that_was_killed_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    from rmsprop_jit.codegen.backends.cpu import worker

    monkeypatch.setattr(worker, "HERE", 0)
    worker.end()  # the one that there is may have just one function left to compile
    source = "# {}\ndef step(table):\n    table[0] = table[0] + {}\n"
    first = worker.compiled(source.format(1, 1), "step_1")
    pid = worker.worker_pid()
    assert pid is not None
    os.kill(pid, 9)
    second = worker.compiled(source.format(2, 2), "step_2")
    assert worker.worker_pid() not in (None, pid)
    assert first.object_file
    assert second.object_file


def test_without_a_worker_the_process_compiles_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    from rmsprop_jit.codegen.backends.cpu import worker

    monkeypatch.setattr(worker, "HERE", 0)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    worker.end()
    assert worker.compiled("def step(table):\n    table[0] = 7\n", "step_7").object_file


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a timer that signals")
def test_an_interrupted_question_to_a_worker_does_not_answer_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    from rmsprop_jit.codegen.backends.cpu import worker

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    worker.end()
    monkeypatch.setattr(worker, "HERE", 0)
    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.3)  # while the worker still loads Numba
    try:
        with pytest.raises(KeyboardInterrupt):
            worker.compiled("def step(table):\n    table[0] = 8\n", "step_8")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert "@step_9(" in worker.compiled("def step(table):\n    table[0] = 9\n", "step_9").ir
