"""Groups with numbers that a slot over all follows from: each variable then has that slot of its own."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from compare import Array, assert_same_bits

import rmsprop_jit
from rmsprop_jit import CosineDecay, Optimizer, OptionError

SHAPES: dict[str, Any] = {"a": 7, "b": (2, 3), "c": 5}
CASES: dict[str, tuple[Any, dict[str, dict[str, Any]], set[str]]] = {
    "Nadam": (rmsprop_jit.Nadam, {"a": {"beta_1": 0.8}, "b": {"beta_1": 0.5}}, {"u_product"}),
    "NosAdam": (rmsprop_jit.NosAdam, {"a": {"gamma": 0.3}, "b": {"gamma": 0.2, "beta_1": 0.5}}, {"total"}),
    "ScheduleFreeSGD": (
        rmsprop_jit.ScheduleFreeSGD,
        {"a": {"learning_rate": 0.2}, "b": {"learning_rate": CosineDecay(0.1, 9)}},
        {"lr_max", "weight_sum"},
    ),
    "ScheduleFreeAdamW": (
        rmsprop_jit.ScheduleFreeAdamW,
        {"a": {"r": 1.0, "weight_lr_power": 2.0}, "b": {"learning_rate": 0.3}},
        {"lr_max", "weight_sum"},
    ),
}


def variables() -> dict[str, Array]:
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}


def gradients(call: int) -> dict[str, Array]:
    rng = np.random.default_rng([call, 1])
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}


@pytest.mark.parametrize(("name", "way"), [*zip(CASES, ["on", "state", "pickle", "deepcopy"], strict=True)])
def test_each_group_has_the_bits_of_an_optimizer_of_its_own(name: str, way: str) -> None:
    make, groups, slots = CASES[name]
    ours, apart = variables(), variables()
    optimizer = make(0.1, groups=groups)
    alone = {one: make(**{"learning_rate": 0.1, **groups.get(one, {})}) for one in SHAPES}
    for call in range(6):
        if call == 3:
            optimizer = gone_on(optimizer, way, make, groups, ours)
        optimizer.apply(gradients(call), ours)
        for one, other in alone.items():
            other.apply({one: gradients(call)[one]}, {one: apart[one]})
    for one in SHAPES:
        assert_same_bits(ours[one], apart[one], one)
    assert slots <= optimizer.state["a"].keys()
    if name.startswith("ScheduleFree"):
        with optimizer.averaged():
            for one, other in alone.items():
                with other.averaged():
                    assert_same_bits(ours[one], apart[one], one)


def gone_on(optimizer: Optimizer, way: str, make: Any, groups: Any, ours: dict[str, Array]) -> Optimizer:
    """The optimizer, or another with its state."""
    if way == "on":
        return optimizer
    if way == "state":
        other: Optimizer = make(0.1, groups=groups)
        other.build(ours)
        other.load_state_dict(optimizer.state_dict())
        return other
    return copy.deepcopy(optimizer) if way == "deepcopy" else pickle.loads(pickle.dumps(optimizer))


def test_a_group_that_comes_later_goes_on_with_what_was_one_for_all() -> None:
    ours, theirs = variables(), variables()
    optimizers = [rmsprop_jit.Nadam(0.1, beta_1=0.8) for _ in range(2)]
    for call in range(8):
        if call == 2:
            optimizers[0].groups = {"a": {"beta_1": 0.8}}
            assert optimizers[0].state["b"]["u_product"] == optimizers[1].state_dict()["all/u_product"]
        if call == 5:
            optimizers[0].groups = {}
        for optimizer, given in zip(optimizers, (ours, theirs), strict=True):
            optimizer.apply(gradients(call), given)
    for one in SHAPES:
        assert_same_bits(ours[one], theirs[one], one)


def test_what_has_become_different_is_not_one_again() -> None:
    ours = variables()
    optimizer = rmsprop_jit.Nadam(0.1, groups={"a": {"beta_1": 0.5}})
    optimizer.apply(gradients(0), ours)
    before = optimizer.state_dict()
    with pytest.raises(OptionError, match=r"'u_product' is one for all variables.*different by now"):
        optimizer.groups = {}
    after = optimizer.state_dict()
    assert {name: np.asarray(value).tobytes() for name, value in before.items()} == {
        name: np.asarray(value).tobytes() for name, value in after.items()
    }
