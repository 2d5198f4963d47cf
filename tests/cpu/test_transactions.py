"""A call has happened and is counted, or nothing has changed: whatever interrupts it, whoever calls beside it."""

import os
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from compare import Array
from interrupts import Interrupter

import rmsprop_jit
from rmsprop_jit import Variable
from rmsprop_jit.errors import BackendError

EVERY = int(os.environ.get("RMSPROP_JIT_INTERRUPTS_EVERY", "37"))
"""One in so many bytecodes is interrupted; 1 takes an hour."""

SHAPES = [((3, 5), "float32"), ((40,), "float64"), ((7,), "float32"), ((), "float32"), ((1000,), "float32")]


INTERRUPTED: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"global_clipnorm": 0.5, "momentum": 0.9}, ("same", "fresh", "missing")),
    ({"gradient_accumulation_steps": 2, "use_ema": True}, ("same", "fresh", "missing")),
    ({"constrained": True, "use_ema": True, "ema_overwrite_frequency": 3}, ("same", "fresh", "missing")),
    ({"constrained": True, "gradient_accumulation_steps": 2, "clipnorm": 0.5}, ("fresh",)),
    ({"named": True, "centered": True, "weight_decay": 0.01}, ("fresh", "missing")),
    ({"named": True, "constrained": True, "maximize": True}, ("same",)),
    ({"loss_scale_factor": 8.0, "clipvalue": 0.5}, ("fresh",)),
]
"""Options with how the gradients come. Variables are of two dtypes in each."""


def label(value: Any) -> str:
    return value if isinstance(value, str) else "+".join(value)


def inwards(array: Array) -> Array:
    """A constraint that shows how often it was applied."""
    shrunk: Array = array * array.dtype.type(0.75)
    return shrunk


class Twins:
    """Two optimizers on equal variables: one is interrupted, the other does every call that the first has counted.

    constrained: whether the variables have constraints; `named`: whether variables and gradients are dicts.
    """

    def __init__(self, constrained: bool = False, named: bool = False, **options: Any) -> None:
        self.named = named
        rng = np.random.default_rng(4)
        made = [np.asarray(rng.normal(size=shape), dtype) for shape, dtype in SHAPES]
        self.variables = [[array.copy() for array in made] for _ in range(2)]
        self.optimizers = [rmsprop_jit.RMSprop(0.01, **options) for _ in range(2)]
        for optimizer, variables in zip(self.optimizers, self.variables, strict=True):
            given = [Variable(array, name=f"v{i}", constraint=inwards) for i, array in enumerate(variables)]
            optimizer.build(self.passed(given if constrained else variables))
        self.calls = 0
        self.gradients = [[np.asarray(rng.normal(size=shape), dtype) for shape, dtype in SHAPES] for _ in range(3)]

    def bytes(self, i: int) -> list[bytes]:
        state = self.optimizers[i].state_dict()  # does what is due
        return [v.tobytes() for v in self.variables[i]] + [np.asarray(value).tobytes() for value in state.values()]

    def counted(self) -> int:
        return int(self.optimizers[0].state_dict()["iteration"])

    def passed(self, arrays: Sequence[Any]) -> Any:
        """Arrays as the optimizer gets them: a list, or a dict in another order."""
        named = {f"v{i}": array for i, array in enumerate(arrays)}
        return dict(reversed(named.items())) if self.named else list(arrays)

    def gradients_of(self, call: int, kind: str) -> Any:
        chosen: list[Array | None] = list(self.gradients[call % 3 if kind != "same" else 0])
        if kind == "missing":
            chosen[call % len(chosen)] = None
        return self.passed(chosen)

    def call(self, kind: str) -> None:
        """One call of both that nothing interrupts."""
        for optimizer in self.optimizers:
            optimizer.apply(self.gradients_of(self.calls, kind))
        self.calls += 1
        assert self.bytes(0) == self.bytes(1)

    def interrupted_call(self, n: int, kind: str) -> bool:
        """One call that is interrupted at its nth bytecode; whether it was."""
        gradients = self.gradients_of(self.calls, kind)
        interrupter = Interrupter(n)
        with interrupter:
            try:
                self.optimizers[0].apply(gradients)
            except KeyboardInterrupt:
                pass
        counted = self.counted()
        assert counted in (self.calls, self.calls + 1)
        if counted > self.calls:
            self.optimizers[1].apply(self.gradients_of(self.calls, kind))
            self.calls += 1
        assert self.bytes(0) == self.bytes(1), f"interrupted at bytecode {n}"
        return interrupter.raised


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
@pytest.mark.parametrize(
    ("options", "kind"), [(options, kind) for options, kinds in INTERRUPTED for kind in kinds], ids=label
)
def test_an_interrupt_finds_a_call_done_or_not_begun(options: dict[str, Any], kind: str) -> None:
    twins = Twins(**options)
    for _ in range(2 * options.get("gradient_accumulation_steps", 1)):
        twins.call(kind)  # compiles, which would take minutes while every call is watched
    for n in range(0, 100_000, EVERY):
        if not twins.interrupted_call(n, kind):
            break
    else:
        raise AssertionError("a call of more than 100,000 bytecodes")
    for _ in range(4):
        twins.call(kind)


