"""Slots of one number in an optimizer: made, shown, saved, loaded, pickled, and trained on with everything around."""

import copy
import pickle
from typing import Any

import coarse
import numpy as np
import pytest
from coarse import NOVOGRAD, State
from compare import Array, assert_scaled

from rmsprop_jit import ArrayError, Optimizer
from rmsprop_jit.arrays.numpy import NumPyHome

SIZES = [3, 0, 70_000, 17]


def variables_of(dtype: str) -> list[Array]:
    rng = np.random.default_rng(1)
    return [rng.normal(size=size).astype(dtype) for size in SIZES]


def gradients_of(variables: list[Array], step: int) -> list[Array]:
    rng = np.random.default_rng(step)
    return [rng.normal(size=one.size).astype(one.dtype) for one in variables]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_novograd_trains(dtype: str, threads: int) -> None:
    ours, theirs = variables_of(dtype), variables_of(dtype)
    optimizer, state = Optimizer(NOVOGRAD, 0.05, threads=threads), State()
    hypers = {name: hyper.default for name, hyper in NOVOGRAD.hypers.items()} | {"learning_rate": 0.05}
    for step in range(1, 12):
        gradients = gradients_of(ours, step)
        optimizer.apply(gradients, ours)
        coarse.novograd_in_numpy(state, theirs, gradients, step, hypers)
    for i, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        assert_scaled(mine, other, {"float32": 3e-6, "float64": 1e-12}[dtype], f"variable {i}")
    assert [one.shape for one in optimizer.variables if one.name.endswith("_v")] == [()] * len(SIZES)
    np.testing.assert_allclose(optimizer.state_dict()["variable_2_v"], state["v", 2], rtol=1e-6)


def test_micro_steps_leave_numbers_alone() -> None:
    both = []
    for steps in (None, 2):
        variables = variables_of("float64")
        optimizer = Optimizer(NOVOGRAD, gradient_accumulation_steps=steps)
        for step in range(1, 4):
            for _ in range(steps or 1):
                optimizer.apply(gradients_of(variables, step), variables)
        both.append((variables, optimizer.state_dict()))
    (plain, one), (accumulated, other) = both
    for i, (mine, theirs) in enumerate(zip(plain, accumulated, strict=True)):
        np.testing.assert_allclose(mine, theirs, rtol=1e-12)
        np.testing.assert_allclose(one[f"variable_{i}_v"], other[f"variable_{i}_v"], rtol=1e-12)


def trained(steps: int = 2) -> tuple[Optimizer, list[Array]]:
    variables, optimizer = variables_of("float32"), Optimizer(NOVOGRAD)
    for step in range(1, steps + 1):
        optimizer.apply(gradients_of(variables, step), variables)
    return optimizer, variables


@pytest.mark.parametrize("way", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_copies_go_on_with_the_numbers(way: Any) -> None:
    optimizer, variables = trained()
    again, others = way(optimizer), [one.copy() for one in variables]
    for side, mine in ((optimizer, variables), (again, others)):
        side.apply(gradients_of(mine, 5), mine)
    for one, other in zip(variables, others, strict=True):
        assert one.tobytes() == other.tobytes()


def test_a_saved_state_has_the_numbers() -> None:
    optimizer, variables = trained()
    state = optimizer.state_dict()
    assert state["variable_0_v"].shape == ()
    assert state["variable_0_v"].dtype == np.float64
    others = [one.copy() for one in variables]
    fresh = Optimizer(NOVOGRAD)
    fresh.build(others)
    fresh.load_state_dict(state)
    for side, mine in ((optimizer, variables), (fresh, others)):
        side.apply(gradients_of(mine, 5), mine)
    for one, other in zip(variables, others, strict=True):
        assert one.tobytes() == other.tobytes()
    with pytest.raises(ArrayError, match=r"'variable_0_v' must have shape \(\) and dtype float64.*shape=\(3,\)"):
        fresh.load_state_dict({**state, "variable_0_v": np.zeros(3)})


def test_gradients_may_lie_beside_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory of a number is 8 bytes, not as long as its variable."""
    arena = np.zeros(100)

    def new_number(self: NumPyHome, array: Array, fill: float) -> Array:
        arena[0] = fill
        return arena[0:1].reshape(())

    monkeypatch.setattr(NumPyHome, "new_number", new_number)
    variable, gradient = np.ones(50), arena[1:51]
    gradient[:] = 0.5
    Optimizer(NOVOGRAD).apply([gradient], [variable])
    assert arena[0] == 50 * 0.25


def test_a_summary_counts_elements_only() -> None:
    assert "24 bytes per parameter" in Optimizer(NOVOGRAD).explain("summary")
