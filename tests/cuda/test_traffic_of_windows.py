"""What calls move in which a GPU chooses among several kinds of steps: counted by the simulator."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import simulated_cupy as cupy
from gpu_counts import traffic
from simulated_gpu import blocks_of

from rmsprop_jit import RMSprop


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
