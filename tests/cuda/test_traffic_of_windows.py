"""What calls move in which a GPU chooses among several kinds of steps: counted by the simulator."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import simulated_cupy as cupy
from gpu_counts import traffic
from simulated_gpu import blocks_of

from rmsprop_jit import AdamW, CosineDecay, Nadam, RAdam, RMSprop, Variable


@pytest.fixture(autouse=True)
def small_blocks() -> Iterator[None]:
    """The simulator has a thread for each of a GPU's."""
    with blocks_of(8):
        yield


@pytest.mark.parametrize("options", [{}, {"global_clipnorm": 1.0}], ids=str)
def test_a_step_that_is_not_due_moves_nothing(options: dict[str, Any]) -> None:
    """What is moved is what propagating moves, and one more read of the gradients where none is read for a norm."""
    size, steps = 70, 3
    moved: dict[str, list[tuple[int, int]]] = {}
    for nonfinite in ("propagate", "skip"):
        with traffic() as seen:
            optimizer = RMSprop(0.1, nonfinite=nonfinite, momentum=0.5, gradient_accumulation_steps=steps, **options)
            variable, gradient = (cupy.asarray(np.linspace(1, 2, size, dtype=np.float32)) for _ in range(2))
            optimizer.build([variable])
            optimizer.apply([gradient])  # `state` shows what gradients are added up in while a window is open
            seen.watch([variable, gradient, *optimizer.state["variable_0"].values()])
            for _ in range(2 * steps):
                optimizer.apply([gradient])
                moved.setdefault(nonfinite, []).append(seen.taken())
            if nonfinite == "skip":
                gradient[...] = math.nan
                optimizer.apply([gradient])
                assert seen.taken() == (4 * size, 0)
    for place, (usual, looked) in enumerate(zip(moved["propagate"], moved["skip"], strict=True)):
        further = 4 * size if not options or place % steps != steps - 2 else 0
        assert looked == (usual[0] + further, usual[1])


MADE: dict[str, Any] = {
    "kinds of steps": lambda nonfinite: RAdam(0.1, nonfinite=nonfinite),
    "slots over all": lambda nonfinite: Nadam(0.1, nonfinite=nonfinite),
    "schedules of groups": lambda nonfinite: AdamW(
        0.1, nonfinite=nonfinite, groups={"v": {"learning_rate": CosineDecay(0.1, 50)}}
    ),
    "a constraint": lambda nonfinite: RMSprop(0.1, nonfinite=nonfinite),
}


@pytest.mark.parametrize("name", MADE)
def test_what_is_worked_out_ahead_moves_no_more(name: str) -> None:
    """One more read of the gradients, and of a skipped call nothing else; a constraint's result is written if done."""
    size = 70
    moved: dict[str, list[tuple[int, int]]] = {}
    for nonfinite in ("propagate", "skip"):
        with traffic() as seen:
            optimizer = MADE[name](nonfinite)
            array, gradient = (cupy.asarray(np.linspace(1, 2, size, dtype=np.float32)) for _ in range(2))
            bound = (lambda array: array * np.float32(0.5)) if name == "a constraint" else None
            optimizer.build([Variable(array, name="v", constraint=bound)])
            slots = [one for one in optimizer.state["v"].values() if one.nbytes == array.nbytes]
            seen.watch([array, gradient, *slots])
            for _ in range(7):  # RAdam's kinds of steps take turns at the sixth
                optimizer.apply([gradient])
                moved.setdefault(nonfinite, []).append(seen.taken())
            if nonfinite == "skip":
                gradient[...] = math.nan
                optimizer.apply([gradient])
                assert seen.taken() == (4 * size, 0)
    stored = 4 * size if name == "a constraint" else 0  # by a kernel of ours, where CuPy writes it else
    for usual, looked in zip(moved["propagate"], moved["skip"], strict=True):
        assert looked == (usual[0] + 4 * size, usual[1] + stored)
