"""Schedules where a GPU counts the calls: it finds the rate of each update's number, whichever calls are skipped."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from gpu import assert_close, blocks_of, cupy
from skipping import BAD

import rmsprop_jit
from rmsprop_jit import OptionError, RMSprop
from rmsprop_jit.codegen.backends.cuda import device
from rmsprop_jit.codegen.backends.cuda.clock import FIRST_AHEAD

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def small_blocks() -> Iterator[None]:
    """The simulator has a thread for each of a GPU's."""
    with blocks_of(8):
        yield


class Steps(rmsprop_jit.LearningRateSchedule):
    """A schedule of a user's own, of so many steps."""

    def __init__(self, most: int) -> None:
        self.most = most

    def __call__(self, step: int) -> float:
        if step >= self.most:
            raise ValueError(f"no rate of step {step}")
        return 0.1 / (1 + step)

    def get_config(self) -> dict[str, Any]:
        return {"most": self.most}


def two(rate: Any, **options: Any) -> tuple[list[RMSprop], list[Any]]:
    """An optimizer on the GPU and one in host memory, with a variable each."""
    optimizers = [RMSprop(rate, nonfinite="skip", **options) for _ in range(2)]
    start = np.linspace(-1, 1, 9).astype(np.float32)
    variables: list[Any] = [cupy.asarray(start), start.copy()]
    for optimizer, variable in zip(optimizers, variables, strict=True):
        optimizer.build([variable])
    return optimizers, variables


@pytest.mark.parametrize("options", [{}, {"gradient_accumulation_steps": 2, "weight_decay": 0.1}], ids=str)
def test_the_host_asks_now_and_then(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """At first after 8 calls, then after 16, and so on; between those no call waits."""
    (there, here), variables = two(rmsprop_jit.ExponentialDecay(0.1, 3, 0.7), **options)
    asked, fetch = [], device.fetch
    monkeypatch.setattr(device, "fetch", lambda array: asked.append(0) or fetch(array))  # type: ignore[func-returns-value]
    calls = 3 * FIRST_AHEAD + 2
    waits = []
    for i in range(calls):
        gradient = np.full(9, BAD[i % 3] if i % 4 == 1 else 1 + i % 5, np.float32)
        asked.clear()
        there.apply([cupy.asarray(gradient)])
        waits.append(bool(asked))
        here.apply([gradient])
    assert [i for i, waited in enumerate(waits) if waited and i] in ([FIRST_AHEAD, 3 * FIRST_AHEAD], [3 * FIRST_AHEAD])
    assert (there.iterations, there.skipped_steps) == (here.iterations, here.skipped_steps)
    assert there.learning_rate == here.learning_rate
    assert_close(variables[0].get(), variables[1], 3e-6, 1e-6)


def test_a_schedule_of_a_users_own_may_end() -> None:
    """What it raises of a step is raised before that step, and not when it is asked ahead."""
    (there, here), variables = two(Steps(3))
    for value in (1.0, math.nan, 2.0, 3.0):
        gradient = np.full(9, value, np.float32)
        there.apply([cupy.asarray(gradient)])
        here.apply([gradient])
    assert_close(variables[0].get(), variables[1], 3e-6, 1e-6)
    for optimizer, variable in zip((there, here), variables, strict=True):
        with pytest.raises(ValueError, match="no rate of step 3"):
            optimizer.apply([variable.copy()])
        assert optimizer.iterations == 3


def test_a_schedule_is_exchanged_and_a_state_loaded() -> None:
    (there, here), variables = two(Steps(99))
    kept = there.state_dict(), here.state_dict()
    for rate in (rmsprop_jit.CosineDecay(0.1, 9), Steps(50), 0.1, Steps(99)):
        for optimizer in (there, here):
            optimizer.learning_rate = rate
        for value in (1.0, math.inf, 2.0):
            gradient = np.full(9, value, np.float32)
            there.apply([cupy.asarray(gradient)])
            here.apply([gradient])
    there.load_state_dict(kept[0])
    here.load_state_dict(kept[1])
    for optimizer, variable in zip((there, here), variables, strict=True):
        gradient = np.full(9, 2.0, np.float32)
        optimizer.apply([cupy.asarray(gradient) if variable is variables[0] else gradient])
    assert_close(variables[0].get(), variables[1], 3e-6, 1e-6)


@pytest.mark.parametrize("where", ["built", "assigned", "skipped"])
def test_a_function_of_the_host_is_refused(where: str) -> None:
    """Nobody can ask it for the rate of a call whose number only the GPU knows."""
    rate, variable = (lambda: 0.1), cupy.asarray(np.ones(3, np.float32))
    optimizer = RMSprop(0.1 if where == "assigned" else rate, nonfinite="propagate" if where == "skipped" else "skip")
    if where != "built":
        optimizer.build([variable])
    acts: dict[str, Any] = {
        "built": lambda: optimizer.build([variable]),
        "assigned": lambda: setattr(optimizer, "learning_rate", rate),
        "skipped": lambda: setattr(optimizer, "nonfinite", "skip"),
    }
    with pytest.raises(OptionError, match=r"Received: learning_rate=<function .*Pass a LearningRateSchedule"):
        acts[where]()
    if where == "assigned":
        assert optimizer.learning_rate == 0.1
        optimizer.apply([variable.copy()])