def stepped(calls: int, **options: Any) -> tuple[Array, rmsprop_jit.RMSprop]:
    """Variables and slots after so many calls of one thread."""
    variable = np.linspace(-1, 1, 30_000, dtype=np.float32)
    optimizer = rmsprop_jit.RMSprop(0.01, **options)
    optimizer.build([variable])
    for _ in range(calls):
        optimizer.apply([np.ones_like(variable)])
    return variable, optimizer


@pytest.mark.parametrize("options", [{}, {"global_clipnorm": 1.0, "gradient_accumulation_steps": 3}], ids=str)
@pytest.mark.parametrize("fresh", [False, True], ids=["same", "fresh"])
def test_threads_that_step_one_optimizer_exclude_each_other(options: dict[str, Any], fresh: bool) -> None:
    expected, _ = stepped(6 * 30, **options)
    variable, optimizer = stepped(0, **options)
    gradients = [[np.ones_like(variable)] for _ in range(7)]
    problems = []

    def work(k: int) -> None:
        try:
            for i in range(30):
                optimizer.apply(gradients[(i + k) % 7] if fresh else gradients[0])
        except Exception as problem:
            problems.append(problem)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not problems
    assert int(optimizer.state_dict()["iteration"]) == 180
    assert variable.tobytes() == expected.tobytes()


def test_threads_with_a_schedule_use_each_rate_once() -> None:
    schedule = rmsprop_jit.ExponentialDecay(0.1, 10, 0.5)
    expected, _ = stepped(0)
    alone = rmsprop_jit.RMSprop(schedule)
    alone.build([expected])
    variable, _ = stepped(0)
    shared = rmsprop_jit.RMSprop(schedule)
    shared.build([variable])
    gradient = np.ones_like(variable)

    def work() -> None:
        for _ in range(25):
            shared.apply([gradient])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for _ in range(100):
        alone.apply([gradient])
    assert variable.tobytes() == expected.tobytes()


def test_a_reader_sees_the_state_before_or_after_a_call() -> None:
    """Every slot of a state belongs to the call that the state says was the last."""
    shape, calls = (200_000,), 60
    gradient = np.ones(shape, np.float32)

    def new() -> rmsprop_jit.RMSprop:
        optimizer = rmsprop_jit.RMSprop(0.01, momentum=0.9, gradient_accumulation_steps=2)
        optimizer.build([np.ones(shape, np.float32)])
        return optimizer

    alone, known = new(), {}
    for call in range(calls + 1):
        state = alone.state_dict()
        known[call] = {name: value.tobytes() for name, value in state.items()}
        alone.apply([gradient])
    shared, states, done = new(), [], threading.Event()

    def read() -> None:
        while not done.is_set():
            states.append(shared.state_dict())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for call in range(calls):
            shared.apply([gradient])
            # A lock is not fair: a busy writer can keep it, so every tenth call waits until the reader had a turn.
            while len(states) < call // 10 and reader.is_alive():
                time.sleep(0.001)
    finally:
        done.set()
        reader.join(60)
    assert len(states) > 3
    for state in states:
        assert {name: value.tobytes() for name, value in state.items()} == known[int(state["iteration"])]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_child_that_was_forked_in_the_middle_of_a_call_does_not_go_on_with_half_a_step() -> None:
    variable = np.ones(1 << 22, np.float32)
    gradient = np.ones_like(variable)
    optimizer = rmsprop_jit.RMSprop(0.01, threads=1)
    optimizer.build([variable])
    optimizer.apply([gradient])
    saved = optimizer.state_dict()
    stop = threading.Event()

    def step() -> None:
        while not stop.is_set():
            optimizer.apply([gradient])

    thread = threading.Thread(target=step)
    thread.start()
    answers = set()
    try:
        for tries in range(400):
            if tries >= 20 and 2 in answers:
                break
            child = os.fork()
            if child == 0:
                try:
                    optimizer.apply([gradient])
                    answer = 1 if len(np.unique(variable)) == 1 else 9
                except BackendError as problem:
                    optimizer.load_state_dict(saved)
                    optimizer.apply([gradient])
                    answer = 2 if "torn; load a state" in str(problem) else 9
                except BaseException:
                    answer = 9
                os._exit(answer)
            answers.add(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    finally:
        stop.set()
        thread.join(60)
    assert answers <= {1, 2}
    assert 2 in answers, "no child was forked in the middle of a call"
