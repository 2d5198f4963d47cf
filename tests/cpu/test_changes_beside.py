"""One thread steps while others assign options: each call is of the one or the other, and all are counted."""

import itertools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from small_training import Training, assigning, build

from rmsprop_jit import Optimizer
from rmsprop_jit.codegen import Expr, Rule
from rmsprop_jit.codegen.names import Names


def beside(training: Training, change: Callable[[int], None], calls: int) -> list[npt.NDArray[Any]]:
    """The first variable after each of so many calls, while another thread makes changes."""
    problems: list[BaseException] = []
    done, rows = threading.Event(), [training.variables["a"].copy()]

    def work() -> None:
        i = 0
        try:
            while not done.is_set():
                change(i)
                i += 1
        except BaseException as problem:
            problems.append(problem)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(calls):
            training.step(1)
            rows.append(training.variables["a"].copy())
    finally:
        done.set()
        thread.join(60)
    assert not problems
    return rows


PLAIN = {"rho": 1.0, "epsilon": 1.0}
"""With these the step is learning_rate * gradient, so that the numbers of a call can be seen."""


def test_each_call_uses_the_one_rate_or_the_other_beside_a_thread_that_assigns_it() -> None:
    training = Training({**PLAIN, "learning_rate": 2.0**-12}, 0)
    for array in (*training.variables.values(), *training.gradients.values()):
        array[...] = 1
    rows = beside(training, lambda i: assigning(learning_rate=2.0 ** -(12 + i % 2))(training), 400)
    steps = {float(step) for before, after in itertools.pairwise(rows) for step in before - after}
    assert steps <= {2.0**-12, 2.0**-13}
    assert training.optimizer.iterations == 400


@pytest.mark.parametrize(
    "values",
    [
        [{"momentum": 0.5}, {"momentum": 0.0}],
        [{"use_ema": True}, {"use_ema": False}],
        [{"gradient_accumulation_steps": 2}, {"gradient_accumulation_steps": None}],
        [{"gradient_accumulation_steps": 2}, {"gradient_accumulation_steps": 3}],
        [
            {"centered": True},
            {"threads": 1},
            {"centered": False},
            {"threads": 2},
            {"clipnorm": 1.0},
            {"clipnorm": None},
        ],
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [5, 40_000])
def test_calls_beside_a_thread_that_changes_the_structure_are_all_counted(
    values: list[dict[str, Any]], size: int
) -> None:
    training = Training({}, 0, built=False)
    training.variables = {name: np.ones(size, np.float32) for name in "ab"}
    training.gradients = {name: np.ones(size, np.float32) for name in "ab"}
    build(training)
    for value in values:  # compiles
        assigning(**value)(training)
        training.step(4)
    before = int(training.optimizer.state_dict()["iteration"])
    beside(training, lambda i: assigning(**values[i % len(values)])(training), 150)
    state = training.optimizer.state_dict()
    assert int(state["iteration"]) == before + 150
    assert all(np.isfinite(value).all() for name, value in state.items() if name != "options")
    twin = Training({}, 0, built=False)
    twin.variables = {name: value.copy() for name, value in training.variables.items()}
    twin.gradients = training.gradients
    build(twin)
    twin.optimizer.load_state_dict(state, options="load")
    for one in (training, twin):
        one.step(6)
    twin.optimizer.threads = training.optimizer.threads
    assert training.seen() == twin.seen()


def counting(p: Expr, g: Expr, s: Names, h: Names) -> dict[Expr, Expr]:
    """A rule of which a slot counts calls; bfloat16 has every whole number up to 256."""
    return {s.seen: s.seen + 1, p: p - h.learning_rate * s.seen * g}


@pytest.mark.parametrize("size", [5, 40_000])
def test_no_call_is_lost_beside_a_thread_that_converts_slots(size: int) -> None:
    training = Training({}, 0, built=False)
    training.variables = {name: np.ones(size, np.float32) for name in "ab"}
    training.gradients = {name: np.ones(size, np.float32) for name in "ab"}
    training.optimizer = Optimizer(Rule("counting", counting, slots={"seen": 0.0}), 0.01)  # type: ignore[assignment]
    build(training)
    storages: list[dict[str, Any]] = [{"storage": "bfloat16"}, {"storage": None}]
    for value in storages:  # compiles
        training.step(3)
        assigning(**value)(training)
    beside(training, lambda i: assigning(**storages[i % 2])(training), 240)
    assert training.optimizer.iterations == 246
    assert [set(training.optimizer.state[name]["seen"].ravel().tolist()) for name in "ab"] == [{246.0}, {246.0}]


def test_two_threads_that_assign_lose_nothing() -> None:
    """Each sets an option of its own; the last value of both is there in the end."""
    training = Training({}, 0)

    def work(name: str) -> None:
        for i in range(300):
            setattr(training.optimizer, name, 0.5 if i % 2 else 0.25)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("rho", "momentum", "clipnorm", "weight_decay")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    config = training.optimizer.get_config()
    assert [config[name] for name in ("rho", "momentum", "clipnorm", "weight_decay")] == [0.5] * 4
    training.step(2)
