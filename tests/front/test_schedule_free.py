"""Schedule-free rules: the averaged weights beside the paper's x, and what the numbers over all of them do."""

from typing import Any

import numpy as np
import pytest
from compare import Array, assert_same_bits
from papers_of_averages import schedulefreeadamw, schedulefreesgd
from papers_of_moments import State

import rmsprop_jit
from rmsprop_jit import Optimizer
from rmsprop_jit.codegen import Rule, specialize
from rmsprop_jit.codegen.backends import reference
from rmsprop_jit.rules.around import averages_of
from rmsprop_jit.rules.table import TABLE

JUDGES: dict[str, Any] = {"ScheduleFreeSGD": schedulefreesgd, "ScheduleFreeAdamW": schedulefreeadamw}
BETAS = {"ScheduleFreeSGD": "momentum", "ScheduleFreeAdamW": "beta_1"}
SHAPES = ((7,), (3, 5), (2, 3, 1, 4))
OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"warmup_steps": 7, "r": 1.0, "weight_lr_power": 1.0},
    {"warmup_steps": 30, "weight_lr_power": 0.0, "r": 0.0},
    {"warmup_steps": 3, "r": 0.5, "weight_lr_power": 0.0},
)
each_rule = pytest.mark.parametrize("name", JUDGES)


def arrays(seed: int, dtype: str = "float64") -> list[Array]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype(dtype) for shape in SHAPES]


@pytest.mark.parametrize(("dtype", "close"), [("float64", 1e-9), ("float32", 5e-5)])
@pytest.mark.parametrize("beta", [0.9, 0.5, 1.0])
@pytest.mark.parametrize("which", range(4))
@each_rule
def test_the_averaged_weights_are_x(name: str, which: int, beta: float, dtype: str, close: float) -> None:
    options = {BETAS[name]: beta, **OPTIONS[which]}
    variables = arrays(0, dtype)
    optimizer: Optimizer = getattr(rmsprop_jit, name)(0.01, **options)
    found, kept = [one.astype(np.float64) for one in variables], [dict[str, Array]() for _ in SHAPES]
    states: list[State] = kept
    for step in range(20):
        brought = arrays(100 + step, dtype)
        optimizer.apply(brought, variables)
        for i, g in enumerate(brought):
            found[i] = JUDGES[name](found[i], g.astype(np.float64), step + 1, 0.01, states[i], **options)
    largest = max(float(np.abs(one["x"]).max()) for one in states)
    with optimizer.averaged():
        for mine, state in zip(variables, states, strict=True):
            assert np.abs(mine.astype(np.float64) - state["x"]).max() <= close * largest
    for mine, y in zip(variables, found, strict=True):
        assert np.abs(mine.astype(np.float64) - y).max() <= close * largest


def test_with_one_rate_the_average_is_the_mean_of_all_z() -> None:
    variable, z = np.array([1.0, -2.0]), np.array([1.0, -2.0])
    optimizer = rmsprop_jit.ScheduleFreeSGD(0.1)
    seen = []
    for step in range(5):
        g = np.array([0.5, 1.0 + step])
        optimizer.apply([g], [variable])
        z = z - 0.1 * g
        seen.append(z)
    with optimizer.averaged():
        np.testing.assert_allclose(variable, np.mean(seen, axis=0), rtol=1e-12)
    assert optimizer.state_dict()["all/weight_sum"] == pytest.approx(5 * 0.1**2, rel=1e-15)


def test_a_rate_of_zero_weighs_nothing() -> None:
    """A schedule may begin there; the weights have no sum yet to be divided by."""
    variable = np.array([1.0, -2.0])
    optimizer = rmsprop_jit.ScheduleFreeSGD(lambda step: 0.0 if step < 2 else 0.1)
    for _ in range(2):
        optimizer.apply([np.ones(2)], [variable])
    assert variable.tolist() == [1.0, -2.0]
    with optimizer.averaged():
        assert variable.tolist() == [1.0, -2.0]
    optimizer.apply([np.ones(2)], [variable])
    np.testing.assert_allclose(variable, [0.9, -2.1])
    with optimizer.averaged():
        np.testing.assert_allclose(variable, [0.9, -2.1])


def test_values_that_are_loaded_after_build_are_where_z_begins() -> None:
    loaded, straight = np.zeros(2), np.array([5.0, 6.0])
    one, other = (rmsprop_jit.ScheduleFreeAdamW(0.1) for _ in range(2))
    one.build([loaded])
    loaded[:] = 5, 6
    for step in range(3):
        one.apply([np.full(2, 1.0 + step)], [loaded])
        other.apply([np.full(2, 1.0 + step)], [straight])
    assert_same_bits(loaded, straight, 0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@each_rule
def test_the_interpreter_is_what_a_block_shows(name: str, dtype: str) -> None:
    variables = arrays(0, dtype)
    optimizer: Optimizer = getattr(rmsprop_jit, name)(0.01)
    for step in range(3):
        optimizer.apply(arrays(100 + step, dtype), variables)
    slots = {one.name: one.value for one in optimizer.variables}
    z = "momentum" if name == "ScheduleFreeAdamW" else "z"
    rule: Rule = TABLE[name.lower()][0].rule
    program = specialize(averages_of(rule), (), dtype)
    numbers = {"learning_rate": 0.01, "step": 3.0, **{key: hyper.default for key, hyper in rule.hypers.items()}}
    tensors = [{"parameter": one.copy(), z: slots[f"variable_{i}_{z}"]} for i, one in enumerate(variables)]
    reference.run(program, tensors, numbers)
    with optimizer.averaged():
        for i, (mine, theirs) in enumerate(zip(variables, tensors, strict=True)):
            assert_same_bits(mine, theirs["parameter"], i)


def test_tiger_has_rates_by_name() -> None:
    weights = {"dense/kernel": np.ones(3), "dense/bias": np.ones(3)}
    optimizer = rmsprop_jit.Tiger(0.1, multiplier={".*(bias|beta|gamma)": 0.5})
    optimizer.apply({name: np.ones(3) for name in weights}, weights)
    np.testing.assert_allclose(weights["dense/kernel"], 0.9)
    np.testing.assert_allclose(weights["dense/bias"], 0.95)
