"""From the second update on, compiled code makes a call's numbers of its rate and its number, with the same bits."""

import contextlib
import importlib
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from compare import Array, assert_same_bits
from every_rule import some
from interrupts import Interrupter
from numbers_made import tables_of

from rmsprop_jit import Optimizer
from rmsprop_jit.codegen.backends.cpu.launch import Launch
from rmsprop_jit.codegen.backends.cpu.moments import Moments
from rmsprop_jit.codegen.backends.cpu.tables import Table
from rmsprop_jit.rules.table import TABLE
from rmsprop_jit.schedules import ExponentialDecay

KINDS: dict[str, Any] = {made.__name__: made for row, made in TABLE.values() if not row.rule.functions}
SHAPES = [(3, 5), (7,), (200, 3)]
STEPS = 6


def decay() -> ExponentialDecay:
    return ExponentialDecay(0.1, 3, 0.7)


def groups() -> list[dict[str, Any]]:
    return [{"params": ["variable_1"], "learning_rate": 0.02}, {"params": ["variable_2"], "weight_decay": 0.1}]


WAYS: dict[str, tuple[Callable[[], dict[str, Any]], list[str]]] = {
    "plain": (dict, ["float32"]),
    "schedule": (lambda: {"learning_rate": decay()}, ["float32"]),
    "two dtypes": (lambda: {"learning_rate": decay()}, ["float32", "float64"]),
    "groups": (lambda: {"groups": groups()}, ["float64"]),
    "schedule for some": (lambda: {"learning_rate": decay(), "groups": groups()}, ["float32"]),
    "windows": (lambda: {"learning_rate": decay(), "gradient_accumulation_steps": 2}, ["float32"]),
    "averages": (lambda: {"learning_rate": decay(), "use_ema": True, "ema_overwrite_frequency": 3}, ["float32"]),
    "guarded": (lambda: {"learning_rate": decay(), "nonfinite": "skip"}, ["float32"]),
}


def trained(kind: Callable[..., Optimizer], way: str) -> dict[str, Array]:
    """The variables and the state after some steps; the last but one has fresh gradients, one of them with inf."""
    options, dtypes = WAYS[way]
    rng, optimizer = np.random.default_rng(5), kind(**options())
    variables = [rng.normal(size=shape).astype(dtype) for dtype in dtypes for shape in SHAPES]
    gradients = [rng.normal(size=one.shape).astype(one.dtype) for one in variables]
    inputs = {name: [np.abs(one) for one in gradients] for name in optimizer._rule.inputs}
    for step in range(STEPS):
        if step == STEPS - 2:
            gradients = [rng.normal(size=one.shape).astype(one.dtype) for one in variables]
            gradients[1][0] = np.inf if way == "guarded" else 1.0
        optimizer.apply(gradients, variables, **inputs)
    state = {name: one for name, one in optimizer.state_dict().items() if name != "options"}
    return {**{f"variable {i}": one for i, one in enumerate(variables)}, **state}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", some(sorted(KINDS), "moments", 6))
def test_numbers_are_those_that_the_host_makes(name: str, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = trained(KINDS[name], way)
    monkeypatch.setattr(Launch, "dated", lambda *_: None)
    theirs = trained(KINDS[name], way)
    assert ours.keys() == theirs.keys()
    for array, value in ours.items():
        assert_same_bits(np.asarray(value), np.asarray(theirs[array]), array)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Table]:
    """The tables whose numbers were made in Python, each time anew."""
    return tables_of(monkeypatch)


@pytest.mark.parametrize("name", ["Adam", "Nadam", "ScheduleFreeSGD", "StableAdamW", "RMSprop"])
@pytest.mark.parametrize("options", [{}, {"use_ema": True}], ids=str)
def test_a_steady_call_makes_none_in_python(name: str, options: dict[str, Any], made: list[Table]) -> None:
    variables = [np.ones(shape, np.float32) for shape in SHAPES]
    optimizer = KINDS[name](decay(), **options)
    for _ in range(STEPS):
        optimizer.apply([np.ones(shape, np.float32) for shape in SHAPES], variables)
    assert len(made) == len(optimizer._calls._plans)


def test_a_rate_that_is_assigned_before_each_call_is_no_more_than_that(made: list[Table]) -> None:
    ours, theirs = np.ones(3), np.ones(3)
    assigned, scheduled = KINDS["Adam"](), KINDS["Adam"](decay())
    for step in range(STEPS):
        assigned.learning_rate = decay()(step)
        assigned.apply([np.ones(3)], [ours])
        scheduled.apply([np.ones(3)], [theirs])
    assert len(made) == 2
    assert ours.tobytes() == theirs.tobytes()
    assert assigned.get_config()["learning_rate"] == assigned.learning_rate == decay()(STEPS - 1)
    settings = assigned._calls.settings
    assert settings.constant == assigned.learning_rate == settings.kinds[0].learning_rate
    assigned.learning_rate = decay()
    assert assigned.learning_rate == decay()(STEPS)


def test_a_call_goes_back_to_numbers_that_it_has_prepared() -> None:
    """Of the same record, once as prepared and once as of another update, in any order."""
    optimizer, variable = KINDS["Adam"](0.1), np.zeros(3, np.float64)
    optimizer.apply([np.ones(3)], [variable])
    (plan,) = optimizer._calls._plans.values()
    launch, first = plan.step.launch, plan.bound.step
    later = launch.dated(first, 0.5, 9)
    found = []
    for record in (first, later, first, launch.dated(later, 0.1, 1)):
        launch(record)
        found.append(plan.step.launch.tables[0].numbers.tolist())
    assert found[0] == found[2] == found[3] != found[1]


def test_an_interrupt_of_the_second_update_leaves_numbers_as_they_should_be() -> None:
    """Which is when it is first asked whether compiled code makes them: all of that is there, or none."""

    def trained_by(n: int) -> tuple[bytes, bool]:
        variable, gradient, optimizer = np.ones(3), np.array([1.0, 2.0, 3.0]), KINDS["Adam"](0.1)
        optimizer.apply([gradient], [variable])
        with contextlib.suppress(KeyboardInterrupt), Interrupter(n) as interrupter:
            optimizer.apply([gradient], [variable])
        while optimizer.iterations < STEPS:
            optimizer.apply([gradient], [variable])
        return variable.tobytes(), interrupter.raised

    (wanted, is_later), n = trained_by(1 << 30), 0
    assert not is_later
    while n == 0 or is_later:
        found, is_later = trained_by(n)
        assert found == wanted, n
        n += 3


def test_threads_that_ask_for_it_at_once_find_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(Moments):
        """Whose reader another thread overtakes."""

        def __getattribute__(self, name: str) -> Any:
            if name == "cells":
                time.sleep(0.05)
            return super().__getattribute__(name)

    def trained_by(threads: int) -> bytes:
        variable, gradient, optimizer = np.ones(3), np.array([1.0, 2.0, 3.0]), KINDS["Adam"](0.1)
        optimizer.apply([gradient], [variable])
        for many in (threads, 4 - threads):
            each = [threading.Thread(target=optimizer.apply, args=([gradient], [variable])) for _ in range(many)]
            for one in each:
                one.start()
                time.sleep(0.01)
            for one in each:
                one.join()
        return variable.tobytes()

    wanted = trained_by(1)
    monkeypatch.setattr(importlib.import_module(Launch.__module__), "Moments", Slow)
    assert trained_by(4) == wanted
